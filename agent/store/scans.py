"""The scans of the files that a laboratory dropped, and what its composition tables say of samples."""

import json
from collections.abc import Sequence
from typing import Any

from glassmap.agent.outside_text import plain_name
from glassmap.agent.store.connection import StoreConnection
from glassmap.agent.store.records import DroppedScan, SampleRow, ScanState

COLUMNS = ", ".join(DroppedScan._fields)
_ROWS = """SELECT path AS "table", name AS sample, composition, wafer, context, x, y
    FROM samples JOIN files ON files.id = samples.file"""
_LAST_FIRST = "ORDER BY samples.id DESC"


class Scans(StoreConnection):
    """The tables `scans` and `samples`."""

    def scans(self, hash_: str | None = None) -> list[DroppedScan]:
        """Return the scans of a content, or of all, in the order they were recorded."""
        query = f"SELECT {COLUMNS} FROM scans WHERE :hash IS NULL OR hash = :hash ORDER BY rowid"
        return [DroppedScan(**row) for row in self._rows(query, {"hash": hash_})]

    def scans_to_look_up(self, *, all_: bool = False) -> list[DroppedScan]:
        """Return the scans that wait since before the last was said that may name them, or all that wait."""
        rows = self._rows(
            f"SELECT {COLUMNS} FROM scans WHERE state = 'waiting' AND seen < :said ORDER BY rowid",
            {"said": self.said + all_},
        )
        return [DroppedScan(**row) for row in rows]

    @property
    def said(self) -> int:
        """How much there is that may name a scan: rows of tables and alloys of orders; it only grows."""
        return self._value("SELECT COALESCE(MAX(id), 0) FROM samples") + self._value("SELECT COUNT(*) FROM suggestions")

    def record_scan(self, scan: DroppedScan) -> None:
        """Record what became of a scan, in place of what was recorded before; call within a transaction."""
        self._execute(
            f"""INSERT INTO scans ({COLUMNS}) VALUES ({", ".join(f":{name}" for name in DroppedScan._fields)})
            ON CONFLICT (hash, name) DO UPDATE SET {", ".join(f"{n} = excluded.{n}" for n in DroppedScan._fields)}""",
            scan._asdict(),
        )

    def end_waiting(self, hash_: str, reason: str) -> None:
        """Wait no longer for what the scans of a content are of; call within a transaction."""
        query = "UPDATE scans SET state = 'quarantined', reason = ? WHERE hash = ? AND state = 'waiting'"
        self._execute(query, [reason, hash_])

    def record_look(self, said: int) -> None:
        """Record that every scan that waits was looked up in all that was said; call within a transaction."""
        self._execute("UPDATE scans SET seen = ? WHERE state = 'waiting' AND seen < ?", [said, said])

    def forget_waiting_scans(self) -> None:
        """Forget what waiting scans are called, so that their files are read again; call within a transaction."""
        self._execute("DELETE FROM scans WHERE state = 'waiting'")

    def count_scans(self, state: ScanState, *, of_several: bool = False) -> int:
        """Return how many scans are in a state; or only those of files that hold several."""
        query = "SELECT COUNT(*) FROM scans WHERE state = ? AND (NOT ? OR name <> '')"
        return self._value(query, [state, of_several])

    def states_of_scans(self, hash_: str) -> dict[ScanState, int]:
        """Return how many scans of a content are in each state that one is in."""
        query = "SELECT state, COUNT(*) AS count FROM scans WHERE hash = ? GROUP BY state"
        return {row["state"]: row["count"] for row in self._rows(query, [hash_])}

    def measured_scans(self, samples: Sequence[str]) -> list[DroppedScan]:
        """Return the scans that are used, of some samples of tables, by their plain names."""
        rows = self._rows(
            f"""SELECT {COLUMNS} FROM scans WHERE state = 'used' AND matched IN (SELECT value FROM json_each(?))
            ORDER BY rowid""",
            [json.dumps(list(samples))],
        )
        return [DroppedScan(**row) for row in rows]

    def record_sample(self, row: SampleRow, *, file: int) -> None:
        """Record a row of a composition table, in place of what the same file said; call within a transaction."""
        self._execute(
            """INSERT OR REPLACE INTO samples (name, composition, file, wafer, context, x, y)
            VALUES (?, ?, ?, ?, ?, ?, ?)""",
            [
                row.sample,
                json.dumps(list(row.composition)),
                file,
                row.wafer,
                json.dumps(dict(row.context)),
                row.x,
                row.y,
            ],
        )

    def samples(self, name: str) -> list[SampleRow]:
        """Return what tables say of a sample by its plain name, the last first."""
        return [_row(row) for row in self._rows(f"{_ROWS} WHERE name = ? {_LAST_FIRST}", [name])]

    def samples_at(self, x: float, y: float, *, within: float) -> list[SampleRow]:
        """Return what tables say of the samples that lie at a place (mm), the last first."""
        query = f"{_ROWS} WHERE x BETWEEN ? AND ? AND y BETWEEN ? AND ? {_LAST_FIRST}"
        return [_row(row) for row in self._rows(query, [x - within, x + within, y - within, y + within])]

    def table_rows(self) -> list[SampleRow]:
        """Return every row of every table, the last first."""
        return [_row(row) for row in self._rows(f"{_ROWS} {_LAST_FIRST}")]

    def samples_on_wafers(self) -> list[SampleRow]:
        """Return every row of a table that says on which wafer its sample lies, or where, the last first."""
        return [_row(row) for row in self._rows(f"{_ROWS} WHERE wafer <> '' OR x IS NOT NULL {_LAST_FIRST}")]

    def samples_on(self, wafer: str, names: Sequence[str]) -> list[SampleRow]:
        """Return what tables say of samples of a wafer that are called one of some plain names, the last first."""
        wafers = ("", *self.wafers_of_samples())
        called = json.dumps([name for name in wafers if plain_name(name) == plain_name(wafer)])
        query = f"""{_ROWS} WHERE name IN (SELECT value FROM json_each(:names))
            AND wafer IN (SELECT value FROM json_each(:wafers)) {_LAST_FIRST}"""
        return [_row(row) for row in self._rows(query, {"names": json.dumps(list(names)), "wafers": called})]

    def wafers_of_samples(self) -> list[str]:
        """Return the wafers that tables name."""
        rows = self._db.execute("SELECT DISTINCT wafer FROM samples WHERE wafer <> '' ORDER BY wafer")
        return [name for (name,) in rows]

    def tables_with_places(self) -> list[tuple[str, str]]:
        """Return the path of each table that says where samples lie, with each wafer that it names."""
        rows = self._rows(
            """SELECT DISTINCT path, wafer FROM samples JOIN files ON files.id = samples.file
            WHERE x IS NOT NULL ORDER BY path, wafer"""
        )
        return [(row["path"], row["wafer"]) for row in rows]


def _row(row: dict[str, Any]) -> SampleRow:
    row |= {"composition": tuple(json.loads(row["composition"])), "context": json.loads(row["context"])}
    return SampleRow(**row)
