"""Whether glass, crystal and both are told apart: what is read off spectra against labels by a person's eye.

`labels/states.csv` holds a hundred spectra of each shared set, drawn at random, labelled on plotted sheets without a
look at anything that glassmap measures (the rule: docs/results.md, "Glass, crystal, or both"). `by_criterion` is a
second opinion, of simple steps that share nothing with the fit of a peak.
"""

import csv
import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.calibration import NoRule, learn_rule
from glassmap.agent.maps.glass import LIKELY, GlassRule
from glassmap.agent.maps.peak_map import map_block
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.peaks.states import state_of
from glassmap.agent.shapes import Axis, Mask, PerSample, Spectrum
from glassmap.flows.compare import read_prepared
from tests.benchmarks.spectra import draw_split, learning_size

LABELS = Path(__file__).with_name("labels") / "states.csv"
STATES = ("glass", "both", "crystalline", "unclear")
LINE_WIDTH, HALO_WIDTH = 0.16, 0.4  # 1/Å; the widest crystal of Ren et al. (2018), and the least halo of the labels
FIRST_PEAK = 2.1, 3.4  # 1/Å
STEP, SMOOTHING = 0.005, 0.015  # 1/Å
SHARP = 0.12  # 1/Å; what is curved over less is a line
LEAST_LINE, LEAST_HALO = 0.15, 0.08  # of the highest maximum: a line's height, and what is left 0.2 1/Å beside it


def read_labels(dataset: str) -> dict[str, str]:
    """Return the states of the labelled samples of a set, by their ids."""
    with LABELS.open(encoding="utf-8", newline="") as file:
        return {row["sample"]: row["state"] for row in csv.DictReader(file) if row["dataset"] == dataset}


def by_criterion(q: Axis, spectrum: Spectrum) -> str:
    """Return the state by simple steps: a background, a width at half height, and lines where the curve bends sharply.

    The background is the lower convex hull of the smoothed spectrum, a line what lies between two inflexions of it less
    than `SHARP` apart (in terms of the FWHM of a Gaussian).

    Source: lines by the second derivative as in M. A. Mariscotti, Nucl. Instrum. Methods 50, 309 (1967).
    """
    x = np.arange(1.5, 4.6, STEP)
    smooth = gaussian_filter1d(np.interp(x, q, spectrum), SMOOTHING / STEP)
    height = smooth - _hull(x, smooth)
    first = (x > FIRST_PEAK[0]) & (x < FIRST_PEAK[1])
    top = int(np.argmax(np.where(first, height, -math.inf)))
    if any(line > LEAST_LINE * height[top] for line in _lines(smooth, first)):
        beside = np.interp(x[top] + np.array([-0.2, 0.2]), x, height)
        return "both" if beside.min() > LEAST_HALO * height[top] else "crystalline"
    low = np.flatnonzero(height < height[top] / 2)
    width = (low[low > top].min(initial=len(x)) - low[low < top].max(initial=0)) * STEP
    return "glass" if width > HALO_WIDTH else "crystalline" if width < LINE_WIDTH else "unclear"


def _hull(x: Axis, y: Spectrum) -> Spectrum:
    kept: list[tuple[float, float]] = []
    for right, high in zip(x, y, strict=True):
        while len(kept) > 1:
            (x0, y0), (x1, y1) = kept[-2:]
            if (y1 - y0) * (right - x0) < (high - y0) * (x1 - x0):
                break
            kept.pop()
        kept.append((right, high))
    corners = np.array(kept)
    return np.interp(x, corners[:, 0], corners[:, 1])


def _lines(smooth: Spectrum, where: np.ndarray) -> list[float]:
    """Return the heights of the lines among the curve's sharp bends."""
    bend = -np.gradient(np.gradient(smooth, STEP), STEP)
    ends = np.flatnonzero(np.diff(bend > 0)) + 1
    lines = []
    for start, end in itertools.pairwise(ends):
        fwhm = (end - start) * STEP * math.sqrt(2 * math.log(2))
        if bend[start] > 0 and where[start:end].any() and fwhm**2 - 8 * math.log(2) * SMOOTHING**2 < SHARP**2:
            lines.append(bend[start:end].max() * fwhm**2 / (8 * math.log(2)))
    return lines


def by_width(threshold: float, crystalline: float) -> Callable[[dict[str, float]], str]:
    """Return the rule that sees Δq alone: glass above one threshold, crystalline below the other, else unclear."""

    def state_of(figures: dict[str, float]) -> str:
        width = figures[DELTA_Q.name]
        return "glass" if width >= threshold else "crystalline" if width < crystalline else "unclear"

    return state_of


THRESHOLDS = 0.57, 0.42  # 1/Å, of Ren et al. (2018) and Joress et al. (2020)
RULES: dict[str, Callable[[dict[str, float]], str]] = {
    "glassmap": state_of,
    "Δq alone, 0.57": by_width(0.57, 0.57),
    "Δq alone, 0.16 and 0.57": by_width(0.57, LINE_WIDTH),
    "Δq alone, 0.16 and 0.42": by_width(0.42, LINE_WIDTH),
}


def run(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Hold every rule, and `by_criterion`, against the labels.

    Args:
        paths: Data sets of which `labels/states.csv` holds samples.

    Returns:
        A record a set and rule, and one of all sets together, with the `confusion` (label, then rule: count), the
        number `n`, the share that `agree` with its 95 % interval (Wilson's) `low` and `high`, `kappa` (Cohen's), and of
        spectra that are clear by eye the shares told right: `lines`, of those with lines (crystalline or both), and
        `no_lines`, of halos, with their numbers.

    Raises:
        DatasetError: If a set has no labels, or a labelled sample is missing.
    """
    told: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for path in paths:
        labels, _, measured, states = _read(path)
        for number, label in enumerate(labels):
            mine = {name: float(values[number]) for name, values in measured.items()}
            said = {name: rule(mine) for name, rule in RULES.items()} | {"criterion": states[number]}
            for name, state in said.items():
                told.setdefault(path.stem, {}).setdefault(name, []).append((label, state))
    together = {name: [pair for by_rule in told.values() for pair in by_rule[name]] for name in (*RULES, "criterion")}
    return [
        {"dataset": group, "rule": name, **_judge(pairs)}
        for group, by_rule in (told | {"all": together}).items()
        for name, pairs in by_rule.items()
    ]


def _read(path: Path) -> tuple[list[str], list[str], dict[str, PerSample], list[str]]:
    """Return the labels of a set, the samples, what is measured of them, and what the criterion says of them."""
    labels, spectra = read_labels(path.stem), read_prepared(path)
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    rows = [row for row, sample in enumerate(spectra.ids) if sample in labels]
    if q is None or not labels or len(rows) < len(labels):
        raise DatasetError(f"{path}: states are held against {LABELS.name}, which must hold samples of this set.")
    chosen = spectra.intensities[rows].astype(np.float64)
    measured = {name: values.numpy() for name, values in measure_peaks(q, torch.as_tensor(chosen)).figures.items()}
    samples = [spectra.ids[row] for row in rows]
    return [labels[one] for one in samples], samples, measured, [by_criterion(q, spectrum) for spectrum in chosen]


def learn(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Learn what a glass is from half of the labels, and from those of the other sets, and judge it on the rest.

    Unclear spectra are left out, and those without a first peak; glass is what is labelled so, and neither a crystal
    nor both.

    Args:
        paths: As for `run`; two or more.

    Returns:
        A record a set and rule: `learned` from the half of this set whose places are even, `elsewhere`, `together`
        (both), and the fixed thresholds; with the `threshold` and its standard uncertainty in 1/Å, and of the half
        whose places are odd the number `n`, the share `right`, the Brier score, and the expected calibration error of
        ten bins of equal width. What can't be learned is left out.
    """
    known = {path.stem: _clear(path)[1:] for path in paths}
    records = []
    for name, (width, is_glass) in known.items():
        for source, rule in _rules(known, name).items():
            of_rule = {"threshold": rule.threshold, "threshold_std": rule.threshold_std}
            judged = _judge_chance(rule.chance(width[1::2]), is_glass[1::2])
            records.append({"dataset": name, "rule": source, **of_rule, **judged})
    return records


def judge_generated(
    paths: Sequence[Path],
    *,
    seeds: Sequence[int],
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Hold the P(glass) that maps give against the labels of samples that neither map nor rule has seen.

    Args:
        paths: As for `learn`.
        seeds: Each draws other spectra to learn from, as many as `spectra.run`'s, from the `cleaned` ones.
        on_record: Called with every record as it is there.

    Returns:
        A record a set and rule as of `learn`, over all seeds, with `always` the Brier score of saying the share of
        glasses of every sample, and `beyond` the labelled samples that the map says nothing of.
    """
    known = {path.stem: _clear(path) for path in paths}
    records = []
    for path in paths:
        samples, _, is_glass = known[path.stem]
        labelled = dict(zip(samples[1::2], is_glass[1::2].tolist(), strict=True))
        rules = _rules({name: values[1:] for name, values in known.items()}, path.stem)
        spectra = read_prepared(path, where="cleaned")
        q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
        assert q is not None
        said: dict[str, list[PerSample]] = {name: [] for name in rules}
        truth: list[bool] = []
        for seed in seeds:
            learned, test = draw_split(spectra, "random", n=learning_size(path), seed=seed)
            ensemble = Ensemble(seed=seed).fit(learned.compositions, learned.intensities.astype(np.float64), q=q)
            rows = [row for row, sample in enumerate(test.ids) if sample in labelled]
            truth += [labelled[test.ids[row]] for row in rows]
            for name, rule in rules.items():
                said[name].append(map_block(ensemble, test.compositions[rows], q=q, glass=rule)["p_glass"])
        for name, parts in said.items():
            chance, there = np.concatenate(parts), np.array(truth)
            read = np.isfinite(chance)
            record = {"dataset": path.stem, "rule": name, **_judge_chance(chance[read], there[read])}
            record |= {"always": float(there[read].var()), "beyond": int((~read).sum())}
            records.append(record)
            on_record(record)
    return records


def _clear(path: Path) -> tuple[list[str], PerSample, Mask]:
    """Return the labelled samples that are clear and have a first peak, their Δq, and which are labelled a glass."""
    labels, samples, measured, _ = _read(path)
    there = np.isfinite(measured[DELTA_Q.name]) & (np.array(labels) != "unclear")
    return list(np.array(samples)[there]), measured[DELTA_Q.name][there], np.array(labels)[there] == "glass"


def _rules(known: dict[str, tuple[PerSample, Mask]], name: str) -> dict[str, GlassRule]:
    """Return the rules that labels teach for a set, and the fixed ones."""
    width, is_glass = known[name]
    half, others = (width[::2], is_glass[::2]), [values for other, values in known.items() if other != name]
    rules = {f"{threshold:g}": GlassRule(threshold) for threshold in THRESHOLDS}
    for source, parts in {"learned": [half], "elsewhere": others, "together": [half, *others]}.items():
        widths, glasses = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        with suppress(NoRule):
            rules[source] = learn_rule(widths, np.zeros(len(widths)), glasses, "logistic")
    return rules


def _judge_chance(chance: PerSample, is_glass: Mask) -> dict[str, float | int]:
    bins = np.minimum((chance * 10).astype(int), 9)
    gaps = [abs(float((chance - is_glass)[bins == one].sum())) for one in np.unique(bins)]
    right = float(np.mean((chance >= LIKELY) == is_glass))
    brier = float(np.mean(np.square(chance - is_glass)))
    return {"n": len(chance), "right": right, "brier": brier, "calibration_error": sum(gaps) / len(chance)}


def _judge(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    labels, said = zip(*pairs, strict=True)
    right = sum(label == state for label, state in pairs)
    interval = binomtest(right, len(pairs)).proportion_ci(method="wilson")
    record: dict[str, Any] = {"n": len(pairs), "agree": right / len(pairs), "low": interval.low, "high": interval.high}
    record["kappa"] = float(cohen_kappa_score(labels, said, labels=list(STATES)))
    for name, kinds in (("lines", ("crystalline", "both")), ("no_lines", ("glass",))):
        mine = [state in kinds for label, state in pairs if label in kinds]
        record[name] = sum(mine) / len(mine) if mine else math.nan
        record[f"n_{name}"] = len(mine)
    counts = {label: {state: pairs.count((label, state)) for state in STATES} for label in STATES}
    return record | {"confusion": counts}
