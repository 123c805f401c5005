"""Map: generate the spectrum of every alloy, and keep its peak figures and the spectra that people look at."""

import math
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch

from glassmap.agent.atomic_file import write_by_content
from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.data.context import Held, held_for, say_held
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError, SpectrumError
from glassmap.agent.maps.failure import PeaksFound
from glassmap.agent.maps.glass import GlassRule, say_glass, shares_of_map
from glassmap.agent.maps.peak_map import PeakMap, left_out_block, map_block
from glassmap.agent.maps.spectra_archive import (
    ArchivedSpectra,
    KnownAlloys,
    MeasuredAlloys,
    PeakFigures,
    ranks_to_show,
    read_map,
    write_archive,
)
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.peaks.batched import fitted_profiles, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, MOST
from glassmap.agent.peaks.first_look import look_at_scans
from glassmap.agent.shapes import Axis, Spectra
from glassmap.flows.rounds.campaign import OpenCampaign
from glassmap.flows.rounds.glass import glass_rule
from glassmap.flows.rounds.train import load_model, spectra_of, spectra_to_judge

MAP = "map"  # the kind of artefact that rounds go by; those of other values of the context are called after them


def map_alloys(campaign: OpenCampaign, round_: int) -> str:
    """Generate every alloy's spectrum and record the peak figures of each; g(r) has none, so no map."""
    store = campaign.store
    ensemble, checkpoint = load_model(campaign, round_)
    maps = write_maps(campaign, round_, ensemble, checkpoint)
    path = maps.get(MAP)
    archive = write_alloys(campaign, round_, ensemble, path)
    found = None if path is None else count_peaks(campaign, round_, ensemble, path)
    with store.transaction():
        for kind, made in maps.items():
            store.record_artefact(round_, kind, made)
        if found is not None:
            store.record_peaks_found(found)
        said = "" if path is None else record_glass(campaign, path)
        store.record_only_artefact(round_, "archive", archive)
        store.log("mapped", f"round {round_}{said and '; '}{said}")
        store.end_stage(round_, "map", "done")
    drop_other_archives(archive)
    return "done"


def map_again(campaign: OpenCampaign) -> None:
    """Make the newest maps again where the campaign's `[glass]`, or its labels, now say something else than they do."""
    store = campaign.store
    if (found := store.artefact(MAP)) is None:
        return
    round_ = found[0]
    ensemble, checkpoint = load_model(campaign, round_)
    rule = glass_rule(campaign, round_, ensemble)
    if read_map(found[1])[1].get("glass") == rule.to_json():
        return
    before = [store.artefact(kind, round_) for kind in values_of_maps(campaign)]
    maps = write_maps(campaign, round_, ensemble, checkpoint)
    archive = write_alloys(campaign, round_, ensemble, maps[MAP])
    with store.transaction():
        for kind, made in maps.items():
            store.record_artefact(round_, kind, made)
        said = record_glass(campaign, maps[MAP])
        store.record_only_artefact(round_, "archive", archive)
        store.log("mapped again", f"round {round_}" + (f", by {rule.say()}; {said}" if said else ""))
    drop_other_archives(archive)
    for other in filter(None, before):
        if other[1] not in maps.values():
            other[1].unlink(missing_ok=True)


def record_glass(campaign: OpenCampaign, map_: Path) -> str:
    """Record how much of the last map is a glass, and return it in words; call within a transaction.

    Of simulated spectra nothing is said, and nothing returned, where no `[glass]` says what a glass is among them:
    their first peaks have other widths than those of sputtered films.
    """
    columns, metadata = read_map(map_)
    rule = GlassRule.from_json(metadata["glass"])
    applies = not campaign.store.source or is_glass_given(campaign.store.config)
    shares = shares_of_map(columns[DELTA_Q.name], columns.get("p_glass"), rule) if applies else None
    campaign.store.record_glass(shares, rule)
    return "" if shares is None else say_glass(shares)


def values_of_maps(campaign: OpenCampaign) -> dict[str, Held]:
    """Return by its kind at which process variables each map of a round is held; `map` is the one that rounds go by."""
    first, *others = campaign.config.space.contexts
    return {MAP: first} | {f"{MAP} at {say_held(held)}": held for held in others}


def write_maps(campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, checkpoint: Path) -> dict[str, Path]:
    """Write the maps of a round's model, one for each value of the context; returns their paths by kind.

    Of g(r) there is none. Nor is there one at a label that nothing was learned of yet, which is logged; but at the one
    that the model itself is held at there is.
    """
    maps: dict[str, Path] = {}
    if q_axis(*campaign.store.axis()) is None:
        return maps
    rule = glass_rule(campaign, round_, ensemble)  # of the values that rounds go by, so that all maps have one
    for kind, held in values_of_maps(campaign).items():
        try:
            path = write_map(campaign, round_, ensemble, checkpoint, held=held, rule=rule)
        except ModelError as error:
            with campaign.store.transaction():
                campaign.store.log("no map", f"round {round_}, {say_held(held)}: {error}")
            continue
        if said := campaign.store.say_unlearned(held):
            with campaign.store.transaction():
                campaign.store.log("extrapolated", f"round {round_}: {said}")
        if path is not None:
            maps[kind] = path
    return maps


def write_map(
    campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, checkpoint: Path, *, held: Held, rule: GlassRule
) -> Path | None:
    """Write a map of a round's model, held at some process variables; returns its path, None where the axis is no q.

    Raises:
        ModelError: If the model learned from nothing that has such a label.
    """
    config, store = campaign.config, campaign.store
    q = q_axis(*store.axis())
    if q is None:
        return None
    if held:
        ensemble = ensemble.held_at(held)
    peak_map = PeakMap(
        ensemble,
        campaign.space_of(round_),
        q,
        measured=spectra_of(campaign, ensemble.record["training_ids"]).compositions,
        metadata={
            "campaign": config.name,
            "round": round_,
            "checkpoint": checkpoint.stem,
            "config": config.binding() | {"space": dict(store.space_of(round_))},
            "known_below": None if math.isnan(ensemble.known_below) else ensemble.known_below,
            "glass": rule.to_json(),
            **({"context": dict(held)} if held else {}),
        },
    )
    folder = store.folder / "maps"

    report = partial(campaign.report, round_=round_)
    if campaign.cluster is not None:
        campaign.cluster.make_shards(peak_map, folder, checkpoint=checkpoint, report=report)
    path = peak_map.write(folder, report=report)
    for left in folder.glob(".shards-*"):  # of a map of other settings that was cut
        shutil.rmtree(left)
    return path


def write_alloys(campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, map_: Path | None) -> Path:
    """Generate the spectra that people look at, and measure the peaks of those that there are."""
    store, space = campaign.store, campaign.space_of(round_)
    learned, held = spectra_of(campaign, ensemble.record["training_ids"]), spectra_to_judge(campaign, round_)
    known = np.concatenate([learned.compositions, held.compositions])
    hold_out = np.arange(len(known)) >= len(learned.ids)
    intensity = np.concatenate([learned.spectra, held.spectra])
    names = [*learned.ids, *held.ids]
    columns, metadata = ({}, {}) if map_ is None else read_map(map_)
    widths, rule = columns.get(DELTA_Q.name), GlassRule.from_json(metadata.get("glass"))
    ranks = ranks_to_show(len(space), widths)
    shown = np.concatenate([space.compositions(ranks), known])
    parts = held_for(campaign.config.space.held, len(ranks)), learned.context, held.context
    own = {name: np.concatenate([part[name] for part in parts]) for name in learned.context}  # of what was measured
    predicted = ensemble.predict(shown, context=own or None)
    fits, measured_fit = np.full_like(predicted.mean, np.nan), np.full_like(intensity, np.nan)
    figures: PeakFigures = {}
    generated: PeakFigures = {}
    left_out: PeakFigures = {}
    everything = None
    if (q := q_axis(*store.axis())) is not None:
        fits = fitted_profiles(q, torch.from_numpy(predicted.mean)).numpy()
        measured_fit = fitted_profiles(q, torch.from_numpy(intensity)).numpy()
        figures = _figures_of(q, intensity)
        own_of_known = {name: values[len(ranks) :] for name, values in own.items()}
        ensemble = ensemble.forecasting(q)
        generated = map_block(ensemble, known, q=q, context=own_of_known or None, glass=rule)
        there = np.isin(ensemble.record["training_ids"], learned.ids)  # what the store still has
        left_out = {
            name: np.append(values[there], np.full(len(held.ids), np.nan))
            for name, values in left_out_block(ensemble, glass=rule).items()
        }
        del generated["peak_share"]
        if (archive := campaign.backend.archive()) is not None:
            everything = KnownAlloys(archive[0], _figures_of(q, archive[1]))
    views = ArchivedSpectra(predicted.mean, predicted.epistemic_std, predicted.aleatoric_std, predicted.band, fits)
    measured = MeasuredAlloys(
        names, known, hold_out, intensity, measured_fit, figures, generated, left_out, [*learned.wafers, *held.wafers]
    )

    def write(place: Path) -> None:
        write_archive(
            place,
            round_=round_,
            axis=store.axis()[1],
            compositions=shown,
            views=views,
            measured=measured,
            known=everything,
        )

    return write_by_content(store.folder / "maps", f"round-{round_:03d}-{{}}.h5", write)


def count_peaks(campaign: OpenCampaign, round_: int, ensemble: TrainedEnsemble, map_: Path) -> PeaksFound:
    """Count the first peaks on a map and in the spectra that its model knows of.

    Where most alloys have none, the spectra are looked at for a range on which they have one.
    """
    axis_name, axis, wavelength = campaign.store.axis()
    widths = read_map(map_)[0][DELTA_Q.name]
    parts = spectra_of(campaign, ensemble.record["training_ids"]), spectra_to_judge(campaign, round_)
    spectra = SpectraSet(
        ids=tuple(str(row) for row in range(sum(len(part.ids) for part in parts))),
        elements=campaign.config.space.elements,
        compositions=np.concatenate([part.compositions for part in parts]),
        axis_name=axis_name,
        axis=axis,
        intensities=np.concatenate([part.spectra for part in parts]),
        wavelength=wavelength,
    )
    has_peak = ~np.isnan(widths)
    look, better = look_at_scans(spectra, asked=(axis[0], axis[-1])), None
    if has_peak.mean() < MOST and not look.has_peaks:
        with suppress(SpectrumError):  # no range holds all of them
            elsewhere = look_at_scans(spectra)
            better = elsewhere.taken if elsewhere.taken != elsewhere.whole and elsewhere.has_peaks else None
    assert look.with_peak is not None, "the axis is q or 2θ"
    return PeaksFound(
        round=round_,
        alloys=len(widths),
        alloys_with_peak=int(has_peak.sum()),
        spectra=look.scans,
        spectra_with_peak=look.with_peak[1],
        often=look.often,
        better_range=better,
        is_simulated=campaign.config.backend.kind == "simulation",
    )


def _figures_of(q: Axis, spectra: Spectra) -> PeakFigures:
    return {name: values.numpy() for name, values in measure_peaks(q, torch.from_numpy(spectra)).figures.items()}


def drop_other_archives(archive: Path) -> None:
    """Remove those of earlier rounds: they are large, and could be made again."""
    for other in archive.parent.glob("round-*.h5"):
        if other != archive:
            other.unlink()
