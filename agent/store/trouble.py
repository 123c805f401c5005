"""What keeps a store from being opened or used, in words: it is lost, damaged, held by others, not ours to write.

Damage is only what SQLite or a checksum says is damage; a full disk isn't, and who is told otherwise puts an old copy
over a good store.
"""

import errno
import os
import sqlite3
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from time import sleep

from glassmap import __version__
from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.refusals import REMEDIES, refusal
from glassmap.agent.store import checksums, schema
from glassmap.agent.store.checksums import Harm
from glassmap.agent.store.late_writes import read_late_writes
from glassmap.agent.store.schema import FILE_NAME
from glassmap.agent.store.written_by import later_version

COPY_NAME = f"{FILE_NAME}.bak"  # as it was after the last finished round
BUSY_SECONDS = 30.0  # that a statement waits for who else holds the store
SMALL = 8 * 2**20  # bytes of a store that is looked through whole whenever it is opened
LARGE_TABLES = frozenset(
    {"spectra", "suggestions", "log", "files", "scans", "samples"}
)  # with a row a measurement or file
LOOKS = 3  # at a log that seems harmed
SHOWN = 3  # harmed rows of a table that are named
UNEXPECTED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError)  # by harmed values


def refuse_lost(folder: Path, db: sqlite3.Connection | None = None) -> None:
    """Refuse a store that is missing, or has no tables, where files of a campaign lie beside it.

    Args:
        folder: Of the campaign.
        db: The store where it is open, to look for its tables.

    Raises:
        StoreError: If it is so.
    """
    path = folder / FILE_NAME
    if not path.exists():
        what = "missing"
    elif path.stat().st_size == 0 or (db is not None and schema.version(db) == 0):
        what = "empty"
    else:
        return
    if found := ", ".join(_lying_beside(folder)):
        raise StoreError(
            f"{path} is {what}, and a campaign's files lie beside it: {found}. Put the store back: `glassmap repair "
            f"{folder}` takes the copy that was made after the last round, or use one of your own. To begin another "
            "campaign, choose another folder."
        )


def refuse_missing(folder: Path) -> None:
    """Refuse a folder without a store.

    Raises:
        StoreError: If there is none.
    """
    refuse_lost(folder)
    if not (folder / FILE_NAME).exists():
        if (folder / "campaign.toml").exists():
            raise StoreError(f"The campaign in {folder} has not begun yet; `glassmap run {folder}` begins it.")
        raise StoreError(
            f"No campaign has been started in {folder}. Start one with `glassmap replay DATASET.nc --folder "
            f"{folder}`, or `glassmap init {folder} --dataset DATASET.nc` and `glassmap run {folder}`."
        )


def refuse_newer(db: sqlite3.Connection, folder: Path) -> None:
    """Refuse a store that a later glassmap wrote.

    Raises:
        StoreError: If it did.
    """
    later = later_version(db) or next(iter(schema.later_than_known(db)), None)
    if later and not checksums.harmed_rows(db, ["_sqlite_migrations", "settings"]):
        raise StoreError(
            f"{folder / FILE_NAME} was written by a later glassmap ({later}); this is {__version__}. Update glassmap "
            "to use it."
        )


def refuse_harmed(
    db: sqlite3.Connection, folder: Path, tables: Sequence[str] | None = None, *, rows: Sequence[int] | None = None
) -> None:
    """Refuse a store with rows that aren't as they were written.

    Args:
        db: The store.
        folder: Of the campaign.
        tables: To look at; by default all, the schema and SQLite's own structure.
        rows: Only these rowids.

    Raises:
        StoreError: If there is one.
    """
    if harms := harms_of(db) if tables is None else checksums.harmed_rows(db, tables, rows=rows):
        raise StoreError(_damaged(folder, ", ".join(_counted(harms))))


def refuse_harmed_late_writes(folder: Path) -> None:
    """Refuse a store whose log of late writes was harmed, before SQLite drops what stands behind the harm.

    Looks again where it seems so: somebody may be writing.

    Raises:
        StoreError: If it is so.
    """
    harms = harms_of_late_writes(folder / FILE_NAME)
    for _ in range(LOOKS - 1):
        if not harms:
            return
        sleep(0.05)
        harms = harms_of_late_writes(folder / FILE_NAME)
    if harms:
        raise StoreError(_damaged(folder, ", ".join(_counted(harms))))


def harms_of_late_writes(store: Path) -> list[Harm]:
    """Return what is wrong with the log beside a store."""
    dropped = read_late_writes(store).dropped
    what = f"harmed, {dropped} transactions stand behind the harm"
    return [Harm(f"{store.name}-wal", None, what)] if dropped else []


def refuse_harmed_at_opening(db: sqlite3.Connection, folder: Path) -> bool:
    """Refuse harm in a small store, or in what is small of a large one; returns whether all was looked at.

    Raises:
        StoreError: If there is any.
    """
    (pages,), (size,) = db.execute("PRAGMA page_count").fetchone(), db.execute("PRAGMA page_size").fetchone()
    if pages * size <= SMALL:
        refuse_harmed(db, folder)
        return True
    refuse_harmed(db, folder, [table for table in checksums.tables(db) if table not in LARGE_TABLES])
    return False


@contextmanager
def trouble_in_words(folder: Path, db: sqlite3.Connection | None = None) -> Generator[None]:
    """Say in words what SQLite reports within the block, and whether harm is behind another unexpected error.

    Args:
        folder: Of the campaign.
        db: The store, once it is open.

    Raises:
        CampaignBusy: If somebody else held the store for too long.
        StoreError: If it is damaged, not ours to write, or the disk is full.
    """
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) == sqlite3.SQLITE_CORRUPT:
            _blame_harm(db, folder, error)  # which names the rows
        if words := _said_by_sqlite(error, folder):
            kind = CampaignBusy if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) else StoreError
            raise kind(words) from error
        _blame_harm(db, folder, error)
        raise
    except UNEXPECTED as error:
        _blame_harm(db, folder, error)
        raise


def _blame_harm(db: sqlite3.Connection | None, folder: Path, error: Exception) -> None:
    """Refuse a harmed store, as what an error came from; without harm, the error is a bug's."""
    try:
        harms = [] if db is None else harms_of(db)
    except sqlite3.Error:  # it is closed, or something else is wrong with it
        return
    if harms:
        raise StoreError(_damaged(folder, ", ".join(_counted(harms)))) from error


def harms_of(db: sqlite3.Connection) -> list[Harm]:
    """Return the harmed rows, or else what SQLite finds wrong with its own structure."""
    try:
        found = [text for (text,) in db.execute("PRAGMA integrity_check(3)") if text != "ok"]
    except checksums.REPORTED as error:
        if not checksums.is_harm(error):
            raise
        found = [checksums.words_of(error)]
    return checksums.harmed_rows(db) or [Harm(FILE_NAME, None, text.replace("\n", " ")) for text in found]


def _counted(harms: Sequence[Harm]) -> Iterator[str]:
    """Say how many rows of which table have what harm, and name a few."""
    groups: dict[tuple[str, str], list[Harm]] = defaultdict(list)
    for harm in harms:
        groups[harm.table, harm.what].append(harm)
    for (table, what), group in groups.items():
        if group[0].row is None:
            yield f"{table}: {what}"
            continue
        names = [harm.name or f"row {harm.row}" for harm in group[:SHOWN]]
        more = ", …" if len(group) > SHOWN else ""
        yield f"{len(group)} row{'s' * (len(group) > 1)} of {table} {what} ({', '.join(names)}{more})"


def _damaged(folder: Path, what: str) -> str:
    return (
        f"{folder / FILE_NAME} is damaged: {what}. Nothing is learned from it. `glassmap repair {folder}` saves what "
        f"can be saved, `glassmap verify {folder}` shows what is wrong."
    )


def _code(error: sqlite3.Error) -> int | None:
    """Return SQLite's primary result code; None where the error is the Python module's own."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _said_by_sqlite(error: sqlite3.Error, folder: Path) -> str | None:
    """Return what SQLite's result code means, with the remedy; None where it doesn't tell."""
    path, code = folder / FILE_NAME, _code(error)
    match code:
        case sqlite3.SQLITE_FULL:
            return REMEDIES[errno.ENOSPC].format(what=path)
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"{path} is held by another process for over {BUSY_SECONDS:g} s, a backup or a scanner perhaps, so "
                f"nothing was recorded. See which (`fuser {path}`), then run the same command again."
            )
        case sqlite3.SQLITE_IOERR:
            if disk_usage(folder).free < 2**20:
                return REMEDIES[errno.ENOSPC].format(what=path)
            return f"{path}: the disk fails to read or write ({error}). Copy the folder to another disk."
        case sqlite3.SQLITE_CANTOPEN:
            return _not_opened(path, error)
        case sqlite3.SQLITE_READONLY if not (os.access(path, os.W_OK) and os.access(folder, os.W_OK)):
            return (
                f"{path} can't be written: it or its folder is read-only. Have it made yours to write, or use a copy."
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(folder, str(error))
        case _:
            return None


def _not_opened(path: Path, error: sqlite3.Error) -> str:
    """Return why a file can't be opened, which SQLite doesn't tell apart."""
    try:
        with path.open("rb"):
            pass
    except OSError as why:
        return refusal(why) or f"{path} can't be opened: {why.strerror}."
    if not os.access(path.parent, os.W_OK):
        return f"{path} can't be opened ({error}), as its folder can't be written. Copy the folder, and use the copy."
    return f"{path} can't be opened: {error}."


def _lying_beside(folder: Path) -> Iterator[str]:
    """Say which files of a campaign there are beside its store."""
    for part in ("checkpoints", "maps", "scans", "orders", "quarantine"):
        names = f"{'[0-9a-f]' * 16}*" if part == "scans" else "[!.]*"  # a drop folder may be called so, too
        if count := sum(1 for file in (folder / part).glob(names) if file.suffix != ".safetensors"):
            yield f"{count} {part if count > 1 or part == 'quarantine' else part.removesuffix('s')}"
    path = folder / FILE_NAME
    has_pages = path.exists() and path.stat().st_size > 0  # to which the write-ahead log beside belongs
    kept = () if has_pages else (f"{FILE_NAME}-wal",)
    for pattern in (COPY_NAME, f"{FILE_NAME}.v*", f"{FILE_NAME}.damaged*", *kept, "log.jsonl"):
        yield from (path.name for path in sorted(folder.glob(pattern)) if path.stat().st_size > 0)
