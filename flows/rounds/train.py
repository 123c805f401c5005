"""Train: fit the model of a round on every spectrum so far, and judge it by those held out."""

from functools import partial
from pathlib import Path

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.spectrum import mean_squared_error, q_axis
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import mean_peak_errors
from glassmap.agent.planning.convergence import CurvePoint
from glassmap.agent.shapes import Compositions, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import OpenCampaign


def train(campaign: OpenCampaign, round_: int) -> str:
    """Retrain the ensemble on every spectrum so far and judge it by the held-out ones."""
    store = campaign.store
    learned, held = spectra_to_learn(campaign, round_), spectra_to_judge(campaign, round_)
    if not learned[0] or not len(held[1]):
        with store.transaction():  # `measure` shares out what is left, or says that it is too little
            reason = f"What round {round_} would learn from or be judged by was retracted"
            store.reopen_measuring(round_, f"{reason}; `glassmap run {store.folder}` looks for other.")
        return "waiting"
    ensemble, checkpoint = fit_model(campaign, round_, learned)
    point = _judge(campaign, round_, ensemble, len(learned[0]), held)
    with store.transaction():
        store.record_artefact(round_, "checkpoint", checkpoint)
        store.record_curve_point(point)
        store.log("trained", f"round {round_}: {point.spectra} spectra, hold-out MSE {point.mse:.3g}")
        store.end_stage(round_, "train", "done")
    return "done"


def fit_model(
    campaign: OpenCampaign, round_: int, learned: tuple[list[str], Compositions, Spectra]
) -> tuple[TrainedEnsemble, Path]:
    """Train on what a round learns from; returns the ensemble and its checkpoint."""
    config, store = campaign.config, campaign.store
    ids, compositions, spectra = learned

    ensemble = Ensemble(config.model, seed=_seed(config, round_), device=config.device).fit(
        compositions,
        spectra,
        report=partial(campaign.report, round_=round_),
        train_fn=campaign.cluster and campaign.cluster.train,
    )
    record = {"campaign": config.name, "round": round_, "training_ids": ids, "elements": config.space.elements}
    checkpoint = ensemble.save(store.folder / "checkpoints", axis=store.axis()[1], record=record)
    return ensemble, checkpoint


def _judge(
    campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, n_spectra: int, held: tuple[Compositions, Spectra]
) -> CurvePoint:
    """The errors of a round's model on spectra that it never saw, and of the last round's model on this batch."""
    store = campaign.store
    at = campaign.at(round_)
    compositions, spectra = held
    predicted = ensemble.predict(compositions)
    q = q_axis(*store.axis())
    q1_error, delta_q_error = (None, None) if q is None else mean_peak_errors(q, predicted.mean, spectra)
    next_batch_mse = None
    if round_ > at.since:
        _, new_compositions, new_spectra = store.spectra(hold_out=False, round_=round_)
        if len(new_spectra):
            before = last_ensemble(campaign, round_).predict(new_compositions).mean
            next_batch_mse = mean_squared_error(before, new_spectra)
    return CurvePoint(
        round_,
        n_spectra,
        mean_squared_error(predicted.mean, spectra),
        mean_squared_error(predicted.sample, spectra),
        q1_error,
        delta_q_error,
        next_batch_mse,
    )


def spectra_to_learn(campaign: OpenCampaign, round_: int) -> tuple[list[str], Compositions, Spectra]:
    """Return what a round's model learns from, ids and spectra: all so far, of who measures then."""
    return campaign.store.spectra(hold_out=False, since=campaign.at(round_).since)


def spectra_to_judge(campaign: OpenCampaign, round_: int) -> tuple[Compositions, Spectra]:
    """Return what a round's model is judged by: the backend's test set, or what was held out of each batch."""
    at = campaign.at(round_)
    return at.backend.hold_out() or campaign.store.spectra(hold_out=True, since=at.since)[1:]


def checkpoint_of(store: CampaignStore, round_: int) -> Path:
    """Return the file of a round's model."""
    artefact = store.artefact("checkpoint", round_)
    assert artefact is not None, "every round that was trained has its checkpoint"
    return artefact[1]


def last_ensemble(campaign: OpenCampaign, round_: int) -> TrainedEnsemble:
    """The model of the round before."""
    return TrainedEnsemble.load(checkpoint_of(campaign.store, round_ - 1), device=campaign.config.device)


def _seed(config: CampaignConfig, round_: int) -> int:
    return int(np.random.SeedSequence([config.seed, round_]).generate_state(1)[0])
