"""Tables of measured compositions, as an EDX writes them: CSV or Excel, at.% or wt.%, no column guessed."""

import csv
import io
import math
import re
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import periodictable

from glassmap.agent.data.composition import close_compositions
from glassmap.agent.data.formats.markup import check_archive
from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.errors import DatasetError, GlassmapError
from glassmap.agent.outside_text import from_spreadsheet
from glassmap.agent.shapes import Compositions

ShareUnit = Literal["at.%", "wt.%"]

EXCEL_SUFFIXES = (".xlsx", ".xlsm")
NAME_COLUMNS = ("file", "sample", "id")  # what the first column is called, unless said otherwise
MAX_ROWS = 100_000
MAX_BYTES = 16_000_000  # of a table
_UNITS: dict[str, ShareUnit] = {"at%": "at.%", "wt%": "wt.%"}
UNIT_COLUMN = re.compile(r"(.+?)\s*[(\[](.+)[)\]]")  # rate (nm/s)
_Cells = dict[str, list[str]]  # the cells of each column, as text, by its name
_MASSES = {element.symbol: element.mass for element in periodictable.elements if element.number > 0}  # g/mol
_SHARE_COLUMN = re.compile(r"([A-Z][a-z]?)(?:[\s_(\[]+(\w*\.?\s*%)\s*[)\]]?)?")  # Co | Co (at.%) | Co [wt%] | Co_at.%


_PLACE_COLUMN = re.compile(r"(?:(?:stage|pos|position|sample)[\s_]*)?([xy])(?:[\s_]*[(\[]?(mm|cm|µm|um|μm)[)\]]?)?")
_MM = {"mm": 1.0, "cm": 10.0, "µm": 1e-3, "um": 1e-3, "μm": 1e-3}


class CompositionTable(NamedTuple):
    """What a table says of `n` samples."""

    samples: tuple[str, ...]
    elements: tuple[str, ...]
    compositions: Compositions  # atomic fraction, closed to 1
    others: Mapping[str, Sequence[str]]  # the cells of the other columns
    notes: tuple[str, ...]  # what was converted or closed
    x: np.ndarray | None = None  # mm, of each sample, NaN where it isn't said; None without such a column
    y: np.ndarray | None = None

    def cells(self, name: str) -> Sequence[str]:
        """Return the cells of one of the others, `rate` also where it is called `rate (nm/s)`; empty without it."""
        for column, cells in self.others.items():
            if column == name or ((unit := UNIT_COLUMN.fullmatch(column)) and unit[1] == name):
                return cells
        return [""] * len(self.samples)


class _Shares(NamedTuple):
    """The columns of a table that hold the composition."""

    elements: tuple[str, ...]
    columns: tuple[str, ...]
    unit: ShareUnit


def read_composition_table(
    path: Path,
    *,
    sample: str | None = None,
    columns: Mapping[str, str] | None = None,
    unit: ShareUnit | None = None,
) -> CompositionTable:
    """Read a table with a header and a row for each sample.

    Args:
        path: CSV in UTF-8, or the first sheet of an Excel file.
        sample: The column that names the samples; by default the first one, called `file`, `sample` or `id`.
        columns: The column of each element, such as `{"Zr": "Zr norm. C [wt.%]"}`; others that look like shares are
            left alone. By default every column such as `Zr (at.%)`.
        unit: Of the shares, where their columns don't say it.

    Raises:
        DatasetError: If the table can't be read, a column is missing or a unit isn't said.
        CompositionError: If a share is missing or negative, or a row misses 100 % by more than 0.5.
    """
    table = read_cells(path)
    name = sample or next(iter(table))
    try:
        if name not in table:
            raise DatasetError(f"There is no column {name!r} among {list(table)}; correct `sample`.")
        if sample is None and name.lower() not in NAME_COLUMNS:
            raise DatasetError(
                f"The first column is `file`, `sample` or `id`, separated by commas from the others; got {name!r}. "
                "Rename it, or say which column names the samples."
            )
        others = [column for column in table if column != name]
        shares = _mapped_columns(others, columns, unit) if columns else _share_columns(others, unit)
        samples = [cell.strip() for cell in table[name]]
        if "" in samples:
            raise DatasetError(f"Row {samples.index('') + 1} has no name in the column {name!r}; give it one.")
        fractions, notes = _fractions(table, shares, samples)
    except GlassmapError as error:
        raise type(error)(f"{path.name}: {error}") from error
    rest = {column: table[column] for column in others if column not in shares.columns}
    x, y = (_place(rest, axis) for axis in "xy")
    return CompositionTable(tuple(samples), shares.elements, fractions, rest, tuple(notes), x, y)


def _place(columns: Mapping[str, Sequence[str]], axis: str) -> np.ndarray | None:
    """Return where samples lie along an axis of the stage, in mm, by a column such as `x`, `X (mm)` or `stage x`."""
    for column, cells in columns.items():
        found = _PLACE_COLUMN.fullmatch(column.strip().lower())
        if found and found[1] == axis:
            return _MM[found[2] or "mm"] * np.array([_share(cell) for cell in cells])
    return None


def read_shares(
    table: Mapping[str, Sequence[str]], columns: Sequence[str], names: Sequence[str]
) -> tuple[tuple[str, ...], Compositions]:
    """Return elements and atomic fractions `(n, e)` of a table's rows, by those of some columns that hold shares.

    Args:
        table: The cells of each column.
        columns: Among which those such as `Zr (at.%)` are looked for.
        names: Of the rows, for messages.

    Raises:
        DatasetError: If no column holds a share, or its unit isn't said.
        CompositionError: As for `close_compositions`.
    """
    shares = _share_columns(columns, None)
    return shares.elements, _fractions(table, shares, names)[0]


def is_composition_table(path: Path, *, sample: str | None = None) -> bool:
    """Tell whether a file is meant as a composition table: Excel, or CSV with the column of sample names."""
    if path.suffix.lower() in EXCEL_SUFFIXES:
        return True
    if path.suffix.lower() != ".csv":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = next(csv.reader([file.readline(10_000)]), list[str]())
    names = [cell.strip() for cell in head]
    return sample in names if sample else bool(names) and names[0].lower() in NAME_COLUMNS


def read_cells(path: Path) -> _Cells:
    """Read the columns of a CSV or Excel file, in its order.

    Raises:
        DatasetError: If it can't be read, is too large, or a row has too many or few cells.
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise DatasetError(f"{path.name} has {size} bytes; a composition table has {MAX_BYTES} at most.")
        rows = _excel_rows(path) if path.suffix.lower() in EXCEL_SUFFIXES else _csv_rows(path)
    except GlassmapError:
        raise
    except Exception as error:  # of a parser that met what its writers never thought of
        what = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise DatasetError(
            f"The composition table {path} can't be read: {what}. It must be CSV in UTF-8, or Excel (.xlsx)."
        ) from error
    lines = [(number, cells) for number, cells in enumerate(rows, start=1) if any(cells)]
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    if not 2 <= len(lines) <= MAX_ROWS or len(header) < 2:
        raise DatasetError(
            f"{path.name}: a composition table has a header and a row for each scan, {MAX_ROWS} at most, separated by "
            f"commas; got {len(lines)} lines and the header {header[:10]}."
        )
    if len(set(header)) < len(header):
        raise DatasetError(f"{path.name}: two columns have the same name in {header}; rename one.")
    for number, cells in lines:
        if len(cells) != len(header):
            raise DatasetError(
                f"{path.name}, line {number}: {len(cells)} cells where the header has {len(header)}; correct the line, "
                "and write a decimal point, not a comma."
            )
    return {name: [cells[column] for _, cells in lines[1:]] for column, name in enumerate(header)}


def _csv_rows(path: Path) -> list[list[str]]:
    rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))
    return [[from_spreadsheet(cell) for cell in row] for row in rows]


def _excel_rows(path: Path) -> list[list[str]]:
    """Return the first sheet, up to its last column that has a name; openpyxl reads XML through defusedxml."""
    import openpyxl  # takes half a second, and most tables are CSV

    with zipfile.ZipFile(path) as archive:
        check_archive(archive.infolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that hold no cell
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        try:
            found = book.worksheets[0].iter_rows(max_row=MAX_ROWS + 1, max_col=200, values_only=True)
            rows = [["" if cell is None else str(cell) for cell in row] for row in found]
        finally:
            book.close()
    header = next((row for row in rows if any(row)), list[str]())
    width = max((k + 1 for k, cell in enumerate(header) if cell), default=0)
    return [row[:width] + [""] * (width - len(row)) for row in rows]


def _mapped_columns(columns: Sequence[str], mapping: Mapping[str, str], unit: ShareUnit | None) -> _Shares:
    """Return the columns that a mapping names, and their unit.

    Raises:
        DatasetError: If one isn't there, names an unknown element, or the unit isn't said.
    """
    for element, column in mapping.items():
        if element not in _MASSES:
            raise DatasetError(f"{element!r} is no chemical symbol; correct `columns`.")
        if column not in columns:
            raise DatasetError(f"There is no column {column!r} for {element} among {list(columns)}; correct `columns`.")
    if unit is None:
        raise DatasetError("Columns that are named one by one need their unit, at.% or wt.%; give it as `unit`.")
    return _Shares(tuple(mapping), tuple(mapping.values()), unit)


def _share_columns(columns: Sequence[str], unit: ShareUnit | None) -> _Shares:
    """Return which columns hold the composition, and in what unit.

    Raises:
        DatasetError: If there are none, one names an unknown element, or the unit is missing, unknown or mixed.
    """
    elements, units = dict[str, str](), dict[str, ShareUnit | None]()  # by column
    for column in columns:
        found = _SHARE_COLUMN.fullmatch(column)
        if not found or (found[1] not in _MASSES and not found[2]):
            continue
        elements[column] = found[1]
        named = re.sub(r"[.\s]", "", found[2] or "").lower()
        units[column] = unit if not named else _UNITS.get(named)
    if not elements:
        raise DatasetError(f"No column holds a share among {list(columns)}; name them as in 'Co (at.%)'.")
    for column, element in elements.items():
        if element not in _MASSES:
            raise DatasetError(f"{element!r} is no chemical symbol; correct the column {column!r}.")
        if units[column] is None:
            raise DatasetError(
                f"The unit of the column {column!r} must be at.% or wt.%; write {element} (at.%) in the header, or "
                "give unit='at.%'. If it is no share, rename it."
            )
    said: list[ShareUnit] = sorted({unit for unit in units.values() if unit is not None})
    if len(said) > 1:
        raise DatasetError(f"Shares must be all at.% or all wt.%, got {units}; convert some of them.")
    return _Shares(tuple(elements.values()), tuple(elements), said[0])


def _fractions(
    table: Mapping[str, Sequence[str]], shares: _Shares, names: Sequence[str]
) -> tuple[Compositions, list[str]]:
    """Return atomic fractions, shape `(n, e)`, and what was done to get them.

    Raises:
        CompositionError: As for `close_compositions`.
    """
    rows = [f"Row {row} ({name})" for row, name in enumerate(names, start=1)]
    percent = np.array([[_share(cell) for cell in table[column]] for column in shares.columns]).T
    fractions, notes = close_compositions(percent, elements=shares.elements, names=rows)
    if shares.unit == "at.%":
        return fractions, notes
    moles = fractions / [_MASSES[element] for element in shares.elements]
    notes = [*(note.replace("at.%", "wt.%") for note in notes), "Compositions were converted from wt.% to at.%."]
    return moles / moles.sum(axis=1, keepdims=True), notes


def _share(cell: str) -> float:
    """Read a share; NaN where the cell holds no number."""
    try:
        return read_number(cell)
    except ValueError:
        return math.nan
