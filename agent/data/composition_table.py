"""Tables of measured compositions, as an EDX writes them: at.% or wt.%, no column and no unit guessed."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import periodictable

from glassmap.agent.data.composition import SUM_TOLERANCE_AT_PCT, close_compositions
from glassmap.agent.data.formats.headers import column_of
from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.data.table_cells import (
    BOOK_SUFFIXES,
    MOST_TITLES,
    TEXT_SUFFIXES,
    Date,
    Line,
    read_head,
    read_sheets,
)
from glassmap.agent.errors import CompositionError, DatasetError, GlassmapError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Compositions, OwnCompositions, PerSample

ShareUnit = Literal["at.%", "wt.%"]

SUFFIXES = (*BOOK_SUFFIXES, *TEXT_SUFFIXES)
NAME_COLUMNS = ("file", "sample", "id", "file name", "filename", "sample name", "sample id")
UNIT_COLUMN = re.compile(r"(.+?)\s*[(\[](.+)[)\]]")  # rate (nm/s)
_MASSES = {element.symbol: element.mass for element in periodictable.elements if 0 < element.number < 99}  # g/mol
_AT = re.compile(r"(?<![a-z])at(om(ic)?)?[\s._-]*(%|percent|pct)|(?<![a-z])a\s?%", re.IGNORECASE)
_WT = re.compile(r"(?<![a-z])(wt|weight|mass|gew)[\s._-]*(%|percent|pct)|(?<![a-z])w\s?%", re.IGNORECASE)
_NORMALIZED = re.compile(r"\bnorm(\.|ali[sz]ed)?(?![a-z])", re.IGNORECASE)
_OF_ELEMENT = re.compile(
    r"([A-Z][a-z]?)(?:[\s_-]*(?:[KLM](?:[-_ ]?(?:a|α|alpha|b|β|beta)?\d?)?)(?:[-_ ]?(?:series|line))?)?"
)
_NO_SHARE = re.compile(
    r"sigma|err(or)?\b|std|dev\b|deviation|uncert|±|\+/-|total|sum\b|Σ|detect|limit|lod\b", re.IGNORECASE
)
_STATISTICS = re.compile(
    r"(statistics|mean|average|avg|median|mittel|mittelwert|durchschnitt|moyenne|std|stdev|stabw|std abw|std dev|"
    r"std deviation|standard deviation|standardabweichung|standard error|[123]? ?(sigma|σ)|rel std|rsd|variance|min|"
    r"minimum|max|maximum|range|sum|total|summe|count|number|n)( mean| value| wert)?"
)
_TITLE = re.compile(
    r"((all|the|edx|eds|data|type|of|as|given|is|are|in|units?|results?|values?|shares?|elements|compositions?|"
    r"concentrations?|norm(ali[sz]ed)?|alle|ergebnisse|angaben|werte)\b\W*)*\W*"
)
_PLACE = re.compile(
    r"(?:stage|sample|pos(?:ition)?)?[\s_.-]*(?P<axis>[xy])[\s_.-]*(?:pos(?:ition)?|coord(?:inate)?)?[\s_.-]*"
    r"[(\[/]?\s*(?P<unit>mm|µm|μm|um|cm|m)?[)\]]?",
    re.IGNORECASE,
)
_IN_MM = {"": 1.0, "mm": 1.0, "cm": 10.0, "m": 1000.0, "µm": 1e-3, "μm": 1e-3, "um": 1e-3}
_Cells = dict[str, list[str]]  # the cells of each column, as text, by its name


class CompositionTable(NamedTuple):
    """What a table says of `n` samples."""

    samples: tuple[str, ...]
    elements: tuple[str, ...]
    compositions: Compositions  # atomic fraction, closed to 1
    others: Mapping[str, Sequence[str]]  # the cells of the other columns
    notes: tuple[str, ...]  # what was converted, closed or left out
    x: PerSample | None = None  # mm, on the stage; NaN where a cell is empty, None without such a column
    y: PerSample | None = None

    def cells(self, name: str) -> Sequence[str]:
        """Return the cells of one of the others, `rate` also where it is called `rate (nm/s)`; empty without it."""
        for column, cells in self.others.items():
            if column == name or ((unit := UNIT_COLUMN.fullmatch(column)) and unit[1] == name):
                return cells
        return [""] * len(self.samples)


class _Share(NamedTuple):
    """What the name of a column says of the share that it holds."""

    element: str  # its symbol, known or not
    unit: ShareUnit | None  # None where the name doesn't say it
    is_of_another_unit: bool = False  # such as vol.%


class _Shares(NamedTuple):
    """The columns of a table that hold the composition."""

    elements: tuple[str, ...]
    columns: tuple[str, ...]
    unit: ShareUnit
    notes: tuple[str, ...] = ()


class _Sheet(NamedTuple):
    """The columns of a table, what stands above them of units, and what was left out to have them."""

    cells: _Cells
    units: Mapping[str, ShareUnit] = MappingProxyType({})  # by column
    notes: tuple[str, ...] = ()


def read_composition_table(
    path: Path,
    *,
    sample: str | None = None,
    columns: Mapping[str, str] | None = None,
    unit: ShareUnit | None = None,
    over: Sequence[str] | None = None,
) -> CompositionTable:
    """Read a table with a header and a row for each sample.

    Titles above the header, a row of units below it, and rows of statistics (mean, std, …) are left out, which is said.

    Args:
        path: A text in UTF-8, UTF-16 or Latin-1, separated by comma, semicolon or tab, or .xlsx, .xls or .ods.
        sample: The column that names the samples; by default the one called `file`, `sample` or `id`.
        columns: The column of each element, such as `{"Zr": "Zr norm. C [wt.%]"}`; others that look like shares are
            left alone. By default every column such as `Zr (at.%)`.
        unit: Of the shares, where their columns don't say it.
        over: Elements that the composition is of: shares of others, such as oxygen, are left out and the rest is closed
            to 100, which is said. By default all elements count.

    Raises:
        DatasetError: If the table can't be read, a column is missing, a unit isn't said, or a date stands for a name.
        CompositionError: If a share is missing or negative, or a row misses 100 % by more than 0.5.
    """
    sample = None if sample is None else _spaced(sample)
    columns = None if columns is None else {element: _spaced(column) for element, column in columns.items()}
    try:
        sheet = _choose_sheet(path, sample=sample, columns=columns)
        return _table_of(sheet, sample=sample, mapping=columns, unit=unit, over=over)
    except GlassmapError as error:
        if path.name in str(error):
            raise
        raise type(error)(f"{path.name}: {error}") from error


def _table_of(
    sheet: _Sheet,
    *,
    sample: str | None,
    mapping: Mapping[str, str] | None,
    unit: ShareUnit | None,
    over: Sequence[str] | None,
) -> CompositionTable:
    table = sheet.cells
    name = _name_column(table, sample)
    table, below = _without_units(table)
    others = [column for column in table if column != name]
    units = dict(sheet.units) | below
    if mapping:
        shares = _mapped_columns(others, mapping, unit)
        if over is not None and not _is_whole(table, shares):
            shares = _with_others(shares, others, units)
    else:
        shares = _share_columns(others, unit, units)
    table, left_out = _without_statistics(table, name)
    samples = [_name_of(cell, row, name) for row, cell in enumerate(table[name], start=1)]
    fractions, notes = _fractions(table, shares, samples, over=over)
    elements = shares.elements
    if over is not None:
        elements, fractions, said = _only(elements, fractions, over)
        notes += said
    rest = {column: table[column] for column in others if column not in shares.columns}
    (x, x_notes), (y, y_notes) = (_place(rest, axis) for axis in "xy")
    notes = (*sheet.notes, *shares.notes, *left_out, *notes, *x_notes, *y_notes)
    return CompositionTable(tuple(samples), elements, fractions, rest, notes, x, y)


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
    shares = _share_columns(columns, None, {})
    return shares.elements, _fractions(table, shares, names, over=None)[0]


def is_composition_table(path: Path, content: bytes | None = None, *, sample: str | None = None) -> bool:
    """Tell whether a file is meant as a composition table: a workbook, or a text whose header names samples or shares.

    Args:
        path: Its name says whether it is a workbook.
        content: Of the file, where it was read already.
        sample: The column that names the samples, where it isn't one of `NAME_COLUMNS`.
    """
    if path.suffix.lower() in BOOK_SUFFIXES:
        return True
    if path.suffix.lower() not in TEXT_SUFFIXES:
        return False
    if content is None:
        with path.open("rb") as file:
            content = file.read(20_000)
    return names_shares(content, sample=sample)


def names_shares(content: bytes, *, sample: str | None = None) -> bool:
    """Tell whether one of the first rows of a text names samples, or shares of elements, as the header of a table."""
    try:
        lines = read_head(content)
    except DatasetError:
        return False
    for line in lines[:MOST_TITLES]:
        if any(column_of(cell).role == "axis" for cell in line.cells[:2] if cell and not _PLACE.fullmatch(cell)):
            return False
        if line.cells[0].lower() in NAME_COLUMNS or (sample is not None and sample in line.cells):
            return len(line.cells) > 1
        if _is_header(line):
            return True
    return False


def read_cells(path: Path) -> _Cells:
    """Read the columns of a table, in its order.

    Raises:
        DatasetError: If it can't be read, is too large, or a row has too many or few cells.
    """
    return _choose_sheet(path, sample=None, columns=None).cells


def _choose_sheet(path: Path, *, sample: str | None, columns: Mapping[str, str] | None) -> _Sheet:
    """Return the one sheet that is a table; of several that are, none.

    Raises:
        DatasetError: If there are several, or none, or the rows of one have too many or few cells.
    """
    if not (sheets := read_sheets(path)):
        raise DatasetError("It holds no sheet. Export the table again.")
    wanted = {*(columns or {}).values(), *([sample] if sample else [])}
    headers = {name: _header_of(lines, wanted) for name, lines in sheets.items()}
    fitting = [name for name, at in headers.items() if at is not None]
    if len(fitting) > 1:
        said = ", ".join(map(repr, fitting))
        raise DatasetError(f"Several of its sheets are tables: {said}. Keep the one that counts.")
    name = fitting[0] if fitting else next(iter(sheets))
    at = headers[name] or 0
    lines = sheets[name]
    if at and len(lines[at].cells) == len(lines[at - 1].cells):  # names that stand a row above those of elements
        pairs = zip(lines[at].cells, lines[at - 1].cells, strict=True)
        header = [cell or (above if _unit_in(above) is None else "") for cell, above in pairs]
        lines = [*lines[:at], Line(lines[at].number, header), *lines[at + 1 :]]
    below = [line for line in lines[at + 1 :][-MOST_TITLES:] if _is_title(line)]  # such as All results in weight%
    cells = _columns_of([line for line in lines[at:] if line not in below], path.name)
    units, said = _units_above([*below, *lines[:at]], cells)
    notes = [f"Of {len(sheets)} sheets {name!r} was read."] if len(sheets) > 1 else []
    if titles := at + len(below):
        where = "above the header" if not below else "above and below the table"
        notes.append(f"{titles} row{'s' * (titles > 1)} {where} {'were' if titles > 1 else 'was'} left out{said}.")
    return _Sheet(cells, units, tuple(notes))


def _is_title(line: Line) -> bool:
    return sum(map(bool, line.cells)) == 1 and any(_unit_of_all(cell) for cell in line.cells if cell)


def _units_above(titles: Sequence[Line], header: Collection[str]) -> tuple[dict[str, ShareUnit], str]:
    """Return the unit of each column that titles say above it, or of all; and words that say so.

    A unit in the row right above the header holds for the columns from there to the next cell that isn't empty, one in
    a title such as `All results in atomic %` for all columns. Where titles name both units, none is taken.
    """
    found: dict[str, ShareUnit] = {}
    if titles and sum(map(bool, titles[-1].cells)) > 1:
        now: ShareUnit | None = None
        for name, cell in zip(header, titles[-1].cells, strict=False):
            now = _unit_of_all(cell) if cell else now
            if now is not None:
                found[name] = now
    else:
        named: set[ShareUnit] = {
            unit for line in titles for cell in line.cells if (unit := _unit_of_all(cell)) is not None
        }
        if len(named) == 1:
            found.update(zip(header, list(named) * len(header), strict=True))
    said = sorted(set(found.values()))
    return found, f", by which shares are in {' and '.join(said)}" if said else ""


def _unit_of_all(title: str) -> ShareUnit | None:
    """Return the unit that a title says of what stands below; None of a title that says other things."""
    is_one = _TITLE.fullmatch(_WT.sub(" ", _AT.sub(" ", title.lower())).strip())
    return _unit_in(title) if is_one else None


def _header_of(lines: Sequence[Line], wanted: set[str]) -> int | None:
    """Return which of the first lines names the columns; None where none does."""
    for k, line in enumerate(lines[:MOST_TITLES]):
        if wanted and wanted <= set(map(_spaced, line.cells)):
            return k
        if not wanted and _is_header(line):
            return k
        if not wanted and len(line.cells) > 1 and line.cells[0].lower() in NAME_COLUMNS:
            return k + 1 if any(map(_unit_in, line.cells)) and any(map(_is_header, lines[k + 1 : k + 2])) else k
    return None


def _is_header(line: Line) -> bool:
    """Tell whether cells of a row name shares of two elements at least."""
    shares = [share for share in map(_share_of, line.cells) if share is not None and share.element in _MASSES]
    return len({share.element for share in shares}) > 1


def _spaced(name: str) -> str:
    """Return a column's name with single blanks, also where it has others or ends of lines."""
    return " ".join(name.split())


def _columns_of(lines: Sequence[Line], name: str) -> _Cells:
    """Return the columns below a header.

    Raises:
        DatasetError: If there is no row, two columns have one name, or a row has too many or few cells.
    """
    header = [_spaced(cell) for cell in lines[0].cells] if lines else []
    header[:1] = [name.lstrip("# ") for name in header[:1]]  # a header as a comment
    while header and not header[-1]:
        header.pop()
    if len(lines) < 2 or len(header) < 2:
        raise DatasetError(
            f"A composition table has a header and a row for each sample, separated by comma, semicolon or tab; "
            f"got {len(lines)} lines and the header {header[:10]}. Export the table again."
        )
    width = len(header)
    for number, cells in lines[1:]:
        if len(cells) < width or any(cells[width:]):
            raise DatasetError(
                f"{name}, line {number}: {len(cells)} cells where the header has {width}; correct the line, and write "
                "a decimal point, not a comma, where commas separate the cells."
            )
    table = list(zip(*(cells[:width] for _, cells in lines[1:]), strict=True))
    kept = [k for k in range(width) if header[k] or any(table[k])]
    for k in kept:
        if header.count(header[k]) > 1 and _NO_SHARE.search(header[k]):  # an error beside each share
            header[k] = f"{header[k]} (column {k + 1})"
    names = [header[k] for k in kept]
    if len(set(names)) < len(names):
        raise DatasetError(f"Two columns have the same name in {names}; rename one.")
    return {header[k]: list(table[k]) for k in kept}


def _name_column(table: _Cells, sample: str | None) -> str:
    """Return the column that names the samples.

    Raises:
        DatasetError: If there is none.
    """
    if sample is not None:
        if sample not in table:
            raise DatasetError(
                f"There is no column {sample!r} among {list(table)}; correct `--sample-column` (backend.table.sample)."
            )
        return sample
    named = [column for column in table if column.lower() in NAME_COLUMNS]
    if not named:
        said = f"No column is called `file`, `sample` or `id`; its columns are {', '.join(map(repr, [*table][:8]))}. "
        names = (column for column in table if not (_share_of(column) or _PLACE.fullmatch(column)))
        if (first := next((column for column in names if len({*table[column]}) == len(table[column])), None)) is None:
            raise DatasetError(f"{said}None of them can name the samples; add a column `sample` with a name a row.")
        raise DatasetError(
            f"{said}Rename the one that names the samples, or say `--sample-column {first!r}` (in a campaign file, "
            "backend.table.sample)."
        )
    return named[0]


def _name_of(cell: str, row: int, column: str) -> str:
    if isinstance(cell, Date) or cell.endswith(" 00:00:00"):  # the same where a program wrote it as text
        raise DatasetError(
            f"A date stands where the sample's name belongs, row {row} ({cell}): a spreadsheet made it of a name such "
            "as 3-5. Format the column as text and write the name again."
        )
    if not cell:
        raise DatasetError(f"Row {row} has no name in the column {column!r}; give it one.")
    return cell


def _without_units(table: _Cells) -> tuple[_Cells, dict[str, ShareUnit]]:
    """Return a table without a first row of units, and what that says of shares; a place's goes into its name."""
    units: dict[str, ShareUnit] = {}
    names = dict[str, str]()
    for column, cells in table.items():
        if (unit := _unit_in(cells[0])) is not None:
            units[column] = unit
        if axis_of_place(column) and cells[0] and axis_of_place(named := f"{column} ({cells[0].strip('()[]')})"):
            names[column] = named
    if len(units) + len(names) < 2:
        return table, {}
    return {names.get(column, column): cells[1:] for column, cells in table.items()}, units


def _without_statistics(table: _Cells, name: str) -> tuple[_Cells, tuple[str, ...]]:
    """Return a table without rows such as Mean, and a note that names them."""
    plain = [re.sub(r"[.\s:]+", " ", cell.lower()).strip() for cell in table[name]]
    is_one = [_STATISTICS.fullmatch(cell) is not None for cell in plain]
    if not any(is_one):
        return table, ()
    named = ", ".join(cell for cell, statistic in zip(table[name], is_one, strict=True) if statistic)
    kept = {column: [c for c, one in zip(cells, is_one, strict=True) if not one] for column, cells in table.items()}
    if not kept[name]:
        raise DatasetError(f"It holds rows of statistics alone, {visible(named)[:100]}. Export the samples as well.")
    return kept, (f"Rows of statistics were left out: {visible(named)[:200]}.",)


def _unit_in(words: str) -> ShareUnit | None:
    return "at.%" if _AT.search(words) else "wt.%" if _WT.search(words) else None


def _share_of(column: str) -> _Share | None:
    """Return what a column's name says of a share; None where it is none."""
    column = _spaced(column)
    unit = _unit_in(column)
    if _NO_SHARE.search(column):
        return None
    bare = _NORMALIZED.sub(" ", _WT.sub(" ", _AT.sub(" ", column)))
    has_percent = unit is not None or "%" in bare
    bare = re.sub(r"[()\[\]%:,]|(?<![A-Za-z])_|_(?![A-Za-z])", " ", bare).strip(" ._-/")
    bare = bare.removesuffix(" in")  # Co in at.%
    found = _OF_ELEMENT.fullmatch(bare)
    if found and (has_percent or (found[1] in _MASSES and not re.search(r"[()\[\]]", column))):
        return _Share(found[1], unit)
    if unit is None and "%" in column and (named := re.match(r"[A-Z][a-z]?(?![a-z])", column)) and named[0] in _MASSES:
        return _Share(named[0], None, is_of_another_unit=True)
    return _Share(bare, unit) if unit is not None and bare else None


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
        if unit is not None and _unit_in(column) not in (None, unit):
            raise DatasetError(f"The column {column!r} says another unit than {unit}; correct `--unit` or the column.")
    if unit is None:
        raise DatasetError("Columns that are named one by one need their unit, at.% or wt.%; give it as `unit`.")
    return _Shares(tuple(mapping), tuple(mapping.values()), unit)


def _is_whole(table: _Cells, shares: _Shares) -> bool:
    """Tell whether the shares of each row make 100 by themselves, as normalized ones do beside those of others."""
    cells = [table[column] for column in shares.columns]
    percent = np.array([[_share(cell, comma="," in cell) for cell in column] for column in cells])
    return bool((np.abs(percent.sum(axis=0) - 100) <= SUM_TOLERANCE_AT_PCT).all())


def _with_others(shares: _Shares, columns: Sequence[str], units: Mapping[str, ShareUnit]) -> _Shares:
    """Return columns that a mapping names and those of other elements in the same unit, so that all sum to 100."""
    others = dict[str, str]()
    for column in columns:
        share = None if column in shares.columns else _share_of(column)
        if share is None or share.element not in _MASSES or share.element in shares.elements:
            continue
        if (share.unit or units.get(column)) == shares.unit and not share.is_of_another_unit:
            others[share.element] = column
    return shares._replace(elements=(*shares.elements, *others), columns=(*shares.columns, *others.values()))


def _share_columns(columns: Sequence[str], unit: ShareUnit | None, units: Mapping[str, ShareUnit]) -> _Shares:
    """Return which columns hold the composition, and in what unit.

    Args:
        columns: Their names.
        unit: Where the names don't say it.
        units: What a row below the names says.

    Raises:
        DatasetError: If there are none, one names an unknown element, or the unit is missing or mixed.
    """
    found = {column: share for column in columns if (share := _share_of(column)) is not None}
    if {"x", "y"} <= {column.lower() for column in found} | {column.lower() for column in columns}:
        found = {column: share for column, share in found.items() if column not in ("X", "Y")}
    if not found:
        raise DatasetError(f"No column holds a share among {list(columns)}; name them as in 'Co (at.%)'.")
    said = {column: share.unit or units.get(column) or unit for column, share in found.items()}
    for column, share in found.items():
        if share.element not in _MASSES:
            raise DatasetError(
                f"{share.element!r} is no chemical symbol; correct the column {column!r}, take it out, or name those "
                "that count with `--columns ELEMENT=COLUMN` (in a campaign file, backend.table.columns)."
            )
        if said[column] is None or share.is_of_another_unit:
            raise DatasetError(
                f"The unit of the column {column!r} must be at.% or wt.%; write {share.element} (at.%) in the header, "
                "or say `--unit at.%` (in a campaign file, backend.table.unit). If it is no share, rename it."
            )
    notes = tuple[str, ...]()
    if len(set(said.values())) > 1:
        atomic = {column: share for column, share in found.items() if said[column] == "at.%"}
        if {share.element for share in atomic.values()} != {share.element for share in found.values()}:
            raise DatasetError(f"Shares must be all at.% or all wt.%, got {said}; convert some of them.")
        found, notes = atomic, ("Of shares in at.% and in wt.%, those in at.% were read.",)
    elements = tuple(share.element for share in found.values())
    if twice := {element for element in elements if elements.count(element) > 1}:
        names = [column for column, share in found.items() if share.element in twice]
        raise DatasetError(
            f"Several columns hold shares of one element: {', '.join(map(repr, names))}. Say which count with "
            f"`--columns {sorted(twice)[0]}=COLUMN` (in a campaign file, backend.table.columns), or take the rest out."
        )
    chosen: ShareUnit = "wt.%" if said[next(iter(found))] == "wt.%" else "at.%"
    return _Shares(elements, tuple(found), chosen, notes)


def _fractions(
    table: Mapping[str, Sequence[str]], shares: _Shares, names: Sequence[str], *, over: Sequence[str] | None
) -> tuple[Compositions, list[str]]:
    """Return atomic fractions, shape `(n, e)`, and what was done to get them.

    Raises:
        CompositionError: As for `close_compositions`.
    """
    rows = [f"Row {row} ({name})" for row, name in enumerate(names, start=1)]
    cells = [table[column] for column in shares.columns]
    comma = any("," in cell for column in cells for cell in column) and not any("." in c for col in cells for c in col)
    percent = np.array([[_share(cell, comma=comma) for cell in column] for column in cells]).T
    untold = set[str]()
    rows_without, columns_without = np.nonzero(np.isnan(percent))
    for row, column in zip(rows_without.tolist(), columns_without.tolist(), strict=True):
        element, cell = shares.elements[column], cells[column][row]
        if over is not None and element not in over:
            percent[row, column] = 0.0  # below what could be told, of an element that is left out
            untold.add(element)
        elif cell:
            raise CompositionError(
                f"{rows[row]}: the share of {element} is no number, {visible(cell)[:40]!r}; write what it is, or 0 for "
                "an absent element."
            )
    fractions, notes = close_compositions(percent, elements=shares.elements, names=rows)
    if untold:
        notes.append(f"Where no number stands for {', '.join(sorted(untold))}, 0 was taken.")
    if shares.unit == "at.%":
        return fractions, notes
    moles = fractions / [_MASSES[element] for element in shares.elements]
    notes = [*(note.replace("at.%", "wt.%") for note in notes), "Compositions were converted from wt.% to at.%."]
    return moles / moles.sum(axis=1, keepdims=True), notes


def _only(
    elements: tuple[str, ...], fractions: Compositions, over: Sequence[str]
) -> tuple[tuple[str, ...], OwnCompositions, list[str]]:
    """Return the composition over some elements alone, closed to 1, and what was left out.

    Raises:
        DatasetError: If one of them has no column.
        CompositionError: If a sample holds none of them.
    """
    if missing := [element for element in over if element not in elements]:
        raise DatasetError(f"No column holds shares of {', '.join(missing)}; it holds {', '.join(elements)}.")
    kept = [elements.index(element) for element in over]
    others = [k for k, element in enumerate(elements) if element not in over]
    rest = fractions[:, kept]
    if not (rest.sum(axis=1) > 0).all():
        raise CompositionError(
            f"Row {int(np.argmin(rest.sum(axis=1))) + 1} holds none of {', '.join(over)}. Take it out."
        )
    said = [
        f"{elements[k]} {100 * fractions[:, k].mean():.2f} at.%"
        + (f" (up to {100 * fractions[:, k].max():.2f})" if np.ptp(fractions[:, k]) > 5e-5 else "")
        for k in others
    ]
    note = f"Shares of {', '.join(said)} were left out, and those of {', '.join(over)} closed to 100."
    return tuple(over), rest / rest.sum(axis=1, keepdims=True), [note] if others else []


def _share(cell: str, *, comma: bool) -> float:
    """Read a share; NaN where the cell holds no number."""
    try:
        return read_number((cell.replace(",", ".") if comma else cell).removesuffix("%").strip())
    except ValueError:
        return math.nan


def axis_of_place(column: str) -> str:
    """Return along which axis of the stage, `x` or `y`, a column says where samples lie; empty where it doesn't."""
    found = _PLACE.fullmatch(column)
    return "" if found is None else found["axis"].lower()


def _place(table: Mapping[str, Sequence[str]], axis: str) -> tuple[PerSample | None, list[str]]:
    """Return where samples lie along an axis of the stage, in mm, and what was converted; None without one such column.

    Raises:
        DatasetError: If a cell is neither empty nor a number.
    """
    found = [(column, at) for column in table if axis_of_place(column) == axis and (at := _PLACE.fullmatch(column))]
    if len(found) != 1:
        return None, []
    column, at = found[0]
    values = [_share(cell, comma="," in cell) for cell in table[column]]
    for row, (value, cell) in enumerate(zip(values, table[column], strict=True), start=1):
        if math.isnan(value) and cell:
            raise DatasetError(
                f"Row {row}: {column!r} is a place on the stage, got {visible(cell)[:40]!r}. Correct it."
            )
    unit = (at["unit"] or "").lower()
    said = [f"The column {column!r} was converted to mm."] if _IN_MM[unit] != 1 else []
    return np.array(values) * _IN_MM[unit], said
