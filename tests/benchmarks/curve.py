"""The learning curves of the paper's Figs. 2c and 4d: test MSE against the number of spectra learned from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.config import TrainingConfig
from glassmap.dashboard.plots.for_print import draw_model_curves, save
from glassmap.flows.compare import read_prepared
from tests.benchmarks.spectra import draw_split, judge_models


def run(
    path: Path,
    *,
    variable: str,
    where: str | None,
    splits: Sequence[str] = ("random",),
    sizes: Sequence[int],
    seeds: Sequence[int],
    config: TrainingConfig,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a split, size, seed and model: its errors on what is held out, as of `spectra.run`.

    A size that a split has not as many spectra for is taken as all of them, once.

    Args:
        path: A data set.
        variable: Its spectra; g(r) isn't scaled, so its MSE is that of g(r) itself.
        where: Keeps the samples for which this holds.
        splits: As of `spectra.run`.
        sizes: Numbers of spectra to learn from.
        seeds: Each gives its own split, draw and networks.
        config: Of our ensemble.
        on_record: Called with every record as it is there.
    """
    spectra = read_prepared(path, variable=variable, where=where)
    records = []
    for split in splits:
        there = min(len(draw_split(spectra, split, n=len(spectra), seed=seed)[0]) for seed in seeds)
        for n in sorted({min(size, there) for size in sizes}):
            for seed in seeds:
                learn, test = draw_split(spectra, split, n=n, seed=seed)
                for model, errors in judge_models(learn, test, seed=seed, config=config, published=False):
                    records.append({"split": split, "n": len(learn), "seed": seed, "model": model, **errors})
                    on_record(records[-1])
    return records


def noise_floor(path: Path, *, variable: str) -> float | None:
    """The MSE that a perfect model has on single simulations: half of that between two seeds of one alloy.

    None where the data set has no alloy twice (no coordinate `replicate`).
    """
    spectra = read_prepared(path, variable=variable)
    if "replicate" not in spectra.coordinates:
        return None
    first, again = _pairs(spectra)  # rows
    return mean_squared_error(spectra.intensities[first], spectra.intensities[again]) / 2 if len(again) else None


def _pairs(spectra: SpectraSet) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the first and of the second simulation of each alloy that was simulated twice."""
    replicate = spectra.coordinates["replicate"]
    again = np.flatnonzero(replicate)
    distances = np.abs(spectra.compositions[again][:, None] - spectra.compositions[None]).max(axis=2)
    distances[:, replicate] = np.inf
    there = distances.min(axis=1, initial=np.inf) < SAME_ALLOY
    return distances[there].argmin(axis=1), again[there]


def draw(records: Sequence[dict[str, Any]], picture: Path, *, floor: float | None, published: float | None, title: str):
    """Median and range over seeds of every model against the number of spectra, a panel a split, as a PNG.

    Args:
        records: Of `run`.
        picture: PNG to write.
        floor: MSE of a perfect model, from `noise_floor`.
        published: The paper's MSE at 40 spectra, where there is one to draw.
        title: Above each panel, before its split.
    """
    curves: dict[str, dict[str, dict[int, list[float]]]] = {}
    for record in records:
        panel = curves.setdefault(f"{title}, {record['split']}", {})
        panel.setdefault(record["model"], {}).setdefault(record["n"], []).append(record["mse"])
    save(draw_model_curves(curves, floor=floor, published=published), picture)
