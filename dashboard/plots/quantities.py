"""What a map can show of every alloy: its words, its colours, and whether the boundary of the glass is drawn on it."""

from collections.abc import Sequence
from typing import NamedTuple

from glassmap.agent.maps.glass import P_GLASS
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.dashboard.plots.ternary import CHANCES, VIRIDIS


class Quantity(NamedTuple):
    """A figure of an alloy that a map can show."""

    title: str
    unit: str
    digits: int
    colours: Sequence[str] = VIRIDIS
    has_boundary: bool = False  # whether the boundary of the glass is drawn over it

    @property
    def label(self) -> str:
        """Return title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


QUANTITIES = {  # by the map's columns
    P_GLASS: Quantity("P(glass), probability that a sample is a glass", "", 2, CHANCES, has_boundary=True),
    **{f.name: Quantity(f.title, f.unit, f.digits, has_boundary=f == DELTA_Q) for f in FIGURES},
    **{f.predictive_std_name: Quantity(f"std of a new measurement of {f.label}", f.unit, f.digits) for f in FIGURES},
    **{f.std_name: Quantity(f"epistemic std of {f.label}", f.unit, f.digits) for f in FIGURES},
    "distance": Quantity("distance to the nearest alloy learned from", "at.%", 1),
    "peak_share": Quantity("share of the model that finds a peak", "", 2),
}
