from collections.abc import Iterator
from pathlib import Path
from shutil import copyfile

import numpy as np
import pytest

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME
from tests.support.stores import BATCH, record_all


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CampaignStore]:
    """Return a store whose first batch is planned, open to write."""
    with CampaignStore.open(tmp_path) as opened:
        with opened.transaction():
            opened.record_axis("q", np.array([1.0, 2.0, 3.0, 4.5]), None)
            opened.record_start(["Co", "V", "Zr"])
            opened.record_batch(1, BATCH, Coverage(10.0, 20.0, 5.0))
        yield opened


@pytest.fixture
def closed(store: CampaignStore, tmp_path: Path) -> Path:
    """Return the folder of a store of three measurements that nobody has open."""
    record_all(store)
    store._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    folder = tmp_path / "closed"
    folder.mkdir()
    copyfile(tmp_path / FILE_NAME, folder / FILE_NAME)
    return folder
