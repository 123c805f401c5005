"""How a ternary is drawn, in print and in a browser alike: where its parts are and what colour.

The axes run counter-clockwise, as is usual: the ticks of the upper element stand on the right edge and rise, those of
the left one on the left edge and fall, those of the right one below and go right. Each tick leans along the lines on
which its element keeps that share, and has the colour of its element.
"""

# contourpy has no types
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from contourpy import contour_generator
from jaxtyping import Float, Int, UInt8

from glassmap.agent.shapes import Compositions, GridCompositions, Mask, PerAlloy, PerSample

HEIGHT = 3**0.5 / 2  # of the triangle, whose edges are 1 long
CORNERS = np.array([[0.5, HEIGHT], [0, 0], [1, 0]])  # top, left, right
INKS = ("#0072b2", "#d55e00", "#009e73")  # of the three elements' axes
TICK = 0.014  # length
TICKS_APART_AT_PCT = (20, 10, 5, 2, 1)  # the first that gives three ticks or more
PIXELS = (780, 900)  # of the picture of the cells, rows and columns
NO_PEAK = "#bababa"  # grey of an alloy without a value
FADED = 0.42  # opacity of an alloy that is extrapolated
HATCH_APART = 0.024
CHANCES = ("#0072b2", "#56b4e9", "#f3ecd0", "#e69f00", "#d55e00")  # of a probability; pale where it is undecided
TICK_LABEL_EMS, TITLE_EMS, CORNER_EMS = 1.5, 3.2, 1.4  # from the triangle to a text's middle
VIRIDIS = (  # of matplotlib, to 2 %
    *("#440154", "#48186a", "#472d7b", "#424086", "#3b528b", "#33638d", "#2c728e", "#26828e", "#21918c"),
    *("#1fa088", "#28ae80", "#3fbc73", "#5ec962", "#84d44b", "#addc30", "#d8e219", "#fde725"),
)

Points = Float[np.ndarray, "p 2"]
Line = Float[np.ndarray, "p 2"]  # a row of NaN lifts the pen
Colours = UInt8[np.ndarray, "n 3"]
Picture = UInt8[np.ndarray, "height width 4"]


class Label(NamedTuple):
    """A text beside the triangle."""

    text: str
    at: tuple[float, float]
    away: tuple[float, float]  # unit vector from there to the text's middle
    angle: float  # degrees, counter-clockwise


class TernaryAxis(NamedTuple):
    """One element's axis."""

    colour: str
    edge: Line
    ticks: Line
    grid: Line
    tick_labels: list[Label]
    title: Label
    corner: Label


class Boundary(NamedTuple):
    """What of a map is drawn as the boundary of the glass: a figure of every alloy, and the levels that it crosses."""

    values: PerAlloy  # NaN where there is none
    levels: tuple[float, ...]  # the first drawn strong, the others thin
    name: str  # what the lines are, in the legend

    def of(self, rows: Mask) -> "Boundary":
        """Return that of some alloys."""
        return self._replace(values=self.values[rows])


class Contour(NamedTuple):
    """Where a figure crosses a level."""

    inside: Line
    outside: Line  # the same where that is extrapolated
    is_strong: bool


class Cells(NamedTuple):
    """A figure of every alloy, painted."""

    image: Picture  # over the triangle's width and height, the top row first
    hatch: Line  # over what is extrapolated
    contours: list[Contour]  # of the boundary, thin ones first; levels that nothing crosses are left out


def positions(compositions: Compositions) -> Points:
    """Return where alloys are; a slice's shares of three elements need not sum to 1."""
    return compositions / compositions.sum(axis=1, keepdims=True) @ CORNERS


def shares_at(points: Points) -> Compositions:
    """Return the alloys at some points, as shares that sum to 1."""
    top = points[:, 1] / HEIGHT
    right = points[:, 0] - top / 2
    return np.stack([top, 1 - top - right, right], axis=1)


def axes_of(elements: Sequence[str], total_at_pct: float = 100.0) -> list[TernaryAxis]:
    """Return the axes of the top, left and right element.

    Args:
        elements: In that order.
        total_at_pct: What the three share: 100, or what a slice's other elements leave.
    """
    apart = next(step for step in TICKS_APART_AT_PCT if total_at_pct / step > 3 or step == TICKS_APART_AT_PCT[-1])
    ticks = np.arange(apart, total_at_pct - 0.5 * apart, apart)
    axes: list[TernaryAxis] = []
    for k, element in enumerate(elements):
        on, off = CORNERS[(k + 2) % 3], CORNERS[(k + 1) % 3]  # the ticks' edge ends at the first
        leaning = on - off
        share = (ticks / total_at_pct)[:, None]
        begins = share * CORNERS[k] + (1 - share) * on
        outwards = (CORNERS[k] + on) / 2 - CORNERS.mean(axis=0)
        from_middle = CORNERS[k] - CORNERS.mean(axis=0)
        axes.append(
            TernaryAxis(
                colour=INKS[k],
                edge=np.array([on, CORNERS[k]]),
                ticks=_pen_lifted(begins, begins + TICK * leaning),
                grid=_pen_lifted(begins, share * CORNERS[k] + (1 - share) * off),
                tick_labels=[
                    Label(f"{tick:g}", (x, y), (leaning[0], leaning[1]), (0.0, -60.0, 60.0)[k])
                    for tick, (x, y) in zip(ticks.tolist(), begins.tolist(), strict=True)
                ],
                title=_label(
                    (f"← {element} (at.%)", f"← {element} (at.%)", f"{element} (at.%) →")[k],
                    (CORNERS[k] + on) / 2,
                    outwards,
                    (-60.0, 60.0, 0.0)[k],
                ),
                corner=_label(element, CORNERS[k], from_middle, 0.0),
            )
        )
    return axes


def _label(text: str, at: Float[np.ndarray, "2"], away: Float[np.ndarray, "2"], angle: float) -> Label:
    unit = away / np.linalg.norm(away)
    return Label(text, (float(at[0]), float(at[1])), (float(unit[0]), float(unit[1])), angle)


def colour_range(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Return where a colour scale begins and ends in every picture of that figure: 1st and 99th percentile."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, [1, 99])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def rgb_of(colour: str) -> list[int]:
    """Return a colour's red, green and blue, 0 to 255, from `#rrggbb`."""
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]


def colours_of(values: PerSample, limits: tuple[float, float], scale: Sequence[str] = VIRIDIS) -> Colours:
    """Return the colours of some values; of NaN grey.

    Args:
        values: Shape (n,).
        limits: Whose colours are the first and the last of the scale; what is beyond has the same.
        scale: Colours as `#rrggbb`, evenly spaced.
    """
    stops = np.array([rgb_of(colour) for colour in scale])
    place = np.clip((values - limits[0]) / (limits[1] - limits[0]), 0, 1) * (len(stops) - 1)
    channels = [np.interp(np.nan_to_num(place), np.arange(len(stops)), channel) for channel in stops.T]
    found = np.stack(channels, axis=1).round().astype(np.uint8)
    return np.where(np.isnan(values)[:, None], np.array(rgb_of(NO_PEAK), dtype=np.uint8), found)


class _Lattice(NamedTuple):
    """The grid that a ternary's alloys, or a slice's, are points of."""

    steps: int  # from a corner to another
    rows: Int[np.ndarray, "steps+1 steps+1"]  # row of an alloy by its steps of the top and the right element, or -1

    def rows_at(self, points: Points) -> Int[np.ndarray, " p"]:
        """Return the row of the alloy whose cell each point is in; -1 where there is none."""
        return self._rows[_cells_at(points, self.steps)]

    def rows_of_pixels(self) -> Int[np.ndarray, " p"]:
        """Return the same of every point of a picture, the top row first."""
        return self._rows[_cells_of_pixels(self.steps)]

    @property
    def _rows(self) -> Int[np.ndarray, " cells"]:
        return np.append(self.rows, -1)


def _cells_at(points: Points, steps: int) -> Int[np.ndarray, " p"]:
    """Return the number of the grid point that each point is nearest to, counted along the rows; -1 outside."""
    shares = steps * shares_at(points)
    nearest = np.rint(shares)
    worst = np.abs(nearest - shares).argmax(axis=1)
    nearest[np.arange(len(points)), worst] += steps - nearest.sum(axis=1)  # rounded alone, three may miss the sum
    inside = (nearest >= 0).all(axis=1) & (shares >= -1e-9).all(axis=1)
    return np.where(inside, nearest[:, 0] * (steps + 1) + nearest[:, 2], -1).astype(np.int64)


@lru_cache(maxsize=4)  # a page is drawn again and again on one grid
def _cells_of_pixels(steps: int) -> Int[np.ndarray, " p"]:
    height, width = PIXELS
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, HEIGHT * (1 - (np.arange(height) + 0.5) / height))
    return _cells_at(np.stack([x.ravel(), y.ravel()], axis=1), steps)


def _lattice(compositions: GridCompositions) -> _Lattice:
    shares = compositions / compositions.sum(axis=1, keepdims=True)
    gaps = [gap for column in shares.T for gap in np.diff(np.unique(column.round(5))).tolist()]
    steps = round(1 / min(gaps, default=1))
    rows = np.full((steps + 1, steps + 1), -1)
    top, _, right = np.rint(steps * shares).astype(np.int64).T
    rows[top, right] = np.arange(len(shares))
    return _Lattice(steps, rows)


def paint(
    compositions: GridCompositions,
    colours: Colours,
    extrapolated: Mask,
    *,
    boundary: Boundary | None = None,
) -> Cells:
    """Paint every alloy's cell, hatch what is extrapolated, and draw the boundary of the glass.

    Args:
        compositions: A grid of three elements, all of a sum; shape (g, 3).
        colours: Of each.
        extrapolated: Which of them are faded and hatched.
        boundary: Of these alloys.
    """
    nothing = np.empty((0, 2))
    if not len(compositions):
        return Cells(np.zeros((*PIXELS, 4), dtype=np.uint8), nothing, [])
    lattice = _lattice(compositions)
    opacity = np.where(extrapolated, round(255 * FADED), 255).astype(np.uint8)
    painted = np.concatenate([np.column_stack([colours, opacity]), np.zeros((1, 4), dtype=np.uint8)])
    image = painted[lattice.rows_of_pixels()].reshape(*PIXELS, 4)
    contours = [] if boundary is None else list(_contours(lattice, extrapolated, boundary))
    return Cells(image, _hatch(lattice, extrapolated), contours)


def _contours(lattice: _Lattice, extrapolated: Mask, boundary: Boundary) -> Iterator[Contour]:
    for level in boundary.levels[::-1]:
        inside, outside = [], []
        for line in _contour(lattice, boundary.values, level):
            rows = lattice.rows_at((line[1:] + line[:-1]) / 2)
            is_outside = np.append(extrapolated, False)[rows]
            inside += _runs(line, ~is_outside)
            outside += _runs(line, is_outside)
        if inside or outside:
            yield Contour(_joined(inside), _joined(outside), level == boundary.levels[0])


def _hatch(lattice: _Lattice, extrapolated: Mask) -> Line:
    """Return lines that rise at 45 degrees over the cells of some alloys."""
    begins = np.arange(-HEIGHT, 1, HATCH_APART)  # where they cross the lower edge
    along = np.linspace(0, HEIGHT, PIXELS[0])
    points = np.stack(np.broadcast_arrays(begins[:, None] + along, along), axis=-1)
    rows = lattice.rows_at(points.reshape(-1, 2)).reshape(len(begins), len(along))
    drawn = np.pad(np.append(extrapolated, False)[rows], ((0, 0), (1, 1)))
    change = np.diff(drawn.astype(np.int8), axis=1)
    line, first = np.nonzero(change == 1)
    _, past = np.nonzero(change == -1)
    return _pen_lifted(points[line, first], points[line, past - 1])


def _contour(lattice: _Lattice, values: PerAlloy, level: float) -> list[Line]:
    known = np.append(values.astype(np.float64), np.nan)[lattice.rows]
    top, right = np.meshgrid(*2 * [np.arange(lattice.steps + 1) / lattice.steps], indexing="ij")
    z = np.ma.masked_invalid(known)
    lines = contour_generator(right + top / 2, top * HEIGHT, z, corner_mask=True).lines(level)
    return [np.array(line) for line in lines]


def _runs(line: Line, drawn: Mask) -> list[Line]:
    """Return the parts of a line whose pieces are to be drawn."""
    change = np.diff(np.pad(drawn, 1).astype(np.int8))
    return [line[a : b + 1] for a, b in zip(np.flatnonzero(change == 1), np.flatnonzero(change == -1), strict=True)]


def _joined(lines: list[Line]) -> Line:
    """Return lines as one, the pen lifted between them."""
    return np.concatenate([part for line in lines for part in (line, np.full((1, 2), np.nan))] or [np.empty((0, 2))])


def _pen_lifted(begins: Points, ends: Points) -> Line:
    """Return straight lines as one."""
    return np.stack([begins, ends, np.full_like(begins, np.nan)], axis=1).reshape(-1, 2)
