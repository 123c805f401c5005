"""Decide: go on or stop, by what every round's model errs on the same spectra."""

from collections.abc import Sequence

from glassmap.agent.content_hash import harm_of
from glassmap.agent.maps.sides import shares_that_change
from glassmap.agent.planning.convergence import TRENDS, CurvePoint, Decision, decide
from glassmap.flows.rounds.campaign import OpenCampaign, RoundContext, budget_of, least_batch, spectra_left
from glassmap.flows.rounds.judge import mark_until
from glassmap.flows.rounds.train import models_of, spectra_to_judge
from glassmap.flows.rounds.wafers import is_room_left


def decide_round(campaign: OpenCampaign, round_: int) -> str:
    """Go on or stop; models that an earlier version judged are judged again first."""
    store, at = campaign.store, campaign.at(round_)
    room_left = at.is_guide or is_room_left(campaign, round_)
    held = spectra_to_judge(campaign, round_)
    missing = mark_until(campaign, round_, since=at.since, held=held, models=models_of(campaign))
    changes = _changes(campaign, at)
    with store.transaction():  # a person may extend the campaign right now
        for other, judged in missing.items():
            store.record_judged(other, "held out", judged, since=at.since)
        if at.is_guide:
            assert campaign.config.guide is not None, "who is a guide is named"
            reason = f"Go on after round {round_} of {campaign.config.guide.rounds} by the guide ({at.settings.kind})."
            decision = Decision("continue", reason)
        else:
            decision = _decide(campaign, at, changes, room_left=room_left)
        store.record_decision(round_, decision)
        store.log("decided", decision.reason)
        store.end_stage(round_, "decide", "done")
    trend = "" if decision.trend is None else f"; {TRENDS[decision.trend]}"
    campaign.report("decide", 1, 1, describe_curve(store.curve()) + trend, round_=round_)
    return "done"


def _decide(campaign: OpenCampaign, at: RoundContext, changes: Sequence[float], *, room_left: bool) -> Decision:
    """Ask the rule, with what the campaign has used up."""
    store, config = campaign.store, campaign.config
    measure = "delta_q" if config.stop.on == "delta_q" else "mse"
    hold_out, left_out = (store.marks(kind, measure, since=at.since) for kind in ("held out", "left out"))
    budget, used = budget_of(store, config), store.used()
    if (left := spectra_left(campaign)) is not None and left < least_batch(campaign, at.number + 1):
        used = used._replace(spectra=budget.spectra)  # what is left is no batch
    share = 1.0 if at.backend.has_test_set else 1 - config.planning.hold_out_share
    return decide(
        config.stop.on,
        hold_out,
        left_out,
        changes,
        batch=max(1, round(share * config.planning.batch)),
        tolerance=config.stop.least_gain,
        patience=config.stop.patience,
        budget=budget,
        used=used._replace(rounds=len(hold_out.spectra)),
        room_left=room_left,
        extended_to=store.extended_to - at.since + 1,
    )


def _changes(campaign: OpenCampaign, at: RoundContext) -> list[float]:
    """Return the share of the map's alloys that changed sides from round to round, where the rule asks for it.

    NaN beside a map that is lost or harmed, and couldn't be made again.
    """
    if campaign.config.stop.on != "glass" or at.is_guide:
        return []
    maps = {round_: path for round_, path in campaign.store.artefacts("map").items() if harm_of(path) is None}
    rounds = range(at.since, at.number + 1)
    settings, glass = campaign.config.glass, campaign.store.glass
    rule = settings.rule if settings.labels is None or glass is None else glass[1]
    return shares_that_change([maps.get(one) for one in rounds], rule)


def describe_curve(curve: Sequence[CurvePoint]) -> str:
    """The learning curve in a line."""
    return "MSE after n spectra: " + ", ".join(f"{p.spectra}: {p.hold_out['mse'].say()}" for p in curve)
