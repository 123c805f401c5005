import sqlite3
from pathlib import Path
from time import monotonic

import pytest

from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store import rounds
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import PlannedBy, Stage
from tests.support.stores import BATCH, record_all


def test_a_round_is_planned_once(store: CampaignStore):
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"), store.transaction():
        store.record_batch(1, BATCH, Coverage(1.0, 1.0, 1.0))


def test_a_stage_counts_its_attempts_and_the_seconds_of_all_of_them(
    store: CampaignStore, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(2):
        store.start_stage(1, "measure")
    monkeypatch.setattr(rounds, "monotonic", lambda: monotonic() + 90)
    with store.transaction():
        store.end_stage(1, "measure", "waiting", waiting_for="measurements")
    store.start_stage(1, "measure")
    record_all(store)
    with store.transaction():
        store.end_stage(1, "measure", "done")
    (stage,) = store.stages()
    assert (stage.status, stage.attempts, stage.spectra, stage.waiting_for) == ("done", 3, 3, None)
    assert 90 <= stage.seconds < 100


def failed(store: CampaignStore) -> Stage:
    """Have the measure stage fail; returns what is recorded of it."""
    store.start_stage(1, "measure")
    with store.transaction():
        store.end_stage(1, "measure", "failed", error="no")
        store.log("failed", "no")
    stage = store.last_stage()
    assert stage is not None
    return stage


def test_people_files_and_settings_are_news_after_a_failure_and_nothing_else_is(store: CampaignStore, tmp_path: Path):
    store.start_stage(1, "measure")
    stage = failed(store)
    with store.transaction():
        store.log("not told", "nobody there")
        store.record_progress(BATCH[0], 0.5)
    with CampaignStore.amend(tmp_path, person="ada") as hers, hers.transaction(is_news=False):
        hers.record_note("the furnace is cold")
    assert not store.has_news(since=stage)

    file = {"size": 1, "modified": 1, "hash_": "a", "kind": "scan", "state": "quarantined"}
    with store.transaction():
        store.record_file("a.xy", **file, is_news=False)
    assert not store.has_news(since=stage), "seen before"
    with store.transaction():
        store.record_file("a.xy", **file)
    assert store.has_news(since=stage)

    stage = failed(store)
    assert not store.has_news(since=stage), "what came before is no reason"
    with store.transaction():
        store.record_config({"name": "other"})
    assert store.has_news(since=stage)

    stage = failed(store)
    with CampaignStore.amend(tmp_path, person="ada") as hers, hers.transaction():
        hers.record_approval(1)
    assert store.has_news(since=stage)


def test_what_a_round_was_planned_by_holds_until_another_is_recorded(store: CampaignStore):
    first, second = ({"space": {"step_at_pct": step}, "planning": {"batch": 8}} for step in (1, 5))
    assert store.planned_by(1) is None, "of an earlier version nobody knows"
    with store.transaction():
        store.record_planned_by(PlannedBy(2, **first))
        store.record_planned_by(PlannedBy(3, **first))
        store.record_planned_by(PlannedBy(5, **second))
    found = [store.planned_by(round_) for round_ in (1, 2, 3, 4, 5, 6)]
    assert found == [PlannedBy(2, **first)] * 4 + [PlannedBy(5, **second)] * 2, "before the first they were alike"
    with store.transaction():
        store.record_planned_by(PlannedBy(5, **first))
    assert store.planned_by(6) == PlannedBy(2, **first), "round 5 was planned again"
