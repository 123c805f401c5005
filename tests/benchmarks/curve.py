"""The learning curve of the paper's Fig. 4d: test MSE against the number of spectra learned from, at random."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.config import TrainingConfig
from tests.benchmarks.spectra import LABELS, draw_split, judge_models, read_prepared

SAME = 1e-6  # closer than this, two compositions are one


def run(
    path: Path,
    *,
    variable: str,
    where: str | None,
    sizes: Sequence[int],
    seeds: Sequence[int],
    config: TrainingConfig,
    tell: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a size, seed and model: its MSE on the 30 % that are held out, as in the paper.

    Args:
        path: A data set.
        variable: Its spectra; g(r) isn't scaled, so its MSE is that of g(r) itself.
        where: Keeps the samples for which this holds.
        sizes: Numbers of spectra to learn from.
        seeds: Each gives its own split, draw and networks.
        config: Of our ensemble.
        tell: Called with every record as it is there.
    """
    spectra = read_prepared(path, variable=variable, where=where)
    records = []
    for n in sizes:
        for seed in seeds:
            learn, test = draw_split(spectra, "random", n=n, seed=seed)
            for model, errors in judge_models(learn, test, seed=seed, config=config, published=False):
                records.append({"n": len(learn), "seed": seed, "model": model, "mse": errors["mse"]})
                tell(records[-1])
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
    there = distances.min(axis=1, initial=np.inf) < SAME
    return distances[there].argmin(axis=1), again[there]


def draw(records: Sequence[dict[str, Any]], picture: Path, *, floor: float | None, published: float | None, title: str):
    """Median and range over seeds of every model against the number of spectra, on logarithmic axes.

    Args:
        records: Of `run`.
        picture: PNG to write.
        floor: MSE of a perfect model, from `noise_floor`.
        published: The paper's MSE at 40 spectra, where there is one to draw.
        title: Above.
    """
    figure = Figure(figsize=(8, 5.2), layout="constrained")
    axes = figure.subplots()
    for model, (name, colour) in LABELS.items():
        points = {}
        for record in records:
            if record["model"] == model:
                points.setdefault(record["n"], []).append(record["mse"])
        if points:
            n, values = list(points), list(points.values())
            axes.plot(n, [np.median(v) for v in values], "o-", color=colour, label=name, linewidth=1.4, markersize=4)
            axes.fill_between(n, [min(v) for v in values], [max(v) for v in values], color=colour, alpha=0.15, lw=0)
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1, label="noise of one simulation")
    if published is not None:
        axes.plot([40], [published], "*", color="#d55e00", markersize=13, label="the paper, 40 000 atoms")
    axes.set(xscale="log", yscale="log", xlabel="spectra learned from", ylabel="test MSE", title=title)
    ticks = sorted({record["n"] for record in records})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)
