"""Plan: choose the batch of a round, and what of it is held out."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.planning.acquisition import Batch, plan_batch
from glassmap.agent.shapes import Compositions
from glassmap.agent.store.records import Suggestion
from glassmap.flows.rounds.campaign import OpenCampaign, least_batch, spectra_left
from glassmap.flows.rounds.train import last_ensemble


def plan(campaign: OpenCampaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    backend, _, since, _ = campaign.at(round_)
    after_guide = 1 < since == round_  # measure what the guide can't tell
    left = spectra_left(campaign)
    size = config.planning.batch
    if left is not None:
        size = min(size, max(left, least_batch(campaign, round_)))
    has_weights = (config.planning.weights == "disagreement" and round_ > since) or after_guide
    batch = plan_batch(
        backend.candidates(),
        size,
        taken=store.taken(since=since),
        method="uniform" if after_guide else config.planning.method,
        seed=np.random.default_rng([config.seed, round_]),
        weights=last_ensemble(campaign, round_).disagreement if has_weights else None,
    )
    held = [] if backend.hold_out() else _spread_evenly(batch.compositions, config.planning.hold_out_share)
    suggestions = [_suggestion(round_, k, batch, k, k in held) for k in range(len(batch.rows))]
    with store.transaction():
        store.record_batch(round_, suggestions, batch.coverage)
        store.log("planned", f"round {round_}: {len(suggestions)} alloys, mean distance {batch.coverage.mean:.2f} at.%")
        store.end_stage(round_, "plan", "done")
    return "done"


def replace_suggestions(campaign: OpenCampaign, round_: int, rejected: Sequence[Suggestion]) -> list[Suggestion]:
    """Plan as many other alloys as were rejected, each held out as the one that it replaces; call in a transaction."""
    config, store = campaign.config, campaign.store
    before = len(store.suggestions(round_=round_))
    batch = plan_batch(
        campaign.at(round_).backend.candidates(),
        len(rejected),
        taken=store.taken(since=campaign.at(round_).since),
        method=config.planning.method,
        seed=np.random.default_rng([config.seed, round_, before]),
    )
    found = zip(range(len(batch.rows)), rejected, strict=False)  # fewer where the space is nearly exhausted
    others = [_suggestion(round_, before + k, batch, k, one.hold_out) for k, one in found]
    store.add_to_batch(others)
    return others


def _suggestion(round_: int, place: int, batch: Batch, k: int, hold_out: bool) -> Suggestion:
    """Number `k` of a batch, at a place of the round."""
    composition = tuple(map(float, batch.compositions[k]))
    return Suggestion(f"r{round_:03d}-{place + 1:02d}", round_, int(batch.rows[k]), composition, hold_out)


def _spread_evenly(compositions: Compositions, share: float) -> list[int]:
    """Which of a batch to hold out: at least one, those that lie most evenly among it."""
    n = min(max(1, round(share * len(compositions))), len(compositions) - 1)  # leaves one to learn from
    none = np.empty((0, compositions.shape[1]))
    return plan_batch(compositions, n, taken=none, seed=0).rows.tolist() if n else []
