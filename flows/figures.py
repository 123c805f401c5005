"""Pictures that a command makes anew: an alloy's spectrum, which asks the model, and a simulated structure."""

import math
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from glassmap.agent.config.campaign import slug
from glassmap.agent.config.space import SpaceConfig
from glassmap.agent.data.composition import label
from glassmap.agent.data.context import Held, say_held
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import ModelError
from glassmap.agent.maps.glass import P_GLASS, GlassRule
from glassmap.agent.maps.knowledge import say_known
from glassmap.agent.maps.peak_map import block_of, map_block
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.models.ensemble import EnsemblePrediction, TrainedEnsemble
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.peaks.reference import fit_peak, fitted_profile
from glassmap.agent.peaks.states import SAID, state_of
from glassmap.agent.shapes import Axis, Composition, Compositions, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.plots.for_print import band_about, draw_generated, draw_structure, save
from glassmap.dashboard.plots.words import BAND
from glassmap.simulation.potential import Potential
from glassmap.simulation.structure import Q, Structure, curves_of

LINE = 100  # characters of a title


class Generated(NamedTuple):
    """An alloy's spectrum as the last round's model generates it, and what is to be said of it."""

    round: int
    alloy: str
    axis_name: str
    axis: Axis
    spectrum: EnsemblePrediction  # each of shape `(q,)`
    held: str  # at which process variables; empty where composition is all that the model learned from
    figures: str  # of the first peak, each with how sure it is; empty of g(r)
    nearest: str  # the nearest alloy learned from, and the band
    known: str  # whether the alloy is known, and why
    is_known: bool

    def table(self) -> pd.DataFrame:
        """Return it as columns: axis, mean, the band, one draw, and the standard deviations."""
        mean, half_width = self.spectrum.mean, self.spectrum.band
        columns = {self.axis_name: self.axis, "mean": mean, "low": mean - half_width, "high": mean + half_width}
        stds = {"epistemic_std": self.spectrum.epistemic_std, "aleatoric_std": self.spectrum.aleatoric_std}
        return pd.DataFrame(columns | {"sample": self.spectrum.sample} | stds)


def generate(store: CampaignStore, composition: Composition, ensemble: TrainedEnsemble) -> Generated:
    """Generate one alloy's spectrum by the last round's model, and say how far it is to be believed.

    Args:
        store: Of the campaign.
        composition: Of the alloy, atomic fractions of the campaign's elements, shape `(e,)`.
        ensemble: The model, held at the process variables that count.
    """
    elements, round_ = store.elements, store.newest("checkpoint")[0]
    said = "" if ensemble.context is None else say_held(ensemble.context.held)
    unlearned = "" if ensemble.context is None else store.say_unlearned(ensemble.context.held)
    space = SpaceConfig.model_validate(store.space_of(round_)).build()
    block, row = block_of(space, composition, size=ensemble.block_size)
    predicted = EnsemblePrediction(*(part[row] for part in ensemble.predict(block)))
    name, axis, _ = store.axis()
    q = q_axis(*store.axis())
    half_width, band = band_about(predicted.band, predicted.epistemic_std)
    learned = ensemble.learned_from
    distances = 100 * np.linalg.norm(learned - composition, axis=1)
    distance = float(distances.min(initial=math.inf))
    nearest = (
        f"{100 * CONFIDENCE:g} % of measured points are expected within ± {predicted.band.mean():.3g} of the spectrum."
        if band == BAND
        else f"Two epistemic std of the spectrum are {half_width.mean():.3g}, mean over the points."
    )
    if len(learned):
        other = label(learned[int(np.argmin(distances))], elements)
        nearest = f"The nearest alloy learned from is {other}, {distance:.1f} at.% away. {nearest}"
    error = float(ensemble.expected_errors(block)[row])
    return Generated(
        round_,
        label(composition, elements),
        name,
        axis,
        predicted,
        said and f"held at {said}{unlearned and '. '}{unlearned}",
        "" if q is None else _say_figures(store, ensemble, block, row, q),
        nearest,
        say_known(error, ensemble.known_below, distance),
        error < ensemble.known_below,
    )


def picture_of_spectrum(store: CampaignStore, generated: Generated, measured: Spectra | None = None) -> Figure:
    """Return a generated spectrum, drawn with its band, over what was measured of the alloy, shape `(n, q)`."""
    half_width, band = band_about(generated.spectrum.band, generated.spectrum.epistemic_std)
    held = generated.held and f", {generated.held}"
    title = f"{_title(store)}: {generated.alloy}{held}, generated after round {generated.round}"
    return draw_generated(
        generated.axis_name,
        generated.axis,
        generated.spectrum.mean,
        half_width,
        band=band,
        title=f"{title}\n{fill(generated.figures, LINE)}".rstrip(),
        warning="" if generated.is_known else generated.known,
        measured=measured,
    )


def generate_alloy(
    store: CampaignStore,
    composition: Composition,
    output: Path | None = None,
    *,
    held: Held | None = None,
) -> tuple[Generated, list[Path]]:
    """Generate one alloy's spectrum as a CSV and a PNG, and return both beside it.

    Args:
        store: Of the campaign.
        composition: As of `generate`.
        output: File name without ending; in the campaign's folder by default.
        held: Process variables at other values than the campaign's.

    Raises:
        ModelError: If no model has been trained yet, or it doesn't know the process variables.
    """
    ensemble = _last_ensemble(store)
    if held:
        ensemble = ensemble.held_at({**({} if ensemble.context is None else ensemble.context.held), **held})
    generated = generate(store, composition, ensemble)
    ending = f"-{slug(say_held(ensemble.context.held))}" if held and ensemble.context is not None else ""
    output = output or store.folder / "generated" / f"{generated.alloy}{ending}"
    output.parent.mkdir(parents=True, exist_ok=True)
    csv, png = output.with_name(output.name + ".csv"), output.with_name(output.name + ".png")
    generated.table().to_csv(csv, index=False, float_format="%.6g")
    save(picture_of_spectrum(store, generated), png)
    return generated, [csv, png]


def _say_figures(store: CampaignStore, ensemble: TrainedEnsemble, block: Compositions, row: int, q: Axis) -> str:
    """Return the peak figures of an alloy of a block, each with how sure it is, and the probability of a glass."""
    rule = None if store.glass is None else store.glass[1]
    said = map_block(ensemble.forecasting(q), block, q=q, glass=rule or GlassRule())
    found = {name: float(values[row]) for name, values in said.items()}
    if math.isnan(found[DELTA_Q.name]):
        return f"no trustworthy first peak; {100 * found['peak_share']:.0f} % of the members have one"
    stds = {figure: found.get(figure.predictive_std_name, math.nan) for figure in FIGURES}
    foretold = [figure.label for figure, std in stds.items() if not math.isnan(std)]
    stds = {figure: found[figure.std_name] if math.isnan(std) else std for figure, std in stds.items()}
    words = ", ".join(f"{figure.label} {figure.say(found[figure.name], std)}" for figure, std in stds.items())
    if foretold:
        words += f" (±: std of a new measurement's {' and '.join(foretold)}, epistemic std of the others)"
    else:
        words += " (± epistemic std)"
    words += f"; it looks like {SAID[state_of(found)]}"
    if rule is not None and not math.isnan(found[P_GLASS]):
        words += f"; P(glass) {found[P_GLASS]:.2f} by {rule.say()}"
    return words


def draw_simulation(structure: Structure, potential: Potential, path: Path) -> Path:
    """Draw g(r), total and partial, and S(q) with its fitted first peak, of one simulated alloy, as a PNG."""
    r, rdfs, factors = curves_of(structure)
    found = fit_peak(Q, factors["no window"]).say()
    picture = draw_structure(
        r,
        rdfs,
        Q,
        factors,
        fitted_profile(Q, factors["no window"]),
        title=f"{structure.label}, {sum(structure.counts)} atoms, potential {potential.name}: {found}",
    )
    save(picture, path)
    return path


def _title(store: CampaignStore) -> str:
    """Return the campaign's name, and where its spectra come from if not from an instrument."""
    name, source = store.config["name"], store.source
    return f"{name}, {source}" if source else name


def _last_ensemble(store: CampaignStore) -> TrainedEnsemble:
    found = store.artefact("checkpoint")
    if found is None:
        raise ModelError(f"No model has been trained in {store.folder} yet. Go on with `glassmap run {store.folder}`.")
    try:
        return TrainedEnsemble.load(found[1], device=store.config["device"])
    except ModelError as error:
        raise ModelError(f"{error} `glassmap run {store.folder}` trains it again.") from error
