"""Measure: have the backend measure what is pending, record each answer as it comes, wait for what is missing."""

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from glassmap.agent.config.campaign import LabConfig, SimulationConfig
from glassmap.agent.data.composition import label
from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.flows.backends.lab.backend import Laboratory
from glassmap.flows.backends.lab.intake import take_in
from glassmap.flows.backends.lab.orders import write_orders
from glassmap.flows.backends.protocol import Failure, Measurement, Progress
from glassmap.flows.rounds.campaign import OpenCampaign, budget_of, least_batch, round_of_arrivals
from glassmap.flows.rounds.screen import screen_new


def measure(campaign: OpenCampaign, round_: int) -> str:
    """Ask the backend for what is still pending; each answer is recorded as it comes."""
    store, elements = campaign.store, campaign.config.space.elements
    is_ordered = _place_order(campaign, round_)
    receive(campaign)  # what was asked for before may come while this round waits
    if not is_ordered:
        return "waiting"
    asked = store.suggestions(round_=round_)
    with store.transaction():
        store.clear_progress()  # of a process that was killed
        tries_itself = not isinstance(campaign.at(round_).backend, Laboratory)
        if tries_itself and not store.suggestions(round_=round_, pending=True):  # somebody saw to why all failed
            store.forget_failures(round_)
    since = campaign.at(round_).since
    pending = [s for s in store.suggestions(pending=True) if s.round >= since]  # of earlier rounds those to try again
    total = len(asked) + sum(s.round != round_ for s in pending)
    done, running = total - len(pending), {}
    with closing(campaign.at(round_).backend.measure(pending)) as news:
        for found in news:
            alloy = label(np.array(found.suggestion.composition), elements)
            with store.transaction():
                match found:
                    case Progress():
                        store.record_progress(found.suggestion, found.share)
                    case Failure():
                        store.record_failure(found.suggestion, found.reason, cpu_seconds=found.cpu_seconds)
                        store.log("failed", f"round {round_}, {alloy}: {found.reason}")
                    case Measurement():
                        kind = campaign.at(round_).settings.kind
                        store.record_spectrum(
                            found.suggestion,
                            found.composition,
                            found.spectrum,
                            backend=kind,
                            facts=found.facts,
                            id_=store.new_measurement_id(found.suggestion),
                            round_=round_,
                        )
                        if found.facts.get("is_crystalline"):
                            store.log("crystallised", f"round {round_}, {alloy}: {found.facts['crystalline']:.0%}")
            if isinstance(found, Progress):
                running[alloy] = found.share
            else:
                running.pop(alloy, None)
                done += 1
            shares = ", ".join(f"{alloy} {share:.0%}" for alloy, share in running.items())
            campaign.report("measure", done, total, shares, round_=round_)
            if _is_cut(campaign, round_):
                break
    return _end_measuring(campaign, round_)


def _place_order(campaign: OpenCampaign, round_: int) -> bool:
    """Have the batch count as ordered; False, and the stage waits, where a person has yet to approve it."""
    store = campaign.store
    needs_approval = campaign.config.planning.approval == "required" and not campaign.at(round_).is_guide
    is_held_up = needs_approval and store.batch_time(round_, "approved") is None
    with store.transaction():
        if is_held_up:
            reason = f"Round {round_} waits for approval: `glassmap approve {store.folder}`, or `reject` some first."
            store.end_stage(round_, "measure", "waiting", reason)
        elif store.batch_time(round_, "ordered") is None:
            store.record_order(round_)
            store.mark_order(round_)
    return not is_held_up


def receive(campaign: OpenCampaign, *, files: Sequence[Path] | None = None) -> list[str]:
    """Take in what a laboratory has dropped, and say in the orders what is still missing; others drop nothing.

    Args:
        campaign: Open.
        files: Take in these instead, by hand.

    Returns:
        A sentence for each file.

    Raises:
        CampaignError: If files are given and the campaign has no laboratory.
    """
    store = campaign.store
    round_ = round_of_arrivals(store)
    lab = campaign.at(round_).backend
    if not isinstance(lab, Laboratory):
        if files:
            raise CampaignError(f"Only a laboratory takes in files; in round {round_} the campaign measures itself.")
        return []
    told = take_in(store, lab, round_, files)
    write_orders(store)
    return told


def _end_measuring(campaign: OpenCampaign, round_: int) -> str:
    """Wait for what is missing, or go on with what was measured: something to learn from, something to judge by."""
    store = campaign.store
    missing, failures = store.suggestions(round_=round_, pending=True), store.failures(round_=round_)
    status = "waiting" if missing and not _goes_on_without(campaign, round_) else "done"
    if status == "done":
        screen_new(campaign, round_)
    try:
        with store.transaction():
            if status == "done":
                _share_out(campaign, round_)
                store.log("measured", f"round {round_}: {len(missing)} still missing, {len(failures)} failed")
            store.end_stage(round_, "measure", status)
    except MeasurementError:
        with store.transaction():
            store.record_setting("go_on_with", None)  # it can't; what comes from here on is waited for
        raise
    return status


def _goes_on_without(campaign: OpenCampaign, round_: int) -> bool:
    """Whether a round goes on though measurements are missing: a person said so, or enough came and time is over."""
    store, settings = campaign.store, campaign.at(round_).settings
    if store.setting("go_on_with") == round_:
        return True
    if not isinstance(settings, LabConfig):
        return _is_cut(campaign, round_)
    hours = budget_of(store, campaign.config).hours
    if hours is not None and (store.used().hours or 0) >= hours and (round_ > 1 or store.n_spectra()):
        return True
    states = [one.state for one in store.suggestion_statuses(round_) if one.state != "rejected"]
    found = sum(state in ("measured", "doubtful") for state in states)
    ordered = store.batch_time(round_, "ordered")
    assert ordered is not None, "what is measured was ordered"
    late = datetime.now(UTC) - ordered >= timedelta(hours=settings.patience_hours)
    return late and found >= settings.minimum_share * len(states)


def _is_cut(campaign: OpenCampaign, round_: int) -> bool:
    """Whether a round of simulations ends early: its hours are spent, and as many are there as a batch needs."""
    store, at = campaign.store, campaign.at(round_)
    if not isinstance(at.settings, SimulationConfig) or at.is_guide:
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
    needs_held = not (at.backend.hold_out() or store.spectra(hold_out=True, since=at.since)[0])
    if not learn and len(held) > 1:
        store.record_hold_out(held[0], hold_out=False)
    elif needs_held and len(learn) > 1:
        store.record_hold_out(learn[0], hold_out=True)
    elif needs_held or (not learn and (failures or not store.spectra(hold_out=False, since=at.since)[0])):
        asked, first = len(store.suggestions(round_=round_)), next(iter(failures.values()), "")
        doubtful = [one.suggestion.id for one in store.suggestion_statuses(round_) if one.state == "doubtful"]
        if doubtful:
            raise MeasurementError(
                f"Of round {round_}, {len(measured)} of {asked} can be used, too few to learn from and to judge by; "
                f"{', '.join(doubtful)} are doubtful. Look at their pictures, then `glassmap accept` or `retract` them."
            )
        few = f"Too few of round {round_} could be measured, {len(measured)} of {asked}, to learn from and to judge by"
        if isinstance(at.settings, LabConfig):
            raise MeasurementError(
                f"{few}. Have some measured again with `glassmap retry`, or measure others; then `glassmap run "
                f"{store.folder}` goes on."
            )
        raise MeasurementError(
            few
            + (f"; the first failed because: {first} Remove the cause, then" if first else ". Measure more, then")
            + f" `glassmap run {store.folder}` tries again."
        )
