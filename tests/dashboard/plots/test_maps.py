"""Figures of maps: corners, slices, colours."""

import json
from typing import Any

import numpy as np
import plotly.graph_objects as go

from glassmap.dashboard.plots.maps import Marks, draw_ternary
from glassmap.dashboard.plots.ternary import colour_range


def _texts(figure: go.Figure) -> list[str]:
    return [note["text"] for note in json.loads(str(figure.to_json()))["layout"]["annotations"]]


def test_a_slice_s_axes_are_in_at_pct_and_end_at_what_the_others_leave():
    figure = draw_ternary(0.8 * np.eye(3), np.ones(3), quantity="delta_q", elements=("Zr", "Cu", "Al"), limits=(0, 1))
    assert [text for text in _texts(figure) if text.isdigit()] == 3 * ["20", "40", "60"]
    quarter = draw_ternary(0.25 * np.eye(3), np.ones(3), quantity="q1", elements=("Zr", "Cu", "Al"), limits=(0, 1))
    assert [text for text in _texts(quarter) if text.isdigit()] == 3 * ["5", "10", "15", "20"]


def test_what_stands_under_the_pointer_says_at_pct_value_and_whether_it_is_extrapolated():
    figure = draw_ternary(
        np.eye(3),
        np.array([1.0, 2.0, np.nan]),
        quantity="q1",
        elements=("Zr", "Cu", "Al"),
        limits=(1, 2),
        known=np.array([1.0, 0.0, 0.0]),
    )
    traces: Any = figure.data
    said = {tuple(trace.customdata[0][:3]): trace.hovertemplate for trace in traces if trace.customdata is not None}
    assert "extrapolated" not in said[100, 0, 0] and "extrapolated" in said[0, 100, 0]
    assert "no trustworthy first peak<br>extrapolated" in said[0, 0, 100]


def test_a_slice_keeps_the_marks_that_are_near_it():
    at = np.array([[0.4, 0.4, 0.2], [0.1, 0.1, 0.8]])
    marks = Marks(
        measured=at,
        measured_texts=["a", "b"],
        measured_values=np.array([1.0, 2.0]),
        held_out=np.array([True, False]),
        flagged=at[1:],
        flagged_texts=["b: a line"],
        chosen=at[1],
    )
    near = marks.where(lambda shares: shares[:, 2] < 0.5, [0, 1])
    assert near.measured_texts == ["a"] and near.measured.shape == (1, 2) and near.held_out is not None
    assert near.held_out.tolist() == [True] and near.flagged_texts == [] and near.chosen is None


def test_a_colour_range_leaves_out_the_outermost_and_holds_for_a_constant():
    assert colour_range(np.array([np.nan, *range(101)])) == (1, 99)
    assert colour_range(np.array([np.nan, 2.0, 2.0])) == (1.5, 2.5)
    assert colour_range(np.array([np.nan])) == (0, 1)
