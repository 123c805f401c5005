"""Plan: choose the batch of a round, and what of it is held out."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.planning.acquisition import (
    Batch,
    coverage_of,
    has_room,
    plan_batch,
    rows_of,
    spread_evenly,
)
from glassmap.agent.store.records import Request, Suggestion
from glassmap.flows.rounds.campaign import OpenCampaign, holds_out, least_batch, spectra_left
from glassmap.flows.rounds.candidates import Choice, candidates_of
from glassmap.flows.rounds.leaning import leaning_of


def plan(campaign: OpenCampaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    at = campaign.at(round_)
    left = spectra_left(campaign)
    size = config.planning.batch
    if left is not None:
        size = min(size, max(left, least_batch(campaign, round_)))
    leaning = leaning_of(campaign, round_)
    requests = [] if at.is_guide else _requested(campaign, round_)
    first, later = requests[:size], requests[size:]
    asked = np.array([one.composition for one in first]).reshape(-1, len(config.space.elements))
    candidates, before = candidates_of(campaign, round_), store.taken(since=at.since)
    choice = Choice(candidates, store)
    taken = np.concatenate([asked, before])
    suggestions = [
        choice.suggest(Suggestion(_id(round_, k), round_, 0, one.composition, hold_out=False, why=one.why), int(row))
        for k, (one, row) in enumerate(zip(first, rows_of(choice.alloys, asked), strict=True))
    ]
    coverage = None
    if size > len(first) and (not first or has_room(choice.alloys, taken=taken)):
        batch = plan_batch(
            choice.alloys,
            size - len(first),
            taken=taken,
            method=leaning.rule.name,
            seed=np.random.default_rng([config.seed, round_]),
            weights=leaning.weights,
            forecast=leaning.forecast,
        )
        held, coverage = set[int](), batch.coverage
        if holds_out(campaign, round_):
            held = {*spread_evenly(batch.compositions, config.planning.hold_out_share).tolist()}
        suggestions += [
            _suggestion(choice, round_, len(first) + k, batch, k, k in held) for k in range(len(batch.rows))
        ]
    if first or coverage is None:
        coverage = coverage_of(
            compositions_of(candidates), np.array([one.composition for one in suggestions]), taken=before
        )
    with store.transaction():
        store.record_batch(round_, suggestions, coverage)
        if not isinstance(candidates, CompositionSpace):
            store.record_existing(candidates)
        store.record_requests(
            [one if one.round or one in later else one._replace(round=round_) for one in store.requests]
        )
        store.log("planned", f"round {round_}: {len(suggestions)} alloys, mean distance {coverage.mean:.2f} at.%")
        store.end_stage(round_, "plan", "done")
    return "done"


def _requested(campaign: OpenCampaign, round_: int) -> list[Request]:
    """Return what people asked for that is to be in this round's batch, and has not been measured in the meantime."""
    waiting = [one for one in campaign.store.requests if one.round in (None, round_)]
    taken = campaign.store.taken(since=campaign.at(round_).since)
    return [one for one in waiting if not (np.linalg.norm(taken - one.composition, axis=1) <= SAME_ALLOY).any()]


def plan_replacements(campaign: OpenCampaign, round_: int, rejected: Sequence[Suggestion]) -> list[Suggestion]:
    """Plan as many other alloys as are to be rejected, each held out as the one that it replaces; records nothing."""
    config, store, at = campaign.config, campaign.store, campaign.at(round_)
    before = len(store.suggestions(round_=round_))
    leaning = leaning_of(campaign, round_)
    choice = Choice(candidates_of(campaign, round_), store)
    batch = plan_batch(
        choice.alloys,
        len(rejected),
        taken=store.taken(since=at.since),
        method=leaning.rule.name,
        seed=np.random.default_rng([config.seed, round_, before]),
        weights=leaning.weights,
        forecast=leaning.forecast,
    )
    found = zip(range(len(batch.rows)), rejected, strict=False)  # fewer where the space is nearly exhausted
    return [_suggestion(choice, round_, before + k, batch, k, one.hold_out) for k, one in found]


def _suggestion(choice: Choice, round_: int, place: int, batch: Batch, k: int, hold_out: bool) -> Suggestion:
    """Return number `k` of a batch as a suggestion, at a place of the round."""
    composition = tuple(map(float, batch.compositions[k]))
    return choice.suggest(Suggestion(_id(round_, place), round_, 0, composition, hold_out), int(batch.rows[k]))


def _id(round_: int, place: int) -> str:
    return f"r{round_:03d}-{place + 1:02d}"
