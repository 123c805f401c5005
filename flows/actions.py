"""What people decide about a campaign: each a few rows in the store, with who, when and why in the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from getpass import getuser

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig, first_own_round
from glassmap.agent.data.composition import SAME_ALLOY, label
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.errors import CampaignError
from glassmap.agent.planning.acquisition import candidate_named
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Measurement, Request, SuggestionStatus
from glassmap.flows.backends.protocol import open_backend
from glassmap.flows.rounds.campaign import OpenCampaign, next_round
from glassmap.flows.rounds.candidates import known_candidates
from glassmap.flows.rounds.orders import write_orders
from glassmap.flows.rounds.plan import plan_replacements


def current_user() -> str:
    """Return who is at the keyboard, for the log."""
    return getuser()


def request(store: CampaignStore, alloys: Sequence[str], reason: str) -> str:
    """Have some alloys measured with the next batch, before those that the rule chooses.

    Args:
        store: Of a campaign that has begun.
        alloys: Such as `Co40V32Zr28`, in at.%; in a replay the nearest sample of the data set stands for it.
        reason: Why, for the log; may be empty.

    Raises:
        CompositionError: If one can't be read.
        CampaignError: If one isn't among what may be planned, or is measured, pending, rejected or requested already.
    """
    config = CampaignConfig.recorded(store.config)
    candidates = compositions_of(known_candidates(config, open_backend(config.backend, config, store.folder), store))
    elements, since = config.space.elements, config.first_own_round
    asked = [candidate_named(text, candidates, elements) for text in alloys]
    names = [label(one, elements) for one in asked]
    taken = store.taken(since=since)
    with store.transaction():
        requests = store.requests
        for name, one in zip(names, asked, strict=True):
            known = np.concatenate([taken, *([one_.composition] for one_ in requests)])
            if len(known) and np.linalg.norm(known - one, axis=1).min() <= SAME_ALLOY:
                raise CampaignError(
                    f"{name} is measured, pending, rejected or requested already; `glassmap orders {store.folder}` and "
                    "`glassmap ledger` say which. `glassmap retry` has one measured again."
                )
            requests.append(Request(tuple(one.tolist()), store.person, reason, now()))
            store.log("requested", f"{name}{f': {reason}' if reason else ''}")
        store.record_requests(requests)
    round_ = max(store.last_planned_round() + 1, since)
    said = f"{', '.join(names)}: measured first in round {round_}, the next to be planned."
    if next_round(store) is None:
        said += f" The campaign has stopped; `glassmap extend {store.folder} --rounds 1` has it go on."
    return said


def approve(store: CampaignStore) -> str:
    """Let the planned batch be measured."""
    round_ = _round_at(store, "measure")
    if store.batch_time(round_, "approved") is not None:
        raise CampaignError(f"Round {round_} is approved already.")
    with store.transaction():
        store.record_approval(round_)
        store.log("approved", f"round {round_}")
    return f"Round {round_} may be measured."


def reject(campaign: OpenCampaign, ids: Sequence[str], reason: str) -> str:
    """Take alloys off the batch for good and plan as many others in their place."""
    store, ids = campaign.store, list(dict.fromkeys(ids))
    rule = "what is yet to be measured can be rejected"
    statuses = _suggestion_statuses(store, ids, ("missing", "failed"), rule)
    rounds = {one.suggestion.round for one in statuses}
    if len(rounds) > 1:
        raise CampaignError(f"Reject alloys of one round at a time; got some of rounds {sorted(rounds)}.")
    others = plan_replacements(campaign, rounds.pop(), [one.suggestion for one in statuses])  # may ask the model
    with _recording(store, ids):
        _suggestion_statuses(store, ids, ("missing", "failed"), rule)  # somebody may have been faster
        for one in statuses:
            store.record_exclusion(one.suggestion.id, "rejected", reason)
            store.log("rejected", reason, subject=one.suggestion.id)
        store.add_to_batch(others)
        for before, other in zip(statuses, others, strict=False):
            store.log("planned", f"in place of {before.suggestion.id}", subject=other.id)
    elements = campaign.config.space.elements
    alloys = ", ".join(f"{other.id} {label(np.array(other.composition), elements)}" for other in others)
    return f"Rejected {', '.join(ids)}; planned instead: {alloys}."


def abandon(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Wait for some alloys no longer; what comes of them nevertheless is used."""
    _suggestion_statuses(store, ids, ("missing", "failed"), "what is still to be measured can be abandoned")
    with _recording(store, ids):
        for id_ in ids:
            store.record_exclusion(id_, "abandoned", reason)
            store.log("abandoned", reason, subject=id_)
    return f"No longer waiting for {', '.join(ids)}."


def retry(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Wait for alloys again that failed, were abandoned, or whose measurement was retracted."""
    rule = "what failed, was abandoned or retracted can be tried again"
    first = first_own_round(store.config)
    for one in _suggestion_statuses(store, ids, ("failed", "abandoned", "retracted"), rule):
        if one.suggestion.round < first <= (next_round(store) or first):
            raise CampaignError(f"{one.suggestion.id} was asked for by the guide, whose rounds are over.")
    with _recording(store, ids):
        store.record_go_on(None)  # what is tried again is waited for
        for id_ in ids:
            store.forget_exclusion(id_)
            store.log("to be tried again", reason, subject=id_)
    return f"Waiting for {', '.join(ids)} again."


def retract(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Keep measurements, but learn from them no more."""
    found = [_measurement(store, id_) for id_ in ids]
    for one in found:
        if one.state == "retracted":
            raise CampaignError(f"{one.id} is retracted already: {one.reason}")
    with _recording(store, [one.suggestion for one in found]):
        for one in found:
            if one.state == "used":
                store.toggle_use([one.id])
            store.set_measurement_state(one.id, "retracted", reason)
            store.log("retracted", reason, subject=one.id)
            if one.suggestion is not None and _suggestion_status(store, one.suggestion).measurement is None:
                store.record_exclusion(one.suggestion, "retracted", reason)
    return (
        f"Retracted {', '.join(ids)}: kept, and left out of the next training. {_how_to_apply(store)} `glassmap retry` "
        "has the alloy measured again."
    )


def accept(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Use measurements that were flagged, or retracted by mistake; of one in use, have its flag count no more."""
    found = [_measurement(store, id_) for id_ in ids]
    for one in found:
        if one.state == "used" and not one.reason:
            raise CampaignError(f"{one.id} is used already.")
    with _recording(store, [one.suggestion for one in found]):
        for one in found:
            if one.state != "used":
                store.toggle_use([one.id])
            store.set_measurement_state(one.id, "used", "")
            store.log("accepted", reason, subject=one.id)
            if one.suggestion is not None:
                store.forget_exclusion(one.suggestion)
    if all(one.state == "used" for one in found):
        return f"{', '.join(ids)} stays in use; its flag counts no more."
    return f"{', '.join(ids)} will be used from the next training on. {_how_to_apply(store)}"


def _how_to_apply(store: CampaignStore) -> str:
    """What has a campaign learn from other measurements than it did."""
    if next_round(store) is None:
        return (
            f"The campaign has stopped: `glassmap retrain {store.folder}` trains, maps and decides again, and so does "
            "`glassmap run`."
        )
    return f"`glassmap retrain {store.folder}` trains now."


def go_on(store: CampaignStore, reason: str) -> str:
    """Have the round go on without what is missing; what still comes is used when it comes."""
    round_ = _round_at(store, "measure")
    if store.batch_time(round_, "ordered") is None:
        raise CampaignError(f"Round {round_} isn't ordered yet, so nothing of it can be in. Approve it first.")
    missing = len(store.suggestions(round_=round_, pending=True))
    with store.transaction():
        store.record_go_on(round_)
        store.log("goes on", f"round {round_} without {missing}: {reason}")
    return f"Round {round_} goes on without {missing} measurements with the next `glassmap run {store.folder}`."


def pause(store: CampaignStore, reason: str) -> str:
    """Have the campaign stop before its next stage."""
    with store.transaction():
        store.record_pause(reason)
        store.log("paused", reason)
    return "The campaign stops before its next stage; `glassmap resume` has it go on."


def resume(store: CampaignStore) -> str:
    """Have a paused campaign go on."""
    if store.paused is None:
        raise CampaignError(f"The campaign isn't paused. `glassmap run {store.folder}` goes on where it was.")
    with store.transaction():
        store.end_pause()
        store.log("resumed")
    return f"No longer paused; `glassmap run {store.folder}` goes on."


def extend(store: CampaignStore, reason: str, **more: float | None) -> str:
    """Give the campaign more of its budget; said twice, as after a kill, it gives no more than once.

    Args:
        store: The campaign's.
        reason: Why, for the log.
        more: Of `rounds` (made whatever the stop rule says), `spectra`, `hours`, `cpu_hours`: on top of what is used
            now, or of the campaign file's limit where that is not yet reached.
    """
    given = {name: value for name, value in more.items() if value is not None}
    if not given:
        raise CampaignError("Say what there is more of: --rounds, --spectra, --hours or --cpu-hours.")
    stop = store.config["stop"]
    until, limits, used = store.extended_to, store.extended_limits, store.used()
    words = []
    with store.transaction():
        for name, value in given.items():
            if name == "rounds":
                until = max(until, used.rounds + int(value))
                words.append(f"to round {until}")
                continue
            if (limit := stop.get(f"max_{name}")) is None:
                raise CampaignError(f"The campaign file sets no limit stop.max_{name}, so there is none to extend.")
            limits[name] = max(limits.get(name, 0), max(getattr(used, name), limit) + value)
            words.append(f"to {limits[name]:g} {name.replace('cpu_hours', 'CPU-hours')}")
        if (until, limits) != (store.extended_to, store.extended_limits):
            store.record_extension(to_round=until, limits=limits)
            if next_round(store) is None:
                store.reopen_decision()
            store.log("extended", f"{', '.join(words)}: {reason}")
    return f"The campaign may go on {', '.join(words)}, if alloys are left; then its stop rule counts again."


@contextmanager
def _recording(store: CampaignStore, suggestions: Sequence[str | None]) -> Iterator[None]:
    """One transaction for what is decided about some suggestions; then their orders are written anew."""
    with store.transaction():
        yield
        for id_ in filter(None, suggestions):
            store.mark_order(_suggestion_status(store, id_).suggestion.round)
    write_orders(store)


def _suggestion_statuses(
    store: CampaignStore, ids: Sequence[str], states: Sequence[str], rule: str
) -> list[SuggestionStatus]:
    """What became of some suggestions.

    Raises:
        CampaignError: If one is in another state than the rule allows.
    """
    found = [_suggestion_status(store, id_) for id_ in ids]
    for one in found:
        if one.state not in states:
            raise CampaignError(f"{one.suggestion.id} is {one.state}; only {rule}.")
    return found


def _suggestion_status(store: CampaignStore, id_: str) -> SuggestionStatus:
    suggestion = store.suggestion(id_)
    if suggestion is None:
        raise CampaignError(f"No alloy was asked for as {id_!r}. `glassmap orders {store.folder}` lists them.")
    return store.suggestion_status(suggestion)


def _measurement(store: CampaignStore, id_: str) -> Measurement:
    found = store.measurement(id_)
    if found is None:
        raise CampaignError(f"There is no measurement {id_!r}. `glassmap ledger {store.folder}` lists them.")
    return found


def _round_at(store: CampaignStore, stage: str) -> int:
    """The round that is at a stage.

    Raises:
        CampaignError: If the campaign is elsewhere.
    """
    at = store.last_stage()
    if at is None or at.name != stage or at.status == "done":
        where = "has not begun" if at is None else f"is at {at.name} of round {at.round} ({at.status})"
        raise CampaignError(f"No batch is waiting to be measured: the campaign {where}.")
    return at.round
