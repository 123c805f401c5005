"""The way into a campaign's store: one SQLite file a campaign folder, one writer, any number of readers.

One process writes (`StoreConnection.open` takes the campaign's lock), any number read (`read_only`). A store of an
older version is copied to `campaign.db.v5` (its version) before it is brought up to date; who only reads it reads a
copy that is brought up to date and thrown away.
"""

import fcntl
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Self

from glassmap import __version__
from glassmap.agent.atomic_file import make_folder, whole_file
from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.store import checksums, schema
from glassmap.agent.store.written_by import later_version, record_version

FILE_NAME = "campaign.db"
MIGRATION_SECONDS = 10.0  # that who amends waits for a store that another process brings up to date
DRIVER = "glassmap"  # who did what no person did

DatabaseError = sqlite3.Error  # what SQLite itself raises, for who catches everything else
Row = dict[str, Any]  # a column's name and value; made a record where it is read
Values = Sequence[Any] | Mapping[str, Any]


class StoreConnection:
    """An open store: who writes to it, transactions, and rows of statements."""

    def __init__(self, db: sqlite3.Connection, folder: Path, *, person: str = DRIVER) -> None:
        self._db, self.folder, self.person = db, folder, person

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, person: str = DRIVER) -> Generator[Self]:
        """Open to write, made where it doesn't exist; holds the campaign's lock until the block ends.

        The kernel frees the lock when the process ends, however it ends.

        Raises:
            CampaignBusy: If another process holds the lock.
            StoreError: If a later glassmap wrote the store.
        """
        make_folder(folder)
        with (folder / "campaign.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CampaignBusy(
                    f"The campaign in {folder} is being advanced by another process. Wait for it, or stop it."
                ) from error
            with _connect(folder) as db:
                with _damage_in_words(folder):
                    _refuse_newer(db, folder)
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
            StoreError: If there is no store, or a later glassmap wrote it.
        """
        _refuse_missing(folder)
        with _connect(folder) as db:
            with _damage_in_words(folder):
                _refuse_newer(db, folder)
                deadline = monotonic() + MIGRATION_SECONDS
                while not schema.is_current(db):
                    try:
                        with cls.open(folder):  # brings it up to date
                            pass
                    except CampaignBusy:
                        if monotonic() > deadline:
                            raise
                        sleep(0.05)
                record_version(db, person=person)
            yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def read_only(cls, folder: Path) -> Generator[Self]:
        """Open to read, in one snapshot; any write raises `sqlite3.OperationalError`.

        Raises:
            StoreError: If there is no store, or a later glassmap wrote it.
        """
        _refuse_missing(folder)
        uri = f"{(folder / FILE_NAME).absolute().as_uri()}?mode=ro"
        with ExitStack() as opened:
            db = opened.enter_context(closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)))
            with _damage_in_words(folder):
                db.execute("BEGIN")
                _refuse_newer(db, folder)
                checksums.register(db)
                if not schema.is_current(db):
                    copy = opened.enter_context(closing(sqlite3.connect("", isolation_level=None)))
                    db.backup(copy)  # to a temporary file that only this process sees
                    schema.migrate(copy)
                    copy.execute("PRAGMA query_only=ON")
                    db = copy
            yield cls(db, folder)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing, and the write lock from the start: a deferred one can fail halfway."""
        self._execute("BEGIN IMMEDIATE")
        try:
            if self.person != DRIVER:
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


def is_advanced(folder: Path) -> bool:
    """Return whether a process holds the campaign's lock."""
    path = folder / "campaign.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def now() -> str:
    """Return the time in UTC, ISO 8601 to the millisecond, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@contextmanager
def _connect(folder: Path) -> Generator[sqlite3.Connection]:
    path = folder / FILE_NAME  # a beamline's engine may ask from another thread than opened it, one at a time
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)) as connection:
        with _damage_in_words(folder):
            connection.execute("PRAGMA synchronous=FULL")
            checksums.register(connection)
        yield connection


def _copy(db: sqlite3.Connection, path: Path) -> None:
    """Copy a whole store, as it is at this moment."""
    with whole_file(path) as partial, closing(sqlite3.connect(partial)) as copy:
        db.backup(copy)


@contextmanager
def _damage_in_words(folder: Path) -> Generator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{folder / FILE_NAME} can't be read: {error}. Restore it from a copy; if the folder is not yours to "
            "write, copy it and look at the copy."
        ) from error


def _refuse_missing(folder: Path) -> None:
    if not (folder / FILE_NAME).exists():
        raise StoreError(
            f"No campaign has been started in {folder}. Start one with `glassmap replay DATASET.nc --folder "
            f"{folder}`, or `glassmap init {folder} --dataset DATASET.nc` and `glassmap run {folder}`."
        )


def _refuse_newer(db: sqlite3.Connection, folder: Path) -> None:
    if later := later_version(db) or next(iter(schema.later_than_known(db)), None):
        raise StoreError(
            f"{folder / FILE_NAME} was written by a later glassmap ({later}); this is {__version__}. Update glassmap "
            "to use it."
        )
