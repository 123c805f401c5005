"""Train: fit the model of a round on every spectrum so far, and judge it by those held out."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.spectrum import mean_squared_error, q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.models.checkpoint import is_intact
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import mean_peak_errors
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.planning.convergence import CurvePoint
from glassmap.agent.shapes import Compositions, Spectra
from glassmap.flows.rounds.campaign import OpenCampaign


def train(campaign: OpenCampaign, round_: int) -> str:
    """Retrain the ensemble on every spectrum so far and judge it by the held-out ones."""
    store = campaign.store
    learned, held = spectra_to_learn(campaign, round_), spectra_to_judge(campaign, round_)
    if not learned[0] or not len(held[1]):
        with store.transaction():  # `measure` shares out what is left, or says that it is too little
            store.reopen_measuring(round_)
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
    nothing = dict.fromkeys(figure.name for figure in FIGURES)
    next_batch_mse = None
    if at.has_model:
        _, new_compositions, new_spectra = store.spectra(hold_out=False, round_=round_)
        if len(new_spectra):
            before = last_ensemble(campaign, round_).predict(new_compositions).mean
            next_batch_mse = mean_squared_error(before, new_spectra)
    return CurvePoint(
        round_,
        n_spectra,
        mean_squared_error(predicted.mean, spectra),
        mean_squared_error(predicted.sample, spectra),
        next_batch_mse,
        nothing if q is None else mean_peak_errors(q, predicted.mean, spectra),
    )


def spectra_to_learn(campaign: OpenCampaign, round_: int) -> tuple[list[str], Compositions, Spectra]:
    """Return what a round's model learns from, ids and spectra: all so far, of who measures then."""
    return campaign.store.spectra(hold_out=False, since=campaign.at(round_).since)


def spectra_to_judge(campaign: OpenCampaign, round_: int) -> tuple[Compositions, Spectra]:
    """Return what a round's model is judged by: the backend's test set, or what was held out of each batch."""
    at = campaign.at(round_)
    return at.backend.hold_out() or campaign.store.spectra(hold_out=True, since=at.since)[1:]


def last_ensemble(campaign: OpenCampaign, round_: int) -> TrainedEnsemble:
    """Return the model of the round before."""
    return load_model(campaign, round_ - 1)[0]


def load_model(campaign: OpenCampaign, round_: int) -> tuple[TrainedEnsemble, Path]:
    """Load the model of a round that was trained; where it can't be read, train it again, and say so.

    The same seed and spectra give the same model, to the bit on the same machine, so that a campaign whose checkpoint
    was lost, harmed, or written by another version goes on as if nothing had happened.

    Returns:
        The model and its checkpoint.
    """
    store = campaign.store
    artefact = store.artefact("checkpoint", round_)
    assert artefact is not None, "every round that was trained has its checkpoint"
    path = artefact[1]
    try:
        return TrainedEnsemble.load(path, device=campaign.config.device), path
    except ModelError as error:
        reason = str(error.__cause__ or error)
    learned = ids, *_ = _learned_then(campaign, round_)
    if not ids:
        raise ModelError(
            f"The model of round {round_} can't be read ({reason}), and what it learned from is retracted."
        )
    said = f"model of round {round_} could not be read ({reason}): trained again"
    campaign.report("mend", 0, 1, said, round_=round_)
    ensemble, again = fit_model(campaign, round_, learned)
    with store.transaction():
        store.record_artefact(round_, "checkpoint", again)
        store.log("trained again", f"{said} on {len(ids)} spectra, {path.stem} -> {again.stem}")
    campaign.report("mend", 1, 1, said, round_=round_)
    return ensemble, again


def mend_last_model(campaign: OpenCampaign) -> None:
    """Train the last model again where its files are lost or harmed, for those who only look at the campaign."""
    found = campaign.store.artefact("checkpoint")
    if found is None or campaign.store.paused is not None or is_intact(found[1]):
        return
    with suppress(ModelError):  # where all that it learned from was retracted; the next round's model is another
        load_model(campaign, found[0])


def _learned_then(campaign: OpenCampaign, round_: int) -> tuple[list[str], Compositions, Spectra]:
    """Return what a round's model learned from: as its checkpoint says, or what of it is used and had come by then."""
    store = campaign.store
    known = {m.id: m for m in store.measurements()}
    ids = store.training_ids(round_)
    if ids is not None and known.keys() >= set(ids):
        compositions = np.array([known[id_].composition for id_ in ids])
        return ids, compositions.reshape(-1, len(campaign.config.space.elements)), store.spectra_of(ids)
    ids, compositions, spectra = spectra_to_learn(campaign, round_)
    began = next((stage.started for stage in store.stages(round_=round_) if stage.name == "train"), datetime.now(UTC))
    rows = np.flatnonzero(
        [known[id_].round <= round_ and datetime.fromisoformat(known[id_].taken) <= began for id_ in ids]
    )
    return [ids[row] for row in rows], compositions[rows], spectra[rows]


def _seed(config: CampaignConfig, round_: int) -> int:
    return int(np.random.SeedSequence([config.seed, round_]).generate_state(1)[0])
