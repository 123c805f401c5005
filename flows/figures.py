"""Pictures that a command makes anew: an alloy's spectrum, which asks the model, and a simulated structure."""

from pathlib import Path

import pandas as pd

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.composition import label
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.peak_map import block_of
from glassmap.agent.models.ensemble import EnsemblePrediction, TrainedEnsemble
from glassmap.agent.peaks.reference import fit_peak, fitted_profile
from glassmap.agent.shapes import Composition
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.plots.for_print import band_about, draw_generated, draw_structure
from glassmap.simulation.potential import Potential
from glassmap.simulation.structure import Q, Structure, curves_of


def generate_alloy(store: CampaignStore, composition: Composition, output: Path | None = None) -> list[Path]:
    """Generate one alloy's spectrum by the last checkpoint, as CSV and PNG.

    Args:
        store: Of the campaign.
        composition: Of the alloy, atomic fractions of the campaign's elements, shape `(e,)`.
        output: File name without ending; in the campaign's folder by default.

    Raises:
        ModelError: If no model has been trained yet.
    """
    elements = store.elements
    round_, ensemble = _last_ensemble(store)
    block, row = block_of(CampaignConfig.recorded(store.config).space.build(), composition)
    predicted = EnsemblePrediction(*(part[row] for part in ensemble.predict(block)))
    name, axis, _ = store.axis()
    output = output or store.folder / "generated" / label(composition, elements)
    output.parent.mkdir(parents=True, exist_ok=True)
    csv, png = output.with_name(output.name + ".csv"), output.with_name(output.name + ".png")
    columns = {name: axis} | predicted._asdict()
    pd.DataFrame(columns).to_csv(csv, index=False, float_format="%.6g")
    title = f"{_title(store)}: {label(composition, elements)}, generated after round {round_}"
    if (q := q_axis(*store.axis())) is not None:
        title += f"\n{fit_peak(q, predicted.mean).say()}"
    half_width, band = band_about(predicted.band, predicted.epistemic_std)
    draw_generated(name, axis, predicted.mean, half_width, png, band=band, title=title)
    return [csv, png]


def draw_simulation(structure: Structure, potential: Potential, path: Path) -> Path:
    """Draw g(r), total and partial, and S(q) with its fitted first peak, of one simulated alloy, as a PNG."""
    r, rdfs, factors = curves_of(structure)
    found = fit_peak(Q, factors["no window"]).say()
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
    """Return the campaign's name, and where its spectra come from if not from an instrument."""
    name, source = store.config["name"], store.source
    return f"{name}, {source}" if source else name


def _last_ensemble(store: CampaignStore) -> tuple[int, TrainedEnsemble]:
    found = store.artefact("checkpoint")
    if found is None:
        raise ModelError(f"No model has been trained in {store.folder} yet. Go on with `glassmap run {store.folder}`.")
    try:
        return found[0], TrainedEnsemble.load(found[1], device=store.config["device"])
    except ModelError as error:
        raise ModelError(f"{error} `glassmap run {store.folder}` trains it again.") from error
