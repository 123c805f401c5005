from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from agent.campaign import FILE_NAME
from agent.errors import CampaignError
from flows.campaign import TASKS, run_campaign
from flows.stages import STAGES, Campaign, advance, open_campaign
from tests.campaigns import fingerprint, rows, write_campaign


def test_prefect_runs_the_same_campaign_as_the_plain_loop(tmp_path: Path, small_dataset: Path, prefect_server: None):
    folders = {name: tmp_path / name for name in ("plain", "prefect")}
    for folder in folders.values():
        write_campaign(folder, small_dataset)
    with open_campaign(folders["plain"]) as campaign:
        plain = advance(campaign)
    assert run_campaign(folders["prefect"]) == plain
    assert fingerprint(folders["prefect"]) == fingerprint(folders["plain"])
    assert run_campaign(folders["prefect"]) == plain, "a campaign that has stopped is left as it is"
    assert rows(folders["prefect"], "SELECT max(attempts) FROM stages") == [(1,)]


def test_a_task_is_handed_the_very_campaign_that_was_opened(prefect_server: None):
    """Prefect walks through dataclasses, models and collections among a task's arguments, and may rebuild them."""
    seen: list[Any] = []
    given = Campaign(*[object()] * 3)  # type: ignore[arg-type]

    @task(cache_policy=NO_CACHE)
    def remember(campaign: Campaign) -> None:
        seen.append(campaign)

    @flow
    def hand_over() -> None:
        remember(given)

    hand_over()
    assert seen[0] is given and seen[0].store is given.store


def test_an_error_of_a_stage_passes_through_prefect_as_it_is(tmp_path: Path, prefect_server: None):
    (tmp_path / FILE_NAME).write_text("sead = 1")
    with pytest.raises(CampaignError, match="unknown setting 'sead'"):
        run_campaign(tmp_path)


def test_every_stage_is_a_task_that_is_never_cached():
    assert list(TASKS) == list(STAGES)
    for name, stage in TASKS.items():
        assert stage.name == name and stage.fn is STAGES[name]
        assert stage.persist_result is False
        assert stage.cache_policy is not None and stage.cache_policy.compute_key(None, {}, {}) is None  # type: ignore[arg-type]
