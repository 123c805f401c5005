"""Serve campaigns: each is looked after every few minutes and when something arrives, and retrained on its schedule.

One process serves all. Its schedules and runs are Prefect's; that no campaign is advanced twice at a time is seen to by
the campaign's own lock. The process may be killed at any moment: what it was at is gone on with when it is back.
"""

import asyncio
import fcntl
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, emit_event
from prefect.exceptions import TerminationSignal
from prefect.runner import Runner
from prefect.schedules import Cron
from prefect.types.entrypoint import EntrypointType
from tzlocal import get_localzone_name

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig, slug
from glassmap.agent.errors import CampaignBusy, CampaignError
from glassmap.flows.services.prefect_flows import SERVED_BY, advance_campaign, retrain_campaign, tag_of

ARRIVAL = "glassmap.arrival"  # event: something came into a campaign's drop folders
LOOK_SECONDS = 2.0  # between two looks into the drop folders


def serve_campaigns(folders: Sequence[Path], *, at_once: int) -> None:
    """Serve campaigns until interrupted; needs a Prefect server (`PREFECT_API_URL`).

    Args:
        folders: Of the campaigns.
        at_once: Most runs at a time, of all campaigns together.

    Raises:
        CampaignError: If a campaign file is wrong, or two campaigns have one name.
        CampaignBusy: If another process serves one of them.
    """
    configs = {folder.resolve(): CampaignConfig.from_toml(folder / FILE_NAME) for folder in folders}
    names = [slug(config.name) for config in configs.values()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise CampaignError(
            f"Campaigns that are served together need names of their own; {twice[0]} comes more than once. Set `name` "
            "in their campaign files."
        )
    with ExitStack() as stack:
        for folder in configs:
            stack.enter_context(_serving(folder))
        os.environ[SERVED_BY] = str(os.getpid())
        runner = Runner(limit=at_once, pause_on_shutdown=False)
        with get_client(sync_client=True) as client:
            for folder, config in configs.items():
                forget_missed(folder)
                advance, *_ = (runner.add_deployment(one) for one in deployments_of(folder, config))
                client.create_flow_run_from_deployment(cast(UUID, advance))  # the first look is now
        threading.Thread(target=_watch, args=(configs,), daemon=True, name="arrivals").start()
        with suppress(KeyboardInterrupt, TerminationSignal):
            asyncio.run(runner.start())


def deployments_of(folder: Path, config: CampaignConfig) -> Iterator[RunnerDeployment]:
    """`advance/NAME`, and `retrain/NAME` where the campaign file says when."""
    given: dict[str, Any] = {
        "name": slug(config.name),
        "parameters": {"folder": str(folder)},
        "tags": [tag_of(folder)],
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    arrival = DeploymentEventTrigger(
        name=f"arrival {config.name}",
        expect={ARRIVAL},
        match={"prefect.resource.id": resource_of(folder)},
    )
    minutes = config.schedule.advance_minutes
    yield RunnerDeployment.from_flow(advance_campaign, interval=60 * minutes, triggers=[arrival], **given)
    if config.schedule.retrain is not None:
        nightly = Cron(config.schedule.retrain, timezone=get_localzone_name())
        yield RunnerDeployment.from_flow(retrain_campaign, schedule=nightly, **given)


def resource_of(folder: Path) -> str:
    """What an arrival event is about."""
    return f"glassmap.{slug(str(folder.resolve()))}"


def announce_arrival(folder: Path) -> None:
    """Have a served campaign looked after now; where the event is lost, its schedule does it a little later."""
    emit_event(ARRIVAL, resource={"prefect.resource.id": resource_of(folder)})


def forget_missed(folder: Path) -> None:
    """Delete the runs that came due while nobody served, but for the last of each deployment."""
    missed = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag_of(folder)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])),
        expected_start_time=FlowRunFilterExpectedStartTime.model_validate({"before_": datetime.now(UTC)}),
    )
    with get_client(sync_client=True) as client:
        while runs := client.read_flow_runs(flow_run_filter=missed):
            last = {run.deployment_id: run for run in sorted(runs, key=lambda run: run.expected_start_time or 0)}
            rest = [run for run in runs if run.id != last[run.deployment_id].id]
            for run in rest:
                client.delete_flow_run(run.id)
            if not rest:
                return


@contextmanager
def _serving(folder: Path) -> Iterator[None]:
    """Hold what shows that a campaign is served; the kernel frees it when the process ends."""
    with (folder / "serve.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CampaignBusy(f"Another process serves {folder} already. Stop it first.") from error
        yield


def _watch(configs: Mapping[Path, CampaignConfig]) -> None:
    """Announce when something has come to be taken in."""
    seen = {folder: config.backend.arrivals(folder) for folder, config in configs.items()}
    while True:
        time.sleep(LOOK_SECONDS)
        for folder, config in configs.items():
            now = config.backend.arrivals(folder)
            if now - seen[folder]:
                announce_arrival(folder)
            seen[folder] = now
