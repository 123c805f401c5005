"""A folder of two-column scans and a table of their compositions, read into a `SpectraSet`."""

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import periodictable

from agent.composition import close_compositions
from agent.dataset import AxisName, SpectraSet
from agent.errors import DatasetError, GlassmapError, SpectrumError
from agent.shapes import Axis, Compositions, Scan, ScanAxis, Spectra

ShareUnit = Literal["at.%", "wt.%"]

_SUFFIXES = (".csv", ".xy", ".xye", ".txt")
_MASSES = {element.symbol: element.mass for element in periodictable.elements if element.number > 0}  # g/mol
_SHARE_COLUMN = re.compile(r"([A-Z][a-z]?)(?:[\s_(\[]+(\w*\.?\s*%)\s*[)\]]?)?")  # Co | Co (at.%) | Co [wt%] | Co_at.%
_UNIT_COLUMN = re.compile(r"(.+?)\s*[(\[](.+)[)\]]")  # rate (nm/s)


class _Shares(NamedTuple):
    """The columns of a table that hold the composition."""

    elements: tuple[str, ...]
    columns: tuple[str, ...]
    unit: ShareUnit


def read_scans(
    folder: Path | str,
    *,
    compositions: Path | str,
    axis: AxisName,
    wavelength: float | None = None,
    unit: ShareUnit | None = None,
) -> SpectraSet:
    """Read a folder of two-column scans and the table of their compositions.

    Scans end in .csv, .xy, .xye or .txt and hold axis and intensity in the first two columns, separated by comma or
    blanks, below any header. The table is a CSV file whose first column, `file`, `sample` or `id`, names the scans.
    Columns such as `Co (at.%)` or `Co (wt.%)` are shares; all others become extras, `rate (nm/s)` with its unit.
    Scans on different axes are interpolated linearly onto the points of the finest within the range that all cover.

    Args:
        folder: Where the scans are; the table may be there too.
        compositions: The table.
        axis: What the first column of the scans is: q in 1/Å, 2θ in degrees or r in Å.
        wavelength: In Å; needed where the axis is 2θ.
        unit: Unit of the shares whose columns don't say it.

    Returns:
        The samples in the table's order; `notes` says what was converted, closed or interpolated.

    Raises:
        DatasetError: If the table or a scan can't be read, a scan lacks its row or a row its scan, or the set
            breaks a rule of `SpectraSet`.
        CompositionError: If a share is missing or negative, or a row misses 100 at.% by more than 0.5.
        SpectrumError: If an axis doesn't increase, a spectrum holds NaN or nothing but zeros, or the scans hardly
            overlap.
    """
    folder, table_path = Path(folder), Path(compositions)
    table = _read_table(table_path)
    names = [_scan_name(name) for name in table.iloc[:, 0]]
    paths = _match_scans(folder, table_path, names)
    try:
        shares = _share_columns(list(table.columns[1:]), unit)
        fractions, notes = _fractions(table, shares, names)
    except GlassmapError as error:
        raise type(error)(f"{table_path}: {error}") from error
    try:
        axes, scans = zip(*(read_scan(path) for path in paths), strict=True)
        points, intensities, resampled = _onto_one_axis(axes, scans, names)
        extras, units = _extras(table.iloc[:, 1:].drop(columns=list(shares.columns)))
        return SpectraSet(
            ids=tuple(names),
            elements=shares.elements,
            compositions=fractions,
            axis_name=axis,
            axis=points,
            intensities=intensities,
            coordinates=extras,
            units=units,
            wavelength=wavelength,
            attributes={"source": f"{len(names)} scans of {folder.name}, compositions of {table_path.name}"},
            notes=(*notes, *resampled),
        )
    except GlassmapError as error:
        raise type(error)(f"{folder}: {error}") from error


def _scan_name(cell: str) -> str:
    """The file name of a scan without its ending; the id of its sample."""
    path = Path(cell.strip())
    return path.stem if path.suffix.lower() in _SUFFIXES else path.name


def _read_table(path: Path) -> pd.DataFrame:
    """The composition table, its first column as text.

    Raises:
        DatasetError: If it can't be read, a row has too many or few cells, or the first column has another name.
    """
    try:
        rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig")))
        lines = [(number, cells) for number, cells in enumerate(rows, start=1) if any(cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"The composition table {path} can't be read: {error}. It must be CSV in UTF-8.") from error
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    if len(lines) < 2 or header[0].lower() not in ("file", "sample", "id"):
        raise DatasetError(
            f"{path}: a composition table has a header and a row for each scan, separated by commas, and its first "
            f"column is `file`, `sample` or `id`; got {len(lines)} lines and the header {header}."
        )
    if len(set(header)) < len(header):
        raise DatasetError(f"{path}: two columns have the same name in {header}; rename one.")
    for number, cells in lines:
        if len(cells) != len(header):
            raise DatasetError(
                f"{path}, line {number}: {len(cells)} cells where the header has {len(header)}; correct the line, "
                "and write a decimal point, not a comma."
            )
    return pd.DataFrame([cells for _, cells in lines[1:]], columns=header)


def _match_scans(folder: Path, table: Path, names: Sequence[str]) -> list[Path]:
    """The scan of each name, in order.

    Raises:
        DatasetError: If there is no such folder, or a name without a scan, a scan without a name, or two of a kind.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}; check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in _SUFFIXES or path.name.startswith(".") or path.samefile(table):
            continue
        if path.stem in found:
            raise DatasetError(f"{found[path.stem]} and {path.name} have the same name; keep one or rename it.")
        found[path.stem] = path
    complaints = []
    for lost, where in ((set(names) - set(found), folder), (set(found) - set(names), table)):
        if lost:
            some = ", ".join(sorted(lost)[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            complaints.append(f"{where} lacks {some}")
    if complaints:
        raise DatasetError(
            f"Every scan ({', '.join(_SUFFIXES)}) needs its row in the table and every row its scan, but "
            f"{'; '.join(complaints)}. Add what is missing, or move the others away."
        )
    return [found[name] for name in names]


def _share_columns(columns: Sequence[str], unit: ShareUnit | None) -> _Shares:
    """Which columns hold the composition, and in what unit.

    Raises:
        DatasetError: If there are none, one names an unknown element, or the unit is missing, unknown or mixed.
    """
    elements, units = {}, {}  # by column
    for column in columns:
        found = _SHARE_COLUMN.fullmatch(column)
        if not found or (found[1] not in _MASSES and not found[2]):
            continue
        elements[column] = found[1]
        named = re.sub(r"[.\s]", "", found[2] or "").lower()
        units[column] = {"at%": "at.%", "wt%": "wt.%", "": unit}.get(named)
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
    if len(set(units.values())) > 1:
        raise DatasetError(f"Shares must be all at.% or all wt.%, got {units}; convert some of them.")
    return _Shares(tuple(elements.values()), tuple(elements), next(iter(units.values())))


def _fractions(table: pd.DataFrame, shares: _Shares, names: Sequence[str]) -> tuple[Compositions, list[str]]:
    """Atomic fractions, shape `(n, e)`, and what was done to get them.

    Raises:
        CompositionError: As for `close_compositions`.
    """
    rows = [f"Row {row} ({name})" for row, name in enumerate(names, start=1)]
    percent = table[list(shares.columns)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    fractions, notes = close_compositions(percent, elements=shares.elements, names=rows)
    if shares.unit == "at.%":
        return fractions, notes
    moles = fractions / [_MASSES[element] for element in shares.elements]
    notes = [*(note.replace("at.%", "wt.%") for note in notes), "Compositions were converted from wt.% to at.%."]
    return moles / moles.sum(axis=1, keepdims=True), notes


def _extras(table: pd.DataFrame) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The other columns as yes/no, numbers or text, and the units that their names give."""
    extras, units = {}, {}
    for column in table:
        found = _UNIT_COLUMN.fullmatch(str(column))
        name = found[1] if found else str(column)
        if found:
            units[name] = found[2]
        cells = table[column].str.strip()
        if cells.str.lower().isin(["true", "false"]).all():
            extras[name] = (cells.str.lower() == "true").to_numpy(bool)
        else:
            try:
                extras[name] = np.asarray(pd.to_numeric(cells.replace("", math.nan)))
            except ValueError:
                extras[name] = cells.to_numpy(str)
    return extras, units


def read_scan(path: Path) -> tuple[ScanAxis, Scan]:
    """Axis and intensity of one two-column scan, each of shape `(p,)`.

    Raises:
        DatasetError: If it can't be read, holds no numbers, or a line below the header breaks off.
        SpectrumError: If the axis doesn't increase strictly.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise DatasetError(f"{path.name} can't be read: {error}.") from error
    values: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        cells = line.split(",") if "," in line else line.split()
        try:
            point = (float(cells[0]), float(cells[1]))
        except (ValueError, IndexError):
            if not values:  # still the header
                continue
            raise DatasetError(
                f"{path.name}, line {number}: two numbers are expected, separated by comma or blanks and with decimal "
                f"points, got {line.strip()[:40]!r}; correct the line or export the scan again."
            ) from None
        if values and not point[0] > values[-1][0]:
            raise SpectrumError(
                f"{path.name}, line {number}: the axis must increase strictly, but {point[0]:g} follows "
                f"{values[-1][0]:g}; sort the scan and drop repeats."
            )
        values.append(point)
    if len(values) < 2:
        raise DatasetError(
            f"{path.name} holds {len(values)} lines of two numbers, separated by comma or blanks and with decimal "
            "points; at least 2 are needed. Export the scan again, or move the file away if it is none."
        )
    axis, intensity = np.array(values).T.copy()
    return axis, intensity


def _onto_one_axis(
    axes: Sequence[np.ndarray], intensities: Sequence[np.ndarray], names: Sequence[str]
) -> tuple[Axis, Spectra, list[str]]:
    """All scans on one axis: untouched where they share it, else interpolated, which the note says.

    Raises:
        SpectrumError: If the scans have less than half of the widest one's range in common.
    """
    if all(np.array_equal(axis, axes[0]) for axis in axes):
        return axes[0], np.stack(intensities), []
    lowest = max(range(len(axes)), key=lambda row: axes[row][0])
    highest = min(range(len(axes)), key=lambda row: axes[row][-1])
    low, high = axes[lowest][0], axes[highest][-1]
    if high - low < 0.5 * max(axis[-1] - axis[0] for axis in axes):
        raise SpectrumError(
            f"The scans have less than half of their range in common: {names[lowest]} begins at {low:g} and "
            f"{names[highest]} ends at {high:g}; complete these scans or leave them out."
        )
    finest = min(axes, key=lambda axis: float(np.median(np.diff(axis))))
    common = finest[(finest >= low) & (finest <= high)]
    spectra = np.stack([np.interp(common, axis, y) for axis, y in zip(axes, intensities, strict=True)])
    note = f"Scans on different axes were interpolated onto {common.size} points from {common[0]:g} to {common[-1]:g}."
    return common, spectra, [note]
