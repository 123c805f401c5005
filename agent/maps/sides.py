"""Which side of the glass boundary each alloy of a map lies on, and how many change sides from round to round."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Integer

from glassmap.agent.data.composition import SYMBOLS
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import PerAlloy, Rows

Columns = Mapping[str, np.ndarray]  # of a map, as `read_map` gives them

NO_PEAK = 2


def sides_of(delta_q: PerAlloy, rule: GlassRule) -> Integer[np.ndarray, " g"]:
    """Return 1 for a glass, whose first peak is as wide as the threshold, 0 for a narrower one, 2 without a peak."""
    return np.where(np.isnan(delta_q), NO_PEAK, rule.is_glass(delta_q))


def common_alloys(before: Columns, now: Columns) -> tuple[Rows, Rows]:
    """Return in which rows of two maps the alloys stand that both hold, in the order of their shares.

    Their spaces may differ in bounds, limits and step, not in elements.
    """
    shares = [np.stack([columns[e] for e in columns if e in SYMBOLS], axis=1) for columns in (before, now)]
    if np.array_equal(*shares):
        return np.arange(len(shares[0])), np.arange(len(shares[1]))
    alloy = np.unique(np.concatenate(shares), axis=0, return_inverse=True)[1].reshape(-1)
    first, second = np.split(alloy, [len(shares[0])])
    return np.intersect1d(first, second, assume_unique=True, return_indices=True)[1:]


def shares_that_change(maps: Sequence[Path | None], rule: GlassRule) -> list[float]:
    """Return the share of alloys that change sides from each map to the next; losing or gaining a peak counts.

    Args:
        maps: The oldest first; None for one that is lost, whose changes are NaN. Of two spaces, the alloys count that
            both hold; without any, the change is NaN.
        rule: What is called a glass, on all of them.

    Raises:
        ModelError: If one is missing, harmed or no map.
    """
    columns = (None if path is None else read_map(path)[0] for path in maps)
    return [
        math.nan if before is None or now is None else _share_that_changes(before, now, rule)
        for before, now in pairwise(columns)
    ]


def _share_that_changes(before: Columns, now: Columns, rule: GlassRule) -> float:
    rows = common_alloys(before, now)
    first, second = (
        sides_of(columns[DELTA_Q.name][some], rule) for columns, some in zip((before, now), rows, strict=True)
    )
    return float(np.mean(first != second)) if len(first) else math.nan
