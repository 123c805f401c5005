"""What a campaign calls a glass."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from glassmap.agent.config.settings import Settings
from glassmap.agent.maps.glass import GLASS_DELTA_Q, GlassRule

Width = Annotated[float, Field(gt=0, lt=10)]  # 1/Å
WidthStd = Annotated[float, Field(ge=0, lt=1)]  # 1/Å


class GlassConfig(Settings):
    """The threshold of Δq, or the table that it is learnt from; may change at any time, and the next map goes by it."""

    threshold: Width | None = Field(default=None, examples=[0.57])
    """Δq (1/Å) from which an alloy is called a glass; 0.57 by default, as for sputtered films."""
    threshold_std: WidthStd = 0.0
    """How uncertain the threshold is: its standard deviation, 1/Å."""
    labels: Path | None = Field(default=None, examples=["labels.csv"])
    """A table of alloys or samples with a column `glass`, from which the threshold is learnt instead."""
    calibration: Literal["logistic", "isotonic"] = "logistic"
    """How P(glass) is learnt from labels: as a logistic curve over Δq, or as any that rises."""

    @model_validator(mode="after")
    def _is_one_way(self) -> "GlassConfig":
        if self.labels is not None and (self.threshold is not None or self.threshold_std):
            raise ValueError(
                "glass.labels say what the threshold is: take out glass.threshold and threshold_std, or the labels"
            )
        return self

    @property
    def rule(self) -> GlassRule:
        """The rule as it stands in the file; where labels are given that by which it goes until there are enough."""
        return GlassRule(GLASS_DELTA_Q if self.threshold is None else self.threshold, self.threshold_std)


def is_glass_given(settings: Mapping[str, Any]) -> bool:
    """Return whether a person said what a glass is; of settings as they are recorded.

    Unless so, simulated spectra, whose first peaks have other widths than those of films, aren't told apart.
    """
    glass: Mapping[str, Any] = settings.get("glass", {})  # came later
    return any(glass.get(name) is not None for name in ("threshold", "labels"))
