"""Record: what a backend tells becomes rows of the store and a line of the log, together or not at all."""

from collections.abc import Mapping, Sequence

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import DroppedScan, ScanState, Suggestion
from glassmap.flows.backends.protocol import Event, Failed, Filed, LedgerEntry, Looked, Measured, Progress
from glassmap.flows.rounds.campaign import OpenCampaign


def record(campaign: OpenCampaign, round_: int, event: Event) -> str:
    """Record what a backend tells, with its line of the log; call within a transaction.

    Args:
        campaign: Open.
        round_: That measurements are counted to.
        event: What was told.

    Returns:
        What became of it, a sentence for a person; empty where that isn't worth one.
    """
    store = campaign.store
    match event:
        case Progress(suggestion, share):
            store.record_progress(suggestion, share)
            return ""
        case Failed(suggestion, reason, cpu_seconds):
            store.record_failure(suggestion, reason, cpu_seconds=cpu_seconds)
            alloy = name_alloy(suggestion, campaign.config.space.elements)
            store.log("failed", f"round {round_}, {alloy}: {reason}")
            return f"{suggestion.id}: failed. {reason}"
        case Filed():
            _record_filed(store, event)
            return event.text
        case Looked(said):
            store.record_look(said)
            return ""
        case Measured():
            return _record_measured(campaign, round_, event)


def _record_filed(store: CampaignStore, event: Filed) -> None:
    """Record what became of a file and its scans, and what a table says."""
    number = _record_entry(store, event.file, is_news=event.is_news)
    for row in event.samples:
        store.record_sample(row, file=number)
    for scan in event.scans:
        store.record_scan(scan)
    if event.file.state == "quarantined":
        store.end_waiting(event.file.hash, event.file.reason)
    if event.replaces is not None:
        _record_entry(store, event.replaces, is_news=True)


def _record_entry(store: CampaignStore, entry: LedgerEntry, *, is_news: bool) -> int:
    """Record an entry of the ledger, and its line of the log where it is news; returns its number."""
    if is_news:
        detail = f"{entry.path} is {entry.reason}" if entry.state == "duplicate" else f"{entry.path}: {entry.reason}"
        what = entry.kind if entry.state == "used" else entry.state
        store.log(what, detail, subject=entry.measurement or "")
    return store.record_file(
        entry.path,
        size=entry.size,
        modified=entry.modified,
        hash_=entry.hash,
        kind=entry.kind,
        state=entry.state,
        reason=entry.reason,
        measurement=entry.measurement,
        is_news=is_news,
    )


def _record_measured(campaign: OpenCampaign, round_: int, event: Measured) -> str:
    """Record a measurement under an id of its own, and the file that it was read from."""
    store, elements, asked = campaign.store, campaign.config.space.elements, event.suggestion
    alloy, number = label(event.composition, elements), store.new_measurement_id(asked)
    what = "unsolicited" if asked is None else "repeated" if number != asked.id else "measured"
    if asked is not None:
        store.mark_order(asked.round)
    store.record_spectrum(
        asked,
        event.composition,
        event.spectrum,
        backend=campaign.at(round_).settings.kind,
        facts=event.facts,
        id_=number,
        round_=round_,
        hold_out=event.hold_out,
    )
    if "file" in event.facts:
        remark = f". {event.remark}" if event.remark else ""
        store.log(what, f"{event.facts['file']}{name_scan(event.scan)}: {alloy}{remark}", subject=number)
        store.count_news()  # it came from outside, and may be what a failed stage lacked
    if asked is not None and event.facts.get("is_crystalline"):
        share = event.facts["crystalline"]
        store.log("crystallised", f"round {round_}, {name_alloy(asked, elements)}: {share:.0%}")
    if event.file is not None and event.scan is not None:
        store.record_scan(event.scan._replace(state="used", reason=what, measurement=number))
        entry = event.file._replace(reason=what, measurement=number)
        if event.scan.name:  # of several
            states = store.states_of_scans(event.file.hash)
            entry = event.file._replace(state="waiting" if "waiting" in states else "used", reason=say_states(states))
        _record_entry(store, entry, is_news=False)
    return f"{event.facts.get('file', number)}{name_scan(event.scan)}: {what}, {number}, {alloy}."


def say_states(counts: Mapping[ScanState, int]) -> str:
    """Say in words what became of the scans of a file that holds several, by how many are in each state."""
    words: dict[ScanState, str] = {
        "used": "used",
        "waiting": "waiting",
        "duplicate": "there before",
        "quarantined": "refused",
    }
    said = ", ".join(f"{counts[state]} {word}" for state, word in words.items() if state in counts)
    return f"{sum(counts.values())} scans: {said}."


def name_scan(scan: DroppedScan | None) -> str:
    """Return what follows on the name of a file where several scans are in it."""
    return f", scan {scan.name}" if scan is not None and scan.name else ""


def name_alloy(suggestion: Suggestion, elements: Sequence[str]) -> str:
    """Return how people call what was asked for."""
    return label(np.array(suggestion.composition), elements)
