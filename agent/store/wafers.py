"""The alloys that exist, the wafers that are to be made, and those that nothing is planned of any more."""

import json

import numpy as np

from glassmap.agent.data.samples import Samples
from glassmap.agent.store.connection import StoreConnection
from glassmap.agent.store.records import ExcludedWafer, PlannedWafer


class Wafers(StoreConnection):
    """The tables `existing`, `wafers` and `wafer_exclusions`."""

    def record_existing(self, samples: Samples) -> None:
        """Record which samples could be planned, in place of what could before; call within a transaction."""
        self._execute("DELETE FROM existing")
        rows = zip(samples.wafers, samples.names, samples.compositions.tolist(), samples.x, samples.y, strict=True)
        for wafer, name, composition, x, y in rows:
            place = [None if np.isnan(value) else float(value) for value in (x, y)]
            self._execute("INSERT INTO existing VALUES (?, ?, ?, ?, ?)", [wafer, name, json.dumps(composition), *place])

    def existing(self) -> Samples:
        """Return which samples could be planned when the last batch was; none in a campaign without such a list."""
        rows = [*self._rows("SELECT * FROM existing ORDER BY rowid")]
        nowhere = [[np.nan if row[axis] is None else row[axis] for row in rows] for axis in ("x", "y")]
        compositions = [json.loads(row["composition"]) for row in rows]
        return Samples(
            tuple(row["sample"] for row in rows),
            tuple(row["wafer"] for row in rows),
            np.array(compositions, dtype=np.float64).reshape(len(rows), -1),
            *(np.array(values, dtype=np.float64) for values in nowhere),
        )

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

    def exclude_wafer(self, one: ExcludedWafer) -> None:
        """Record that nothing of a wafer is planned any more; call within a transaction."""
        self._execute("INSERT OR REPLACE INTO wafer_exclusions VALUES (?, ?, ?, ?, ?)", list(one))

    def forget_wafer_exclusion(self, wafer: str) -> None:
        """Plan of a wafer again; call within a transaction."""
        self._execute("DELETE FROM wafer_exclusions WHERE wafer = ?", [wafer])

    def excluded_wafers(self) -> list[ExcludedWafer]:
        """Return the wafers that nothing is planned of any more, in the order that was said."""
        return [ExcludedWafer(**row) for row in self._rows("SELECT * FROM wafer_exclusions ORDER BY rowid")]
