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
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.data.composition_table import EXCEL_SUFFIXES, is_composition_table, read_composition_table
from glassmap.agent.data.context import WAFER, Held, Value, is_held, read_value, say_held
from glassmap.agent.data.raw_scan import MAX_BYTES, RawScan
from glassmap.agent.data.scan_files import SUFFIXES, read_raw_scan
from glassmap.agent.errors import DatasetError, GlassmapError, StoreError
from glassmap.agent.outside_text import visible
from glassmap.agent.shapes import Composition, Compositions, Spectrum
from glassmap.agent.store.connection import DatabaseError
from glassmap.agent.store.records import DroppedFile, Measurement, Suggestion, copy_name
from glassmap.flows.backends.lab.drop_folders import Found, find, is_new, quiet_files
from glassmap.flows.backends.lab.matching import (
    composition_of,
    context_of,
    identify,
    is_in_use,
    names_of,
    nearest_pending,
    plain,
    wafer_of,
)
from glassmap.flows.backends.lab.settings import Settings
from glassmap.flows.backends.protocol import CONTEXT, Event, Filed, Ledger, LedgerEntry, Measured

_COMPUTER = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE}  # no room, no handles
_STEM_BYTES = 100  # of a name in quarantine; a whole name has 255 at most


class Laboratory(Protocol):
    """What taking in asks of the laboratory; the backend is one."""

    settings: Settings
    elements: tuple[str, ...]
    folder: Path  # the campaign's
    since: int  # the first round that is its own
    held: Held  # the process variables that every sample must say, at the values that are asked for

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
    ) -> Measured:
        """Return what was measured, with how far it is off its target."""
        ...


def take_in(lab: Laboratory, ledger: Ledger, files: Sequence[Path] | None = None) -> Generator[Event]:
    """Take in what has arrived, every file once; each outcome is one event, and the next file is read after it.

    Tables go first, then scans, both by name, then scans that waited for a composition.

    Args:
        lab: The campaign's.
        ledger: What is recorded; it is to hold each event before the next is asked for.
        files: Instead of what lies in the drop folders: these, now, without waiting for them to be quiet.
    """
    again = ledger.read_again  # settings changed: what was refused may be taken now
    known = {file.path: file for file in sorted(ledger.files(), key=lambda file: file.sequence)}  # as each was last
    found = _quiet_files(lab) if files is None else [find(path, lab.folder) for path in files]
    new = [file for file in found if files is not None or is_new(file, known.get(file.name), again=again)]
    tables = {file for file in new if _is_table(file.path, lab.settings.table.sample)}
    for file in sorted(new, key=lambda file: (file not in tables, file.name)):
        yield from _take_file(lab, ledger, file, is_table=file in tables, by_hand=files is not None)
    for waiting in ledger.files(state="waiting"):
        yield from _take_waiting(lab, ledger, waiting)


def _quiet_files(lab: Laboratory) -> Iterator[Found]:
    return quiet_files(lab.folder, lab.settings.drop, quiet_seconds=lab.settings.quiet_seconds)


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
        content = _read_content(file)
        entry = entry._replace(hash=hashlib.sha256(content).hexdigest())
        before = ledger.file_of(entry.hash)
        if before is not None and before.state == "waiting":
            yield _wait_on(entry, before)
        elif before is not None and not _counts_again(lab, ledger, before, file, content, by_hand=by_hand):
            yield _seen_before(entry, before)
        else:
            _keep(lab, entry, content)
            yield from _take_table(lab, ledger, entry) if is_table else _take_scan(lab, ledger, entry)
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


def _wait_on(entry: LedgerEntry, before: DroppedFile) -> Filed:
    """Tell that a scan which waits for its composition goes by another name now, or was touched."""
    entry = entry._replace(state="waiting", reason=before.reason)
    if before.path == entry.path:
        return Filed(entry, f"{entry.path}: waits as before.", is_news=False)
    other = _entry_of(before)._replace(state="duplicate", reason=f"the same as {entry.path}")
    return Filed(entry, f"{entry.path}: waits, in place of {before.path}.", is_news=False, replaces=other)


def _entry_of(file: DroppedFile) -> LedgerEntry:
    """Return what names a file in the ledger."""
    return LedgerEntry(file.path, file.size, file.modified, file.kind, file.hash)


def _counts_again(
    lab: Laboratory, ledger: Ledger, before: DroppedFile, file: Found, content: bytes, *, by_hand: bool
) -> bool:
    """Return whether a content that was used is used once more.

    A table is where it would change what is said of a sample: an old one that is put back, or one that is copied
    beside its scans. A scan is where a person ingests it and its measurement was retracted.
    """
    if before.kind == "scan":
        return by_hand and not is_in_use(ledger, before.hash)
    entry = _entry_of(before)
    _keep(lab, entry, content)
    table, folder = _read_table(lab, entry), Path(file.name).parent

    def is_said(sample: str, composition: Composition) -> bool:
        last = [c for path, c in ledger.samples(sample) if Path(path).parent == folder][:1]
        context: dict[str, Value] = {}
        for path, values in reversed(ledger.contexts(sample)):
            context |= values if Path(path).parent == folder else {}
        return last == [tuple(composition.tolist())] and context == {**context, **table.contexts.get(sample, {})}

    return not all(map(is_said, table.samples, table.compositions))


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
        return lab.prepare(read_raw_scan(kept, axis=lab.settings.columns))
    except (OSError, GlassmapError):
        return None


def _read_content(file: Found) -> bytes:
    """Read all bytes of a regular file that isn't changed while it is read.

    Raises:
        DatasetError: If it is a link, a device or a folder, too large, no scan or table by its name, or not to be read.
    """
    try:
        if file.path.is_symlink() or (file.path.exists() and not file.path.is_file()):
            raise DatasetError("It is a link or a device, not a file. Copy the file itself here.")
        if file.path.suffix.lower() not in (*SUFFIXES, *EXCEL_SUFFIXES):
            raise DatasetError(f"Scans and tables end in {', '.join((*SUFFIXES, *EXCEL_SUFFIXES))}.")
        if file.size > MAX_BYTES:
            raise DatasetError(f"It has {file.size} bytes; scans and tables have {MAX_BYTES} at most.")
        content = file.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"It can't be read: {error}. `glassmap ingest` takes it once it can.") from error
    if len(content) != file.size:
        raise DatasetError(f"It changed while it was read, from {file.size} to {len(content)} bytes.")
    return content


class _Table(NamedTuple):
    """What a composition table says, by the plain names of samples."""

    samples: list[str]
    compositions: Compositions
    notes: tuple[str, ...]
    wafers: Mapping[str, str]  # that a column of that name says
    contexts: Mapping[str, Held]  # the process variables that the campaign has, where the table says them


def _read_table(lab: Laboratory, entry: LedgerEntry) -> _Table:
    """Read a composition table of the campaign's elements."""
    settings, kept = lab.settings.table, _copy_of(lab, entry)
    table = read_composition_table(kept, sample=settings.sample, columns=settings.columns, unit=settings.unit)
    if set(table.elements) != set(lab.elements) or len(table.elements) != len(lab.elements):
        raise DatasetError(
            f"Its shares must be those of {', '.join(lab.elements)}, each once; got {', '.join(table.elements)}. "
            "Name the columns in [backend.table] of the campaign file."
        )
    samples = [plain(sample) for sample in table.samples]
    repeated, times = Counter(samples).most_common(1)[0]
    if times > 1:
        raise DatasetError(f"It names the sample {repeated} more than once. Keep the row that counts.")
    order = [table.elements.index(element) for element in lab.elements]
    wafers = dict(zip(samples, map(visible, table.others.get(WAFER, ())), strict=False))
    contexts: dict[str, dict[str, Value]] = {sample: {} for sample in samples}
    for name, like in lab.held.items():
        for sample, cell in zip(samples, table.cells(name), strict=True):
            if (value := read_value(cell, name, like)) is not None:
                contexts[sample][name] = value
    return _Table(samples, table.compositions[:, order], table.notes, wafers, contexts)


def _take_table(lab: Laboratory, ledger: Ledger, entry: LedgerEntry) -> Generator[Event]:
    """Tell what a composition table says."""
    table = _read_table(lab, entry)
    said = dict(zip(table.samples, table.compositions, strict=True))
    late = _too_late(ledger, entry.path, said, table.contexts)
    note = visible(" ".join((f"{len(said)} samples.", *table.notes, *late)))
    yield Filed(
        entry._replace(reason=note),
        f"{entry.path}: {note}",
        samples=said,
        wafers=table.wafers,
        contexts=table.contexts,
    )


def _too_late(
    ledger: Ledger, table: str, said: Mapping[str, Composition], contexts: Mapping[str, Held]
) -> Iterator[str]:
    """Say what a new table says otherwise of samples whose scans were taken already."""
    for file in ledger.files():
        measured = ledger.measurement(file.measurement) if file.measurement and file.state == "used" else None
        name = plain(Path(file.path).name)
        if name not in said or measured is None or measured.state == "retracted":
            continue
        folder = Path(file.path).parent
        now, _ = composition_of(ledger, [name], folder, newest=(table, said))
        context, differing = context_of(ledger, [name], folder, contexts.get(name, {}), newest=(table, contexts))
        if now is None or not _is_same(now, said[name]):
            yield f"Of {file.path} counts what a table beside it says, which is another; correct that one."
        elif not _is_same(now, np.array(measured.composition)):
            yield f"{measured.id} was measured with another composition; retract it, and ingest its scan again."
        elif differing:
            yield differing
        elif any(measured.facts.get(CONTEXT, {}).get(key) != value for key, value in context.items()):
            yield f"{measured.id} was measured with {say_held(context)} otherwise; retract and ingest it again."


def _is_same(one: Composition, other: Composition) -> bool:
    return float(np.abs(one - other).max()) < SAME_ALLOY


def _identify(
    lab: Laboratory, ledger: Ledger, entry: LedgerEntry, scan: RawScan
) -> tuple[Suggestion | None, Composition | None, Held, str]:
    """Find what a scan is of, by this campaign's settings."""
    takes_target = lab.settings.composition == "target"
    return identify(ledger, entry.path, entry.hash, scan, since=lab.since, takes_target=takes_target, held=lab.held)


def _take_scan(lab: Laboratory, ledger: Ledger, entry: LedgerEntry) -> Generator[Event]:
    """Tell a scan as a measurement, or that it waits for its composition."""
    scan = read_raw_scan(_copy_of(lab, entry), axis=lab.settings.columns)
    spectrum = lab.prepare(scan)
    for file in ledger.files(state="waiting"):
        if file.path == entry.path and file.hash != entry.hash:
            reason = "Another scan of the same name came while it waited for its composition; that one counts."
            copy = _kept(lab, other := _entry_of(file))
            yield _set_aside(lab, other, copy.read_bytes() if copy.exists() else None, reason)
    asked, composition, context, reason = _identify(lab, ledger, entry, scan)
    if composition is None:
        yield Filed(entry._replace(state="waiting", reason=reason), f"{entry.path}: waits. {reason}")
        return
    facts: dict[str, Any] = {
        "file": entry.path,
        "hash": entry.hash,
        "notes": list(scan.notes),
        "counts": float(np.median(scan.intensity)),
    }
    if wafer := wafer_of(ledger, names_of(ledger, entry.path, entry.hash, scan), Path(entry.path).parent):
        facts[WAFER] = wafer
    if context:
        facts[CONTEXT] = dict(context)
    if asked is None and is_held(context, lab.held):
        asked = nearest_pending(ledger, composition, since=lab.since, tolerance_at_pct=lab.settings.tolerance_at_pct)
    yield lab.measured(asked, composition, spectrum, facts, ledger, file=entry)


def _take_waiting(lab: Laboratory, ledger: Ledger, file: DroppedFile) -> Generator[Event]:
    """Take a scan that waited, now that a table may name it."""
    entry = _entry_of(file)
    taken = ledger.file_of(file.hash)
    if taken is not None and taken.state == "used":  # under this name or another, a moment ago
        entry = entry._replace(state="duplicate", reason="taken already", measurement=taken.measurement)
        yield Filed(entry, is_news=False)
        return
    try:
        scan = read_raw_scan(_copy_of(lab, entry), axis=lab.settings.columns)
        _, composition, _, reason = _identify(lab, ledger, entry, scan)
        if composition is not None or reason != file.reason:
            yield from _take_scan(lab, ledger, entry)
    except Exception as error:  # its copy is gone, or the campaign reads scans otherwise now
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
