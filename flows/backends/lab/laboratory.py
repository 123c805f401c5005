"""A laboratory: orders go out as files, scans and composition tables come back into folders, late, partly and wrong.

Nothing that is dropped is lost. Each file is read once (by the hash of its content), copied byte for byte into the
campaign's `scans`, and entered into the ledger of the store as used, waiting for its composition, duplicate, or
quarantined with the reason. The drop folders themselves are never changed.
"""

import csv
import hashlib
import io
import json
import os
import stat
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Never

import numpy as np

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.campaign import CampaignConfig, LabConfig, first_own_round
from glassmap.agent.data.composition import CompositionSpace, label
from glassmap.agent.data.composition_table import EXCEL_SUFFIXES, is_composition_table, read_composition_table
from glassmap.agent.data.scan_files import MAX_BYTES, SUFFIXES, RawScan, read_raw_scan
from glassmap.agent.data.spectrum import Preprocessing, q_axis
from glassmap.agent.errors import CampaignError, DatasetError, GlassmapError
from glassmap.agent.shapes import Composition, Compositions, Spectra, Spectrum
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import DroppedFile, Suggestion

FROM_PYTHON = "from Python"  # instead of a file's name, of what was told and not dropped
UNFINISHED = (".tmp", ".part", ".partial", ".crdownload")  # endings of files that something still writes


class Found(NamedTuple):
    """A file in a drop folder, as it was when it was looked at."""

    path: Path
    name: str  # as the ledger calls it: relative to the campaign where it lies within
    size: int  # bytes
    modified: int  # ns, since 1970


class Laboratory:
    """Measures nothing itself: it orders, and takes in what arrives."""

    axis_name = "q"
    wavelength: float | None = None
    source = ""

    def __init__(self, config: CampaignConfig, folder: Path) -> None:
        assert isinstance(config.backend, LabConfig)
        self.settings, self.elements = config.backend, config.space.elements
        for drop in self.settings.drop:
            if drop.is_relative_to(folder.resolve()):
                drop.mkdir(parents=True, exist_ok=True)
            elif not drop.is_dir():
                raise CampaignError(f"There is no drop folder {drop}. Mount or make it, or correct backend.drop.")
        self._space = config.space.build()
        self.steps = Preprocessing("q", **config.spectrum.read())
        self.axis = self.steps.grid()
        self.since = config.first_own_round
        bare = self.steps.substrate
        substrate = None if bare is None else [bare.axis.tolist(), bare.intensity.tolist(), bare.scale]
        content = [self.axis.tolist(), config.spectrum.background, self.settings.composition, substrate]
        self.fingerprint = hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def candidates(self) -> CompositionSpace:
        """Every alloy of the space."""
        return self._space

    def measure(self, suggestions: Sequence[Suggestion]) -> Generator[Never]:
        """Nothing comes at once; see `take_in`."""
        yield from ()

    def hold_out(self) -> tuple[Compositions, Spectra] | None:
        """Each batch gives its share."""

    def archive(self) -> tuple[Compositions, Spectra] | None:
        """Nothing is known but what was measured."""

    def prepare(self, scan: RawScan) -> Spectrum:
        """A scan on the campaign's axis in q.

        Raises:
            DatasetError: If it is over 2θ and neither file nor campaign says the wavelength.
            SpectrumError: If it doesn't cover the range, or holds no signal.
        """
        wavelength = scan.wavelength or self.settings.wavelength
        if scan.axis_name == "two_theta" and wavelength is None:
            raise DatasetError(
                "The scan is over 2θ and the file says no wavelength. Set backend.wavelength in the campaign file."
            )
        q = q_axis(scan.axis_name, scan.axis, wavelength)
        assert q is not None, "a lab's scans are over q or 2θ"
        return self.steps.prepare(q, scan.intensity)


# --- orders


def write_orders(store: CampaignStore) -> None:
    """Write the orders of which something changed: what to make, and what is still missing.

    A file that says the same already is left as it is. Only a laboratory has orders; a guide's rounds have none.
    """
    config = store.setting("config")
    for round_ in store.orders_to_write():
        is_own = config["backend"]["kind"] == "lab" and round_ >= first_own_round(config)
        is_written = False
        while not is_written:
            content = _order(store, round_) if is_own else {}
            for name, text in content.items():
                file = store.folder / "orders" / name
                if not file.exists() or file.read_text(encoding="utf-8") != text:
                    write_whole(file, text.encode())
            with store.transaction():  # a person may have decided something in the meantime
                if is_written := not is_own or _order(store, round_) == content:
                    left = [other for other in store.orders_to_write() if other != round_]
                    store.record_setting("orders_to_write", left)


def _order(store: CampaignStore, round_: int) -> dict[str, str]:
    """The files of a round's order, by name: for people and for programs; none before it is ordered."""
    ordered, elements = store.batch_time(round_, "ordered"), store.setting("elements")
    if ordered is None:
        return {}
    rows = [
        {
            "sample": status.suggestion.id,
            **{
                f"{element} (at.%)": round(100 * share, 4)
                for element, share in zip(elements, status.suggestion.composition, strict=True)
            },
            "state": status.state,
            "remark": status.reason,
        }
        for status in store.suggestion_statuses(round_)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    order = {
        "campaign": store.setting("config")["name"],
        "round": round_,
        "ordered": ordered.isoformat(timespec="seconds"),
        "elements": elements,
        "samples": rows,
        "how": "Name each scan after its sample, such as r001-01.xrdml, or name the sample in a composition table.",
    }
    return {f"round-{round_:03d}.csv": text.getvalue(), f"round-{round_:03d}.json": json.dumps(order, indent=1)}


# --- taking in


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
    samples, compositions, _ = _read_table(_kept(store, before.path, before.hash), lab)
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


def _read_table(kept: Path, lab: Laboratory) -> tuple[list[str], Compositions, tuple[str, ...]]:
    """Samples by their plain names, their compositions, and notes."""
    settings = lab.settings.table
    table = read_composition_table(kept, sample=settings.sample, columns=settings.columns, unit=settings.unit)
    if set(table.elements) != set(lab.elements) or len(table.elements) != len(lab.elements):
        raise DatasetError(
            f"Its shares must be those of {', '.join(lab.elements)}, each once; got {', '.join(table.elements)}. "
            "Name the columns in [backend.table] of the campaign file."
        )
    samples = [_plain(sample) for sample in table.samples]
    if repeated := [sample for sample in samples if samples.count(sample) > 1]:
        raise DatasetError(f"It names the sample {repeated[0]} more than once. Keep the row that counts.")
    order = [table.elements.index(element) for element in lab.elements]
    return samples, table.compositions[:, order], table.notes


def _take_table(store: CampaignStore, lab: Laboratory, entry: dict[str, Any], kept: Path) -> str:
    """Record what a composition table says."""
    samples, compositions, notes = _read_table(kept, lab)
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
        name = _plain(Path(file.path).name)
        if name not in said or measured is None or measured.state == "retracted":
            continue
        now, _ = _composition_of(store, [name], Path(file.path).parent)
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
    asked, composition, reason = _identify(store, lab, entry["path"], entry["hash_"], scan)
    if composition is None:
        with store.transaction():
            store.record_file(**entry, state="waiting", reason=reason)
            store.log("waiting", f"{entry['path']}: {reason}")
        return f"{entry['path']}: waits. {reason}"
    asked = asked or _nearest_pending(store, composition, lab)
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
        hold_out=asked.hold_out if asked else _is_beside_held_out(store, composition, lab),
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
        _, composition, reason = _identify(store, lab, file.path, file.hash, scan)
        if composition is not None or reason != file.reason:
            yield _take_scan(store, lab, round_, entry, kept)
    except GlassmapError as error:  # its copy is gone, or the campaign reads scans otherwise now
        yield _quarantine(store, entry, None, str(error))


def _identify(
    store: CampaignStore, lab: Laboratory, path: str, hash_: str, scan: RawScan
) -> tuple[Suggestion | None, Composition | None, str]:
    """What a scan is of: the alloy that was asked for, its composition, or why that isn't known.

    It may be called in a table, or an order, by any of its files, the last first, or as the instrument says.
    """
    called = (*(Path(name).name for name in (path, *store.paths_of(hash_))), scan.sample)
    names = list(dict.fromkeys(_plain(name) for name in called if name))
    asked = next((s for s in map(store.suggestion, names) if s is not None and s.round >= lab.since), None)
    composition, reason = _composition_of(store, names, Path(path).parent)
    if composition is None and asked is not None and lab.settings.composition == "target":
        composition = np.array(asked.composition)
    return asked, composition, reason


def _composition_of(store: CampaignStore, names: Sequence[str], folder: Path) -> tuple[Composition | None, str]:
    """What composition tables say of a scan in a folder, or why they don't.

    An alloy of an order has its name to itself: the last table that holds it counts. Other names, such as `1`, come
    again with every wafer: a table in the scan's own folder counts, else those of other folders where they agree.
    """
    for name in names:
        said = store.samples(name)
        if store.suggestion(name) is None:
            last = {Path(path).parent: (path, composition) for path, composition in reversed(said)}
            said = [last[folder]] if folder in last else list(last.values())
            if len({composition for _, composition in said}) > 1:
                tables = " and ".join(sorted(path for path, _ in said))
                return None, f"{tables} differ in what they say of {name}. Copy the right one beside the scan."
        if said:
            return np.array(said[0][1]), ""
    return None, f"No composition table names {' or '.join(names)}."


def _plain(name: str) -> str:
    """A sample's name without the ending of a scan, in lower case."""
    path = Path(name.strip())
    return (path.stem if path.suffix.lower() in SUFFIXES else path.name).lower()


def _nearest_pending(store: CampaignStore, composition: Composition, lab: Laboratory) -> Suggestion | None:
    """The alloy that is waited for and was probably meant."""
    pending = [s for s in store.suggestions(pending=True) if s.round >= lab.since]
    off = [100 * float(np.abs(composition - np.array(s.composition)).max()) for s in pending]
    nearest = int(np.argmin(off)) if off else 0
    return pending[nearest] if off and off[nearest] <= lab.settings.tolerance_at_pct else None


def _is_beside_held_out(store: CampaignStore, composition: Composition, lab: Laboratory) -> bool:
    """Whether learning from an alloy would show the model one that it is judged by."""
    held = store.spectra(hold_out=True, since=lab.since)[1]
    tolerance = lab.settings.tolerance_at_pct / 100
    return bool(len(held)) and float(np.abs(held - composition).max(axis=1).min()) <= tolerance


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
