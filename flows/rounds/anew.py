"""Anew: the last model is trained again where people took measurements out of use since, or into it."""

from glassmap.flows.rounds.campaign import OpenCampaign, next_round
from glassmap.flows.rounds.screen import screen_new
from glassmap.flows.rounds.train import had_come


def learn_anew(campaign: OpenCampaign) -> int | None:
    """Have the last round train, map and decide again, if what it learned from has changed since.

    So it is where a campaign has stopped, or has still to decide; where it goes on, the next round trains anyway.
    Nothing is trained here: the stages of the round are taken back in one transaction, and the loop does them. What
    came after the stop is screened, and learned from as well.

    Returns:
        The round; None where there is nothing to be done again.
    """
    store = campaign.store
    last, changed = store.last_stage(), store.use_changed
    if last is None or not changed or store.stage_status(last.round, "train") != "done":
        return None
    if next_round(store) not in (None, last.round):
        return None
    round_ = last.round
    screen_new(campaign, round_)
    learned = {one.id for one in had_come(store, round_)}
    used = {one.id for one in store.measurements() if one.state == "used"}
    counting = [id_ for id_ in changed if id_ in learned or id_ in used]  # what came later and went was never learned
    with store.transaction():
        if not counting:
            store.toggle_use(changed)
            return None
        store.learn_again(round_)
        words = ", ".join(f"{id_} is {'used now' if id_ in used else 'used no more'}" for id_ in counting)
        store.log("learns anew", f"round {round_}: {words}")
    return round_
