"""What of a spectrum should become 100: what each rule costs a model as counts get fewer, and how far it wanders.

Spectra learned from are counted anew, with so many counts at their highest point; the test set is as it was measured.
The model is the ensemble without its networks, which takes a second and not half a minute.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.spectrum import Preprocessing, q_axis
from glassmap.agent.models.extra_trees import RandomisedTrees
from glassmap.agent.models.gaussian_process import GaussianProcess
from glassmap.agent.models.stacking import fit_stack
from glassmap.agent.peaks.batched import errors_by_spectrum
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.peaks.measures import FIRST_PEAK_MSE, MSE, SCALE_FREE_MSE
from glassmap.agent.shapes import Compositions, Scans, Spectra
from glassmap.flows.compare import draw_split
from tests.benchmarks.spectra import learning_size

RULES: Mapping[str, Mapping[str, Any]] = {
    "maximum": {"scale": "maximum"},
    "smoothed maximum": {"scale": "smoothed maximum"},
    "2 to 3.5 1/Å": {"scale": "window", "scale_window": (2.0, 3.5)},  # the halos of all three systems
    "everything": {"scale": "window"},
}
COUNTS = (0, 13500, 1350, 135, -1)
"""At the highest point of each spectrum. 0: as measured; -1: between 135 and 13500, another in each, as where counting
times differ within a campaign."""
TEST_SPECTRA = 300
FIGURES = (SCALE_FREE_MSE.name, FIRST_PEAK_MSE.name, Q1.name, DELTA_Q.name)


def run(
    datasets: Sequence[Path],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    counts: Sequence[int] = COUNTS,
    where: str | None = None,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, seed, number of counts and rule.

    `left_over` is the MSE of the test set as a share of the variance of its spectra, both scaled by the rule: what the
    model doesn't know of spectra that are scaled so; `by_factor` is how much of it one factor a spectrum explains. The
    errors by the other measures are of generated spectra after their best factor against the measured ones scaled to a
    maximum of 100, so that they don't hang on the rule's unit. `shift` is the mean of how much the counting changes the
    scale of a spectrum, and `wander` its standard deviation.

    Args:
        datasets: NetCDF files of diffraction; spectra are learned from in the paper's number.
        seeds: Each gives its own random split, draw and counting.
        counts: See `COUNTS`.
        where: Keeps the samples for which this coordinate holds.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in datasets:
        spectra = read_dataset(path)
        if where is not None and where in spectra.coordinates:
            spectra = spectra.where(where)
        for seed in seeds:
            learn, test = draw_split(spectra, "random", n=learning_size(path), seed=seed)
            test = test.select(np.random.default_rng(seed).permutation(len(test))[:TEST_SPECTRA])
            for number in counts:
                counted = count_again(learn.intensities, number, np.random.default_rng([seed, abs(number)]))
                for name, rule in RULES.items():
                    record = {"dataset": path.stem, "counts": number, "rule": name, "seed": seed}
                    records.append(record | judge(learn, counted, test, rule, seed=seed))
                    on_record(records[-1])
    return records


def count_again(scans: Scans, number: int, rng: np.random.Generator) -> Scans:
    """Return scans as a counter would see them with so many counts at the highest point of each; see `COUNTS`."""
    if number == 0:
        return scans.astype(np.float64)
    tops = 135 * 100 ** rng.random((len(scans), 1)) if number < 0 else np.full((len(scans), 1), float(number))
    return rng.poisson(np.maximum(scans, 0) / scans.max(axis=1, keepdims=True) * tops).astype(np.float64)


def judge(learn: SpectraSet, counted: Scans, test: SpectraSet, rule: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Return the figures of one record of `run`."""
    axis = learn.axis
    if rule["scale"] == "window":
        rule = {"scale_window": (float(axis[0]), float(axis[-1])), **rule}
    steps = Preprocessing.over(learn.axis_name, axis, wavelength=learn.wavelength, **rule)
    q = q_axis(learn.axis_name, steps.grid(), learn.wavelength)
    measured, aim = steps.prepare_all(axis, counted), steps.prepare_all(axis, test.intensities)
    generated = generate(learn.compositions, measured, test.compositions, seed=seed)
    own = errors_by_spectrum(generated, aim, q=None)
    highest = Preprocessing.over(learn.axis_name, axis, wavelength=learn.wavelength).prepare_all(axis, test.intensities)
    factors = (generated * highest).sum(1) / (generated**2).sum(1)
    errors = errors_by_spectrum(factors[:, None] * generated, highest, q=q)
    # What the counting did to the scale: its ratio to that of the same scan as it was measured, both by one exposure
    whole = steps.prepare_all(axis, learn.intensities)
    changes = np.log(measured.mean(1) / whole.mean(1))
    return {
        "left_over": float(own[MSE.name].mean() / aim.var(axis=0).mean()),
        "by_factor": float(1 - own[SCALE_FREE_MSE.name].mean() / own[MSE.name].mean()),
        **{name: float(np.nanmean(errors[name])) for name in FIGURES},
        "shift": float(changes.mean()),
        "wander": float(changes.std()),
    }


def generate(learned: Compositions, spectra: Spectra, asked: Compositions, *, seed: int) -> Spectra:
    """Return what the ensemble without its networks makes of some alloys."""
    device = torch.device("cpu")
    models = {"gaussian_process": GaussianProcess(device), "trees": RandomisedTrees(device)}
    stack = fit_stack(models, learned, spectra, seed=seed, device=device)
    means = [block.mean(stack.weights) for block in stack.predict_blocks(asked)]
    return torch.cat(means).numpy().astype(np.float64)
