from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from glassmap.agent.errors import StoreError
from glassmap.agent.store.campaign_store import CampaignStore


def test_before_a_campaign_begins_what_it_begins_with_is_refused_in_words(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store:
        assert not store.has_begun and store.began is None and store.source == ""
        for ask in (lambda: store.elements, lambda: store.config, lambda: store.fingerprint, store.axis):
            with pytest.raises(StoreError, match=r"has not begun\. `glassmap run"):
                ask()


def test_a_campaign_s_clock_starts_when_it_begins(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store:
        with store.transaction():
            store.log("looked at")
        assert store.used().hours == 0.0
        with store.transaction():
            store.record_start(["Co", "Zr"], config={"name": "a"}, source="a furnace", fingerprint="b")
        began = store.began
        assert began is not None and abs(datetime.now(UTC) - began) < timedelta(minutes=1)
        assert (store.config, store.source, store.fingerprint, store.guide_fingerprint) == (
            {"name": "a"},
            "a furnace",
            "b",
            None,
        )


def test_other_settings_have_refused_files_read_again_once(store: CampaignStore):
    assert not store.read_again
    with store.transaction():
        store.record_config({"name": "other"})
    assert store.read_again and store.config == {"name": "other"}
    with store.transaction():
        store.end_reading_again()
    assert not store.read_again


def test_a_pause_says_who_since_when_and_why(store: CampaignStore, tmp_path: Path):
    with CampaignStore.amend(tmp_path, person="ada") as hers, hers.transaction():
        hers.record_pause("the beam is off")
    pause = store.paused
    assert pause is not None and (pause.by, pause.reason) == ("ada", "the beam is off")
    assert abs(datetime.now(UTC) - pause.since) < timedelta(minutes=1)
    with store.transaction():
        store.end_pause()
    assert store.paused is None


def test_orders_to_write_are_marked_once_each_and_unmarked(store: CampaignStore):
    with store.transaction():
        for round_ in (3, 1, 3):
            store.mark_order(round_)
    assert store.orders_to_write == [1, 3]
    with store.transaction():
        store.unmark_order(1)
    assert store.orders_to_write == [3]
