"""Whether a laboratory has to hold a fifth of each batch out, or the spectra that it learns from tell as much.

Pairs of replays: the same alloys, plans from the same start, tested on the same spectra that neither plans. One holds a
fifth of each batch out and is judged by it; the other learns from all, and is judged by what each of its models says of
spectra that it left out.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.flows.compare import read_prepared
from tests.benchmarks import stopping
from tests.benchmarks.traces import MEASURES, NOTHING_HELD_OUT, SCENARIOS, Scenario, Trace, replay

PAIR = (SCENARIOS[1], NOTHING_HELD_OUT)
ROUNDS = 12
AT = (60, 100, 200)  # spectra measured, at which the two are compared


def run(
    paths: Sequence[Path],
    folder: Path,
    *,
    where: str | None,
    batch: int,
    seeds: Sequence[int],
    report: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """One record a set, kind of laboratory and seed: true errors, what is said of them, and where the rule stops.

    Args:
        paths: Data sets.
        folder: Where replays are kept; those that it has aren't made again.
        where: Keeps the samples for which this holds.
        batch: Alloys a round.
        seeds: Of the replays.
        report: Is told of each that is made.
    """
    records: list[dict[str, Any]] = []
    for path in paths:
        spectra = read_prepared(path, where=where)
        for seed in seeds:
            for number, scenario in enumerate(PAIR):
                file = folder / f"hold-out-{path.stem}-{number}-{batch}-{seed}.npz"
                if not file.exists():
                    replay(spectra, scenario, name=path.stem, batch=batch, seed=seed, rounds=ROUNDS).write(file)
                    report(file.stem)
                records.append(judge(Trace.read(file), scenario))
    return records


def judge(trace: Trace, scenario: Scenario) -> dict[str, Any]:
    """Return the true errors by spectra measured, the logarithm of what was said over it, and the rule's stops."""
    record: dict[str, Any] = {
        "dataset": trace.name,
        "scenario": scenario.name,
        "batch": trace.batch,
        "seed": trace.seed,
    }
    for measure in MEASURES:
        true = np.nanmean(trace.test[measure], axis=1)
        said = _said(trace, measure, held=scenario.share > 0)
        for n in AT:
            at = np.flatnonzero(trace.measured == n)
            if len(at):
                record[f"{measure} @ {n}"] = float(true[at[0]])
                record[f"{measure} said @ {n}"] = float(np.log(said[at[0]] / true[at[0]]))
        stop = stopping.stop(trace, measure, stopping.ours(measure, 1))
        record |= {
            f"{measure} stops at": None if stop.round is None else int(trace.measured[stop.round]),
            f"{measure} false": stop.is_false,
            f"{measure} excess": stop.excess,
            f"{measure} never": stop.round is None and stop.needed is not None,
        }
    return record


def _said(trace: Trace, measure: str, *, held: bool) -> np.ndarray:
    """Return by round the mean error that a campaign shows: of what is held out by then, or of what was left out."""
    if not held:
        return np.nanmean(trace.left_out[measure], axis=1)
    rounds = range(len(trace.spectra))
    return np.array([np.nanmean(trace.hold_out[measure][k, trace.hold_out_since <= k]) for k in rounds])


def summary(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row a kind of laboratory, over sets and seeds: ratios to the one that holds out, what is said, stops."""
    rows: list[dict[str, Any]] = []
    pairs = {(r["dataset"], r["batch"], r["seed"], r["scenario"]): r for r in records}
    for scenario in PAIR:
        mine = [r for r in records if r["scenario"] == scenario.name]
        row: dict[str, Any] = {"scenario": scenario.name, "replays": len(mine)}
        for measure in MEASURES:
            for n in AT:
                key = f"{measure} @ {n}"
                ratios = [
                    np.log(r[key] / pairs[r["dataset"], r["batch"], r["seed"], PAIR[0].name][key])
                    for r in mine
                    if key in r and key in pairs[r["dataset"], r["batch"], r["seed"], PAIR[0].name]
                ]
                told = [r[f"{measure} said @ {n}"] for r in mine if f"{measure} said @ {n}" in r]
                row[f"{measure}, ratio @ {n}"] = float(np.exp(np.mean(ratios)))
                row[f"{measure}, ± @ {n}"] = (
                    float(np.std(ratios, ddof=1) / len(ratios) ** 0.5) if len(ratios) > 1 else 0.0
                )
                row[f"{measure}, said over true @ {n}"] = float(np.exp(np.mean(told)))
                row[f"{measure}, scatter of that @ {n}"] = float(np.std(told))
            stops = [r for r in mine if r[f"{measure} stops at"] is not None]
            excess = [r[f"{measure} excess"] for r in mine if r[f"{measure} excess"] is not None]
            row[f"{measure}, false"] = sum(r[f"{measure} false"] for r in mine)
            row[f"{measure}, stops"] = len(stops)
            row[f"{measure}, batches beyond need"] = float(np.median(excess)) if excess else None
            row[f"{measure}, never"] = sum(r[f"{measure} never"] for r in mine)
        rows.append(row)
    return rows
