"""Where a map is known: what is called known or extrapolated, held against spectra that were never learned from.

A model learns from alloys that are planned within a part of a data set, and is judged on all the others, near and far.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.spatial import KDTree

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Mask, PerSample, Rows, Spectra
from glassmap.flows.compare import fit_without_networks, read_prepared
from tests.benchmarks.spectra import PROTOCOLS, plan_rows, protocol_rows, rank_correlation

FIXED_AT_PCT = 10.0  # the rule that was: within so much of an alloy learned from
HOLE = 0.2  # atomic fraction; radius of what is left out in the middle
PARTS = ("all", "half", "hole", "disc", "wafer")  # of any set; `PROTOCOLS` of `spectra` are others
FIFTHS = 5  # groups of test alloys by their expected error


def run(
    datasets: Sequence[Path],
    *,
    sizes: Sequence[int] = (40, 100),
    parts: Sequence[str] = PARTS,
    seeds: Sequence[int] = (0, 1, 2),
    config: TrainingConfig = PRESETS["default"],
    networks: bool = True,
    where: str | None = None,
    variable: str = "intensity",
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a data set, part, size, seed and rule; errors are root mean squares in those of the mean of all.

    `share`: of the test alloys that the rule calls known; `known` and `extrapolated`: the errors of the two;
    `wrong`: of the known, those that err more than half of what the mean of all would; `delta_q_known` and
    `delta_q_extrapolated`: mean absolute errors, 1/Å; `wide_known` and `wide_extrapolated`: shares of those above 0.1.
    Of our rule also `expected` and `actual`, the errors in the fifths of the test alloys by what is expected, and
    `rank`, Spearman's correlation of the two.

    Args:
        datasets: NetCDF files.
        sizes: Numbers of spectra to learn from.
        parts: Where they are planned: `all`, `half` (with less of one element), `hole` (none within 20 at.% of some
            alloy), `disc` (the two fifths nearest to some alloy), `wafer` (all but one, tested on that one), `p1`, `p2`
            and `p3` as of `spectra.run`.
        seeds: Each gives its own part, plan and model.
        config: Of the ensemble.
        networks: Whether it has networks; without, a case takes seconds.
        where: Keeps the samples for which this coordinate holds.
        variable: The spectra of the set.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in datasets:
        spectra = read_prepared(path, variable=variable, where=where)
        for seed in seeds:
            for part in parts:
                pool, test = draw_part(spectra, part, seed=seed)
                for n in sizes:
                    rows = pool[plan_rows(spectra.compositions[pool], min(n, len(pool)), seed=seed)]
                    learn, judged = spectra.select(rows), spectra.select(np.setdiff1d(test, rows))
                    case = {"dataset": path.stem, "part": part, "n": len(learn), "seed": seed}
                    for record in judge(learn, judged, seed=seed, config=config, networks=networks):
                        records.append(case | record)
                        on_record(records[-1])
    return records


def draw_part(spectra: SpectraSet, part: str, *, seed: int) -> tuple[Rows, Rows]:
    """Rows of the alloys that may be planned, and of those to test on; arguments as of `run`."""
    if part in PROTOCOLS:
        return protocol_rows(spectra, part, seed=seed)
    x, rng, everything = spectra.compositions, np.random.default_rng([seed, 7]), np.arange(len(spectra))
    centre = np.linalg.norm(x - x[rng.integers(len(x))], axis=1)
    inside: Mask = np.ones(len(x), dtype=bool)
    if part == "half":
        shares = x[:, seed % x.shape[1]]
        inside = shares <= np.median(shares)
    elif part == "hole":
        inside = centre > HOLE
    elif part == "disc":
        inside = centre <= np.quantile(centre, 0.4)
    elif part == "wafer":
        wafers = np.asarray(spectra.coordinates["wafer"])
        names = np.unique(wafers)
        inside = wafers != names[seed % len(names)]
        return everything[inside], everything[~inside]
    return everything[inside], everything


def judge(
    learn: SpectraSet, test: SpectraSet, *, seed: int, config: TrainingConfig, networks: bool
) -> Iterator[dict[str, Any]]:
    """Yield a record a rule, as of `run`."""
    truth = learn.intensities.astype(np.float64)
    if networks:
        ensemble = Ensemble(config, seed=seed, device="cpu").fit(learn.compositions, truth)
    else:
        ensemble = fit_without_networks(learn, seed=seed, config=config)
    mean, expected = ensemble.predict(test.compositions).mean, ensemble.expected_errors(test.compositions)
    guess = float(np.sqrt(truth.var(0).mean()))
    actual = np.sqrt(np.square(mean - test.intensities).mean(1))
    q = q_axis(test.axis_name, test.axis, test.wavelength)
    wrong_by = np.full(len(actual), np.nan)
    if q is not None:
        wrong_by = np.abs(_widths(q, mean) - _widths(q, test.intensities.astype(np.float64)))
    distance = 100 * KDTree(learn.compositions).query(test.compositions)[0]
    alone = np.sort(KDTree(learn.compositions).query(learn.compositions, 2)[0][:, 1])
    rules = {
        "expected error": expected < ensemble.known_below,
        "within 10 at.%": distance <= FIXED_AT_PCT,
        "no farther than left out": distance <= 100 * alone[-1],
    }
    for rule, known in rules.items():
        record: dict[str, Any] = {"rule": rule, "share": float(known.mean())}
        record |= {"known": _size(actual[known] / guess), "extrapolated": _size(actual[~known] / guess)}
        record |= {"wrong": _mean(actual[known] > 0.5 * guess)}
        for name, those in (("known", known), ("extrapolated", ~known)):
            errors = wrong_by[those][np.isfinite(wrong_by[those])]
            record |= {f"delta_q_{name}": _mean(errors), f"wide_{name}": _mean(errors > 0.1)}
        if rule == "expected error":
            fifths = np.array_split(np.argsort(expected, kind="stable"), FIFTHS)
            record |= {
                "expected": [_size(expected[rows] / guess) for rows in fifths],
                "actual": [_size(actual[rows] / guess) for rows in fifths],
                "rank": rank_correlation(expected, actual),
            }
        yield record


def draw(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Actual against expected error of every fifth of every case, a panel a data set, as a PNG."""
    names = list(dict.fromkeys(record["dataset"] for record in records))
    figure = Figure(figsize=(4 * len(names), 3.8), layout="constrained")
    panels = figure.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for panel, name in zip(panels, names, strict=True):
        for k, part in enumerate(dict.fromkeys(record["part"] for record in records)):
            mine = [r for r in records if r["dataset"] == name and r["part"] == part and "expected" in r]
            x, y = ([value for r in mine for value in r[what]] for what in ("expected", "actual"))
            panel.scatter(x, y, s=14, color=f"C{k}", alpha=0.7, linewidths=0, label=part)
        panel.plot([0.05, 5], [0.05, 5], color="0.6", linewidth=1)
        panel.set(xscale="log", yscale="log", xlabel="expected error / that of the mean of all", title=name)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("actual error / that of the mean of all")
    panels[0].legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _widths(q: np.ndarray, spectra: Spectra) -> PerSample:
    return measure_peaks(q, torch.from_numpy(spectra)).figures[DELTA_Q.name].numpy()


def _size(values: PerSample) -> float | None:
    return float(np.sqrt(np.square(values).mean())) if len(values) else None


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None
