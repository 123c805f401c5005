"""A folder of two-column scans and a table of their compositions, read into a `SpectraSet`."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from glassmap.agent.data.composition_table import UNIT_COLUMN, ShareUnit, read_composition_table
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.formats.text import FORMATS as TEXT
from glassmap.agent.data.raw_scan import read_number
from glassmap.agent.data.scan_files import read_raw_scan
from glassmap.agent.errors import DatasetError, GlassmapError, SpectrumError
from glassmap.agent.shapes import Axis, AxisName, Spectra

TEXT_SUFFIXES = TEXT[0].suffixes
_WHOLE = re.compile(r"[+-]?\d{1,18}")


def read_scan_folder(
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
    table = read_composition_table(table_path, unit=unit)
    names = [_scan_name(name) for name in table.samples]
    paths = _match_scans(folder, table_path, names)
    try:
        read = [read_raw_scan(path, axis=axis, wavelength=wavelength) for path in paths]
        axes, scans = [scan.axis for scan in read], [scan.intensity for scan in read]
        points, intensities, resampled = _onto_one_axis(axes, scans, names)
        extras, units = _extras(table.others)
        return SpectraSet(
            ids=tuple(names),
            elements=table.elements,
            compositions=table.compositions,
            axis_name=axis,
            axis=points,
            intensities=intensities,
            coordinates=extras,
            units=units,
            wavelength=wavelength,
            attributes={"source": f"{len(names)} scans of {folder.name}, compositions of {table_path.name}"},
            notes=(*table.notes, *resampled),
        )
    except GlassmapError as error:
        raise type(error)(f"{folder}: {error}") from error


def _scan_name(cell: str) -> str:
    """Return the file name of a scan without its ending; the id of its sample."""
    path = Path(cell.strip())
    return path.stem if path.suffix.lower() in TEXT_SUFFIXES else path.name


def _match_scans(folder: Path, table: Path, names: Sequence[str]) -> list[Path]:
    """Find the scan of each name, in order.

    Raises:
        DatasetError: If there is no such folder, or a name without a scan, a scan without a name, or two of a kind.
    """
    if not folder.is_dir():
        raise DatasetError(f"There is no folder {folder}; check the path.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in TEXT_SUFFIXES or path.name.startswith(".") or path.samefile(table):
            continue
        if path.stem in found:
            raise DatasetError(f"{found[path.stem]} and {path.name} have the same name; keep one or rename it.")
        found[path.stem] = path
    complaints = list[str]()
    for lost, where in ((set(names) - set(found), folder), (set(found) - set(names), table)):
        if lost:
            some = ", ".join(sorted(lost)[:5]) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            complaints.append(f"{where} lacks {some}")
    if complaints:
        raise DatasetError(
            f"Every scan ({', '.join(TEXT_SUFFIXES)}) needs its row in the table and every row its scan, but "
            f"{'; '.join(complaints)}. Add what is missing, or move the others away."
        )
    return [found[name] for name in names]


def _extras(columns: Mapping[str, Sequence[str]]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the other columns as yes/no, numbers or text, and the units that their names give."""
    extras: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for column, cells in columns.items():
        found = UNIT_COLUMN.fullmatch(column)
        name = found[1] if found else column
        if found:
            units[name] = found[2]
        extras[name] = _typed([cell.strip() for cell in cells])
    return extras, units


def _typed(cells: Sequence[str]) -> np.ndarray:
    """Read a column as yes/no, as whole numbers, as numbers (NaN where a cell is empty), or else as text."""
    if all(cell.lower() in ("true", "false") for cell in cells):
        return np.array([cell.lower() == "true" for cell in cells])
    if all(_WHOLE.fullmatch(cell) for cell in cells):
        return np.array([int(cell) for cell in cells])
    try:
        return np.array([read_number(cell) if cell else math.nan for cell in cells])
    except ValueError:
        return np.array(cells)


def _onto_one_axis(
    axes: Sequence[np.ndarray], intensities: Sequence[np.ndarray], names: Sequence[str]
) -> tuple[Axis, Spectra, list[str]]:
    """Bring all scans to one axis: untouched where they share it, else interpolated, which the note says.

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
