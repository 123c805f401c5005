"""Requests: what people ask to be measured next, whatever the planning rule says, and what of it they take back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace, label, parse_composition
from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import CampaignError, CompositionError
from glassmap.agent.outside_text import plain_name
from glassmap.agent.planning.acquisition import NEAR_AT_PCT, candidate_named
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import Measurement, Request, Suggestion
from glassmap.flows.actions import INSTEAD
from glassmap.flows.rounds.campaign import Start, next_round, open_backends
from glassmap.flows.rounds.candidates import Choice, key_of, known_candidates, samples_outside

SHOWN = 6  # names, in a message


def request(store: CampaignStore, names: Sequence[str], reason: str, *, wafer: str = "") -> str:
    """Have alloys measured with the next batch, before those that the rule chooses; all of them or none.

    Args:
        store: Of a campaign that has begun.
        names: Alloys such as `Co40V32Zr28`, in at.%; where samples are planned among, the nearest stands for it. Or a
            sample by its name, such as `17` or `W3-17`.
        reason: Why, for the log; may be empty.
        wafer: That the samples lie on; any by default.

    Raises:
        CompositionError: If a name can't be read.
        CampaignError: If one isn't among what may be planned, names several samples, lies on a wafer that is left out,
            or is measured, pending, rejected or requested already.
    """
    config = CampaignConfig.recorded(store.config)
    backend, _ = open_backends(config, store.folder, Start.of(store))
    candidates = known_candidates(config, backend, store)
    elements, since = config.space.elements, config.first_own_round
    _refuse_orders(names, candidates, store)
    outside = samples_outside(config, backend)
    asked = [_found(text, candidates, outside, elements, wafer, store) for text in names]
    choice, taken = Choice(candidates, store), store.taken(since=since)
    with store.transaction():
        requests = store.requests
        for one in asked:
            if choice.has_taken(one.request, taken) or any(one.is_asked_by(other) for other in requests):
                raise CampaignError(_say_taken(one, store, since))
            requests.append(one.request._replace(person=store.person, reason=reason, time=now()))
            store.log("requested", f"{one.name}{f': {reason}' if reason else ''}")
        store.record_requests(requests)
    round_ = max(store.last_planned_round() + 1, since)
    said = f"{', '.join(one.name for one in asked)}: measured first in round {round_}, the next to be planned."
    if next_round(store) is None:
        said += f" The campaign has stopped; `glassmap extend {store.folder} --rounds 1` has it go on."
    return said


def withdraw(store: CampaignStore, names: Sequence[str], reason: str, *, wafer: str = "") -> str:
    """Take requests back that no batch holds yet; all of them or none.

    Args:
        store: Of a campaign that has begun.
        names: As they were asked for, or as `glassmap orders` lists them.
        reason: Why, for the log; may be empty.
        wafer: That the samples lie on; any by default.

    Raises:
        CampaignError: If one isn't requested, is in a batch already, or several may be meant.
    """
    with store.transaction():
        requests = store.requests
        for text in names:
            one = _meant(text, requests, store, wafer)
            requests.remove(one)
            name = one.named(store.elements)
            store.log("request withdrawn", f"{name}{f': {reason}' if reason else ''}")
        store.record_requests(requests)
    return f"No longer requested: {', '.join(names)}."


class _Asked(NamedTuple):
    """Something that a person asks for."""

    name: str
    request: Request  # without who and when

    def is_asked_by(self, other: Request | Suggestion) -> bool:
        """Return whether another request, or an order, asks for the same."""
        mine = self.request
        if mine.sample and other.sample:
            return key_of(mine.wafer, mine.sample) == key_of(other.wafer, other.sample)
        return float(np.linalg.norm(np.subtract(mine.composition, other.composition))) <= SAME_ALLOY


def _say_taken(one: _Asked, store: CampaignStore, since: int) -> str:
    """Say what became of something that was asked for or measured already."""
    for other in store.requests:
        if other.round is None and one.is_asked_by(other):
            return (
                f"{one.name} is requested already, by {other.person}, and comes with the next batch; `glassmap request "
                f"{store.folder} … --withdraw` takes it back."
            )
    for suggestion in reversed(store.suggestions()):
        if suggestion.round >= since and one.is_asked_by(suggestion):
            state = store.suggestion_status(suggestion).state
            now = "waited for" if state == "missing" else state
            return f"{one.name} was asked for already, as {suggestion.id}, which is {now}. {INSTEAD[state]}"
    found = (m for m in store.measurements() if one.is_asked_by(_as_request(m)))
    as_ = next((f", as {m.id}" for m in found), "")
    return f"{one.name} is measured already{as_}. {INSTEAD['measured']}"


def _as_request(measurement: Measurement) -> Request:
    """Return what a measurement would be the answer to."""
    sample, wafer = (str(measurement.facts.get(name) or "") for name in ("sample", "wafer"))
    return Request(measurement.composition, "", "", "", sample=sample, wafer=wafer)


def _refuse_orders(names: Sequence[str], candidates: CompositionSpace | Samples, store: CampaignStore) -> None:
    """Refuse names of an order, such as `r001-03`, unless a sample is called so."""
    for text in names:
        asked = store.suggestion(text)
        if asked is not None and (isinstance(candidates, CompositionSpace) or not len(candidates.called(text))):
            state = store.suggestion_status(asked).state
            now = "waited for" if state == "missing" else state
            raise CampaignError(f"{text} is what an order calls an alloy that is {now}. {INSTEAD[state]}")


def _found(
    text: str,
    candidates: CompositionSpace | Samples,
    outside: Samples,
    elements: Sequence[str],
    wafer: str,
    store: CampaignStore,
) -> _Asked:
    """Return what a person calls so among the candidates; `outside` are the samples that the space doesn't admit."""
    if isinstance(candidates, CompositionSpace):
        if wafer:
            raise CampaignError(
                f"No samples of {wafer} are known: this campaign plans any alloy of its space. Name the tables of what "
                "exists under [candidates] in the campaign file, or leave --wafer out."
            )
        found = candidate_named(text, candidates, elements)
        return _Asked(label(found, elements), Request(tuple(found.tolist()), "", "", ""))
    if not len(candidates):
        raise CampaignError(
            f"There is no sample yet that {text} may be: none exists before the first wafer is planned. "
            f"`glassmap plan-wafers {store.folder}` shows the next."
        )
    _check_wafer(wafer, candidates, store)
    rows = candidates.called(text, wafer=wafer)
    if len(rows) > 1:
        raise CampaignError(
            f"{text} is the name of {len(rows)} samples, on {_listed([candidates.wafers[row] for row in rows])}. Say "
            f"which, as in --wafer {candidates.wafers[rows[0]]}."
        )
    if not len(rows) and len(others := outside.called(text, wafer=wafer)):
        alloy = label(outside.compositions[others[0]], elements)
        raise CampaignError(
            f"{text}, {alloy}, lies outside the bounds or limits of [space]. Widen them with `glassmap change`, or ask "
            "for another."
        )
    if not len(rows):
        rows = [_nearest(text, candidates, elements, wafer, store)]
    row = rows[0]
    name, where = candidates.names[row], candidates.wafers[row]
    _check_wafer(where, candidates, store)
    request = Request(tuple(candidates.compositions[row].tolist()), "", "", "", sample=name, wafer=where)
    return _Asked(request.named(elements), request)


def _nearest(text: str, candidates: Samples, elements: Sequence[str], wafer: str, store: CampaignStore) -> int:
    """Return the row of the sample that is nearest to an alloy that a person names."""
    gone, on = store.given_up_wafers(), plain_name(wafer)
    lie = enumerate(map(plain_name, candidates.wafers))
    rows = [row for row, where in lie if (not on or where == on) and where not in gone]
    samples = candidates.select(np.array(rows, dtype=np.intp))
    try:
        found = candidate_named(text, samples.compositions, elements)
    except CompositionError as error:
        first = _listed(samples.names)
        raise CampaignError(
            f"{text} is neither the name of a sample nor an alloy: {error} Samples are called {first}."
        ) from error
    return rows[int(np.flatnonzero((samples.compositions == found).all(axis=1))[0])]


def _check_wafer(wafer: str, candidates: Samples, store: CampaignStore) -> None:
    """Refuse a wafer that has no candidates, or that nothing is planned of any more."""
    if not wafer:
        return
    if not len(candidates.on(wafer)):
        there = _listed(candidates.wafer_names) or "none that has a name"
        raise CampaignError(f"No candidate lies on a wafer {wafer}; there are {there}. Call it as its table does.")
    for one in store.excluded_wafers():
        if plain_name(one.wafer) == plain_name(wafer):
            raise CampaignError(
                f"Nothing of {wafer} is measured any more: it is {one.kind}, {one.reason}. `glassmap retry "
                f"{store.folder} {wafer}` has it planned of again."
            )


def _meant(text: str, requests: Sequence[Request], store: CampaignStore, wafer: str) -> Request:
    """Return the waiting request that a person means."""
    elements = tuple(store.elements)
    samples = _samples_of(requests, len(elements))
    rows = list(samples.called(text, wafer=wafer))
    if not rows:
        try:
            away = np.linalg.norm(samples.compositions - parse_composition(text, elements), axis=1)
        except CompositionError:
            away = np.full(len(requests), np.inf)
        # a sample is asked for by an alloy near to it
        least = np.array([NEAR_AT_PCT / 100 if one.sample else SAME_ALLOY for one in requests])
        near = np.flatnonzero(away <= least)
        rows = [int(near[away[near].argmin()])] if len(near) else []
    waiting = [requests[row] for row in rows if requests[row].round is None]
    if len(waiting) > 1:
        raise CampaignError(
            f"{text} may mean {len(waiting)} requests: {_listed([one.named(elements) for one in waiting])}. "
            "Say which by --wafer."
        )
    if waiting:
        return waiting[0]
    if rows:
        round_ = requests[rows[0]].round
        raise CampaignError(
            f"{text} is in the batch of round {round_} already. `glassmap orders {store.folder} --round {round_}` says "
            "what it is called there; `glassmap abandon` has nobody wait for it."
        )
    raise CampaignError(f"{text} isn't requested; `glassmap orders {store.folder}` lists what is.")


def _samples_of(requests: Sequence[Request], n_elements: int) -> Samples:
    """Return requests as the samples that they are of; of an alloy without a sample, the name is empty."""
    nowhere = np.full(len(requests), np.nan)
    compositions = np.array([one.composition for one in requests]).reshape(-1, n_elements)
    names, wafers = tuple(one.sample for one in requests), tuple(one.wafer for one in requests)
    return Samples(names, wafers, compositions, nowhere, nowhere)


def _listed(names: Sequence[str]) -> str:
    """Return some names in a line."""
    return ", ".join(names[:SHOWN]) + (f" … ({len(names)} in all)" if len(names) > SHOWN else "")
