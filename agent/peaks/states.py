"""What a measured sample is by its first peak alone: a glass, a crystal, or sharp lines on a halo. Needs no torch."""

import math
from collections.abc import Mapping
from typing import Literal

from glassmap.agent.peaks.figures import CRYSTALLINE_SHARE, DELTA_Q

State = Literal["glass", "both", "crystalline", "unclear"]
WIDEST_LINE = 0.16  # Å⁻¹; narrower first peaks are crystals' (Ren et al., Sci. Adv. 4, eaaq1566, 2018)
NO_LINES, ALL_LINES = 0.018, 0.84  # crystalline share: up to the one there are no lines, from the other nothing else
SAID: Mapping[State, str] = {
    "glass": "a halo without lines",
    "both": "lines on a halo",
    "crystalline": "a crystal's lines",
    "unclear": "neither a halo nor a crystal's lines",
}
"""What a spectrum looks like."""
LEAST_BROAD = 0.25  # Å⁻¹; from here on a peak is no line itself, and its crystalline share that of lines on it
LEAST_HALO = 0.4  # Å⁻¹; a narrower peak without lines may be a halo's or fine crystals'


def state_of(figures: Mapping[str, float]) -> State:
    """Return what a sample is by what its spectrum shows.

    A glass has a halo and no lines. Lines on a halo, or on what is broad beneath them, are both. How likely an alloy
    counts as a glass by the width of its halo is another question, and `maps.glass` answers it.

    Args:
        figures: Of its first peak, by their names; NaN without one.
    """
    width, share = figures[DELTA_Q.name], figures[CRYSTALLINE_SHARE.name]
    if math.isnan(width):
        return "unclear"
    if WIDEST_LINE <= width < LEAST_BROAD:
        return "unclear"  # fine crystals' or a narrow halo's, with lines or without: the share passes over here
    if share >= ALL_LINES or (width < WIDEST_LINE and share <= NO_LINES):
        return "crystalline"
    if share > NO_LINES:
        return "both"
    return "glass" if width >= LEAST_HALO else "unclear"
