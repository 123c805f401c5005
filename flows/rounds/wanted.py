"""Wanted: what goes first into a batch, before what the rule plans: people's requests, and candidates to confirm."""

from typing import NamedTuple

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.planning.acquisition import rows_of
from glassmap.agent.shapes import TakenCompositions
from glassmap.agent.store.records import CONFIRMS, Request
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.candidates import Choice

CONFIRMS_AT_PCT = 5.0  # over which errors of Δq are nearly one: what is measured within it says what there is


class Wanted(NamedTuple):
    """An alloy that a batch holds whatever its rule says."""

    row: int  # of `Choice.alloys`
    composition: tuple[float, ...]  # atomic fraction
    why: str


def requested(campaign: OpenCampaign, round_: int, choice: Choice) -> dict[Request, Wanted]:
    """Return what people asked for that is to be in a round's batch, in their order.

    Left out are alloys that were measured in the meantime, and samples that aren't among the candidates now.
    """
    taken = campaign.store.taken(since=campaign.at(round_).since)
    return {
        one: Wanted(row, choice.composition(row), one.why)
        for one in campaign.store.requests
        if one.round in (None, round_) and not choice.has_taken(one, taken) and (row := choice.row_of(one)) is not None
    }


def to_confirm(
    campaign: OpenCampaign, round_: int, choice: Choice, n: int, *, taken: TakenCompositions
) -> list[Wanted]:
    """Return alloys by which the best candidates of the last map are confirmed, the best first.

    A place of the map (`find_candidates`) is confirmed by its centre; where the candidates are a list, by the free
    sample of the place that is nearest to its centre. Passed over are places that something is measured in, or that
    have an alloy within `CONFIRMS_AT_PCT` that is measured, pending or rejected, and those without a free sample.

    Args:
        campaign: Open.
        round_: Whose batch it is.
        choice: What the batch is chosen from.
        n: At most so many; 0 for none.
        taken: Measured, pending, rejected and otherwise wanted alloys, shape `(t, e)`.

    Raises:
        ModelError: If the map was removed or is damaged.
        CampaignError: If the campaign file's wish is wrong.
    """
    if not n or not campaign.at(round_).has_model or (isinstance(choice.alloys, np.ndarray) and not len(choice.alloys)):
        return []
    from glassmap.agent.store.candidates import read_candidates  # reads the map, which most rounds need not

    found = list[Wanted]()
    for place in read_candidates(campaign.store).places:
        if place.state != "open":
            continue
        if isinstance(choice.alloys, CompositionSpace):
            rows = rows_of(choice.alloys, np.array([place.centre]))
            points = choice.alloys.compositions(rows)
        else:
            rows, points = np.arange(len(choice.alloys)), choice.alloys
        inside = np.flatnonzero(place.holds(points, step_at_pct=campaign.config.space.step_at_pct))
        known = np.concatenate([taken, *([one.composition] for one in found)])
        away = np.linalg.norm(points[inside, None] - known, axis=2).min(axis=1, initial=np.inf)
        free = inside[100 * away > CONFIRMS_AT_PCT]
        if not len(free):
            continue
        nearest = free[np.linalg.norm(points[free] - place.centre, axis=1).argmin()]
        sure = "" if np.isnan(place.p_glass) else f", P(glass) {place.p_glass:.2f}"
        why = f"{CONFIRMS}{place.alloy}{sure}"
        found.append(Wanted(int(rows[nearest]), tuple(points[nearest].tolist()), why))
        if len(found) == n:
            break
    return found
