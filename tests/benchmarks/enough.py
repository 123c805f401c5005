"""Enough on a wafer: how many points are saved, how often it is said too early, and how long it takes to know.

Each wafer is measured alone, a quarter of its points held out, in the order in which it was scanned, from coarse to
fine, and as batches are planned. After every few points the rule says what the rest would bring. The error is that of
the Gaussian process of `glassmap.agent.models`, which has nearly all the weight in the ensemble of a single wafer, on
what is held out. By looking at all that came later, an oracle says from when on it stays within 1.1 times the last.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

from glassmap.agent.config.planning import TOLERANCES
from glassmap.agent.data.context import WAFER
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.samples import name_of_wafer, samples_of
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.models.gaussian_process import GaussianProcess
from glassmap.agent.peaks.batched import errors_by_spectrum, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.acquisition import plan_batch
from glassmap.agent.planning.convergence import On
from glassmap.agent.planning.enough import FEWEST, LEAST_MSE, weigh_rest
from glassmap.agent.shapes import Rows
from glassmap.flows.compare import read_prepared

HELD_OUT = 0.25  # of a wafer's points
BATCH, PLANNED = 20, 160  # points a batch, and until when they are planned: the others follow as scanned
WITHIN = 1.1  # times the last error
CAMPAIGN_MSE = 5.0  # of a campaign that knows its system well; what a share of the MSE is a share of
COARSE = (4, 2, 1)  # every so many rows and columns, one after the other
CASES: tuple[tuple[str, On, float | None], ...] = (
    ("MSE, first wafer", "mse", None),
    (f"MSE, campaign at {CAMPAIGN_MSE:g}", "mse", CAMPAIGN_MSE),
    ("Δq", "delta_q", None),
)

Record = dict[str, Any]


def run(paths: Sequence[Path], *, seeds: Sequence[int], where: str | None = None, every: int = 15) -> list[Record]:
    """Measure each wafer of some sets point by point, and record where each rule stops.

    Args:
        paths: Data sets whose samples name their wafer.
        seeds: Draws of what is held out.
        where: Only the samples that meet this; see `SpectraSet.where`.
        every: Points after which it is looked.

    Raises:
        DatasetError: If a set names no wafers.
    """
    found: list[Record] = []
    for path in paths:
        spectra = read_prepared(path, where=where)
        wafers = np.array([name_of_wafer(name) for name in spectra.coordinates.get(WAFER, [""] * len(spectra))])
        if not (wafers != "").any():
            raise DatasetError(f"{path.name} names no wafers; give one whose samples have a `wafer`.")
        for wafer in np.unique(wafers[wafers != ""]).tolist():
            of_wafer = spectra.select(wafers == wafer)
            for seed in seeds:
                held = np.zeros(len(of_wafer), dtype=bool)
                held[np.random.default_rng(seed).permutation(len(held))[: round(HELD_OUT * len(held))]] = True
                for order, arrange in ORDERS.items():
                    rows = arrange(of_wafer, np.flatnonzero(~held), seed)
                    about = {"dataset": path.stem, "wafer": wafer, "seed": seed, "order": order}
                    found += [about | one for one in _follow(of_wafer, rows, held, every)]
    return found


def _follow(spectra: SpectraSet, rows: Rows, held: np.ndarray, every: int) -> list[Record]:
    """Return where each case stops on one wafer that is measured in an order, and what the error was then and later."""
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    assert q is not None, "sets of wafers are measured in q"
    compositions, intensities = spectra.compositions, spectra.intensities.astype(np.float64)
    delta_q = measure_peaks(q, torch.from_numpy(intensities)).figures[DELTA_Q.name].numpy()
    counts = [*range(max(every, FEWEST), len(rows), every), len(rows)]
    errors: dict[On, list[float]] = {"mse": [], "delta_q": []}
    gains: dict[str, list[float]] = {name: [] for name, _, _ in CASES}
    stops: dict[str, int] = {}
    seconds: list[float] = []
    model = GaussianProcess(torch.device("cpu"))
    for place, count in enumerate(counts):
        known, left = rows[:count], np.isin(np.arange(len(spectra)), rows[count:])
        predicted = model.fit(compositions[known], intensities[known], seed=0).predict(compositions[held]).mean
        judged = errors_by_spectrum(predicted, intensities[held], q=q)
        for on, those in errors.items():
            those.append(float(np.nanmean(judged[on])))
        for name, on, mse in CASES:
            measured = intensities if on == "mse" else delta_q
            begun = perf_counter()
            rest = weigh_rest(on, compositions[known], measured[known], compositions, left, mse=mse)
            seconds.append(perf_counter() - begun)
            gains[name].append(np.nan if rest is None else rest.gain)
            if rest is not None and rest.is_enough(TOLERANCES[on]):
                stops.setdefault(name, place)
    return [
        _record(name, on, mse, counts, np.array(errors[on]), gains[name], stops, seconds) for name, on, mse in CASES
    ]


def _record(
    name: str,
    on: On,
    mse: float | None,
    counts: Sequence[int],
    errors: np.ndarray,
    gains: Sequence[float],
    stops: dict[str, int],
    seconds: Sequence[float],
) -> Record:
    stop = stops.get(name, len(counts) - 1)
    stays = np.flatnonzero(errors > WITHIN * errors[-1])
    oracle = min(stays[-1] + 1 if len(stays) else 0, len(counts) - 1)
    level = max(errors[stop], LEAST_MSE) if mse is None else mse
    worth = TOLERANCES[on] * (level if on == "mse" else 1.0)
    return {
        "by": name,
        "points": counts[-1],
        "stopped_at": counts[stop],
        "saved": 1 - counts[stop] / counts[-1],
        "oracle_saved": 1 - counts[oracle] / counts[-1],
        "error": float(errors[stop]),
        "last_error": float(errors[-1]),
        "later_fall": float(errors[stop] - errors[-1]),
        "is_false": bool(errors[stop] - errors[-1] > worth),
        "within": bool(errors[stop] <= WITHIN * errors[-1]),
        "seconds": max(seconds),
        "counts": list(counts),
        "errors": errors.tolist(),
        "gains": list(gains),
    }


def as_scanned(spectra: SpectraSet, rows: Rows, seed: int) -> Rows:
    """Return the points in the order in which the set has them: row by row of the wafer."""
    return rows


def coarse_to_fine(spectra: SpectraSet, rows: Rows, seed: int) -> Rows:
    """Return first every fourth row and column of the wafer's grid, then every second, then all; each as scanned."""
    samples = samples_of(spectra).select(rows)
    places = np.stack([np.unique(np.round(axis, 3), return_inverse=True)[1] for axis in (samples.x, samples.y)])
    level = np.argmax([(places % step == 0).all(axis=0) for step in COARSE], axis=0)
    return rows[np.argsort(level, kind="stable")]


def as_planned(spectra: SpectraSet, rows: Rows, seed: int) -> Rows:
    """Return the points batch by batch, each spread evenly away from all before, and the last ones as scanned."""
    compositions, order = spectra.compositions, np.empty(0, dtype=np.intp)
    while len(order) < min(PLANNED, len(rows)):
        free = np.setdiff1d(rows, order)
        batch = plan_batch(compositions[free], min(BATCH, len(free)), taken=compositions[order], seed=seed)
        order = np.append(order, free[batch.rows])
    return np.append(order, np.setdiff1d(rows, order))


ORDERS: dict[str, Callable[[SpectraSet, Rows, int], Rows]] = {
    "as scanned": as_scanned,
    "coarse to fine": coarse_to_fine,
    "as planned": as_planned,
}


def over_wafers(records: Sequence[Record]) -> list[Record]:
    """Return a line for each set, order and case: means over wafers and seeds, with the spread of what is saved."""
    lines: list[Record] = []
    names = dict.fromkeys((one["dataset"], one["order"], one["by"]) for one in records)
    for dataset, order, by in names:
        those = [one for one in records if (one["dataset"], one["order"], one["by"]) == (dataset, order, by)]
        saved = np.array([one["saved"] for one in those])
        ratio = [one["error"] / one["last_error"] for one in those]
        lines.append(
            {
                "dataset": dataset,
                "order": order,
                "by": by,
                "n": len(those),
                "saved (%)": round(100 * float(saved.mean()), 1),
                "± (%)": round(100 * float(saved.std()), 1),
                "oracle saved (%)": round(100 * float(np.mean([one["oracle_saved"] for one in those])), 1),
                "error over the last, median": round(float(np.median(ratio)), 2),
                "later fall, median": round(float(np.median([one["later_fall"] for one in those])), 4),
                "later fall, most": round(max(one["later_fall"] for one in those), 4),
                "too early (%)": round(100 * float(np.mean([one["is_false"] for one in those])), 1),
                "most seconds": round(max(one["seconds"] for one in those), 2),
            }
        )
    return lines
