"""A campaign's pictures for print: its learning curve, the maps of a ternary and held-out spectra.

They are drawn from what the last round left: the store, the map and the archive of spectra. So drawing asks no model
and reads no data set.
"""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Literal

import numpy as np
from matplotlib.figure import Figure

from glassmap.agent.config.campaign import slug
from glassmap.agent.data.composition import label
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.failure import say_failure
from glassmap.agent.maps.glass import P_GLASS, say_glass
from glassmap.agent.maps.knowledge import say_extrapolated
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.peaks.figures import FIGURES
from glassmap.dashboard.data import (
    NEAR_SLICE_AT_PCT,
    CampaignSnapshot,
    Map,
    Slice,
    boundary_over,
    colour_limits,
    held_out_examples,
    read_last_archive,
    read_last_map,
    read_map_of,
    read_wafers,
    rule_of,
)
from glassmap.dashboard.held_out import held_out_pairs, say_coverage
from glassmap.dashboard.learning import expected_of, measures_of, say_trend
from glassmap.dashboard.plots.for_print import (
    PrintedSlice,
    band_about,
    draw_examples,
    draw_learning_curve,
    draw_parity,
    draw_peak_maps,
    draw_reliability,
    draw_slices,
    draw_wafers,
    save,
)
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.reliability import evidence_of
from glassmap.dashboard.wafers import discs_of, wafers_seen

Format = Literal["png", "svg"]
SLICES = 4  # of a map of four elements
SMALLEST_SLICE = 10  # alloys
MOST_DISCS = 12  # wafers whose points are drawn


def draw_pictures(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw all that there is to see of a campaign into a folder, and return the files.

    Raises:
        ModelError: If the last map is missing or damaged.
    """
    return [
        *draw_curve(campaign, folder, formats),
        *draw_maps(campaign, folder, formats),
        *draw_best_median_worst(campaign, folder, formats),
        *draw_held_out_figures(campaign, folder, formats),
        *draw_wafers_of(campaign, folder, formats),
        *draw_how_sure(campaign, folder, formats),
    ]


def draw_curve(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw the learning curve; nothing before the first round is judged."""
    return _saved(picture_of_curve(campaign), folder, "learning-curve", formats) if campaign.curve else []


def picture_of_curve(campaign: CampaignSnapshot) -> Figure:
    """Return the learning curve, drawn; empty before the first round is judged."""
    expected = {measure: expected_of(campaign, measure) for measure in measures_of(campaign.curve)}
    title = f"{_title(campaign)}: errors on spectra never learned from"
    if trend := say_trend(campaign):
        title += f"; {trend}"
    return draw_learning_curve(campaign.curve, title=title, expected=expected)


def draw_maps(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw the last maps of the peak figures, of a ternary beside the measured ones, of four elements as slices.

    Nothing is drawn without a map, or of another number of elements.

    Raises:
        ModelError: If the last map is missing or damaged.
    """
    if len(campaign.elements) not in (3, 4) or campaign.map is None or (archive := read_last_archive(campaign)) is None:
        return []
    maps = {campaign.settings.held: campaign.map} | campaign.other_maps
    paths: list[Path] = []
    for held, (round_, path) in maps.items():
        ending = "" if path == campaign.map[1] else f"-{slug(held)}"
        map_ = read_map_of(campaign, round_, path)
        for column in columns_to_draw(campaign, map_, archive):
            name = "p-glass" if column == P_GLASS else f"{column.replace('_', '-')}-map"
            page = _picture_of_all(campaign, map_, archive, column, held)
            paths += _saved(page, folder, f"{name}{ending}", formats)
    return paths


def picture_of_last_map(
    campaign: CampaignSnapshot, found: tuple[int, Path], column: str | None, *, held: str
) -> Figure:
    """Return one column of a campaign's newest map, drawn.

    Args:
        campaign: Of three elements, or of four, whose slices are drawn.
        found: Round and file of the map.
        column: Of `columns_to_draw`; the first of them by default.
        held: The process variables that the map is held at, in words.

    Raises:
        ModelError: If its file is missing or damaged, the map has no such column, or it is of other than three
            or four elements.
    """
    if len(campaign.elements) not in (3, 4):
        raise ModelError(
            f"A map is drawn of three or four elements, got {len(campaign.elements)}. Take its table, "
            f"`Campaign.map`, or look at it with `glassmap dashboard {campaign.folder}`."
        )
    map_, archive = read_map_of(campaign, *found), read_last_archive(campaign)
    if archive is None:
        raise ModelError(f"{campaign.folder} has no spectra beside its map yet. Let it run on.")
    drawn = columns_to_draw(campaign, map_, archive)
    if column is not None and column not in drawn:
        raise ModelError(f"A map is drawn of {', '.join(drawn)}, got {column!r}.")
    return _picture_of_all(campaign, map_, archive, column or drawn[0], held)


def _picture_of_all(campaign: CampaignSnapshot, map_: Map, archive: SpectraArchive, column: str, held: str) -> Figure:
    if len(campaign.elements) == 3:
        return picture_of_map(campaign, map_, archive, column, held=held)
    return picture_of_slices(campaign, map_, archive, column, held=held)


def columns_to_draw(campaign: CampaignSnapshot, map_: Map, archive: SpectraArchive) -> list[str]:
    """Return what of a map is drawn: P(glass), where it can be said, and every figure that the map has."""
    names = [*([P_GLASS] if campaign.has_glass_boundary else []), *(figure.name for figure in FIGURES)]
    of_all = {name: map_.measured(archive.known.figures, name) for name in names if name in map_.figures}
    return [name for name, measured in of_all.items() if measured is not None]  # not what is newer than the map


def picture_of_map(
    campaign: CampaignSnapshot,
    map_: Map,
    archive: SpectraArchive | None,
    column: str,
    *,
    held: str = "",
    cut: Slice | None = None,
) -> Figure:
    """Return one column of a map, drawn: of a ternary beside what was measured of it, where that can be measured.

    Args:
        campaign: Of three elements; of more, with a slice.
        map_: Of it.
        archive: Of the same round; without one, the map is drawn alone.
        column: Of the map.
        held: The process variables that the map is held at, in words.
        cut: The slice to draw, alone; by default the whole of a ternary.
    """
    rows, corners = (np.ones(len(map_.figures), dtype=bool), [0, 1, 2]) if cut is None else (cut.rows, cut.corners)
    here, everywhere, compositions = None, None, np.empty((0, 3))
    flagged = np.empty((0, 3))
    title = f"{_title(campaign)}, generated at {held}, measured at any" if held else _title(campaign)
    words = {P_GLASS: "P(glass)"} | {figure.name: f"{figure.label} of the first peak" for figure in FIGURES}
    title += f": {words.get(column, QUANTITIES[column].title)}"
    if cut is not None:
        title += f" at {cut.held}"
    elif archive is not None:
        learned = ~archive.measured.hold_out
        compositions = archive.measured.compositions[learned]
        everywhere, mine = (map_.measured(of.figures, column) for of in (archive.known, archive.measured))
        here = None if mine is None else mine[learned]
        flagged = np.array([one.composition for one in campaign.flagged_used]).reshape(-1, 3)
        title += f", learned from {learned.sum()} spectra"
    failure, boundary = say_failure(campaign.status.peaks_found), boundary_over(campaign, map_, column)
    if boundary and not failure and cut is None:
        title += f"\n{say_glass(map_.glass)} by {map_.rule.say()}"
    return draw_peak_maps(
        (map_.compositions[rows][:, corners], map_.values(column)[rows]),
        None if archive is None or everywhere is None else (archive.known.compositions, everywhere),
        (compositions, here),
        quantity=QUANTITIES[column],
        elements=[campaign.elements[k] for k in corners],
        limits=colour_limits(map_, archive, column),
        known=map_.values("known")[rows],
        extrapolated=say_extrapolated(map_.extrapolated),
        flagged=flagged,
        title=title if everywhere is not None else fill(title, 80),
        failure=failure,
        boundary=boundary and boundary.of(rows),
    )


def picture_of_slices(
    campaign: CampaignSnapshot, map_: Map, archive: SpectraArchive, column: str, *, held: str = ""
) -> Figure:
    """Return one column of a map of four elements, drawn as ternary slices at some shares of the last.

    Args:
        campaign: Of four elements.
        map_: Of it.
        archive: Of the same round.
        column: Of `columns_to_draw`.
        held: The process variables that the map is held at, in words.
    """
    last, learned = campaign.elements[3], ~archive.measured.hold_out
    levels, counts = np.unique(map_.compositions[:, 3].round(6), return_counts=True)
    levels = levels[counts >= SMALLEST_SLICE] if (counts >= SMALLEST_SLICE).any() else levels[:1]
    shown = levels[np.unique(np.linspace(0, len(levels) - 1, SLICES).round().astype(int))]
    mine = map_.measured(archive.measured.figures, column)
    boundary, slices = boundary_over(campaign, map_, column), list[PrintedSlice]()
    for level in shown.tolist():
        rows = np.abs(map_.compositions[:, 3] - level) < 1e-5
        near = learned & (100 * np.abs(archive.measured.compositions[:, 3] - level) <= NEAR_SLICE_AT_PCT)
        slices.append(
            PrintedSlice(
                f"{100 * level:g} at.% {last}, {rows.sum()} alloys",
                (map_.compositions[rows][:, :3], map_.values(column)[rows]),
                map_.values("known")[rows],
                boundary and boundary.of(rows),
                (archive.measured.compositions[near][:, :3], None if mine is None else mine[near]),
            )
        )
    words = {P_GLASS: "P(glass)"} | {figure.name: f"{figure.label} of the first peak" for figure in FIGURES}
    failure = say_failure(campaign.status.peaks_found)
    title = (
        f"{_title(campaign)}{held and f', generated at {held}'}: {words[column]}, learned from {learned.sum()} spectra"
    )
    if boundary and not failure:
        title += f"\n{say_glass(map_.glass)} by {map_.rule.say()}"
    return draw_slices(
        slices,
        quantity=QUANTITIES[column],
        elements=campaign.elements[:3],
        limits=colour_limits(map_, archive, column),
        extrapolated=say_extrapolated(map_.extrapolated),
        near=f"learned from, within {NEAR_SLICE_AT_PCT:g} at.% {last} of the slice",
        title=title,
        failure=failure,
    )


def draw_best_median_worst(
    campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)
) -> list[Path]:
    """Draw three held-out spectra, generated against measured, by MSE; nothing where none is held out."""
    archive = read_last_archive(campaign)
    if archive is None or not (rows := held_out_examples(archive)):
        return []
    examples, band = [], ""
    for word, row in rows.items():
        view, alloy = (
            archive.view(archive.row_of_measured(row)),
            label(archive.measured.compositions[row], campaign.elements),
        )
        half_width, band = band_about(view.band, view.epistemic_std)
        caption = f"{word}: {alloy}, MSE {archive.mse[row]:.3g}"
        examples.append((caption, archive.measured_spectrum(row).intensity, view.mean, half_width))
    n_held = int(archive.measured.hold_out.sum())
    title = f"{_title(campaign)}, round {archive.round}: of {n_held} spectra never learned from"
    if coverage := say_coverage(archive):
        title += f"\n{coverage}"
    return _saved(
        draw_examples(campaign.axis_name, campaign.axis, examples, band=band, title=title), folder, "examples", formats
    )


def draw_held_out_figures(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw the figures of held-out alloys, generated against measured; nothing where none has both."""
    archive = read_last_archive(campaign)
    if archive is None or not (panels := held_out_pairs(archive)):
        return []
    title = f"{_title(campaign)}, round {archive.round}: alloys that the model had not seen"
    rule = rule_of(campaign, read_last_map(campaign))
    return _saved(draw_parity(panels, title=title, rule=rule), folder, "parity", formats)


def draw_wafers_of(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw what the wafers hold, what was measured of them and what of the system they reach; nothing without any.

    Raises:
        ModelError: If the last map is missing or damaged.
    """
    if not campaign.has_wafers:
        return []
    seen, map_, archive = (
        wafers_seen(read_wafers(campaign.folder)),
        read_last_map(campaign),
        read_last_archive(campaign),
    )
    drawn = seen.most_asked(MOST_DISCS)
    if len(campaign.elements) != 3 and not drawn:
        return []
    discs = [(wafer, discs_of(wafer, seen, campaign, map_, archive)) for wafer in drawn]
    title = f"{_title(campaign)}: {seen.reach.say(campaign.elements)}"
    page = draw_wafers(
        seen.wafers,
        discs,
        elements=campaign.elements,
        reach=seen.reach,
        blend=seen.blend,
        diameter=seen.diameter,
        title=fill(title, 100),
    )
    return _saved(page, folder, "wafers", formats)


def draw_how_sure(campaign: CampaignSnapshot, folder: Path, formats: Sequence[Format] = ("png",)) -> list[Path]:
    """Draw what P(glass) and the intervals of Δq are worth; nothing without alloys that were held out or left out.

    Raises:
        ModelError: If the last map is missing or damaged.
    """
    map_, archive = read_last_map(campaign), read_last_archive(campaign)
    if map_ is None or archive is None:
        return []
    if not (found := evidence_of(archive, rule_of(campaign, map_))):
        return []
    title = f"{_title(campaign)}, round {archive.round}: what was said of alloys, and what was measured of them"
    return _saved(draw_reliability(found, title=title), folder, "reliability", formats)


def _saved(page: Figure, folder: Path, name: str, formats: Sequence[Format]) -> list[Path]:
    paths = [folder / f"{name}.{format_}" for format_ in formats]
    for path in paths:
        save(page, path)
    return paths


def _title(campaign: CampaignSnapshot) -> str:
    """Return the campaign's name, and where its spectra come from if not from an instrument."""
    return f"{campaign.name}, {campaign.source}" if campaign.source else campaign.name
