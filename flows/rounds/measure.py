"""Measure: have the backend measure what is pending, record each answer as it comes, wait for what is missing."""

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.protocol import Event, Failed, Measured, Progress
from glassmap.flows.rounds.campaign import OpenCampaign, budget_of, holds_out, least_batch, round_of_arrivals
from glassmap.flows.rounds.enough import weigh_wafers
from glassmap.flows.rounds.orders import write_orders
from glassmap.flows.rounds.record import name_alloy, record
from glassmap.flows.rounds.screen import screen_new


def measure(campaign: OpenCampaign, round_: int) -> str:
    """Have what is still pending measured; each answer is recorded as it comes."""
    store, backend = campaign.store, campaign.at(round_).backend
    is_ordered = _place_order(campaign, round_)
    if backend.is_asynchronous:
        receive(campaign)  # what was asked for before may come while this round waits
    if not is_ordered:
        return "waiting"
    with store.transaction():
        store.clear_progress()  # of a process that was killed
        if backend.retries_failures and not store.suggestions(round_=round_, pending=True):
            store.forget_failures(round_)  # somebody saw to why all failed
    if not backend.is_asynchronous:
        _measure_pending(campaign, round_)
    return _end_measuring(campaign, round_)


def _measure_pending(campaign: OpenCampaign, round_: int) -> None:
    """Measure what is pending, until all is there or the round is cut."""
    store, elements, at = campaign.store, campaign.config.space.elements, campaign.at(round_)
    pending = [s for s in store.suggestions(pending=True) if s.round >= at.since]  # earlier ones are to be tried again
    total = len(store.suggestions(round_=round_)) + sum(s.round != round_ for s in pending)
    done, running = total - len(pending), dict[str, float]()
    with closing(at.backend.measure(pending, store)) as events:
        for event in events:
            with store.transaction():
                record(campaign, round_, event)
            match event:
                case Progress(suggestion, share):
                    running[name_alloy(suggestion, elements)] = share
                case Measured(suggestion=Suggestion() as suggestion) | Failed(suggestion=suggestion):
                    running.pop(name_alloy(suggestion, elements), None)
                    done += 1
                case _:
                    pass
            shares = ", ".join(f"{alloy} {share:.0%}" for alloy, share in running.items())
            campaign.report("measure", done, total, shares, round_=round_)
            if _is_cut(campaign, round_):
                break


def _place_order(campaign: OpenCampaign, round_: int) -> bool:
    """Have the batch count as ordered; False, and the stage waits, where a person has yet to approve it."""
    store = campaign.store
    needs_approval = campaign.config.planning.approval == "required" and not campaign.at(round_).is_guide
    is_held_up = needs_approval and store.batch_time(round_, "approved") is None
    with store.transaction():
        if is_held_up:
            store.end_stage(round_, "measure", "waiting", waiting_for="approval")
        elif store.batch_time(round_, "ordered") is None:
            store.record_order(round_)
            store.mark_order(round_)
    return not is_held_up


def receive(campaign: OpenCampaign, *, files: Sequence[Path] | None = None) -> list[str]:
    """Take in what has come from outside, and say in the orders what is still missing; to most backends nothing comes.

    Args:
        campaign: Open.
        files: Take in these instead, by hand.

    Returns:
        A sentence for each file.

    Raises:
        CampaignError: If files are given and the campaign takes none.
    """
    store = campaign.store
    round_ = round_of_arrivals(store)
    at = campaign.at(round_)
    if files is not None:
        if at.backend.deliveries is None:
            raise CampaignError(
                f"Only a laboratory takes in files; in round {round_} the campaign measures itself. `glassmap import` "
                "makes a data set of files."
            )
        told = _record_each(campaign, round_, at.backend.deliveries.take_files(files, store))
    elif at.backend.is_asynchronous:
        pending = [s for s in store.suggestions(pending=True) if s.round >= at.since]
        told = _record_each(campaign, round_, at.backend.measure(pending, store))
        if store.read_again:
            with store.transaction():
                store.end_reading_again()
    else:
        return []
    weigh_wafers(campaign)
    write_orders(store)
    return told


def _record_each(campaign: OpenCampaign, round_: int, events: Generator[Event]) -> list[str]:
    """Record event after event, each in a transaction of its own; returns the sentences."""
    told: list[str] = []
    with closing(events):
        for event in events:
            with campaign.store.transaction():
                told.append(record(campaign, round_, event))
    return [sentence for sentence in told if sentence]


def _end_measuring(campaign: OpenCampaign, round_: int) -> str:
    """Wait for what is missing, or go on with what was measured: something to learn from, something to judge by."""
    store = campaign.store
    missing, failures = store.suggestions(round_=round_, pending=True), store.failures(round_=round_)
    status = "waiting" if missing and not _goes_on_without(campaign, round_) else "done"
    if status == "done":
        screen_new(campaign, round_)
    weigh_wafers(campaign)
    try:
        with store.transaction():
            if status == "done":
                _share_out(campaign, round_)
                store.log("measured", f"round {round_}: {len(missing)} still missing, {len(failures)} failed")
            store.end_stage(round_, "measure", status, waiting_for="measurements" if status == "waiting" else None)
    except MeasurementError:
        with store.transaction():
            store.record_go_on(None)  # it can't; what comes from here on is waited for
        raise
    return status


def _goes_on_without(campaign: OpenCampaign, round_: int) -> bool:
    """Return whether a round goes on though some are missing: a person said so, or enough came and time is over."""
    store, backend = campaign.store, campaign.at(round_).backend
    if store.go_on_with == round_:
        return True
    if not backend.is_asynchronous:
        return _is_cut(campaign, round_)
    hours = budget_of(store, campaign.config).hours
    if hours is not None and (store.used().hours or 0) >= hours and (round_ > 1 or store.n_spectra()):
        return True
    states = [one.state for one in store.suggestion_statuses(round_) if one.state != "rejected"]
    found = sum(state in ("measured", "flagged") for state in states)
    waited = store.hours_since_order(round_)
    assert waited is not None, "what is measured was ordered"
    return backend.has_enough(found, len(states), timedelta(hours=waited))


def _is_cut(campaign: OpenCampaign, round_: int) -> bool:
    """Return whether a round ends early: its hours are spent, and as many are there as a batch needs."""
    store, at = campaign.store, campaign.at(round_)
    if not at.backend.may_end_early or at.is_guide:
        return False
    limit = budget_of(store, campaign.config)._replace(spectra=None)
    if limit.spent(store.used()._replace(rounds=0)) is None:
        return False
    return sum(one.state == "measured" for one in store.suggestion_statuses(round_)) >= least_batch(campaign, round_)


def _share_out(campaign: OpenCampaign, round_: int) -> None:
    """Where too many failed, learn from one that was to be held out, or hold one out that was to be learned from.

    Raises:
        MeasurementError: If none of the batch was measured, or too few for both.
    """
    store, failures = campaign.store, campaign.store.failures(round_=round_)
    measured = [one.suggestion for one in store.suggestion_statuses(round_) if one.state == "measured"]
    learn, held = ([s for s in measured if s.hold_out == kind] for kind in (False, True))
    at = campaign.at(round_)
    needs_held = holds_out(campaign, round_) and not store.spectra(hold_out=True, since=at.since)[0]
    if not learn and len(held) > 1:
        store.record_hold_out(held[0], hold_out=False)
    elif needs_held and len(learn) > 1:
        store.record_hold_out(learn[0], hold_out=True)
    elif needs_held or (not learn and (failures or not store.spectra(hold_out=False, since=at.since)[0])):
        asked, first = len(store.suggestions(round_=round_)), next(iter(failures.values()), "")
        flagged = [one.suggestion.id for one in store.suggestion_statuses(round_) if one.state == "flagged"]
        if flagged:
            raise MeasurementError(
                f"Of round {round_}, {len(measured)} of {asked} can be used, too few to learn from and to judge by; "
                f"{', '.join(flagged)} are flagged. Look at their pictures, then `glassmap accept` or `retract` them."
            )
        few = f"Too few of round {round_} could be measured, {len(measured)} of {asked}, to learn from and to judge by"
        if not at.backend.retries_failures:
            raise MeasurementError(
                f"{few}. Have some measured again with `glassmap retry`, or measure others; then `glassmap run "
                f"{store.folder}` goes on."
            )
        raise MeasurementError(
            few
            + (f"; the first failed because: {first} Remove the cause, then" if first else ". Measure more, then")
            + f" `glassmap run {store.folder}` tries again."
        )
