"""The files that a laboratory dropped."""

from collections.abc import Sequence
from typing import Literal

from glassmap.agent.store.connection import StoreConnection, now
from glassmap.agent.store.records import DroppedFile, FileState


class Files(StoreConnection):
    """The table `files`."""

    def files(self, *, state: str | None = None) -> list[DroppedFile]:
        """Return every file that was dropped, in the order they were seen; or only those of one state."""
        query = "SELECT * FROM files WHERE :state IS NULL OR state = :state ORDER BY id"
        return [DroppedFile(**row) for row in self._rows(query, {"state": state})]

    def file_of(self, hash_: str) -> DroppedFile | None:
        """Return the file of that content that was used, the last time, or waits, if there is one."""
        row = self._row(
            """SELECT * FROM files WHERE hash = ? AND state IN ('used', 'waiting')
            ORDER BY state, sequence DESC LIMIT 1""",
            [hash_],
        )
        return None if row is None else DroppedFile(**row)

    def paths_of(self, hash_: str) -> list[str]:
        """Return every path that a content was dropped under, the last first."""
        query = "SELECT path FROM files WHERE hash = ? ORDER BY sequence DESC"
        return [row["path"] for row in self._rows(query, [hash_])]

    def files_at(self, path: str) -> list[DroppedFile]:
        """Return the files that were dropped under a path, each content's last, but for those that were refused."""
        rows = self._rows(
            """SELECT *, MAX(sequence) AS sequence FROM files WHERE path = ? AND state IN ('used', 'waiting')
            GROUP BY hash ORDER BY id""",
            [path],
        )
        return [DroppedFile(**row) for row in rows]

    def files_to_read(self) -> list[DroppedFile]:
        """Return the files that wait, one a content, of which it isn't recorded what their scans are called."""
        rows = self._rows(
            """SELECT *, MAX(sequence) AS sequence FROM files WHERE state = 'waiting' AND hash NOT IN (
                SELECT hash FROM scans WHERE state = 'waiting') GROUP BY hash ORDER BY id"""
        )
        return [DroppedFile(**row) for row in rows]

    def record_file(
        self,
        path: str,
        *,
        size: int,
        modified: int,
        hash_: str,
        kind: Literal["scan", "table"],
        state: FileState,
        reason: str = "",
        measurement: str | None = None,
        is_news: bool = True,
    ) -> int:
        """Record what became of a file, in place of what the same file was before; call within a transaction.

        Args:
            path: As it was dropped, relative to the campaign's folder where it lies within.
            size: In bytes.
            modified: In ns, since 1970.
            hash_: SHA-256 of its content.
            kind: What it holds.
            state: What became of it.
            reason: Why.
            measurement: Id of the one that was read from it.
            is_news: Whether a stage that failed may be tried again for it.

        Returns:
            Its number.
        """
        self._execute(
            """INSERT INTO files (path, size, modified, hash, kind, state, reason, measurement, time, sequence)
            SELECT :path, :size, :modified, :hash, :kind, :state, :reason, :measurement, :time,
            COALESCE(MAX(sequence), 0) + 1 FROM files WHERE true
            ON CONFLICT (path, size, modified) DO UPDATE SET hash = :hash, kind = :kind, state = :state,
            reason = :reason, measurement = :measurement, time = :time, sequence = excluded.sequence""",
            {
                "path": path,
                "size": size,
                "modified": modified,
                "hash": hash_,
                "kind": kind,
                "state": state,
                "reason": reason,
                "measurement": measurement,
                "time": now(),
            },
        )
        if is_news:
            self.count_news()
        return self._value("SELECT id FROM files WHERE path = ? AND size = ? AND modified = ?", [path, size, modified])

    def forget_files_of_the_lost(self) -> None:
        """Forget the files whose measurements are gone, so that they are read again; call within a transaction."""
        gone = "measurement IS NOT NULL AND measurement NOT IN (SELECT id FROM spectra)"
        self._execute(f"DELETE FROM files WHERE {gone} OR hash IN (SELECT hash FROM scans WHERE {gone})")
        self._execute(f"DELETE FROM scans WHERE {gone}")

    def forget_tables(self, files: Sequence[DroppedFile]) -> None:
        """Forget those of some files that are composition tables, so that they are read again; in a transaction."""
        for file in files:
            self._execute("DELETE FROM files WHERE id = ? AND kind = 'table'", [file.id])

    @property
    def has_files(self) -> bool:
        """Whether any file was dropped."""
        return bool(self._value("SELECT EXISTS (SELECT 1 FROM files)"))

    def count_files(self) -> dict[FileState, int]:
        """Return how many files are in each state, each as it was dropped last."""
        rows = self._rows(
            """SELECT state, COUNT(*) AS count FROM (SELECT state, MAX(sequence) FROM files GROUP BY path)
            GROUP BY state"""
        )
        return {row["state"]: row["count"] for row in rows}
