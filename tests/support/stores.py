"""A small store: three alloys of one round, of which the third is held out."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.checksums import register
from glassmap.agent.store.connection import FILE_NAME
from glassmap.agent.store.records import Suggestion

ALLOYS = [(0.2, 0.3, 0.5), (0.4, 0.4, 0.2), (0.1, 0.1, 0.8)]
BATCH = [Suggestion(f"r001-{k + 1:02d}", 1, 7 * k, alloy, hold_out=k == 2) for k, alloy in enumerate(ALLOYS)]
SECOND = b"r001-02r001-02[0.4, 0.4, 0.2]"  # as it lies in the table of spectra
SPECTRUM = np.array([0.0, 1 / 3, 100.0, 20.0])


def record_all(store: CampaignStore) -> None:
    """Measure every alloy of the batch."""
    with store.transaction():
        for suggestion in BATCH:
            store.record_spectrum(suggestion, np.array(suggestion.composition), SPECTRUM, backend="replay")


@contextmanager
def file_of(folder: Path) -> Iterator[sqlite3.Connection]:
    """Open a store as it lies there."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as db:
        register(db)
        yield db


def patch(folder: Path, old: bytes, new: bytes) -> None:
    """Change the first such bytes of a store that nobody has open."""
    path = folder / FILE_NAME
    content = path.read_bytes()
    assert old in content and len(old) == len(new)
    path.write_bytes(content.replace(old, new, 1))
