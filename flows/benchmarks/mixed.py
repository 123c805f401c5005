"""Whether simulated spectra help to learn measured ones: the same measured test set, learned from what."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.errors import DatasetError
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.flows.benchmarks.spectra import draw_split


def run(
    measured: Path,
    simulated: Path,
    *,
    where: str | None = None,
    background: float | None = None,
    sizes: Sequence[int] = (10, 20, 40),
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainingConfig = PRESETS["default"],
    tell: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a number of measured spectra and seed: MSE on 30 % held out, learned from what.

    `measured`: from those spectra alone; `mixed`: from the simulated ones too, as `guide.learn` does; `simulated`: from
    these alone.

    Args:
        measured: A NetCDF file.
        simulated: Another, of the same elements, on the same kind of axis.
        where: Keeps the measured samples for which this coordinate holds.
        background: Half-width of the SNIP background that is taken off both, in the unit of the axis; what is simulated
            has none. MSE is then of the peaks alone.
        sizes: Numbers of measured spectra to learn from.
        seeds: Each with its own test set, draw and networks.
        config: Of the ensemble.
        tell: Called with every record as it is there.

    Raises:
        DatasetError: If elements or axes differ.
    """
    theirs, ours = read_dataset(simulated), read_dataset(measured)
    ours = ours.where(where) if where else ours
    if (theirs.elements, theirs.axis_name) != (ours.elements, ours.axis_name):
        raise DatasetError(
            f"Both sets must be of the same elements, in one order, and axis; got {ours.elements} against "
            f"{ours.axis_name} and {theirs.elements} against {theirs.axis_name}."
        )
    low, high = (end(theirs.axis[place], ours.axis[place]) for end, place in ((max, 0), (min, -1)))
    points = int(((ours.axis >= low) & (ours.axis <= high)).sum())
    steps = {"low": float(low), "high": float(high), "points": points, "background": background}
    theirs, ours = (spectra.prepared(**steps) for spectra in (theirs, ours))
    records, alone = [], {}  # of the simulated ones alone, once a seed
    for n in sizes:
        for seed in seeds:
            drawn, test = draw_split(ours, "random", n=n, seed=seed)
            if seed not in alone:
                alone[seed] = _error([theirs], test, config, seed)
            record: dict[str, Any] = {"dataset": measured.stem, "n": n, "simulated": len(theirs), "seed": seed}
            record["mse_measured"] = _error([drawn], test, config, seed)
            record["mse_mixed"] = _error([drawn, theirs], test, config, seed)
            record["mse_simulated"] = alone[seed]
            records.append(record)
            tell(record)
    return records


def _error(sets: Sequence[SpectraSet], test: SpectraSet, config: TrainingConfig, seed: int) -> float:
    compositions = np.concatenate([spectra.compositions for spectra in sets])
    intensities = np.concatenate([spectra.intensities for spectra in sets]).astype(np.float64)
    ensemble = Ensemble(config, seed=seed).fit(compositions, intensities)
    return mean_squared_error(ensemble.generate(test.compositions), test.intensities)
