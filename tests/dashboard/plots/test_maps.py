"""Figures of maps: corners, slices, colours."""

import json

import numpy as np

from glassmap.dashboard.plots.maps import colour_range, draw_ternary


def test_corners_of_a_ternary_go_counter_clockwise_from_the_top():
    corners = np.eye(3)
    figure = draw_ternary(
        corners, np.array([1.0, 2.0, np.nan]), quantity="q1", elements=("Zr", "Cu", "Al"), limits=(1, 2)
    )
    layout = json.loads(str(figure.to_json()))["layout"]["ternary"]
    titles = [layout[axis]["title"]["text"] for axis in ("aaxis", "baxis", "caxis")]
    assert titles == ["Zr (at.%)", "Cu (at.%)", "Al (at.%)"]
    assert list(figure["data"][0]["c"]) == [100], "an alloy without a peak is grey"
    assert list(figure["data"][1]["a"]) == [100, 0]


def test_a_slice_is_labelled_by_what_remains():
    figure = draw_ternary(
        0.8 * np.eye(3), np.ones(3), quantity="delta_q", elements=("Zr", "Cu", "Al"), limits=(0, 1), sum_at_pct=80
    )
    layout = json.loads(str(figure.to_json()))["layout"]
    assert layout["ternary"]["sum"] == 80 and "of the remaining 80 %" in layout["annotations"][0]["text"]
    assert layout["ternary"]["aaxis"]["tickvals"] == [16, 32, 48, 64]
    assert layout["ternary"]["aaxis"]["ticktext"] == ["20", "40", "60", "80"]


def test_a_colour_range_leaves_out_the_outermost_and_holds_for_a_constant():
    assert colour_range(np.array([np.nan, *range(101)])) == (1, 99)
    assert colour_range(np.array([np.nan, 2.0, 2.0])) == (1.5, 2.5)
    assert colour_range(np.array([np.nan])) == (0, 1)
