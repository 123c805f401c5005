"""Where a map is known and where it is extrapolated, in words; needs no torch."""

import numpy as np

from glassmap.agent.shapes import PerAlloy


def extrapolated_share(known: PerAlloy) -> float | None:
    """Return the share of a map's alloys that are extrapolated; None where that wasn't recorded.

    Args:
        known: The map's column: 1 where it is known, 0 where not, NaN where nobody can say.
    """
    if np.isnan(known.astype(np.float64)).all():
        return None
    return float(np.mean(known != 1))


def say_extrapolated(share: float | None) -> str:
    """Return a sentence such as `37 % of the map is extrapolated`."""
    if share is None:
        return "How much of the map is extrapolated wasn't recorded"
    return f"{100 * share:.0f} % of the map is extrapolated"
