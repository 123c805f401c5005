"""Record: what a backend tells becomes rows of the store and a line of the log, together or not at all."""

from collections.abc import Sequence

import numpy as np

from glassmap.agent.data.composition import label
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.flows.backends.protocol import Event, Failed, Filed, LedgerEntry, Measured, Progress
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
        case Measured():
            return _record_measured(campaign, round_, event)


def _record_filed(store: CampaignStore, event: Filed) -> None:
    """Record what became of a file, and what a table says."""
    number = _record_entry(store, event.file, is_news=event.is_news)
    for sample, composition in event.samples.items():
        wafer, context = event.wafers.get(sample, ""), event.contexts.get(sample)
        store.record_sample(sample, composition, file=number, wafer=wafer, context=context)
    if event.replaces is not None:
        _record_entry(store, event.replaces, is_news=True)


def _record_entry(store: CampaignStore, entry: LedgerEntry, *, is_news: bool) -> int:
    """Record an entry of the ledger, and its line of the log where it is news; returns its number."""
    if is_news:
        detail = f"{entry.path} is {entry.reason}" if entry.state == "duplicate" else f"{entry.path}: {entry.reason}"
        store.log("table" if entry.state == "used" else entry.state, detail, subject=entry.measurement or "")
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
        store.log(what, f"{event.facts['file']}: {alloy}", subject=number)
        store.count_news()  # it came from outside, and may be what a failed stage lacked
    if asked is not None and event.facts.get("is_crystalline"):
        share = event.facts["crystalline"]
        store.log("crystallised", f"round {round_}, {name_alloy(asked, elements)}: {share:.0%}")
    if event.file is not None:
        _record_entry(store, event.file._replace(reason=what, measurement=number), is_news=False)
    return f"{event.facts.get('file', number)}: {what}, {number}, {alloy}."


def name_alloy(suggestion: Suggestion, elements: Sequence[str]) -> str:
    """Return how people call what was asked for."""
    return label(np.array(suggestion.composition), elements)
