"""A campaign's story in one file that needs nothing else: for a paper's supplement, or a colleague without the tool."""

from collections.abc import Iterator
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from glassmap import __version__
from glassmap.agent.atomic_file import write_whole
from glassmap.agent.data.composition import label
from glassmap.agent.maps.glass import P_GLASS, GlassRule
from glassmap.agent.maps.knowledge import say_extrapolated
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.peaks.measures import MSE
from glassmap.agent.store.records import LogLine
from glassmap.agent.store.status import is_said_by, state_in_words
from glassmap.dashboard.candidates import TOP_SHARE, as_text, candidates_of, say_table, table_of, top_alloys
from glassmap.dashboard.data import (
    CampaignSnapshot,
    Map,
    boundary_over,
    colour_limits,
    held_out_examples,
    measured_values,
    read_begun_campaign,
    read_last_archive,
    read_last_map,
    read_log,
    read_sources,
    read_used_alloys,
    read_wafers,
    read_wish_of,
    rule_of,
)
from glassmap.dashboard.for_a_paper import alloys_of, bibtex_of, methods_of
from glassmap.dashboard.held_out import Pairs, held_out_pairs, say_coverage, sure_to
from glassmap.dashboard.learning import (
    PAPER,
    expected_of,
    measures_of,
    published_for,
    say_expected,
    say_hold_out,
    say_trend,
    worth_of,
)
from glassmap.dashboard.pictures import MOST_DISCS, draw_pictures
from glassmap.dashboard.plots.axis_titles import AXIS_TITLES
from glassmap.dashboard.plots.curves import draw_learning_curve
from glassmap.dashboard.plots.for_print import band_about
from glassmap.dashboard.plots.maps import (
    TERNARY_HEIGHT,
    Marks,
    draw_parallel,
    draw_ternary,
    draw_tetrahedron,
)
from glassmap.dashboard.plots.parity import draw_parity
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.reliability import draw_coverage, draw_reliability
from glassmap.dashboard.plots.spectra import Band, Curve, draw_spectra
from glassmap.dashboard.plots.style import GREY, ORANGE, ORANGE_VEIL
from glassmap.dashboard.plots.ternary import colour_range
from glassmap.dashboard.plots.wafers import REACH_HEIGHT, draw_cloud, draw_disc, draw_reach, legend_of
from glassmap.dashboard.reliability import evidence_of, say_kinds
from glassmap.dashboard.report_pdf import write_pdf
from glassmap.dashboard.tables import facts_of, notes_of, people_of, rounds_of
from glassmap.dashboard.wafers import counts_of, discs_of, wafers_seen

METHOD = "Xie et al., npj Comput. Mater. (2025), doi:10.1038/s41524-025-01753-9"
_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
p, li, dd { overflow-wrap: anywhere; }
pre { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8884; padding: 0.2rem 0.7rem; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(18rem, 100%), 1fr)); gap: 1rem; }
.panels.wide { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.panels > div { min-width: 0; }
@media (max-width: 40rem) {
  table, tbody, tr { display: block; }
  thead { display: none; }
  tr { border-bottom: 1px solid #8888; padding: 0.4rem 0; }
  td, td.number { display: flex; gap: 1rem; border: none; padding: 0.1rem 0; text-align: left; }
  td { overflow-wrap: anywhere; }
  td[data-name]::before { content: attr(data-name); flex: 0 0 40%; color: #808080; }
}
.failure { color: #e5484d; }
p.note { color: #808080; font-size: 0.85rem; }
"""


def write_report(folder: Path, output: Path, *, pdf: Path | None = None) -> list[Path]:
    """Write a campaign's report; into a folder beside it its figures as PNG and SVG, and the measured alloys as CSV.

    Args:
        folder: Of the campaign.
        output: HTML file; its figures go to `NAME-figures`.
        pdf: A PDF of the same, if it is wanted.

    Returns:
        The files, the report first.

    Raises:
        StoreError: If the campaign has not begun, or can't be read.
        ModelError: If its last map is missing or damaged.
    """
    campaign = read_begun_campaign(folder)
    map_, archive = read_last_map(campaign), read_last_archive(campaign)
    log, alloys = read_log(folder), alloys_of(campaign, archive)
    body = "\n".join([*_sections(campaign, map_, archive, log), *_for_a_paper(campaign, map_, alloys)])
    title = escape(f"{campaign.name}: {'–'.join(campaign.elements)}")
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><h1>{title}</h1>{body}</body></html>"
    )
    write_whole(output, page.encode())
    beside = output.with_name(f"{output.stem}-figures")
    pictures = draw_pictures(campaign, beside, ("png", "svg"))
    table = beside / "measured-alloys.csv"
    write_whole(table, alloys.to_csv(index=False).encode())  # where nothing is drawn yet, too
    written = [output, *pictures, table]
    if pdf is not None:
        write_pdf(campaign, pdf, log=log, pictures=[path for path in pictures if path.suffix == ".png"])
        written.insert(1, pdf)
    return written


def _sections(
    campaign: CampaignSnapshot, map_: Map | None, archive: SpectraArchive | None, log: list[LogLine]
) -> Iterator[str]:
    status = campaign.status
    rest, headline = escape(status.reason.removeprefix(status.failure)), escape(status.headline)
    if headline:
        rest = rest.replace(headline, f"<strong>{headline}</strong>")
    if status.failure:
        yield f"<p><strong class=failure>{escape(status.failure)}</strong>{rest}</p>"
    else:
        state = "" if is_said_by(status.reason, status.state) else f"{state_in_words(status.state).capitalize()}. "
        yield f"<p><strong>{state}</strong>{rest}</p>"
    yield _table(facts_of(campaign))
    if campaign.curve:
        yield "<h2>Learning curve</h2>"
        yield from _learning(campaign, archive)
    if map_ is not None:
        yield from _map(campaign, map_, archive)
    if campaign.has_wafers:
        yield from _wafers(campaign, map_, archive)
    if archive is not None and archive.measured.hold_out.any():
        yield "<h2>Generated against measured</h2>"
        yield "<p>The best, the median and the worst of the spectra that were never learned from.</p>"
        if coverage := say_coverage(archive):
            yield f"<p><strong>{escape(coverage)}</strong></p>"
        for word, row in held_out_examples(archive).items():
            alloy = label(archive.measured.compositions[row], campaign.elements)
            yield f"<p>{escape(f'{word}: {alloy}, MSE {archive.mse[row]:.3g}')}</p>"
            yield _figure(_example(campaign, archive, row))
    if archive is not None and (panels := held_out_pairs(archive)):
        yield "<h3>Peak figures of all alloys that the model had not seen</h3>"
        rule = rule_of(campaign, map_)
        yield f"<div class=panels>{''.join(_parity(campaign, pairs, rule) for pairs in panels)}</div>"
    if map_ is not None and archive is not None:
        yield from _how_sure(campaign, map_, archive)
    yield "<h2>Rounds</h2>"
    yield _table(rounds_of(campaign))
    if campaign.status.notes:
        yield "<h2>What people noted</h2>"
        yield _table(notes_of(campaign))
    if not (decided := people_of(log)).empty:
        yield "<h2>What people did</h2>"
        yield _table(decided)


def _for_a_paper(campaign: CampaignSnapshot, map_: Map | None, alloys: pd.DataFrame) -> Iterator[str]:
    sources = read_sources(campaign.folder)
    yield "<h2>For a paper</h2>"
    yield f"<p>{escape(methods_of(campaign, sources, map_))}</p>"
    yield f"<details><summary>The {len(alloys)} alloys that are used</summary>{_table(alloys)}</details>"
    yield f"<details><summary>BibTeX</summary><pre>{escape(bibtex_of(sources))}</pre></details>"
    yield f"<p class=note>Written by glassmap {__version__}. Method: {METHOD}.</p>"


def _learning(campaign: CampaignSnapshot, archive: SpectraArchive | None) -> Iterator[str]:
    curve, measures = campaign.curve, measures_of(campaign.curve)
    expected = {measure: expected_of(campaign, measure) for measure in measures}
    published = published_for(campaign, archive)
    if trend := say_trend(campaign):
        yield f"<p>The curve: <strong>{escape(trend)}</strong>.</p>"
    figures = [
        draw_learning_curve(
            curve,
            measure,
            expected=expected[measure],
            tolerance=worth_of(campaign, measure),
            published=(f"{PAPER}, one generated spectrum", published.spectra, published.mse)
            if published and measure == MSE
            else None,
        )
        for measure in measures
    ]
    yield _figure(figures[0])
    yield f"<p class=note>{escape(say_hold_out(curve))} Intensity 0–100.</p>"
    yield from (
        f"<p>{escape(say_expected(campaign, measure, expected[measure]))}</p>"
        for measure in measures
        if measure.name in (MSE.name, DELTA_Q.name) and expected[measure]
    )
    yield f"<div class=panels>{''.join(f'<div>{_figure(figure)}</div>' for figure in figures[1:])}</div>"


def _map(campaign: CampaignSnapshot, map_: Map, archive: SpectraArchive | None) -> Iterator[str]:
    elements = campaign.elements
    held = f" at {campaign.settings.held}" if campaign.settings.held else ""
    yield f"<h2>Map of {len(map_.figures)} alloys{escape(held)}</h2>"
    known, flagged = read_used_alloys(campaign.folder, check=True), campaign.flagged_used
    why = {one.id: one.reason for one in flagged}
    marks = Marks(
        measured=known.compositions,
        measured_texts=[f"{id_}: {why[id_]}" if id_ in why else id_ for id_ in known.ids],
        held_out=known.hold_out,
        flagged=np.array([one.composition for one in flagged]).reshape(-1, len(elements)),
        flagged_texts=[one.id for one in flagged],
        batch=np.array([s.composition for s in campaign.awaited]).reshape(-1, len(elements)),
        batch_texts=[s.id for s in campaign.awaited],
    )
    extrapolated = say_extrapolated(map_.extrapolated)
    yield f"<p>{escape(extrapolated)}: there the map is faded and hatched.</p>" if map_.extrapolated else ""
    if len(elements) == 3:
        known_figures = [figure.name for figure in FIGURES if figure.name in map_.figures]
        chances = [P_GLASS] if P_GLASS in map_.figures else []
        for quantity in (*chances, *known_figures, sure_to(DELTA_Q, map_.figures), "distance"):
            yield f"<h3>{escape(QUANTITIES[quantity].title)}</h3>"
            yield _figure(
                draw_ternary(
                    map_.compositions,
                    map_.values(quantity),
                    quantity=quantity,
                    elements=elements,
                    limits=colour_limits(map_, archive, quantity),
                    known=map_.values("known"),
                    extrapolated=extrapolated,
                    boundary=boundary_over(campaign, map_, quantity),
                    marks=marks._replace(measured_values=measured_values(map_, archive, known.ids, quantity)),
                ),
                height=TERNARY_HEIGHT.format(width="100vw"),
            )
    best = candidates_of(campaign, map_, archive, wish=read_wish_of(campaign.folder))
    values = map_.values(DELTA_Q.name)
    if len(elements) == 4 and np.isfinite(values).any():
        top = top_alloys(values)
        yield f"<p>The {100 * TOP_SHARE:g} % of alloys of largest {DELTA_Q.label}.</p>"
        yield _figure(
            draw_tetrahedron(
                map_.compositions[top],
                values[top],
                quantity=DELTA_Q.name,
                elements=elements,
                limits=colour_range(values),
                measured=known.learned,
            )
        )
    if len(elements) > 3 and best.places:
        rows = pd.DataFrame([place.to_row(elements) for place in best.places])
        yield _figure(draw_parallel(rows, elements=elements, limits=colour_range(values)))
    yield "<h3>Best candidates</h3>"
    if not best.places:
        yield f"<p>{escape(best.say_none())}</p>"
        return
    yield f"<p>{escape(say_table(best))}</p>"
    if best.chance is not None:
        yield f"<p>Open places: {escape(best.chance.say())}</p>"
    yield _table(as_text(table_of(best, elements)))


def _wafers(campaign: CampaignSnapshot, map_: Map | None, archive: SpectraArchive | None) -> Iterator[str]:
    elements, seen = campaign.elements, wafers_seen(read_wafers(campaign.folder))
    yield "<h2>Wafers</h2>"
    yield f"<p>{escape(seen.reach.say(elements))}</p>"
    if len(elements) == 3:
        figure = draw_reach(seen.wafers, seen.reach, elements=elements, blend=seen.blend)
        yield _figure(figure, height=REACH_HEIGHT.format(width="100vw"))
        yield legend_of(seen.wafers)
    elif len(elements) > 3:
        yield _figure(draw_cloud(seen.wafers, elements=elements))
        yield legend_of(seen.wafers)
    yield _table(counts_of(seen.wafers))
    for wafer in seen.most_asked(MOST_DISCS):
        yield f"<h3>{escape(wafer.name)}</h3><p>{escape(' '.join(filter(None, wafer.sentences)))}</p>"
        discs = (
            draw_disc(wafer, shown, elements=elements, diameter=seen.diameter)
            for shown in discs_of(wafer, seen, campaign, map_, archive)
        )
        panels = "".join(f"<div>{_figure(disc, height='26rem')}</div>" for disc in discs)
        yield f"<div class=panels>{panels}</div>"
    if len(seen.wafers) > MOST_DISCS:
        yield f"<p class=note>Of {len(seen.wafers)} wafers those that were asked for most are drawn.</p>"


def _how_sure(campaign: CampaignSnapshot, map_: Map, archive: SpectraArchive) -> Iterator[str]:
    if not (found := evidence_of(archive, rule_of(campaign, map_))):
        return
    yield "<h2>Can it be believed?</h2>"
    for one in found:
        yield f"<p>{escape(' '.join(one.say()))}</p>"
    figures = [draw_coverage(found)]
    if any(one.of_glass is not None for one in found):
        figures.insert(0, draw_reliability(found))
    yield f'<div class="panels wide">{"".join(f"<div>{_figure(figure)}</div>" for figure in figures)}</div>'
    yield f"<p class=note>{escape(say_kinds(found))}</p>"


def _parity(campaign: CampaignSnapshot, pairs: Pairs, rule: GlassRule | None) -> str:
    picture = draw_parity(pairs, elements=campaign.elements, rule=rule)
    return f"<div>{_figure(picture)}<p class=note>{escape(pairs.say())}</p></div>"


def _example(campaign: CampaignSnapshot, archive: SpectraArchive, row: int) -> go.Figure:
    view, measured = archive.view(archive.row_of_measured(row)), archive.measured_spectrum(row).intensity
    half_width, band = band_about(view.band, view.epistemic_std)
    bands = [Band(band, view.mean, half_width, ORANGE_VEIL)]
    return draw_spectra(
        AXIS_TITLES[campaign.axis_name],
        campaign.axis,
        [Curve("measured", measured, GREY), Curve("generated", view.mean, ORANGE, 1.8)],
        bands,
        residual=measured - view.mean,
    )


def _table(table: pd.DataFrame) -> str:
    """Return a table that a narrow page shows as a card a row, each value beside its column's name."""

    def cell(name: object, value: object) -> str:
        of = f' data-name="{escape(name)}"' if (name := str(name).strip()) else ""
        if isinstance(value, float):
            return f"<td class=number{of}>" + ("–" if np.isnan(value) else f"{value:.4g}") + "</td>"
        return f"<td{of}>{'–' if value is None else escape(str(value))}</td>"

    head = "".join(f"<th>{escape(str(name))}</th>" for name in table.columns)
    rows = "".join(
        f"<tr>{''.join(map(cell, table.columns, row))}</tr>" for row in table.itertuples(index=False, name=None)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _figure(figure: go.Figure, height: str | None = None) -> str:
    """Return a figure as HTML; with a height of CSS's it is as high as the page's width allows."""
    config = {"displaylogo": False, "responsive": height is not None}
    if height is None:
        return figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    figure.update_layout(height=None)
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config, default_height=height)
