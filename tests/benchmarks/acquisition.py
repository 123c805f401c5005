"""What a batch should lean to: replays of the same sets by every weighting, paired; `… tests.benchmarks acquisition`.

A replay plans batches among seven tenths of a set's samples, as campaigns do, and is judged by the others, which are
the same for every weighting and never planned. The model is quick: the Gaussian process and the trees, stacked; or the
default ensemble, for the few that are worth it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.optimize import nnls  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.maps.glass import LIKELY, P_GLASS
from glassmap.agent.models.base_model import FOLDS
from glassmap.agent.models.extra_trees import RandomisedTrees
from glassmap.agent.models.gaussian_process import GaussianProcess
from glassmap.agent.models.stacking import assign_folds, fit_stacking_weights
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.acquisition import FIRST_RULE, RULES, plan_batch
from glassmap.agent.shapes import Axis, Compositions, PerSample, Rows, Spectra
from glassmap.flows.compare import read_prepared

BATCH, ROUNDS = 20, 5
MOST_SAMPLES = 1300  # of a set, drawn anew for each seed; they lie 1 at.% apart
TEST_SHARE = 0.3  # of these, never planned
COMPONENTS = 40  # principal ones, in which trees grow as in all points: they split by variance, which a rotation keeps
THRESHOLD = 0.57  # 1/Å
PROCESS, TREES = GaussianProcess(torch.device("cpu")), RandomisedTrees(torch.device("cpu"))


@dataclass(frozen=True, eq=False)
class Told:
    """What a round's model says of all samples of a set, in the order of its rows."""

    spectra: Spectra
    delta_q: PerSample  # 1/Å, NaN without a peak
    std: PerSample  # of the error of a new measurement of Δq
    reducible_std: PerSample  # of that which measuring more may take away
    p_glass: PerSample
    disagreement: PerSample  # of spectra, 0-100


@dataclass(frozen=True, eq=False)
class Asked:
    """What a rule may ask a round's model of the samples that it chooses among: a `Forecast`."""

    told: Told
    rows: Rows  # of the set, in the order of the candidates

    def figures(self, compositions: Compositions) -> Mapping[str, PerSample]:
        assert len(compositions) == len(self.rows), "of a list, rules ask for all candidates"
        return {P_GLASS: self.told.p_glass[self.rows]}

    def disagreement(self, compositions: Compositions) -> PerSample:
        assert len(compositions) == len(self.rows), "of a list, rules ask for all candidates"
        return self.told.disagreement[self.rows]


Weigh = Callable[[Told], PerSample]


def half_even(weigh: Weigh) -> Weigh:
    """Return a weighting of which half goes to all alloys alike."""

    def weighed(told: Told) -> PerSample:
        return 1 + _relative(weigh(told))

    return weighed


def _relative(weights: PerSample) -> PerSample:
    """Return weights in units of their mean."""
    return filled(weights) / filled(weights).mean()


def _of_glass(told: Told) -> PerSample:
    return told.p_glass * (1 - told.p_glass)


WEIGHTS: Mapping[str, Weigh | None] = {
    "even": None,
    "disagreement": lambda told: told.disagreement,
    "Δq": lambda told: told.std,
    "Δq, what can be learned": lambda told: told.reducible_std,
    "glass": _of_glass,
    "disagreement, half even": half_even(lambda told: told.disagreement),
    "Δq, what can be learned, half even": half_even(lambda told: told.reducible_std),
    "glass, half even": half_even(_of_glass),
    "disagreement and Δq, each a third": lambda told: 1 + _relative(told.disagreement) + _relative(told.reducible_std),
    "boundary": None,
    "boundary, alone": lambda told: filled(_of_glass(told)) ** 1.5,
}
"""What is compared, by name; None for the same everywhere. What is called as a rule of `RULES` is planned by that."""


def filled(weights: PerSample) -> PerSample:
    """Return weights with the mean in place of what nobody can say; all 1 where they are all 0."""
    weights = np.where(np.isfinite(weights), weights, np.nanmean(weights) if np.isfinite(weights).any() else 1.0)
    return weights if weights.any() else np.ones_like(weights)


@dataclass(frozen=True, eq=False)
class Material:
    """A set as replays use it."""

    name: str
    q: Axis
    compositions: Compositions
    spectra: Spectra
    scores: Spectra  # of the principal components
    delta_q: PerSample

    @classmethod
    def of(cls, spectra: SpectraSet, name: str) -> "Material":
        """Prepare a set that stands on a q axis."""
        intensities = spectra.intensities.astype(np.float64)
        centred = intensities - intensities.mean(0)
        scores = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -COMPONENTS:]
        return cls(
            name,
            spectra.axis,
            spectra.compositions,
            intensities,
            scores,
            _delta_q(spectra.axis, intensities[:, None])[:, 0],
        )


Fit = Callable[[Material, Rows, int], Told]
ERRORS = {"mse": "MSE", "delta_q": "error of Δq", "brier": "Brier score of glass"}
STUDY = range(5)  # seeds that choices are made on; the others judge them
DRAWN = {
    "disagreement": "#0072b2",
    "Δq": "#d55e00",
    "glass": "#009e73",
    "Δq, what can be learned, half even": "#e69f00",
    "glass, half even": "#56b4e9",
}
"""Weightings of the picture, and their colours."""
COUNTED = (60, 80, 100)  # spectra, over which ratios are averaged


def run(
    paths: Sequence[Path],
    *,
    where: str | None,
    seeds: Sequence[int],
    weights: Sequence[str] | None = None,
    fit: "Fit | None" = None,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a set, seed, weighting and round: the errors on the samples that are never planned.

    Args:
        paths: Data sets on a q axis.
        where: Keeps the samples for which this holds.
        seeds: Each draws the tested samples, and the first batch.
        weights: Names of `WEIGHTS`; all by default.
        fit: The model; the quick one by default.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in paths:
        spectra = read_prepared(path, where=where)
        for seed in seeds:
            part = np.random.default_rng([seed, 1]).permutation(len(spectra))[:MOST_SAMPLES]
            material = Material.of(spectra.select(part), path.stem)
            first: dict[tuple[int, ...], Told] = {}
            for name in weights or WEIGHTS:
                for record in replay(material, name, seed=seed, fit=fit or fit_quickly, known=first):
                    records.append(record)
                    on_record(record)
    return records


def replay(
    material: Material, weights: str, *, seed: int, fit: Fit, known: dict[tuple[int, ...], Told]
) -> list[dict[str, Any]]:
    """Replay a set by one weighting; returns a record a round.

    Args:
        material: The set.
        weights: A name of `WEIGHTS`.
        seed: Of all that is random.
        fit: The model.
        known: What models of the same rows told; the first round's is every weighting's.
    """
    order = np.random.default_rng(seed).permutation(len(material.spectra))
    tested, pool = np.split(order, [round(TEST_SHARE * len(order))])
    learned: list[int] = []
    records: list[dict[str, Any]] = []
    told: Told | None = None
    for round_ in range(ROUNDS):
        weigh = WEIGHTS[weights]
        leaning = None if told is None or weigh is None else filled(weigh(told))[pool]
        batch = plan_batch(
            material.compositions[pool],
            BATCH,
            taken=material.compositions[learned],
            seed=np.random.default_rng([seed, round_]),
            method=FIRST_RULE if told is None or weights not in RULES else weights,
            weights=None if leaning is None else lambda _, leaning=leaning: leaning,
            forecast=None if told is None else Asked(told, pool),
        )
        learned.extend(pool[batch.rows].tolist())
        key = tuple(learned)
        if (told := known.get(key)) is None:
            told = known[key] = fit(material, np.array(learned), seed)
        records.append(
            {"dataset": material.name, "weights": weights, "seed": seed, "n": len(learned)}
            | errors_on(material, told, tested)
        )
    return records


def errors_on(material: Material, told: Told, rows: Rows) -> dict[str, float]:
    """Return MSE, mean error of Δq, Brier score of P(glass), and how far the 90 % interval of Δq holds."""
    measured, generated, std = material.delta_q[rows], told.delta_q[rows], told.std[rows]
    glass, p_glass = measured >= THRESHOLD, np.nan_to_num(told.p_glass[rows])
    peak = np.isfinite(measured)
    both = peak & np.isfinite(generated)
    away = np.abs(measured - generated)[both]
    return {
        "mse": float(np.square(told.spectra[rows] - material.spectra[rows]).mean()),
        "delta_q": float(away.mean()),
        "brier": float(np.square(p_glass - glass)[peak].mean()),
        "wrong": float(((p_glass >= LIKELY) != glass)[peak].mean()),
        "inside": float((away <= 1.645 * std[both]).mean()),
        "peaks": float(both.sum() / peak.sum()),
        "glasses": int(glass.sum()),
    }


def fit_quickly(material: Material, rows: Rows, seed: int) -> Told:
    """Stack the Gaussian process and the trees on some rows, and learn from what is left out how surely Δq is told."""
    compositions, spectra = material.compositions[rows], material.spectra[rows]
    process = PROCESS.fit(compositions, spectra, seed=seed)
    folds = assign_folds(compositions, seed=seed)
    parts = {name: np.empty_like(spectra) for name in ("process", "trees")}
    unknown_left = np.empty(len(rows))
    for fold in range(FOLDS):
        rest, out = folds != fold, folds == fold
        without = PROCESS.condition(compositions[rest], spectra[rest], process.kernel)
        grown = TREES.fit(compositions[rest], material.scores[rows[rest]], seed=seed)
        asked = torch.as_tensor(compositions[out])
        blend, unknown = without.blend(asked)
        parts["process"][out] = (blend.numpy() @ spectra[rest]).clip(0, 100)
        parts["trees"][out] = grown.blend(asked).numpy() @ spectra[rest]
        unknown_left[out] = unknown.numpy()
    share = fit_stacking_weights(parts, spectra)["trees"]
    asked = torch.as_tensor(material.compositions)
    blend, unknown = process.blend(asked)
    grown = TREES.fit(compositions, material.scores[rows], seed=seed)
    members = np.stack([(blend.numpy() @ spectra).clip(0, 100), grown.blend(asked).numpy() @ spectra], 1)
    left = _Block.of(material, np.stack([parts["process"], parts["trees"]], 1), unknown_left, share, rows, folds)
    block = _Block.of(material, members, unknown.numpy(), share, rows)
    noise, of_spread, of_unknown = _variance(np.square(left.delta_q - material.delta_q[rows]), left)
    reducible = of_spread * np.square(block.spread) + of_unknown * np.square(block.unknown)
    std = np.sqrt(noise + reducible)
    p_glass: PerSample = ndtr((block.delta_q - THRESHOLD) / std)
    return Told(block.mean, block.delta_q, std, np.sqrt(reducible), p_glass, block.disagreement)


@dataclass(frozen=True, eq=False)
class _Block:
    """What two base models say of some alloys."""

    mean: Spectra
    delta_q: PerSample
    spread: PerSample  # of the two models' Δq about that of the mean, 1/Å
    unknown: PerSample
    disagreement: PerSample

    @classmethod
    def of(
        cls,
        material: Material,
        members: np.ndarray,
        unknown: PerSample,
        share: float,
        rows: Rows,
        folds: Rows | None = None,
    ) -> "_Block":
        """Blend the two; where the process knows nothing, the trees take over."""
        known = ((1 - share) * (1 - unknown))[:, None]
        mean = known * members[:, 0] + (1 - known) * members[:, 1]
        figures = _delta_q(material.q, np.concatenate([mean[:, None], members], 1))
        spread = np.sqrt(np.square(figures[:, 1:] - figures[:, :1]).sum(1))
        nearest = _nearest(material, rows, folds)
        away = members[:, 0] - members[:, 1]
        variance = np.square(away) / 2 + unknown[:, None] * np.square(mean - material.spectra[nearest])
        return cls(mean, figures[:, 0], spread, unknown, np.sqrt(variance).mean(1))


def _nearest(material: Material, rows: Rows, folds: Rows | None) -> Rows:
    """Return the nearest row learned from: of every sample, or of each of those learned from without its fold."""
    asked = material.compositions if folds is None else material.compositions[rows]
    distance = np.linalg.norm(asked[:, None] - material.compositions[rows], axis=2)
    if folds is not None:
        distance[folds[:, None] == folds] = np.inf
    return rows[distance.argmin(1)]


def _variance(squares: PerSample, left: _Block) -> tuple[float, float, float]:
    """Return noise and factors of spread² and unknown² of the squared error of Δq, by what was left out."""
    columns = np.stack([np.ones_like(squares), np.square(left.spread), np.square(left.unknown)], 1)
    there = np.isfinite(squares) & np.isfinite(columns).all(1)
    columns, squares = columns[there], squares[there]
    if len(squares) < 5:
        return 0.1**2, 0.0, 0.0
    expected = np.full(len(squares), squares.mean() + 1e-6)
    found = np.array([squares.mean(), 0.0, 0.0])
    for _ in range(4):  # a squared error scatters as much as it is large
        found = np.asarray(nnls(columns / expected[:, None], squares / expected)[0])
        expected = np.maximum(columns @ found, 0.1 * squares.mean() + 1e-6)
    return max(float(found[0]), 1e-4), float(found[1]), float(found[2])


def _delta_q(q: Axis, spectra: np.ndarray) -> np.ndarray:
    """Return Δq of spectra `(n, m, q)`, shape `(n, m)`."""
    flat = spectra.reshape(-1, spectra.shape[-1])
    return measure_peaks(q, torch.as_tensor(flat)).figures[DELTA_Q.name].numpy().reshape(spectra.shape[:-1])


def summary(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a set, error and weighting: ratio to even, with its standard error, on either half of the seeds.

    Ratios are paired: of the same seed, the mean of their logarithms over `COUNTED`. The Brier score is left out where
    no sample is a glass.
    """
    kept = {(r["dataset"], r["weights"], r["seed"], r["n"]): r for r in records}
    sets = list(dict.fromkeys(r["dataset"] for r in records))
    rows: list[dict[str, Any]] = []
    for error in ERRORS:
        glassy = [one for one in sets if error != "brier" or _is_glassy(records, one)]
        for which in [*((one,) for one in glassy), tuple(glassy)]:
            for name in dict.fromkeys(r["weights"] for r in records):
                row: dict[str, Any] = {
                    "error": error,
                    "dataset": "all" if len(which) > 1 else which[0],
                    "weights": name,
                }
                for half, study in (("study", True), ("other", False), ("both", None)):
                    logs = [
                        float(
                            np.mean(
                                [
                                    np.log(kept[d, name, seed, n][error] / kept[d, "even", seed, n][error])
                                    for n in COUNTED
                                ]
                            )
                        )
                        for d, w, seed, last in kept
                        if w == name and d in which and last == COUNTED[-1] and study in (None, seed in STUDY)
                    ]
                    row[half] = float(np.exp(np.mean(logs))) if logs else None
                    row[f"{half} ±"] = float(np.std(logs, ddof=1) / len(logs) ** 0.5) if len(logs) > 1 else None
                    row[f"{half} replays"] = len(logs)
                rows.append(row)
    return rows


def draw(records: Sequence[dict[str, Any]], picture: Path) -> None:
    """Draw the ratio of every error to that of even weights against the spectra learned from, a panel an error.

    Args:
        records: Of `run`.
        picture: PNG to write.
    """
    kept = {(r["dataset"], r["weights"], r["seed"], r["n"]): r for r in records}
    sizes = sorted({r["n"] for r in records})[1:]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    for axes, (error, title) in zip(figure.subplots(1, len(ERRORS), sharey=True), ERRORS.items(), strict=True):
        for place, (name, colour) in enumerate(DRAWN.items()):
            means, errors = [], []
            for n in sizes:
                logs = [
                    np.log(r[error] / kept[d, "even", seed, n][error])
                    for (d, w, seed, m), r in kept.items()
                    if (w, m) == (name, n) and (error != "brier" or _is_glassy(records, d))
                ]
                means.append(np.mean(logs))
                errors.append(np.std(logs, ddof=1) / len(logs) ** 0.5)
            mean, sure = np.exp(means), np.array(errors)
            x = np.array(sizes) + 1.2 * (place - 2)
            axes.errorbar(x, mean, mean * sure, fmt="o-", color=colour, capsize=2, markersize=4, label=name)
        axes.axhline(1, color="black", linewidth=0.8)
        axes.set(title=title, xlabel="spectra learned from", xticks=sizes)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("ratio to even weights, same seed")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), frameon=False, ncols=5, loc="outside lower center")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)


def _is_glassy(records: Sequence[dict[str, Any]], dataset: str) -> bool:
    """Return whether some tested sample of a set is a glass."""
    return any(r["glasses"] for r in records if r["dataset"] == dataset)
