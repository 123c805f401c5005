import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, get_client, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterTags
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Scheduled

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.errors import CampaignError, StoreError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.status import Status
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance
from glassmap.flows.services.prefect_flows import TASKS, run_campaign, tag_of
from glassmap.flows.services.schedules import deployments_of, forget_missed
from tests.support.campaigns import fingerprint, rows, write_campaign


def runs_of(folder: Path) -> list[FlowRun]:
    """What Prefect knows of the runs of a campaign, in the order in which they were to begin."""
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(tags=FlowRunFilterTags(all_=[tag_of(folder)])))
    return sorted(runs, key=lambda run: run.expected_start_time or datetime.max)


def of_no_place(status: Status) -> Status:
    """A status without what the folder and the clock make of it."""
    return status._replace(folder=Path(), ordered=None)


def test_prefect_runs_the_same_campaign_as_the_plain_loop(tmp_path: Path, small_dataset: Path, prefect_server: None):
    folders = {name: tmp_path / name for name in ("plain", "prefect")}
    for folder in folders.values():
        write_campaign(folder, small_dataset)
    with open_campaign(folders["plain"]) as campaign:
        plain = of_no_place(advance(campaign))
    said: list[str] = []

    def tell(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        said.append(stage)

    assert of_no_place(run_campaign(folders["prefect"], report=tell)) == plain
    assert list(dict.fromkeys(said)) == list(STAGES), "the terminal is told as well"
    assert fingerprint(folders["prefect"]) == fingerprint(folders["plain"])
    assert of_no_place(run_campaign(folders["prefect"])) == plain, "a campaign that has stopped is left as it is"
    assert rows(folders["prefect"], "SELECT max(attempts) FROM stages") == [(1,)]
    with get_client(sync_client=True) as client:
        assert client.read_artifacts() == [], "plain text alone: Prefect's pages draw an artefact as HTML"


def test_a_task_is_handed_the_very_campaign_that_was_opened(prefect_server: None):
    """Prefect walks through dataclasses, models and collections among a task's arguments, and may rebuild them."""
    seen: list[Any] = []
    given = OpenCampaign(*[object()] * 3)  # type: ignore[arg-type]

    @task(cache_policy=NO_CACHE)
    def remember(campaign: OpenCampaign) -> None:
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


def is_training(folder: Path) -> bool:
    """Whether a campaign has come to its first training."""
    if not (folder / "campaign.db").exists():
        return False
    try:
        with CampaignStore.read_only(folder) as store:
            return any(stage.name == "train" for stage in store.stages())
    except StoreError:
        return False  # not yet made


def test_of_a_run_that_was_killed_prefect_is_told_by_the_next(
    tmp_path: Path, small_dataset: Path, prefect_server: None, monkeypatch: pytest.MonkeyPatch
):
    write_campaign(tmp_path, small_dataset, model={"steps": 1000}, stop={"max_rounds": 1})
    environment = os.environ | {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    with subprocess.Popen(
        [sys.executable, "-m", "glassmap.flows.cli", "run", str(tmp_path)], env=environment
    ) as killed:
        deadline = time.monotonic() + 120
        while not is_training(tmp_path):
            assert killed.poll() is None and time.monotonic() < deadline, "it never came to train"
            time.sleep(0.1)
        killed.kill()
    assert [run.state_name for run in runs_of(tmp_path)] == ["Running"], "Prefect doesn't notice"
    monkeypatch.setattr("glassmap.flows.services.prefect_flows.GRACE", timedelta(0))
    assert run_campaign(tmp_path).state == "exhausted"
    orphan, run = runs_of(tmp_path)
    assert (orphan.state_name, run.state_name) == ("Crashed", "Completed")
    assert orphan.state is not None and "Its process is gone" in str(orphan.state.message)


def test_of_the_runs_that_were_missed_the_last_of_each_schedule_is_made_up(
    tmp_path: Path, small_dataset: Path, prefect_server: None
):
    now, kept = datetime.now(UTC), {}
    with get_client(sync_client=True) as client:
        for folder in (tmp_path / "one", tmp_path / "other"):
            config = write_campaign(folder, small_dataset, name=folder.name, schedule={"retrain": "0 0 1 1 *"})
            for deployment in deployments_of(folder, config):
                number = deployment.apply()
                for minutes, name in ((15, "Late"), (10, "Late"), (5, "Scheduled"), (-60, "Scheduled")):
                    state = Scheduled(scheduled_time=now - timedelta(minutes=minutes), name=name)
                    run = client.create_flow_run_from_deployment(number, state=state)  # type: ignore[arg-type]
                    kept[run.id] = folder.name == "other" or minutes <= 5
    forget_missed(tmp_path / "one")
    left = {run.id for folder in (tmp_path / "one", tmp_path / "other") for run in runs_of(folder)}
    assert left & set(kept) == {number for number, stays in kept.items() if stays}
