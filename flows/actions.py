"""What people decide about a campaign: each a few rows in the store, with who, when and why in the log."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from getpass import getuser
from typing import Literal, NamedTuple, Self

import numpy as np

from glassmap.agent.config.campaign import first_own_round
from glassmap.agent.data.composition import label, parse_composition
from glassmap.agent.errors import CampaignError, SpaceExhausted
from glassmap.agent.outside_text import plain_name
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.notes import NOTED
from glassmap.agent.store.records import ExcludedWafer, Measurement, Suggestion, SuggestionStatus
from glassmap.flows.rounds.campaign import OpenCampaign, next_round
from glassmap.flows.rounds.orders import write_orders
from glassmap.flows.rounds.plan import Replacements, plan_replacements
from glassmap.flows.rounds.wafers import say_wafers


def current_user() -> str:
    """Return who is at the keyboard, for the log."""
    return getuser()


INSTEAD = {  # what can be done about an alloy, by its state
    "missing": "`glassmap abandon` waits for it no longer, `reject` plans another in its place.",
    "measured": "`glassmap retract` takes its measurement out of use, after which `retry` has it measured again.",
    "flagged": "`glassmap accept` uses its measurement, `retract` doesn't.",
    "failed": "`glassmap retry` has it measured again, `abandon` or `reject` don't.",
    "rejected": "What is rejected doesn't come back; `glassmap request` asks for an alloy beside it.",
    "abandoned": "`glassmap retry` waits for it again.",
    "retracted": "`glassmap retry` has it measured again.",
}


def approve(store: CampaignStore) -> str:
    """Let the planned batch be measured."""
    round_ = _round_at(store, "measure")
    if store.batch_time(round_, "approved") is not None:
        raise CampaignError(f"Round {round_} is approved already; `glassmap run {store.folder}` goes on.")
    with store.transaction():
        store.record_approval(round_)
        store.log("approved", f"round {round_}")
    return f"Round {round_} may be measured."


def reject(campaign: OpenCampaign, ids: Sequence[str], reason: str) -> str:
    """Take alloys off the batch for good and plan as many others in their place; of a wafer all that is waited for."""
    store, ids = campaign.store, list(dict.fromkeys(ids))
    wafers, ids = split_wafers(store, ids)
    said = [give_up_wafer(campaign, wafer, "rejected", reason) for wafer in wafers]
    if not ids:
        return " ".join(said)
    rule = "what is yet to be measured can be rejected"
    statuses = _suggestion_statuses(store, ids, ("missing", "failed"), rule)
    rounds = {one.suggestion.round for one in statuses}
    if len(rounds) > 1:
        raise CampaignError(
            f"`glassmap reject` takes alloys of one round at a time; got some of rounds {sorted(rounds)}. Reject those "
            "of each by themselves."
        )
    others = plan_replacements(campaign, rounds.pop(), [one.suggestion for one in statuses])  # may ask the model
    with _recording(store, ids):
        _suggestion_statuses(store, ids, ("missing", "failed"), rule)  # somebody may have been faster
        for one in statuses:
            store.record_exclusion(one.suggestion.id, "rejected", reason)
            store.log("rejected", reason, subject=one.suggestion.id)
        others.record(store)
        for before, other in zip(statuses, others.suggestions, strict=False):
            store.log("planned", f"in place of {before.suggestion.id}", subject=other.id)
    elements = campaign.config.space.elements
    alloys = ", ".join(f"{other.id} {label(np.array(other.composition), elements)}" for other in others.suggestions)
    return " ".join([*said, f"Rejected {', '.join(ids)}; planned instead: {alloys}."])


def split_wafers(store: CampaignStore, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return which of some names are wafers, as the store calls them, and the others: ids of suggestions."""
    called = {name: None if store.suggestion(name) else store.wafer_called(name) for name in names}
    return [wafer for wafer in called.values() if wafer], [name for name, wafer in called.items() if not wafer]


def give_up_wafer(campaign: OpenCampaign, wafer: str, kind: Literal["rejected", "failed"], reason: str) -> str:
    """Plan nothing of a wafer any more, wait for none of its points, and plan others in place of those.

    Args:
        campaign: Open.
        wafer: As the store calls it.
        kind: Rejected by a person, or failed: of one that was to be made and failed the same may be made again.
        reason: Why, for the log.

    Raises:
        CampaignError: If it was given up before.
    """
    store, exclusion = campaign.store, "abandoned" if kind == "failed" else kind
    planned = {plain_name(one.name) for one in store.wafers()}
    keeps = kind == "rejected" and plain_name(wafer) in planned  # its alloys count as covered, so that another is made
    while True:
        _refuse_given_up(store, wafer)
        seen, nowhere, others = _Waited.of(store, wafer), ".", Replacements([], None)
        try:
            if seen.here:
                lost = [] if keeps else [wafer]
                others = plan_replacements(campaign, seen.here[0].round, seen.here, without=[wafer], lost=lost)
        except SpaceExhausted as error:
            nowhere = f"; nothing could be planned in its place. {error}"
        with _recording(store, [one.id for one in seen.pending]):
            _refuse_given_up(store, wafer)
            is_as_seen = _Waited.of(store, wafer) == seen  # else some came meanwhile, or the round went on
            if is_as_seen:
                store.exclude_wafer(ExcludedWafer(wafer, kind, reason, store.person, now()))
                store.log(f"wafer {kind}", f"{wafer}: {reason}", subject=wafer)
                for one in seen.pending:
                    store.record_exclusion(one.id, exclusion, f"{wafer} {kind}: {reason}")
                others.record(store)
                for other in others.suggestions:
                    store.log("planned", _in_place_of(wafer), subject=other.id)
        if is_as_seen:
            break
    pending = seen.pending
    said = f"{wafer} {'is rejected' if kind == 'rejected' else 'has failed'}"
    if pending:
        said += f": {len(pending)} of its points are no longer waited for"
    if others.suggestions and others.wafers:
        on = say_wafers(others.wafers, [one.wafer for one in others.suggestions])
        return f"{said}; planned instead: {len(others.suggestions)} points of {on}."
    if others.suggestions:
        return f"{said}; planned instead: {', '.join(one.id for one in others.suggestions)}."
    return said + nowhere


class _Waited(NamedTuple):
    """What is waited for on a wafer, and what a plan of other alloys in its place rests on."""

    pending: list[Suggestion]
    here: list[Suggestion]  # those of the batch that is being measured
    n_asked: int  # in that batch, of whatever wafer

    @classmethod
    def of(cls, store: CampaignStore, wafer: str) -> Self:
        """Look what is waited for now."""
        pending = [one for one in store.suggestions(pending=True) if plain_name(one.wafer) == plain_name(wafer)]
        at = store.last_stage()
        if at is None or at.name != "measure" or at.status == "done":
            return cls(pending, [], 0)
        here = [one for one in pending if one.round == at.round]
        return cls(pending, here, len(store.suggestions(round_=at.round)))


def _refuse_given_up(store: CampaignStore, wafer: str) -> None:
    """Refuse a wafer that was given up before."""
    for one in store.excluded_wafers():
        if plain_name(one.wafer) == plain_name(wafer):
            raise CampaignError(
                f"{wafer} {'has failed' if one.kind == 'failed' else 'is rejected'} already: {one.reason} `glassmap "
                f"retry {store.folder} {wafer}` has it planned again."
            )


def retry_wafer(store: CampaignStore, wafer: str, reason: str) -> str:
    """Plan of a wafer again that was given up; its points that are abandoned are waited for again.

    Raises:
        CampaignError: If it was not given up.
    """
    if plain_name(wafer) not in store.given_up_wafers():
        raise CampaignError(
            f"{wafer} is neither rejected nor has it failed; only such a wafer can be tried again. `glassmap log "
            f"{store.folder} --about {wafer}` says what was done to it."
        )
    abandoned = [one.suggestion for one in store.excluded_suggestions(wafer) if one.kind == "abandoned"]
    instead = [one.id for one in store.suggestions(pending=True) if _replaces(store, one.id, wafer)]
    with _recording(store, abandoned):
        store.forget_wafer_exclusion(wafer)
        store.log("to be tried again", f"{wafer}: {reason}" if reason else wafer, subject=wafer)
        if abandoned:
            store.record_go_on(None)
        for id_ in abandoned:
            store.forget_exclusion(id_)
    said = f"{wafer} may be planned again"
    if abandoned:
        said += f"; {len(abandoned)} of its points are waited for again"
    if abandoned and instead:
        said += f", beside {', '.join(instead)}, planned in their place; `glassmap abandon` waits for those no longer"
    return f"{said}."


def _replaces(store: CampaignStore, suggestion: str, wafer: str) -> bool:
    """Return whether an alloy was planned in place of a point of a wafer."""
    lines = store.log_lines(subject=suggestion)
    return any(one.event == "planned" and one.detail == _in_place_of(wafer) for one in lines)


def _in_place_of(wafer: str) -> str:
    return f"in place of a point of {wafer}"


def abandon(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Wait for some alloys no longer; what comes of them nevertheless is used."""
    _suggestion_statuses(store, ids, ("missing", "failed"), "what is still to be measured can be abandoned")
    with _recording(store, ids):
        for id_ in ids:
            store.record_exclusion(id_, "abandoned", reason)
            store.log("abandoned", reason, subject=id_)
    return f"No longer waiting for {', '.join(ids)}."


def retry(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Wait for alloys again that failed, were abandoned, or whose measurement was retracted; of a wafer, plan again."""
    wafers, ids = split_wafers(store, ids)
    said = [retry_wafer(store, wafer, reason) for wafer in wafers]
    if not ids:
        return " ".join(said)
    rule = "what failed, was abandoned or retracted can be tried again"
    first = first_own_round(store.config)
    for one in _suggestion_statuses(store, ids, ("failed", "abandoned", "retracted"), rule):
        if one.suggestion.round < first <= (next_round(store) or first):
            raise CampaignError(
                f"{one.suggestion.id} was asked for by the guide, whose rounds are over; ask for the alloy itself with "
                "`glassmap request`."
            )
    with _recording(store, ids):
        store.record_go_on(None)  # what is tried again is waited for
        for id_ in ids:
            store.forget_exclusion(id_)
            store.log("to be tried again", reason, subject=id_)
    return " ".join([*said, f"Waiting for {', '.join(ids)} again."])


def retract(store: CampaignStore, ids: Sequence[str], reason: str) -> str:
    """Keep measurements, but learn from them no more."""
    found = [_measurement(store, id_) for id_ in ids]
    for one in found:
        if one.state == "retracted":
            raise CampaignError(
                f"{one.id} is retracted already: {one.reason.rstrip('.')}. `glassmap accept` takes it into use again."
            )
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
            raise CampaignError(f"{one.id} is used already; `glassmap retract` takes it out of use.")
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
        raise CampaignError(
            f"Round {round_} isn't ordered yet, so nothing of it can be in. `glassmap approve {store.folder}` first."
        )
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
        raise CampaignError(
            "Say what there is more of, as in `glassmap extend campaigns/lab --rounds 3`: --rounds, --spectra, --hours "
            "or --cpu-hours."
        )
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
                raise CampaignError(
                    f"The campaign file sets no limit stop.max_{name}, so there is none to extend; `glassmap change "
                    f"{store.folder} stop.max_{name}={getattr(used, name) + value:g}` sets one."
                )
            limits[name] = max(limits.get(name, 0), max(getattr(used, name), limit) + value)
            words.append(f"to {limits[name]:g} {name.replace('cpu_hours', 'CPU-hours')}")
        if (until, limits) != (store.extended_to, store.extended_limits):
            store.record_extension(to_round=until, limits=limits)
            if next_round(store) is None:
                store.reopen_decision()
            store.log("extended", f"{', '.join(words)}: {reason}")
    return f"The campaign may go on {', '.join(words)}, if alloys are left; then its stop rule counts again."


def note(
    store: CampaignStore,
    text: str,
    *,
    alloy: str | None = None,
    round_: int | None = None,
    measurement: str | None = None,
) -> str:
    """Record a remark, which changes nothing of what the campaign does.

    Args:
        store: The campaign's.
        text: The remark.
        alloy: That it is about, such as `Co40V32Zr28`, in at.%.
        round_: That it is about, of those that are planned.
        measurement: That it is about, or the id of what was asked for; without any of the three, it is about the
            campaign.

    Raises:
        CompositionError: If the alloy can't be read.
        CampaignError: If there is no text, no such round or measurement, or it is about several.
    """
    if not text.strip():
        raise CampaignError(f"A note has a text; got none. Write `glassmap note {store.folder} '…'`.")
    about = {"--alloy": alloy, "--round": round_, "--measurement": measurement}
    given = [option for option, value in about.items() if value is not None]
    if len(given) > 1:
        told = f"A note is about one thing; got {' and '.join(given)}."
        raise CampaignError(f"{told} Say `glassmap note {store.folder} '{text}'` for each.")
    last = store.last_planned_round()
    if round_ is not None and not 1 <= round_ <= last:
        known = f"it has planned rounds 1 to {last}" if last else "it has planned none yet"
        raise CampaignError(
            f"The campaign has no round {round_}: {known}. `glassmap note {store.folder} …` without --round is on the "
            "campaign."
        )
    if measurement is not None and store.measurement(measurement) is None and store.suggestion(measurement) is None:
        raise CampaignError(
            f"Nothing was asked for or measured as {measurement!r}. `glassmap orders {store.folder}` and `glassmap "
            "ledger` list what was."
        )
    composition = None if alloy is None else parse_composition(alloy, store.elements).tolist()
    with store.transaction(is_news=False):
        made = store.record_note(text.strip(), round_=round_, composition=composition, measurement=measurement)
        store.log(NOTED, made.text, subject="" if made.about == "the campaign" else made.about)
    return f"Noted on {made.about}."


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
            raise CampaignError(f"{one.suggestion.id} is {one.state}; only {rule}. {INSTEAD[one.state]}")
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
        raise CampaignError(
            f"No batch is waiting to be measured: the campaign {where}. `glassmap run {store.folder}` goes on."
        )
    return at.round
