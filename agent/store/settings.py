"""What holds for a whole campaign: its settings and the common axis of its spectra."""

import json
from typing import Any

import numpy as np

from glassmap.agent.shapes import Axis
from glassmap.agent.store.connection import StoreConnection


class Settings(StoreConnection):
    """The tables `settings` and `axes`."""

    def setting(self, key: str) -> Any:
        """A recorded setting, or None."""
        rows = list(self._db.query("SELECT value FROM settings WHERE key = ?", [key]))
        return json.loads(rows[0]["value"]) if rows else None

    def record_setting(self, key: str, value: Any) -> None:
        """Record a setting, in place of an older one; call within a transaction."""
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", [key, json.dumps(value)])

    def record_axis(self, name: str, axis: Axis, wavelength: float | None) -> None:
        """Record the common axis of all spectra; call within a transaction."""
        values = [name, wavelength, axis.astype("<f8").tobytes()]
        self._db.execute("INSERT INTO axes VALUES (1, ?, ?, ?)", values)

    def axis(self) -> tuple[str, Axis, float | None]:
        """Name, values and wavelength of the common axis."""
        row = next(self._db.query("SELECT * FROM axes"))
        return row["name"], np.frombuffer(row["value"], "<f8").copy(), row["wavelength"]
