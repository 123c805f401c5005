"""A folder of scans and a table of their compositions, read into a `SpectraSet`: the formats and rules of a lab's drop.

Letters: n samples, p points of a scan.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.composition_table import (
    UNIT_COLUMN,
    CompositionTable,
    ShareUnit,
    axis_of_place,
    is_composition_table,
    read_composition_table,
)
from glassmap.agent.data.context import WAFER
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.raw_scan import RawScan, read_number
from glassmap.agent.data.scan_files import SUFFIXES, read_scans
from glassmap.agent.data.scan_matching import Place, match_scans, names_of_scan
from glassmap.agent.data.spectrum import q_from_two_theta
from glassmap.agent.errors import DatasetError, GlassmapError, SpectrumError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.shapes import Axis, AxisName, Spectra

ONE_WAVELENGTH = 1e-4  # relative; Kα1 and the mean of Kα are 0.8e-3 apart
_WHOLE = re.compile(r"[+-]?\d{1,18}")
_FEW = 5  # names in a message


class _Found(NamedTuple):
    """A scan in the folder."""

    scan: RawScan
    path: Path
    is_alone: bool  # in its file

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.stem if self.is_alone else f"{self.path.stem}-{self.scan.name}"


class _Matched(NamedTuple):
    """Scans and the rows of the table that they are of, in the table's order, and what has no counterpart."""

    scans: list[_Found]
    rows: list[int]
    without_row: Mapping[str, str]  # why, by the scan's name or its file's
    without_scan: Sequence[str]  # samples


def read_scan_folder(
    source: Path | str,
    *,
    compositions: Path | str,
    axis: AxisName | None = None,
    wavelength: float | None = None,
    sample: str | None = None,
    columns: Mapping[str, str] | None = None,
    unit: ShareUnit | None = None,
    over: Sequence[str] | None = None,
    skip_unmatched: bool = False,
) -> SpectraSet:
    """Read the scans of a folder, or of one file, and the table of their compositions.

    Every scan of every file that ends as `SUFFIXES` lists is matched to a row by its name, or by its place on the
    wafer, as in a lab; folders within the folder aren't looked into, and other tables are left aside, which notes say.
    Columns of the table that hold no share become extras, `rate (nm/s)` with its unit; so do the scans' own places
    where the table has none. Scans over 2θ of one wavelength stay over 2θ; of several, or beside scans over q, they
    are converted to q. Scans on different axes are interpolated linearly onto the points of the finest within the
    range that all cover.

    Args:
        source: Where the scans are; the table may be there too.
        compositions: The table.
        axis: What files of text are over that don't say it, and what all are converted to: q in 1/Å, 2θ or r in Å.
        wavelength: In Å, of files that don't say it.
        sample: The table's column that names the samples; see `read_composition_table`, as for the next three.
        columns: The table's column of each element.
        unit: Of the shares whose columns don't say it.
        over: Elements whose shares are closed to 100, the others left out.
        skip_unmatched: Leave out scans without a row and rows without a scan, and name them in a note.

    Returns:
        The samples in the table's order; `notes` says what was left out, converted, closed or interpolated.

    Raises:
        DatasetError: If the table or a scan can't be read, a scan lacks its row or a row its scan, two scans are of
            one row, a wavelength isn't known, or the set breaks a rule of `SpectraSet`.
        CompositionError: If a share is missing or negative, or a row misses 100 at.% by more than 0.5.
        SpectrumError: If an axis doesn't increase, a spectrum holds NaN or nothing but zeros, or the scans hardly
            overlap.
    """
    source, table_path = Path(source), Path(compositions)
    table = read_composition_table(table_path, sample=sample, columns=columns, unit=unit, over=over)
    rows = _rows(table, table_path)
    paths, left_aside = _files(source, table_path, sample)
    try:
        found, unread = _read(paths, rows, axis=axis, wavelength=wavelength)
        matched = _match(found, rows, unread)
        left_out = _leave_out(matched, table_path.name) if skip_unmatched else _refuse_unmatched(matched, table_path)
        scans, converted = _over_one_quantity([one.scan for one in matched.scans], matched.scans, axis)
        called = _names(rows)
        names = [called[row] for row in matched.rows]
        points, intensities, resampled = _onto_one_axis(
            [scan.axis for scan in scans], [scan.intensity for scan in scans], names
        )
        extras, units = _extras(table, matched)
        files = len({one.path for one in matched.scans})
        said = (
            f"{len(names)} scans of {source.name}"
            if files == len(names)
            else f"{len(names)} scans in {files} file{'s' * (files > 1)}"
        )
        return SpectraSet(
            ids=tuple(names),
            elements=table.elements,
            compositions=table.compositions[matched.rows],
            axis_name=scans[0].axis_name,
            axis=points,
            intensities=intensities,
            coordinates=extras,
            units=units,
            wavelength=scans[0].wavelength,
            attributes={"source": f"{said}, compositions of {table_path.name}"},
            notes=(*table.notes, *left_aside, *left_out, *_notes_of(matched.scans), *converted, *resampled),
        )
    except GlassmapError as error:
        raise type(error)(f"{source}: {error}") from error


# --- which scan is of which row


def _rows(table: CompositionTable, path: Path) -> list[Place]:
    """Return the samples of a table as scans are matched to them.

    Raises:
        DatasetError: If two have the same name, and lie on one wafer.
    """
    lists = [[None] * len(table.samples) if at is None else [_known(v) for v in at] for at in (table.x, table.y)]
    rows = [
        Place(_without_suffix(sample), wafer.strip(), x, y)
        for sample, wafer, x, y in zip(table.samples, table.cells(WAFER), *lists, strict=True)
    ]
    first = dict[tuple[str, str], int]()
    for k, row in enumerate(rows):
        if (before := first.setdefault((plain_name(row.wafer), plain_name(row.sample)), k)) != k:
            where = f" and lie on {row.wafer}" if row.wafer else ""
            raise DatasetError(
                f"{path.name}: Rows {before + 1} and {k + 1} are both called {row.sample!r}{where}; give each sample "
                f"its own name{'' if where else ', or its wafer in a column `wafer`'}."
            )
    return rows


def _names(rows: Sequence[Place]) -> list[str]:
    """Return what the samples of a set are called: with their wafer where names come again on several."""
    if len({plain_name(row.sample) for row in rows}) == len(rows):
        return [row.sample for row in rows]
    return [f"{row.wafer}-{row.sample}" if row.wafer else row.sample for row in rows]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _without_suffix(sample: str) -> str:
    """Return the name of a sample, which may be that of its file."""
    sample = sample.strip()
    suffix = next((one for one in SUFFIXES if sample.lower().endswith(one) and len(sample) > len(one)), "")
    return sample[: len(sample) - len(suffix)]


def _files(source: Path, table: Path, sample: str | None) -> tuple[list[Path], list[str]]:
    """Return the files of scans in a folder, or the one file, and notes of what is left aside.

    Raises:
        DatasetError: If there are none, or two have one name but for their suffix.
    """
    if source.is_file():
        return [source], []
    if not source.is_dir():
        raise DatasetError(f"There is no folder {source}; check the path.")
    found, tables, folders = dict[str, Path](), list[str](), list[str]()
    for path in sorted(source.iterdir()):
        if path.name.startswith(".") or (path.is_file() and path.samefile(table)):
            continue
        if path.is_dir():
            folders.append(path.name)
        elif is_composition_table(path, sample=sample):
            tables.append(path.name)
        elif path.suffix.lower() in SUFFIXES:
            name = plain_name(path.stem)
            if name in found:
                raise DatasetError(
                    f"{found[name].name} and {path.name} have the same name; keep one or rename it ({source})."
                )
            found[name] = path
    if not found:
        among = f"; its folders {_some(folders)} aren't looked into: import each for itself" if folders else ""
        raise DatasetError(f"{source} holds no scan ({', '.join(SUFFIXES)}){among}. Check the path.")
    notes = [f"Left aside, as they are tables: {_some(tables)}."] if tables else []
    notes += [f"Folders within {source.name} weren't looked into: {_some(folders)}."] if folders else []
    return list(found.values()), notes


def _read(
    paths: Sequence[Path], rows: Sequence[Place], *, axis: AxisName | None, wavelength: float | None
) -> tuple[list[_Found], dict[str, str]]:
    """Read every scan of some files, and say why those couldn't be that no row is called as.

    Raises:
        DatasetError: If one can't be read that a row is called as; the others of which that is so are named as well.
        SpectrumError: As well.
    """
    called = {plain_name(row.sample) for row in rows}
    found, unread, harmed = list[_Found](), dict[str, str](), dict[str, GlassmapError]()
    for path in paths:
        try:
            scans = read_scans(path, axis=axis, wavelength=wavelength)
        except GlassmapError as error:
            if plain_name(path.stem) in called or len(paths) == 1:
                harmed[path.name] = error
            else:
                unread[path.name] = str(error)
            continue
        found += [_Found(scan, path, len(scans) == 1) for scan in scans]
    if harmed:
        error, *others = harmed.values()
        also = f" {len(others)} more can't be read: {_some(list(harmed)[1:])}." if others else ""
        raise type(error)(f"{error}{also}") from error
    return found, unread


def _match(found: Sequence[_Found], rows: Sequence[Place], unread: Mapping[str, str]) -> _Matched:
    """Find the row of each scan.

    Raises:
        DatasetError: If two scans are of one row, or a scan's name and place are of different ones.
    """
    called = {plain_name(row.sample): k for k, row in enumerate(rows)}
    answers = match_scans(
        [one.scan for one in found], [one.path.stem for one in found], [one.is_alone for one in found], rows
    )
    by_row, without_row = dict[int, _Found](), dict[str, str](unread)
    for one, answer in zip(found, answers, strict=True):
        names = [name for name in names_of_scan(one.scan, one.path.stem, is_alone=one.is_alone) if name in called]
        if len(names) > 1:
            raise DatasetError(
                f"{one.path.name}: the file is called as row {called[names[0]] + 1} ({names[0]}), and the sample in it "
                f"as row {called[names[1]] + 1} ({names[1]}). Rename the file, or correct the sample's name."
            )
        if isinstance(answer, str):
            if names:
                raise DatasetError(f"{one.name}: {answer}")
            without_row[one.name] = answer
        elif (other := by_row.setdefault(answer, one)) is not one:
            raise DatasetError(
                f"{_say_where(other)} and {_say_where(one)} are both of row {answer + 1} ({rows[answer].sample}). Keep "
                "one of them, or give each a row of its own."
            )
    order = sorted(by_row)
    lost = [row.sample for k, row in enumerate(rows) if k not in by_row]
    return _Matched([by_row[k] for k in order], order, without_row, lost)


def _say_where(one: _Found) -> str:
    return one.path.name if one.is_alone else f"scan {one.scan.name} of {one.path.name}"


def _refuse_unmatched(matched: _Matched, table: Path) -> list[str]:
    """Refuse what has no counterpart; there is nothing to say else.

    Raises:
        DatasetError: If a scan has no row, or a row no scan.
    """
    if not matched.without_row and not matched.without_scan:
        return []
    lacking = list[str]()
    if matched.without_scan:
        lacking.append(f"there is no scan of {_some(matched.without_scan)}")
    if matched.without_row:
        reasons = list(matched.without_row.items())
        lacking.append(
            f"{table.name} has no row of {_some([name for name, _ in reasons])} ({reasons[0][1].strip('.')})"
        )
    raise DatasetError(
        f"Every scan needs its row and every row its scan, but {'; '.join(lacking)}. Add what is missing, or leave "
        "these out with `--skip-unmatched`."
    )


def _leave_out(matched: _Matched, table: str) -> list[str]:
    """Return notes of what has no counterpart, all of it by name.

    Raises:
        DatasetError: If nothing is left.
    """
    if not matched.scans:
        raise DatasetError(
            f"Not one scan has a row in {table}: {next(iter(matched.without_row.values()), 'there is none.')}"
        )
    notes = list[str]()
    if matched.without_scan:
        notes.append(
            f"Rows without a scan were left out ({len(matched.without_scan)}): {', '.join(matched.without_scan)}."
        )
    if matched.without_row:
        notes.append(
            f"Scans without a row were left out ({len(matched.without_row)}): {', '.join(matched.without_row)}."
        )
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


# --- what is known of each sample


def _notes_of(found: Sequence[_Found]) -> list[str]:
    """Return what readers did to scans, each once, with how many it concerns."""
    counts = Counter(note for one in found for note in one.scan.notes)
    return [
        note if count == len(found) else f"{note.removesuffix('.')} ({count} of {len(found)} scans)."
        for note, count in counts.items()
    ]


def _extras(table: CompositionTable, matched: _Matched) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the other columns as yes/no, numbers or text, and the units that their names give.

    A place is the table's, or else the scan's own, in mm.
    """
    extras: dict[str, np.ndarray] = {}
    units: dict[str, str] = {}
    for column, cells in table.others.items():
        if (axis := axis_of_place(column)) and getattr(table, axis) is not None:
            continue
        found = UNIT_COLUMN.fullmatch(column)
        name = found[1] if found else column
        if found:
            units[name] = found[2]
        extras[name] = _typed([cells[row].strip() for row in matched.rows])
    for name, said in (("x", table.x), ("y", table.y)):
        own = np.array([math.nan if (at := getattr(one.scan, name)) is None else at for one in matched.scans])
        there = own if said is None else np.where(np.isnan(said[matched.rows]), own, said[matched.rows])
        if not np.isnan(there).all():
            extras[name], units[name] = there, "mm"
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


# --- one axis for all


def _over_one_quantity(
    scans: Sequence[RawScan], found: Sequence[_Found], axis: AxisName | None
) -> tuple[list[RawScan], list[str]]:
    """Convert scans over 2θ to q where they differ in wavelength, lie beside scans over q, or q is asked for.

    Raises:
        DatasetError: If some are over r and others not, or a wavelength isn't known that is needed.
    """
    kinds = {scan.axis_name: where for scan, where in zip(scans, found, strict=True)}
    if "r" in (*kinds, axis) and len({*kinds, axis} - {None}) > 1:
        said = ", ".join(f"{where.path.name} is over {kind}" for kind, where in kinds.items())
        raise DatasetError(f"Scans over r and over q or 2θ are no one set: {said}. Import them apart.")
    if axis == "two_theta" and "q" in kinds:
        raise DatasetError(f"{kinds['q'].path.name} is over q, and two_theta was asked for. Leave out `--axis`.")
    if "two_theta" not in kinds:
        return list(scans), []
    lacking = [where for scan, where in zip(scans, found, strict=True) if scan.wavelength is None]
    if lost := [where for where in lacking if where.scan.axis_name == "two_theta"]:
        raise DatasetError(
            f"{lost[0].path.name}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: over 2θ, and the wavelength "
            "isn't said. Say it in Å, such as `--axis two_theta --wavelength 1.5406` (Cu Kα1; 1.5418 for both lines)."
        )
    angles = {scan.wavelength: where for scan, where in zip(scans, found, strict=True) if scan.axis_name == "two_theta"}
    lowest, highest = (choose(w for w in angles if w is not None) for choose in (min, max))
    differ = highest / lowest - 1 > ONE_WAVELENGTH
    if kinds.keys() == {"two_theta"} and axis != "q" and not differ:
        return list(scans), []
    one_q = [
        scan._replace(axis_name="q", axis=q_from_two_theta(scan.axis, wavelength=scan.wavelength))
        if scan.axis_name == "two_theta" and scan.wavelength is not None
        else scan
        for scan in scans
    ]
    why = (
        f"as wavelengths differ ({lowest:.5g} Å in {angles[lowest].path.name}, {highest:.5g} Å in "
        f"{angles[highest].path.name})"
        if differ
        else f"by {highest:.5g} Å"
    )
    number = sum(scan.axis_name == "two_theta" for scan in scans)
    kept = None if differ else highest
    return [scan._replace(wavelength=kept) for scan in one_q], [f"{number} scans over 2θ were converted to q, {why}."]


def _onto_one_axis(
    axes: Sequence[np.ndarray], intensities: Sequence[np.ndarray], names: Sequence[str]
) -> tuple[Axis, Spectra, list[str]]:
    """Bring all scans to one axis: untouched where they share it, else interpolated, which the note says.

    Raises:
        SpectrumError: If the scans have less than half of the widest one's range in common.
    """
    if all(np.array_equal(axis, axes[0]) for axis in axes):
        return axes[0], np.stack(intensities), []
    begins, ends = np.array([axis[0] for axis in axes]), np.array([axis[-1] for axis in axes])
    lowest, highest = int(begins.argmax()), int(ends.argmin())
    low, high, widest = begins[lowest], ends[highest], float((ends - begins).max())
    usual_low, usual_high = np.sort(begins)[(len(axes) - 1) // 2], np.sort(ends)[len(axes) // 2]
    cut = [f"{names[lowest]} begins at {low:g}, others at {usual_low:g}"] if low - usual_low > 0.02 * widest else []
    cut += [f"{names[highest]} ends at {high:g}, others at {usual_high:g}"] if usual_high - high > 0.02 * widest else []
    if high - low < 0.5 * widest:
        why = cut or [f"{names[lowest]} begins at {low:g}", f"{names[highest]} ends at {high:g}"]
        raise SpectrumError(
            f"The scans have less than half of their range in common: {'; '.join(why)}. Complete what is short or "
            "leave it out."
        )
    finest = min(axes, key=lambda axis: float(np.median(np.diff(axis))))
    common = finest[(finest >= low) & (finest <= high)]
    spectra = np.stack([np.interp(common, axis, y) for axis, y in zip(axes, intensities, strict=True)])
    note = f"Scans on different axes were interpolated onto {common.size} points from {common[0]:g} to {common[-1]:g}."
    return common, spectra, [note + (f" Look whether these are whole: {'; '.join(cut)}." if cut else "")]
