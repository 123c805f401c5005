"""Which alloy a scan is of: by its name, its place on a wafer, composition tables, and what is waited for.

Of what tables say of a sample, those in the scan's own folder count; without one, those that say which alloys exist
(`[candidates]`); else the others, as far as they agree. The names of samples may come again on every wafer.

Tables, scans and what is called alike go by plain names; see `plain`.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.context import Held, Value
from glassmap.agent.data.scan_files import SUFFIXES
from glassmap.agent.data.scan_matching import (
    SAME_PLACE,
    Place,
    match_scans,
    names_of_scan,
    names_on_wafer,
    own_name,
    say_which_wafer,
    wafers_called,
)
from glassmap.agent.outside_text import plain_name
from glassmap.agent.shapes import Composition
from glassmap.agent.store.records import DroppedScan, SampleRow, Suggestion
from glassmap.flows.backends.protocol import Ledger

Key = tuple[str, str]  # wafer and sample, by their plain names
NO_ROWS: Mapping[Key, SampleRow] = {}


class Rules(NamedTuple):
    """By what a laboratory finds what its scans are of."""

    since: int  # the first round that is its own
    takes_target: bool  # a scan that no table names is of what was asked for, composition and process
    held: Held  # the process variables that have to be known, at the values that are asked for
    existing: Collection[str]  # paths of the tables that say which alloys exist, as the ledger calls them
    same_point: float  # mm, between an ordered point of a wafer and the row that says what lies there


class Identified(NamedTuple):
    """What a scan is of, as far as that is known."""

    asked: Suggestion | None  # where it is of an alloy that was asked for
    composition: Composition | None  # atomic fraction
    context: Held  # the process variables that have to be known
    row: SampleRow | None  # of a table that it is of
    wafer: str  # that it lies on, empty where no table says it
    is_known: bool  # it is of a sample that is known to exist, and of no other
    reason: str  # why composition or context aren't known, as both have to be
    remark: str = ""  # where the instrument calls it as another sample that is known

    @property
    def matched(self) -> str:
        """The sample of a table that it is of, by its plain name; empty where none names it."""
        return "" if self.row is None else self.row.sample


class _File(NamedTuple):
    """A file whose scans are looked up."""

    ledger: Ledger
    rules: Rules
    folder: Path
    stems: Sequence[str]  # names that it was dropped under, the last first

    @property
    def folders(self) -> list[str]:
        """What the folders are called that it lies in, the nearest first."""
        return [name for name in reversed(self.folder.parts) if name]

    def called(self, scan: DroppedScan) -> set[str]:
        """Return the plain names that the wafer of a scan may have."""
        return {plain(name) for name in (*self.stems, scan.sample, *self.folders) if name}

    def counting(self, said: Sequence[SampleRow], of: str) -> tuple[list[SampleRow], str]:
        """Return the rows that count of what tables say of a sample, one a wafer; and how they differ where they do."""
        said = _those_beside(said, self.folder, self.rules.existing)
        by_wafer: dict[str, list[SampleRow]] = {}
        for row in said:
            by_wafer.setdefault(plain(row.wafer), []).append(row)
        rows, reason = list[SampleRow](), ""
        for some in by_wafer.values():
            found, differing = _that_count(some, self.folder, self.rules.existing, of=of, what=_composition)
            rows += found[:1]
            reason = reason or differing
        return rows, reason


def identify(ledger: Ledger, path: str, scans: Sequence[DroppedScan], rules: Rules) -> list[Identified]:
    """Find what the scans of a file are of: alloys that were asked for, compositions, process, or why not all is known.

    The file may be called in a table, or an order, by any of the names that it was dropped under, the last first.

    Args:
        ledger: What is recorded.
        path: Of the file, as the ledger calls it.
        scans: Some of its scans.
        rules: Of the laboratory.
    """
    folder, held = Path(path).parent, rules.held
    stems = list(dict.fromkeys(plain(Path(name).name) for name in (path, *ledger.paths_of(scans[0].hash))))
    file = _File(ledger, rules, folder, stems)
    names = [_names_of(scan, stems) for scan in scans]
    rows, differing = _rows_that_count(file, scans, names)
    found = _match(file, scans, rows)
    ordered = {_key(s.wafer, s.sample): s for s in ledger.suggestions_of_samples() if s.round >= rules.since}
    identified: list[Identified] = []
    for scan, called, row in zip(scans, names, found, strict=True):
        reason = next((differing[name] for name in called if name in differing), "")
        if reason or row is None:
            row, reason = None, reason or _why_none(scan, called, rows)
        known = called if row is None else [row.sample]
        by_id = (s for s in map(ledger.suggestion, (*called, *known)) if s is not None and s.round >= rules.since)
        asked = next(by_id, None) or _ordered_as(ordered, called, file.called(scan), row)
        known = called if row is None else [row.sample]
        if asked is not None and asked.sample and (said := ledger.samples(plain(asked.id))):
            row, reason = _unless_elsewhere(said[0], scan, rules.same_point)  # as it is called in the order
            known = [said[0].sample, *known]
        elif row is None and asked is not None and asked.sample and not differing:
            row, why = _row_of_ordered(file, scan, asked)
            reason = why or reason
            known = known if row is None else [row.sample]
        composition = None if row is None else np.array(row.composition)
        if composition is None and asked is not None and rules.takes_target:
            composition = np.array(asked.composition)
        wafer = row.wafer if row is not None and row.wafer else _wafer_of(ledger, known, folder)
        told, differ = context_of(ledger, known, folder, held, wafer=wafer, existing=rules.existing)
        context = {**(held if asked is not None and rules.takes_target else {}), **told}
        if composition is not None and (lacking := [name for name in held if name not in context] or differ):
            reason = differ or f"No composition table says {' and '.join(lacking)} of {' or '.join(known)}."
            composition = None
        context = {name: context[name] for name in held if name in context}
        chosen = row.sample if row is not None else "" if asked is None else plain(asked.id)
        remark = _say_other_sample(ledger, scan, chosen) if composition is not None else ""
        is_known = row is not None and _exists(ledger, row, rules.existing)
        identified.append(Identified(asked, composition, context, row, wafer, is_known, reason, remark))
    return identified


def _key(wafer: str, sample: str) -> Key:
    """Return what a sample of a wafer is found by."""
    return plain(wafer), own_name(plain(sample), wafer)


def _ordered_as(
    ordered: Mapping[Key, Suggestion], names: Sequence[str], called: Collection[str], row: SampleRow | None
) -> Suggestion | None:
    """Return what was asked for that is the sample of a row; without one, that a scan is called as."""
    if row is not None:
        return ordered.get(_key(row.wafer, row.sample))
    wafers = wafers_called(names, called, (wafer for wafer, _ in ordered))
    keys = (_key(wafer, name) for wafer in (*wafers, "") for name in names)
    return next((ordered[key] for key in keys if key in ordered), None)


def _row_of_ordered(file: _File, scan: DroppedScan, asked: Suggestion) -> tuple[SampleRow | None, str]:
    """Return the row that says what an ordered sample of a wafer is, by its name or at its place, or why none does."""
    x, y, within = asked.x, asked.y, file.rules.same_point
    own = own_name(plain(asked.sample), asked.wafer)
    said = file.ledger.samples_on(asked.wafer, [plain(asked.sample), *names_on_wafer(own, asked.wafer)])
    rows = [row for row in said if (_away(row, x, y) or 0.0) <= within]
    if not rows and x is not None and y is not None:
        near = file.ledger.samples_at(x, y, within=within)
        rows = [row for row in near if plain(row.wafer) == plain(asked.wafer) and (_away(row, x, y) or 0.0) <= within]
        rows = [row for row in rows if row.sample == min(rows, key=lambda one: _away(one, x, y) or 0.0).sample]
    found, differing = file.counting(rows, asked.sample)
    if not found:
        return None, differing
    return _unless_elsewhere(found[0], scan, within)


def _unless_elsewhere(row: SampleRow, scan: DroppedScan, within: float) -> tuple[SampleRow | None, str]:
    """Return a row, or why it isn't a scan's that lies farther from it than some mm."""
    if (off := _away(row, scan.x, scan.y)) is not None and off > within:
        return None, _say_elsewhere(row, scan)
    return row, ""


def _away(row: SampleRow, x: float | None, y: float | None) -> float | None:
    """Return how far a row's sample lies from a place, mm; None where either isn't known."""
    if x is None or y is None or row.x is None or row.y is None:
        return None
    return float(np.hypot(row.x - x, row.y - y))


def _exists(ledger: Ledger, row: SampleRow, existing: Collection[str]) -> bool:
    """Return whether a row is of a sample that a table says exists, whatever other tables say of it."""
    same = (one for one in ledger.samples(row.sample) if plain(one.wafer) == plain(row.wafer))
    return any(one.table in existing for one in same)


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
    file: _File, scans: Sequence[DroppedScan], names: Sequence[Sequence[str]]
) -> tuple[list[SampleRow], dict[str, str]]:
    """Return the rows of tables that may be of scans, one a sample; and of other samples, how the tables differ."""
    ledger = file.ledger
    rows, differing = dict[Key, SampleRow](), dict[str, str]()
    for name in dict.fromkeys(name for called in names for name in called):
        if ledger.suggestion(name) is not None:  # has its name to itself
            found, reason = ledger.samples(name)[:1], ""
        else:
            found, reason = file.counting(ledger.samples(name), name)
        rows |= {(plain(row.wafer), row.sample): row for row in found}
        if reason:
            differing[name] = reason
    wafers = ledger.wafers_of_samples()
    for scan, called in zip(scans, names, strict=True):
        for wafer in wafers_called(called, file.called(scan), wafers):
            own = dict.fromkeys(own_name(name, wafer) for name in called)
            said = ledger.samples_on(wafer, [name for one in own for name in names_on_wafer(one, wafer)])
            for name in dict.fromkeys(row.sample for row in said):
                found, reason = file.counting([row for row in said if row.sample == name], name)
                rows |= {(plain(row.wafer), row.sample): row for row in found}
    if places := [(scan.x, scan.y) for scan in scans if scan.x is not None and scan.y is not None]:
        is_there = _lies_where(file, set[str]().union(*map(file.called, scans)))
        near = (row for x, y in places for row in ledger.samples_at(x, y, within=SAME_PLACE))
        for wafer, name in dict.fromkeys((row.wafer, row.sample) for row in near if is_there(row)):
            found, reason = file.counting([one for one in ledger.samples(name) if one.wafer == wafer], name)
            rows |= {(plain(row.wafer), row.sample): row for row in found}
            if reason:
                differing[name] = reason
    return [*rows.values()], differing


def _lies_where(file: _File, called: set[str]) -> Callable[[SampleRow], bool]:
    """Return what tells whether a row's place is on the wafer that a file in a folder is of.

    Places are those of tables in the file's own folder, or that say what exists, of several wafers the one that is
    called as the file, a scan in it or its folder; without such a table, those of a wafer that is called so.
    """
    tables = file.ledger.tables_with_places()
    beside = [(path, wafer) for path, wafer in tables if Path(path).parent == file.folder]
    beside = beside or [(path, wafer) for path, wafer in tables if path in file.rules.existing]
    paths, wafers = {path for path, _ in beside}, {plain(wafer) for _, wafer in beside}

    def is_one(row: SampleRow) -> bool:
        if beside and row.table not in paths:
            return False
        return len(wafers) == 1 or plain(row.wafer) in called

    return is_one


def _match(file: _File, scans: Sequence[DroppedScan], rows: Sequence[SampleRow]) -> list[SampleRow | None]:
    """Return the row that each scan is of, by the names that their file was dropped under, the last first."""
    places = [Place(row.sample, row.wafer, row.x, row.y) for row in rows]
    found: list[SampleRow | None] = [None] * len(scans)
    for stem in reversed(file.stems):
        is_alone = [not scan.name for scan in scans]
        matched = match_scans(scans, [stem] * len(scans), is_alone, places, file.folders)
        found = [before if isinstance(row, str) else rows[row] for before, row in zip(found, matched, strict=True)]
    return found


def _why_none(scan: DroppedScan, called: Sequence[str], rows: Sequence[SampleRow]) -> str:
    """Say why none of some rows is a scan's: none is called so, or the one that is lies elsewhere."""
    named = [row for row in rows if row.sample in called]
    if len(named) > 1:
        return say_which_wafer(Place(row.sample, row.wafer) for row in named)
    if named:
        return _say_elsewhere(named[0], scan)
    few = " or ".join(called if not scan.name else called[:2])
    place = "" if scan.x is None or scan.y is None else f", or a sample at {scan.x:g}, {scan.y:g} mm"
    return f"No composition table names {few}{place}."


def _say_elsewhere(row: SampleRow, scan: DroppedScan) -> str:
    return (
        f"{row.table} says that {row.sample} lies at {row.x:g}, {row.y:g} mm, the file that the scan does at "
        f"{scan.x:g}, {scan.y:g} mm. Correct the name or the place."
    )


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
    wafer: str = "",
    newest: Mapping[Key, SampleRow] = NO_ROWS,
    existing: Collection[str] = (),
) -> tuple[dict[str, Value], str]:
    """Find what composition tables say of the process of a scan in a folder, and in which they differ.

    Each variable is looked up for itself, as a table may say some of them and another the rest; which table counts is
    as of compositions.

    Args:
        ledger: What is recorded.
        names: That the scan goes by.
        folder: It lies in.
        variables: That are asked for.
        wafer: That it lies on; empty where that isn't known.
        newest: The rows of a table that isn't recorded yet.
        existing: Paths of the tables that say which alloys exist.
    """
    found: dict[str, Value] = {}
    for variable in variables:
        for name in names:
            said = [row for row in _said_of(ledger, name, wafer, newest) if variable in row.context]
            value = partial(_value_of, variable=variable)
            if ledger.suggestion(name) is None:
                said, differing = _that_count(said, folder, existing, of=f"the {variable} of {name}", what=value)
                if differing:
                    return found, differing
            if said:
                found[variable] = said[0].context[variable]
                break
    return found, ""


def composition_of(
    ledger: Ledger,
    name: str,
    folder: Path,
    *,
    wafer: str,
    newest: Mapping[Key, SampleRow],
    existing: Collection[str],
) -> Composition | None:
    """Find what composition tables say of a sample whose scan lies in a folder; None where they don't, or differ.

    Args:
        ledger: What is recorded.
        name: Of the sample.
        folder: The scan lies in.
        wafer: The sample lies on; empty where that isn't known.
        newest: The rows of a table that isn't recorded yet.
        existing: Paths of the tables that say which alloys exist.
    """
    said = _said_of(ledger, name, wafer, newest)
    if ledger.suggestion(name) is None:
        said = _that_count(said, folder, existing, of=name, what=_composition)[0]
    return np.array(said[0].composition) if said else None


def _said_of(ledger: Ledger, name: str, wafer: str, newest: Mapping[Key, SampleRow]) -> list[SampleRow]:
    """Return what tables say of a sample of a wafer, or of whatever is called so where that isn't known."""
    wafer = plain(wafer)
    said = [row for key, row in newest.items() if key[1] == name] + ledger.samples(name)
    return [row for row in said if not wafer or plain(row.wafer) in ("", wafer)]


def _composition(row: SampleRow) -> tuple[float, ...]:
    return row.composition


def _value_of(row: SampleRow, variable: str) -> Value:
    return row.context[variable]


def _those_beside(said: Sequence[SampleRow], folder: Path, existing: Collection[str]) -> Sequence[SampleRow]:
    """Return the rows of tables in a folder; without one, those of tables that say which alloys exist; or all."""
    beside = [row for row in said if Path(row.table).parent == folder and row.table not in existing]
    return beside or [row for row in said if row.table in existing] or said


def _that_count(
    said: Sequence[SampleRow],
    folder: Path,
    existing: Collection[str],
    *,
    of: str,
    what: Callable[[SampleRow], object],
) -> tuple[Sequence[SampleRow], str]:
    """Return which rows of all that tables say of a sample, the last first, count for a scan in a folder.

    Names such as `1` come again with every wafer: tables in the scan's own folder count, else those that say which
    alloys exist, else those of other folders where they agree; of several in one place the last.

    Returns:
        The rows that count, the first of them if there are several; and how they differ where they do.
    """
    said = _those_beside(said, folder, existing)
    if said and said[0].table in existing:
        return said[:1], ""
    said = [*{Path(row.table).parent: row for row in reversed(said)}.values()]
    if len({what(row) for row in said}) > 1:
        tables = " and ".join(sorted(row.table for row in said))
        return [], f"{tables} differ in what they say of {of}. Copy the right one beside the scan."
    return said, ""


def plain(name: str) -> str:
    """Return what the name of a sample, or of a scan's file, is compared by: see `plain_name`."""
    return plain_name(name, suffixes=SUFFIXES)


def nearest_pending(ledger: Ledger, found: Identified, *, since: int, tolerance_at_pct: float) -> Suggestion | None:
    """Find the alloy that is waited for since a round or later and was probably meant, within a tolerance.

    A sample that is known to exist is no other one that was asked for, and what lies on a wafer none of another wafer.

    Args:
        ledger: What is recorded.
        found: What a scan is of.
        since: The first round that counts.
        tolerance_at_pct: Of each element.
    """
    wafer = plain(found.wafer)
    pending = [
        s
        for s in ledger.suggestions(pending=True)
        if s.round >= since
        and not (s.sample and found.is_known)
        and not (s.wafer and wafer and plain(s.wafer) != wafer)
    ]
    off = [100 * float(np.abs(found.composition - np.array(s.composition)).max()) for s in pending]
    nearest = int(np.argmin(off)) if off else 0
    return pending[nearest] if off and off[nearest] <= tolerance_at_pct else None


def is_in_use(ledger: Ledger, hash_: str, scan: str = "") -> bool:
    """Return whether a content, or a scan in it, gave a measurement that wasn't retracted."""
    found = (m for m in ledger.measurements_of(hash_) if m.facts.get("scan", "") == scan)
    return any(m.state != "retracted" for m in found)
