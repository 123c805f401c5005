"""Plan: choose the batch of a round, and what of it is held out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import CampaignError
from glassmap.agent.planning.acquisition import FIRST_RULE, Batch, Forecast, plan_batch, rule_of, spread_evenly
from glassmap.agent.shapes import Axis, Compositions, Weights
from glassmap.agent.store.records import Suggestion
from glassmap.flows.rounds.campaign import OpenCampaign, least_batch, spectra_left

if TYPE_CHECKING:
    from glassmap.agent.models.ensemble import TrainedEnsemble


def plan(campaign: OpenCampaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    at = campaign.at(round_)
    left = spectra_left(campaign)
    size = config.planning.batch
    if left is not None:
        size = min(size, max(left, least_batch(campaign, round_)))
    rule = rule_of(FIRST_RULE if at.follows_guide else config.planning.method, has_model=at.has_model)
    leans = at.has_model and config.planning.weights == "disagreement"
    has_weights = leans or at.follows_guide  # then to measure what the guide can't tell
    model = _last_model(campaign, round_) if rule.needs_model or has_weights else None
    batch = plan_batch(
        at.backend.candidates(),
        size,
        taken=store.taken(since=at.since),
        method=rule.name,
        seed=np.random.default_rng([config.seed, round_]),
        weights=model.disagreement if model is not None and has_weights else None,
        forecast=model,
    )
    held = set[int]()
    if not at.backend.has_test_set:
        held = {*spread_evenly(batch.compositions, config.planning.hold_out_share).tolist()}
    suggestions = [_suggestion(round_, k, batch, k, k in held) for k in range(len(batch.rows))]
    with store.transaction():
        store.record_batch(round_, suggestions, batch.coverage)
        store.log("planned", f"round {round_}: {len(suggestions)} alloys, mean distance {batch.coverage.mean:.2f} at.%")
        store.end_stage(round_, "plan", "done")
    return "done"


def plan_replacements(campaign: OpenCampaign, round_: int, rejected: Sequence[Suggestion]) -> list[Suggestion]:
    """Plan as many other alloys as are to be rejected, each held out as the one that it replaces; records nothing."""
    config, store, at = campaign.config, campaign.store, campaign.at(round_)
    before = len(store.suggestions(round_=round_))
    rule = rule_of(config.planning.method, has_model=at.has_model)
    batch = plan_batch(
        at.backend.candidates(),
        len(rejected),
        taken=store.taken(since=at.since),
        method=rule.name,
        seed=np.random.default_rng([config.seed, round_, before]),
        forecast=_last_model(campaign, round_) if rule.needs_model else None,
    )
    found = zip(range(len(batch.rows)), rejected, strict=False)  # fewer where the space is nearly exhausted
    return [_suggestion(round_, before + k, batch, k, one.hold_out) for k, one in found]


def _suggestion(round_: int, place: int, batch: Batch, k: int, hold_out: bool) -> Suggestion:
    """Return number `k` of a batch as a suggestion, at a place of the round."""
    composition = tuple(map(float, batch.compositions[k]))
    return Suggestion(f"r{round_:03d}-{place + 1:02d}", round_, int(batch.rows[k]), composition, hold_out)


@dataclass(frozen=True)
class _Model:
    """The model of the round before, as a rule may ask it: a `Forecast`."""

    ensemble: "TrainedEnsemble"
    q: Axis | None

    def figures(self, compositions: Compositions) -> Mapping[str, Weights]:
        from glassmap.agent.maps.peak_map import map_block

        if self.q is None:
            raise CampaignError("The planning rule asks for peak figures, and g(r) has none; choose another rule.")
        return map_block(self.ensemble, compositions, q=self.q)

    def disagreement(self, compositions: Compositions) -> Weights:
        return self.ensemble.disagreement(compositions)


def _last_model(campaign: OpenCampaign, round_: int) -> Forecast:
    from glassmap.flows.rounds.train import last_ensemble  # loads torch, which most rules need not

    return _Model(last_ensemble(campaign, round_), q_axis(*campaign.store.axis()))
