"""Spectra and structures of alloys as plotly figures."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from glassmap.agent.shapes import Axis, RadialAxis, RadialValues, Spectrum
from glassmap.dashboard.plots.style import BLUE, GREY, LINES, set_style


class Curve(NamedTuple):
    """A line of a spectrum's picture."""

    name: str
    values: Spectrum
    colour: str
    width: float = 1.4
    dash: str = "solid"


class Band(NamedTuple):
    """A band about a line."""

    name: str
    mean: Spectrum
    half_width: Spectrum
    colour: str  # "rgba(...)"


def draw_spectra(
    axis_title: str,
    axis: Axis,
    curves: Sequence[Curve],
    bands: Sequence[Band] = (),
    *,
    residual: Spectrum | None = None,
    has_legend: bool = True,
) -> go.Figure:
    """Draw spectra of one alloy on one axis, with bands, and below them what was measured minus generated.

    Args:
        axis_title: Such as `q (Å⁻¹)`.
        axis: Shape (q,); NaN where the axis has no value, as of 2θ beyond 180°.
        curves: Drawn over the bands, in order.
        bands: About lines.
        residual: Shape (q,).
        has_legend: Whether it says above what is what; else `legend_of` does, beside it.
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
    set_style(figure, height=480 if rows == 1 else 560)
    figure.update_layout(showlegend=has_legend)
    figure.update_xaxes(title=axis_title, row=rows, col=1)
    figure.update_yaxes(title="intensity" if not axis_title.startswith("r") else "g(r)", row=1, col=1)
    return figure


def legend_of(curves: Sequence[Curve], bands: Sequence[Band]) -> str:
    """Return as HTML what is what in `draw_spectra`, a line each: as text it breaks where a page is narrow."""
    dashes = {"solid": "solid", "dot": "dotted"}
    signs = [
        *((band.name, f"border-top: 0.7rem solid {band.colour}") for band in bands),
        *((one.name, f"border-top: {max(2.0, one.width)}px {dashes[one.dash]} {one.colour}") for one in curves[::-1]),
    ]
    lines = (
        f'<div style="display: flex; align-items: center; gap: 0.6rem; padding: 0.15rem 0">'
        f'<span style="flex: none; width: 1.6rem; {sign}"></span><span>{escape(name)}</span></div>'
        for name, sign in signs
    )
    return f'<div style="font-size: 0.875rem; line-height: 1.3">{"".join(lines)}</div>'


def draw_structure(
    r: RadialAxis, rdfs: Mapping[str, RadialValues], q: Axis, factors: Mapping[str, Spectrum]
) -> go.Figure:
    """Draw g(r), total and partial, and S(q) of a simulated alloy.

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
    set_style(figure, height=420)
    figure.update_xaxes(title="r (Å)", row=1, col=1)
    figure.update_xaxes(title="q (Å⁻¹)", row=1, col=2)
    figure.update_yaxes(title="g(r)", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="S(q)", row=1, col=2)
    return figure
