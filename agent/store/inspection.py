"""What is wrong with a store, found without changing anything and whatever state it is in."""

from pathlib import Path
from typing import NamedTuple

from glassmap.agent.store import checksums
from glassmap.agent.store.checksums import Harm
from glassmap.agent.store.connection import connect_to_read
from glassmap.agent.store.trouble import harms_of, harms_of_late_writes, trouble_in_words


class Inspection(NamedTuple):
    """How much a store holds, and what of it isn't as it was written."""

    rows: int  # in all tables with content
    spectra: int
    harms: list[Harm]


def inspect(path: Path) -> Inspection:
    """Look at a store's structure, its schema, and every row.

    Args:
        path: Of the file, which is there.

    Raises:
        StoreError: If it can't be looked at for a reason that says nothing of it, such as rights or a full disk.
        CampaignBusy: If somebody else holds it for too long.
    """
    with connect_to_read(path) as db, trouble_in_words(path.parent, db):
        harms = [*harms_of(db), *harms_of_late_writes(path)]
        try:
            counts = {
                table: int(db.execute(f'SELECT COUNT(*) FROM "{table}"').fetchone()[0])
                for table in checksums.tables(db)
            }
        except checksums.REPORTED:  # which is among the harms
            counts = {}
        if not (counts or harms):
            harms = [Harm(path.name, None, "no table is in it")]
    return Inspection(sum(counts.values()), counts.get("spectra", 0), harms)
