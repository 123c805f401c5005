"""Which side of the glass boundary each alloy of a map lies on, and how many change sides from round to round."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import PerAlloy

NO_PEAK = 2


def sides_of(delta_q: PerAlloy, rule: GlassRule) -> Integer[np.ndarray, " g"]:
    """Return 1 for a glass, whose first peak is as wide as the threshold, 0 for a narrower one, 2 without a peak."""
    return np.where(np.isnan(delta_q), NO_PEAK, rule.is_glass(delta_q))


def shares_that_change(maps: Sequence[Path | None], rule: GlassRule) -> list[float]:
    """Return the share of alloys that change sides from each map to the next; losing or gaining a peak counts.

    Args:
        maps: Of one space, the oldest first; None for one that is lost, whose changes are NaN.
        rule: What is called a glass, on all of them.

    Raises:
        ModelError: If one is missing, harmed or no map.
    """
    sides = (None if path is None else sides_of(read_map(path)[0][DELTA_Q.name], rule) for path in maps)
    return [
        math.nan if before is None or now is None else np.count_nonzero(before != now) / len(now)
        for before, now in pairwise(sides)
    ]
