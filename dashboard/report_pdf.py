"""A campaign's report to be printed or sent on: the same story as a PDF, with figures that stand still."""

from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import pandas as pd
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import registerFont, stringWidth
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    Flowable,
    Image,
    LongTable,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    TableStyle,
)

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.measures import MSE
from glassmap.agent.store.records import LogLine
from glassmap.dashboard.candidates import as_text, candidates_of, say_table, table_of
from glassmap.dashboard.data import CampaignSnapshot, read_last_archive, read_last_map, read_sources, read_wish_of
from glassmap.dashboard.for_a_paper import alloys_of, bibtex_of, methods_of
from glassmap.dashboard.learning import say_hold_out
from glassmap.dashboard.tables import facts_of, notes_of, people_of, rounds_of

FONTS = {"text": "DejaVuSans", "bold": "DejaVuSans-Bold", "mono": "DejaVuSansMono"}
"""Matplotlib's, as those that every PDF reader has lack Δ, ₁ and Å."""
MARGIN = 18 * mm
WIDTH, HEIGHT = A4[0] - 2 * MARGIN, A4[1] - 2 * MARGIN - 4 * mm
OF_CANDIDATES = ("centre", "extent (at.%)", DELTA_Q.head, "±", "P(glass)", "measured", "measure next")
OF_ROUNDS = ("round", "spectra", MSE.label, f"error of {DELTA_Q.label}", "decision")
"""Columns that a page is wide enough for."""
SMALL, PADDING = 6.5, 3  # points: letters of a table, and about them
FAINT, FAILURE = HexColor("#808080"), HexColor("#c0392b")


def write_pdf(campaign: CampaignSnapshot, output: Path, *, log: Sequence[LogLine], pictures: Sequence[Path]) -> None:
    """Write a campaign's report as a PDF, whole or not at all.

    Args:
        campaign: As it stands.
        output: The file.
        log: What happened.
        pictures: PNG files, in their order.

    Raises:
        ModelError: If its last map is missing or damaged.
    """
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    for name, file in FONTS.items():
        registerFont(TTFont(name, folder / f"{file}.ttf"))
    content, title = BytesIO(), f"{campaign.name}: {'–'.join(campaign.elements)}"
    margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), MARGIN)
    pages = SimpleDocTemplate(content, pagesize=A4, title=title, invariant=1, lang="en", **margins)
    pages.build([_text(title, "bold", 15), *_story(campaign, log, pictures)], _number, _number)
    write_whole(output, content.getvalue())


def _story(campaign: CampaignSnapshot, log: Sequence[LogLine], pictures: Sequence[Path]) -> Iterator[Flowable]:
    map_, archive, status = read_last_map(campaign), read_last_archive(campaign), campaign.status
    if status.failure:
        yield _text(status.failure, "bold", colour=FAILURE)
    yield _text(status.reason.removeprefix(status.failure))
    yield _table(facts_of(campaign))
    if campaign.curve:
        yield _text(f"{say_hold_out(campaign.curve)} Intensity 0–100.")
    for path in pictures:
        yield from _picture(path)
    if map_ is not None:
        best = candidates_of(campaign, map_, archive, wish=read_wish_of(campaign.folder))
        yield _text("Best candidates", "bold", 12)
        yield _text(say_table(best) if best.places else best.say_none())
        if best.places:
            table = as_text(table_of(best, campaign.elements))
            yield _table(_only(table, OF_CANDIDATES))
    if campaign.curve:
        yield _text("Rounds", "bold", 12)
        yield _table(_only(rounds_of(campaign), OF_ROUNDS))
    if status.notes:
        yield _text("What people noted", "bold", 12)
        yield _table(notes_of(campaign))
    if not (decided := people_of(log)).empty:
        yield _text("What people did", "bold", 12)
        yield _table(decided)
    sources, alloys = read_sources(campaign.folder), alloys_of(campaign, archive)
    yield _text("For a paper", "bold", 12)
    yield _text(methods_of(campaign, sources, map_))
    yield _text(f"The {len(alloys)} alloys that are used:")
    yield _table(alloys)
    yield Preformatted(bibtex_of(sources), _style("mono", SMALL))


def _only(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return table.loc[:, [name for name in columns if name in table]]


def _style(font: str, size: float = 8.5) -> ParagraphStyle:
    is_heading = size > 10
    return ParagraphStyle(
        f"{font} {size}",
        fontName=font,
        fontSize=size,
        leading=1.35 * size,
        spaceBefore=10 if is_heading else 2,
        spaceAfter=4,
        keepWithNext=is_heading,
    )


def _text(text: str, font: str = "text", size: float = 8.5, *, colour: Color | None = None) -> Paragraph:
    style = _style(font, size)
    if colour is not None:
        style.textColor = colour
    return Paragraph(escape(text), style)


def _table(table: pd.DataFrame) -> LongTable:
    """Return a table that goes on over pages under its head, within a row, too; heads and wide columns break lines."""
    rows = table.itertuples(index=False, name=None)
    told = [["–" if pd.isna(value) else str(value) for value in row] for row in rows]
    names = [str(name) for name in table.columns]
    natural = [
        1 + 2 * PADDING + max(*(_width(word, "bold") for word in name.split()), *map(_width, column), 0)
        for name, *column in zip(names, *told, strict=True)
    ]
    cells = [[Paragraph(escape(name), _style("bold", SMALL)) for name in names]]
    cells += [[Paragraph(escape(value), _style("text", SMALL)) for value in row] for row in told]
    lines = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.25, FAINT),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LEFTPADDING", (0, 0), (-1, -1), PADDING),
            ("RIGHTPADDING", (0, 0), (-1, -1), PADDING),
            ("TOPPADDING", (0, 0), (-1, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
        ]
    )
    return LongTable(cells, _fitted(natural), repeatRows=1, splitInRow=1, style=lines, spaceAfter=6, hAlign="LEFT")


def _width(text: str, font: str = "text") -> float:
    return stringWidth(text, font, SMALL)


def _fitted(widths: Sequence[float]) -> list[float]:
    """Return widths that fit the page together: none is above the one cap that makes them fit."""
    left, fitted = WIDTH, dict[int, float]()
    for place, column in enumerate(sorted(range(len(widths)), key=lambda k: widths[k])):
        fitted[column] = min(widths[column], left / (len(widths) - place))
        left -= fitted[column]
    return [fitted[column] for column in range(len(widths))]


def _picture(path: Path) -> Iterator[Flowable]:
    """Yield a picture as wide as the page, or half of it high."""
    image = Image(str(path))
    factor = min(WIDTH / image.imageWidth, HEIGHT / 2 / image.imageHeight)
    yield Image(str(path), factor * image.imageWidth, factor * image.imageHeight)
    yield Spacer(0, 3 * mm)


def _number(canvas: Canvas, pages: SimpleDocTemplate) -> None:
    canvas.setFont("text", 7)
    canvas.setFillColor(FAINT)
    canvas.drawRightString(A4[0] - MARGIN, MARGIN / 2, f"{pages.title} · {canvas.getPageNumber()}")
