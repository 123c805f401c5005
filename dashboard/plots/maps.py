"""Maps of a composition space as plotly figures: ternaries and slices, the tetrahedron, parallel coordinates."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from glassmap.agent.maps.spectra_archive import GLASS_DELTA_Q
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.shapes import Composition, Compositions, GridCompositions, PerAlloy
from glassmap.dashboard.plots.style import GREY, ORANGE, PINK, set_style

NOTHING = np.empty((0, 3))


class Quantity(NamedTuple):
    """A figure of an alloy that a map can show."""

    title: str
    unit: str
    digits: int

    @property
    def label(self) -> str:
        """Return title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


QUANTITIES = {
    **{f.name: Quantity(f.title, f.unit, f.digits) for f in FIGURES},
    **{f.std_name: Quantity(f"epistemic std of {f.label}", f.unit, f.digits) for f in FIGURES},
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
    held_out: Compositions = NOTHING  # measured, and never learned from
    held_out_texts: Sequence[str] = ()
    ringed: Compositions = NOTHING  # of those measured, what a page has to say something of
    ringed_texts: Sequence[str] = ()
    ringed_name: str = ""


def colour_range(values: PerAlloy) -> tuple[float, float]:
    """Return where a colour scale begins and ends in every picture of that figure: 1st and 99th percentile."""
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0, 1.0
    low, high = np.percentile(known, [1, 99])
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(high) + 0.5)


def draw_ternary(
    compositions: GridCompositions,
    values: PerAlloy,
    *,
    quantity: str,
    elements: Sequence[str],
    limits: tuple[float, float],
    marks: Marks | None = None,
    names: tuple[str, str] = ("measured", "next batch"),
    sum_at_pct: float = 100.0,
) -> go.Figure:
    """Draw a figure of every alloy of a ternary, or of a slice through a larger system, as hexagons to hover.

    Args:
        compositions: Shares of three elements, those of a slice as they are; they sum to `sum_at_pct`. Shape (g, 3).
        values: NaN stays grey. Shape (g,).
        quantity: Key of `QUANTITIES`.
        elements: Top, left, right corner.
        limits: Of the colours.
        marks: Alloys to mark, as `compositions`.
        names: What the first two kinds of marks are called.
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
            "orientation": "h",
            "title": {"text": what.label, "side": "top"},
            "thickness": 12,
            "len": 0.9,
            "y": -0.12,
            "yanchor": "top",
            "tickvals": [0.25, 0.75] if is_glass else None,
            "ticktext": ["no", f"{DELTA_Q.label} ≥ {GLASS_DELTA_Q:g}"] if is_glass else None,
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
    cross = {"symbol": "x-thin", "size": 8, "line": {"width": 2.2, "color": "#d00000"}}
    star = {"symbol": "star", "size": 12, "color": "white", "line": {"width": 1.2, "color": "black"}}
    circle = {"symbol": "circle", "size": dot, "color": "white", "line": {"width": 1.5, "color": "black"}}
    grey_circle = circle | {"color": GREY}
    ring = {"symbol": "circle-open", "size": 13, "line": {"width": 2, "color": "#d00000"}}
    for shares, texts, name, style in (
        (marks.measured, marks.measured_texts, names[0], circle),
        (marks.held_out, marks.held_out_texts, "measured, held out", grey_circle),
        (marks.ringed, marks.ringed_texts, marks.ringed_name, ring),
        (marks.batch, marks.batch_texts, names[1], cross),
        (marks.known, marks.known_texts, "known glass formers", star),
    ):
        if len(shares):
            figure.add_scatterternary(
                **_corners(100 * shares),
                mode="markers",
                name=name,
                text=list(texts) or None,
                marker=style,
                hovertemplate=_hover(elements, name + ("<br>%{text}" if len(texts) else "")),
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
    set_style(figure, height=560)
    titles = [f"{element} ({of})" if sum_at_pct == 100 else element for element in elements]
    figure.update_layout(
        margin={"l": 60, "r": 60, "t": 65, "b": 100},
        legend={"y": 1.09},
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
    """Return the pixels across a grid point's hexagon, in a picture 560 high."""
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
    """Draw the alloys of largest value of a quaternary as a cloud in a tetrahedron.

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
    set_style(figure, height=560)
    hidden = {"visible": False}
    figure.update_layout(scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data"})
    return figure


def _xyz(points: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip("xyz", points.T, strict=True))


def draw_parallel(table: pd.DataFrame, *, elements: Sequence[str], limits: tuple[float, float]) -> go.Figure:
    """Draw a line for each of the best alloys of many elements, across at.%, Δq and its epistemic std.

    Args:
        table: As of `glassmap.dashboard.candidates.best_alloys`.
        elements: Of the campaign.
        limits: Of the colours, which are Δq.
    """
    axes = [{"label": element, "values": table[element], "range": [0, 100]} for element in elements]
    axes.append({"label": DELTA_Q.head, "values": table[DELTA_Q.name]})
    axes.append({"label": f"std ({DELTA_Q.unit})", "values": table[DELTA_Q.std_name].fillna(0)})
    axes.append({"label": "distance (at.%)", "values": table["distance"]})
    line = {"color": table[DELTA_Q.name], "colorscale": "Viridis", "cmin": limits[0], "cmax": limits[1]}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, labelfont={"size": 14}, tickfont={"size": 11}))
    set_style(figure, height=420)
    figure.update_layout(margin={"l": 50, "r": 50, "t": 60, "b": 20})
    return figure
