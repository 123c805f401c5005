"""Plan: choose the batch of a round, and what of it is held out."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.planning.acquisition import (
    Batch,
    coverage_of,
    plan_batch,
    spread_evenly,
)
from glassmap.agent.shapes import TakenCompositions
from glassmap.agent.store.records import PlannedBy, Suggestion
from glassmap.flows.rounds.campaign import OpenCampaign, holds_out, least_batch, spectra_left
from glassmap.flows.rounds.candidates import Choice, candidates_of
from glassmap.flows.rounds.leaning import leaning_of
from glassmap.flows.rounds.wafers import is_room_left, next_wafers, plans_wafers, say_wafers
from glassmap.flows.rounds.wanted import Wanted, requested, to_confirm


def plan(campaign: OpenCampaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    at = campaign.at(round_)
    left = spectra_left(campaign)
    size = config.planning.batch
    if left is not None:
        size = min(size, max(left, least_batch(campaign, round_)))
    leaning = leaning_of(campaign, round_)
    candidates, before = candidates_of(campaign, round_), store.taken(since=at.since)
    choice = Choice(candidates, store)
    requests = {} if at.is_guide else requested(campaign, round_, choice)
    first = [*requests.values()][:size]
    confirm = min(config.planning.confirm, size - 1 - len(first))  # leaves at least one to the rule
    first += to_confirm(campaign, round_, choice, max(0, confirm), taken=_with(before, first))
    taken = _with(before, first)
    planned, held, within = list[Wanted](), set[int](), choice
    coverage, cover, wafers = None, compositions_of(candidates), None
    if size > len(first) and (not first or is_room_left(campaign, round_)):
        if plans_wafers(campaign, round_):
            wafers = next_wafers(campaign, round_, choice, size - len(first), taken=taken, leaning=leaning)
            candidates, within, cover = wafers.candidates, wafers.choice, config.space.build()
        batch = plan_batch(
            within.alloys,
            size - len(first),
            taken=taken,
            method=leaning.rule.name,
            seed=np.random.default_rng([config.seed, round_]),
            weights=leaning.weights,
            forecast=leaning.forecast,
            cover=None if wafers is None else cover,
        )
        planned, coverage = _wanted(batch), batch.coverage
        if holds_out(campaign, round_):  # of what the rule planned: what was wanted is no fair sample
            held = {len(first) + k for k in spread_evenly(batch.compositions, config.planning.hold_out_share).tolist()}
    each = enumerate([*((choice, one) for one in first), *((within, one) for one in planned)])
    suggestions = [_suggestion(of, round_, k, one, hold_out=k in held) for k, (of, one) in each]
    if first or coverage is None:
        coverage = coverage_of(cover, np.array([one.composition for one in suggestions]), taken=before)
    on = "" if wafers is None else f" of {say_wafers(wafers)}"
    settings = config.model_dump(mode="json")
    with store.transaction():
        store.record_batch(round_, suggestions, coverage)
        store.record_planned_by(PlannedBy(round_, settings["space"], settings["planning"]))
        if not isinstance(candidates, CompositionSpace):
            store.record_existing(candidates)
        for wafer in () if wafers is None else wafers.to_make:
            store.record_wafer(wafer)
        if not at.is_guide:
            answered = {*[*requests][:size], *(one for one in store.requests if choice.has_taken(one, before))}
            store.record_requests(
                [one._replace(round=one.round or round_) if one in answered else one for one in store.requests]
            )
        store.log("planned", f"round {round_}: {len(suggestions)} alloys{on}, mean distance {coverage.mean:.2f} at.%")
        store.end_stage(round_, "plan", "done")
    return "done"


def _with(taken: TakenCompositions, wanted: Sequence[Wanted]) -> TakenCompositions:
    """Return what is taken together with what goes first into the batch."""
    return np.concatenate([taken, *(np.array([one.composition]) for one in wanted)])


def plan_replacements(campaign: OpenCampaign, round_: int, rejected: Sequence[Suggestion]) -> list[Suggestion]:
    """Plan as many other alloys as are to be rejected, each held out as the one that it replaces; records nothing.

    In place of one that was to confirm a candidate comes the next best candidate, if there is one; the others are
    chosen as their round's batch was.
    """
    config, store, at = campaign.config, campaign.store, campaign.at(round_)
    before, taken = len(store.suggestions(round_=round_)), store.taken(since=at.since)
    choice = Choice(candidates_of(campaign, round_), store)
    confirming = to_confirm(campaign, round_, choice, sum(one.confirms for one in rejected), taken=taken)
    size, planned = len(rejected) - len(confirming), list[Wanted]()
    if size:
        leaning = leaning_of(campaign, round_)
        batch = plan_batch(
            choice.alloys,
            size,
            taken=_with(taken, confirming),
            method=leaning.rule.name,
            seed=np.random.default_rng([config.seed, round_, before]),
            weights=leaning.weights,
            forecast=leaning.forecast,
        )
        planned = _wanted(batch)
    others = list[Suggestion]()
    for one in rejected:
        if one.confirms and confirming:
            other = confirming.pop(0)
        elif planned:
            other = planned.pop(0)
        else:
            break  # the space is nearly exhausted
        others.append(_suggestion(choice, round_, before + len(others), other, hold_out=one.hold_out))
    return others


def _wanted(batch: Batch) -> list[Wanted]:
    """Return the alloys of a batch that a rule chose."""
    each = zip(batch.rows.tolist(), batch.compositions.tolist(), strict=True)
    return [Wanted(row, tuple(composition), "") for row, composition in each]


def _suggestion(choice: Choice, round_: int, place: int, wanted: Wanted, *, hold_out: bool) -> Suggestion:
    """Return an alloy as a suggestion, at a place of the round."""
    suggestion = Suggestion(_id(round_, place), round_, 0, wanted.composition, hold_out, wanted.why)
    return choice.suggest(suggestion, wanted.row)


def _id(round_: int, place: int) -> str:
    return f"r{round_:03d}-{place + 1:02d}"
