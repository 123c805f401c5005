"""Wafers as plotly figures: a disc with its points, and what of a system each wafer reaches."""

import math
from collections.abc import Sequence
from html import escape

import numpy as np
import PIL.Image
import plotly.graph_objects as go

from glassmap.dashboard.plots.disc import Blend, Shown, outline_of, paint_disc
from glassmap.dashboard.plots.maps import (
    COLOUR_BAR,
    RED,
    css_of,
    frame_ternary,
    frame_tetrahedron,
    hide_nothing,
    hover_of,
    line_of,
    xyz_of,
)
from glassmap.dashboard.plots.style import GREY, set_style
from glassmap.dashboard.plots.ternary import paint, positions
from glassmap.dashboard.wafers import KINDS, MEASURED, Kind, Reach, Wafer, inks_of

DISC_PIXELS = 640  # height
DISC_HEIGHT = f"min({DISC_PIXELS}px, {{width}} + 100px)"  # of CSS: lower where a page is narrow
REACH_HEIGHT = "min(600px, 0.8 * {width} + 80px)"  # the same, of a ternary without legend and scale
SYMBOLS: dict[Kind, dict[str, object]] = {  # of the kinds that are marked
    "measured": {"symbol": "circle", "size": 7, "line": {"width": 1.3, "color": "black"}},
    "held out": {"symbol": "square", "size": 7, "line": {"width": 1.3, "color": "black"}},
    "flagged": {"symbol": "triangle-up", "size": 10, "color": RED, "line": {"width": 1.5, "color": "white"}},
    "failed": {"symbol": "x-thin", "size": 7, "line": {"width": 1.6, "color": "black"}},
    "pending": {"symbol": "x-thin", "size": 8, "line": {"width": 2.2, "color": RED}},
}


def draw_disc(
    wafer: Wafer,
    shown: Shown,
    *,
    elements: Sequence[str],
    diameter: float | None,
    marked: Shown | None = None,
) -> go.Figure:
    """Draw a wafer's points where they lie, to hover over and click, and the way over those to be measured.

    Where only what was measured is coloured, no more is marked than what is flagged.

    Args:
        wafer: Whose points without a place are left out.
        shown: What the points are coloured by.
        elements: Of the campaign.
        diameter: mm, of wafers that the campaign plans; None where it plans none.
        marked: What the marks of measured points are coloured by; white by default.
    """
    figure, disc = go.Figure(), wafer.disc(diameter)
    left, right, bottom, top = disc.extent
    there = wafer.placed
    x, y = wafer.x[there], wafer.y[there]
    picture = paint_disc(disc, x, y, shown.of(there))
    figure.add_layout_image(
        source=PIL.Image.fromarray(picture),
        xref="x",
        yref="y",
        x=left,
        y=top,
        sizex=right - left,
        sizey=top - bottom,
        sizing="stretch",
        layer="below",
    )
    plain = {"hoverinfo": "skip", "showlegend": False, "mode": "lines"}
    figure.add_scatter(**line_of(disc.rim), **plain, line={"color": GREY, "width": 1.4})
    kinds: Sequence[Kind] = tuple(SYMBOLS) if shown.is_there is None else ("flagged",)
    if "pending" in kinds and len(wafer.path) > 1:
        way_on = np.column_stack([wafer.x, wafer.y])[wafer.path]
        figure.add_scatter(**line_of(way_on), **plain, line={"color": RED, "width": 1}, opacity=0.7)
    texts = [
        f"{text}<br>{more}" if more else text for text, more in zip(wafer.texts(elements), shown.texts, strict=True)
    ]
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"size": 9, "opacity": 0, "color": GREY},
        text=[text for text, is_there in zip(texts, there, strict=True) if is_there],
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
    )
    fill = np.full(len(there), "white", dtype=object)
    if marked is not None:
        known = there if marked.is_there is None else marked.is_there
        fill[known] = css_of(marked.colours[known])
    for kind in kinds:
        rows = wafer.of(kind) & there
        if rows.any():
            style = {"color": fill[rows]} | SYMBOLS[kind]
            figure.add_scatter(
                x=wafer.x[rows], y=wafer.y[rows], mode="markers", name=KINDS[kind], marker=style, hoverinfo="skip"
            )
    if shown.scale:
        figure.add_scatter(
            x=[None], y=[None], mode="markers", marker={"color": [0.0], "coloraxis": "coloraxis"}, showlegend=False
        )
        low, high = shown.limits
        figure.update_layout(
            coloraxis={"cmin": low, "cmax": high, "colorscale": list(shown.scale), "colorbar": COLOUR_BAR}
        )
    set_style(figure, height=DISC_PIXELS)
    beyond = 1.03 * disc.radius
    axis = {"constrain": "domain", "fixedrange": True, "showgrid": False, "zeroline": False}
    figure.update_xaxes(range=[disc.x - beyond, disc.x + beyond], title="x (mm)", **axis)
    figure.update_yaxes(range=[disc.y - beyond, disc.y + beyond], title="y (mm)", scaleanchor="x", **axis)
    figure.update_layout(
        title={"text": shown.title, "font": {"size": 14}, "x": 0.5, "xanchor": "center", "y": 0.995, "yanchor": "top"},
        margin={"l": 10, "r": 10, "t": 30, "b": 100},
        legend={"y": -0.14, "yanchor": "top", "font": {"size": 12}, "itemclick": False},
        showlegend=not shown.scale,  # the scale takes its place
        clickmode="event+select",
        dragmode=False,
    )
    return hide_nothing(figure)


def draw_reach(
    wafers: Sequence[Wafer], reach: Reach, *, elements: Sequence[str], blend: Blend, chosen: str = ""
) -> go.Figure:
    """Draw of a ternary which alloys each wafer reaches and which none does; it is the legend of compositions as well.

    Args:
        wafers: Each is drawn as an outline, those that are excluded dashed.
        reach: Of the space.
        elements: Top, left, right corner.
        blend: The colours of alloys.
        chosen: The wafer whose outline is drawn strong.
    """
    cells = paint(reach.space, blend.colours(reach.space), reach.is_unreached)
    figure = frame_ternary(elements, cells)
    data = (100 * reach.space).astype(np.float32)
    figure.add_scatter(
        **line_of(positions(reach.space)),
        mode="markers",
        marker={"size": 6, "opacity": 0, "color": GREY},
        customdata=np.column_stack([data, reach.distance.astype(np.float32)]),
        hovertemplate=hover_of(elements, "%{customdata[3]:.1f} at.% from the nearest point of a wafer"),
        showlegend=False,
    )
    for wafer, ink in zip(wafers, inks_of(wafers), strict=True):
        line = outline_of(positions(wafer.compositions))
        for colour, wider in (("white", 2), (ink, 0)):
            style = {"color": colour, "width": wider + (3.6 if wafer.name == chosen else 1.8)}
            style["dash"] = "solid" if wafer.excluded is None else "4px,3px"
            figure.add_scatter(**line_of(line), mode="lines", line=style, name=wafer.name, hoverinfo="skip")
    taken = [wafer.compositions[wafer.of(*MEASURED)] for wafer in wafers]
    found = np.concatenate(taken)
    if len(found):
        dot = max(2.5, 6 * min(1.0, math.sqrt(150 / len(found))))
        figure.add_scatter(
            **line_of(positions(found)),
            mode="markers",
            name="measured",
            marker={"symbol": "circle", "size": dot, "color": "white", "line": {"width": 1.1, "color": "black"}},
            hoverinfo="skip",
        )
    figure.update_layout(showlegend=False, margin={"b": 64})
    return hide_nothing(figure)


def draw_cloud(wafers: Sequence[Wafer], *, elements: Sequence[str]) -> go.Figure:
    """Draw the points of all wafers of four elements in a tetrahedron, of more as lines across each one's at.%."""
    if len(elements) == 4:
        figure = frame_tetrahedron(elements)
        for wafer, ink in zip(wafers, inks_of(wafers), strict=True):
            figure.add_scatter3d(
                **xyz_of(wafer.compositions),
                mode="markers",
                text=wafer.texts(elements),
                marker={"size": 2, "color": ink},
                hovertemplate=f"{escape(wafer.name)}<br>%{{text}}<extra></extra>",
                showlegend=False,
            )
        return figure
    at_pct = 100 * np.concatenate([wafer.compositions for wafer in wafers])
    number = np.repeat(np.arange(len(wafers)), [len(wafer.samples) for wafer in wafers])
    inks, last = inks_of(wafers), max(1, len(wafers) - 1)
    scale = [[k / last, ink] for k, ink in enumerate(inks)] if len(inks) > 1 else [[0, inks[0]], [1, inks[0]]]
    axes = [{"label": element, "values": at_pct[:, k], "range": [0, 100]} for k, element in enumerate(elements)]
    line = {"color": number, "colorscale": scale, "cmin": 0, "cmax": last}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelfont={"size": 14}, tickfont={"size": 11}))
    set_style(figure, height=420)
    figure.update_layout(margin={"l": 50, "r": 50, "t": 60, "b": 20})
    return figure


def legend_of(wafers: Sequence[Wafer]) -> str:
    """Return as HTML which wafer has which line in `draw_reach`: as text it takes as little room as there is."""
    style = "white-space: nowrap; margin-right: 1em"
    line = "display: inline-block; width: 1.2em; height: 3px; vertical-align: middle; outline: 1px solid white"
    lines = (
        f'<span style="{style}"><b style="{line}; background: {ink}"></b> {escape(wafer.name)}</span>'
        for wafer, ink in zip(wafers, inks_of(wafers), strict=True)
    )
    return f'<p style="font-size: 0.85rem">{" ".join(lines)}</p>'
