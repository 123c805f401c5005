"""The geometry of a ternary, which print and browser share."""

import numpy as np
import pytest

from glassmap.dashboard.plots.ternary import (
    CORNERS,
    FADED,
    HEIGHT,
    INKS,
    NO_PEAK,
    PIXELS,
    VIRIDIS,
    Boundary,
    axes_of,
    colours_of,
    paint,
    positions,
    rgb_of,
    shares_at,
)

NOWHERE = np.zeros(66, dtype=bool)


def grid(step_at_pct: int = 10) -> np.ndarray:
    """Every alloy of three elements, as atomic fraction."""
    n = 100 // step_at_pct
    return np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]) / n


def pixel(image: np.ndarray, composition: np.ndarray) -> list[int]:
    """The colour at an alloy, a little towards the middle."""
    x, y = positions(0.98 * composition[None] + 0.02 / 3)[0]
    return image[int((1 - y / HEIGHT) * PIXELS[0]), int(x * PIXELS[1])].tolist()


def test_each_element_s_ticks_count_its_own_share_and_lean_along_the_lines_on_which_it_keeps_it():
    for k, axis in enumerate(axes_of(("Co", "V", "Zr"))):
        assert axis.colour == INKS[k] and axis.corner.at == tuple(CORNERS[k])
        lines = axis.grid.reshape(-1, 3, 2)
        for line, label in zip(lines, axis.tick_labels, strict=True):
            np.testing.assert_allclose(shares_at(line[:2])[:, k], float(label.text) / 100)
            along = (line[1] - line[0]) / np.linalg.norm(line[1] - line[0])
            np.testing.assert_allclose(label.away, -along, atol=1e-12, err_msg="the tick goes on where the line ends")
            lean = np.array([np.cos(np.radians(label.angle)), np.sin(np.radians(label.angle))])
            assert abs(lean @ along) == pytest.approx(1)


def test_axes_run_counter_clockwise():
    edges = [axis.edge for axis in axes_of(("Co", "V", "Zr"))]
    for k, (edge, following) in enumerate(zip(edges, [*edges[1:], edges[0]], strict=True)):
        np.testing.assert_array_equal(edge[1], CORNERS[k])
        np.testing.assert_array_equal(following[0], edge[1], "each ends at its corner, where the next begins")


def test_a_point_is_the_alloy_that_stands_there():
    compositions = np.random.default_rng(0).dirichlet([1, 1, 1], 50)
    np.testing.assert_allclose(shares_at(positions(compositions)), compositions)
    np.testing.assert_allclose(positions(0.8 * compositions), positions(compositions), err_msg="of a slice, too")


def test_every_alloy_s_cell_has_its_colour_and_what_is_extrapolated_is_faded():
    compositions = grid()
    values = np.arange(66.0)
    values[7] = np.nan
    outside = compositions[:, 0] > 0.55
    image = paint(compositions, colours_of(values, (0, 65)), outside).image
    for row, colour in enumerate(colours_of(values, (0, 65)).tolist()):
        assert pixel(image, compositions[row]) == [*colour, round(255 * FADED) if outside[row] else 255]
    assert pixel(image, compositions[7])[:3] == rgb_of(NO_PEAK)
    assert (image[..., 3] > 0).mean() == pytest.approx(0.5, abs=0.002), "there are no seams between cells"


def test_a_grid_that_leaves_alloys_out_leaves_their_cells_empty():
    compositions = grid()[grid()[:, 2] <= 0.4]
    image = paint(compositions, colours_of(np.ones(len(compositions)), (0, 1)), np.zeros(len(compositions), bool)).image
    assert pixel(image, np.array([0.0, 0.0, 1.0]))[3] == 0 and pixel(image, np.array([1.0, 0.0, 0.0]))[3] == 255


def test_the_hatching_covers_what_is_extrapolated_and_nothing_else():
    compositions = grid()
    outside = compositions[:, 0] > 0.55
    hatch = paint(compositions, colours_of(np.ones(66), (0, 1)), outside).hatch
    drawn = shares_at(hatch[np.isfinite(hatch[:, 0])])
    assert len(drawn) and drawn[:, 0].min() > 0.49 and drawn[:, 0].max() > 0.95
    assert not len(paint(compositions, colours_of(np.ones(66), (0, 1)), NOWHERE).hatch)


def test_the_boundary_is_where_the_figure_crosses_the_level_and_apart_where_that_is_extrapolated():
    compositions = grid()
    widths, outside = compositions[:, 1].copy(), compositions[:, 0] > 0.55
    edges = Boundary(widths, (0.25, 0.65, 2.0), "widths")
    thin, strong = paint(compositions, colours_of(widths, (0, 1)), outside, boundary=edges).contours
    assert (thin.is_strong, strong.is_strong) == (False, True), "what nothing crosses isn't drawn"
    for line, level, is_outside in ((strong.inside, 0.25, False), (strong.outside, 0.25, True)):
        shares = shares_at(line[np.isfinite(line[:, 0])])
        np.testing.assert_allclose(shares[:, 1], level, atol=1e-9)
        assert (shares[:, 0].min() > 0.4) == is_outside
    np.testing.assert_allclose(shares_at(thin.inside[np.isfinite(thin.inside[:, 0])])[:, 1], 0.65, atol=1e-9)
    widths[compositions[:, 0] < 0.35] = np.nan
    known = paint(compositions, colours_of(widths, (0, 1)), NOWHERE, boundary=edges).contours[-1].inside
    assert np.nanmin(known[:, 1]) > 0.3, "where there is no peak, nothing is drawn"


def test_colours_end_with_the_scale_and_are_grey_where_there_is_no_value():
    found = colours_of(np.array([-1.0, 0.0, 1.0, 2.0, np.nan]), (0, 1)).tolist()
    first, last = rgb_of(VIRIDIS[0]), rgb_of(VIRIDIS[-1])
    assert found == [first, first, last, last, rgb_of(NO_PEAK)]
