"""By which rule a round's batch is chosen, what it leans to, and the model that is asked for that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import CampaignError
from glassmap.agent.planning.acquisition import FIRST_RULE, WEIGHTS, AcquisitionRule, Forecast, rule_of
from glassmap.agent.shapes import Compositions, Weights
from glassmap.flows.rounds.campaign import OpenCampaign

if TYPE_CHECKING:
    from glassmap.agent.models.ensemble import TrainedEnsemble


class Leaning(NamedTuple):
    """How the alloys of a round are chosen, those that replace others included; see `plan_batch`."""

    rule: AcquisitionRule
    weights: Callable[[Compositions], Weights] | None
    forecast: Forecast | None  # the model of the round before, where rule or weights ask one


def leaning_of(campaign: OpenCampaign, round_: int) -> Leaning:
    """Return how the alloys of a round are chosen: by the settings, or after a guide's rounds by what it can't tell."""
    planning, at = campaign.config.planning, campaign.at(round_)
    rule = rule_of(FIRST_RULE if at.follows_guide else planning.method, has_model=at.has_model)
    weighting = WEIGHTS["disagreement" if at.follows_guide else planning.weights if at.has_model else "even"]
    model = _last_model(campaign, round_) if rule.needs_model or weighting.weigh else None
    return Leaning(rule, None if model is None else weighting.by(model), model)


@dataclass(frozen=True)
class _Model:
    """The model of the round before, as a rule may ask it: a `Forecast`."""

    campaign: OpenCampaign
    round_: int  # that the model is of
    ensemble: "TrainedEnsemble"

    def figures(self, compositions: Compositions) -> Mapping[str, Weights]:
        from glassmap.agent.maps.peak_map import map_block
        from glassmap.flows.rounds.glass import glass_rule

        if (q := q_axis(*self.campaign.store.axis())) is None:
            raise CampaignError("The planning rule asks for peak figures, and g(r) has none; choose another rule.")
        rule = glass_rule(self.campaign, self.round_, self.ensemble)
        return map_block(self.ensemble.forecasting(q), compositions, q=q, glass=rule)

    def disagreement(self, compositions: Compositions) -> Weights:
        return self.ensemble.disagreement(compositions)


def _last_model(campaign: OpenCampaign, round_: int) -> Forecast:
    from glassmap.flows.rounds.train import last_ensemble  # loads torch, which most rules need not

    return _Model(campaign, round_ - 1, last_ensemble(campaign, round_))
