"""What sessions share, and what is let go of."""

import asyncio
import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.app import PAGES
from glassmap.dashboard.data import CampaignSnapshot, Map
from glassmap.dashboard.live import campaign_now, map_now, used_alloys_now
from tests.support.made_up import make_campaign, measure_more
from tests.support.sessions import look_around


def alive(kind: type) -> int:
    """How many of a kind are in memory."""
    gc.unfreeze()  # what a server passes over
    gc.collect()
    return sum(type(one) is kind for one in gc.get_objects())


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A campaign whose last batch is waited for."""
    make_campaign(tmp_path / "planned", step_at_pct=5, rounds=2, batch=20, end="planned")
    return tmp_path / "planned"


def test_of_a_campaign_that_changes_one_state_is_kept(planned: Path):
    before = alive(CampaignSnapshot)
    for spectra in range(41, 46):
        measure_more(planned)
        campaign = campaign_now(planned)
        assert isinstance(campaign, CampaignSnapshot) and campaign.status.spectra == spectra
        assert len(used_alloys_now(campaign).ids) == spectra
        del campaign
    assert alive(CampaignSnapshot) - before == 1


def test_of_a_campaign_s_maps_the_last_is_kept(planned: Path):
    before = alive(Map)
    for number in range(3, 6):
        campaign = campaign_now(planned)
        assert isinstance(campaign, CampaignSnapshot) and campaign.map is not None
        map_ = map_now(campaign)
        assert map_ is not None and map_.round == campaign.map[0]
        other = campaign.map[1].with_stem(f"round-{number:03}")
        other.write_bytes(campaign.map[1].read_bytes())
        with CampaignStore.amend(planned, person="somebody") as store, store.transaction():
            store.record_artefact(number, "map", other)
        del map_, campaign
    assert alive(Map) - before <= 1, "one, and of other campaigns' none more than there were"


def test_many_people_who_look_at_once_read_a_campaign_once(monkeypatch: pytest.MonkeyPatch, planned: Path):
    reads, all_there = [], Event()

    def read(folder: Path) -> str:
        reads.append(folder)
        all_there.wait(0.2)  # until the others ask, too
        return "a state"

    monkeypatch.setattr("glassmap.dashboard.live.read_campaign", read)
    with ThreadPoolExecutor(8) as people:
        assert set(people.map(campaign_now, [planned] * 8)) == {"a state"}
    assert len(reads) == 1


def test_people_without_browsers_look_around_and_see_no_error(server: str, campaigns: Path):
    left = iter(range(6))
    pages = ["", *(page for page in PAGES if page != "campaigns")]
    seen = asyncio.run(
        look_around(server, people=3, campaign="waiting", pages=pages, pause=0, until=lambda: next(left, None) is None)
    )
    assert len(seen) >= 6 and sum(one.errors for one in seen) == 0 and np.isfinite([one.seconds for one in seen]).all()
