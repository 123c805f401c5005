"""How surely: whether a map's Δq, q1, P(glass) and band hold what was measured, beside controls, by group.

Each ensemble is asked of spectra that it never learned from: drawn at random, of a wafer that was left out, or of the
middle of the system where it learned from its edges. Controls forecast the same figures in other ways.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.glass import GLASS_DELTA_Q, NORMAL_ATOMS
from glassmap.agent.models.base_model import on_cpu
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.models.figure_forecast import FORECAST
from glassmap.agent.models.stacking import what_is_said
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Axis, Compositions, PerSample, Spectra
from glassmap.flows.compare import CONTROL, fit_without_networks, read_prepared
from tests.benchmarks import scores
from tests.benchmarks.controls import REGRESSION, draw_figure
from tests.benchmarks.scores import FigureDraws
from tests.benchmarks.spectra import draw_split, learning_size

KINDS = ("random", "wafer", "edge")
COUNT = 50  # draws of each alloy
LEVEL = 0.9
CLASSES = 10  # of equal width, of P(glass)
FEWEST_OF_WAFER = 20  # judged spectra
OURS, SPREAD, CONSTANT, PROCESS, DRAWS, BOOTSTRAP = (
    "ensemble",
    "spread of its members",
    "constant std",
    "gp on the figure",
    "its draws",
    "left-out residuals",
)
Forecast = Mapping[str, FigureDraws]  # by figure, equally likely values of each alloy


class Case(NamedTuple):
    """What is learned from, and what is judged."""

    learn: SpectraSet
    test: SpectraSet
    q: Axis


def run(
    datasets: Sequence[Path],
    *,
    splits: Sequence[str] = KINDS,
    seeds: Sequence[int] = range(10),
    checkpoints: Path | None = None,
    where: str | None = None,
    variable: str = "intensity",
    n: int | None = None,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, split, seed, figure and way to foretell it; scores as of `judge`.

    Args:
        datasets: NetCDF files with an axis in q, or in 2θ with its wavelength.
        splits: As of `spectra.draw_split`.
        seeds: Each gives its own split, draw and model; what was chosen was chosen on 0 to 4.
        checkpoints: Folder of trained ensembles, `SET-SPLIT-SEED/` with a `done.json` that names the checkpoint and the
            ids learned from and tested on; those that aren't there are trained.
        where: Keeps the samples for which this coordinate holds.
        variable: The spectra of the set.
        n: Spectra to learn from; by default the paper's number for the system, else 60.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in datasets:
        spectra = read_prepared(path, where=where, variable=variable)
        q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
        if q is None:
            raise DatasetError(f"{path} has no axis in q, or in 2θ with its wavelength: nothing to calibrate.")
        for seed in seeds:
            for split in splits:
                kept = None if checkpoints is None else checkpoints / f"{path.stem}-{split}-{seed}"
                case, ensemble = _trained(spectra, q, split, seed, n or learning_size(path), kept)
                about = {"dataset": path.stem, "split": split, "seed": seed, "n": len(case.learn)}
                for record in judge_all(ensemble, case, seed, controls=split == "random"):
                    records.append(about | record)
                    on_record(records[-1])
    return records


def judge_all(ensemble: TrainedEnsemble, case: Case, seed: int, *, controls: bool) -> list[dict[str, Any]]:
    """Return a record a figure and way to foretell it, and one of the band; `controls`: the stack without networks."""
    truth = _figures(case.q, case.test.intensities.astype(np.float64))
    ways = forecasts(ensemble, case, seed)
    if controls:
        alone = fit_without_networks(case.learn, seed=seed, config=REGRESSION)
        ways[CONTROL] = of_ensemble(alone, case.test.compositions, case.q)
    wafers = np.asarray(case.test.coordinates.get("wafer", np.full(len(case.test), "")))
    records = [
        {"figure": figure.name, "way": way} | judge(figure.name, forecast[figure.name], truth[figure.name], wafers)
        for way, forecast in ways.items()
        for figure in FORECAST
    ]
    blocks, stack = list(ensemble.stack.predict_blocks(case.test.compositions)), ensemble.stack
    band = on_cpu([stack.band(block, block.epistemic_std(stack.weights)) for block in blocks])
    inside = np.abs(on_cpu([block.mean(stack.weights) for block in blocks]) - case.test.intensities) <= band
    return [*records, {"figure": "band", "way": OURS} | judge_band(inside, band, wafers)]


def judge(name: str, draws: FigureDraws, truth: PerSample, wafers: np.ndarray) -> dict[str, Any]:
    """Return how a forecast of a figure compares with what was measured.

    `told`: share of the measured figures of which something is foretold; `crps` in the figure's unit; `inside`: share
    within the central 90 %, of `glass`, of `other` alloys and of each of the `wafers` with 20 spectra; `width` of the
    interval; and of Δq the Brier score of P(glass), its expected calibration error (ten classes of equal width, weighed
    by their counts) and `reliability`, as of `scores.reliability`.
    """
    low, high = scores.interval(draws, LEVEL)
    judged = np.isfinite(low) & np.isfinite(truth)
    inside = (low <= truth) & (truth <= high)
    glass = truth >= GLASS_DELTA_Q
    record: dict[str, Any] = {
        "told": float(judged.sum() / max(1, np.isfinite(truth).sum())),
        "crps": _mean(scores.crps(draws, truth)[judged]),
        "inside": _mean(inside[judged]),
        "width": _mean((high - low)[judged]),
        "wafers": _by_wafer(inside, judged, wafers),
    }
    if name == DELTA_Q.name:
        said = (draws >= GLASS_DELTA_Q).mean(0)[judged]
        happened = glass[judged].astype(np.float64)
        classes = scores.reliability(said, happened, classes=CLASSES)
        record |= {
            "inside_glass": _mean(inside[judged & glass]),
            "inside_other": _mean(inside[judged & ~glass]),
            "brier": _mean(np.square(said - happened)),
            "ece": sum(n * abs(s - h) for s, h, n in classes) / max(1, len(said)),
            "reliability": classes,
        }
    return record


def judge_band(inside: np.ndarray, band: Spectra, wafers: np.ndarray) -> dict[str, Any]:
    """Return what share of points the band holds, of all and of each wafer, and how many spectra are mostly outside."""
    of_spectrum = inside.mean(1)
    return {
        "inside": float(inside.mean()),
        "outside": float((of_spectrum < 0.5).mean()),
        "width": float(band.mean()),
        "wafers": _by_wafer(of_spectrum, np.ones(len(wafers), dtype=bool), wafers),
    }


def forecasts(ensemble: TrainedEnsemble, case: Case, seed: int) -> dict[str, Forecast]:
    """Return by its name each way to foretell the figures of the test alloys that takes no other ensemble."""
    alloys, learned = case.test.compositions, case.learn.intensities.astype(np.float64)
    of_mean, members, left_out = _members(ensemble, alloys, case.q)
    figures = _figures(case.q, learned)
    residuals = None if ensemble.stack.left_out is None else learned - ensemble.stack.left_out
    drawn = ensemble.draws(alloys, COUNT, seed)
    found: dict[str, Forecast] = {OURS: of_ensemble(ensemble, alloys, case.q), DRAWS: _of_draws(case.q, drawn)}
    found[SPREAD] = {name: _normal(mean, members[name]) for name, mean in of_mean.items()}
    found[CONSTANT] = {
        name: _normal(mean, np.full(len(mean), np.sqrt(np.nanmean(np.square(figures[name] - left_out[name])))))
        for name, mean in of_mean.items()
    }
    found[PROCESS] = {
        name: draw_figure(case.learn.compositions, figures[name], alloys, 4 * COUNT, seed)[1] for name in of_mean
    }
    if residuals is not None:
        residuals = residuals[np.isfinite(residuals).all(1)]
        rows = np.random.default_rng(seed).integers(len(residuals), size=(COUNT, len(alloys)))
        mean = on_cpu([block.mean(ensemble.weights) for block in ensemble.stack.predict_blocks(alloys)])
        spectra = (mean + residuals[rows]).clip(0)
        found[BOOTSTRAP] = _of_draws(case.q, spectra)
    return found


def of_ensemble(ensemble: TrainedEnsemble, alloys: Compositions, q: Axis) -> Forecast:
    """Return what an ensemble foretells of some alloys' figures, as its atoms."""
    parts: dict[str, list[np.ndarray]] = {figure.name: [] for figure in FORECAST}
    for block in ensemble.stack.predict_blocks(alloys):
        for name, said in what_is_said(block, ensemble.weights, q).items():
            expected, std = (values.cpu().numpy() for values in ensemble.forecasts[name].at(said))
            parts[name].append(expected + ensemble.forecasts[name].atoms[:, None] * std)
    return {name: np.concatenate(part, axis=1) for name, part in parts.items()}


def summary(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return means over the seeds of each half: 0 to 4, on which things were chosen, and the others, which judge."""
    rows: list[dict[str, Any]] = []
    keys = dict.fromkeys((r["dataset"], r["split"], r["figure"], r["way"]) for r in records)
    for dataset, split, figure, way in keys:
        mine = [
            r for r in records if (r["dataset"], r["split"], r["figure"], r["way"]) == (dataset, split, figure, way)
        ]
        for half, seeds in (("chosen on", range(5)), ("judged on", range(5, 100))):
            if not (part := [r for r in mine if r["seed"] in seeds]):
                continue
            row: dict[str, Any] = {"dataset": dataset, "split": split, "figure": figure, "way": way, "half": half}
            row["cases"] = len(part)
            for name in ("told", "crps", "inside", "inside_glass", "inside_other", "width", "brier", "ece", "outside"):
                values = [r[name] for r in part if r.get(name) is not None]
                row[name] = float(np.mean(values)) if values else None
            row["least"] = min((r["inside"] for r in part if r["inside"] is not None), default=None)
            wafers = [share for r in part for share in r["wafers"]]
            row["wafers"] = [float(np.quantile(wafers, level)) for level in (0.1, 0.5)] if wafers else None
            if part[0].get("reliability"):
                row["pooled_ece"] = pooled_error([r["reliability"] for r in part])
            rows.append(row)
    return rows


def pooled_error(cases: Sequence[Sequence[Sequence[float]]]) -> float:
    """Return the expected calibration error of the classes of several cases together."""
    classes = pooled(cases)
    total = sum(n for _, _, n in classes)
    return sum(n * abs(said - happened) for said, happened, n in classes) / max(1, total)


def pooled(cases: Sequence[Sequence[Sequence[float]]]) -> list[tuple[float, float, int]]:
    """Return the classes of several cases together, as of `scores.reliability`."""
    sums: dict[int, np.ndarray] = {}
    for said, happened, n in (one for case in cases for one in case):
        place = min(int(said * CLASSES), CLASSES - 1)
        sums[place] = sums.get(place, np.zeros(3)) + n * np.array([said, happened, 1.0])
    return [(float(s / n), float(h / n), int(n)) for _, (s, h, n) in sorted(sums.items())]


def draw(records: Sequence[dict[str, Any]], path: Path, *, ways: Sequence[str] = (OURS, SPREAD, PROCESS)) -> None:
    """Draw how often alloys were a glass against P(glass), a panel a data set and split, as a PNG; both halves."""
    mine = [r for r in records if r["figure"] == DELTA_Q.name and r["way"] in ways]
    datasets = [d for d in dict.fromkeys(r["dataset"] for r in mine) if _has_glass(mine, d)]
    splits = list(dict.fromkeys(r["split"] for r in mine))
    figure = Figure(figsize=(3.4 * len(splits), 3.3 * len(datasets) + 0.3), layout="constrained")
    panels = figure.subplots(len(datasets), len(splits), squeeze=False, sharex=True, sharey=True)
    for row, dataset in enumerate(datasets):
        for column, split in enumerate(splits):
            panel = panels[row, column]
            panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
            for k, way in enumerate(ways):
                cases = [
                    r["reliability"] for r in mine if (r["dataset"], r["split"], r["way"]) == (dataset, split, way)
                ]
                classes = pooled(cases)
                said, happened, counts = (np.array(part) for part in zip(*classes, strict=True))
                spread = 1.64 * np.sqrt(happened * (1 - happened) / counts)
                label = f"{way}: {pooled_error(cases):.2f}"
                colour = ("C0", "0.45", "C1")[k % 3]
                panel.errorbar(said, happened, spread, fmt="o-", ms=4, lw=1.2, color=colour, label=label)
            panel.legend(frameon=False, fontsize=7, loc="lower right", title="calibration error", title_fontsize=7)
            panel.set_title(f"{'-'.join(w.capitalize() for w in dataset.split('-'))}, {split}", fontsize=10)
            panel.spines[["top", "right"]].set_visible(False)
            if row == len(datasets) - 1:
                panel.set_xlabel("P(glass) said")
        panels[row, 0].set_ylabel("share that was a glass")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _has_glass(records: Sequence[dict[str, Any]], dataset: str) -> bool:
    classes = pooled([r["reliability"] for r in records if r["dataset"] == dataset])
    return sum(h * n for _, h, n in classes) > 0.02 * sum(n for *_, n in classes)


def _trained(
    spectra: SpectraSet, q: Axis, split: str, seed: int, n: int, kept: Path | None
) -> tuple[Case, TrainedEnsemble]:
    """Return a case and its ensemble, which is read where it was kept and is trained else."""
    if kept is not None and (kept / "done.json").exists():
        done = json.loads((kept / "done.json").read_text())
        rows = {id_: row for row, id_ in enumerate(spectra.ids)}
        learn, test = (spectra.select(np.array([rows[id_] for id_ in done[part]])) for part in ("learn", "test"))
        ensemble = TrainedEnsemble.load(kept / done["checkpoint"], device="cpu")
        return Case(learn, test, q), ensemble.forecasting(q, wafers=_wafers(learn))
    learn, test = draw_split(spectra, split, n=n, seed=seed)
    fitted = Ensemble(seed=seed, device="cpu").fit(
        learn.compositions, learn.intensities.astype(np.float64), q=q, wafers=_wafers(learn)
    )
    return Case(learn, test, q), fitted


def _wafers(spectra: SpectraSet) -> list[str] | None:
    return [str(name) for name in spectra.coordinates["wafer"]] if "wafer" in spectra.coordinates else None


def _members(
    ensemble: TrainedEnsemble, alloys: Compositions, q: Axis
) -> tuple[dict[str, PerSample], dict[str, PerSample], dict[str, PerSample]]:
    """Return by figure that of the mean spectrum, its spread over members, and those of left-out means."""
    said = [what_is_said(block, ensemble.weights, q) for block in ensemble.stack.predict_blocks(alloys)]
    means = {f.name: on_cpu([one[f.name].figure for one in said]) for f in FORECAST}
    spreads = {f.name: on_cpu([one[f.name].spread for one in said]) for f in FORECAST}
    return means, spreads, {f.name: ensemble.forecasts[f.name].left_out.figure for f in FORECAST}


def _normal(mean: PerSample, std: PerSample) -> FigureDraws:
    return mean + NORMAL_ATOMS[:, None] * std


def _of_draws(q: Axis, draws: scores.Draws) -> Forecast:
    k, b, points = draws.shape
    found = _figures(q, draws.reshape(-1, points))
    return {name: values.reshape(k, b) for name, values in found.items()}


def _figures(q: Axis, spectra: Spectra) -> dict[str, PerSample]:
    found = measure_peaks(q, torch.from_numpy(np.ascontiguousarray(spectra))).figures
    return {figure.name: found[figure.name].numpy().astype(np.float64) for figure in FORECAST}


def _by_wafer(inside: np.ndarray, judged: np.ndarray, wafers: np.ndarray) -> list[float]:
    shares: list[float] = []
    for name in np.unique(wafers):
        mine = judged & (wafers == name)
        if name and mine.sum() >= FEWEST_OF_WAFER:
            shares.append(float(inside[mine].mean()))
    return shares


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
