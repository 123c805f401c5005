"""Train: fit the model of a round on every spectrum so far, and judge it by those held out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.context import WAFER, Context
from glassmap.agent.data.mixture import find_mixture
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.models.checkpoint import why_unreadable
from glassmap.agent.models.config import AUTO, PRESETS, TrainingConfig
from glassmap.agent.models.description import read_description
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.peaks.volume_check import check_volumes
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Measurement
from glassmap.flows.rounds.campaign import OpenCampaign, holds_out
from glassmap.flows.rounds.judge import SomeSpectra, context_of, judge


def train(campaign: OpenCampaign, round_: int) -> str:
    """Retrain the ensemble on every spectrum so far and judge it by the held-out ones."""
    store = campaign.store
    changed = store.use_changed
    learned, held = spectra_to_learn(campaign, round_), spectra_to_judge(campaign, round_)
    if not learned.ids or (holds_out(campaign, round_) and not held.ids):
        with store.transaction():  # `measure` shares out what is left, or says that it is too little
            store.reopen_measuring(round_)
        return "waiting"
    ensemble, checkpoint = fit_model(campaign, round_, learned)
    mixture = store.mixture if campaign.backend.archive() is not None else _say_mixture(learned, held)
    misplaced = _say_misplaced(campaign, learned, held)
    judgement = judge(campaign, round_, ensemble, learned=learned, held=held, earlier=models_of(campaign))
    with store.transaction():
        store.record_artefact(round_, "checkpoint", checkpoint)
        store.record_mixture(mixture)
        if bool(misplaced) != bool(store.misplaced):
            store.log("first peaks", misplaced or "they lie where the volume of their atoms puts them again")
        store.record_misplaced(misplaced)
        judgement.record(store)
        store.toggle_use(changed)
        found = judgement.point.hold_out["mse"].say()
        store.log("trained", f"round {round_}: {len(learned.ids)} spectra, {judgement.point.judged_on} MSE {found}")
        store.end_stage(round_, "train", "done")
    return "done"


def _say_mixture(*parts: SomeSpectra) -> str:
    """Return how measurements of one alloy differ by more than their noise, where wafers explain it."""
    wafers = np.array([wafer for part in parts for wafer in part.wafers])
    known = {name: np.concatenate([part.context[name] for part in parts]) for name in parts[0].context}
    compositions = np.concatenate([part.compositions for part in parts])
    spectra = np.concatenate([part.spectra for part in parts])
    found = find_mixture(compositions, spectra, {WAFER: wafers} if any(wafers) else {}, known=known)
    return "" if found is None else found.say()


def _say_misplaced(campaign: OpenCampaign, *parts: SomeSpectra) -> str:
    """Return where first peaks don't lie as the volume of their atoms puts them, as a whole, by wafers or by rounds."""
    name, axis, wavelength = campaign.store.axis()
    q = q_axis(name, axis, wavelength)
    if q is None or not campaign.backend.needs_screening:
        return ""  # a simulation has neither wavelength nor zero
    ids = [id_ for part in parts for id_ in part.ids]
    wafers = np.array([wafer for part in parts for wafer in part.wafers])
    rounds = {one.id: f"round {one.round}" for one in campaign.store.measurements()}
    figures = measure_peaks(q, torch.as_tensor(np.concatenate([part.spectra for part in parts]))).figures
    found = check_volumes(
        np.concatenate([part.compositions for part in parts]),
        campaign.config.space.elements,
        figures[Q1.name].numpy(),
        figures[DELTA_Q.name].numpy(),
        ids=ids,
        groups=wafers if all(wafers) else np.array([rounds.get(id_, "the test set") for id_ in ids]),
        wavelength=wavelength or getattr(campaign.config.backend, "wavelength", None),  # a laboratory's axis is q
    )
    return "" if found is None or found.is_right else str(found)


def fit_model(campaign: OpenCampaign, round_: int, learned: SomeSpectra) -> tuple[TrainedEnsemble, Path]:
    """Train on what a round learns from; returns the ensemble and its checkpoint."""
    config, store = campaign.config, campaign.store
    ensemble = Ensemble(model_settings(campaign), seed=_seed(config, round_), device=config.device).fit(
        learned.compositions,
        learned.spectra,
        context=Context(learned.context, config.space.held) if config.space.context else None,
        wafers=learned.wafers,
        q=q_axis(*store.axis()),
        report=partial(campaign.report, round_=round_),
        train_fn=campaign.cluster and campaign.cluster.train,
    )
    record = {"campaign": config.name, "round": round_, "training_ids": learned.ids, "elements": config.space.elements}
    axis = store.axis()[1]
    checkpoint = ensemble.save(store.folder / "checkpoints", axis=axis, record=record)
    return replace(ensemble, axis=axis, record=record), checkpoint


def model_settings(campaign: OpenCampaign) -> TrainingConfig:
    """Return the model's settings; what `auto` became for earlier rounds it stays, also on another device."""
    model = campaign.config.model
    for checkpoint in reversed(campaign.store.artefacts("checkpoint").values()):
        if model.architecture == AUTO and (earlier := read_description(checkpoint)):
            return model.on(gpu=earlier.architecture == PRESETS["large"].architecture)
    return model


def spectra_to_learn(campaign: OpenCampaign, round_: int) -> SomeSpectra:
    """Return what a round's model learns from: all that had come by then, of who measures then."""
    return _of_then(campaign, round_, hold_out=False)


def spectra_to_judge(campaign: OpenCampaign, round_: int) -> SomeSpectra:
    """Return what a round's model is judged by: the backend's test set, or what was held out of each batch by then."""
    if (test := campaign.at(round_).backend.hold_out()) is None:
        return _of_then(campaign, round_, hold_out=True)
    names = [f"held out {k + 1}" for k in range(len(test.spectra))]
    return SomeSpectra(names, test.compositions, test.spectra, list(test.wafers), test.context)


def _of_then(campaign: OpenCampaign, round_: int, *, hold_out: bool) -> SomeSpectra:
    store = campaign.store
    then = {m.id: str(m.facts.get(WAFER, "")) for m in had_come(store, round_)}
    ids, compositions, spectra = store.spectra(hold_out=hold_out, since=campaign.at(round_).since)
    rows = [row for row, id_ in enumerate(ids) if id_ in then]
    ids = [ids[row] for row in rows]
    wafers = [then[id_] for id_ in ids]
    return SomeSpectra(ids, compositions[rows], spectra[rows], wafers, context_of(campaign, ids))


def had_come(store: CampaignStore, round_: int) -> list[Measurement]:
    """Return the measurements that had come when a round was trained, used or not; all, where it isn't yet.

    They are counted in the order they came, as clocks may be set back.
    """
    found = store.measurements()
    stage = next((stage for stage in store.stages(round_=round_) if stage.name == "train"), None)
    if stage is None or stage.status != "done":
        return found
    return [m for m in found[: stage.spectra] if m.round <= round_]


def spectra_of(campaign: OpenCampaign, ids: Sequence[str]) -> SomeSpectra:
    """Return some measurements by their ids, whatever became of them since: those that the store still has."""
    known = {m.id: m for m in campaign.store.measurements()}
    found = [known[id_] for id_ in ids if id_ in known]
    compositions = np.array([one.composition for one in found]).reshape(-1, len(campaign.config.space.elements))
    ids, wafers = [one.id for one in found], [str(one.facts.get(WAFER, "")) for one in found]
    return SomeSpectra(ids, compositions, campaign.store.spectra_of(ids), wafers, context_of(campaign, ids))


def models_of(campaign: OpenCampaign) -> Callable[[int], TrainedEnsemble]:
    """Return what gives the model of an earlier round; the last one that was asked for is kept at hand."""
    return lru_cache(1)(lambda round_: load_model(campaign, round_)[0])


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
    path = None if artefact is None else artefact[1]
    reason = "its record is lost"
    if path is not None:
        try:
            return TrainedEnsemble.load(path, device=campaign.config.device), path
        except ModelError as error:
            reason = why_unreadable(path) or str(error.__cause__)
    learned = _learned_then(campaign, round_, path)
    if not learned.ids:
        raise ModelError(
            f"The model of round {round_} can't be read ({reason}), and what it learned from is retracted or lost."
        )
    said = f"model of round {round_} could not be read ({reason}): trained again"
    campaign.report("mend", 0, 1, said, round_=round_)
    ensemble, again = fit_model(campaign, round_, learned)
    with store.transaction():
        store.record_artefact(round_, "checkpoint", again)
        store.log("trained again", f"{said} on {len(learned.ids)} spectra, {path and path.stem} -> {again.stem}")
    campaign.report("mend", 1, 1, said, round_=round_)
    return ensemble, again


def _learned_then(campaign: OpenCampaign, round_: int, path: Path | None) -> SomeSpectra:
    """Return what a round's model learned from: as its checkpoint says, or what of it is used and had come by then."""
    ids = [] if path is None else _said_to_learn_from(path)
    then = {m.id for m in had_come(campaign.store, round_) if not m.hold_out}
    if ids and len(set(ids)) == len(ids) and then >= set(ids):  # what is left of a harmed file may say anything
        return spectra_of(campaign, ids)
    return spectra_to_learn(campaign, round_)


def _said_to_learn_from(path: Path) -> list[str]:
    """Read what a checkpoint that was harmed, or lacks its weights, says of what it learned from; maybe nothing."""
    try:
        return list(map(str, json.loads(path.read_text())["record"]["training_ids"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []


def _seed(config: CampaignConfig, round_: int) -> int:
    return int(np.random.SeedSequence([config.seed, round_]).generate_state(1)[0])
