"""The alloys that exist, the wafers that are to be made, and those that nothing is planned of any more."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from glassmap.agent.data.samples import Samples
from glassmap.agent.outside_text import plain_name
from glassmap.agent.store.records import ExcludedWafer, MeasuredPoint, PlannedWafer, WaferGain
from glassmap.agent.store.settings import Settings
from glassmap.agent.store.suggestions import PENDING


class Wafers(Settings):
    """The tables `existing`, `wafers`, `wafer_exclusions` and `wafer_gains`."""

    def record_existing(self, samples: Samples) -> None:
        """Record which samples could be planned, in place of what could before; call within a transaction."""
        if self.existing().is_same(samples):
            return
        self.outdate_gains()
        self._execute("DELETE FROM existing")
        rows = zip(samples.wafers, samples.names, samples.compositions.tolist(), samples.x, samples.y, strict=True)
        for wafer, name, composition, x, y in rows:
            place = [None if np.isnan(value) else float(value) for value in (x, y)]
            self._execute("INSERT INTO existing VALUES (?, ?, ?, ?, ?)", [wafer, name, json.dumps(composition), *place])

    def existing(self) -> Samples:
        """Return which samples could be planned when the last batch was; none in a campaign without such a list."""
        return self._samples([*self._rows("SELECT * FROM existing ORDER BY rowid")])

    @property
    def has_wafers(self) -> bool:
        """Whether it is known of any sample on which wafer it lies, or where; or a wafer is to be made."""
        somewhere = "wafer <> '' OR x IS NOT NULL"
        tables = " OR ".join(
            f"EXISTS (SELECT 1 FROM {table} WHERE {somewhere})" for table in ("existing", "samples", "suggestions")
        )
        return bool(self._value(f"SELECT {tables} OR EXISTS (SELECT 1 FROM wafers)"))

    def record_wafer(self, wafer: PlannedWafer) -> None:
        """Record a wafer that is to be made; call within a transaction."""
        self._execute(
            "INSERT INTO wafers VALUES (?, ?, ?, ?)",
            [wafer.name, wafer.round, json.dumps(dict(wafer.powers)), wafer.minutes],
        )

    def wafers(self) -> list[PlannedWafer]:
        """Return the wafers that were planned to be made, in that order."""
        rows = self._rows("SELECT * FROM wafers ORDER BY round, rowid")
        return [PlannedWafer(**row | {"powers": json.loads(row["powers"])}) for row in rows]

    def wafers_to_make(self, round_: int) -> list[PlannedWafer]:
        """Return the wafers of a round that are yet to be made: nothing tells of any of their points."""
        if not (planned := self._planned_in(round_)):
            return []
        rows = self._db.execute(
            "SELECT wafer FROM samples UNION SELECT wafer FROM spectra WHERE wafer > '' AND state <> 'retracted'"
        )
        there = {plain_name(name) for (name,) in rows}
        return [one for one in planned if plain_name(one.name) not in there]

    def recipes(self, round_: int) -> list[PlannedWafer]:
        """Return the wafers that a round planned, and those of it that an earlier one did and are yet to be made."""
        to_make = self.wafers_to_make(round_)
        return [one for one in self._planned_in(round_) if one.round == round_ or one in to_make]

    def _planned_in(self, round_: int) -> list[PlannedWafer]:
        """Return the wafers that were planned to be made, aren't given up, and hold alloys of a round."""
        if not (planned := self.wafers()):
            return []
        rows = self._db.execute("SELECT DISTINCT wafer FROM suggestions WHERE round = ?", [round_])
        asked = {plain_name(name) for (name,) in rows} - self.given_up_wafers()
        return [one for one in planned if plain_name(one.name) in asked]

    def exclude_wafer(self, one: ExcludedWafer) -> None:
        """Record that nothing of a wafer is planned any more; call within a transaction."""
        self._execute("INSERT OR REPLACE INTO wafer_exclusions VALUES (?, ?, ?, ?, ?)", list(one))

    def forget_wafer_exclusion(self, wafer: str) -> None:
        """Plan of a wafer again; call within a transaction."""
        self._forget_wafer("wafer_exclusions", wafer)

    def excluded_wafers(self) -> list[ExcludedWafer]:
        """Return the wafers that nothing is planned of any more, in the order that was said."""
        return [ExcludedWafer(**row) for row in self._rows("SELECT * FROM wafer_exclusions ORDER BY rowid")]

    def given_up_wafers(self) -> set[str]:
        """Return the wafers, by their plain names, that nothing is planned of any more."""
        return {plain_name(one.wafer) for one in self.excluded_wafers()}

    def record_gain(self, one: WaferGain) -> None:
        """Record what the rest of a wafer would bring, in place of what was said before; call within a transaction."""
        values = one._asdict() | {"is_enough": int(one.is_enough), "next": json.dumps(one.next)}
        self._forget_wafer("wafer_gains", one.wafer)
        names = ", ".join(f":{name}" for name in WaferGain._fields)
        self._execute(f"INSERT INTO wafer_gains ({', '.join(WaferGain._fields)}) VALUES ({names})", values)

    def wafer_gains(self) -> list[WaferGain]:
        """Return what the rest of each wafer would bring, the last reckoned last; of none that is given up."""
        gone = self.given_up_wafers()
        return [
            WaferGain(**row | {"is_enough": bool(row["is_enough"]), "next": tuple(json.loads(row["next"]))})
            for row in self._rows("SELECT * FROM wafer_gains ORDER BY rowid")
            if plain_name(row["wafer"]) not in gone
        ]

    def count_spared(self, round_: int) -> int:
        """Return how many of a round's alloys that are waited for lie on a wafer of which enough is measured."""
        enough = {plain_name(name) for (name,) in self._db.execute("SELECT wafer FROM wafer_gains WHERE is_enough")}
        query = f"SELECT wafer, COUNT(*) FROM suggestions WHERE round = ? AND {PENDING} GROUP BY wafer"
        return sum(count for wafer, count in self._db.execute(query, [round_]) if plain_name(wafer) in enough)

    def points_of(self, wafer: str) -> Samples:
        """Return the points of a wafer that are known: of the last plan's samples, of what was asked for, of tables.

        Compositions are as a table says them, the last that does; a name is compared by its plain form.
        """
        tables = ("existing", "suggestions", "samples")
        known = self._db.execute(" UNION ".join(f"SELECT wafer FROM {table}" for table in tables))
        names = json.dumps([name for (name,) in known if plain_name(name) == plain_name(wafer)])
        rows = self._rows(
            """SELECT sample, composition, x, y FROM existing WHERE wafer IN (SELECT value FROM json_each(:names))
            UNION ALL SELECT sample, composition, x, y FROM suggestions
                WHERE sample <> '' AND wafer IN (SELECT value FROM json_each(:names))
            UNION ALL SELECT name, composition, x, y FROM (
                SELECT * FROM samples WHERE wafer IN (SELECT value FROM json_each(:names)) ORDER BY id)""",
            {"names": names},
        )
        found = dict[str, dict[str, Any]]()
        for row in rows:
            before = found.get(plain_name(row["sample"]), row)
            found[plain_name(row["sample"])] = row | {"sample": before["sample"]}
        return self._samples([one | {"wafer": wafer} for one in found.values()])

    def table_points(self, wafer: str) -> Samples:
        """Return what composition tables say of the points of a wafer, of each the last that does."""
        rows = self._rows("SELECT name AS sample, wafer, composition, x, y FROM samples WHERE wafer <> '' ORDER BY id")
        mine = {row["sample"]: row | {"wafer": wafer} for row in rows if plain_name(row["wafer"]) == plain_name(wafer)}
        return self._samples([*mine.values()])

    def wafer_called(self, name: str) -> str | None:
        """Return a wafer as the store calls it, by its plain name; None where nothing is known of one."""
        tables = " UNION ".join(f"SELECT wafer FROM {table}" for table in ("existing", "suggestions", "samples"))
        known = self._db.execute(f"{tables} UNION SELECT name FROM wafers UNION SELECT wafer FROM wafer_exclusions")
        return next((str(one) for (one,) in known if one and plain_name(str(one)) == plain_name(name)), None)

    def begun_wafers(self) -> set[str]:
        """Return the wafers, by their plain names, that something was asked for or measured of, or are to be made."""
        rows = self._db.execute(
            """SELECT wafer FROM suggestions WHERE wafer <> ''
                AND id NOT IN (SELECT suggestion FROM exclusions WHERE kind = 'rejected')
            UNION SELECT json_extract(facts, '$.wafer') FROM spectra WHERE json_extract(facts, '$.wafer') <> ''
            UNION SELECT name FROM wafers"""
        )
        return {plain_name(str(name)) for (name,) in rows}

    def measured_points(self) -> list[MeasuredPoint]:
        """Return every measurement on a wafer that isn't retracted, in the order they came; as found, else as asked."""
        rows = self._rows(
            """SELECT spectra.id, COALESCE(NULLIF(json_extract(facts, '$.wafer'), ''), suggestions.wafer) AS wafer,
                COALESCE(NULLIF(json_extract(facts, '$.sample'), ''), suggestions.sample, '') AS sample,
                spectra.composition, state = 'used' AND NOT spectra.hold_out AS is_learned
            FROM spectra LEFT JOIN suggestions ON suggestions.id = suggestion
            WHERE state <> 'retracted' ORDER BY spectra.rowid"""
        )
        return [
            MeasuredPoint(
                **row | {"composition": tuple(json.loads(row["composition"])), "is_learned": bool(row["is_learned"])}
            )
            for row in rows
            if row["wafer"]
        ]

    def _forget_wafer(self, table: str, wafer: str) -> None:
        known = [name for (name,) in self._db.execute(f"SELECT wafer FROM {table}")]
        for name in known:
            if plain_name(name) == plain_name(wafer):
                self._execute(f"DELETE FROM {table} WHERE wafer = ?", [name])

    def _samples(self, rows: Sequence[Mapping[str, Any]]) -> Samples:
        nowhere = [[np.nan if row[axis] is None else row[axis] for row in rows] for axis in ("x", "y")]
        compositions = [json.loads(row["composition"]) for row in rows]
        return Samples(
            tuple(row["sample"] for row in rows),
            tuple(row["wafer"] for row in rows),
            np.array(compositions, dtype=np.float64).reshape(len(rows), len(self.elements)),
            *(np.array(values, dtype=np.float64) for values in nowhere),
        )
