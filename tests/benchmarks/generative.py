"""How good a generative model the ensemble is: its draws held against measured spectra, on the same splits as controls.

A mean is judged by its error; a distribution by proper scores, by what its intervals hold, and by whether a classifier
can tell its draws from measurements.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial import KDTree

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.glass import GLASS_DELTA_Q
from glassmap.agent.models.config import PRESETS
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.shapes import Axis, Compositions, Mask, PerSample, Spectra
from glassmap.flows.compare import read_prepared
from tests.benchmarks import scores
from tests.benchmarks.controls import CONTROLS, Fit, Forecast, draw_figure, ours
from tests.benchmarks.scores import Draws, FigureDraws
from tests.benchmarks.spectra import AS_GOOD_AS_ONE, draw_split, learning_size

COUNT = 50  # draws of each alloy
JUDGED = (DELTA_Q.name, Q1.name)
LEVELS = (0.5, 0.9)  # of intervals
BORDER = 0.1  # share of the test alloys that count as a border of phases
NEIGHBOURS = 8  # measured alloys around one, over which q1 changes at a border
MEASURED, FIGURE = (
    "measured again",
    "gp on the figure",
)  # beside the models: what can't be beaten, and no spectra at all
SHOWN = 12  # draws in a picture


_OF_FIGURE = ("{}_crps", "{}_inside_50", "{}_width_50", "{}_inside_90", "{}_width_90")
TABLES = {  # what is printed of the records
    "Draws of spectra": ("mse", "mse_draw", "energy", "rough", "auc", "auc_peak", "with_peak"),
    "Draws of Δq": tuple(name.format(DELTA_Q.name) for name in _OF_FIGURE),
    "Draws of q1": tuple(name.format(Q1.name) for name in _OF_FIGURE),
    "Measured again": ("again_energy", *(f"again_{name.format(DELTA_Q.name)}" for name in _OF_FIGURE)),
    "Glass, and Δq at borders": (
        "brier",
        "bias_mean_border",
        "bias_draws_border",
        "mae_mean_border",
        "mae_draws_border",
        "widening",
    ),
}

MODELS: Mapping[str, Fit] = {
    "ensemble": ours(PRESETS["default"]),
    **CONTROLS,
}


class Case(NamedTuple):
    """What the models of one split learn from and are judged on."""

    learn: SpectraSet
    test: SpectraSet
    again: SpectraSet | None
    """Not learned from, within 1 at.% of an alloy that was, on another wafer; None where the set has none."""
    q: Axis
    border: Mask
    """The test alloys around which the measured q1 changes most."""


class Example(NamedTuple):
    """An alloy measured on several wafers, and how a model draws it."""

    dataset: str
    alloy: str
    q: Axis
    measured: Spectra
    models: dict[str, tuple[Spectra, Spectra]]  # mean `(1, q)` and draws `(SHOWN, q)`, by name


def run(
    datasets: Sequence[Path],
    *,
    n: int | None = None,
    split: str = "random",
    seeds: Sequence[int] = (0, 1, 2),
    models: Mapping[str, Fit] = MODELS,
    where: str | None = None,
    count: int = COUNT,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
    on_example: Callable[[Example], None] = lambda example: None,
) -> list[dict[str, Any]]:
    """One record a data set, seed and model; scores as of `judge`.

    `measured again` is a yardstick: measurements of one alloy, where samples overlap, as forecasts of each other.
    `gp on the figure` is a Gaussian process on Δq and on q1 themselves.

    Args:
        datasets: NetCDF files with an axis in q, or in 2θ with its wavelength.
        n: Spectra to learn from; by default the paper's number for the system, else 60.
        split: As of `spectra.draw_split`.
        seeds: Each gives its own split, draw and models.
        models: By name.
        where: Keeps the samples for which this coordinate holds.
        count: Draws of each alloy.
        on_record: Called with every record as it is there.
        on_example: Called once a data set, with an alloy to draw.

    Raises:
        DatasetError: If a set's axis isn't q.
    """
    records: list[dict[str, Any]] = []
    for path in datasets:
        spectra = read_prepared(path, where=where)
        for seed in seeds:
            case = make_case(spectra, split, n=n or learning_size(path), seed=seed)
            about = {"dataset": path.stem, "split": split, "n": len(case.learn), "seed": seed}

            def tell(model: str, figures: dict[str, Any], about: dict[str, Any] = about) -> None:
                records.append(about | {"model": model} | figures)
                on_record(records[-1])

            tell(MEASURED, judge_measured(spectra, case.q))
            trained: dict[str, Forecast] = {}
            for model, fit in models.items():
                begun = time.perf_counter()
                trained[model] = fit(case.learn, seed)
                tell(model, {"fit_seconds": time.perf_counter() - begun} | judge(trained[model], case, count, seed))
            tell(FIGURE, judge_figures_alone(case, count, seed))
            if seed == seeds[0] and case.again is not None:
                on_example(make_example(path.stem, spectra, case.again, case.q, trained, seed))
    return records


def make_case(spectra: SpectraSet, split: str, *, n: int, seed: int) -> Case:
    """Split a set, and find the replicates and the borders in it."""
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    if q is None:
        raise DatasetError(
            f"Draws are judged by their first peaks, which needs an axis in q, or in 2θ with its wavelength; got "
            f"{spectra.axis_name}. Name the variable that holds diffraction spectra."
        )
    learn, test = draw_split(spectra, split, n=n, seed=seed)
    again: Mask = np.zeros(len(spectra), dtype=bool)
    if "wafer" in spectra.coordinates:
        wafers, learned = np.asarray(spectra.coordinates["wafer"]), np.asarray(learn.coordinates["wafer"])
        near = KDTree(learn.compositions).query_ball_point(spectra.compositions, AS_GOOD_AS_ONE)
        other = np.array([any(learned[row] != wafer for row in rows) for rows, wafer in zip(near, wafers, strict=True)])
        again = other & ~np.isin(spectra.ids, learn.ids)
    q1 = _figures(q, spectra.intensities)[Q1.name]
    _, rows = KDTree(spectra.compositions).query(test.compositions, min(NEIGHBOURS + 1, len(spectra)))
    around = q1[rows]
    there = np.isfinite(around).sum(1)
    middle = np.nansum(around, axis=1) / np.maximum(there, 1)
    change = np.sqrt(np.nansum(np.square(around - middle[:, None]), axis=1) / np.maximum(there, 1))
    replicates = spectra.select(again) if again.any() else None
    return Case(learn, test, replicates, q, change >= np.quantile(change, 1 - BORDER))


def judge(forecast: Forecast, case: Case, count: int, seed: int) -> dict[str, Any]:
    """Return how a model's mean and draws compare with the test spectra.

    `mse` of the mean, `mse_draw` of one draw (of a perfect one twice the noise); `energy` score and its standard error
    over alloys; `rough`: roughness of draws over that of measured spectra; `auc`: a classifier between one draw and the
    measurement of each alloy, which sees composition and spectrum (`scores.spectrum_view`), `auc_peak`: composition and
    first peak alone; `with_peak`: share of draws that have one; those of `judge_figure` for Δq and q1, `judge_glass`
    and `judge_borders`; `again_…`: the scores of replicates on other wafers.
    """
    begun = time.perf_counter()
    draws = forecast.draws(case.test.compositions, count, seed)
    seconds = time.perf_counter() - begun
    mean, measured = forecast.mean(case.test.compositions), case.test.intensities.astype(np.float64)
    energy = scores.energy_scores(draws, measured)
    record: dict[str, Any] = {
        "draw_seconds": seconds,
        "mse": float(np.square(mean - measured).mean()),
        "mse_draw": float(np.square(draws - measured).mean()),
        "energy": float(energy.mean()),
        "energy_error": float(energy.std(ddof=1) / np.sqrt(len(energy))),
        "rough": float(
            np.median(scores.roughness(draws.reshape(-1, draws.shape[2]))) / np.median(scores.roughness(measured))
        ),
    }
    of_draws, of_mean, truth = _of_draws(case.q, draws), _figures(case.q, mean), _figures(case.q, measured)
    alloys = case.test.compositions
    groups = scores.alloy_groups(alloys, AS_GOOD_AS_ONE)
    of_one = {name: values[0] for name, values in of_draws.items()}
    record["auc"] = scores.two_sample_auc(
        _seen(case.q, draws[0], alloys), _seen(case.q, measured, alloys), groups=groups
    )
    record["auc_peak"] = scores.two_sample_auc(_of_peak(of_one, alloys), _of_peak(truth, alloys), groups=groups)
    record["with_peak"] = float(np.isfinite(of_draws[DELTA_Q.name]).mean())
    record["with_peak_measured"] = float(np.isfinite(truth[DELTA_Q.name]).mean())
    for name in JUDGED:
        record |= judge_figure(name, of_draws[name], truth[name])
    record |= judge_glass(of_draws[DELTA_Q.name], truth[DELTA_Q.name])
    record |= judge_borders(of_mean[DELTA_Q.name], of_draws, truth[DELTA_Q.name], case.border)
    if case.again is not None:
        draws = forecast.draws(case.again.compositions, count, seed + 1)
        record["again_n"] = len(case.again)
        record["again_energy"] = float(scores.energy_scores(draws, case.again.intensities.astype(np.float64)).mean())
        of_draws, truth = _of_draws(case.q, draws), _figures(case.q, case.again.intensities)
        for name in JUDGED:
            record |= {f"again_{k}": v for k, v in judge_figure(name, of_draws[name], truth[name]).items()}
    return record


def judge_figure(name: str, draws: FigureDraws, measured: PerSample) -> dict[str, float | None]:
    """Return the scores of a figure: its CRPS, and of intervals of 50 and 90 % what they hold and their mean width."""
    record = {f"{name}_crps": _mean(scores.crps(draws, measured))}
    for level in LEVELS:
        low, high = scores.interval(draws, level)
        judged = np.isfinite(low) & np.isfinite(measured)
        inside = (low[judged] <= measured[judged]) & (measured[judged] <= high[judged])
        record[f"{name}_inside_{100 * level:.0f}"] = _mean(inside.astype(np.float64))
        record[f"{name}_width_{100 * level:.0f}"] = _mean((high - low)[judged])
    return record


def judge_glass(draws: FigureDraws, measured: PerSample) -> dict[str, Any]:
    """Return the Brier score of the probability that Δq is above the glass threshold, and how reliable that is.

    Only alloys with a measured peak, and some draws with one, count.
    """
    said = scores.probability_above(draws, GLASS_DELTA_Q)
    judged = np.isfinite(said) & np.isfinite(measured)
    glass = (measured[judged] > GLASS_DELTA_Q).astype(np.float64)
    return {
        "brier": _mean(np.square(said[judged] - glass)),
        "glass": _mean(glass),
        "reliability": scores.reliability(said[judged], glass),
    }


def judge_borders(
    of_mean: PerSample, draws: Mapping[str, FigureDraws], measured: PerSample, border: Mask
) -> dict[str, float | None]:
    """Return what it does to Δq (1/Å) to read it off the mean spectrum, not off draws.

    `bias_…`: mean deviation from the measured Δq, of the mean spectrum's and of the draws' mean; `mae_…`: mean absolute
    deviation, of the mean spectrum's and of the draws' median; each over all alloys and, `…_border`, where the measured
    q1 changes most. `widening`: Δq of the mean spectrum less the mean of the draws' Δq, where the draws disagree
    most on q1, which needs no measurement.
    """
    widths = draws[DELTA_Q.name]
    enough = np.isfinite(widths).sum(0) > 0
    means, medians = (np.full(len(measured), np.nan) for _ in range(2))
    means[enough], medians[enough] = np.nanmean(widths[:, enough], axis=0), np.nanmedian(widths[:, enough], axis=0)
    both = np.isfinite(of_mean) & enough & np.isfinite(measured)
    record: dict[str, float | None] = {}
    for where, rows in (("", both), ("_border", both & border)):
        for name, values in (("mean", of_mean), ("draws", means)):
            record[f"bias_{name}{where}"] = _mean((values - measured)[rows])
        for name, values in (("mean", of_mean), ("draws", medians)):
            record[f"mae_{name}{where}"] = _mean(np.abs(values - measured)[rows])
    places = draws[Q1.name]
    twice = np.isfinite(places).sum(0) > 1
    spread = np.full(len(measured), np.nan)
    spread[twice] = np.nanstd(places[:, twice], axis=0)
    apart = np.isfinite(spread) & np.isfinite(of_mean)
    record["widening"] = None
    if apart.any():
        apart &= spread >= np.quantile(spread[apart], 1 - BORDER)
        record["widening"] = _mean((of_mean - means)[apart])
    return record


def judge_measured(spectra: SpectraSet, q: Axis) -> dict[str, Any]:
    """Return how well measurements of one alloy, at most 1 at.% apart, tell of each other.

    Of two draws of one distribution, half their mean distance is the least energy score, or CRPS, that any forecast
    has, and half their squared distance the least MSE. A classifier is to tell the one from the other; which is called
    generated is tossed.
    """
    pairs = KDTree(spectra.compositions).query_pairs(AS_GOOD_AS_ONE, output_type="ndarray")
    pairs = np.random.default_rng(0).permuted(pairs, axis=1)
    record: dict[str, Any] = {"pairs": len(pairs)}
    if len(pairs) < scores.SPLITS:
        return record
    first, second = spectra.intensities.astype(np.float64)[pairs.T]
    away = np.square(first - second).mean(1)
    record |= {"mse": float(away.mean() / 2), "mse_draw": float(away.mean()), "energy": float(np.sqrt(away).mean() / 2)}
    figures = _figures(q, spectra.intensities)
    for name in JUDGED:
        a, b = figures[name][pairs.T]
        record[f"{name}_crps"] = _mean(np.abs(a - b) / 2)
    alloys = spectra.compositions
    groups = scores.alloy_groups(alloys, AS_GOOD_AS_ONE)[pairs[:, 0]]
    views = {"auc": _seen(q, spectra.intensities, alloys), "auc_peak": _of_peak(figures, alloys)}
    for name, view in views.items():
        record[name] = scores.two_sample_auc(view[pairs[:, 0]], view[pairs[:, 1]], groups=groups)
    return record


def judge_figures_alone(case: Case, count: int, seed: int) -> dict[str, Any]:
    """Return the scores of a Gaussian process on each figure, which generates no spectrum."""
    learned, truth = (_figures(case.q, spectra.intensities) for spectra in (case.learn, case.test))
    again = {} if case.again is None else _figures(case.q, case.again.intensities)
    record: dict[str, Any] = {}
    for name in JUDGED:
        fit = case.learn.compositions, learned[name]
        mean, draws = draw_figure(*fit, case.test.compositions, count, seed)
        record |= judge_figure(name, draws, truth[name])
        if name == DELTA_Q.name:
            off = np.abs(mean - truth[name])
            record |= judge_glass(draws, truth[name])
            record |= {"mae_mean": _mean(off), "mae_mean_border": _mean(off[case.border])}
        if case.again is not None:
            draws = draw_figure(*fit, case.again.compositions, count, seed + 1)[1]
            record |= {f"again_{k}": v for k, v in judge_figure(name, draws, again[name]).items()}
    return record


def make_example(
    dataset: str, spectra: SpectraSet, again: SpectraSet, q: Axis, models: Mapping[str, Forecast], seed: int
) -> Example:
    """Choose a replicated alloy whose wafers differ more than three quarters of the others do, and draw it."""
    near = KDTree(spectra.compositions).query_ball_point(again.compositions, AS_GOOD_AS_ONE)
    differ = np.array([spectra.intensities[rows].std(0).mean() for rows in near])
    place = int(np.argsort(differ, kind="stable")[round(0.75 * (len(differ) - 1))])
    alloy = again.compositions[[place]]
    shares = zip(spectra.elements, alloy[0], strict=True)
    drawn = {name: (model.mean(alloy), model.draws(alloy, SHOWN, seed)[:, 0]) for name, model in models.items()}
    name = "".join(f"{element}{100 * share:.0f}" for element, share in shares)
    return Example(dataset, name, q, spectra.intensities[near[place]], drawn)


def draw(examples: Sequence[Example], path: Path) -> None:
    """Draws of each model beside what was measured of one alloy on several wafers, a row a data set, as a PNG."""
    models = list(examples[0].models)
    size = (2.4 * (1 + len(models)), 2.6 * len(examples))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(examples), 1 + len(models), squeeze=False, sharey="row", sharex="row")
    for row, example in zip(panels, examples, strict=True):
        row[0].plot(example.q, example.measured.T, color="black", linewidth=0.8)
        row[0].set_ylabel(f"{example.dataset}\n{example.alloy}", fontsize=9)
        for panel, name in zip(row[1:], models, strict=True):
            mean, drawn = example.models[name]
            panel.plot(example.q, example.measured.T, color="0.75", linewidth=0.6)
            panel.plot(example.q, drawn.T, color="#0072b2", linewidth=0.5, alpha=0.6)
            panel.plot(example.q, mean[0], color="#d55e00", linewidth=1)
        for panel in row:
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_yticks([])
    for panel, title in zip(panels[0], ["measured, within 1 at.%", *models], strict=True):
        panel.set_title(title, fontsize=9)
    for panel in panels[-1]:
        panel.set_xlabel("q (1/Å)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _figures(q: Axis, spectra: Spectra) -> dict[str, PerSample]:
    peaks = measure_peaks(q, torch.as_tensor(np.ascontiguousarray(spectra, dtype=np.float64)))
    return {name: values.numpy() for name, values in peaks.figures.items()}


def _of_draws(q: Axis, draws: Draws) -> dict[str, FigureDraws]:
    flat = _figures(q, draws.reshape(-1, draws.shape[2]))
    return {name: values.reshape(draws.shape[:2]) for name, values in flat.items()}


def _seen(q: Axis, spectra: Spectra, compositions: Compositions) -> np.ndarray:
    return np.concatenate([compositions, scores.spectrum_view(q, spectra)], axis=1)


def _of_peak(figures: Mapping[str, PerSample], compositions: Compositions) -> np.ndarray:
    return np.column_stack([compositions, *figures.values()])


def _mean(values: np.ndarray) -> float | None:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else None
