"""Learning curves as plotly figures: how the errors fall with the spectra learned from."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.planning.convergence import CurvePoint, Forecast, smoothed
from glassmap.dashboard.plots.style import BLUE, GREEN, GREY, LINES, ORANGE, PINK, set_style


def draw_learning_curves(
    curves: Mapping[str, Sequence[CurvePoint]],
    *,
    log: bool = False,
    published: Mapping[str, tuple[int, float]] | None = None,
    simpler: Mapping[str, float] | None = None,
    tolerance: float | None = None,
    expected: tuple[int, Forecast] | None = None,
) -> go.Figure:
    """Draw hold-out MSE against spectra learned from; one campaign in full, of several only the ensemble's.

    Args:
        curves: By name of the campaign.
        log: Both axes.
        published: Spectra and MSE that others report for this system, by name.
        simpler: MSE of simpler models on the last round's spectra, by name.
        tolerance: Of the stop rule; draws the smoothed curve and the band that it must leave to go on.
        expected: Spectra after the next batch, and what their MSE is expected to be.
    """
    figure = go.Figure()
    for k, (name, curve) in enumerate(curves.items()):
        spectra, mse = [p.spectra for p in curve], [p.mse for p in curve]
        alone = len(curves) == 1
        figure.add_scatter(
            x=spectra,
            y=mse,
            name="ensemble mean" if alone else name,
            mode="lines+markers",
            line={"color": LINES[k % len(LINES)], "width": 2.5, "dash": "solid" if k < len(LINES) else "dash"},
            hovertemplate="%{x} spectra: MSE %{y:.3g}",
        )
        if not alone or not curve:
            continue
        figure.add_scatter(
            x=spectra,
            y=[p.mse_sample for p in curve],
            name="one generated spectrum",
            mode="lines+markers",
            line={"color": GREY, "dash": "dash", "width": 1.2},
            hovertemplate="%{x} spectra: MSE %{y:.3g}",
        )
        if any(p.next_batch_mse is not None for p in curve):
            figure.add_scatter(
                x=spectra,
                y=[p.next_batch_mse for p in curve],
                name="last round's model on this batch",
                mode="markers",
                marker={"color": ORANGE, "symbol": "square-open", "size": 8},
                hovertemplate="%{x} spectra: MSE %{y:.3g}",
            )
        if tolerance is not None and len(curve) > 1:
            smooth = smoothed(curve)
            figure.add_scatter(
                x=spectra,
                y=smooth,
                name="smoothed, as the stop rule sees it",
                mode="lines",
                line={"color": GREEN, "width": 1.2, "dash": "dot"},
                hovertemplate="%{x} spectra: %{y:.3g}",
            )
            figure.add_hrect(
                y0=smooth[-1] * (1 - tolerance),
                y1=smooth[-1],
                fillcolor=GREEN,
                opacity=0.15,
                line_width=0,
                name=f"a round that stays in here, {100 * tolerance:g} %, counts towards the stop",
                showlegend=True,
            )
    if expected is not None:
        spectra, (mse, low, high) = expected
        figure.add_scatter(
            x=[spectra],
            y=[mse],
            error_y={"type": "data", "symmetric": False, "array": [high - mse], "arrayminus": [mse - low]},
            name="expected after the next batch",
            mode="markers",
            marker={"color": BLUE, "symbol": "circle-open", "size": 10},
            hovertemplate="%{x} spectra: MSE %{y:.3g} expected",
        )
    for name, (spectra, mse) in (published or {}).items():
        figure.add_scatter(
            x=[spectra],
            y=[mse],
            name=name,
            mode="markers",
            marker={"color": PINK, "symbol": "star", "size": 12},
            hovertemplate=f"{name}: %{{x}} spectra, MSE %{{y:.3g}}",
        )
    for k, (name, mse) in enumerate((simpler or {}).items()):
        figure.add_hline(
            y=mse,
            line={"color": LINES[(k + 3) % len(LINES)], "dash": "dashdot", "width": 1.2},
            annotation_text=f"{name}, same spectra: {mse:.3g}",
            annotation_font={"size": 11, "color": LINES[(k + 3) % len(LINES)]},
            annotation_position="top right" if k % 2 == 0 else "bottom right",
        )
    set_style(figure, height=430)
    figure.update_xaxes(title="spectra learned from", **_scale(log=log, from_zero=False))
    figure.update_yaxes(title="hold-out MSE", **_scale(log=log))
    return figure


def draw_peak_errors(curve: Sequence[CurvePoint], *, log: bool = False) -> go.Figure:
    """Draw the mean error of each peak figure on the hold-out against spectra learned from, a panel each."""
    known = [f for f in FIGURES if any(point.peak_errors.get(f.name) is not None for point in curve)]
    figure = make_subplots(rows=1, cols=max(1, len(known)))
    for column, peak_figure in enumerate(known, start=1):
        figure.add_scatter(
            x=[p.spectra for p in curve],
            y=[p.peak_errors.get(peak_figure.name) for p in curve],
            name=peak_figure.label,
            mode="lines+markers",
            line={"color": LINES[(column - 1) % len(LINES)]},
            hovertemplate=f"%{{x}} spectra: %{{y:.{peak_figure.digits + 1}f}} {peak_figure.unit}",
            row=1,
            col=column,
        )
        figure.update_yaxes(title=f"mean absolute error of {peak_figure.head}", row=1, col=column)
    set_style(figure, height=300)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title="spectra learned from", **_scale(log=log, from_zero=False))
    figure.update_yaxes(**_scale(log=log))
    return figure


def _scale(*, log: bool, from_zero: bool = True) -> dict[str, Any]:
    """Return a linear axis, or a logarithmic one, whose marks are numbers and not only their first digit."""
    if not log:
        return {"type": "linear", "rangemode": "tozero" if from_zero else "normal"}
    marks = [digit * 10**power for power in range(-5, 6) for digit in (1, 1.5, 2, 3, 5, 7)]
    return {"type": "log", "rangemode": "normal", "tickvals": marks, "ticktext": [f"{mark:g}" for mark in marks]}
