"""How a campaign goes on, and when it stops."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Count, Hours, Settings, Share
from glassmap.agent.planning.acquisition import RULES


class PlanningConfig(Settings):
    """How the next batch is chosen; see `glassmap.agent.planning.acquisition.plan_batch`."""

    free: ClassVar = ("approval",)

    batch: Annotated[int, Field(gt=0, le=100_000)] = 20
    method: str = "uniform"  # a name of `glassmap.agent.planning.acquisition.RULES`
    weights: Literal["even", "disagreement"] = "even"  # the paper's rule, or more where the ensemble is unsure
    hold_out_share: Share = 0.2  # of each batch, never trained on, where the backend has no test set of its own
    approval: Literal["auto", "required"] = "auto"  # whether a person has to approve a batch before it is measured

    @field_validator("method")
    @classmethod
    def _is_a_rule(cls, value: str) -> str:
        if value not in RULES:
            *others, last = map(repr, RULES)
            raise ValueError(f"must be {', '.join(others)} or {last}, got {value!r}")
        return value

    @model_validator(mode="after")
    def _weights_count(self) -> "PlanningConfig":
        if self.weights != "even" and not RULES[self.method].takes_weights:
            takers = " or ".join(repr(rule.name) for rule in RULES.values() if rule.takes_weights)
            raise ValueError(f"planning.weights = {self.weights!r} needs planning.method = {takers}")
        return self


class StopConfig(Settings):
    """When enough is measured; see `glassmap.agent.planning.convergence.decide`."""

    tolerance: Share = 0.05
    patience: Count = 2
    max_rounds: Count = 12
    max_spectra: Count | None = None  # measured, held out ones included
    max_hours: Hours | None = None  # since the campaign began
    max_cpu_hours: Annotated[float, Field(gt=0, le=1e9)] | None = None  # of simulation
