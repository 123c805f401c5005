"""Retrain: learn from what is in now, without waiting for the end of the round."""

import math

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.flows.rounds.anew import learn_anew
from glassmap.flows.rounds.campaign import OpenCampaign, next_round
from glassmap.flows.rounds.loop import run_round
from glassmap.flows.rounds.map import MAP, drop_other_archives, record_glass, values_of_maps, write_alloys, write_maps
from glassmap.flows.rounds.measure import receive
from glassmap.flows.rounds.mend import mend_artefacts
from glassmap.flows.rounds.screen import screen_new
from glassmap.flows.rounds.train import fit_model, spectra_to_judge, spectra_to_learn


def retrain(campaign: OpenCampaign) -> str:
    """Train on all that is in now, and map, without waiting for the round's end; returns what was done, in words.

    Where the campaign has stopped and people took measurements out of use since, or into it, its last round trains,
    maps and decides again. Otherwise the model is one between rounds.

    The model and its map are those of the round at work until that trains its own, on the whole batch; neither planning
    nor the learning curve looks at them. Where nothing came or went since the last training, what was lost or harmed is
    made again, and nothing else is done.
    """
    mend_artefacts(campaign)
    store = campaign.store
    round_ = next_round(store) or store.n_rounds() + 1
    receive(campaign)
    if (again := learn_anew(campaign)) is not None:
        learned = "learned" if run_round(campaign, again) else "is to learn"
        return f"Round {again} {learned} again. {store.status().reason}"
    if store.stage_status(round_, "train") == "done":
        return f"Round {round_} is trained already."
    screen_new(campaign, round_)
    changed = store.use_changed
    learned = spectra_to_learn(campaign, round_)
    if not (ids := learned.ids):
        return "There is nothing to learn from yet."
    before = [store.artefact(kind, round_) for kind in ("checkpoint", *values_of_maps(campaign))]
    last = store.artefact("checkpoint")
    if last is not None and store.training_ids(last[0]) == ids:
        return f"Nothing came since the last training on {len(ids)} spectra."
    ensemble, checkpoint = fit_model(campaign, round_, learned)
    maps = write_maps(campaign, round_, ensemble, checkpoint)
    path = maps.get(MAP)
    archive = write_alloys(campaign, round_, ensemble, path)
    held = spectra_to_judge(campaign, round_)
    mse = None
    if held.ids:
        mse = mean_squared_error(ensemble.predict(held.compositions, context=held.context or None).mean, held.spectra)
    judged = "" if mse is None else f", hold-out MSE {mse:.3g}"
    if mse is None and not math.isnan(ensemble.oof_mse):
        judged = f", left-out MSE {ensemble.oof_mse:.3g}"
    with store.transaction():
        store.record_artefact(round_, "checkpoint", checkpoint)
        for kind, made in maps.items():
            store.record_artefact(round_, kind, made)
        if path is not None:
            record_glass(campaign, path)
        store.record_only_artefact(round_, "archive", archive)
        store.toggle_use(changed)
        store.log("retrained", f"during round {round_}: {len(ids)} spectra{judged}")
    drop_other_archives(archive)
    for found in filter(None, before):  # of last night, that nothing refers to any more
        if found[1] not in (checkpoint, *maps.values()):
            for file in found[1].parent.glob(f"{found[1].stem}.*"):
                file.unlink()
    return f"Retrained on {len(ids)} spectra{judged}."
