"""The campaign as Prefect flows: the loop of `glassmap.flows.rounds.loop`, each stage a task.

Prefect shows the runs and starts them; what is done is known from the store alone, so a run that was killed is simply
run again. No task result is cached or kept: a stage that runs again has a reason to. Where a campaign stands is said
in the log of its run; the dashboard shows the rest.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prefect import flow, get_client, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType, FlowRunFilterTags
from prefect.client.schemas.objects import StateType
from prefect.logging import get_run_logger
from prefect.runtime import flow_run
from prefect.states import Crashed

from glassmap.agent.errors import CampaignBusy
from glassmap.agent.outside_text import visible
from glassmap.agent.progress import Report, ignore
from glassmap.agent.store.status import Status, say_status
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance, advance_unattended
from glassmap.flows.rounds.retrain import retrain

SERVED_BY = "GLASSMAP_SERVED_BY"  # environment: the process that serves, which its runs don't outlive
GRACE = timedelta(minutes=1)  # a run that has just begun may not have asked for the campaign yet
TASKS = {name: task(name=name, cache_policy=NO_CACHE, persist_result=False)(stage) for name, stage in STAGES.items()}


def run_campaign(folder: Path, *, report: Report = ignore) -> Status:
    """Plan, measure, train, map, decide; round again until the campaign stops or waits for measurements.

    Args:
        folder: Of the campaign.
        report: Told how far each stage is, as Prefect is.
    """

    @flow(name="campaign", persist_result=False)
    def campaign(folder: Path) -> Status:
        with _opened(folder, report) as opened:
            return advance(opened, stages=TASKS)

    with tags(tag_of(folder)):  # around the flow, or its run would have none
        return campaign(folder)


@flow(name="advance", persist_result=False)
def advance_campaign(folder: Path) -> str:
    """The same while nobody watches: a campaign that another process is at, or that failed for good, is left alone."""
    _end_with_server()
    try:
        with _opened(folder) as campaign:
            reached = advance_unattended(campaign, stages=TASKS)
            done = say_status(reached)
    except CampaignBusy as busy:
        done = str(busy)
    get_run_logger().info(visible(done, keep="\n"))
    return done


@flow(name="retrain", persist_result=False)
def retrain_campaign(folder: Path) -> str:
    """Train on what is in now, and map."""
    _end_with_server()
    try:
        with _opened(folder) as campaign:
            done = retrain(campaign)
    except CampaignBusy as busy:
        done = str(busy)
    get_run_logger().info(visible(done, keep="\n"))
    return done


def tag_of(folder: Path) -> str:
    """The tag of every run of a campaign."""
    return f"campaign {folder.resolve()}"


@contextmanager
def _opened(folder: Path, report: Report = ignore) -> Iterator[OpenCampaign]:
    with open_campaign(folder, report=report) as campaign:
        _end_orphans(folder)
        yield campaign


def _end_with_server() -> None:
    """Have the kernel end this run when the process that serves ends: what it leaves undone is done by the next."""
    server = os.environ.get(SERVED_BY)
    if server is None or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(server):  # it ended before it could be said
        os.kill(os.getpid(), signal.SIGKILL)


def _end_orphans(folder: Path) -> None:
    """Tell Prefect of runs of a campaign whose process is gone: whoever holds the campaign's lock knows of no other."""
    running = FlowRunFilter(
        tags=FlowRunFilterTags(all_=[tag_of(folder)]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING])),
    )
    try:
        with get_client(sync_client=True) as client:
            for other in client.read_flow_runs(flow_run_filter=running):
                began = other.start_time
                if str(other.id) == flow_run.get_id() or began is None or datetime.now(UTC) - began < GRACE:
                    continue
                gone = Crashed(message="Its process is gone: another run holds the campaign's lock.")
                client.set_flow_run_state(other.id, gone, force=True)
    except Exception as error:  # what is only to be seen stops no campaign
        get_run_logger().warning("Prefect can't be told of runs that are gone: %s", error)
