"""Decide: go on or stop, by the learning curve."""

from collections.abc import Sequence

from glassmap.agent.planning.acquisition import has_room
from glassmap.agent.planning.convergence import CurvePoint, Decision, decide_by_smoothed_mse
from glassmap.flows.rounds.campaign import OpenCampaign, budget_of, least_batch, spectra_left


def decide_round(campaign: OpenCampaign, round_: int) -> str:
    """Go on or stop, by the learning curve."""
    store, at = campaign.store, campaign.at(round_)
    room_left = at.is_guide or has_room(at.backend.candidates(), taken=store.taken(since=at.since))
    with store.transaction():  # a person may extend the campaign right now
        if at.is_guide:
            assert campaign.config.guide is not None, "who is a guide is named"
            reason = f"Go on after round {round_} of {campaign.config.guide.rounds} by the guide ({at.settings.kind})."
            decision = Decision("continue", reason)
        else:
            curve, budget, used = store.curve()[at.since - 1 :], budget_of(store, campaign.config), store.used()
            if (left := spectra_left(campaign)) is not None and left < least_batch(campaign, round_):
                used = used._replace(spectra=budget.spectra)  # what is left is no batch
            decision = decide_by_smoothed_mse(
                curve,
                tolerance=campaign.config.stop.tolerance,
                patience=campaign.config.stop.patience,
                budget=budget,
                used=used._replace(rounds=len(curve)),
                room_left=room_left,
                extended_to=store.extended_to - at.since + 1,
            )
        store.record_decision(round_, decision)
        store.log("decided", decision.reason)
        store.end_stage(round_, "decide", "done")
    campaign.report("decide", 1, 1, describe_curve(store.curve()), round_=round_)
    return "done"


def describe_curve(curve: Sequence[CurvePoint]) -> str:
    """The learning curve in a line."""
    return "MSE after n spectra: " + ", ".join(f"{point.spectra}: {point.mse:.3g}" for point in curve)
