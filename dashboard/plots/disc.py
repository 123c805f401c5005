"""How a wafer is drawn, in print and in a browser alike: its disc, its points' cells, and what of a system they reach.

The cell of a point is the square about it that is as wide as the grid's pitch. A composition's colour is a mixture of
the inks of its elements, and so varied that the alloys of all wafers together have all colours there are.
"""

from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial import Delaunay, KDTree, QhullError

from glassmap.agent.shapes import Compositions, Mask, PerSample
from glassmap.dashboard.plots.ternary import INKS, Colours, Line, Picture, Points, rgb_of

PIXELS = 420  # of the picture of the cells, rows and columns
ROUND = 128  # corners of the rim
PALE = (128, 128, 128, 40)  # red, green, blue and opacity of a point that has no colour


class Shown(NamedTuple):
    """What the points of a wafer are coloured by."""

    title: str
    colours: Colours  # of each point
    texts: tuple[str, ...]  # what is said of each
    limits: tuple[float, float] = (0.0, 1.0)  # of the scale
    scale: Sequence[str] = ()  # its colours; empty where it is no figure
    is_there: Mask | None = None  # which points have a colour; None where all have

    def of(self, rows: Mask) -> "Shown":
        """Return that of some points."""
        return self._replace(
            colours=self.colours[rows],
            texts=tuple(compress(self.texts, rows)),
            is_there=None if self.is_there is None else self.is_there[rows],
        )


class Disc(NamedTuple):
    """A wafer's rim, mm."""

    x: float
    y: float
    radius: float

    @property
    def rim(self) -> Line:
        """The line about it."""
        angle = np.linspace(0, 2 * np.pi, ROUND + 1)
        return np.column_stack([self.x + self.radius * np.cos(angle), self.y + self.radius * np.sin(angle)])

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of its picture."""
        return self.x - self.radius, self.x + self.radius, self.y - self.radius, self.y + self.radius


def disc_of(x: PerSample, y: PerSample, diameter: float | None) -> Disc:
    """Return where a wafer ends: as it is made, where all points lie on it; else just beyond its points.

    Args:
        x: mm, of its points.
        y: The same.
        diameter: mm; None where it isn't known.
    """
    if diameter is not None and np.hypot(x, y).max(initial=0.0) <= diameter / 2:
        return Disc(0.0, 0.0, diameter / 2)
    middle = (np.ptp(x) / 2 + x.min(), np.ptp(y) / 2 + y.min()) if len(x) else (0.0, 0.0)
    farthest = float(np.hypot(x - middle[0], y - middle[1]).max(initial=0.0))
    return Disc(float(middle[0]), float(middle[1]), farthest + _pitch(x, y))


def _pitch(x: PerSample, y: PerSample) -> float:
    """Return how far a point usually lies from the nearest other, mm."""
    if len(x) < 2:
        return 5.0
    places = np.column_stack([x, y])
    return float(np.median(np.asarray(KDTree(places).query(places, k=2)[0])[:, 1])) or 5.0


def cells_of(disc: Disc, x: PerSample, y: PerSample) -> Int[np.ndarray, "height width"]:
    """Return the point whose cell each pixel of a disc's picture is in, the top row first; -1 beside them all."""
    left, right, bottom, top = disc.extent
    middles = (np.arange(PIXELS) + 0.5) / PIXELS
    across, up = np.meshgrid(left + (right - left) * middles, top - (top - bottom) * middles)
    places, half = np.column_stack([across.ravel(), up.ravel()]), 0.5 * _pitch(x, y)
    if not len(x):
        return np.full((PIXELS, PIXELS), -1)
    nearest = np.asarray(KDTree(np.column_stack([x, y])).query(places, p=np.inf, distance_upper_bound=1.02 * half)[1])
    return np.where(nearest == len(x), -1, nearest).reshape(PIXELS, PIXELS)


def paint_disc(disc: Disc, x: PerSample, y: PerSample, shown: Shown) -> Picture:
    """Return the picture of a disc's cells; those of points that have no colour are left pale."""
    opacity = np.full((len(x), 1), 255, dtype=np.uint8)
    colours = np.hstack([shown.colours, opacity])
    if shown.is_there is not None:
        colours[~shown.is_there] = PALE
    return np.concatenate([colours, np.zeros((1, 4), dtype=np.uint8)])[cells_of(disc, x, y)]


class Blend(NamedTuple):
    """What colour the alloys of a ternary have."""

    low: Float[np.ndarray, "3"]  # atomic fraction that none is below
    left: float  # what these leave of 1

    def colours(self, compositions: Compositions) -> Colours:
        """Return the colours of alloys, shape `(n, 3)` each; an alloy beyond has that of the nearest within."""
        shares = ((compositions / compositions.sum(axis=1, keepdims=True) - self.low) / self.left).clip(0, 1)
        shares /= shares.sum(axis=1, keepdims=True)
        inks = np.array([rgb_of(ink) for ink in INKS]) / 255
        light = (shares @ inks**2.2) ** (1 / 2.2)
        pale = 1 - np.ptp(np.sort(shares, axis=1)[:, [0, 2]], axis=1)[:, None]  # 1 in the middle
        return (255 * (light + 0.75 * pale**1.5 * (1 - light))).round().astype(np.uint8)


def blend_over(compositions: Compositions) -> Blend:
    """Return the colours that are most varied over some alloys of a ternary, shape `(n, 3)`."""
    low = (compositions / compositions.sum(axis=1, keepdims=True)).min(axis=0)
    left = 1 - float(low.sum())
    return Blend(low, left) if left > 0.01 else Blend(np.zeros(3), 1.0)


def outline_of(points: Points) -> Line:
    """Return the line about some points, so tight that they are just in one piece; of points on a line, that line.

    It is an alpha shape (Edelsbrunner, Kirkpatrick & Seidel, IEEE Trans. Inf. Theory 29, 551 (1983)): the triangles
    between neighbours whose circle is no wider than twice the widest gap between the points.
    """
    distinct = np.unique(points.round(6), axis=0)
    try:
        corners = Delaunay(distinct).simplices
    except (QhullError, ValueError):
        along = np.argsort((distinct - distinct.mean(axis=0)) @ np.ptp(distinct, axis=0))
        return distinct[along[[0, -1]]] if len(along) > 1 else distinct
    a, b, c = (distinct[corners[:, k]] for k in range(3))
    sides = np.stack([np.linalg.norm(p - q, axis=1) for p, q in ((a, b), (b, c), (a, c))])
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
    radius = sides.prod(axis=0) / (4 * area).clip(1e-12)
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    each, first = np.unique(edges, axis=0, return_index=True)
    graph = coo_array((sides.ravel()[first], each.T), shape=(len(distinct), len(distinct)))
    gap = float(minimum_spanning_tree(graph).data.max())
    kept = np.tile(radius <= gap, 3)
    rim, times = np.unique(edges[kept], axis=0, return_counts=True)
    return _chained(distinct, rim[times == 1])


def _chained(points: Points, edges: Int[np.ndarray, "m 2"]) -> Line:
    """Return edges as lines with the pen lifted between them."""
    to: dict[int, list[int]] = {}
    for one, other in edges.tolist():
        to.setdefault(one, []).append(other)
        to.setdefault(other, []).append(one)
    lines = list[Line]()
    for start in to:
        line = [start]
        while others := to[line[-1]]:
            after = others.pop()
            to[after].remove(line[-1])
            line.append(after)
        if len(line) > 1:
            lines += [points[line], np.full((1, 2), np.nan)]
    return np.concatenate(lines[:-1]) if lines else np.empty((0, 2))
