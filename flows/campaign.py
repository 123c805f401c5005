"""The campaign as a Prefect flow: the loop of `flows.stages`, each stage a task.

Prefect shows the run and can schedule it; what is done is known from the store alone, so a run that was killed is
simply run again. No task result is cached or kept: a stage that runs again has a reason to.
"""

from pathlib import Path

from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows.stages import STAGES, Status, advance, open_campaign

TASKS = {name: task(name=name, cache_policy=NO_CACHE, persist_result=False)(stage) for name, stage in STAGES.items()}


@flow(name="campaign", persist_result=False)
def run_campaign(folder: Path) -> Status:
    """Plan, measure, train, map, decide; round again until the campaign stops or waits for measurements."""
    with open_campaign(folder) as campaign:
        return advance(campaign, stages=TASKS)
