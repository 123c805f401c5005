"""The way into a campaign's store: one SQLite file a campaign folder, one writer, any number of readers.

One process writes (`StoreConnection.open` takes the campaign's lock), any number read (`read_only`).
"""

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Self

from sqlite_utils import Database

from glassmap.agent.errors import CampaignBusy, StoreError
from glassmap.agent.store.schema import migrations

FILE_NAME = "campaign.db"
MIGRATION_SECONDS = 10.0  # that a reader waits for a store that is being brought up to date
DRIVER = "glassmap"  # who did what no person did


class StoreConnection:
    """An open store: who writes to it, and transactions."""

    def __init__(self, db: Database, folder: Path, *, person: str = DRIVER) -> None:
        self._db, self.folder, self.person = db, folder, person

    @classmethod
    @contextmanager
    def open(cls, folder: Path, *, person: str = DRIVER) -> Iterator[Self]:
        """Open to write, made where it doesn't exist; holds the campaign's lock until the block ends.

        The kernel frees the lock when the process ends, however it ends.

        Raises:
            CampaignBusy: If another process holds the lock.
            StoreError: If a later glassmap wrote the store.
        """
        folder.mkdir(parents=True, exist_ok=True)
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
                    db.enable_wal()
                    migrations.apply(db)
                yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def amend(cls, folder: Path, *, person: str) -> Iterator[Self]:
        """Open to write a few rows beside whoever advances the campaign: what a person decides.

        Raises:
            StoreError: If there is no store, or it is of another version.
        """
        with cls.read_only(folder):  # is there, and of this version
            pass
        with _connect(folder) as db:
            yield cls(db, folder, person=person)

    @classmethod
    @contextmanager
    def read_only(cls, folder: Path) -> Iterator[Self]:
        """Open to read, in one snapshot; any write raises `sqlite3.OperationalError`.

        Raises:
            StoreError: If there is no store, or it is of another version.
        """
        path = folder / FILE_NAME
        if not path.exists():
            raise StoreError(
                f"No campaign has been started in {folder}. Start one with `glassmap replay DATASET.nc --folder "
                f"{folder}`, or `glassmap init {folder} --dataset DATASET.nc` and `glassmap run {folder}`."
            )
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=30, isolation_level=None)) as connection:
            db = Database(connection)
            with _damage_in_words(folder):
                db.execute("BEGIN")
                _refuse_newer(db, folder)
                deadline = monotonic() + MIGRATION_SECONDS
                while migrations.pending(db) and is_advanced(folder) and monotonic() < deadline:
                    db.execute("ROLLBACK")  # somebody brings it up to date right now
                    sleep(0.05)
                    db.execute("BEGIN")
                if migrations.pending(db):
                    raise StoreError(f"{path} is of an older version. `glassmap run {folder}` brings it up to date.")
            yield cls(db, folder)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and the write lock from the start: a deferred one can fail halfway."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def is_advanced(folder: Path) -> bool:
    """Whether a process holds the campaign's lock."""
    path = folder / "campaign.lock"
    if not path.exists():
        return False
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def _connect(folder: Path) -> Iterator[Database]:
    path = folder / FILE_NAME  # a beamline's engine may ask from another thread than opened it, one at a time
    with closing(sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)) as connection:
        with _damage_in_words(folder):
            connection.execute("PRAGMA synchronous=FULL")
        yield Database(connection)


@contextmanager
def _damage_in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{folder / FILE_NAME} can't be read: {error}. Restore it from a copy; if the folder is not yours to "
            "write, copy it and look at the copy."
        ) from error


def _refuse_newer(db: Database, folder: Path) -> None:
    with closing(sqlite3.connect(":memory:")) as nothing:
        known = {migration.name for migration in migrations.pending(Database(nothing))}
    if unknown := [migration.name for migration in migrations.applied(db) if migration.name not in known]:
        raise StoreError(
            f"{folder / FILE_NAME} was written by a later glassmap ({unknown[0]}). Update glassmap to use it."
        )


def now() -> str:
    """Return the time in UTC, ISO 8601 to the millisecond, which sorts as text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
