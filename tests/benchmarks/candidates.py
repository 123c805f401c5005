"""What comes of measuring candidates: centres of places, beside the alloys of largest Δq or P(glass) one by one.

An ensemble maps its whole space, the candidates are looked up among the samples that it did not learn from, and each is
measured by the nearest of those. Besides: how far errors of Δq of two left-out samples go together.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import KDTree

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.glass import LIKELY, P_GLASS, GlassRule
from glassmap.agent.maps.peak_map import map_block
from glassmap.agent.maps.regions import find_candidates, joint_chance
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Compositions, PerSample
from glassmap.flows.compare import read_prepared
from tests.benchmarks.spectra import PAPER_SIZES, draw_split

KINDS = ("random", "wafer", "edge")
BETS = 5  # candidates of each way
NEAR_AT_PCT = 2.0  # a sample this near is taken for the alloy
DISTANCES = (0, 2, 4, 7, 10, 14, 20, 30, 50)  # at.%, ends of classes
MOST = 800  # samples whose pairs are looked at


def run(
    datasets: Sequence[Path],
    *,
    seeds: Sequence[int],
    where: str | None = None,
    checkpoints: Path | None = None,
    on_record: Callable[[dict[str, Any]], object] = lambda _: None,
) -> list[dict[str, Any]]:
    """Return a record a data set, kind of hold-out, seed and way of choosing.

    Args:
        datasets: NetCDF, q or 2θ.
        seeds: Of draws.
        where: The samples to use.
        checkpoints: A folder with trained ensembles, `SET-KIND-SEED`, each with a `done.json` that names `checkpoint`,
            `learn` and `test`; without it they are trained.
        on_record: Told each.

    Raises:
        DatasetError: If an axis is r.
    """
    records = list[dict[str, Any]]()
    for path in datasets:
        spectra = read_prepared(path, where=where if where and where in read_prepared(path).coordinates else None)
        for kind, seed in product(KINDS, seeds):
            for record in _of_one(path.stem, spectra, kind, seed, checkpoints):
                records.append(record)
                on_record(record)
    return records


def over_draws(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a data set, kind of hold-out and way of choosing, over all draws that had anything to measure."""
    rows = list[dict[str, Any]]()
    for case in dict.fromkeys((r["dataset"], r["kind"], r["way"]) for r in records):
        own = [r for r in records if (r["dataset"], r["kind"], r["way"]) == case and r.get("bets")]
        bets = sum(r["bets"] for r in own)
        if bets:
            rows.append(
                dict(zip(("dataset", "kind", "way"), case, strict=True))
                | {"draws": len(own), "bets": bets, "glass": sum(r["glasses"] for r in own) / bets}
                | {"said": sum(r["expected"] for r in own) / bets}
                | {
                    name: float(np.mean([r[name] for r in own if r[name] is not None]))
                    for name in ("delta_q", "apart", "at_least_one")
                }
                | {"within": sum(r["low"] <= r["glasses"] <= r["high"] for r in own)}
                | {"any": sum(r["glasses"] > 0 for r in own)}
            )
    return rows


def _of_one(name: str, spectra: SpectraSet, kind: str, seed: int, checkpoints: Path | None) -> Iterator[dict[str, Any]]:
    learn, test = draw_split(spectra, kind, n=PAPER_SIZES.get(name, 60), seed=seed)
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    if q is None:
        raise DatasetError(f"{name}: peaks are measured in q, got an axis in r.")
    if checkpoints is None:
        ensemble = Ensemble(seed=seed).fit(learn.compositions, learn.intensities.astype(np.float64), q=q)
    else:
        folder = checkpoints / f"{name}-{kind}-{seed}"
        kept = json.loads((folder / "done.json").read_text())["checkpoint"]
        ensemble = TrainedEnsemble.load(folder / kept, device="cpu").forecasting(q)
    space, rule = CompositionSpace(spectra.elements), GlassRule()
    alloys = space.compositions(np.arange(len(space)))
    columns = map_block(ensemble, alloys, q=q, glass=rule)
    distance = 100 * KDTree(learn.compositions).query(alloys)[0]
    error = columns["expected_error"]
    columns |= {"distance": distance, "known": np.where(np.isnan(error), np.nan, error < ensemble.known_below)}
    widths = measure_peaks(q, torch.as_tensor(test.intensities.astype(np.float64))).figures[DELTA_Q.name].numpy()
    case = {"dataset": name, "kind": kind, "seed": seed}
    places = find_candidates(alloys, columns, spectra.elements, step_at_pct=1, rule=rule).places
    centres = np.array([place.centre for place in places]).reshape(-1, len(spectra.elements))
    p_centres = np.array([place.p_centre for place in places])
    yield case | {"way": "places", "places": len(places)} | _bet(centres, p_centres, test.compositions, widths, rule)
    good = (columns["peak_share"] >= 0.5) & (columns["known"] != 0) & (columns[P_GLASS] >= LIKELY)
    for way, column in (("widest alloys", DELTA_Q.name), ("surest alloys", P_GLASS)):
        best = np.argsort(-np.where(good, columns[column], -np.inf), kind="stable")[: int(good.sum())]
        chances = columns[P_GLASS][best]
        yield case | {"way": way, "places": len(best)} | _bet(alloys[best], chances, test.compositions, widths, rule)
    generated = map_block(ensemble, test.compositions, q=q, glass=rule)[DELTA_Q.name]
    yield case | {"way": "together"} | going_together(test.compositions, generated - widths, seed=seed)


def _bet(
    alloys: Compositions, p_glass: PerSample, tested: Compositions, widths: PerSample, rule: GlassRule
) -> dict[str, Any]:
    """Return what comes of measuring the first `BETS` alloys that a tested sample with a first peak is near of."""
    told = np.isfinite(widths)
    if not len(alloys):
        return {"bets": 0}
    away, row = map(np.asarray, KDTree(tested[told]).query(alloys))
    near = np.flatnonzero(100 * away <= NEAR_AT_PCT)[:BETS]
    found = widths[told][row[near]]
    if not len(near):
        return {"bets": 0}
    apart = 100 * np.linalg.norm(alloys[near][:, None] - alloys[near], axis=2)
    same = apart[np.triu_indices(len(near), 1)]
    said = joint_chance(alloys[near], p_glass[near])
    return {
        "bets": len(near),
        "glasses": int(rule.is_glass(found).sum()),
        "delta_q": float(found.mean()),
        "apart": float(same.mean()) if len(same) else None,
        "expected": said.expected,
        "low": said.low,
        "high": said.high,
        "at_least_one": said.at_least_one,
        "at_least_one_apart": float(1 - np.prod(1 - p_glass[near])),
        "p_glass": p_glass[near].tolist(),
        "is_glass": rule.is_glass(found).tolist(),
    }


def going_together(compositions: Compositions, errors: PerSample, *, seed: int) -> dict[str, Any]:
    """Return how the errors of two samples go together: their mean product over the mean square, by distance.

    Args:
        compositions: Atomic fractions `(n, e)`.
        errors: Of Δq; NaN where there is none.
        seed: Of the `MOST` samples that are looked at.
    """
    told = np.flatnonzero(np.isfinite(errors))
    told = np.random.default_rng(seed).permutation(told)[:MOST]
    at_pct, errors = 100 * compositions[told], errors[told]
    i, j = np.triu_indices(len(told), 1)
    which = np.digitize(np.linalg.norm(at_pct[i] - at_pct[j], axis=1), DISTANCES) - 1
    products = errors[i] * errors[j]
    return {
        "mean_square": float(np.mean(errors**2)),
        "together": [
            float(products[which == k].mean()) if (which == k).any() else None for k in range(len(DISTANCES) - 1)
        ],
    }
