"""Which alloy a scan is of: by its name, its place on a wafer, composition tables, and what is waited for.

Tables, scans and what is called alike go by plain names; see `plain`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.context import Held, Value
from glassmap.agent.data.scan_files import SUFFIXES
from glassmap.agent.data.scan_matching import SAME_PLACE, Place, match_scans, names_of_scan
from glassmap.agent.outside_text import plain_name
from glassmap.agent.shapes import Composition
from glassmap.agent.store.records import DroppedScan, SampleRow, Suggestion
from glassmap.flows.backends.protocol import Ledger

NO_ROWS: Mapping[str, SampleRow] = {}


class Identified(NamedTuple):
    """What a scan is of, as far as that is known."""

    asked: Suggestion | None  # where it is of an alloy that was asked for
    composition: Composition | None  # atomic fraction
    context: Held  # the process variables that have to be known
    matched: str  # the sample of a table that it is of, by its plain name; empty where none names it
    wafer: str  # that it lies on, empty where no table says it
    reason: str  # why composition or context aren't known, as both have to be
    remark: str = ""  # where the instrument calls it as another sample that is known


def identify(
    ledger: Ledger, path: str, scans: Sequence[DroppedScan], *, since: int, takes_target: bool, held: Held
) -> list[Identified]:
    """Find what the scans of a file are of: alloys that were asked for, compositions, process, or why not all is known.

    The file may be called in a table, or an order, by any of the names that it was dropped under, the last first.

    Args:
        ledger: What is recorded.
        path: Of the file, as the ledger calls it.
        scans: Some of its scans.
        since: The first round that counts.
        takes_target: Whether a scan that no table names is of what was asked for, composition and process.
        held: The process variables that have to be known, at the values that are asked for.
    """
    folder = Path(path).parent
    stems = list(dict.fromkeys(plain(Path(name).name) for name in (path, *ledger.paths_of(scans[0].hash))))
    names = [_names_of(scan, stems) for scan in scans]
    rows, differing = _rows_that_count(ledger, scans, stems, names, folder)
    found = _match(scans, stems, rows)
    identified: list[Identified] = []
    for scan, called, row in zip(scans, names, found, strict=True):
        reason = next((differing[name] for name in called if name in differing), "")
        if reason or row is None:
            row, reason = None, reason or _why_none(scan, called, rows)
        known = called if row is None else [row.sample]
        asked = next((s for s in map(ledger.suggestion, (*called, *known)) if s is not None and s.round >= since), None)
        composition = None if row is None else np.array(row.composition)
        if composition is None and asked is not None and takes_target:
            composition = np.array(asked.composition)
        said, differ = context_of(ledger, known, folder, held)
        context = {**(held if asked is not None and takes_target else {}), **said}
        if composition is not None and (lacking := [name for name in held if name not in context] or differ):
            reason = differ or f"No composition table says {' and '.join(lacking)} of {' or '.join(known)}."
            composition = None
        context = {name: context[name] for name in held if name in context}
        wafer = _wafer_of(ledger, known, folder)
        matched = "" if row is None else row.sample
        chosen = matched or ("" if asked is None else plain(asked.id))
        remark = _say_other_sample(ledger, scan, chosen) if composition is not None else ""
        identified.append(Identified(asked, composition, context, matched, wafer, reason, remark))
    return identified


def _say_other_sample(ledger: Ledger, scan: DroppedScan, chosen: str) -> str:
    """Say where the instrument calls the only scan of a file as another sample that is known; empty elsewhere."""
    other = plain(scan.sample)
    if scan.name or not other or other == chosen or not (ledger.suggestion(other) or ledger.samples(other)):
        return ""
    return f"The instrument calls it {scan.sample}, which is another sample; the name of the file counts."


def _names_of(scan: DroppedScan, stems: Sequence[str]) -> list[str]:
    """Return the plain names that a scan goes by, by the names of its file, the last first."""
    called = (name for stem in stems for name in names_of_scan(scan, stem, is_alone=not scan.name))
    return list(dict.fromkeys(called))


def _rows_that_count(
    ledger: Ledger, scans: Sequence[DroppedScan], stems: Sequence[str], names: Sequence[Sequence[str]], folder: Path
) -> tuple[list[SampleRow], dict[str, str]]:
    """Return the rows of tables that may be of scans, one a sample; and of other samples, how the tables differ."""
    wanted = dict.fromkeys(name for called in names for name in called)
    if places := [(scan.x, scan.y) for scan in scans if scan.x is not None and scan.y is not None]:
        is_there = _lies_where(ledger, folder, {*stems, *(plain(scan.sample) for scan in scans if scan.sample)})
        near = (row for x, y in places for row in ledger.samples_at(x, y, within=SAME_PLACE))
        wanted |= dict.fromkeys(row.sample for row in near if is_there(row))
    rows, differing = list[SampleRow](), dict[str, str]()
    for name in wanted:
        said, reason = _that_count(ledger, name, ledger.samples(name), folder, of=name, what=_composition)
        rows += said[:1]
        if reason:
            differing[name] = reason
    return rows, differing


def _lies_where(ledger: Ledger, folder: Path, called: set[str]) -> Callable[[SampleRow], bool]:
    """Return what tells whether a row's place is on the wafer that a file in a folder is of.

    Places are those of tables in the file's own folder, of several wafers the one that is called as the file or a scan
    in it; without such a table, those of a wafer that is called so.
    """
    beside = {plain(wafer) for path, wafer in ledger.tables_with_places() if Path(path).parent == folder}

    def is_one(row: SampleRow) -> bool:
        if beside and Path(row.table).parent != folder:
            return False
        return len(beside) == 1 or plain(row.wafer) in called

    return is_one


def _match(scans: Sequence[DroppedScan], stems: Sequence[str], rows: Sequence[SampleRow]) -> list[SampleRow | None]:
    """Return the row that each scan is of, by the names that their file was dropped under, the last first."""
    places = [Place(row.sample, row.wafer, row.x, row.y) for row in rows]
    found: list[SampleRow | None] = [None] * len(scans)
    for stem in reversed(stems):
        matched = match_scans(scans, [stem] * len(scans), [not scan.name for scan in scans], places)
        found = [before if isinstance(row, str) else rows[row] for before, row in zip(found, matched, strict=True)]
    return found


def _why_none(scan: DroppedScan, called: Sequence[str], rows: Sequence[SampleRow]) -> str:
    """Say why none of some rows is a scan's: none is called so, or the one that is lies elsewhere."""
    for row in rows:
        if row.sample in called:
            return (
                f"{row.table} says that {row.sample} lies at {row.x:g}, {row.y:g} mm, the file that the scan does at "
                f"{scan.x:g}, {scan.y:g} mm. Correct the name or the place."
            )
    few = " or ".join(called if not scan.name else called[:2])
    place = "" if scan.x is None or scan.y is None else f", or a sample at {scan.x:g}, {scan.y:g} mm"
    return f"No composition table names {few}{place}."


def _wafer_of(ledger: Ledger, names: Sequence[str], folder: Path) -> str:
    """Find which wafer composition tables say that a scan in a folder lies on; empty where they don't, or differ."""
    for name in names:
        said = [row for row in ledger.samples(name) if row.wafer]
        beside = [row.wafer for row in said if Path(row.table).parent == folder][:1]
        if len(found := {*(beside or (row.wafer for row in said))}) == 1:
            return found.pop()
    return ""


def context_of(
    ledger: Ledger,
    names: Sequence[str],
    folder: Path,
    variables: Iterable[str],
    *,
    newest: Mapping[str, SampleRow] = NO_ROWS,
) -> tuple[dict[str, Value], str]:
    """Find what composition tables say of the process of a scan in a folder, and in which they differ.

    Each variable is looked up for itself, as a table may say some of them and another the rest; which table counts is
    as of compositions.

    Args:
        ledger: What is recorded.
        names: That the scan goes by.
        folder: It lies in.
        variables: That are asked for.
        newest: The rows of a table that isn't recorded yet, by sample.
    """
    found: dict[str, Value] = {}
    for variable in variables:
        for name in names:
            said = [row for row in _said_of(ledger, name, newest) if variable in row.context]
            of = f"the {variable} of {name}"
            value = partial(_value_of, variable=variable)
            said, differing = _that_count(ledger, name, said, folder, of=of, what=value)
            if differing:
                return found, differing
            if said:
                found[variable] = said[0].context[variable]
                break
    return found, ""


def composition_of(ledger: Ledger, name: str, folder: Path, *, newest: Mapping[str, SampleRow]) -> Composition | None:
    """Find what composition tables say of a sample whose scan lies in a folder; None where they don't, or differ.

    Args:
        ledger: What is recorded.
        name: Of the sample.
        folder: The scan lies in.
        newest: The rows of a table that isn't recorded yet, by sample.
    """
    said, _ = _that_count(ledger, name, _said_of(ledger, name, newest), folder, of=name, what=_composition)
    return np.array(said[0].composition) if said else None


def _said_of(ledger: Ledger, name: str, newest: Mapping[str, SampleRow]) -> list[SampleRow]:
    return [*([newest[name]] if name in newest else ()), *ledger.samples(name)]


def _composition(row: SampleRow) -> tuple[float, ...]:
    return row.composition


def _value_of(row: SampleRow, variable: str) -> Value:
    return row.context[variable]


def _that_count(
    ledger: Ledger,
    name: str,
    said: Sequence[SampleRow],
    folder: Path,
    *,
    of: str,
    what: Callable[[SampleRow], object],
) -> tuple[Sequence[SampleRow], str]:
    """Return which rows of all that tables say of a sample, the last first, count for a scan in a folder.

    An alloy of an order has its name to itself: the last table that holds it counts. Other names, such as `1`, come
    again with every wafer: a table in the scan's own folder counts, else those of other folders where they agree.

    Returns:
        The rows that count, the first of them if there are several; and how they differ where they do.
    """
    if ledger.suggestion(name) is not None:
        return said, ""
    last = {Path(row.table).parent: row for row in reversed(said)}
    said = [last[folder]] if folder in last else list(last.values())
    if len({what(row) for row in said}) > 1:
        tables = " and ".join(sorted(row.table for row in said))
        return [], f"{tables} differ in what they say of {of}. Copy the right one beside the scan."
    return said, ""


def plain(name: str) -> str:
    """Return what the name of a sample, or of a scan's file, is compared by: see `plain_name`."""
    return plain_name(name, suffixes=SUFFIXES)


def nearest_pending(
    ledger: Ledger, composition: Composition, *, since: int, tolerance_at_pct: float
) -> Suggestion | None:
    """Find the alloy that is waited for since a round or later and was probably meant, within a tolerance."""
    pending = [s for s in ledger.suggestions(pending=True) if s.round >= since]
    off = [100 * float(np.abs(composition - np.array(s.composition)).max()) for s in pending]
    nearest = int(np.argmin(off)) if off else 0
    return pending[nearest] if off and off[nearest] <= tolerance_at_pct else None


def is_in_use(ledger: Ledger, hash_: str, scan: str = "") -> bool:
    """Return whether a content, or a scan in it, gave a measurement that wasn't retracted."""
    found = (m for m in ledger.measurements_of(hash_) if m.facts.get("scan", "") == scan)
    return any(m.state != "retracted" for m in found)
