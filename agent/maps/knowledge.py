"""Where a map is known and where it is extrapolated, in words; needs no torch."""

import math

import numpy as np

from glassmap.agent.shapes import PerAlloy


def extrapolated_share(known: PerAlloy) -> float | None:
    """Return the share of a map's alloys that are extrapolated; None where that wasn't recorded.

    Args:
        known: The map's column: 1 where it is known, 0 where not, NaN where nobody can say.
    """
    if np.isnan(known).all():
        return None
    return float(np.mean(known != 1))


def say_extrapolated(share: float | None) -> str:
    """Return a sentence such as `37 % of the map is extrapolated`."""
    if share is None:
        return "How much of the map is extrapolated wasn't recorded"
    return f"{100 * share:.0f} % of the map is extrapolated"


def say_known(expected_error: float, known_below: float, distance_at_pct: float) -> str:
    """Return a sentence of one alloy: whether it is known, and why.

    Args:
        expected_error: Root mean squared error that its spectrum is expected to have; NaN where nobody can say.
        known_below: The expected error below which an alloy is known, in the same unit.
        distance_at_pct: To the nearest alloy learned from; NaN where that wasn't recorded.
    """
    if math.isnan(expected_error) or math.isnan(known_below):
        return (
            "Whether it is known here can't be said: the model is older than that figure, or learned from too few "
            "alloys to leave any out."
        )
    expected = f"its spectrum is expected to err by {expected_error:.3g} (root mean square)"
    if expected_error < known_below:
        return f"Known here: {expected}, and less than {known_below:.3g} is called known."
    where = "" if math.isnan(distance_at_pct) else f"{distance_at_pct:.1f} at.% from the nearest alloy learned from, "
    return (
        f"Not known here: {where}{expected}, and only less than {known_below:.3g} is called known; what is said of "
        "this alloy is extrapolated."
    )
