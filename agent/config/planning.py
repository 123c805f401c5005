"""How a campaign goes on, and when it stops."""

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Count, Hours, Settings, Share
from glassmap.agent.planning.acquisition import RULES, WEIGHTS
from glassmap.agent.planning.convergence import On

TOLERANCES: dict[On, float] = {"mse": 0.05, "delta_q": 0.002, "glass": 0.02}
"""Gain of two more batches that isn't worth them: a share of the MSE, 1/Å of the error of Δq, a share of the map."""
MOST_DELTA_Q = 0.02  # 1/Å; glasses and crystals differ by 0.3, and a model of twenty spectra errs by 0.05


class PlanningConfig(Settings):
    """How the next batch is chosen; see `glassmap.agent.planning.acquisition.plan_batch`.

    All of it may change while a campaign runs, and counts from the next plan on.
    """

    unit: Literal["alloy", "wafer"] = "alloy"
    """What is chosen first: single alloys, or a wafer and then its points."""
    batch: Annotated[int, Field(gt=0, le=100_000)] = 20
    """Alloys that a round measures."""
    method: Annotated[str, Field(examples=list(RULES))] = "uniform"
    """The rule that chooses them; the paper's is uniform, boundary looks for where glass ends."""
    weights: Annotated[str, Field(examples=list(WEIGHTS))] = "even"
    """What a uniform batch leans to: nothing, or where spectra disagree, or where Δq or glass is in doubt."""
    confirm: Annotated[int, Field(ge=0, le=1000)] = 0
    """Alloys of each batch that are the best candidates of the last map, at most."""
    hold_out_share: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of each batch that is never learned from, where there is no test set; 0: left-out spectra judge alone."""
    approval: Literal["auto", "required"] = "auto"
    """Whether a person has to approve a batch before it is measured."""

    @field_validator("method")
    @classmethod
    def _is_a_rule(cls, value: str) -> str:
        return _one_of(RULES, value)

    @field_validator("weights")
    @classmethod
    def _is_a_weighting(cls, value: str) -> str:
        return _one_of(WEIGHTS, value)

    @model_validator(mode="after")
    def _weights_count(self) -> "PlanningConfig":
        if self.weights != "even" and not RULES[self.method].takes_weights:
            takers = " or ".join(repr(rule.name) for rule in RULES.values() if rule.takes_weights)
            raise ValueError(f"planning.weights = {self.weights!r} needs planning.method = {takers}")
        return self

    @model_validator(mode="after")
    def _leaves_some_to_the_rule(self) -> "PlanningConfig":
        if self.confirm >= self.batch:
            raise ValueError(
                f"planning.confirm = {self.confirm} leaves none of a batch of {self.batch} to the rule; it must be "
                "less than planning.batch"
            )
        return self


def _one_of(names: Collection[str], value: str) -> str:
    """Return a name that is one of several, or refuse it."""
    if value not in names:
        *others, last = map(repr, names)
        raise ValueError(f"must be {', '.join(others)} or {last}, got {value!r}")
    return value


class StopConfig(Settings):
    """When enough is measured; see `glassmap.agent.planning.convergence.decide`."""

    on: On = "mse"
    """What has to settle: the MSE, the error of Δq, or which alloys of the map are a glass."""
    tolerance: Share | None = Field(default=None, examples=[0.05])
    """Gain of two batches that isn't worth them; by default 0.05 of the MSE, 0.002 1/Å, or 0.02 of the map."""
    patience: Count = 1
    """Rounds in a row that have to say that it has settled."""
    max_rounds: Count = 12
    """Budget: rounds."""
    max_spectra: Count | None = Field(default=None, examples=[200])
    """Budget: spectra measured, held-out ones included."""
    max_hours: Hours | None = Field(default=None, examples=[72.0])
    """Budget: hours since the campaign began."""
    max_cpu_hours: Annotated[float, Field(gt=0, le=1e9)] | None = Field(default=None, examples=[500.0])
    """Budget: hours of simulation times cores."""

    @model_validator(mode="after")
    def _is_in_its_unit(self) -> "StopConfig":
        if self.on == "delta_q" and self.least_gain > MOST_DELTA_Q:
            raise ValueError(
                f"stop.tolerance is in Å⁻¹ where stop.on = 'delta_q', and at most {MOST_DELTA_Q:g}; got "
                f"{self.tolerance:g}. Leave it out for {TOLERANCES['delta_q']:g}"
            )
        return self

    @property
    def least_gain(self) -> float:
        """The tolerance: as given, or by default."""
        return TOLERANCES[self.on] if self.tolerance is None else self.tolerance


def describe_rule(on: On, tolerance: float | None, patience: int) -> str:
    """Return when a campaign has converged, in words that begin small and have no full stop."""
    least = TOLERANCES[on] if tolerance is None else tolerance
    gain = {
        "mse": f"lower the MSE by less than {100 * least:g} %",
        "delta_q": f"lower the error of Δq by less than {least:g} Å⁻¹",
        "glass": f"have less than {100 * least:g} % of the map's alloys change sides of the glass boundary",
    }[on]
    return f"two more batches would surely {gain}" + (f", said in {patience} rounds in a row" if patience > 1 else "")
