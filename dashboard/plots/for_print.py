"""Pictures for print and notebooks: learning curve, map of a ternary, spectra, structure. Arrays in, a figure out."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator

from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.reliability import EDGES, Share
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MSE, Measure
from glassmap.agent.planning.convergence import CurvePoint, Estimate
from glassmap.agent.shapes import (
    Axis,
    Compositions,
    GridCompositions,
    PerAlloy,
    PerSample,
    RadialAxis,
    RadialValues,
    Scan,
    ScanAxis,
    Spectra,
    Spectrum,
    TakenCompositions,
)
from glassmap.dashboard.held_out import Pairs
from glassmap.dashboard.learning import Expected, measures_of
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES
from glassmap.dashboard.plots.disc import Blend, Disc, Shown, outline_of, paint_disc
from glassmap.dashboard.plots.quantities import Quantity
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
from glassmap.dashboard.plots.words import BAND, TWO_EPISTEMIC
from glassmap.dashboard.reliability import Evidence, least_of
from glassmap.dashboard.wafers import MEASURED, Kind, Reach, Wafer, inks_of

MODEL_LABELS = {  # of a comparison, and their colours
    "mean": ("mean spectrum", "#d9d9d9"),
    "nearest": ("nearest neighbour", "#b0b0b0"),
    "rbf": ("RBF", "#cc79a7"),
    "pca-gp": ("PCA + GP", "#009e73"),
    "extra-trees": ("ExtraTrees", "#e69f00"),
    "without-networks": ("ours without networks", "#000000"),
    "sample": ("ours, one generated spectrum", "#56b4e9"),
    "ensemble": ("ours, ensemble mean", "#0072b2"),
    "published": ("the published network", "#d55e00"),
}
_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#767676"  # Okabe and Ito: safe for the colour-blind
_RED = "#d00000"
_MARKS: dict[Kind, tuple[str, str]] = {  # of the points of a wafer that are marked: shape and ink
    "measured": ("o", "black"),
    "held out": ("s", "black"),
    "flagged": ("^", _RED),
    "failed": ("x", "black"),
    "pending": ("x", _RED),
}
_FONT = 9  # points, beside a ternary


class Page(Figure):
    """A figure that a notebook shows as it is, whether or not it was told of matplotlib."""

    def _repr_png_(self) -> bytes:
        shown = BytesIO()
        self.savefig(shown, format="png")
        return shown.getvalue()


def draw_learning_curve(
    curve: Sequence[CurvePoint],
    *,
    title: str,
    expected: Mapping[Measure, Sequence[Expected]] | None = None,
) -> Figure:
    """Draw what the hold-out says, by each measure, against the number of spectra learned from.

    Args:
        curve: One point a round, oldest first.
        title: Above all.
        expected: What the next batches are expected to bring, by measure.
    """
    measures = measures_of(curve) or [MSE]
    columns = min(4, len(measures))
    rows = -(-len(measures) // columns)
    figure = Page(figsize=(4 * columns + 1, 3.6 * rows + 0.8), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    spectra = [point.spectra for point in curve]
    for axes in panels[len(measures) :]:
        axes.set_axis_off()
    for axes, measure in zip(panels, measures, strict=False):
        if measure == MSE:
            axes.plot(spectra, [p.mse_sample for p in curve], "o--", color=_GREY, label="one generated spectrum")
            before = [np.nan if point.next_batch_mse is None else point.next_batch_mse for point in curve]
            if np.isfinite(before).any():
                axes.plot(spectra, before, "s", mfc="none", color=_ORANGE, label="last round's model on this batch")
        known = [(point.spectra, point.hold_out[measure.name]) for point in curve if measure.name in point.hold_out]
        _draw_estimates(axes, known, "o-", color=_BLUE, label="ensemble mean, ± standard error")
        ahead = [(one.spectra, one.error) for one in (expected or {}).get(measure, [])]
        if ahead:
            label = "expected on the same spectra, ± standard error"
            _draw_estimates(axes, ahead, "o:", mfc="none", color=_GREEN, label=label)
        axes.set(xlabel="spectra learned from", ylabel=measure.head)
        axes.set_ylim(bottom=0, top=1.08 * axes.get_ylim()[1])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        axes.spines[["top", "right"]].set_visible(False)
    if curve:
        figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=4, loc="outside lower center")
    figure.suptitle(title, parse_math=False)
    return figure


def _draw_estimates(axes: Axes, known: Sequence[tuple[int, Estimate]], style: str, **look: Any) -> None:
    """Draw points with their standard errors; those of an older version have none."""
    values = [found.value for _, found in known]
    errors = np.nan_to_num([found.standard_error for _, found in known])
    axes.errorbar([spectra for spectra, _ in known], values, errors, fmt=style, capsize=3, elinewidth=1, **look)


def draw_peak_maps(
    generated: tuple[GridCompositions, PerAlloy],
    measured: tuple[Compositions, PerSample] | None,
    learned: tuple[TakenCompositions, PerSample | None],
    *,
    quantity: Quantity,
    elements: Sequence[str],
    limits: tuple[float, float],
    known: PerAlloy,
    extrapolated: str,
    flagged: Compositions,
    title: str,
    failure: str,
    boundary: Boundary | None,
) -> Figure:
    """Draw the map of a figure of a ternary, or of a slice, beside the measured one, on one colour scale.

    Args:
        generated: Atomic fractions of the grid `(g, 3)` and the figure; NaN (no trustworthy peak) stays grey.
        measured: The same of the measured alloys; None of what nobody measures, which is drawn alone.
        learned: The same of what the model learned from, drawn on top of the generated map; white without the figure.
        quantity: Which it is.
        elements: Top, left, right corner.
        limits: Of the colours.
        known: 0 where the model extrapolates, which is faded and hatched; NaN where nobody can say. Shape `(g,)`.
        extrapolated: Said of it, such as "37 % of the map is extrapolated".
        flagged: Atomic fractions of what screening flagged and the model learned from nevertheless.
        title: Above both.
        failure: Said below the title, in red, where the map says nothing of its system; empty else.
        boundary: Of the glass; None leaves it out.
    """
    page = Page(figsize=(12 if measured else 7.6, 6 if measured else 6.6), layout="constrained")
    panels = page.subplots(1, 2 if measured else 1, squeeze=False)[0]
    left, (compositions, values) = panels[0], generated
    cells = _paint_map(left, generated, learned, quantity, limits, known, boundary)
    if len(flagged):
        flag = {"marker": "^", "facecolors": _RED, "edgecolors": "white", "linewidths": 1.0}
        left.scatter(*positions(flagged).T, s=190, zorder=2.9, clip_on=False, **flag)
    captions, has_grey = [f"generated, {len(compositions)} alloys"], bool(np.isnan(values).any())
    if measured is not None:
        captions.append(f"measured, {len(measured[0])} alloys")
        has_peak = np.isfinite(measured[1])
        has_grey |= not has_peak.all()
        size = float(np.clip(3000 / max(1, len(has_peak)), 9, 36))
        for rows in (~has_peak, has_peak):  # grey below
            inks = colours_of(measured[1][rows], limits, quantity.colours) / 255
            panels[1].scatter(*positions(measured[0][rows]).T, s=size, c=inks, linewidths=0, clip_on=False)
    total = 100 * float(compositions[0].sum())
    for panel, caption in zip(panels, captions, strict=True):
        _draw_ternary_axes(panel, axes_of(elements, total))
        panel.set_title(caption, pad=24)
    scale = ScalarMappable(Normalize(*limits), LinearSegmentedColormap.from_list("map", quantity.colours))
    page.colorbar(scale, ax=list(panels), shrink=0.75, label=quantity.label)
    keys, names = list[Artist](), list[str]()
    if len(learned[0]):
        ink = "white" if learned[1] is None else quantity.colours[len(quantity.colours) // 4]
        keys.append(Line2D([], [], marker="o", color="none", markerfacecolor=ink, markeredgecolor="black"))
        names.append("learned from" + ("" if learned[1] is None else ", in the colour of what was measured"))
    if len(flagged):
        keys.append(
            Line2D([], [], marker="^", color="none", markerfacecolor=_RED, markeredgecolor="white", markersize=11)
        )
        names.append("flagged, and used")
    if extrapolated:
        keys.append(Patch(facecolor="none", edgecolor=_GREY, hatch="////", linewidth=0))
        names.append(extrapolated)
    if has_grey:
        keys.append(Patch(facecolor=NO_PEAK))
        names.append("no trustworthy first peak")
    if boundary is not None and cells.contours:
        keys.append(Line2D([], [], color="black", linewidth=1.4))
        names.append(f"{boundary.name}; dashed: extrapolated")
    columns = 3 if measured else 2
    page.legend(keys, names, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    page.suptitle(f"{title}\n{failure}".strip(), color=_RED if failure else None, parse_math=False)
    return page


class PrintedSlice(NamedTuple):
    """A ternary slice of a map of more elements, as it is drawn."""

    caption: str
    generated: tuple[Compositions, PerSample]  # shares of the three elements that vary `(n, 3)`, and the figure
    known: PerSample  # 0 where the model extrapolates
    boundary: Boundary | None
    learned: tuple[Compositions, PerSample | None]  # what lies near it, as `generated`


def draw_slices(
    slices: Sequence[PrintedSlice],
    *,
    quantity: Quantity,
    elements: Sequence[str],
    limits: tuple[float, float],
    extrapolated: str,
    near: str,
    title: str,
    failure: str,
) -> Figure:
    """Draw ternary slices of the map of a figure of four elements, on one colour scale.

    Args:
        slices: At least one.
        quantity: Which it is.
        elements: Top, left, right corner of each.
        limits: Of the colours.
        extrapolated: As of `draw_peak_maps`.
        near: What is marked, such as "learned from, within 2 at.% of the slice".
        title: Above all.
        failure: As of `draw_peak_maps`.
    """
    columns = min(2, len(slices))
    rows = -(-len(slices) // columns)
    page = Page(figsize=(5.6 * columns + 0.8, 5.4 * rows + 1), layout="constrained")
    panels = page.subplots(rows, columns, squeeze=False).flatten()
    for panel in panels[len(slices) :]:
        panel.set_axis_off()
    boundary = None
    for panel, one in zip(panels, slices, strict=False):
        cells = _paint_map(panel, one.generated, one.learned, quantity, limits, one.known, one.boundary)
        boundary = one.boundary if cells.contours else boundary
        _draw_ternary_axes(panel, axes_of(elements, 100 * float(one.generated[0][0].sum())))
        panel.set_title(one.caption, pad=24, parse_math=False)
    scale = ScalarMappable(Normalize(*limits), LinearSegmentedColormap.from_list("map", quantity.colours))
    page.colorbar(scale, ax=list(panels), shrink=0.75, label=quantity.label)
    keys, names = list[Artist](), list[str]()
    if any(len(one.learned[0]) for one in slices):
        ink = quantity.colours[len(quantity.colours) // 4]
        keys.append(Line2D([], [], marker="o", color="none", markerfacecolor=ink, markeredgecolor="black"))
        names.append(near)
    if extrapolated:
        keys.append(Patch(facecolor="none", edgecolor=_GREY, hatch="////", linewidth=0))
        names.append(extrapolated)
    if any(np.isnan(one.generated[1]).any() for one in slices):
        keys.append(Patch(facecolor=NO_PEAK))
        names.append("no trustworthy first peak")
    if boundary is not None:
        keys.append(Line2D([], [], color="black", linewidth=1.4))
        names.append(f"{boundary.name}; dashed: extrapolated")
    page.legend(keys, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    page.suptitle(f"{title}\n{failure}".strip(), color=_RED if failure else None, parse_math=False)
    return page


def _paint_map(
    axes: Axes,
    generated: tuple[Compositions, PerSample],
    learned: tuple[Compositions, PerSample | None],
    quantity: Quantity,
    limits: tuple[float, float],
    known: PerSample,
    boundary: Boundary | None,
) -> Cells:
    """Paint a figure of a ternary or a slice, and on top in the same colours what was learned from."""
    compositions, values = generated
    cells = paint(compositions, colours_of(values, limits, quantity.colours), known == 0, boundary=boundary)
    axes.imshow(cells.image, extent=(0, 1, 0, HEIGHT), interpolation="antialiased", zorder=0)
    axes.plot(*cells.hatch.T, color=_GREY, linewidth=0.6)
    for contour in cells.contours:
        wide, thin = (3, 1.4) if contour.is_strong else (1.8, 0.7)
        for line, dash in ((contour.inside, "-"), (contour.outside, (0, (3, 2)))):
            axes.plot(*line.T, color="white", linewidth=wide)
            axes.plot(*line.T, color="black", linewidth=thin, linestyle=dash)
    dots = {"edgecolors": "black", "linewidths": 0.9, "zorder": 3, "clip_on": False}
    inks = "white" if learned[1] is None else colours_of(learned[1], limits, quantity.colours) / 255
    axes.scatter(*positions(learned[0]).T, s=24, c=inks, **dots)
    return cells


def draw_wafers(
    wafers: Sequence[Wafer],
    discs: Sequence[tuple[Wafer, Sequence[Shown]]],
    *,
    elements: Sequence[str],
    reach: Reach,
    blend: Blend,
    diameter: float | None,
    title: str,
) -> Figure:
    """Draw what of a ternary each wafer reaches, and below a row of discs for each of some wafers.

    Args:
        wafers: All, of which a ternary shows the outlines.
        discs: Those that have a row, with what their points are coloured by.
        elements: Of the campaign; of other than three the reach is left out.
        reach: Of the space.
        blend: The colours of alloys.
        diameter: mm, of wafers that the campaign plans; None where it plans none.
        title: Above all.
    """
    columns = max((len(shown) for _, shown in discs), default=1)
    has_reach = len(elements) == 3
    width, high, row = max(8.0, 4.2 * columns), 6.4 * has_reach, 4.4
    page = Page(figsize=(width, high + row * len(discs) + 0.7), layout="constrained")
    page.suptitle(title, parse_math=False)
    parts = page.subfigures(
        has_reach + len(discs), 1, height_ratios=[high] * has_reach + [row] * len(discs), squeeze=False
    )
    if has_reach:
        _draw_reach(parts[0, 0].subplots(), wafers, reach, elements, blend)
    for part, (wafer, shown) in zip(parts[has_reach:, 0], discs, strict=True):
        part.suptitle(f"{wafer.name}: {wafer.sentences[0]}", fontsize=9, parse_math=False)
        panels = part.subplots(1, columns, squeeze=False)[0]
        for axes, one in zip(panels, shown, strict=False):
            _draw_disc(axes, wafer, wafer.disc(diameter), one)
        for limits, scale in dict.fromkeys((one.limits, tuple(one.scale)) for one in shown if one.scale):
            alike = [axes for axes, one in zip(panels, shown, strict=False) if one.limits == limits and one.scale]
            colours = ScalarMappable(Normalize(*limits), LinearSegmentedColormap.from_list("disc", scale))
            part.colorbar(colours, ax=alike, shrink=0.8)
    return page


def _draw_reach(axes: Axes, wafers: Sequence[Wafer], reach: Reach, elements: Sequence[str], blend: Blend) -> None:
    cells = paint(reach.space, blend.colours(reach.space), reach.is_unreached)
    axes.imshow(cells.image, extent=(0, 1, 0, HEIGHT), interpolation="antialiased", zorder=0)
    axes.plot(*cells.hatch.T, color=_GREY, linewidth=0.6)
    for wafer, ink in zip(wafers, inks_of(wafers), strict=True):
        line, dash = outline_of(positions(wafer.compositions)), "-" if wafer.excluded is None else (0, (3, 2))
        axes.plot(*line.T, color="white", linewidth=3)
        axes.plot(*line.T, color=ink, linewidth=1.6, linestyle=dash, label=wafer.name)
    found = np.concatenate([wafer.compositions[wafer.of(*MEASURED)] for wafer in wafers])
    dots = {"facecolors": "white", "edgecolors": "black", "linewidths": 0.8, "zorder": 3, "clip_on": False}
    axes.scatter(*positions(found).T, s=min(20.0, 3000 / max(1, len(found))), label="measured", **dots)
    _draw_ternary_axes(axes, axes_of(elements))
    hatched = Patch(facecolor="none", edgecolor=_GREY, hatch="////", linewidth=0, label="reached by no wafer")
    keys = [*axes.get_legend_handles_labels()[0], hatched]
    axes.legend(handles=keys, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9)


def _draw_disc(axes: Axes, wafer: Wafer, disc: Disc, shown: Shown) -> None:
    there = wafer.placed
    picture = paint_disc(disc, wafer.x[there], wafer.y[there], shown.of(there))
    axes.imshow(picture, extent=disc.extent, interpolation="nearest", zorder=0)
    axes.plot(*disc.rim.T, color=_GREY, linewidth=1)
    if shown.is_there is None:
        for kind, (marker, ink) in _MARKS.items():
            rows = wafer.of(kind) & there
            look: dict[str, Any] = {"color": ink} if marker == "x" else {"facecolors": "white", "edgecolors": ink}
            axes.scatter(wafer.x[rows], wafer.y[rows], s=14, marker=marker, linewidths=0.9, zorder=3, **look)
    left, right, bottom, top = disc.extent
    axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal", xlabel="x (mm)", ylabel="y (mm)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(shown.title, fontsize=9)


def _draw_ternary_axes(axes: Axes, sides: Sequence[TernaryAxis]) -> None:
    for side in sides:
        axes.plot(*side.grid.T, color=side.colour, linewidth=0.5, alpha=0.35)
        for line in (side.edge, side.ticks):
            axes.plot(*line.T, color=side.colour, linewidth=1.2, clip_on=False, solid_capstyle="round")
        for label, ems, size in (
            *((label, TICK_LABEL_EMS, _FONT) for label in side.tick_labels),
            (side.title, TITLE_EMS, _FONT),
            (side.corner, CORNER_EMS, 1.4 * _FONT),
        ):
            axes.annotate(
                label.text,
                label.at,
                (_FONT * ems * label.away[0], _FONT * ems * label.away[1]),
                textcoords="offset points",
                color=side.colour,
                fontsize=size,
                fontweight="bold" if label is side.corner else None,
                rotation=label.angle,
                ha="center",
                va="center",
                parse_math=False,
            )
    axes.set(xlim=(0, 1), ylim=(0, HEIGHT), aspect="equal")
    axes.axis("off")


def draw_examples(
    axis_name: str,
    axis: Axis,
    examples: Sequence[tuple[str, Spectrum, Spectrum, Spectrum]],
    *,
    band: str,
    title: str,
) -> Figure:
    """Draw generated spectra against measured ones.

    Args:
        axis_name: `q`, `two_theta` or `r`.
        axis: Shape `(q,)`.
        examples: Caption, measured spectrum, generated mean and the half-width of its band, each `(q,)`.
        band: What the band is.
        title: Above all.
    """
    figure = Page(figsize=(10, 2.6 * len(examples) + 0.6), layout="constrained")
    panels = figure.subplots(len(examples), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (caption, measured, mean, half_width) in zip(panels, examples, strict=True):
        axes.plot(axis, measured, color="black", linewidth=1, label="measured")
        _draw_generated(axes, axis, mean, half_width, band)
        axes.set_title(caption, loc="left", fontsize=10, parse_math=False)
        axes.set_ylabel("intensity")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=3, loc="outside lower center")
    panels[-1].set_xlabel(AXIS_TITLES[axis_name])
    figure.suptitle(title, parse_math=False)
    return figure


def draw_parity(panels: Sequence[Pairs], *, title: str, rule: GlassRule | None) -> Figure:
    """Draw figures of held-out alloys, generated against measured, a panel each.

    Args:
        panels: At least one.
        title: Above all.
        rule: Whose threshold is marked; None marks nothing.
    """
    page = Page(figsize=(5.4 * len(panels), 6.2), layout="constrained")
    for axes, pairs in zip(page.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        limits = pairs.limits()
        axes.plot(limits, limits, color=_GREY, linewidth=0.9, label="generated = measured")
        axes.axline((0, 0), slope=pairs.agreement.slope, color=_ORANGE, linewidth=1.2, linestyle="--", label="fit")
        bars = {"ecolor": "#0072b250", "elinewidth": 0.5, "color": _BLUE, "markersize": 2.5}
        axes.errorbar(pairs.measured, pairs.generated, pairs.half_width, fmt="o", label=f"± {pairs.interval}", **bars)
        if rule is not None and pairs.figure == DELTA_Q and limits[0] < rule.threshold < limits[1]:
            for draw in (axes.axhline, axes.axvline):
                draw(rule.threshold, color=_GREY, linewidth=0.8, linestyle=":")
        axes.set(xlim=limits, ylim=limits, aspect="equal")
        axes.set(xlabel=f"{pairs.figure.head}, measured", ylabel=f"{pairs.figure.head}, generated")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
        axes.set_title(fill(pairs.say().replace(" %", "\u00a0%"), 64), fontsize=8.5, loc="left", parse_math=False)
    page.suptitle(title, parse_math=False)
    return page


def draw_reliability(found: Sequence[Evidence], *, title: str) -> Figure:
    """Draw what P(glass) and the intervals of Δq are worth: what was said of alloys against what was measured.

    Args:
        found: At least one kind of alloys.
        title: Above all.
    """
    groups = list(dict.fromkeys(name for one in found for name in one.of_delta_q))
    page = Page(figsize=(11, max(4.8, 2.2 + 0.34 * len(groups))), layout="constrained")
    left, right = page.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=_GREY, linewidth=0.9)
    right.axvline(CONFIDENCE, color=_GREY, linewidth=0.9)
    for one, colour, side in zip(found, (_BLUE, _ORANGE), (-1, 1), strict=False):
        look = {"fmt": "o", "color": colour, "capsize": 3, "elinewidth": 1, "clip_on": False}
        look |= {"markerfacecolor": colour if one.kind == "held out" else "white"}
        if one.of_glass is not None:
            classes = [each for each in one.of_glass.classes if each.measured.of]
            at = [each.said + 0.008 * side for each in classes]
            shares = [each.measured for each in classes]
            left.errorbar(at, [share.value for share in shares], _bars(shares), **look)
            for x, share in zip(at, shares, strict=True):
                place = {"xytext": (7 * side, 0), "textcoords": "offset points", "va": "center"}
                left.annotate(
                    str(share.of),
                    (x, share.value),
                    ha="right" if side < 0 else "left",
                    fontsize=8,
                    color=colour,
                    **place,
                )
        shares = [*one.of_delta_q.values()]
        at = [-groups.index(name) - 0.14 * side for name in one.of_delta_q]
        name = f"{one.kind}, {one.of_delta_q['all'].of} alloys; bars: {100 * CONFIDENCE:g} % interval of the share"
        right.errorbar([share.value for share in shares], at, xerr=_bars(shares), label=name, **look)
    left.set(xlim=(-0.06, 1.02), ylim=(-0.02, 1.02), xticks=EDGES, yticks=EDGES, aspect="equal")
    left.set(xlabel="P(glass) that was said", ylabel="share measured to be a glass")
    right.set(
        xlim=(least_of(found) - 0.02, 1.02),
        xlabel=f"share inside the {100 * CONFIDENCE:g} % interval of {DELTA_Q.label}",
    )
    right.set_yticks([-number for number in range(len(groups))], groups, parse_math=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    page.legend(*right.get_legend_handles_labels(), frameon=False, ncols=2, loc="outside lower center")
    said = [fill(" ".join(one.say()[:2]).replace(" %", "\u00a0%"), 140) for one in found]
    page.suptitle("\n".join([title, *said]), fontsize=9, parse_math=False)
    return page


def _bars(shares: Sequence[Share]) -> Float[np.ndarray, "2 n"]:
    """Return how far each share's interval reaches to either side."""
    low, high = np.array([share.interval for share in shares]).T
    values = np.array([share.value for share in shares])
    return np.maximum(0, [values - low, high - values])


def band_about(band: Spectrum, epistemic_std: Spectrum) -> tuple[Spectrum, str]:
    """Return the half-width of the band to draw about a generated mean, and what the band is.

    Args:
        band: The calibrated half-width, shape `(q,)`; NaN where too little was left out to know it.
        epistemic_std: Shape `(q,)`, drawn twice instead.
    """
    return (band, BAND) if np.isfinite(band).all() else (2 * epistemic_std, TWO_EPISTEMIC)


def draw_generated(
    axis_name: str,
    axis: Axis,
    mean: Spectrum,
    half_width: Spectrum,
    *,
    band: str,
    title: str,
    warning: str = "",
    measured: Spectra | None = None,
) -> Figure:
    """Draw one generated spectrum with its band, over what was measured of the alloy.

    Args:
        axis_name: `q`, `two_theta` or `r`.
        axis: Shape `(q,)`.
        mean: Generated, shape `(q,)`.
        half_width: Of its band, shape `(q,)`.
        band: What the band is.
        title: Above it.
        warning: What warns of it, above all in red.
        measured: Spectra of the same alloy, shape `(n, q)`.
    """
    figure = Page(figsize=(9, 4.4), layout="constrained")
    if warning:
        figure.suptitle(fill(warning, 110), color=_RED, fontsize=9, parse_math=False)
    axes = figure.subplots()
    for k, spectrum in enumerate([] if measured is None else measured):
        axes.plot(axis, spectrum, color="black", linewidth=1, label="measured" if k == 0 else None)
    _draw_generated(axes, axis, mean, half_width, band)
    axes.set(xlabel=AXIS_TITLES[axis_name], ylabel="g(r)" if axis_name == "r" else "intensity")
    axes.set_title(title, fontsize=9.5, parse_math=False)
    axes.legend(frameon=False)
    return figure


def draw_flagged(q: Axis, flagged: Spectrum, neighbours: Spectra, *, title: str) -> Figure:
    """Draw a flagged spectrum over those of the nearest measured alloys, for a person to decide.

    Args:
        q: 1/Å, shape `(q,)`.
        flagged: 0-100, shape `(q,)`.
        neighbours: The nearest first, shape `(n, q)`.
        title: What it is and why it is flagged.
    """
    figure = Page(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    for k, spectrum in enumerate(neighbours):
        axes.plot(q, spectrum, color=_GREY, linewidth=0.8, label="nearest measured alloys" if k == 0 else None)
    axes.plot(q, flagged, color=_ORANGE, linewidth=1.2, label="flagged")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set(xlabel=AXIS_TITLES["q"], ylabel="intensity", xlim=(q[0], q[-1]))
    axes.set_title(title, fontsize=9, wrap=True, parse_math=False)
    axes.legend(frameon=False)
    return figure


def draw_model_curves(
    curves: Mapping[str, Mapping[str, Mapping[int, Sequence[float]]]],
    *,
    floor: float | None = None,
    published: float | None = None,
) -> Figure:
    """Draw median and range over splits of every model's test MSE against the number of spectra, both logarithmic.

    Args:
        curves: A panel each, by its title: the MSE of each split, by model (of `MODEL_LABELS`) and number of spectra
            learned from.
        floor: MSE of a perfect model, where it is known.
        published: The paper's MSE at 40 spectra, where there is one to draw.
    """
    figure = Page(figsize=(8 if len(curves) == 1 else 4.6 * len(curves), 5.2), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axes, (title, mse) in zip(panels, curves.items(), strict=True):
        for model, (name, colour) in MODEL_LABELS.items():
            if by_size := mse.get(model):
                n, values = sorted(by_size), [by_size[size] for size in sorted(by_size)]
                medians, lowest, highest = ([of(v) for v in values] for of in (np.median, min, max))
                axes.plot(n, medians, "o-", color=colour, label=name, linewidth=1.4, markersize=4)
                axes.fill_between(n, lowest, highest, color=colour, alpha=0.15, lw=0)
        if floor is not None:
            axes.axhline(floor, color="black", linestyle="--", linewidth=1, label="noise of one simulation")
        if published is not None:
            axes.plot([40], [published], "*", color=_ORANGE, markersize=13, label="the paper, 40 000 atoms")
        axes.set(xscale="log", yscale="log", xlabel="spectra learned from")
        axes.set_title(title, parse_math=False)
        ticks = sorted({n for by_size in mse.values() for n in by_size})
        axes.set_xticks(ticks, [str(n) for n in ticks])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test MSE")
    if len(curves) == 1:
        panels[0].legend(frameon=False, fontsize=9)
    else:
        figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=5, loc="outside lower center")
    return figure


def draw_structure(
    r: RadialAxis,
    rdfs: Mapping[str, RadialValues],
    q: Axis,
    structure_factors: Mapping[str, Spectrum],
    profile: tuple[ScanAxis, Scan],
    *,
    title: str,
) -> Figure:
    """Draw g(r) and S(q) of a structure, with the fitted first peak.

    Args:
        r: Å, shape `(r,)`.
        rdfs: g(r) by name, the total first, shape `(r,)` each.
        q: 1/Å, shape `(q,)`.
        structure_factors: S(q) by name, the one for the eye first, shape `(q,)` each.
        profile: q (1/Å) and S of the fitted peak within its window, shape `(p,)` each; empty where there is none.
        title: Above both.
    """
    figure = Page(figsize=(12, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, (name, g) in enumerate(rdfs.items()):
        left.plot(r, g, color="black" if k == 0 else None, linewidth=1.6 if k == 0 else 0.8, label=name, zorder=9 - k)
    left.axhline(1, color=_GREY, linewidth=0.6)
    left.set(xlabel=AXIS_TITLES["r"], ylabel="g(r)", xlim=(0, r[-1]), ylim=(0, None))
    for (name, s), style in zip(structure_factors.items(), ({"color": "black"}, {"color": _GREY}), strict=False):
        right.plot(q, s, linewidth=1.2, label=name, **style)
    if len(profile[0]):
        right.plot(*profile, color=_ORANGE, linewidth=2, label="fitted first peak")
    right.set(xlabel=AXIS_TITLES["q"], ylabel="S(q)", xlim=(q[0], q[-1]))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    figure.suptitle(title, parse_math=False)
    return figure


def _draw_generated(axes: Axes, axis: Axis, mean: Spectrum, half_width: Spectrum, band: str) -> None:
    axes.plot(axis, mean, color=_ORANGE, linewidth=1.2, label="generated (ensemble mean)")
    axes.fill_between(axis, mean - half_width, mean + half_width, color=_ORANGE, alpha=0.25, linewidth=0, label=band)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlim(axis[0], axis[-1])


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG or SVG, as its name ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"font.size": 10}):
        figure.savefig(path, dpi=150)


def encoded(figure: Figure, format_: str) -> bytes:
    """Return a figure as the content of a PNG or SVG file."""
    content = BytesIO()
    with mpl.rc_context({"font.size": 10}):
        figure.savefig(content, dpi=150, format=format_)
    return content.getvalue()
