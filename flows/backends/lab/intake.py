"""Taking in what a laboratory drops.

Nothing that is dropped is lost. Each file is read once (by the hash of its content), copied byte for byte into the
campaign's `scans`, and entered into the ledger of the store as used, waiting for its composition, duplicate, or
quarantined with the reason. The drop folders themselves are never changed.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.campaign import LabConfig
from glassmap.agent.data.composition import label
from glassmap.agent.data.composition_table import EXCEL_SUFFIXES, is_composition_table, read_composition_table
from glassmap.agent.data.scan_files import MAX_BYTES, SUFFIXES, read_raw_scan
from glassmap.agent.errors import DatasetError, GlassmapError
from glassmap.agent.shapes import Composition, Compositions, Spectrum
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import DroppedFile, Suggestion
from glassmap.flows.backends.lab.backend import Laboratory
from glassmap.flows.backends.lab.matching import composition_of, identify, is_beside_held_out, nearest_pending, plain

FROM_PYTHON = "from Python"  # instead of a file's name, of what was told and not dropped
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")  # endings of files that something still writes


class Found(NamedTuple):
    """A file in a drop folder, as it was when it was looked at."""

    path: Path
    name: str  # as the ledger calls it: relative to the campaign where it lies within
    size: int  # bytes
    modified: int  # ns, since 1970


def take_in(store: CampaignStore, lab: Laboratory, round_: int, files: Sequence[Path] | None = None) -> list[str]:
    """Take in what has arrived, every file once; returns a sentence for each that was new.

    Tables go first, then scans, both by name, then scans that waited for a composition. Each file's outcome is one
    transaction, so that a process that is killed at any moment loses nothing and takes nothing twice.

    Args:
        store: Open to write.
        lab: The campaign's.
        round_: That measurements are counted to.
        files: Instead of what lies in the drop folders: these, now, without waiting for them to be quiet.
    """
    again = store.setting("read_again")  # settings changed: what was refused may be taken now
    known = {file.path: file for file in sorted(store.files(), key=lambda file: file.time)}  # as each was last
    found = quiet_files(store.folder, lab.settings) if files is None else [_seen(path, store.folder) for path in files]
    new = [file for file in found if files is not None or _is_new(file, known.get(file.name), again=again)]
    tables = {file for file in new if _is_table(file.path, lab.settings)}
    ordered = sorted(new, key=lambda file: (file not in tables, file.name))
    by_hand = files is not None
    told = [_take_file(store, lab, round_, file, is_table=file in tables, by_hand=by_hand) for file in ordered]
    if again and not by_hand:
        with store.transaction():
            store.record_setting("read_again", False)
    for entry in store.files(state="waiting"):
        told += _take_waiting(store, lab, round_, entry)
    return told


def quiet_files(folder: Path, settings: LabConfig) -> Iterator[Found]:
    """The files in the drop folders that are whole and quiet; links aren't followed."""
    now = time.time_ns()
    for drop in settings.drop:
        for parent, folders, names in os.walk(drop, followlinks=False):
            folders.sort()
            for name in sorted(names):
                path = Path(parent) / name
                if name.startswith((".", "~$")) or path.suffix.lower() in UNFINISHED:
                    continue
                try:
                    file = _seen(path, folder)
                except FileNotFoundError:  # moved on in the meantime
                    continue
                if not 0 <= now - file.modified < settings.quiet_seconds * 1e9:  # a clock may be ahead
                    yield file


def _is_new(file: Found, before: DroppedFile | None, *, again: bool) -> bool:
    """Whether a file isn't what was last seen at its place, or was refused and may be taken `again`."""
    if before is None or (file.size, file.modified) != (before.size, before.modified):
        return True
    return again and before.state == "quarantined"


def _seen(path: Path, folder: Path) -> Found:
    status = path.lstat()
    absolute = path.absolute()
    name = absolute.relative_to(folder.absolute()) if absolute.is_relative_to(folder.absolute()) else absolute
    printable = os.fsencode(name).decode("utf-8", "backslashreplace")
    return Found(absolute, printable, status.st_size, status.st_mtime_ns)


def _is_table(path: Path, settings: LabConfig) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode) and is_composition_table(path, sample=settings.table.sample)
    except OSError:  # gone, or not ours to read; said when its content is asked for
        return False


def _take_file(
    store: CampaignStore, lab: Laboratory, round_: int, file: Found, *, is_table: bool, by_hand: bool
) -> str:
    """Take in one file that is new; returns what became of it."""
    kind = "table" if is_table else "scan"
    entry: dict[str, Any] = {"path": file.name, "size": file.size, "modified": file.modified, "kind": kind}
    try:
        content = _read_content(file)
    except GlassmapError as error:
        return _quarantine(store, entry | {"hash_": ""}, None, str(error))
    entry["hash_"] = digest = hashlib.sha256(content).hexdigest()
    before = store.file_of(digest)
    if before is not None and before.state == "waiting":
        return _wait_on(store, entry, before)
    if before is not None and not _counts_again(store, lab, before, file, by_hand=by_hand):
        if before.path == file.name:  # touched, not changed
            entry |= {"state": before.state, "reason": before.reason, "measurement": before.measurement}
            with store.transaction():
                store.record_file(**entry)
            return f"{file.name}: as before."
        with store.transaction():
            store.record_file(
                **entry, state="duplicate", reason=f"the same as {before.path}", measurement=before.measurement
            )
            store.log("duplicate", f"{file.name} is the same as {before.path}", subject=before.measurement or "")
        return f"{file.name}: a duplicate of {before.path}."
    kept = _kept(store, file.name, digest)
    write_whole(kept, content)
    try:
        return _take_table(store, lab, entry, kept) if is_table else _take_scan(store, lab, round_, entry, kept)
    except GlassmapError as error:
        if before is None:  # else something that was taken before is from it
            kept.unlink()
        return _quarantine(store, entry, content, str(error).replace(kept.name, Path(file.name).name))


def _wait_on(store: CampaignStore, entry: dict[str, Any], before: DroppedFile) -> str:
    """Record that a scan which waits for its composition goes by another name now, or was touched."""
    with store.transaction():
        store.record_file(**entry, state="waiting", reason=before.reason)
        if before.path == entry["path"]:
            return f"{entry['path']}: waits as before."
        reason = f"the same as {entry['path']}"
        store.record_file(**_entry_of(before), state="duplicate", reason=reason)
        store.log("duplicate", f"{before.path} is {reason}")
    return f"{entry['path']}: waits, in place of {before.path}."


def _entry_of(file: DroppedFile) -> dict[str, Any]:
    """What names a file in the ledger."""
    return {
        "path": file.path,
        "size": file.size,
        "modified": file.modified,
        "kind": file.kind,
        "hash_": file.hash,
    }


def _counts_again(store: CampaignStore, lab: Laboratory, before: DroppedFile, file: Found, *, by_hand: bool) -> bool:
    """Whether a content that was used is used once more.

    A table is where it would change what is said of a sample: an old one that is put back, or one that is copied
    beside its scans. A scan is where a person ingests it and its measurement was retracted.
    """
    if before.kind == "scan":
        return by_hand and not is_in_use(store, before.hash)
    samples, compositions, _ = read_table(_kept(store, before.path, before.hash), lab)
    folder = Path(file.name).parent
    return any(
        [c for path, c in store.samples(sample) if Path(path).parent == folder][:1] != [tuple(composition.tolist())]
        for sample, composition in zip(samples, compositions, strict=True)
    )


def is_in_use(store: CampaignStore, hash_: str) -> bool:
    """Whether a content gave a measurement that wasn't retracted."""
    return any(m.state != "retracted" for m in store.measurements_of(hash_))


def _kept(store: CampaignStore, path: str, hash_: str) -> Path:
    """The campaign's own copy of a file that is taken."""
    return store.folder / "scans" / f"{hash_[:16]}{Path(path).suffix.lower()}"


def _read_content(file: Found) -> bytes:
    """All bytes of a regular file that isn't changed while it is read.

    Raises:
        DatasetError: If it is a link, a device or a folder, too large, or no scan or table by its name.
    """
    if file.path.is_symlink() or (file.path.exists() and not file.path.is_file()):
        raise DatasetError("It is a link or a device, not a file. Copy the file itself here.")
    if file.path.suffix.lower() not in (*SUFFIXES, *EXCEL_SUFFIXES):
        raise DatasetError(f"Scans and tables end in {', '.join((*SUFFIXES, *EXCEL_SUFFIXES))}.")
    if file.size > MAX_BYTES:
        raise DatasetError(f"It has {file.size} bytes; scans and tables have {MAX_BYTES} at most.")
    try:
        content = file.path.read_bytes()
    except OSError as error:
        raise DatasetError(f"It can't be read: {error}. `glassmap ingest` takes it once it can.") from error
    if len(content) != file.size:
        raise DatasetError(f"It changed while it was read, from {file.size} to {len(content)} bytes.")
    return content


def read_table(kept: Path, lab: Laboratory) -> tuple[list[str], Compositions, tuple[str, ...]]:
    """Samples by their plain names, their compositions, and notes."""
    settings = lab.settings.table
    table = read_composition_table(kept, sample=settings.sample, columns=settings.columns, unit=settings.unit)
    if set(table.elements) != set(lab.elements) or len(table.elements) != len(lab.elements):
        raise DatasetError(
            f"Its shares must be those of {', '.join(lab.elements)}, each once; got {', '.join(table.elements)}. "
            "Name the columns in [backend.table] of the campaign file."
        )
    samples = [plain(sample) for sample in table.samples]
    if repeated := [sample for sample in samples if samples.count(sample) > 1]:
        raise DatasetError(f"It names the sample {repeated[0]} more than once. Keep the row that counts.")
    order = [table.elements.index(element) for element in lab.elements]
    return samples, table.compositions[:, order], table.notes


def _take_table(store: CampaignStore, lab: Laboratory, entry: dict[str, Any], kept: Path) -> str:
    """Record what a composition table says."""
    samples, compositions, notes = read_table(kept, lab)
    said = dict(zip(samples, compositions, strict=True))
    with store.transaction():
        number = store.record_file(**entry, state="used")
        for sample, composition in said.items():
            store.record_sample(sample, composition, file=number)
        note = " ".join((f"{len(samples)} samples.", *notes, *_too_late(store, said)))
        store.record_file(**entry, state="used", reason=note)
        store.log("table", f"{entry['path']}: {note}")
    return f"{entry['path']}: {note}"


def _too_late(store: CampaignStore, said: Mapping[str, Composition]) -> Iterator[str]:
    """What a new table says otherwise of samples whose scans were taken already."""
    for file in store.files():
        measured = store.measurement(file.measurement) if file.measurement and file.state == "used" else None
        name = plain(Path(file.path).name)
        if name not in said or measured is None or measured.state == "retracted":
            continue
        now, _ = composition_of(store, [name], Path(file.path).parent)
        if now is None or not np.allclose(now, said[name]):
            yield f"Of {file.path} counts what a table beside it says, which is another; correct that one."
        elif not np.allclose(now, measured.composition):
            yield f"{measured.id} was measured with another composition; retract it, and ingest its scan again."


def _take_scan(store: CampaignStore, lab: Laboratory, round_: int, entry: dict[str, Any], kept: Path) -> str:
    """Record a scan as a measurement, or that it waits for its composition."""
    scan = read_raw_scan(kept, axis=lab.settings.columns)
    spectrum = lab.prepare(scan)
    for file in store.files(state="waiting"):
        if file.path == entry["path"] and file.hash != entry["hash_"]:
            reason = "Another scan of the same name came while it waited for its composition; that one counts."
            copy = _kept(store, file.path, file.hash)
            _quarantine(store, _entry_of(file), copy.read_bytes() if copy.exists() else None, reason)
    asked, composition, reason = identify(store, lab, entry["path"], entry["hash_"], scan)
    if composition is None:
        with store.transaction():
            store.record_file(**entry, state="waiting", reason=reason)
            store.log("waiting", f"{entry['path']}: {reason}")
        return f"{entry['path']}: waits. {reason}"
    asked = asked or nearest_pending(store, composition, lab)
    facts = {
        "file": entry["path"],
        "hash": entry["hash_"],
        "notes": list(scan.notes),
        "counts": float(np.median(scan.intensity)),
    }
    with store.transaction():
        number, what = record_scan(store, lab, round_, asked, composition, spectrum, facts)
        store.record_file(**entry, state="used", reason=what, measurement=number)
    return f"{entry['path']}: {what}, {number}, {label(composition, lab.elements)}."


def record_scan(
    store: CampaignStore,
    lab: Laboratory,
    round_: int,
    asked: Suggestion | None,
    composition: Composition,
    spectrum: Spectrum,
    facts: dict[str, Any],
) -> tuple[str, str]:
    """Record a measurement under an id of its own, which is returned with what it is; call within a transaction.

    What nobody asked for is held out where it lies beside an alloy that is.
    """
    if asked is not None:
        off = 100 * float(np.abs(composition - np.array(asked.composition)).max())
        facts = facts | {"off_target_at_pct": round(off, 3)}
        store.mark_order(asked.round)
    number = store.new_measurement_id(asked)
    what = "unsolicited" if asked is None else "repeated" if number != asked.id else "measured"
    store.record_spectrum(
        asked,
        composition,
        spectrum,
        backend="lab",
        facts=facts,
        id_=number,
        round_=round_,
        hold_out=asked.hold_out if asked else is_beside_held_out(store, composition, lab),
    )
    store.log(what, f"{facts['file']}: {label(composition, lab.elements)}", subject=number)
    return number, what


def _take_waiting(store: CampaignStore, lab: Laboratory, round_: int, file: DroppedFile) -> Iterator[str]:
    """Take a scan that waited, now that a table may name it."""
    kept, entry = _kept(store, file.path, file.hash), _entry_of(file)
    taken = store.file_of(file.hash)
    if taken is not None and taken.state == "used":  # under this name or another, a moment ago
        with store.transaction():
            store.record_file(**entry, state="duplicate", reason="taken already", measurement=taken.measurement)
        return
    try:
        scan = read_raw_scan(kept, axis=lab.settings.columns)
        _, composition, reason = identify(store, lab, file.path, file.hash, scan)
        if composition is not None or reason != file.reason:
            yield _take_scan(store, lab, round_, entry, kept)
    except GlassmapError as error:  # its copy is gone, or the campaign reads scans otherwise now
        yield _quarantine(store, entry, None, str(error))


def _quarantine(store: CampaignStore, entry: dict[str, Any], content: bytes | None, reason: str) -> str:
    """Set a file aside, byte for byte, with a text that says why."""
    if content is not None:
        name = Path(entry["path"])
        place = store.folder / "quarantine" / f"{name.stem}-{entry['hash_'][:8]}{name.suffix}"
        write_whole(place, content)
        write_whole(place.with_name(f"{place.name}.txt"), f"{entry['path']}\n{reason}\n".encode())
    with store.transaction():
        store.record_file(**entry, state="quarantined", reason=reason)
        store.log("quarantined", f"{entry['path']}: {reason}")
    return f"{entry['path']}: quarantined. {reason}"
