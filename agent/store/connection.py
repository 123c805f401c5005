"""The way into a campaign's store: one SQLite file a campaign folder, one writer, any number of readers.

One process writes (`StoreConnection.open` takes the campaign's lock), any number read (`read_only`). A store of an
older version is copied to `campaign.db.v5` (its version) before it is brought up to date; who only reads it reads a
copy that is brought up to date and thrown away.
"""

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from glassmap.agent.atomic_file import make_folder, whole_file
from glassmap.agent.errors import CampaignBusy
from glassmap.agent.store import checksums, schema
from glassmap.agent.store.schema import FILE_NAME
from glassmap.agent.store.trouble import (
    BUSY_SECONDS,
    COPY_NAME,
    refuse_harmed,
    refuse_harmed_at_opening,
    refuse_harmed_late_writes,
    refuse_lost,
    refuse_missing,
    refuse_newer,
    trouble_in_words,
)
from glassmap.agent.store.written_by import record_version

MIGRATION_SECONDS = 10.0  # that who amends waits for a store that another process brings up to date
DRIVER = "glassmap"  # who did what no person did

DatabaseError = sqlite3.Error  # what SQLite itself raises, for who catches everything else
Row = dict[str, Any]  # a column's name and value; made a record where it is read
Values = Sequence[Any] | Mapping[str, Any]


class StoreConnection:
    """An open store: who writes to it, transactions, and rows of statements."""

    def __init__(self, db: sqlite3.Connection, folder: Path, *, person: str = DRIVER) -> None:
        self._db, self.folder, self.person = db, folder, person
        self._is_checked = False  # whether all rows of this snapshot were held against their checksums

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, person: str = DRIVER) -> Generator[Self]:
        """Open to write, made where it doesn't exist; holds the campaign's lock until the block ends.

        Raises:
            CampaignBusy: If another process holds the lock.
            StoreError: If the store is damaged, was lost, or a later glassmap wrote it.
        """
        refuse_lost(folder)
        make_folder(folder)
        with lock(folder):
            refuse_harmed_late_writes(folder)
            with _connect(folder) as db, trouble_in_words(folder, db):
                refuse_lost(folder, db)
                refuse_newer(db, folder)
                refuse_harmed(db, folder)
                db.execute("PRAGMA journal_mode=WAL")
                if not schema.is_current(db):
                    if before := schema.version(db):
                        _copy(db, folder / f"{FILE_NAME}.v{before}")
                    schema.migrate(db)
                record_version(db, person=person)
                yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def amend(cls, folder: Path, *, person: str) -> Generator[Self]:
        """Open to write a few rows beside whoever advances the campaign: what a person decides.

        Raises:
            CampaignBusy: If the store is of an older version, and another process is at it.
            StoreError: If there is no store, it is damaged, or a later glassmap wrote it.
        """
        refuse_missing(folder)
        if not is_advanced(folder):  # whose log SQLite has taken over already
            refuse_harmed_late_writes(folder)
        with _connect(folder) as db, trouble_in_words(folder, db):
            refuse_lost(folder, db)
            refuse_newer(db, folder)
            deadline = monotonic() + MIGRATION_SECONDS
            while not schema.is_current(db):
                try:
                    with cls.open(folder):  # brings it up to date
                        pass
                except CampaignBusy:
                    if monotonic() > deadline:
                        raise
                    sleep(0.05)
            refuse_harmed_at_opening(db, folder)
            record_version(db, person=person)
            yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def read_only(cls, folder: Path) -> Generator[Self]:
        """Open to read, in one snapshot; any write raises `sqlite3.OperationalError`.

        Raises:
            StoreError: If there is no store, it is damaged, or a later glassmap wrote it.
        """
        refuse_missing(folder)
        if not is_advanced(folder):
            refuse_harmed_late_writes(folder)
        with ExitStack() as opened:
            db = opened.enter_context(connect_to_read(folder / FILE_NAME))
            opened.enter_context(trouble_in_words(folder, db))
            db.execute("BEGIN")
            refuse_lost(folder, db)
            refuse_newer(db, folder)
            if is_checked := schema.is_current(db):
                is_checked = refuse_harmed_at_opening(db, folder)
            else:
                refuse_harmed(db, folder)
                copy = opened.enter_context(closing(sqlite3.connect("", isolation_level=None)))
                db.backup(copy)  # to a temporary file that only this process sees
                schema.migrate(copy)
                copy.execute("PRAGMA query_only=ON")
                db = copy
            store = cls(db, folder)
            store._is_checked = is_checked
            yield store

    @contextmanager
    def transaction(self, *, is_news: bool = True) -> Generator[None]:
        """All or nothing, and the write lock from the start: a deferred one can fail halfway.

        Args:
            is_news: Whether what a person writes may let go on what failed.
        """
        self._execute("BEGIN IMMEDIATE")
        try:
            if is_news and self.person != DRIVER:
                self.count_news()
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk has SQLite roll back by itself
                self._execute("ROLLBACK")
            raise
        self._execute("COMMIT")

    def count_news(self) -> None:
        """Count a change that may let go on what failed: by a person, a file or settings; call within a transaction."""
        self._execute("UPDATE campaign SET news = news + 1")

    def keep_copy(self) -> None:
        """Copy the store to `campaign.db.bak`, where that lacks the last round's end; of a damaged one, none is kept.

        Raises:
            StoreError: If the store is damaged.
        """
        query = "SELECT round, finished FROM stages WHERE name = 'decide' ORDER BY round DESC LIMIT 1"
        if (last := self._db.execute(query).fetchone()) is None:
            return
        path = self.folder / COPY_NAME
        try:
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as copy:
                if copy.execute(query).fetchone() == last:
                    return
        except sqlite3.Error:  # there is none, or it can't be read
            pass
        _copy(self._db, path)

    def copy_to(self, path: Path) -> None:
        """Copy the whole store, as it is at this moment, to a file that is there whole or not at all."""
        _copy(self._db, path)

    def _refuse_harmed(self, *tables: str, rows: Sequence[int] | None = None) -> None:
        """Hold rows against their checksums, where it wasn't done when the store was opened.

        Raises:
            StoreError: If one isn't as it was written.
        """
        if not self._is_checked:
            refuse_harmed(self._db, self.folder, tables, rows=rows)

    def _execute(self, statement: str, values: Values = ()) -> None:
        self._db.execute(statement, values)

    def _rows(self, statement: str, values: Values = ()) -> Iterator[Row]:
        """Yield the rows that a statement finds."""
        found = self._db.execute(statement, values)
        names = [column[0] for column in found.description]
        return (dict(zip(names, row, strict=True)) for row in found)

    def _row(self, statement: str, values: Values = ()) -> Row | None:
        """Return the first row that a statement finds, if there is one."""
        return next(self._rows(statement, values), None)

    def _value(self, statement: str, values: Values = ()) -> Any:
        """Return the first column of the first row that a statement finds; None where it finds none."""
        row = self._db.execute(statement, values).fetchone()
        return None if row is None else row[0]


@contextmanager
def lock(folder: Path) -> Generator[None]:
    """Hold a campaign's lock until the block ends; the kernel frees it when the process does, however it ends.

    Raises:
        CampaignBusy: If another process holds it.
    """
    with (folder / "campaign.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CampaignBusy(
                f"The campaign in {folder} is being advanced by another process. Wait for it, or stop it."
            ) from error
        yield


def is_advanced(folder: Path) -> bool:
    """Return whether a process holds the campaign's lock."""
    path = folder / "campaign.lock"
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def now() -> str:
    """Return the time in UTC, ISO 8601 to the millisecond, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _connect(folder: Path) -> Generator[sqlite3.Connection]:
    path = folder / FILE_NAME  # a beamline's engine may ask from another thread than opened it, one at a time
    with trouble_in_words(folder):
        db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    with closing(db):
        with trouble_in_words(folder, db):
            db.execute("PRAGMA synchronous=FULL")
            checksums.register(db)
        yield db


@contextmanager
def connect_to_read(path: Path) -> Generator[sqlite3.Connection]:
    """Connect to a store's file, whatever state it is in.

    Raises:
        StoreError: If that can't be, or something other than harm goes wrong within the block.
    """
    log = path.with_name(f"{path.name}-wal")
    is_still = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)  # on a medium, say
    is_cut = not is_still and path.with_name(f"{path.name}-journal").exists()  # SQLite has to roll back what was cut
    uri = f"{path.absolute().as_uri()}?mode={'rw' if is_cut else 'ro'}{'&immutable=1' * is_still}"
    with trouble_in_words(path.parent):
        db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    with closing(db):
        checksums.register(db)
        db.execute("PRAGMA query_only=ON")
        yield db


def _copy(db: sqlite3.Connection, path: Path) -> None:
    """Copy a whole store, as it is at this moment, to a file that needs no other beside it."""
    with whole_file(path) as partial, closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        db.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")
        checksums.register(copy)
        refuse_harmed(copy, path.parent)
