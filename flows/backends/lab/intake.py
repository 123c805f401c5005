"""Taking in what a laboratory drops.

Nothing that is dropped is lost. Each file is read once (by the hash of its content), copied byte for byte into the
campaign's `scans`, and told as used, waiting for its composition, duplicate, or quarantined with the reason: the ledger
of the store. Copies are written before that is recorded, so that a process that is killed at any moment loses nothing
and takes nothing twice.
"""

import errno
import hashlib
import stat
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.tables import TableConfig
from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.data.composition_table import SUFFIXES as TABLE_SUFFIXES
from glassmap.agent.data.composition_table import is_composition_table, read_composition_table
from glassmap.agent.data.context import WAFER, Value, is_held, read_value, say_held
from glassmap.agent.data.raw_scan import MAX_BYTES, RawScan
from glassmap.agent.data.samples import name_of_wafer, read_samples
from glassmap.agent.data.scan_files import SUFFIXES, read_scans
from glassmap.agent.errors import DatasetError, GlassmapError, StoreError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Composition, Spectrum
from glassmap.agent.store.connection import DatabaseError
from glassmap.agent.store.records import DroppedFile, DroppedScan, Measurement, SampleRow, Suggestion, copy_name
from glassmap.flows.backends.lab.drop_folders import Found, find, is_new, quiet_files
from glassmap.flows.backends.lab.matching import (
    Identified,
    Rules,
    composition_of,
    context_of,
    identify,
    is_in_use,
    nearest_pending,
    plain,
)
from glassmap.flows.backends.lab.settings import Settings
from glassmap.flows.backends.protocol import CONTEXT, Event, Filed, Ledger, LedgerEntry, Looked, Measured

_COMPUTER = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}  # no room, no handles
_STEM_BYTES = 100  # of a name in quarantine; a whole name has 255 at most


class Laboratory(Protocol):
    """What taking in asks of the laboratory; the backend is one."""

    settings: Settings
    elements: tuple[str, ...]
    folder: Path  # the campaign's
    existing: Mapping[str, Path]  # the tables that say which alloys exist, by what the ledger calls them
    table_of_candidates: TableConfig  # how those are read
    rules: Rules  # by which scans are matched

    def prepare(self, scan: RawScan) -> Spectrum:
        """Return a scan on the campaign's axis in q."""
        ...

    def measured(
        self,
        suggestion: Suggestion | None,
        composition: Composition,
        spectrum: Spectrum,
        facts: Mapping[str, Any],
        ledger: Ledger,
        *,
        file: LedgerEntry | None = None,
        scan: DroppedScan | None = None,
    ) -> Measured:
        """Return what was measured, with how far it is off its target."""
        ...


def take_in(lab: Laboratory, ledger: Ledger, files: Sequence[Path] | None = None) -> Generator[Event]:
    """Take in what has arrived, every file once; each outcome is one event, and the next file is read after it.

    The tables that say which alloys exist are taken in wherever they lie. Tables go first, then scans, both by name,
    then scans that waited for a composition: those alone that something may name that was said since they were looked
    up.

    Args:
        lab: The campaign's.
        ledger: What is recorded; it is to hold each event before the next is asked for.
        files: Instead of what lies in the drop folders: these, now, without waiting for them to be quiet.
    """
    again = ledger.read_again  # settings changed: what was refused may be taken now
    known = {file.path: file for file in sorted(ledger.files(), key=lambda file: file.sequence)}  # as each was last
    found = _quiet_files(lab) if files is None else [find(path, lab.folder) for path in files]
    new = [file for file in found if files is not None or is_new(file, known.get(file.name), again=again)]
    tables = {file for file in new if file.name in lab.existing or _is_table(file.path, lab.settings.table.sample)}
    for file in sorted(new, key=lambda file: (file not in tables, file.name)):
        yield from _take_file(lab, ledger, file, is_table=file in tables, by_hand=files is not None)
    yield from _take_waiting(lab, ledger, again=again)


def _quiet_files(lab: Laboratory) -> Iterator[Found]:
    seconds = lab.settings.quiet_seconds
    files = (*quiet_files(lab.folder, lab.settings.drop, quiet_seconds=seconds), *_tables_of_candidates(lab))
    return iter({file.name: file for file in files}.values())


def _tables_of_candidates(lab: Laboratory) -> Iterator[Found]:
    """Find the tables that say which alloys exist; planning says where one isn't there."""
    for path in lab.existing.values():
        with suppress(OSError):
            yield find(path, lab.folder)


def _is_table(path: Path, sample: str | None) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode) and is_composition_table(path, sample=sample)
    except Exception:  # gone, not ours to read, or no table; said when its content is asked for
        return False


def _take_file(lab: Laboratory, ledger: Ledger, file: Found, *, is_table: bool, by_hand: bool) -> Generator[Event]:
    """Take in one file that is new; whatever is wrong with it sets it aside, and nothing else."""
    entry = LedgerEntry(file.name, file.size, file.modified, "table" if is_table else "scan")
    content = before = None
    try:
        content = _read_content(file, is_candidates=file.name in lab.existing)
        entry = entry._replace(hash=hashlib.sha256(content).hexdigest())
        before = ledger.file_of(entry.hash)
        retracted = _retracted(ledger, entry.hash) if by_hand and not is_table else set[str]()
        if retracted:
            _keep(lab, entry, content)
            yield from _take_scans(lab, ledger, entry, again=retracted)
        elif before is not None and before.state == "waiting":
            yield _wait_on(ledger, entry, before)
        elif before is not None and not (is_table and _says_other(lab, ledger, before, file, content)):
            yield _seen_before(entry, before)
        else:
            _keep(lab, entry, content)
            yield from _take_table(lab, ledger, entry) if is_table else _take_scans(lab, ledger, entry)
    except Exception as error:
        reason = _own_fault(error)
        if content is not None and before is None:  # else something that was taken before is from it
            _kept(lab, entry).unlink(missing_ok=True)
        yield _set_aside(lab, entry, content, reason.replace(_kept(lab, entry).name, Path(file.name).name))


def _own_fault(error: Exception) -> str:
    """Return in words what is wrong with a file.

    Raises:
        Exception: What isn't the file's own: the store's, or the computer's, such as a full disk.
    """
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, OSError) and (behind is error or behind.errno in _COMPUTER):  # readers wrap a file's own
            raise behind
        if isinstance(behind, StoreError | DatabaseError):
            raise error
        behind = behind.__cause__ or behind.__context__
    if isinstance(error, GlassmapError):
        return visible(str(error))
    return visible(f"It can't be taken ({type(error).__name__}: {str(error)[:200]}). Export it again.")


def _seen_before(entry: LedgerEntry, before: DroppedFile) -> Filed:
    """Tell that a content was used already, under this name or another."""
    if before.path == entry.path:  # touched, not changed
        entry = entry._replace(state=before.state, reason=before.reason, measurement=before.measurement)
        return Filed(entry, f"{entry.path}: as before.", is_news=False)
    entry = entry._replace(state="duplicate", reason=f"the same as {before.path}", measurement=before.measurement)
    return Filed(entry, f"{entry.path}: a duplicate of {before.path}.")


def _wait_on(ledger: Ledger, entry: LedgerEntry, before: DroppedFile) -> Filed:
    """Tell that a file whose scans wait for their composition goes by another name now, or was touched."""
    entry = entry._replace(state="waiting", reason=before.reason)
    if before.path == entry.path:
        return Filed(entry, f"{entry.path}: waits as before.", is_news=False)
    other = _entry_of(before)._replace(state="duplicate", reason=f"the same as {entry.path}")
    scans = [scan._replace(seen=0) for scan in ledger.scans(entry.hash) if scan.state == "waiting"]
    return Filed(entry, f"{entry.path}: waits, in place of {before.path}.", is_news=False, scans=scans, replaces=other)


def _entry_of(file: DroppedFile) -> LedgerEntry:
    """Return what names a file in the ledger."""
    return LedgerEntry(file.path, file.size, file.modified, file.kind, file.hash)


def _retracted(ledger: Ledger, hash_: str) -> set[str]:
    """Return the names of the scans of a content whose measurements were all retracted."""
    used = (scan.name for scan in ledger.scans(hash_) if scan.state == "used")
    return {name for name in used if not is_in_use(ledger, hash_, name)}


def _says_other(lab: Laboratory, ledger: Ledger, before: DroppedFile, file: Found, content: bytes) -> bool:
    """Return whether a table that was used would change what is said of a sample once more.

    So it does where an old one is put back, or one is copied beside its scans.
    """
    entry = _entry_of(before)
    _keep(lab, entry, content)
    folder = Path(file.name).parent

    def is_said(row: SampleRow) -> bool:
        same = (said for said in ledger.samples(row.sample) if said.wafer == row.wafer)
        beside = [said for said in same if Path(said.table).parent == folder]
        context: dict[str, Value] = {}
        for said in reversed(beside):
            context |= said.context
        last = [said._replace(table=row.table, context=row.context) for said in beside[:1]]
        return last == [row] and context == {**context, **row.context}

    return not all(map(is_said, _read_table(lab, entry)[0]))


def _kept(lab: Laboratory, entry: LedgerEntry) -> Path:
    """Return the campaign's own copy of a file that is taken."""
    return lab.folder / "scans" / copy_name(entry.hash, entry.path)


def _keep(lab: Laboratory, entry: LedgerEntry, content: bytes) -> None:
    """Have the campaign's own copy of a file hold what was dropped."""
    if not _holds(kept := _kept(lab, entry), entry):
        write_whole(kept, content)


def _holds(path: Path, entry: LedgerEntry) -> bool:
    if not path.is_file() or path.is_symlink() or path.stat().st_size != entry.size:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == entry.hash


def _copy_of(lab: Laboratory, entry: LedgerEntry) -> Path:
    """Return the campaign's own copy of a file, made again where it is lost or harmed and the file still lies there.

    Raises:
        DatasetError: If what was dropped is nowhere any more.
    """
    kept, dropped = _kept(lab, entry), lab.folder / entry.path
    try:
        if _holds(kept, entry):
            return kept
        can_be_mended = _holds(dropped, entry)
    except OSError as error:
        raise DatasetError(f"Its copy {kept} can't be read: {error}. Drop it once more.") from error
    if not can_be_mended:
        raise DatasetError(f"Its copy {kept} was lost or changed since. Drop it once more.")
    write_whole(kept, dropped.read_bytes())
    return kept


def recall(lab: Laboratory, measurement: Measurement) -> Spectrum | None:
    """Return the spectrum that a measurement's kept scan holds; None where the copy is gone or another."""
    file, hash_ = measurement.facts.get("file"), measurement.facts.get("hash")
    if not (isinstance(file, str) and isinstance(hash_, str)):
        return None
    kept = lab.folder / "scans" / copy_name(hash_, file)
    try:
        if hashlib.sha256(kept.read_bytes()).hexdigest() != hash_:
            return None
        scans = _read_scans(lab, kept)
        name = measurement.facts.get("scan", "")
        return next((lab.prepare(scan) for scan in scans if name == _name_in(scans, scan)), None)
    except (OSError, GlassmapError):
        return None


def _read_content(file: Found, *, is_candidates: bool) -> bytes:
    """Read all bytes of a regular file that isn't changed while it is read.

    Tables of candidates may be data sets, and as large as those.

    Raises:
        DatasetError: If it is a link, a device or a folder, too large, no scan or table by its name, or not to be read.
    """
    try:
        if file.path.is_symlink() or (file.path.exists() and not file.path.is_file()):
            raise DatasetError("It is a link or a device, not a file. Copy the file itself here.")
        if not is_candidates and file.path.suffix.lower() not in (*SUFFIXES, *TABLE_SUFFIXES):
            raise DatasetError(f"Scans and tables end in {', '.join(dict.fromkeys((*SUFFIXES, *TABLE_SUFFIXES)))}.")
        if file.size > MAX_BYTES and not is_candidates:
            raise DatasetError(f"It has {file.size} bytes; scans and tables have {MAX_BYTES} at most.")
        content = file.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"It can't be read: {error}. `glassmap ingest` takes it once it can.") from error
    if len(content) != file.size:
        raise DatasetError(f"It changed while it was read, from {file.size} to {len(content)} bytes.")
    return content


def _read_table(lab: Laboratory, entry: LedgerEntry) -> tuple[list[SampleRow], tuple[str, ...]]:
    """Read a composition table of the campaign's elements: its rows, and what was done to get them."""
    kept, is_of_candidates = _copy_of(lab, entry), entry.path in lab.existing
    if kept.suffix == ".nc":
        return _rows_of_dataset(lab, entry, kept), ()
    settings: TableConfig = lab.table_of_candidates if is_of_candidates else lab.settings.table
    over = lab.elements if settings.others == "leave out" else None
    table = read_composition_table(
        kept, sample=settings.sample, columns=settings.columns or None, unit=settings.unit, over=over
    )
    if set(table.elements) != set(lab.elements) or len(table.elements) != len(lab.elements):
        where = "candidates" if is_of_candidates else "backend.table"
        raise DatasetError(
            f"Its shares must be those of {', '.join(lab.elements)}, each once; got {', '.join(table.elements)}. "
            f'Name the columns under [{where}] of the campaign file, or say there `others = "leave out"` where '
            "the composition is over the campaign's elements alone."
        )
    samples, wafers = [plain(sample) for sample in table.samples], [name_of_wafer(cell) for cell in table.cells(WAFER)]
    (repeated, wafer), times = Counter(zip(samples, map(plain, wafers), strict=True)).most_common(1)[0]
    if times > 1:
        where = f" of wafer {wafers[list(map(plain, wafers)).index(wafer)]}" if wafer else ""
        raise DatasetError(f"It names the sample {repeated}{where} more than once. Keep the row that counts.")
    compositions = table.compositions[:, [table.elements.index(element) for element in lab.elements]].tolist()
    contexts: list[dict[str, Value]] = [{} for _ in samples]
    for name, like in lab.rules.held.items():
        for context, cell in zip(contexts, table.cells(name), strict=True):
            if (value := read_value(cell, name, like)) is not None:
                context[name] = value
    nowhere = [None] * len(samples)
    x, y = (nowhere if at is None else [None if v != v else v for v in at.tolist()] for at in (table.x, table.y))
    columns = zip(samples, compositions, wafers, contexts, x, y, strict=True)
    rows = [SampleRow(entry.path, sample, tuple(shares), *rest) for sample, shares, *rest in columns]
    return rows, table.notes


def _rows_of_dataset(lab: Laboratory, entry: LedgerEntry, path: Path) -> list[SampleRow]:
    """Return the samples of a data set as the rows of a table."""
    samples = read_samples([path], lab.elements)
    columns = zip(samples.names, samples.wafers, samples.compositions.tolist(), samples.x, samples.y, strict=True)
    return [
        SampleRow(entry.path, plain(name), tuple(shares), wafer, {}, *(None if v != v else float(v) for v in place))
        for name, wafer, shares, *place in columns
    ]


def _take_table(lab: Laboratory, ledger: Ledger, entry: LedgerEntry) -> Generator[Event]:
    """Tell what a composition table says."""
    rows, notes = _read_table(lab, entry)
    note = visible(" ".join((f"{len(rows)} sample{'s' * (len(rows) != 1)}.", *notes, *_too_late(lab, ledger, rows))))
    yield Filed(entry._replace(reason=note), f"{entry.path}: {note}", samples=rows)


def _too_late(lab: Laboratory, ledger: Ledger, rows: Sequence[SampleRow]) -> Iterator[str]:
    """Say what a new table says otherwise of samples whose scans were taken already."""
    newest, existing = {(plain(row.wafer), row.sample): row for row in rows}, lab.existing
    for row in rows:  # that is called as in the order, of a scan that was taken by its sample's own name
        asked, measured = ledger.suggestion(row.sample), ledger.measurement(row.sample)
        if asked is None or not asked.sample or measured is None or measured.state == "retracted":
            continue
        is_said_below = any(scan.measurement == measured.id for scan in ledger.measured_scans([row.sample]))
        if not is_said_below and not _is_same(np.array(row.composition), np.array(measured.composition)):
            yield _say_measured_otherwise(measured)
    for scan in ledger.measured_scans([row.sample for row in rows]):
        measured = ledger.measurement(scan.measurement or "")
        if measured is None or measured.state == "retracted" or (file := ledger.file_of(scan.hash)) is None:
            continue
        wafer = measured.facts.get(WAFER, "")
        row = newest.get((plain(wafer), scan.matched)) or newest.get(("", scan.matched))
        if row is None:  # of another wafer
            continue
        folder, of = Path(file.path).parent, row.wafer
        now = composition_of(ledger, row.sample, folder, wafer=of, newest=newest, existing=existing)
        context, differing = context_of(
            ledger, [row.sample], folder, row.context, wafer=of, newest=newest, existing=existing
        )
        if now is None or not _is_same(now, np.array(row.composition)):
            yield f"Of {file.path} counts what a table beside it says, which is another; correct that one."
        elif not _is_same(now, np.array(measured.composition)):
            yield _say_measured_otherwise(measured)
        elif differing:
            yield differing
        elif any(measured.facts.get(CONTEXT, {}).get(key) != value for key, value in context.items()):
            yield f"{measured.id} was measured with {say_held(context)} otherwise; retract and ingest it again."


def _say_measured_otherwise(measured: Measurement) -> str:
    return f"{measured.id} was measured with another composition; retract it, and ingest its scan again."


def _is_same(one: Composition, other: Composition) -> bool:
    return float(np.abs(one - other).max()) < SAME_ALLOY


def _read_scans(lab: Laboratory, path: Path) -> list[RawScan]:
    """Read the scans of a file by this campaign's settings."""
    return read_scans(path, axis=lab.settings.columns, wavelength=lab.settings.wavelength)


def _name_in(scans: Sequence[RawScan], scan: RawScan) -> str:
    """Return what the store calls a scan of a file: nothing where it is the only one."""
    return visible(scan.name) if len(scans) > 1 else ""


def _take_scans(
    lab: Laboratory, ledger: Ledger, entry: LedgerEntry, *, again: Collection[str] = ()
) -> Generator[Event]:
    """Tell each scan of a file that isn't used yet as a measurement, or that it waits, or why it is refused.

    Args:
        lab: The campaign's.
        ledger: What is recorded.
        entry: The file.
        again: The names of scans that are taken though they were used.
    """
    raw = {_name_in(scans, scan): scan for scans in [_read_scans(lab, _copy_of(lab, entry))] for scan in scans}
    settled = {scan.name for scan in ledger.scans(entry.hash) if scan.state in ("used", "duplicate")} - {*again}
    known = list[DroppedScan]()
    before = _used_before(lab, ledger, entry) if len(raw) > 1 else []
    spectra, refused, waiting = dict[str, Spectrum](), list[DroppedScan](), list[DroppedScan]()
    for name, scan in raw.items():
        if name in settled:
            continue
        said = DroppedScan(entry.hash, name, visible(scan.sample or ""), scan.x, scan.y)
        if any(_is_one_scan(scan, other) for other in before):
            known.append(said._replace(state="duplicate", reason="the same as in the file that was here before"))
            continue
        try:
            spectra[name] = lab.prepare(scan)
            waiting.append(said)
        except GlassmapError as error:
            refused.append(said._replace(state="quarantined", reason=visible(str(error))))
    if refused and not (waiting or settled or known):
        all_ = f"None of its {len(raw)} scans can be taken; the first: " if len(raw) > 1 else ""
        raise DatasetError(f"{all_}{refused[0].reason}")
    yield from _overwrite(lab, ledger, entry)
    found = identify(ledger, entry.path, waiting, lab.rules) if waiting else []
    waiting = [scan._replace(reason=one.reason, matched=one.matched) for scan, one in zip(waiting, found, strict=True)]
    left = [scan for scan, one in zip(waiting, found, strict=True) if one.composition is None]
    if len(raw) > 1 or left:
        reason = _say_left(len(raw), left, known, refused) if len(raw) > 1 else left[0].reason
        entry = entry._replace(state="waiting" if waiting else "used", reason=reason)
        said = ledger.said
        scans = [scan._replace(seen=said if scan in left else 0) for scan in waiting]
        text = f"{entry.path}: {reason}" if len(raw) > 1 else f"{entry.path}: waits. {reason}"
        last = ledger.file_of(entry.hash)
        is_news = bool(left or known or refused) and (last is None or last.reason != reason)
        yield Filed(entry, text, is_news=is_news, scans=(*scans, *known, *refused))
    for scan, one in zip(waiting, found, strict=True):
        if one.composition is not None:
            yield _measured(lab, ledger, entry, scan, one, raw[scan.name], spectra[scan.name])


def _used_before(lab: Laboratory, ledger: Ledger, entry: LedgerEntry) -> list[RawScan]:
    """Return the scans that are in use of what was dropped under a file's name before, as a map that grew was."""
    found = list[RawScan]()
    for file in ledger.files_at(entry.path):
        if file.hash != entry.hash and (kept := _kept(lab, _entry_of(file))).exists():
            used = {scan.name for scan in ledger.scans(file.hash) if is_in_use(ledger, file.hash, scan.name)}
            scans = _read_scans(lab, kept) if used else []
            found += [scan for scan in scans if _name_in(scans, scan) in used]
    return found


def _is_one_scan(one: RawScan, other: RawScan) -> bool:
    if (one.sample, one.x, one.y) != (other.sample, other.x, other.y):
        return False
    return np.array_equal(one.axis, other.axis) and np.array_equal(one.intensity, other.intensity)


def _say_left(
    n: int, waiting: Sequence[DroppedScan], known: Sequence[DroppedScan], refused: Sequence[DroppedScan]
) -> str:
    """Say what became of a file of several scans but for those that are measured."""
    words = [f"{n} scans"]
    for what, scans in (("wait", waiting), ("were in use before", known), ("are refused", refused)):
        if scans:
            words.append(f"{len(scans)} {what}; the first, scan {scans[0].name}: {scans[0].reason.rstrip('.')}")
    return f"{'. '.join(words)}."


def _measured(
    lab: Laboratory,
    ledger: Ledger,
    entry: LedgerEntry,
    scan: DroppedScan,
    of: Identified,
    raw: RawScan,
    spectrum: Spectrum,
) -> Measured:
    """Tell a scan whose composition is known as a measurement."""
    assert of.composition is not None
    facts: dict[str, Any] = {
        "file": entry.path,
        "hash": entry.hash,
        "notes": [*raw.notes, *([of.remark] if of.remark else [])],
        "counts": float(np.median(raw.intensity)),
    }
    asked = of.asked
    if asked is None and is_held(of.context, lab.rules.held):
        tolerance = lab.settings.tolerance_at_pct
        asked = nearest_pending(ledger, of, since=lab.rules.since, tolerance_at_pct=tolerance)
    also = {"scan": scan.name, CONTEXT: dict(of.context)} | _where(raw, of, asked)
    facts |= {name: value for name, value in also.items() if value not in ("", None, {})}
    measured = lab.measured(asked, of.composition, spectrum, facts, ledger, file=entry, scan=scan)
    return measured._replace(remark=" ".join(filter(None, (of.remark, measured.remark))))


def _where(raw: RawScan, of: Identified, asked: Suggestion | None) -> dict[str, str | float | None]:
    """Return which sample a scan is of, on which wafer and where: of an ordered one as it was ordered."""
    row = of.row
    x, y = (raw.x, raw.y) if row is None or row.x is None or raw.x is not None else (row.x, row.y)
    if asked is None or not asked.sample:
        return {"sample": of.matched, WAFER: of.wafer, "x": x, "y": y}
    x, y = (asked.x, asked.y) if x is None else (x, y)
    return {"sample": asked.sample, WAFER: asked.wafer, "x": x, "y": y}


def _overwrite(lab: Laboratory, ledger: Ledger, entry: LedgerEntry) -> Generator[Event]:
    """Set aside what waited under the name of a file that is another now."""
    reason = "Another scan of the same name came while it waited for its composition; that one counts."
    for file in ledger.files_at(entry.path):
        if file.hash == entry.hash or file.state != "waiting":
            continue
        other, scans = _entry_of(file), ledger.scans(file.hash)
        if any(scan.state == "used" for scan in scans):  # the file stays, as some of it is in use
            left = [scan._replace(state="quarantined", reason=reason) for scan in scans if scan.state == "waiting"]
            yield Filed(other._replace(reason=reason), f"{other.path}: {len(left)} scans wait no longer.", scans=left)
        else:
            copy = _kept(lab, other)
            yield _set_aside(lab, other, copy.read_bytes() if copy.exists() else None, reason)


def _take_waiting(lab: Laboratory, ledger: Ledger, *, again: bool) -> Generator[Event]:
    """Take the scans that waited and that are named now; files are read only for those.

    Args:
        lab: The campaign's.
        ledger: What is recorded.
        again: Whether all are looked up, and refused ones read again, as settings changed.
    """
    said = ledger.said
    for file in ledger.files_to_read():
        yield from _set_aside_if_wrong(lab, _entry_of(file), _take_scans(lab, ledger, _entry_of(file)))
    waiting = dict[str, list[DroppedScan]]()
    for scan in ledger.scans_to_look_up(all_=again):
        waiting.setdefault(scan.hash, []).append(scan)
    for hash_, scans in waiting.items():
        file = ledger.file_of(hash_)
        assert file is not None, "what waits is of a file that does"
        entry = _entry_of(file)
        found = identify(ledger, entry.path, scans, lab.rules)
        is_other = any(one.reason != scan.reason for one, scan in zip(found, scans, strict=True))
        if again or is_other or any(one.composition is not None for one in found):
            yield from _set_aside_if_wrong(lab, entry, _take_scans(lab, ledger, entry))
    if waiting:
        yield Looked(said)


def _set_aside_if_wrong(lab: Laboratory, entry: LedgerEntry, events: Generator[Event]) -> Generator[Event]:
    """Tell what becomes of a file that waited; it is set aside where its copy is gone, or it is read otherwise now."""
    try:
        yield from events
    except Exception as error:
        yield _set_aside(lab, entry, None, _own_fault(error))


def _set_aside(lab: Laboratory, entry: LedgerEntry, content: bytes | None, reason: str) -> Filed:
    """Set a file aside, byte for byte, with a text that says why."""
    if content is not None:
        name = Path(entry.path)
        stem = visible(name.stem).encode()[:_STEM_BYTES].decode(errors="ignore")
        place = lab.folder / "quarantine" / f"{stem}-{entry.hash[:8]}{name.suffix}"
        write_whole(place, content)
        write_whole(place.with_name(f"{place.name}.txt"), f"{entry.path}\n{reason}\n".encode())
    entry = entry._replace(state="quarantined", reason=reason)
    return Filed(entry, f"{entry.path}: quarantined. {reason}")
