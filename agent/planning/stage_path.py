"""A short way over the stage: in which order the points of a wafer are driven to.

Nearest neighbour and row by row, to and fro, each made shorter by turning parts of it round until none makes it shorter
(2-opt, open at both ends: Croes, Oper. Res. 6, 791 (1958)); the shorter of the two. It is never longer than row by row.
"""

import numpy as np

from glassmap.agent.shapes import PerCandidate, Rows


def stage_path(x: PerCandidate, y: PerCandidate) -> Rows:
    """Return the points in the order in which they are driven to; the same points in another order give the same way.

    Args:
        x: Of each point, mm, shape `(n,)`; no NaN.
        y: The same.

    Returns:
        The rows of the points, shape `(n,)`.
    """
    by_rows = np.lexsort((x, y))  # from here on, points are numbered by rows
    places = np.column_stack([x, y])[by_rows]
    away = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    ways = [_without_crossings(way, away) for way in (_to_and_fro(places), _by_nearest(away))]
    shortest = min(ways, key=lambda way: round(length_of(places[way, 0], places[way, 1]), 9))
    return by_rows[shortest]


def length_of(x: PerCandidate, y: PerCandidate) -> float:
    """Return how long it is from each point to the next, mm."""
    return float(np.hypot(np.diff(x), np.diff(y)).sum())


def _to_and_fro(places: np.ndarray) -> Rows:
    """Return the points row by row, every other row backwards; points come by rows, shape `(n, 2)`."""
    rows = np.unique(places[:, 1], return_inverse=True)[1]
    return np.lexsort((np.where(rows % 2 == 1, -places[:, 0], places[:, 0]), rows))


def _by_nearest(away: np.ndarray) -> Rows:
    """Return the points from the first, each time the nearest that is left; `away` are distances, shape `(n, n)`."""
    left = np.ones(len(away), dtype=bool)
    way = np.zeros(len(away), dtype=np.intp)
    for k in range(len(away)):
        way[k] = 0 if k == 0 else int(np.where(left, away[way[k - 1]], np.inf).argmin())
        left[way[k]] = False
    return way


def _without_crossings(way: Rows, away: np.ndarray) -> Rows:
    """Turn parts of a way round until none makes it shorter."""
    way, n = way.copy(), len(way)
    is_shorter = n > 2
    while is_shorter:
        is_shorter = False
        for first in range(n - 1):
            # turn way[first : last + 1] round, for all last > first: both ends are joined to others, where there are
            last = np.arange(first + 1, n)
            after = np.minimum(last + 1, n - 1)
            gain = np.where(last + 1 < n, away[way[last], way[after]] - away[way[first], way[after]], 0.0)
            if first > 0:
                gain = gain + away[way[first - 1], way[first]] - away[way[first - 1], way[last]]
            best = int(gain.argmax())
            if gain[best] > 1e-9:
                end = int(last[best]) + 1
                way[first:end] = way[first:end][::-1].copy()
                is_shorter = True
    return way
