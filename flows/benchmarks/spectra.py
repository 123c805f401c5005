"""How well unseen spectra are generated: ours, the baselines and the published ccGAN, on the same splits and seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.baselines import BASELINES
from agent.dataset import SpectraSet, read_dataset
from agent.ensemble import Ensemble
from agent.shapes import Compositions, Spectra
from agent.spectrum import mean_squared_error
from agent.training import PRESETS, TrainingConfig
from flows.backends import split

# Spectra after which the paper's learning curve has converged (Xie et al. 2025, "Performance on synchrotron XRD and MD
# simulations"); its MSE there is 45, 13 and 60.
PAPER_SIZES = {"co-ti-zr": 50, "co-v-zr": 80, "fe-ti-nb": 60}


def run(
    datasets: Sequence[Path],
    *,
    n: int | None = None,
    splits: Sequence[str] = ("random", "wafer"),
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainingConfig = PRESETS["default"],
    where: str | None = None,
    published: bool = False,
    tell: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, split, seed and model: its MSE on the test set.

    Args:
        datasets: NetCDF files.
        n: Spectra to learn from, drawn from the training part; by default the paper's number for the system, else 60.
        splits: `random` (30 % held out) and `wafer` (one wafer held out, another with each seed).
        seeds: Each gives its own split, draw and networks.
        config: Of our ensemble.
        where: Keeps the samples for which this coordinate holds.
        published: Also train the published network by the published terms; hours without a GPU.
        tell: Called with every record as it is there.
    """
    records = []
    for path in datasets:
        spectra = read_dataset(path)
        spectra = (spectra.where(where) if where else spectra).prepared()
        size = n or PAPER_SIZES.get(path.stem, 60)
        for kind in splits:
            for seed in seeds:
                learn, test = draw_split(spectra, kind, n=size, seed=seed)
                for model, mse in judge_models(learn, test, seed=seed, config=config, published=published):
                    record = {"dataset": path.stem, "split": kind, "n": len(learn), "seed": seed, "model": model}
                    records.append(record | {"mse": mse})
                    tell(records[-1])
    return records


def draw_split(spectra: SpectraSet, kind: str, *, n: int, seed: int) -> tuple[SpectraSet, SpectraSet]:
    """`n` samples to learn from, drawn at random outside the test set, and the test set."""
    held = split(spectra, kind, share=0.3, seed=seed)
    pool = np.flatnonzero(~held)
    drawn = np.random.default_rng([seed, 1]).permutation(pool)[:n]
    return spectra.select(drawn), spectra.select(held)


def judge_models(learn: SpectraSet, test: SpectraSet, *, seed: int, config: TrainingConfig, published: bool):
    """Name and test MSE of every model, one by one."""
    x, y = learn.compositions, learn.intensities.astype(np.float64)
    for name, baseline in BASELINES.items():
        yield name, _mse(baseline().fit(x, y).generate, test)
    generated = Ensemble(config, seed=seed).fit(x, y).describe(test.compositions)
    yield "sample", mean_squared_error(generated.sample, test.intensities)
    yield "ensemble", mean_squared_error(generated.mean, test.intensities)
    if published:
        sample = Ensemble(PRESETS["paper"].model_copy(update={"members": 1}), seed=seed).fit(x, y)
        yield "published", mean_squared_error(sample.describe(test.compositions).sample, test.intensities)


def _mse(generate: Callable[[Compositions], Spectra], test: SpectraSet) -> float:
    return mean_squared_error(generate(test.compositions), test.intensities)
