"""Learning curves as plotly figures: how the errors fall with spectra, wafers or hours, and how sure that is."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from glassmap.agent.peaks.measures import MSE, Measure
from glassmap.agent.planning.convergence import CurvePoint, Estimate
from glassmap.dashboard.learning import SPECTRA, Against, Expected
from glassmap.dashboard.plots.style import BLUE, GREEN, GREY, LEGEND_BELOW, LINES, ORANGE, PINK, set_style

CURVE_PIXELS = 490  # height: on a phone the legend has a line for each of its names, below the title of the axis


def draw_learning_curve(
    curve: Sequence[CurvePoint],
    measure: Measure = MSE,
    *,
    against: Against = SPECTRA,
    log: bool = False,
    expected: Sequence[Expected] = (),
    tolerance: float | None = None,
    published: tuple[str, int, float] | None = None,
    simpler: Mapping[str, float] | None = None,
) -> go.Figure:
    """Draw one measure of a campaign's hold-out against spectra learned from, wafers or hours, with standard errors.

    What is expected, the tolerance and what others report are numbers of spectra, and drawn against these alone.

    Args:
        curve: One point a round, oldest first.
        measure: Which.
        against: Which every round knows; see `against_of`.
        log: Both axes.
        expected: What further batches are expected to bring.
        tolerance: What two more batches must bring to be worth them, in the measure's unit; drawn below the last point.
        published: Name, spectra and error that others report for these very spectra.
        simpler: Error of simpler models on the last round's spectra, by name.
    """
    figure, x = go.Figure(), [against.of(point) for point in curve]
    if against != SPECTRA:
        expected, tolerance, published = (), None, None
    if measure == MSE:
        figure.add_scatter(
            x=x,
            y=[point.mse_sample for point in curve],
            name="one generated spectrum",
            mode="lines+markers",
            line={"color": GREY, "dash": "dash", "width": 1.2},
            hovertemplate=f"%{{x}} {against.name}: %{{y:.3g}}",
        )
        if any(point.next_batch_mse is not None for point in curve):
            figure.add_scatter(
                x=x,
                y=[point.next_batch_mse for point in curve],
                name="last round's model on this batch",
                mode="markers",
                marker={"color": ORANGE, "symbol": "square-open", "size": 8},
                hovertemplate=f"%{{x}} {against.name}: %{{y:.3g}}",
            )
    known = _known(curve, measure, against)
    label = "ensemble mean, ± standard error" if measure == MSE else "± standard error"
    _add_estimates(figure, known, label, BLUE, against=against)
    if expected:
        figure.add_scatter(
            **_estimates([(one.spectra, one.error) for one in expected], SPECTRA),
            name="expected on the same spectra, ± standard error",
            mode="markers+lines",
            line={"color": GREEN, "dash": "dot", "width": 1.2},
            marker={"symbol": "circle-open", "size": 9},
        )
    if tolerance is not None and known and expected:
        last = known[-1][1].value
        figure.add_scatter(
            x=[known[-1][0], expected[-1].spectra, expected[-1].spectra, known[-1][0]],
            y=[last, last, last - tolerance, last - tolerance],
            name="less than this isn't worth two batches",
            mode="lines",
            fill="toself",
            fillcolor="rgba(0,158,115,0.15)",
            line={"width": 0},
            hoverinfo="skip",
        )
    if published is not None:
        name, size, error = published
        figure.add_scatter(
            x=[size],
            y=[error],
            name=name,
            mode="markers",
            marker={"color": PINK, "symbol": "star", "size": 12},
            hovertemplate=f"{name}: %{{x}} spectra, MSE %{{y:.3g}}",
        )
    for k, (name, error) in enumerate((simpler or {}).items()):
        figure.add_scatter(
            x=[x[0], x[-1]],
            y=[error, error],
            name=f"{name}, the last round's spectra: {error:.3g}",
            mode="lines",
            line={"color": LINES[(k + 3) % len(LINES)], "dash": "dashdot", "width": 1.2},
            hoverinfo="skip",
        )
    return _styled(figure, measure, against, log=log, height=CURVE_PIXELS if measure == MSE else 280)


def compare_learning_curves(
    curves: Mapping[str, Sequence[CurvePoint]], *, against: Against = SPECTRA, log: bool
) -> go.Figure:
    """Draw the hold-out MSE of several campaigns against spectra learned from, wafers or hours, with standard errors.

    Args:
        curves: By name of the campaign.
        against: Which every round of each knows.
        log: Both axes.
    """
    figure = go.Figure()
    for k, (name, curve) in enumerate(curves.items()):
        dash = "solid" if k < len(LINES) else "dash"
        _add_estimates(figure, _known(curve, MSE, against), name, LINES[k % len(LINES)], dash, against=against)
    return _styled(figure, MSE, against, log=log, height=CURVE_PIXELS)


def _known(curve: Sequence[CurvePoint], measure: Measure, against: Against) -> list[tuple[float, Estimate]]:
    """Return where each round stands that was judged by a measure, and its error."""
    judged = [(against.of(point), point.hold_out[measure.name]) for point in curve if measure.name in point.hold_out]
    return [(where, error) for where, error in judged if where is not None]


def _add_estimates(
    figure: go.Figure,
    known: Sequence[tuple[float, Estimate]],
    name: str,
    colour: str,
    dash: str = "solid",
    *,
    against: Against,
) -> None:
    line = {"color": colour, "width": 2.2, "dash": dash}
    figure.add_scatter(**_estimates(known, against), name=name, mode="lines+markers", line=line)


def _estimates(known: Sequence[tuple[float, Estimate]], against: Against) -> dict[str, Any]:
    """Return points with their standard errors; those of an older version have none."""
    errors = [0.0 if math.isnan(found.standard_error) else found.standard_error for _, found in known]
    return {
        "x": [where for where, _ in known],
        "y": [None if math.isnan(found.value) else found.value for _, found in known],
        "error_y": {"type": "data", "array": errors, "thickness": 1.2, "width": 4},
        "hovertext": [f"{where:g} {against.name}: {found.say()}" for where, found in known],
        "hoverinfo": "text+name",
    }


def _styled(figure: go.Figure, measure: Measure, against: Against, *, log: bool, height: int) -> go.Figure:
    """Give a curve its axes, and its legend below, where it covers nothing however narrow the page."""
    set_style(figure, height=height)
    figure.update_layout(legend=LEGEND_BELOW | {"y": -0.26}, showlegend=measure == MSE)
    figure.update_xaxes(title=against.title, **_scale(log=log, from_zero=False))
    figure.update_yaxes(title=measure.head, **_scale(log=log))
    return figure


def _scale(*, log: bool, from_zero: bool = True) -> dict[str, Any]:
    """Return a linear axis, or a logarithmic one, whose marks are numbers and not only their first digit."""
    if not log:
        return {"type": "linear", "rangemode": "tozero" if from_zero else "normal"}
    marks = [digit * 10**power for power in range(-5, 6) for digit in (1, 1.5, 2, 3, 5, 7)]
    return {"type": "log", "rangemode": "normal", "tickvals": marks, "ticktext": [f"{mark:g}" for mark in marks]}
