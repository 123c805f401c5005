"""How well unseen spectra are generated: ours, the baselines and the published ccGAN, on the same splits and seeds."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.spatial import KDTree
from scipy.stats import rankdata

from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.models.config import ARCHITECTURES, PRESETS, TrainingConfig
from glassmap.agent.models.networks import COMPACT
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.planning.acquisition import plan_batch
from glassmap.agent.shapes import Compositions, PerSample, Rows
from glassmap.dashboard.plots.for_print import MODEL_LABELS
from glassmap.flows import compare
from glassmap.flows.backends.replay import split
from glassmap.flows.compare import (
    CONTROL,
    TEST_SHARE,
    Errors,
    errors_of,
    fit_ensemble,
    fit_without_networks,
    judge_baselines,
    read_prepared,
)
from tests.benchmarks.scores import energy_scores

# Spectra after which the paper's learning curve has converged (Xie et al. 2025, "Performance on synchrotron XRD and MD
# simulations"); its MSE there is 45, 13 and 60.
PAPER_SIZES = {"co-ti-zr": 50, "co-v-zr": 80, "fe-ti-nb": 60}
PAPER_MSE = {"co-ti-zr": 45.0, "co-v-zr": 13.0, "fe-ti-nb": 60.0}
# The paper's protocols for quaternaries (Xie et al. 2025, Fig. 2c): how many elements the alloys learned from may lack
PROTOCOLS = {"p1": (1,), "p2": (0,), "p3": (0, 1)}
BATCH = 20  # spectra planned at a time
AS_GOOD_AS_ONE = 0.01  # atomic fraction; nearer to each other, samples measured by EDX may be of one alloy
DRAWS = 20  # of each alloy's spectrum, for the energy score
STUDY_SEED = 20261124  # of the half of each set that choices are made on
# What could be otherwise, one at a time; the study's log is in docs/results.md.
TWO_LAYERS, SIX_LAYERS, LITTLE_NOISE = (
    replace(COMPACT, widths=replace(COMPACT.widths, **change))
    for change in ({"hidden": (128, 128)}, {"hidden": (128,) * 6}, {"noise": 2})
)
ARCHITECTURES |= {  # of this study alone
    name: f"{__name__}:{name}" for name in ("TWO_LAYERS", "SIX_LAYERS", "LITTLE_NOISE")
}
_AGAINST_A_CRITIC = {"gradient_penalty": 0.15, "steps": 600}  # a step takes three to six times as long
ABLATIONS: Mapping[str, Mapping[str, Any]] = {  # of the preset `compact`
    "default": {},
    "fidelity alone, ten members, 1500 steps (before)": {"energy": 0.0, "members": 10, "steps": 1500},
    "energy score alone": {"fidelity": 0.0},
    "fidelity 0.3": {"fidelity": 0.3},
    "fidelity 3": {"fidelity": 3.0},
    "ten members": {"members": 10},
    "two noise numbers": {"architecture": "LITTLE_NOISE"},
    "two hidden layers": {"architecture": "TWO_LAYERS"},
    "six hidden layers": {"architecture": "SIX_LAYERS"},
    "jitter": {"jitter": 0.25},
    "600 steps": {"steps": 600},
    "600 steps, discriminator": _AGAINST_A_CRITIC | {"adversarial": 0.1},
    "600 steps, discriminator and a little fidelity alone": _AGAINST_A_CRITIC
    | {"adversarial": 1.0, "energy": 0.0, "fidelity": 0.3, "jitter": 0.5}
    | {"momentum": 0.0, "learning_rate": 1e-3, "critic_learning_rate": 1e-3, "averaging": 0.995},
    "networks alone, on all spectra": {"stacked": False},
}


def run(
    datasets: Sequence[Path],
    *,
    n: int | None = None,
    splits: Sequence[str] = ("random", "planned", "wafer"),
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainingConfig = PRESETS["default"],
    where: str | None = None,
    variable: str = "intensity",
    published: bool = False,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, split, seed and model: its errors on the test set.

    Args:
        datasets: NetCDF files.
        n: Spectra to learn from; by default the paper's number for the system, else 60. Half as many where planned.
        splits: `random` (30 % held out, `n` drawn from the rest), `planned` (the same test set, half as many chosen by
            `plan_batch`), `wafer` (one wafer held out, another with each seed), `edge` (learned from alloys that hold
            little of some element, tested on those that hold much of all), `p1`, `p2` and `p3` (tested on 30 % of the
            alloys of all elements; learned from those that lack one, from others of all, or from both: the paper's
            protocols for quaternaries).
        seeds: Each gives its own split, draw and networks.
        config: Of our ensemble.
        where: Keeps the samples for which this coordinate holds.
        variable: The spectra of the set.
        published: Also train the published network by the published terms; hours without a GPU.
        on_record: Called with every record as it is there.
    """
    records = []
    for path in datasets:
        spectra = read_prepared(path, variable=variable, where=where)
        for kind in splits:
            for seed in seeds:
                learn, test = draw_split(spectra, kind, n=n or learning_size(path), seed=seed)
                for model, figures in judge_models(learn, test, seed=seed, config=config, published=published):
                    record = {"dataset": path.stem, "split": kind, "n": len(learn), "seed": seed, "model": model}
                    records.append(record | figures)
                    on_record(records[-1])
    return records


def measure_noise(
    datasets: Sequence[Path], *, where: str | None = None, variable: str = "intensity"
) -> list[dict[str, Any]]:
    """What no model of composition alone can foresee: how far samples of one alloy differ.

    A record a data set for pairs of one wafer and of two, where it names wafers, else of all: the number of pairs at
    most `AS_GOOD_AS_ONE` apart, and the noise of one sample: `mse` (half the mean squared difference of two) and the
    standard deviations of the peak figures (where there is a q axis). Arguments as of `run`.
    """
    records = []
    for path in datasets:
        spectra = read_prepared(path, variable=variable, where=where)
        pairs = KDTree(spectra.compositions).query_pairs(AS_GOOD_AS_ONE, output_type="ndarray")
        kinds = {"all": np.ones(len(pairs), dtype=bool)}
        if "wafer" in spectra.coordinates:
            first, second = np.asarray(spectra.coordinates["wafer"])[pairs].T
            kinds = {"of one wafer": first == second, "of two wafers": first != second}
        figures = {"mse": spectra.intensities.astype(np.float64)}
        if (q := q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)) is not None:
            peaks = measure_peaks(q, torch.from_numpy(figures["mse"]))
            figures |= {name: values.numpy()[:, None] for name, values in peaks.figures.items()}
        for kind, chosen in kinds.items():
            record: dict[str, Any] = {"dataset": path.stem, "pairs": kind, "n": int(chosen.sum())}
            for name, values in figures.items():
                a, b = values[pairs[chosen].T]
                squares = np.square(a - b)[np.isfinite(a - b)] / 2
                size = float(squares.mean()) if len(squares) else None
                record[name] = size if name == "mse" or size is None else size**0.5
            records.append(record)
    return records


def ablate(
    datasets: Sequence[Path],
    *,
    n: int | None = None,
    seeds: Sequence[int] = (100, 101, 102),
    where: str | None = None,
    variable: str = "intensity",
    changes: Mapping[str, Mapping[str, Any]] = ABLATIONS,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, seed and change of the preset `compact`: its errors, on one half of the samples.

    The other half is never seen, so that what is chosen here can be judged there. Arguments as of `run`; `changes`
    are settings that replace the preset's.
    """
    records = []
    for path in datasets:
        spectra = read_prepared(path, variable=variable, where=where)
        spectra = spectra.select(np.random.default_rng(STUDY_SEED).random(len(spectra)) < 0.5)
        for seed in seeds:
            learn, test = draw_split(spectra, "random", n=n or learning_size(path), seed=seed)
            for name, change in changes.items():
                config = TrainingConfig(**PRESETS["compact"].model_dump() | dict(change))
                figures = dict(judge_ensemble(learn, test, seed=seed, config=config))["ensemble"]
                records.append({"dataset": path.stem, "n": len(learn), "seed": seed, "change": name, **figures})
                on_record(records[-1])
    return records


def learning_size(path: Path) -> int:
    """Spectra to learn from unless said otherwise: the paper's number for the system, else 60."""
    return PAPER_SIZES.get(path.stem, 60)


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Test MSE of every model, a panel a data set and split, a dot a seed, a bar the median, as a PNG."""
    panels = list(dict.fromkeys((r["dataset"], r["split"], r["n"]) for r in records))
    figure = Figure(figsize=(4.2 * min(3, len(panels)), 2.9 * -(-len(panels) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(panels) // 3), min(3, len(panels)), squeeze=False).ravel()
    for panel, (dataset, kind, n) in zip(axes, panels, strict=False):
        mine = [r for r in records if (r["dataset"], r["split"], r["n"]) == (dataset, kind, n)]
        shown = [model for model in reversed(MODEL_LABELS) if any(r["model"] == model for r in mine)]
        for place, model in enumerate(shown):
            colour = MODEL_LABELS[model][1]
            errors = [r["mse"] for r in mine if r["model"] == model]
            panel.scatter(errors, [place] * len(errors), s=14, color=colour, alpha=0.6, linewidths=0)
            panel.plot([np.median(errors)] * 2, [place - 0.35, place + 0.35], color=colour, linewidth=3)
        if kind == "random" and dataset in PAPER_MSE:
            panel.axvline(PAPER_MSE[dataset], color="0.5", linestyle=":", linewidth=1)
        panel.set_yticks(range(len(shown)), [MODEL_LABELS[model][0] for model in shown], fontsize=8)
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("test MSE")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_title(f"{'-'.join(w.capitalize() for w in dataset.split('-'))} @ {n}, {kind}", fontsize=10)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_split(spectra: SpectraSet, kind: str, *, n: int, seed: int) -> tuple[SpectraSet, SpectraSet]:
    """`n` samples to learn from outside the test set (half as many where they are planned), and the test set.

    Raises:
        DatasetError: If the data set lacks what the split learns from or tests on.
    """
    if kind in PROTOCOLS:
        pool, held = protocol_rows(spectra, kind, seed=seed)
        return spectra.select(np.random.default_rng([seed, 1]).permutation(pool)[:n]), spectra.select(held)
    if kind == "edge":
        least = spectra.compositions.min(axis=1)  # atomic fraction of the rarest element
        pool = np.flatnonzero(least <= np.quantile(least, 0.4))
        drawn = np.random.default_rng([seed, 1]).permutation(pool)[:n]
        return spectra.select(drawn), spectra.select(least > np.quantile(least, 0.7))
    if kind == "planned":
        held = split(spectra, "random", share=TEST_SHARE, seed=seed)
        pool = np.flatnonzero(~held)
        return spectra.select(pool[plan_rows(spectra.compositions[pool], max(1, n // 2), seed=seed)]), spectra.select(
            held
        )
    return compare.draw_split(spectra, kind, n=n, seed=seed)


def protocol_rows(spectra: SpectraSet, kind: str, *, seed: int) -> tuple[Rows, Rows]:
    """Rows that one of `PROTOCOLS` may learn from, and those it is tested on, the same of all.

    Raises:
        DatasetError: If the data set has no alloys of all elements, or none that lack one.
    """
    lacking = len(spectra.elements) - np.count_nonzero(spectra.compositions > SAME_ALLOY, axis=1)
    whole = np.flatnonzero(lacking == 0)
    if not len(whole) or not (lacking == 1).any():
        raise DatasetError(
            f"The split {kind} needs alloys of all {len(spectra.elements)} elements and such as lack one, got "
            f"{len(whole)} and {np.count_nonzero(lacking == 1)}. `glassmap sweep … --faces` simulates both."
        )
    held = np.random.default_rng(seed).permutation(whole)[: round(TEST_SHARE * len(whole))]
    return np.setdiff1d(np.flatnonzero(np.isin(lacking, PROTOCOLS[kind])), held), held


def plan_rows(candidates: Compositions, n: int, *, seed: int) -> Rows:
    """Rows of the alloys that a campaign would have measured first."""
    rows: list[int] = []
    while len(rows) < n:
        size = min(BATCH, n - len(rows))
        rows.extend(plan_batch(candidates, size, taken=candidates[rows], seed=seed).rows.tolist())
    return np.array(rows, dtype=np.int64)


def judge_models(
    learn: SpectraSet, test: SpectraSet, *, seed: int, config: TrainingConfig, published: bool
) -> Iterator[tuple[str, Errors]]:
    """Name and errors of every model, one by one: test MSE, mean errors of the peak figures where there are any."""
    yield from judge_baselines(learn, test)
    control = fit_without_networks(learn, seed=seed, config=config).predict(test.compositions)
    yield CONTROL, errors_of(control.mean, test)
    yield from judge_ensemble(learn, test, seed=seed, config=config)
    if published:
        network = PRESETS["paper"].model_copy(update={"members": 1})
        _, predicted = fit_ensemble(learn, test, seed=seed, config=network)
        yield "published", errors_of(predicted.sample, test)


def judge_ensemble(
    learn: SpectraSet, test: SpectraSet, *, seed: int, config: TrainingConfig
) -> Iterator[tuple[str, Errors]]:
    """As `judge_models`, of our ensemble alone; of its mean also how far its spread can be trusted.

    `energy_score`: of draws of each alloy's spectrum, in units of intensity. The name of each base model: its weight;
    `oof_mse`: what the ensemble expects from the spectra that were left out; `rank`: Spearman's correlation of spread
    and error over the test alloys; `inside`: share of measured points within the 90 % band. Of the error that is
    expected of each alloy: `expected_mse`, the mean of its square, `expected_rank`, its correlation with the error,
    `known`, the share of the test alloys that are called known, and `known_mse` and `extrapolated_mse`, the errors of
    these and of the others.
    """
    ensemble, predicted = fit_ensemble(learn, test, seed=seed, config=config)
    yield "sample", errors_of(predicted.sample, test)
    errors = np.sqrt(np.square(predicted.mean - test.intensities).mean(axis=1))
    spread = np.sqrt(np.square(predicted.epistemic_std).mean(axis=1))
    expected = ensemble.expected_errors(test.compositions)
    known = expected < ensemble.known_below
    draws = ensemble.draws(test.compositions, DRAWS, seed)
    yield (
        "ensemble",
        errors_of(predicted.mean, test)
        | {
            **ensemble.weights,
            "energy_score": float(energy_scores(draws, test.intensities).mean()),
            "oof_mse": None if np.isnan(ensemble.oof_mse) else ensemble.oof_mse,
            "rank": rank_correlation(spread, errors),
            "inside": float((np.abs(predicted.mean - test.intensities) <= predicted.band).mean()),
            "expected_mse": _mean_square(expected),
            "expected_rank": rank_correlation(expected, errors) if np.isfinite(expected).all() else None,
            "known": float(known.mean()),
            "known_mse": _mean_square(errors[known]),
            "extrapolated_mse": _mean_square(errors[~known]),
        },
    )


def _mean_square(values: PerSample) -> float | None:
    return float(np.square(values).mean()) if len(values) and np.isfinite(values).all() else None


def rank_correlation(a: PerSample, b: PerSample) -> float:
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
