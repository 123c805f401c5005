"""What a person looks at once a round is done: pictures and generated spectra."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.composition import label, parse_composition
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.peak_map import block_of
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.models.ensemble import EnsemblePrediction, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.reference import fit_peak, fitted_profile
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.plots.for_print import (
    draw_examples,
    draw_generated,
    draw_learning_curve,
    draw_peak_maps,
    draw_structure,
)
from glassmap.flows.backends.protocol import MeasurementBackend
from glassmap.flows.backends.registry import BACKENDS
from glassmap.flows.rounds.campaign import check_data
from glassmap.simulation.potential import Potential
from glassmap.simulation.structure import Q, Structure, curves_of

QUANTITIES: tuple[tuple[Literal["delta_q", "q1"], str], ...] = (("delta_q", "Δq"), ("q1", "$q_1$"))


def open_backend(store: CampaignStore) -> MeasurementBackend:
    """The campaign's backend, for what it knows beside the store; reads the data set.

    Raises:
        CampaignError: If the campaign file is wrong, or the data aren't those that the campaign began with.
    """
    config = CampaignConfig.from_toml(store.folder / FILE_NAME)
    backend = BACKENDS[config.backend.kind](config, store.folder)
    check_data(store, backend)
    return backend


def draw_all(store: CampaignStore) -> list[Path]:
    """Learning curve, Δq map and example spectra of the last round, as PNGs in the folder's `pictures`."""
    if not (curve := store.curve()):
        return []
    path = store.folder / "pictures" / "learning-curve.png"
    draw_learning_curve(curve, path, title=f"{_title(store)}: errors on spectra never learned from")
    backend = open_backend(store)
    return [path, *draw_maps(store, backend), draw_best_median_worst(store, backend)]


def last_map(store: CampaignStore) -> Path:
    """The Parquet file of the last map.

    Raises:
        ModelError: If there is none yet.
    """
    found = store.artefact("map")
    if found is None:
        raise ModelError(f"No map has been made in {store.folder} yet. Go on with `glassmap run {store.folder}`.")
    return found[1]


def draw_maps(store: CampaignStore, backend: MeasurementBackend | None = None) -> list[Path]:
    """The last maps of Δq and q1 beside the measured ones; none where the system isn't ternary or has no map."""
    elements = store.setting("elements")
    if len(elements) != 3 or store.artefact("map") is None:
        return []
    columns, _ = read_map(last_map(store))
    compositions = np.stack([columns[element] for element in elements], axis=1) / 100
    _, learned, spectra = store.spectra(hold_out=False)
    known, known_spectra = (backend or open_backend(store)).archive() or store.spectra(hold_out=False)[1:]
    peaks = measure_peaks(_q(store), torch.from_numpy(known_spectra))
    paths = []
    for quantity, symbol in QUANTITIES:
        paths.append(store.folder / "pictures" / f"{quantity.replace('_', '-')}-map.png")
        draw_peak_maps(
            (compositions, columns[quantity].astype(np.float64)),
            (known, torch.where(peaks.found, getattr(peaks, quantity), torch.nan).double().numpy()),
            learned,
            paths[-1],
            quantity=quantity,
            elements=elements,
            title=f"{_title(store)}: {symbol} of the first peak, learned from {len(spectra)} spectra",
            mark_glass=not store.setting("source"),
        )
    return paths


def draw_best_median_worst(store: CampaignStore, backend: MeasurementBackend) -> Path:
    """Three held-out spectra, generated against measured: the best, the median and the worst by MSE."""
    round_, ensemble = _last_ensemble(store)
    compositions, measured = backend.hold_out() or store.spectra(hold_out=True)[1:]
    predicted = ensemble.predict(compositions)
    errors = np.mean((predicted.mean - measured) ** 2, axis=1)
    order = np.argsort(errors)
    name, axis, _ = store.axis()
    (half_width, band), examples = _band(predicted), []
    for word, row in (("best", order[0]), ("median", order[len(order) // 2]), ("worst", order[-1])):
        alloy = label(compositions[row], store.setting("elements"))
        caption = f"{word}: {alloy}, MSE {errors[row]:.3g}"
        examples.append((caption, measured[row], predicted.mean[row], half_width[row]))
    path = store.folder / "pictures" / "examples.png"
    title = f"{_title(store)}, round {round_}: of {len(measured)} spectra never learned from"
    draw_examples(name, axis, examples, path, band=band, title=title)
    return path


def generate_alloy(store: CampaignStore, alloy: str, output: Path | None = None) -> list[Path]:
    """One alloy's spectrum from the last checkpoint, as CSV and PNG.

    Args:
        store: Of the campaign.
        alloy: In at.%, such as `Co30V40Zr30`.
        output: File name without ending; in the campaign's folder by default.

    Raises:
        CompositionError: If the alloy is none of the campaign's system.
        ModelError: If no model has been trained yet.
    """
    elements = store.setting("elements")
    composition = parse_composition(alloy, elements)
    round_, ensemble = _last_ensemble(store)
    block, row = block_of(
        CampaignConfig.of(store.setting("config"), source="the campaign's store").space.build(), composition
    )
    predicted = EnsemblePrediction(*(part[row] for part in ensemble.predict(block)))
    name, axis, _ = store.axis()
    output = output or store.folder / "generated" / label(composition, elements)
    output.parent.mkdir(parents=True, exist_ok=True)
    csv, png = output.with_name(output.name + ".csv"), output.with_name(output.name + ".png")
    columns = {name: axis} | predicted._asdict()
    pd.DataFrame(columns).to_csv(csv, index=False, float_format="%.6g")
    title = f"{_title(store)}: {label(composition, elements)}, generated after round {round_}"
    if (q := q_axis(*store.axis())) is not None:
        peak = fit_peak(q, predicted.mean)
        title += f"\n{peak.reason or f'$q_1$ = {peak.q1:.3f} Å$^{{-1}}$, Δq = {peak.delta_q:.3f} Å$^{{-1}}$'}"
    half_width, band = _band(predicted)
    draw_generated(name, axis, predicted.mean, half_width, png, band=band, title=title)
    return [csv, png]


def draw_simulation(structure: Structure, potential: Potential, path: Path) -> Path:
    """g(r), total and partial, and S(q) with its fitted first peak, of one simulated alloy, as a PNG."""
    r, rdfs, factors = curves_of(structure)
    peak = fit_peak(Q, factors["no window"])
    found = peak.reason or f"$q_1$ = {peak.q1:.3f} Å$^{{-1}}$, Δq = {peak.delta_q:.3f} Å$^{{-1}}$"
    draw_structure(
        r,
        rdfs,
        Q,
        factors,
        fitted_profile(Q, factors["no window"]),
        path,
        title=f"{structure.label}, {sum(structure.counts)} atoms, potential {potential.name}: {found}",
    )
    return path


def _title(store: CampaignStore) -> str:
    """The campaign's name, and where its spectra come from if not from an instrument."""
    name, source = store.setting("config")["name"], store.setting("source")
    return f"{name}, {source}" if source else name


def _last_ensemble(store: CampaignStore) -> tuple[int, TrainedEnsemble]:
    found = store.artefact("checkpoint")
    if found is None:
        raise ModelError(f"No model has been trained in {store.folder} yet. Go on with `glassmap run {store.folder}`.")
    return found[0], TrainedEnsemble.load(found[1], device=store.setting("config")["device"])


def _band(predicted: EnsemblePrediction) -> tuple[np.ndarray, str]:
    """The half-width of the band to draw about a mean, and what it is."""
    if np.isfinite(predicted.band).all():
        return predicted.band, f"{CONFIDENCE:.0%} of measured points are expected here"
    return 2 * predicted.epistemic_std, "± 2 spreads of the model"


def _q(store: CampaignStore) -> np.ndarray:
    q = q_axis(*store.axis())
    assert q is not None, "a campaign with a map has an axis in q or 2θ"
    return q
