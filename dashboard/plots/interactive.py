"""Arrays to plotly figures, for the pages and the report. Pure: no store, no Streamlit.

Colours: viridis for figures of alloys, Okabe and Ito's set for lines; both are safe for the colour-blind. Backgrounds
are transparent and inks grey enough to be read on white and on black.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from glassmap.agent.maps.spectra_archive import GLASS_DELTA_Q
from glassmap.agent.planning.convergence import CurvePoint, Forecast, smoothed
from glassmap.agent.shapes import (
    Axis,
    Composition,
    Compositions,
    GridCompositions,
    PerAlloy,
    RadialAxis,
    RadialValues,
    Spectrum,
)

BLUE, ORANGE, GREEN, PINK, GREY = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#808080"
LINES = (BLUE, ORANGE, GREEN, PINK, "#e69f00", "#56b4e9", "#b8a900", GREY)
AXIS_TITLES = {"q": "q (Å⁻¹)", "two_theta": "2θ (°)", "r": "r (Å)"}
NOTHING = np.empty((0, 3))


class Quantity(NamedTuple):
    """A figure of an alloy that a map can show."""

    title: str
    unit: str
    digits: int

    @property
    def label(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


QUANTITIES = {
    "delta_q": Quantity("Δq, width of the first peak", "Å⁻¹", 3),
    "q1": Quantity("q₁, position of the first peak", "Å⁻¹", 3),
    "delta_q_spread": Quantity("spread of Δq", "Å⁻¹", 3),
    "q1_spread": Quantity("spread of q₁", "Å⁻¹", 3),
    "distance": Quantity("distance to the nearest measured alloy", "at.%", 1),
    "peak_share": Quantity("share of the model that finds a peak", "", 2),
    "glass": Quantity("glass", "", 0),
}


class Marks(NamedTuple):
    """Alloys to mark on a map, by atomic fraction, and what is said of each."""

    measured: Compositions = NOTHING
    measured_texts: Sequence[str] = ()
    batch: Compositions = NOTHING
    batch_texts: Sequence[str] = ()
    known: Compositions = NOTHING  # glass formers of the user's own
    known_texts: Sequence[str] = ()
    chosen: Composition | None = None


def colour_range(values: PerAlloy) -> tuple[float, float]:
    """Where a colour scale begins and ends, for every picture of that figure: 1st and 99th percentile."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, [1, 99])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def _plain(figure: go.Figure, *, height: int) -> go.Figure:
    """The house's look."""
    figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "font": {"color": GREY}},
        hoverlabel={"namelength": -1},
    )
    grid = {"gridcolor": "rgba(128,128,128,0.2)", "zeroline": False, "linecolor": GREY, "automargin": True}
    figure.update_xaxes(**grid)
    figure.update_yaxes(**grid)
    return figure


def draw_learning_curves(
    curves: Mapping[str, Sequence[CurvePoint]],
    *,
    log: bool = False,
    published: Mapping[str, tuple[int, float]] | None = None,
    simpler: Mapping[str, float] | None = None,
    tolerance: float | None = None,
    expected: tuple[int, Forecast] | None = None,
) -> go.Figure:
    """Hold-out MSE against spectra learned from; of one campaign in full, of several only the ensemble's.

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
                annotation_text=f"another round that stays in here ({tolerance:.0%}) counts towards the stop",
                annotation_position="bottom left",
                annotation_font={"size": 11, "color": GREEN},
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
    _plain(figure, height=430)
    figure.update_xaxes(title="spectra learned from", type="log" if log else "linear")
    figure.update_yaxes(title="hold-out MSE", type="log" if log else "linear", rangemode="normal" if log else "tozero")
    return figure


def draw_peak_errors(curve: Sequence[CurvePoint], *, log: bool = False) -> go.Figure:
    """Mean absolute errors of q1 and Δq on the hold-out against spectra learned from."""
    figure = go.Figure()
    for name, title, colour in (("q1_error", "q₁", BLUE), ("delta_q_error", "Δq", ORANGE)):
        figure.add_scatter(
            x=[p.spectra for p in curve],
            y=[getattr(p, name) for p in curve],
            name=title,
            mode="lines+markers",
            line={"color": colour},
            hovertemplate="%{x} spectra: %{y:.4f} Å⁻¹",
        )
    _plain(figure, height=300)
    figure.update_xaxes(title="spectra learned from", type="log" if log else "linear")
    figure.update_yaxes(
        title="mean absolute error (Å⁻¹)",
        type="log" if log else "linear",
        rangemode="normal" if log else "tozero",
    )
    return figure


def draw_ternary(
    compositions: GridCompositions,
    values: PerAlloy,
    *,
    quantity: str,
    elements: Sequence[str],
    limits: tuple[float, float],
    marks: Marks | None = None,
    sum_at_pct: float = 100.0,
) -> go.Figure:
    """A figure of every alloy of a ternary, or of a slice through a larger system, as hexagons that can be hovered.

    Args:
        compositions: Shares of three elements, those of a slice as they are; they sum to `sum_at_pct`. Shape (g, 3).
        values: NaN stays grey. Shape (g,).
        quantity: Key of `QUANTITIES`.
        elements: Top, left, right corner.
        limits: Of the colours.
        marks: Alloys to mark, as `compositions`.
        sum_at_pct: 100, or what the elements that are held fixed leave.
    """
    marks, what = marks or Marks(), QUANTITIES[quantity]
    at_pct = (100 * compositions).astype(np.float32)
    steps = np.diff(np.unique(at_pct[:, 0].round(3)))
    size = _hexagon_size(float(steps.min(initial=5)), sum_at_pct)
    found = np.isfinite(values)
    figure = go.Figure()
    if not found.all():
        figure.add_scatterternary(
            **_corners(at_pct[~found]),
            mode="markers",
            name="no trustworthy first peak",
            marker={"symbol": "hexagon", "size": size, "color": "rgba(128,128,128,0.35)", "line": {"width": 0}},
            hovertemplate=_hover(elements, "no trustworthy first peak"),
            showlegend=False,
        )
    is_glass = quantity == "glass"
    colours = {
        "color": values[found].astype(np.float32),
        "colorscale": [[0, "#56b4e9"], [0.5, "#56b4e9"], [0.5, ORANGE], [1, ORANGE]] if is_glass else "Viridis",
        "cmin": 0 if is_glass else limits[0],
        "cmax": 1 if is_glass else limits[1],
        "colorbar": {
            "title": {"text": what.label, "side": "right"},
            "thickness": 14,
            "len": 0.75,
            "y": 0.6,
            "tickvals": [0.25, 0.75] if is_glass else None,
            "ticktext": ["no", f"Δq ≥ {GLASS_DELTA_Q:g}"] if is_glass else None,
        },
    }
    figure.add_scatterternary(
        **_corners(at_pct[found]),
        mode="markers",
        name=what.title,
        marker={"symbol": "hexagon", "size": size, "line": {"width": 0}, **colours},
        hovertemplate=_hover(elements, f"{what.title} %{{marker.color:.{what.digits}f}} {what.unit}"),
        showlegend=False,
    )
    dot = 7 * min(1.0, math.sqrt(150 / max(1, len(marks.measured))))  # many would hide the map
    outline = {"symbol": "circle-open", "size": dot, "color": "white", "line": {"width": 3.5}}
    cross = {"symbol": "x-thin", "size": 8, "line": {"width": 2.2, "color": "#d00000"}}
    star = {"symbol": "star", "size": 12, "color": "white", "line": {"width": 1.2, "color": "black"}}
    circle = {"symbol": "circle-open", "size": dot, "color": "black", "line": {"width": 1.5}}
    for shares, texts, name, style in (
        (marks.measured, (), "", outline),
        (marks.measured, marks.measured_texts, "measured", circle),
        (marks.batch, marks.batch_texts, "next batch", cross),
        (marks.known, marks.known_texts, "known glass formers", star),
    ):
        if len(shares):
            figure.add_scatterternary(
                **_corners(100 * shares),
                mode="markers",
                name=name,
                text=list(texts) or None,
                marker=style,
                hovertemplate=_hover(elements, name + ("<br>%{text}" if len(texts) else "")) if name else None,
                hoverinfo=None if name else "skip",
                showlegend=bool(name),
            )
    if marks.chosen is not None:
        figure.add_scatterternary(
            **_corners(100 * marks.chosen[None]),
            mode="markers",
            name="chosen",
            marker={"symbol": "diamond-open", "size": 15, "color": PINK, "line": {"width": 3, "color": PINK}},
            hoverinfo="skip",
        )
    of = "at.%" if sum_at_pct == 100 else f"% of the remaining {sum_at_pct:g} %"
    ticks = {
        "tickvals": [20, 40, 60, 80] if sum_at_pct == 100 else [sum_at_pct * k / 5 for k in range(1, 5)],
        "ticktext": ["20", "40", "60", "80"],
        "gridcolor": "rgba(128,128,128,0.35)",
        "linecolor": GREY,
        "tickfont": {"color": GREY},
        "layer": "above traces",
    }
    _plain(figure, height=560)
    titles = [f"{element} ({of})" if sum_at_pct == 100 else element for element in elements]
    figure.update_layout(
        margin={"l": 60, "r": 35, "t": 45, "b": 45},
        ternary={
            "sum": sum_at_pct,
            "bgcolor": "rgba(0,0,0,0)",
            "aaxis": {"title": titles[0], "ticks": "outside", "tickangle": 0, **ticks},
            "baxis": {"title": titles[1], "ticks": "outside", "tickangle": 60, **ticks},
            "caxis": {"title": titles[2], "ticks": "outside", "tickangle": -60, **ticks},
        },
        clickmode="event+select",
    )
    figure.update_traces(unselected={"marker": {"opacity": 1}})  # a click chooses an alloy, it hides none
    if sum_at_pct != 100:
        figure.add_annotation(text=f"axes: {of}", x=1, y=-0.04, xref="paper", yref="paper", showarrow=False)
    return figure


def _hexagon_size(step_at_pct: float, sum_at_pct: float) -> float:
    """Pixels across a grid point's hexagon, in a picture 560 high."""
    return max(3.0, 560 * 0.78 / sum_at_pct * step_at_pct * 1.35)


def _corners(at_pct: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("abc", at_pct.astype(np.float32).T, strict=True))


def _hover(elements: Sequence[str], text: str) -> str:
    shares = " ".join(f"{element} %{{{corner}:.1f}}" for element, corner in zip(elements, "abc", strict=True))
    return f"{shares} at.%<br>{text}<extra></extra>"


def draw_tetrahedron(
    compositions: GridCompositions,
    values: PerAlloy,
    *,
    quantity: str,
    elements: Sequence[str],
    limits: tuple[float, float],
    measured: Compositions,
) -> go.Figure:
    """The alloys of largest value of a quaternary, as a cloud in a tetrahedron.

    Args:
        compositions: Only those to be drawn, shape (g, 4).
        values: Shape (g,).
        quantity: Key of `QUANTITIES`.
        elements: Of the corners.
        limits: Of the colours.
        measured: To mark, shape (n, 4).
    """
    corners = np.array([[0, 0, 0], [1, 0, 0], [0.5, math.sqrt(3) / 2, 0], [0.5, math.sqrt(3) / 6, math.sqrt(2 / 3)]])
    what, figure = QUANTITIES[quantity], go.Figure()
    edges = np.array([corners[k] for k in (0, 1, 2, 0, 3, 1, 3, 2)])
    line = {"color": GREY, "width": 3}
    figure.add_scatter3d(**_xyz(edges), mode="lines", line=line, hoverinfo="skip", showlegend=False)
    texts = [" ".join(f"{e} {share:.0f}" for e, share in zip(elements, row, strict=True)) for row in 100 * compositions]
    figure.add_scatter3d(
        **_xyz((compositions @ corners).astype(np.float32)),
        mode="markers",
        text=texts,
        marker={
            "size": 2.5,
            "color": values.astype(np.float32),
            "colorscale": "Viridis",
            "cmin": limits[0],
            "cmax": limits[1],
            "colorbar": {"title": {"text": what.label, "side": "right"}, "thickness": 14, "len": 0.85},
        },
        hovertemplate=f"%{{text}} at.%<br>{what.title} %{{marker.color:.{what.digits}f}} {what.unit}<extra></extra>",
        showlegend=False,
    )
    if len(measured):
        figure.add_scatter3d(
            **_xyz(measured @ corners),
            mode="markers",
            name="measured",
            marker={"size": 3, "color": "black", "symbol": "circle-open"},
            hoverinfo="skip",
        )
    outwards = corners + 0.07 * (corners - corners.mean(0))
    figure.add_scatter3d(
        **_xyz(outwards),
        mode="text",
        text=list(elements),
        textfont={"size": 16, "color": GREY},
        hoverinfo="skip",
        showlegend=False,
    )
    _plain(figure, height=560)
    hidden = {"visible": False}
    figure.update_layout(scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"})
    return figure


def _xyz(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.T, strict=True))


def draw_parallel(table: pd.DataFrame, *, elements: Sequence[str], limits: tuple[float, float]) -> go.Figure:
    """The best alloys of a system of many elements: a line each, across at.% of its elements, Δq and its spread.

    Args:
        table: As of `glassmap.dashboard.data.best_alloys`.
        elements: Of the campaign.
        limits: Of the colours, which are Δq.
    """
    axes = [{"label": element, "values": table[element], "range": [0, 100]} for element in elements]
    axes.append({"label": "Δq (Å⁻¹)", "values": table["delta_q"]})
    axes.append({"label": "spread (Å⁻¹)", "values": table["delta_q_spread"].fillna(0)})
    axes.append({"label": "distance (at.%)", "values": table["distance"]})
    line = {"color": table["delta_q"], "colorscale": "Viridis", "cmin": limits[0], "cmax": limits[1]}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelfont={"size": 14}, tickfont={"size": 11}))
    _plain(figure, height=420)
    figure.update_layout(margin={"l": 50, "r": 50, "t": 60, "b": 20})
    return figure


class Curve(NamedTuple):
    """A line of a spectrum's picture."""

    name: str
    values: Spectrum
    colour: str
    width: float = 1.4
    dash: str = "solid"
    visible: bool | str = True  # or "legendonly"


class Band(NamedTuple):
    """A band about a line."""

    name: str
    mean: Spectrum
    half_width: Spectrum
    colour: str  # "rgba(...)"
    visible: bool | str = True


def draw_spectra(
    axis_title: str,
    axis: Axis,
    curves: Sequence[Curve],
    bands: Sequence[Band] = (),
    *,
    residual: Spectrum | None = None,
) -> go.Figure:
    """Spectra of one alloy on one axis, with bands; below them what was measured minus what was generated.

    Args:
        axis_title: Such as `q (Å⁻¹)`.
        axis: Shape (q,); NaN where the axis has no value, as of 2θ beyond 180°.
        curves: Drawn over the bands, in order.
        bands: About lines.
        residual: Shape (q,).
    """
    rows = 1 if residual is None else 2
    figure = make_subplots(
        rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=[1.0] if rows == 1 else [0.76, 0.24]
    )
    x = axis.astype(np.float32)
    for band in bands:
        upper, lower = band.mean + band.half_width, band.mean - band.half_width
        figure.add_scatter(
            x=np.concatenate([x, x[::-1]]),
            y=np.concatenate([upper, lower[::-1]]).astype(np.float32),
            fill="toself",
            fillcolor=band.colour,
            line={"width": 0},
            mode="lines",
            hoverinfo="skip",
            name=band.name,
            visible=band.visible,
            row=1,
            col=1,
        )
    for curve in curves:
        figure.add_scatter(
            x=x,
            y=curve.values.astype(np.float32),
            name=curve.name,
            mode="lines",
            line={"color": curve.colour, "width": curve.width, "dash": curve.dash},
            visible=curve.visible,
            hovertemplate="%{x:.3f}: %{y:.2f}",
            row=1,
            col=1,
        )
    if residual is not None:
        figure.add_scatter(
            x=x,
            y=residual.astype(np.float32),
            name="measured − generated",
            mode="lines",
            line={"color": GREY, "width": 1},
            showlegend=False,
            row=2,
            col=1,
        )
        figure.update_yaxes(title="residual", row=2, col=1)
    _plain(figure, height=480 if rows == 1 else 560)
    figure.update_xaxes(title=axis_title, row=rows, col=1)
    figure.update_yaxes(title="intensity" if not axis_title.startswith("r") else "g(r)", row=1, col=1)
    return figure


def draw_structure(
    r: RadialAxis, rdfs: Mapping[str, RadialValues], q: Axis, factors: Mapping[str, Spectrum]
) -> go.Figure:
    """g(r), total and partial, and S(q) of a simulated alloy.

    Args:
        r: Å, shape (r,).
        rdfs: By name, the total first.
        q: 1/Å, shape (q,).
        factors: S(q) by name.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.09)
    for k, (name, values) in enumerate(rdfs.items()):
        line = {"color": GREY if k == 0 else LINES[(k - 1) % len(LINES)], "width": 2.6 if k == 0 else 1.1}
        figure.add_scatter(x=r, y=values, name=f"g(r) {name}", mode="lines", line=line, row=1, col=1)
    for k, (name, values) in enumerate(factors.items()):
        line = {"color": (BLUE, GREY)[k % 2], "width": 2 if k == 0 else 1}
        figure.add_scatter(x=q, y=values, name=f"S(q), {name}", mode="lines", line=line, row=1, col=2)
    _plain(figure, height=420)
    figure.update_xaxes(title="r (Å)", row=1, col=1)
    figure.update_xaxes(title="q (Å⁻¹)", row=1, col=2)
    figure.update_yaxes(title="g(r)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="S(q)", row=1, col=2)
    return figure
