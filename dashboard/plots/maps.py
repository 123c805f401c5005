"""Maps of a composition space as plotly figures: ternaries and slices, the tetrahedron, parallel coordinates."""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from textwrap import wrap
from typing import NamedTuple

import numpy as np
import pandas as pd
import PIL.Image
import plotly.graph_objects as go

from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Composition, Compositions, GridCompositions, Mask, PerAlloy, PerSample
from glassmap.dashboard.plots.quantities import QUANTITIES, Quantity
from glassmap.dashboard.plots.style import GREY, PINK, set_style
from glassmap.dashboard.plots.ternary import (
    CORNER_EMS,
    HEIGHT,
    NO_PEAK,
    TICK_LABEL_EMS,
    TITLE_EMS,
    Boundary,
    Cells,
    TernaryAxis,
    axes_of,
    colours_of,
    paint,
    positions,
)

NOTHING = np.empty((0, 3))
TERNARY_PIXELS = 640  # height
TERNARY_HEIGHT = f"min({TERNARY_PIXELS}px, 0.95 * {{width}} + 150px)"  # of CSS: lower where a page is narrow
CORNER_ROOM = 0.09  # above the upper corner, for its element
LEGEND_LETTERS = 40  # a line of the legend, so that a phone has room for it
FONT = 12  # pixels, beside a ternary
RED = "#d00000"
COLOUR_BAR = {
    "orientation": "h",
    "thickness": 12,
    "len": 1.0,
    "yref": "container",
    "y": 0.0,
    "yanchor": "bottom",
    "ypad": 4,
}
TETRAHEDRON = np.array([[0, 0, 0], [1, 0, 0], [0.5, 3**0.5 / 2, 0], [0.5, 3**0.5 / 6, (2 / 3) ** 0.5]])  # its corners
HATCH = {"color": "rgba(110,110,110,0.9)", "width": 0.9}


class Marks(NamedTuple):
    """Alloys to mark on a map, by atomic fraction, and what is said of each."""

    measured: Compositions = NOTHING
    measured_texts: Sequence[str] = ()
    measured_values: PerSample | None = None  # what was measured of the figure that is shown; NaN where it has none
    held_out: Mask | None = None  # which of them are never learned from
    flagged: Compositions = NOTHING  # learned from although screening flagged them
    flagged_texts: Sequence[str] = ()
    ringed: Compositions = NOTHING  # of those measured, what a page has to say something of
    ringed_texts: Sequence[str] = ()
    ringed_name: str = ""
    batch: Compositions = NOTHING
    batch_texts: Sequence[str] = ()
    known: Compositions = NOTHING  # glass formers of the user's own
    known_texts: Sequence[str] = ()
    noted: Compositions = NOTHING  # that somebody wrote a note on
    noted_texts: Sequence[str] = ()
    chosen: Composition | None = None

    def where(self, near: Callable[[Compositions], Mask], columns: Sequence[int]) -> "Marks":
        """Return those that hold, by some of their elements, as marks of a slice.

        Args:
            near: Says of alloys which hold.
            columns: The elements.
        """
        rows = near(self.measured)
        chosen = None if self.chosen is None or not near(self.chosen[None])[0] else self.chosen[columns]
        kept = self._replace(
            measured=self.measured[rows][:, columns],
            measured_texts=[*compress(self.measured_texts, rows)],
            measured_values=None if self.measured_values is None else self.measured_values[rows],
            held_out=None if self.held_out is None else self.held_out[rows],
            chosen=chosen,
        )
        for name in ("flagged", "ringed", "batch", "known", "noted"):
            shares, texts = getattr(self, name), getattr(self, f"{name}_texts")
            if len(shares):
                here = near(shares)
                kept = kept._replace(**{name: shares[here][:, columns], f"{name}_texts": [*compress(texts, here)]})
        return kept


def draw_ternary(
    compositions: GridCompositions,
    values: PerAlloy,
    *,
    quantity: str,
    elements: Sequence[str],
    limits: tuple[float, float],
    known: PerAlloy | None = None,
    extrapolated: str = "",
    boundary: Boundary | None = None,
    marks: Marks | None = None,
    names: tuple[str, str] = ("measured", "next batch"),
) -> go.Figure:
    """Draw a figure of every alloy of a ternary, or of a slice through a larger system, to hover over and click.

    Args:
        compositions: Shares of three elements, those of a slice as they are. Shape (g, 3).
        values: NaN stays grey. Shape (g,).
        quantity: Key of `QUANTITIES`.
        elements: Top, left, right corner.
        limits: Of the colours.
        known: 0 where the model extrapolates, which is faded and hatched; NaN where nobody can say. Shape (g,).
        extrapolated: Said of it, such as "37 % of the map is extrapolated".
        boundary: Of the glass; None leaves it out.
        marks: Alloys to mark, as `compositions`.
        names: What the first two kinds of marks are called.
    """
    marks, what = marks or Marks(), QUANTITIES[quantity]
    outside = np.zeros(len(values), dtype=bool) if known is None else known == 0
    colours = colours_of(values, limits, what.colours)
    cells = paint(compositions, colours, outside, boundary=boundary)
    total = 100 * float(compositions[0].sum()) if len(compositions) else 100.0
    figure = frame_ternary(elements, cells, total_at_pct=total)
    if np.isnan(values).any():
        figure.add_bar(x=[None], y=[None], name="no trustworthy first peak", marker={"color": NO_PEAK})
    if extrapolated:
        name_hatch(figure, extrapolated, is_hatched=bool(outside.any()))
    for contour in cells.contours:
        wide, thin = (4, 1.8) if contour.is_strong else (2.4, 0.9)
        for line, dash in ((contour.inside, "solid"), (contour.outside, "4px,3px")):
            for colour, width, style in (("white", wide, "solid"), ("black", thin, dash)):
                ink = {"color": colour, "width": width, "dash": style}
                figure.add_scatter(**line_of(line), mode="lines", line=ink, hoverinfo="skip", showlegend=False)
    if boundary is not None and cells.contours:
        name = "<br>".join(wrap(boundary.name, LEGEND_LETTERS))
        figure.add_scatter(x=[None], y=[None], mode="lines", name=name, line={"color": GREY, "width": 2})
    _add_alloys(figure, compositions, values, outside, what, elements)
    _add_marks(figure, marks, names, elements, limits, what.colours)
    figure.update_layout(
        coloraxis={
            "cmin": limits[0],
            "cmax": limits[1],
            "colorscale": list(what.colours),
            "colorbar": COLOUR_BAR,
        },
    )
    below_axis = {"x": 0.5, "y": 0, "xref": "paper", "yref": "paper", "yanchor": "top", "yshift": -4.3 * FONT}
    figure.add_annotation(text=what.label, showarrow=False, font={"color": GREY, "size": 13}, **below_axis)
    return hide_nothing(figure)


def frame_ternary(elements: Sequence[str], cells: Cells, *, total_at_pct: float = 100.0) -> go.Figure:
    """Return a ternary as a picture of its cells with hatch and axes, to which the rest is added.

    Args:
        elements: Top, left, right corner.
        cells: Of its alloys.
        total_at_pct: What the three share.
    """
    figure = go.Figure()
    _add_axes(figure, axes_of(elements, total_at_pct))
    figure.add_layout_image(
        source=PIL.Image.fromarray(cells.image),
        xref="x",
        yref="y",
        x=0,
        y=HEIGHT,
        sizex=1,
        sizey=HEIGHT,
        sizing="stretch",
        layer="below",
    )
    figure.add_scatter(**line_of(cells.hatch), mode="lines", line=HATCH, hoverinfo="skip", showlegend=False)
    set_style(figure, height=TERNARY_PIXELS)
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(range=[0, 1], constrain="domain", **hidden)
    figure.update_yaxes(
        range=[0, HEIGHT + CORNER_ROOM],
        scaleanchor="x",
        scaleratio=1,
        constrain="domain",
        constraintoward="bottom",
        **hidden,
    )
    figure.update_layout(
        margin={"l": 28, "r": 28, "t": 10, "b": 122},
        legend={"y": 1.0, "font": {"size": 12}, "itemclick": False},
        modebar={"orientation": "v", "bgcolor": "rgba(0,0,0,0)"},  # beside the legend, not over it
        clickmode="event+select",
        dragmode=False,
    )
    return figure


def name_hatch(figure: go.Figure, what: str, *, is_hatched: bool) -> None:
    """Say in the legend what is hatched."""
    pattern = {"shape": "/" if is_hatched else "", "size": 5, "fgcolor": GREY, "bgcolor": "rgba(0,0,0,0)"}
    figure.add_bar(
        x=[None],
        y=[None],
        name="<br>".join(wrap(what, LEGEND_LETTERS)),
        marker={"pattern": pattern, "line": {"width": 0}},
    )


def hide_nothing(figure: go.Figure) -> go.Figure:
    """Have a click choose a point and hide none; return the figure."""
    figure.update_traces(
        selected={"marker": {"opacity": None}}, unselected={"marker": {"opacity": None}}, selector={"mode": "markers"}
    )
    return figure


def _add_axes(figure: go.Figure, axes: Sequence[TernaryAxis]) -> None:
    for axis in axes:
        edge = {"color": axis.colour, "width": 1.6}
        grid = {"color": axis.colour, "width": 0.6}
        plain = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "cliponaxis": False}
        figure.add_scatter(**line_of(axis.grid), **plain, line=grid, opacity=0.35)
        figure.add_scatter(**line_of(axis.edge), **plain, line=edge)
        figure.add_scatter(**line_of(axis.ticks), **plain, line=edge)
        for label, ems, size in (
            *((label, TICK_LABEL_EMS, FONT) for label in axis.tick_labels),
            (axis.title, TITLE_EMS, FONT),
            (axis.corner, CORNER_EMS, 1.4 * FONT),
        ):
            figure.add_annotation(
                text=f"<b>{label.text}</b>" if label is axis.corner else label.text,
                **dict(zip("xy", label.at, strict=True)),
                xshift=FONT * ems * label.away[0],
                yshift=FONT * ems * label.away[1],
                textangle=-label.angle,
                font={"color": axis.colour, "size": size},
                showarrow=False,
            )


def _add_alloys(
    figure: go.Figure,
    compositions: GridCompositions,
    values: PerAlloy,
    outside: Mask,
    what: Quantity,
    elements: Sequence[str],
) -> None:
    """Add what there is to hover over and to click: a dot for each alloy, which nobody sees."""
    data = np.column_stack([100 * compositions, values]).astype(np.float32)
    found, value = np.isfinite(values), f"{what.title} %{{customdata[3]:.{what.digits}f}} {what.unit}"
    for rows, text in (
        (found & ~outside, value),
        (found & outside, f"{value}<br>extrapolated"),
        (~found & ~outside, "no trustworthy first peak"),
        (~found & outside, "no trustworthy first peak<br>extrapolated"),
    ):
        if rows.any():
            figure.add_scatter(
                **line_of(positions(compositions[rows])),
                mode="markers",
                name=what.title,
                marker={"size": 6, "opacity": 0, "color": GREY},
                customdata=data[rows],
                hovertemplate=hover_of(elements, text),
                showlegend=False,
            )
    figure.add_scatter(
        x=[None], y=[None], mode="markers", marker={"color": [0.0], "coloraxis": "coloraxis"}, showlegend=False
    )


def _add_marks(
    figure: go.Figure,
    marks: Marks,
    names: tuple[str, str],
    elements: Sequence[str],
    limits: tuple[float, float],
    scale: Sequence[str],
) -> None:
    dot = 8 * min(1.0, math.sqrt(160 / max(1, len(marks.measured))))  # many would hide the map
    learned = np.ones(len(marks.measured), dtype=bool) if marks.held_out is None else ~marks.held_out
    fill = np.full(len(learned), "white", dtype=object)
    if marks.measured_values is not None:
        fill = np.array(css_of(colours_of(marks.measured_values, limits, scale)), dtype=object)
    texts = np.array([*marks.measured_texts] or [""] * len(learned), dtype=object)
    edge = {"width": 1.0, "color": "black"}
    cross = {"symbol": "x-thin", "size": 8, "line": {"width": 2.2, "color": RED}}
    star = {"symbol": "star", "size": 12, "color": "white", "line": {"width": 1.2, "color": "black"}}
    note = {"symbol": "bowtie", "size": 12, "color": "white", "line": {"width": 1.2, "color": "black"}}
    ring = {"symbol": "circle", "size": dot + 6, "color": RED, "line": {"width": 1, "color": "white"}}  # under the dot
    flag = {"symbol": "triangle-up", "size": dot + 11, "color": RED, "line": {"width": 1.5, "color": "white"}}
    for shares, said, name, style in (
        (marks.ringed, marks.ringed_texts, marks.ringed_name, ring),
        (marks.flagged, marks.flagged_texts, "flagged, and used", flag),
        *(
            (
                marks.measured[rows],
                texts[rows],
                name,
                {"symbol": symbol, "size": dot, "color": fill[rows], "line": edge},
            )
            for rows, name, symbol in ((learned, names[0], "circle"), (~learned, "measured, held out", "square"))
        ),
        (marks.batch, marks.batch_texts, names[1], cross),
        (marks.known, marks.known_texts, "known glass formers", star),
        (marks.noted, marks.noted_texts, "noted on", note),
    ):
        if len(shares):
            figure.add_scatter(
                **line_of(positions(shares)),
                mode="markers",
                name=name,
                text=list(said) or None,
                customdata=(100 * shares).astype(np.float32),
                marker=style,
                hovertemplate=hover_of(elements, name + ("<br>%{text}" if any(said) else "")),
                cliponaxis=False,
            )
    if marks.chosen is not None:
        figure.add_scatter(
            **line_of(positions(marks.chosen[None])),
            mode="markers",
            name="chosen",
            marker={"symbol": "diamond-open", "size": 15, "color": PINK, "line": {"width": 3, "color": PINK}},
            hoverinfo="skip",
            cliponaxis=False,
        )


def line_of(points: np.ndarray) -> dict[str, np.ndarray]:
    """Return points as a trace has them."""
    return dict(zip("xy", points.astype(np.float32).T, strict=True))


def css_of(colours: Iterable[Iterable[int]]) -> list[str]:
    """Return colours as a style sheet has them."""
    return ["rgb({},{},{})".format(*colour) for colour in colours]


def hover_of(elements: Sequence[str], text: str) -> str:
    """Return what stands under the pointer: the alloy, at.%, of a trace's first columns of data, and a text."""
    shares = " ".join(f"{element} %{{customdata[{k}]:.1f}}" for k, element in enumerate(elements))
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
    """Draw the alloys of largest value of a quaternary as a cloud in a tetrahedron.

    Args:
        compositions: Only those to be drawn, shape (g, 4).
        values: Shape (g,).
        quantity: Key of `QUANTITIES`.
        elements: Of the corners.
        limits: Of the colours.
        measured: To mark, shape (n, 4).
    """
    what, figure = QUANTITIES[quantity], frame_tetrahedron(elements)
    texts = [" ".join(f"{e} {share:.0f}" for e, share in zip(elements, row, strict=True)) for row in 100 * compositions]
    figure.add_scatter3d(
        **xyz_of(compositions),
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
            **xyz_of(measured),
            mode="markers",
            name="measured",
            marker={"size": 3, "color": "black", "symbol": "circle-open"},
            hoverinfo="skip",
        )
    return figure


def frame_tetrahedron(elements: Sequence[str]) -> go.Figure:
    """Return the edges of a tetrahedron with its four elements at the corners, to which the rest is added."""
    figure = go.Figure()
    edges = TETRAHEDRON[[0, 1, 2, 0, 3, 1, 3, 2]]
    line = {"color": GREY, "width": 3}
    figure.add_scatter3d(**_xyz(edges), mode="lines", line=line, hoverinfo="skip", showlegend=False)
    figure.add_scatter3d(
        **_xyz(TETRAHEDRON + 0.07 * (TETRAHEDRON - TETRAHEDRON.mean(0))),
        mode="text",
        text=list(elements),
        textfont={"size": 16, "color": GREY},
        hoverinfo="skip",
        showlegend=False,
    )
    set_style(figure, height=560)
    hidden = {"visible": False}
    figure.update_layout(scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"})
    return figure


def xyz_of(compositions: Compositions) -> dict[str, np.ndarray]:
    """Return alloys of four elements as a trace in the tetrahedron has them."""
    return _xyz((compositions @ TETRAHEDRON).astype(np.float32))


def _xyz(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.T, strict=True))


def draw_parallel(table: pd.DataFrame, *, elements: Sequence[str], limits: tuple[float, float]) -> go.Figure:
    """Draw a line for each of the best places of many elements, across the centre's at.%, Δq and its std.

    Args:
        table: A row a place, as of `glassmap.agent.maps.regions.Place.to_row`.
        elements: Of the campaign.
        limits: Of the colours, which are Δq.
    """
    axes = [{"label": element, "values": table[element], "range": [0, 100]} for element in elements]
    axes.append({"label": DELTA_Q.head, "values": table[DELTA_Q.name]})
    axes.append({"label": f"std ({DELTA_Q.unit})", "values": table[DELTA_Q.predictive_std_name].fillna(0)})
    if all(value is not None for value in table["distance"]):
        axes.append({"label": "distance (at.%)", "values": table["distance"]})
    line = {"color": table[DELTA_Q.name], "colorscale": "Viridis", "cmin": limits[0], "cmax": limits[1]}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelfont={"size": 14}, tickfont={"size": 11}))
    set_style(figure, height=420)
    figure.update_layout(margin={"l": 50, "r": 50, "t": 60, "b": 20})
    return figure
