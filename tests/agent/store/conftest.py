from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.stores import BATCH


@pytest.fixture
def store(tmp_path: Path) -> Iterator[CampaignStore]:
    """Return a store whose first batch is planned, open to write."""
    with CampaignStore.open(tmp_path) as opened:
        with opened.transaction():
            opened.record_axis("q", np.array([1.0, 2.0, 3.0, 4.5]), None)
            opened.record_start(["Co", "V", "Zr"])
            opened.record_batch(1, BATCH, Coverage(10.0, 20.0, 5.0))
        yield opened
