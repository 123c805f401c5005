"""Scans as columns of text: which column is what its header says, and what else the header states.

Two columns are a scan; of more, the header must name which are meant. Blocks below one another, pairs side by side and
several intensities over one axis are scans of their own, each by its name.
"""

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.formats.headers import (
    COMMENT,
    SHARE,
    Column,
    Stated,
    axis_in_words,
    column_of,
    is_attenuation,
    is_of_units,
    is_processing,
    is_statement,
    names_a_unit,
    over_two_theta,
    says_its_unit,
    speaks_of_nm,
    state,
)
from glassmap.agent.data.formats.lines import decode
from glassmap.agent.data.formats.parts import Format, Part
from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.errors import DatasetError, SpectrumError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Codes, ScanColumns

SUFFIXES = (".xy", ".xye", ".csv", ".tsv", ".txt", ".dat", ".chi", ".asc", ".gr")
TIMES_DIFFER = 1e-3  # relative
SAME_MONITOR = 1e-3  # relative
A_CLOCK = 10.0  # last over first time of points, from where on they are no times of counting, if they grow evenly
AN_END = 500  # lines of a header, at either end of it, that may state something
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_ALMOST_A_NUMBER = re.compile(r"[+<>~\u2212-]?[.,]?\d.*|n\.?/?[ad]\.?|-+|", re.IGNORECASE)
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")


class _Block(NamedTuple):
    """Numbers, and the lines above them."""

    header: list[str]
    values: ScanColumns  # rows × columns; NaN in an empty cell
    delimiter: str | None
    first: int  # number of its first line


def _is_text(content: bytes, suffix: str) -> bool:
    return content[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" not in content[:4000]


def _read_columns(content: bytes, suffix: str) -> list[Part]:
    """Read all blocks of a text.

    Raises:
        DatasetError: If it is no text, holds no two numbers a line, breaks off, or doesn't say which column is what.
        SpectrumError: If an axis doesn't increase strictly.
    """
    blocks = _blocks(decode(content).splitlines())
    parts = [part for block in blocks for part in _parts_of(block, suffix)]
    if len(blocks) > 1 and len(parts) == len(blocks) and all(part.sample is None for part in parts):
        parts = [part._replace(sample=_name_above(block)) for part, block in zip(parts, blocks, strict=True)]
    of_what = [(part.sample, part.x, part.y) for part in parts]
    if len(blocks) > 1 and (len(set(of_what)) < len(parts) or (None, None, None) in of_what):
        raise DatasetError(
            f"It holds {len(parts)} scans below one another, which have no names of their own. Name the sample above "
            "each (`# sample W1-3`), or save each alone."
        )
    return parts


# --- numbers and the lines above them


def _blocks(lines: Sequence[str]) -> list[_Block]:
    """Split a text into blocks of numbers, each with its header."""
    lines = ["" if not line.strip(" \t,;") else line for line in lines]  # of a spreadsheet, below its cells
    start = next((k for k, line in enumerate(lines) if _is_numbers(line)), None)
    if start is None and any('"' in line for line in lines):
        lines = [_without_quotes(line) for line in lines]
        start = next((k for k, line in enumerate(lines) if _is_numbers(line)), None)
    if start is None:
        remedy = "Export the scan again, or move the file away if it is none."
        if not any(line.strip() for line in lines):
            raise DatasetError(f"It is empty. {remedy}")
        raise DatasetError(
            "It holds 0 lines of two numbers, without signs between thousands; at least 2 are needed. It begins with "
            f"{next(visible(line.strip())[:60] for line in lines if line.strip())!r}. {remedy}"
        )
    header, delimiter, comma = list(lines[:start]), *_delimiter_of(lines[start])
    _check_header(lines[:start], lines[start], delimiter)
    body = [line for line in lines[start:] if line.strip()]
    while body[-1].lstrip().startswith("#"):
        body.pop()
    if comma:
        _check_thousands(body, delimiter)
    if (values := _fast(body, delimiter, comma=comma, lines=len(lines) - start)) is not None:
        _check_first(values)
        return [_Block(header, values, delimiter, start + 1)]
    return list(_slow(lines, start, header))


def _without_quotes(line: str) -> str:
    """Return a line without the quotes of its cells; those stay that hold what separates cells."""
    return re.sub(r'"([^";\t]*)"' if ";" in line or "\t" in line else r'"([^",]*)"', r"\1", line)


def _check_header(header: Sequence[str], first: str, delimiter: str | None) -> None:
    """Refuse lines above the numbers that are meant as numbers, too.

    Raises:
        DatasetError: If there is one, such as `20.0  1,000` with a sign between thousands.
    """
    width = len(first.split(delimiter))
    for number, line in enumerate(header, start=1):
        cells = [cell.strip() for cell in line.split(delimiter)]
        if len(cells) == width and _NUMBER.fullmatch(cells[0]) and _ALMOST_A_NUMBER.fullmatch(cells[1]):
            if column_of(cells[1]).role == "axis":
                continue
            raise DatasetError(
                f"Line {number}: two numbers are expected, without signs between thousands, got "
                f"{visible(line.strip())[:40]!r}; correct the line or export the scan again."
            )


def _fast(body: Sequence[str], delimiter: str | None, *, comma: bool, lines: int) -> ScanColumns | None:
    """Read numbers that all of the `lines` from the first on hold, or that increase; None where they don't."""
    text = "\n".join(body)
    if len(body) < 2 or "_" in text or not text.isascii():
        return None
    if delimiter not in (None, "\t"):
        text = text.replace(f"{delimiter} ", str(delimiter)).replace(f" {delimiter}", str(delimiter))
    if delimiter is not None:
        if " " in text or any(empty in f"\n{text}\n" for empty in (2 * delimiter, f"{delimiter}\n", f"\n{delimiter}")):
            return None
        text = text.replace(delimiter, " ")
    text = text.replace(",", ".") if comma else text
    counts = _numbers_a_line(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of older NumPy, where it stops at what is no number
        try:
            flat = np.fromstring(text, dtype=np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    if (counts != counts[0]).any() or flat.size != counts.sum():
        return None
    values = flat.reshape(-1, int(counts[0]))
    is_one = len(body) == lines or bool((np.diff(values[:, 0]) > 0).all())
    return values if is_one and bool(np.isfinite(values).all()) else None


def _numbers_a_line(text: str) -> Codes:
    """Return how many words each line of a text in ASCII has."""
    letters = np.frombuffer(text.encode("ascii"), np.uint8)
    is_blank = letters <= ord(" ")
    begins = ~is_blank
    begins[1:] &= is_blank[:-1]
    lines = np.flatnonzero(letters[:-1] == ord("\n")) + 1
    return np.add.reduceat(begins, np.append(0, lines), dtype=np.int64)


def _check_first(values: ScanColumns) -> None:
    """Refuse a first line that only numbers the columns, as programs write that know no names.

    Raises:
        DatasetError: If it is 0, 1, … and the axis leaps from there.
    """
    if len(values) > 3 and values[0].tolist() == list(range(values.shape[1])):
        first, second = np.diff(values[:3, 0])
        if first > 3 * second:
            raise DatasetError("Its first line of numbers, 0, 1, …, seems to count the columns. Name them instead.")


def _check_thousands(body: Sequence[str], delimiter: str | None) -> None:
    """Refuse commas that may stand between thousands: none in the axis, and before three digits in all others.

    Raises:
        DatasetError: If they do.
    """
    cells = [[cell.strip() for cell in line.split(delimiter)] for line in body]
    with_comma = [cell for row in cells for cell in row[1:] if "," in cell]
    if not any("," in row[0] for row in cells) and all(_THOUSANDS.fullmatch(cell) for cell in with_comma):
        raise DatasetError(
            f"{with_comma[0] if with_comma else ','!r} may have its comma between thousands, or before decimals. "
            "Export the scan without signs between thousands."
        )


def _slow(lines: Sequence[str], start: int, header: list[str]) -> Iterator[_Block]:
    """Read blocks below one another, and say of what is wrong in which line.

    Raises:
        DatasetError: If a line between numbers is none and begins no new block, or holds another number of cells.
        SpectrumError: If a value isn't finite.
    """
    delimiter, comma = _delimiter_of(lines[start])
    width, rows, first = 0, list[list[float]](), start
    between = list[str]()  # lines since the last numbers
    for k in range(start, len(lines)):
        line = lines[k]
        if not line.strip() or (not _is_numbers(line) and (not rows or _begins_block(lines, k, rows[-1][0]))):
            between.append(line)
            continue
        cells = [cell.strip() for cell in line.split(delimiter)]
        row = [_number(cell, comma=comma) for cell in cells]
        while len(row) > max(width, 2) and not cells[len(row) - 1]:
            row.pop()
        is_ended = bool(rows) and len(row) > 3 and delimiter is not None and not any(cells[:2])  # the first of pairs is
        if is_ended and any(value is not None for value in row[2:]):
            rows.append([np.nan if value is None else value for value in row])
            continue
        if None in row[:2] or len(row) < 2 or (width and len(row) > width) or (None in row and delimiter is None):
            if line.lstrip().startswith("#"):
                between.append(line)
                continue
            raise DatasetError(
                f"Line {k + 1}: two numbers are expected, as in the lines above, got {visible(line.strip())[:40]!r}; "
                "correct the line or export the scan again."
            )
        if any(value is not None and not np.isfinite(value) for value in row):
            raise SpectrumError(
                f"Line {k + 1}: NaN and infinite values are none, got {visible(line.strip())[:40]!r}. Correct the line "
                "or export the scan again."
            )
        point = [np.nan if value is None else value for value in row]
        if rows and between and (not point[0] > rows[-1][0] or _is_header(between)):
            yield _block(header, rows, delimiter, first)
            header, rows, first, width = between, [], k, 0
        between, width = [], max(width, len(point))
        rows.append(point)
    yield _block(header, rows, delimiter, first)


def _block(header: list[str], rows: list[list[float]], delimiter: str | None, first: int) -> _Block:
    """Return a block of rows, those that end early filled up."""
    if len(rows) < 2:
        raise DatasetError(
            f"Line {first + 1}: it holds {len(rows)} lines of two numbers; at least 2 are needed. Export the scan "
            "again, or move the file away if it is none."
        )
    width = max(map(len, rows))
    return _Block(header, np.array([row + [np.nan] * (width - len(row)) for row in rows]), delimiter, first + 1)


def _is_header(lines: Sequence[str]) -> bool:
    """Tell whether lines between numbers say that those below are of another sample or place."""
    stated = state([line for line in lines if line.strip()])
    return any(said is not None for said in (stated.sample, stated.x, stated.y))


def _name_above(block: _Block) -> str | None:
    """Return the last line above the columns' names of one of several blocks, where it is a name; None where not."""
    for line in reversed(block.header):
        bare = COMMENT.sub("", line, count=1).strip() if COMMENT.match(line) else line.strip()
        if bare.strip(" ,;-=*#") and not any(column_of(cell).role == "axis" for cell in re.split(r"[\s,;]+", bare)):
            name = bare.strip(" ,;\"'")
            return name if re.fullmatch(r"[\w./#+-]+( [\w./#+-]+)?", name) else None
    return None


def _begins_block(lines: Sequence[str], at: int, last: float) -> bool:
    """Tell whether what isn't numbers is followed by numbers that begin anew, or is a comment."""
    if lines[at].lstrip().startswith("#"):
        return True
    for line in lines[at : at + 200]:
        if _is_numbers(line):
            delimiter, comma = _delimiter_of(line)
            value = _number(line.split(delimiter)[0].strip(), comma=comma)
            return value is not None and value <= last
    return False


def _is_numbers(line: str) -> bool:
    """Tell whether a line begins with two numbers, or with an empty cell and two numbers."""
    if not line[:40].strip() or not any(digit in line for digit in "0123456789"):
        return False
    delimiter, comma = _delimiter_of(line)
    cells = [cell.strip() for cell in line.split(delimiter)]
    values = [_number(cell, comma=comma) for cell in cells]
    return len(cells) >= 2 and values[0] is not None and values[1] is not None


def _delimiter_of(line: str) -> tuple[str | None, bool]:
    """Return what separates the numbers of a line (None: blanks), and whether they have decimal commas."""
    for delimiter in (";", "\t"):
        if delimiter in line.strip():
            return delimiter, "," in line and "." not in line
    if "," in line:
        words = line.split()
        if len(words) > 1 and all(re.fullmatch(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?", word) for word in words):
            return None, True
        return ",", False
    return None, False


def _number(cell: str, *, comma: bool) -> float | None:
    """Read a cell; None where it is no number."""
    try:
        return read_number(cell.replace(",", ".") if comma else cell)
    except ValueError:
        return None


# --- which column is what


def _parts_of(block: _Block, suffix: str) -> list[Part]:
    """Return the scans of a block by the names of its columns."""
    values = block.values[:, ~np.isnan(block.values).all(axis=0)]
    width = values.shape[1]
    if width < 2:
        raise DatasetError("It holds one column of numbers; a scan has two at least. Export the scan again.")
    header = block.header if len(block.header) <= 2 * AN_END else block.header[:AN_END] + block.header[-AN_END:]
    stated, said = state(header)._replace(first=block.first), axis_in_words(header)
    _check_count(block, suffix, stated.points)
    if over_two_theta(stated.scan_axis) and said is None:
        said = Column(stated.scan_axis, "axis")
    titles, above = _titles(block, width)
    if any(SHARE.search(title) for title in titles):
        raise DatasetError(
            f"Its header names shares, {_say(titles)}: it is a composition table, not a scan. Give it as one."
        )
    columns = [column_of(title) for title in titles]
    _check_columns(values, columns)
    axes = [k for k, column in enumerate(columns) if column.role == "axis"]
    if said is not None and width == 2 and not axes:
        columns, axes = [said, Column("", "intensity")], [0]
    if axes:
        if said is not None and said.axis_name != columns[axes[0]].axis_name:
            raise DatasetError(
                f"Its header says {said.title!r}, and calls a column {titles[axes[0]]!r}. Correct the header."
            )
        if said is not None and said.factor not in (1, columns[axes[0]].factor):
            if columns[axes[0]].title.strip().lower() not in ("q", "r"):
                raise DatasetError(
                    f"Its header says {said.title!r}, and calls a column {titles[axes[0]]!r}. Correct the header."
                )
            columns[axes[0]] = columns[axes[0]]._replace(factor=said.factor)
        _check_unit(header, columns[axes[0]])
        if len(axes) > 1 and len({columns[k].axis_name for k in axes}) == 1:
            return _side_by_side(values, columns, axes, above, stated)
        return _over_one_axis(values, columns, axes[0], above, stated)
    if another := [column.title for column in columns if column.role == "another axis"]:
        raise DatasetError(f"It is over {another[0]!r}; a scan is over 2θ, q or r. Export it over one of them.")
    if width == 2 and columns and columns[0].role not in ("unknown", "intensity") and not titles[1].isdecimal():
        raise DatasetError(f"Its columns are {_say(titles)}, and none is 2θ, q or r. Name them, or export it again.")
    if titles and names_a_unit(titles[0]):
        raise DatasetError(f"Its axis is called {titles[0]!r}, which isn't known. Call it q_nm^-1, q_A^-1 or 2theta.")
    is_xye = suffix == ".xye" or [title.strip().lower()[:1] for title in titles] == ["x", "y", "e"]
    if width > 3 or (width == 3 and not is_xye):
        raise DatasetError(_say_unnamed(values, titles))
    _check_unit(header, None)
    return [_part(values, 0, Column("", "intensity"), 1, stated)._replace(axis_name=None)]


def _check_unit(header: Sequence[str], over: Column | None) -> None:
    """Refuse an axis that doesn't say its unit below a header that speaks of 1/nm, as it may be that of the axis.

    Raises:
        DatasetError: If it is one of q, or not known (None).
    """
    is_told = over is not None and (over.axis_name != "q" or over.factor != 1 or says_its_unit(over.title))
    if not is_told and speaks_of_nm(header):
        raise DatasetError(
            "Its header speaks of 1/nm, and doesn't say that its axis is in them. Call the column q_nm^-1 or q_A^-1."
        )


def _check_columns(values: ScanColumns, columns: Sequence[Column]) -> None:
    """Refuse lists of peaks, numbers behind the last name, and counts by a monitor that may not have been applied.

    Raises:
        DatasetError: If the columns are so.
    """
    if peaks := [column.title for column in columns if column.role == "of peaks"]:
        raise DatasetError(f"It is a list of peaks, with a column {peaks[0]!r}, and no scan. Export the scan.")
    named = max((k + 1 for k, column in enumerate(columns) if column.title), default=0)
    if 0 < named < len(columns):
        said = _say([column.title for column in columns[:named]])
        raise DatasetError(
            f"Its header names {named} columns, {said}, and its lines hold {len(columns)} numbers. Name "
            "each, and write a decimal point, not a comma, where commas separate them."
        )
    for k, column in enumerate(columns):
        if column.role == "monitor" and np.ptp(values[:, k]) > SAME_MONITOR * np.abs(values[:, k]).max():
            raise DatasetError(
                f"Its column {column.title!r} changes from {values[:, k].min():g} to {values[:, k].max():g}, and the "
                "text doesn't say whether intensities are divided by it. Export them so, without this column."
            )


def _check_count(block: _Block, suffix: str, points: int | None) -> None:
    """Refuse numbers that end before the number of points that the header announces, of a `.chi` its fourth line.

    Raises:
        DatasetError: If it does.
    """
    last = block.header[-1].strip() if suffix == ".chi" and block.header else ""
    announced = int(last) if last.isascii() and last.isdecimal() else points
    if announced is not None and announced != len(block.values):
        raise DatasetError(
            f"It announces {announced} points and holds {len(block.values)}. Wait until it is written, or export it "
            "again."
        )


def _side_by_side(
    values: ScanColumns, columns: Sequence[Column], axes: Sequence[int], above: Sequence[str], stated: Stated
) -> list[Part]:
    """Return pairs of an axis and its intensity, each a scan of the sample that its names, or the line above, say."""
    parts = list[Part]()
    for begin, end in zip(axes, [*axes[1:], len(columns)], strict=True):
        of_this = list(columns[begin:end])
        rows = values[~np.isnan(values[:, begin]), begin:end]
        name = next((cell for cell in above[begin:end] if cell), "") or next(
            (c.sample for c in of_this if c.sample), ""
        )
        parts += [part._replace(sample=name or None) for part in _over_one_axis(rows, of_this, 0, (), stated)]
    names = [part.sample for part in parts]
    if None in names or len(set(names)) < len(names):
        raise DatasetError(
            f"It holds {len(parts)} scans side by side, called {_say([name or '' for name in names])}. Name the sample "
            "of each in the line above its columns, or save each alone."
        )
    return parts


def _over_one_axis(
    values: ScanColumns, columns: Sequence[Column], axis: int, above: Sequence[str], stated: Stated
) -> list[Part]:
    """Return the scan, or the scans of several samples, over one axis."""
    by_role = {
        role: [k for k, c in enumerate(columns) if c.role == role and k != axis] for role in ("intensity", "unknown")
    }
    found = by_role["intensity"] or by_role["unknown"]
    titles = [column.title for column in columns]
    if not found:
        raise DatasetError(f"None of its columns {_say(titles)} is called intensity or counts. Name the one that is.")
    if len(found) > 1 and by_role["intensity"]:
        rates = [k for k in found if columns[k].is_rate]
        found = rates if len(rates) == 1 and len(found) == 2 else found  # counts and cps of one scan
    if len(found) == 1:
        part = _part(values, axis, columns[axis], found[0], stated, columns)
        sample = columns[axis].sample if columns[axis].sample == columns[found[0]].sample else ""
        return [part._replace(sample=part.sample or sample or None)]
    names = [columns[k].sample or columns[k].title for k in found]
    if above and by_role["intensity"] and all(above[k] for k in found):
        names = [above[k] for k in found]
    if by_role["intensity"] and (
        len(set(names)) < len(names)
        or not all(columns[k].sample or (above and above[k]) for k in found)
        or any(is_processing(name) for name in names)
    ):
        raise DatasetError(
            f"It holds {len(found)} intensities over one axis, {_say([titles[k] for k in found])}, and doesn't say of "
            "which samples. Keep the one that is meant."
        )
    if any(is_processing(name) for name in names):
        raise DatasetError(
            f"It holds {len(found)} intensities over one axis, {_say([titles[k] for k in found])}, which aren't of "
            "several samples. Keep the one that is meant."
        )
    if len(set(names)) < len(names):
        raise DatasetError(f"It holds {len(found)} intensities of the same name in {_say(titles)}. Rename one.")
    return [
        _part(values, axis, columns[axis], k, stated, columns)._replace(sample=name)
        for k, name in zip(found, names, strict=True)
    ]


def _part(
    values: ScanColumns, axis: int, over: Column, intensity: int, stated: Stated, columns: Sequence[Column] = ()
) -> Part:
    """Return one scan of a block, by its columns' numbers."""
    rows = values[~np.isnan(values[:, [axis, intensity]]).any(axis=1)]
    if len(rows) < len(values) and not np.isnan(values[len(rows) :, [axis, intensity]]).all():
        raise DatasetError("Cells are empty between its numbers. Export the scan again.")
    x, y, notes = rows[:, axis] * over.factor, rows[:, intensity].copy(), stated.notes
    if (falls := np.flatnonzero(np.diff(rows[:, axis]) <= 0)).size:
        k = int(falls[0]) + 1
        raise SpectrumError(
            f"Line {stated.first + k}: the axis must increase strictly, but {rows[k, axis]:g} follows "
            f"{rows[k - 1, axis]:g}; sort the scan and drop repeats."
        )
    for k, column in enumerate(columns):
        if is_attenuation(column.title) and np.ptp(rows[:, k]) > 0:
            raise DatasetError(
                f"Its column {column.title!r} changes from {rows[:, k].min():g} to {rows[:, k].max():g}, and the text "
                "doesn't say whether intensities are multiplied by it. Export them so, without this column."
            )
    is_rate, seconds = bool(columns) and columns[intensity].is_rate, stated.seconds
    times = [k for k, column in enumerate(columns) if column.role == "time"]
    if len(times) > 1 and not is_rate and (np.ptp(rows[:, times], axis=0) > TIMES_DIFFER * rows[0, times]).any():
        said = _say([columns[k].title for k in times])
        raise DatasetError(f"It holds times of each point in several columns, {said}. Keep the one that counts.")
    if len(times) == 1 and not is_rate:
        each = rows[:, times[0]]
        steps = np.diff(each)
        if each.size > 2 and np.ptp(each) > A_CLOCK * each[0] and np.ptp(steps) < 0.1 * abs(steps.mean()):
            raise DatasetError(
                f"The column {columns[times[0]].title!r} grows with each point from {each[0]:g} to {each[-1]:g}, like "
                "a clock; of a time that each point was counted that isn't so. Take it out, or name it elapsed time."
            )
        if not (each > 0).all():
            raise DatasetError(
                f"The column {columns[times[0]].title!r} must hold times above 0 s. Export the scan again."
            )
        if np.ptp(each) > TIMES_DIFFER * each[0]:
            y, is_rate, seconds = y / each, True, None
            notes = (*notes, "Counts were divided by the time of each point.")
        else:
            seconds = float(each[0])
    elif over.factor != 1:
        notes = (*notes, f"The axis {over.title!r} was converted.")
    return Part(
        x, y, over.axis_name, stated.wavelength, stated.sample, stated.x, stated.y, seconds, is_rate, notes=notes
    )


def _titles(block: _Block, width: int) -> tuple[list[str], list[str]]:
    """Return the names of the columns, and of the samples that stand above them; empty where there are none."""
    lines = list[str]()
    for line in block.header[-50:]:
        is_comment = COMMENT.match(line) and not line.startswith(block.delimiter or "#,")
        lines.append(COMMENT.sub("", line, count=1) if is_comment else line)
    split = [[] if is_statement(line) else _split(line, block.delimiter, width) for line in lines]
    scored = [
        (sum(column_of(cell).role != "unknown" and bool(cell) for cell in cells), k)
        for k, cells in enumerate(split)
        if cells and not is_of_units(cells)
    ]
    score, at = max(scored, default=(0, 0))
    if score == 0:  # of two columns, names that tell nothing; of more, they are names all the same
        return next((cells for cells in reversed(split) if cells), list[str]()), []
    row = split[at]
    below = split[at + 1] if at + 1 < len(split) else []
    if below and is_of_units(below):
        row = [f"{cell} ({unit})" if unit else cell for cell, unit in zip(row, below, strict=True)]
    names = (_samples(line, cells, row, block.delimiter) for line, cells in zip(lines[:at], split[:at], strict=True))
    return row, next((found for found in reversed(list(names)) if found), list[str]())


def _samples(line: str, cells: list[str], titles: Sequence[str], delimiter: str | None) -> list[str]:
    """Return the samples that a line above the names of columns says, a cell a column; empty where it says none."""
    axes = [k for k, title in enumerate(titles) if column_of(title).role == "axis"]
    words = line.split()
    if delimiter is None and len(words) == len(axes) > 1:  # one above each pair
        return [words[axes.index(k)] if k in axes else "" for k in range(len(titles))]
    if not cells or not axes or any("=" in cell or column_of(cell).role == "axis" for cell in cells if cell):
        return []
    pairs = [set(cells[begin:end]) for begin, end in zip(axes, [*axes[1:], len(cells)], strict=True)]
    return cells if delimiter is not None or all(len(pair) == 1 for pair in pairs) else []


def _split(line: str, delimiter: str | None, width: int) -> list[str]:
    """Return as many cells as there are columns of a line of the header; empty where it has others."""
    for separator in dict.fromkeys((delimiter, "\t", ";", ",", r"\s{2,}", None)):
        if separator == r"\s{2,}":
            cells = re.split(separator, line.strip())
        elif separator is None:
            cells = line.split()
        else:
            cells = next(csv.reader([line.rstrip("\r\n")], delimiter=separator, skipinitialspace=True), list[str]())
        cells = [cell.strip().strip("\"'").strip() for cell in cells]
        while len(cells) > width and not cells[-1]:
            cells.pop()
        if separator in ("\t", ";", ",") and separator == delimiter:
            cells += [""] * (width - len(cells)) if 1 < len(cells) < width else []
        if len(cells) == width and any(cells):
            return cells
    return []


def _say(titles: Sequence[str]) -> str:
    return ", ".join(repr(visible(title)[:40]) for title in titles[:8]) + ", …" * (len(titles) > 8)


def _say_unnamed(values: ScanColumns, titles: Sequence[str]) -> str:
    """Say what is wrong with more than two columns of which none is named as an axis."""
    width = values.shape[1]
    first = values[:, 0]
    if width % 2 == 0 and all(np.array_equal(values[:, k], first) for k in range(2, width, 2)):
        return (
            f"It looks like {width // 2} scans side by side, whose columns aren't named. Name the sample of each, its "
            "axis and intensity in a header, or save each alone."
        )
    called = f"are called {_say(titles)}" if any(titles) else "have no header"
    return (
        f"Its {width} columns {called}; of more than two, the header must say which are meant, such as `2theta, "
        "intensity, esd` or `index, q, intensity`. Name them, or save two columns."
    )


FORMATS = (Format("columns of text", SUFFIXES, _is_text, _read_columns, is_of_columns=True),)
