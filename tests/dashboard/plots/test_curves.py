"""Learning curves against spectra, wafers and hours."""

import json
import math

import plotly.graph_objects as go

from glassmap.agent.planning.convergence import CurvePoint, Effort, Estimate
from glassmap.dashboard.learning import AGAINST, SPECTRA, Expected, against_of
from glassmap.dashboard.plots.curves import compare_learning_curves, draw_learning_curve

CURVE = [
    CurvePoint(round_, 20 * round_, math.nan, None, 9, {"mse": Estimate(60.0 / round_, 1.0)}, {}, effort=effort)
    for round_, effort in enumerate((Effort(1, 20, 9.0), Effort(1, 40, 10.0), Effort(2, 60, 19.0)), start=1)
]


def lines(figure: go.Figure) -> dict[str, list[float]]:
    """Where the points of each line stand, by its name."""
    return {trace["name"]: [*trace["x"]] for trace in json.loads(figure.to_json() or "")["data"]}


def test_a_curve_is_drawn_against_spectra_wafers_or_hours():
    assert against_of(CURVE) == [*AGAINST]
    drawn = [lines(draw_learning_curve(CURVE, against=one)) for one in AGAINST]
    assert [of["ensemble mean, ± standard error"] for of in drawn] == [[20, 40, 60], [1, 1, 2], [9, 10, 19]]
    figure = compare_learning_curves({"one": CURVE, "other": CURVE[:2]}, against=AGAINST[1], log=False)
    assert lines(figure) == {"one": [1, 1, 2], "other": [1, 1]}


def test_where_a_round_does_not_know_its_wafers_a_curve_is_drawn_against_spectra_alone():
    assert against_of([CURVE[0]._replace(effort=None), *CURVE[1:]]) == [SPECTRA]


def test_what_is_told_by_spectra_is_not_drawn_against_wafers():
    ahead, published = [Expected(80, Estimate(15.0, 2.0))], ("others", 50, 40.0)
    by = [
        lines(draw_learning_curve(CURVE, against=one, expected=ahead, tolerance=1.0, published=published))
        for one in AGAINST[:2]
    ]
    assert len(by[0]) == 5 and [*by[1]] == ["one generated spectrum", "ensemble mean, ± standard error"]
