"""What people remark on a campaign, a round, an alloy or a measurement."""

import json
from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Note
from glassmap.agent.store.settings import Settings

NOTED = "noted"  # the event of the log


class Notes(Settings):
    """The table `notes`."""

    def record_note(
        self,
        text: str,
        *,
        round_: int | None = None,
        composition: Sequence[float] | None = None,
        measurement: str | None = None,
    ) -> Note:
        """Record what whoever opened the store remarks, and return it; call within a transaction.

        Args:
            text: The remark.
            round_: That it is about.
            composition: Of the alloy that it is about, atomic fraction.
            measurement: That it is about, or the suggestion of one; without any of the three, it is about the campaign.
        """
        shares = None if composition is None else json.dumps(list(composition))
        self._execute(
            "INSERT INTO notes (time, person, text, round, composition, measurement) VALUES (?, ?, ?, ?, ?, ?)",
            [now(), self.person, text, round_, shares, measurement],
        )
        return self.notes()[-1]

    def notes(self) -> list[Note]:
        """Return what people remarked, the oldest first."""
        found = list[Note]()
        for row in self._rows("SELECT * FROM notes ORDER BY id"):
            shares = None if row["composition"] is None else tuple[float, ...](json.loads(row["composition"]))
            if shares is not None:
                about = label(np.array(shares), self.elements)
            elif row["round"] is not None:
                about = f"round {row['round']}"
            else:
                about = row["measurement"] or "the campaign"
            said = {name: row[name] for name in ("id", "time", "person", "text", "round", "measurement")}
            found.append(Note(**said, about=about, composition=shares))
        return found
