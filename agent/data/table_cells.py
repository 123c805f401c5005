"""The cells of a table, as text: CSV by comma, semicolon or tab, and the sheets of Excel and OpenDocument."""

import csv
import datetime
import io
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from glassmap.agent.data.formats.lines import decode
from glassmap.agent.data.formats.markup import check_archive
from glassmap.agent.errors import DatasetError, GlassmapError
from glassmap.agent.outside_text import from_spreadsheet, visible

BOOK_SUFFIXES = (".xlsx", ".xlsm", ".xls", ".ods")
TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
MAX_ROWS = 100_000
MOST_TITLES = 30  # rows above the header
MAX_COLUMNS = 200
MAX_CELLS = 4_000_000  # of a sheet, up to its last row and column
LOWEST_ROW = 1_048_576  # of a spreadsheet; a file of OpenDocument says so many empty rows at its end
MAX_BYTES = 16_000_000  # of a table


class Date(str):
    """A cell that a spreadsheet took for a date or a time."""


class Line(NamedTuple):
    """A row of a sheet that isn't empty."""

    number: int  # from 1, as a spreadsheet counts
    cells: list[str]


Sheets = dict[str, list[Line]]  # by their names; a text has one, without a name


def read_sheets(path: Path) -> Sheets:
    """Read the rows of a table that aren't empty, without blanks around cells.

    Args:
        path: A text in UTF-8, UTF-16 or Latin-1, separated by comma, semicolon or tab; or .xlsx, .xls, .ods.

    Raises:
        DatasetError: If it can't be read or is too large.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DatasetError(f"It has {size} bytes; a composition table has {MAX_BYTES} at most.")
        content = path.read_bytes()
        sheets = _read_book(content) if path.suffix.lower() in BOOK_SUFFIXES else {"": _read_text(decode(content))}
    except GlassmapError as error:
        raise type(error)(f"{path.name}: {error}") from error
    except Exception as error:  # of a parser that met what its writers never thought of
        what = visible(str(error).strip().splitlines()[0][:200]) if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"The composition table {path} can't be read: {what}. It must be CSV, .xlsx, .xls or .ods."
        ) from error
    for name, lines in sheets.items():
        if len(lines) > MAX_ROWS + MOST_TITLES:
            where = f" of the sheet {name!r}" if name else ""
            raise DatasetError(f"{path.name}: a table has {MAX_ROWS} rows at most; got {len(lines)}{where}. Split it.")
    return sheets


def read_head(content: bytes) -> list[Line]:
    """Return the first rows of a text, of which the last may be cut off.

    Raises:
        DatasetError: If it is no text.
    """
    return _read_text(decode(content[:20_000]))[:40]


def _read_text(text: str) -> list[Line]:
    delimiter = _delimiter_of(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    lines = [Line(number, [from_spreadsheet(cell.strip()) for cell in row]) for number, row in enumerate(rows, start=1)]
    return [line for line in lines if any(line.cells)]


def _delimiter_of(text: str) -> str:
    """Return what separates the cells of most of the first lines; a comma where it may be a decimal one is none."""
    lines = [line for line in text[:20_000].splitlines() if line.strip()][:40]
    for delimiter in ("\t", ";"):
        if sum(delimiter in line for line in lines) > len(lines) / 2:
            return delimiter
    return ","


def _read_book(content: bytes) -> Sheets:
    """Return the sheets of a workbook; formulas as what they gave when it was saved."""
    import python_calamine  # reads all four formats, in a tenth of a second

    if content[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_archive(archive.infolist())
            for name in archive.namelist():
                if name.startswith("xl/worksheets/") or name == "content.xml":
                    _check_extent(archive.read(name))
    book = python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(content))
    return {name: _lines_of(book.get_sheet_by_name(name).to_python(skip_empty_area=False)) for name in book.sheet_names}


def _check_extent(sheet: bytes) -> None:
    """Refuse a sheet with a cell so far out that a table up to there takes all memory.

    Args:
        sheet: XML of Excel, whose cells that hold something say where they are, or of OpenDocument, where they say how
            often they are repeated.

    Raises:
        DatasetError: If so.
    """
    found = re.findall(rb"<c\b[^>/]*\sr=[\"']([A-Za-z]*)([0-9]{1,18})[^>/]*>", sheet)
    columns, rows = {column for column, _ in found}, {row for _, row in found}
    widest, lowest = max(map(_number_of, columns), default=0), max(map(int, rows), default=0)
    repeated = max(map(int, re.findall(rb"-repeated=[\"']([0-9]{1,18})", sheet)), default=0)
    if widest * lowest > MAX_CELLS or repeated > LOWEST_ROW:
        raise DatasetError(
            f"It reaches to row {max(lowest, repeated)} and column {max(widest, 1)}, which is more than {MAX_CELLS} "
            "cells. Clear what stands far out, or save the table as CSV."
        )


def _number_of(column: bytes) -> int:
    """Return the number of a column that a spreadsheet calls A to XFD; more than any where it is called otherwise."""
    return MAX_CELLS if len(column) > 3 else sum((c & 31) * 26**k for k, c in enumerate(reversed(column)))


def _lines_of(rows: Sequence[Sequence[Any]]) -> list[Line]:
    texts = (Line(number, [_text_of(cell) for cell in row[:MAX_COLUMNS]]) for number, row in enumerate(rows, start=1))
    return [line for line in texts if any(line.cells)]


def _text_of(cell: Any) -> str:
    """Return a cell as the spreadsheet shows it: 3, not 3.0."""
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        return Date(cell)
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    return str(cell).strip()
