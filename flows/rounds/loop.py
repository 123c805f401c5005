"""The loop: plan, measure, train, map, decide; then the next round or the end. No Prefect, no arithmetic.

A stage looks at what is recorded, does the missing part and records it together with 'done' in one transaction. A
round can therefore stop anywhere, and the next `advance` goes on. What a person changes in the campaign file counts
from the next stage on.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress

from glassmap.agent.refusals import refusal
from glassmap.agent.store.status import Status
from glassmap.flows.notify import announce
from glassmap.flows.rounds.anew import learn_anew
from glassmap.flows.rounds.campaign import OpenCampaign, next_round
from glassmap.flows.rounds.decide import decide_round
from glassmap.flows.rounds.map import map_alloys
from glassmap.flows.rounds.measure import measure, receive
from glassmap.flows.rounds.mend import mend_artefacts
from glassmap.flows.rounds.plan import plan
from glassmap.flows.rounds.train import train

ATTEMPTS = 3  # at a stage that fails while nobody watches
Stage = Callable[[OpenCampaign, int], str]  # does what is missing of a round; returns its status, `done` or `waiting`


STAGES: Mapping[str, Stage] = {
    "plan": plan,
    "measure": measure,
    "train": train,
    "map": map_alloys,
    "decide": decide_round,
}


def advance(campaign: OpenCampaign, *, stages: Mapping[str, Stage] = STAGES) -> Status:
    """Run stages until the campaign stops or waits for measurements; tell who is to be told.

    Args:
        campaign: Open.
        stages: The five, as they are or wrapped (as Prefect tasks).
    """
    try:
        campaign.take_changes()
        if campaign.store.paused is None:
            mend_artefacts(campaign)
        campaign.store.keep_copy()
        if next_round(campaign.store) is None:  # what still comes is kept, for the case that it is extended
            receive(campaign)
        if campaign.store.paused is None:
            learn_anew(campaign)
        while (round_ := next_round(campaign.store)) is not None:
            if not run_round(campaign, round_, stages=stages):
                break
    except BaseException:
        with suppress(Exception):  # on a full disk, say: what led here is what counts
            announce(campaign.store, campaign.config.name, campaign.config.notify)
        raise
    announce(campaign.store, campaign.config.name, campaign.config.notify)
    return campaign.store.status()


def advance_unattended(campaign: OpenCampaign, *, stages: Mapping[str, Stage] = STAGES) -> Status:
    """As `advance`, but what failed several times is left alone until something happens: a person acts, a file comes.

    Otherwise a schedule would repeat it, simulations and all, for ever.
    """
    stage = campaign.store.last_stage()
    if stage is not None and stage.status == "failed" and stage.attempts >= ATTEMPTS:
        receive(campaign)
        if not campaign.store.has_news(since=stage):
            return campaign.store.status()
    return advance(campaign, stages=stages)


def run_round(campaign: OpenCampaign, round_: int, *, stages: Mapping[str, Stage] = STAGES) -> bool:
    """Do what is missing of a round; False where it has to wait, or a person paused it."""
    for name, stage in stages.items():
        if campaign.store.paused is not None:
            return False
        if campaign.store.stage_status(round_, name) == "done":
            continue
        campaign.take_changes()
        campaign.store.start_stage(round_, name)
        campaign.report(name, 0, 1, round_=round_)
        try:
            status = stage(campaign, round_)
        except Exception as error:
            why = refusal(error)
            with suppress(Exception), campaign.store.transaction():  # as above
                campaign.store.end_stage(round_, name, "failed", error=why or f"{type(error).__name__}: {error}")
                campaign.store.log("failed", f"round {round_}, {name}: {why or error}")
            raise
        if status != "done":
            return False
    campaign.store.keep_copy()
    return True
