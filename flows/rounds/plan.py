"""Plan: choose the batch of a round, and what of it is held out."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.planning.acquisition import NEAR_AT_PCT, Batch, coverage_of, plan_batch, spread_evenly
from glassmap.agent.shapes import TakenCompositions
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import PlannedBy, Request, Suggestion
from glassmap.flows.rounds.campaign import OpenCampaign, holds_out, least_batch, spectra_left
from glassmap.flows.rounds.candidates import Choice, candidates_of
from glassmap.flows.rounds.leaning import leaning_of
from glassmap.flows.rounds.wafers import NextWafers, is_room_left, next_wafers, plans_wafers, say_wafers
from glassmap.flows.rounds.wanted import Wanted, requested, to_confirm


def plan(campaign: OpenCampaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    at = campaign.at(round_)
    left = spectra_left(campaign)
    size = config.planning.batch
    if left is not None:
        size = min(size, max(left, least_batch(campaign, round_)))
    candidates, before = candidates_of(campaign, round_), store.taken(since=at.since)
    choice = Choice(candidates, store)
    requests = {} if at.is_guide else requested(campaign, round_, choice)
    first = [*{one.row: one for one in reversed(requests.values())}.values()][::-1][:size]  # a sample once
    asked_for = {one.row for one in first}
    confirm = min(config.planning.confirm, size - 1 - len(first))  # leaves at least one to the rule
    first += to_confirm(campaign, round_, choice, max(0, confirm), taken=_with(before, first))
    taken = _with(before, first)
    planned, held, chosen = list[Wanted](), set[int](), None
    if size > len(first) and (not first or is_room_left(campaign, round_)):
        chosen = _choose(campaign, round_, choice, size - len(first), taken=taken, seed=[config.seed, round_])
        planned = _wanted(chosen.batch)
        if holds_out(campaign, round_):  # of what the rule planned: what was wanted is no fair sample
            share = config.planning.hold_out_share
            held = {len(first) + k for k in spread_evenly(chosen.batch.compositions, share).tolist()}
    each = [*((choice, one) for one in first), *((chosen.choice if chosen else choice, one) for one in planned)]
    suggestions = [_suggestion(of, round_, k, one, hold_out=k in held) for k, (of, one) in enumerate(each)]
    wafers = chosen.wafers if chosen else None
    if wafers is not None:
        candidates = wafers.candidates
    if chosen and not first:
        coverage = chosen.batch.coverage
    else:
        cover = config.space.build() if plans_wafers(campaign, round_) else compositions_of(candidates)
        coverage = coverage_of(cover, np.array([one.composition for one in suggestions]), taken=before)
    on = "" if wafers is None else f" of {say_wafers(wafers, [one.wafer for one in suggestions])}"
    settings = config.model_dump(mode="json")
    with store.transaction():
        store.record_batch(round_, suggestions, coverage)
        store.record_planned_by(PlannedBy(round_, settings["space"], settings["planning"]))
        if not isinstance(candidates, CompositionSpace):
            store.record_existing(candidates)
        for wafer in wafers.to_make if wafers else ():
            store.record_wafer(wafer)
        if not at.is_guide:
            answered = {one for one, wanted in requests.items() if wanted.row in asked_for}
            answered |= {one for one in store.requests if choice.has_taken(one, before)}
            store.record_requests(
                [one._replace(round=one.round or round_) if one in answered else one for one in store.requests]
            )
            _log_unmet(store, [one for one in store.requests if one.round is None and one not in requests])
        store.log("planned", f"round {round_}: {len(suggestions)} alloys{on}, mean distance {coverage.mean:.2f} at.%")
        for wafer in wafers.to_make if wafers else ():
            for warning in wafers.warnings[wafer.name] if wafers else ():
                store.log("to look at", f"{wafer.name}: {warning}")
        store.end_stage(round_, "plan", "done")
    return "done"


def _log_unmet(store: CampaignStore, requests: Sequence[Request]) -> None:
    """Log of each request once why it is in no batch; call within a transaction."""
    for one in requests:
        name = one.named(store.elements)
        alike = "" if one.sample else f", and none lies within {NEAR_AT_PCT} at.% of it"
        call = f"{one.sample or name}{f' --wafer {one.wafer}' if one.wafer else ''}"
        said = (
            f"{name} is requested, but not among what may be planned now{alike}. It waits until it is; `glassmap "
            f"request {store.folder} {call} --withdraw` takes it back."
        )
        if all(line.detail != said for line in store.log_lines()):
            store.log("to look at", said)


def _with(taken: TakenCompositions, wanted: Sequence[Wanted]) -> TakenCompositions:
    """Return what is taken together with what goes first into the batch."""
    return np.concatenate([taken, *(np.array([one.composition]) for one in wanted)])


class _Chosen(NamedTuple):
    """What the rule of a round chose."""

    batch: Batch
    choice: Choice  # that its rows are of
    wafers: NextWafers | None  # that it lies on, where they were chosen first


def _choose(
    campaign: OpenCampaign,
    round_: int,
    choice: Choice,
    size: int,
    *,
    taken: TakenCompositions,
    seed: Sequence[int],
    without: Collection[str] = (),
) -> _Chosen:
    """Choose alloys by the rule of a round, on wafers that are chosen before where those are planned."""
    leaning, wafers = leaning_of(campaign, round_), None
    if plans_wafers(campaign, round_):
        wafers = next_wafers(campaign, round_, choice, size, taken=taken, leaning=leaning, without=without)
        choice = wafers.choice
    else:
        choice = choice.with_covered(taken)
    batch = plan_batch(
        choice.alloys,
        size,
        taken=taken,
        method=leaning.rule.name,
        seed=np.random.default_rng(seed),
        weights=leaning.weights,
        forecast=leaning.forecast,
        cover=None if wafers is None else campaign.config.space.build(),
    )
    return _Chosen(batch, choice, wafers)


class Replacements(NamedTuple):
    """What is planned in place of alloys that are to be rejected, or of a wafer."""

    suggestions: Sequence[Suggestion]
    wafers: NextWafers | None  # that they lie on, where those were chosen

    def record(self, store: CampaignStore) -> None:
        """Record them at the end of their round's batch; call within a transaction."""
        store.add_to_batch(self.suggestions)
        if self.wafers is not None:
            store.record_existing(self.wafers.candidates)
            for wafer in self.wafers.to_make:
                store.record_wafer(wafer)


def plan_replacements(
    campaign: OpenCampaign,
    round_: int,
    rejected: Sequence[Suggestion],
    *,
    without: Collection[str] = (),
    lost: Collection[str] = (),
) -> Replacements:
    """Plan as many other alloys as are to be rejected, each held out as the one that it replaces; records nothing.

    In place of one that was to confirm a candidate comes the next best candidate, if there is one; the others are
    chosen as their round's batch was.

    Args:
        campaign: Open.
        round_: Whose batch they are of.
        rejected: What they replace.
        without: Wafers that are to be given up.
        lost: Those of them on which nothing counts as covered that wasn't measured.
    """
    config, store, at = campaign.config, campaign.store, campaign.at(round_)
    before, taken = len(store.suggestions(round_=round_)), store.taken(since=at.since, without=lost)
    choice = Choice(candidates_of(campaign, round_), store, without=without)
    confirming = to_confirm(campaign, round_, choice, sum(one.confirms for one in rejected), taken=taken)
    size, planned, chosen = len(rejected) - len(confirming), list[Wanted](), None
    if size:
        seed = [config.seed, round_, before]
        chosen = _choose(campaign, round_, choice, size, taken=_with(taken, confirming), seed=seed, without=without)
        planned = _wanted(chosen.batch)
    others = list[Suggestion]()
    for one in rejected:
        if one.confirms and confirming:
            of, other = choice, confirming.pop(0)
        elif planned and chosen:
            of, other = chosen.choice, planned.pop(0)
        else:
            break  # the space is nearly exhausted
        others.append(_suggestion(of, round_, before + len(others), other, hold_out=one.hold_out))
    return Replacements(others, chosen.wafers if chosen else None)


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
