"""Where a figure comes from, and what became of a measurement: suggestion, scan, model, map, decision, both ways."""

from collections.abc import Iterator

import numpy as np

from glassmap.agent.content_hash import harm_of
from glassmap.agent.data.composition import SAME_ALLOY, label, parse_composition
from glassmap.agent.errors import CampaignError
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Measurement
from glassmap.flows.backends.protocol import FROM_PYTHON

NEAREST = 5  # measurements that are named for an alloy


def trace(store: CampaignStore, what: str) -> Iterator[str]:
    """Lines for a person, about a sample or measurement by its id, or an alloy of the last map in at.%.

    Raises:
        CampaignError: If nothing is called so, or there is no map yet.
        CompositionError: If the alloy can't be read.
    """
    if store.suggestion(what) is not None or store.measurement(what) is not None:
        yield from _trace_sample(store, what)
    else:
        yield from _trace_alloy(store, what)


def _trace_sample(store: CampaignStore, id_: str) -> Iterator[str]:
    """From the suggestion to everything that was made with its measurements."""
    elements = store.elements
    if (suggestion := store.suggestion(id_)) is not None:
        status = store.suggestion_status(suggestion)
        alloy = label(np.array(suggestion.composition), elements)
        held = ", held out" if suggestion.hold_out else ""
        yield f"{id_}: asked for in round {suggestion.round} as {alloy}{held}; {status.state}. {status.reason}"
    mine = [m for m in store.measurements() if id_ in (m.id, m.suggestion)]
    models = store.artefacts("checkpoint")
    learned = {round_: store.training_ids(round_) for round_ in models}
    for measured in mine:
        yield _describe(measured, elements)
        yield from (f"  {note}" for note in measured.facts.get("notes", ()))
        for round_, path in models.items():
            if measured.id in (learned[round_] or []):
                yield f"  trained {path.name} (round {round_})"
    for round_ in [round_ for round_, ids in learned.items() if ids is None]:
        yield (
            f"What {models[round_].name} (round {round_}) learned from can't be told: it {harm_of(models[round_])}. "
            f"`glassmap run {store.folder}` trains it again."
        )
    yield "Log:"
    for line in store.log_lines(subject=id_):
        yield f"  {line.time} {line.person}: {line.event} {line.detail}".rstrip()


def _trace_alloy(store: CampaignStore, alloy: str) -> Iterator[str]:
    """From a pixel of the map back to the scans."""
    elements = store.elements
    composition = parse_composition(alloy, elements)
    found = store.artefact("map")
    if found is None:
        raise CampaignError(f"There is no map yet. `glassmap run {store.folder}` makes one.")
    round_, path = found
    columns, _ = read_map(path)
    mapped = np.stack([columns[element] for element in elements], axis=1) / 100  # (alloys, elements)
    row = int(np.abs(mapped - composition).max(axis=1).argmin())
    known = (figure for figure in FIGURES if figure.name in columns)
    figures = (f"{f.label} {f.say(columns[f.name][row], columns[f.std_name][row])}" for f in known)
    yield f"{label(mapped[row], elements)}: {', '.join(figures)}"
    yield f"  from {path.name} (round {round_})"
    checkpoint, ids = store.artefact("checkpoint", round_), store.training_ids(round_)
    assert checkpoint is not None, "a map is made with a checkpoint"
    if ids is None:
        yield f"  made with {checkpoint[1].name}, which can't be read; `glassmap run {store.folder}` trains it again"
        return
    yield f"  made with {checkpoint[1].name}, trained on {len(ids)} measurements; the nearest:"
    trained = [m for m in store.measurements() if m.id in set(ids)]
    distances = [float(np.linalg.norm(np.array(m.composition) - composition)) for m in trained]
    for k in np.argsort(distances, kind="stable")[:NEAREST]:
        yield f"  {_describe(trained[k], elements)}"
    for note in store.notes():
        if note.composition is not None and np.linalg.norm(np.array(note.composition) - mapped[row]) <= SAME_ALLOY:
            yield f"Note, {note}"


def _describe(measured: Measurement, elements: list[str]) -> str:
    alloy = label(np.array(measured.composition), elements)
    facts = measured.facts
    is_dropped = "hash" in facts and facts["file"] != FROM_PYTHON
    part = f", scan {facts['scan']}" if "scan" in facts else ""
    scan = f" from {facts['file']}{part}, kept as scans/{facts['hash'][:16]}*" if is_dropped else ""
    state = f", {measured.state}: {measured.reason}" if measured.state != "used" else ""
    return f"{measured.id}: {alloy}, by {measured.backend} in round {measured.round}, {measured.taken}{scan}{state}"
