"""What planning by wafers saves: errors on all alloys of a set against hours, beside planning alloy by alloy.

Rounds are planned as campaigns plan them, by wafers under `[cost]` or by alloys, whose batch lies on however many
wafers it does. The model is the quick one of `tests.benchmarks.wafers`; three tenths of the alloys of all wafers judge.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from glassmap.agent.config.wafers import CostConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import Samples, samples_of
from glassmap.agent.planning.acquisition import plan_batch
from glassmap.agent.planning.wafers import Aim, Option, WaferCost, plan_wafers
from glassmap.agent.shapes import Rows
from glassmap.flows.compare import read_prepared
from tests.benchmarks.wafers import BATCH, quick_mse

UNITS = ("wafer", "alloy")
COLOURS = {"wafer": "#0072b2", "alloy": "#d55e00"}
Record = dict[str, Any]


def run(
    datasets: Sequence[Path],
    *,
    where: str | None = None,
    rounds: int = 8,
    seeds: Iterable[int] = range(3),
    cost: CostConfig | None = None,
    on_record: Callable[[Record], object] = lambda _: None,
) -> list[Record]:
    """Replay sets by wafers and by alloys.

    Args:
        datasets: Any whose samples name their wafers.
        where: Only the samples for which this holds.
        rounds: Of 20 spectra each.
        seeds: Of split and plans.
        cost: Of a wafer and of a spectrum, hours.
        on_record: Told of each.

    Returns:
        Records with `dataset`, `unit`, `seed`, `spectra`, `wafers`, `hours` and `mse`, one a round.
    """
    cost, records = cost or CostConfig(), list[Record]()
    for path in datasets:
        whole = read_prepared(path, where=where)
        for seed in seeds:
            held = np.zeros(len(whole), dtype=bool)
            held[np.random.default_rng(seed).permutation(len(whole))[: round(0.3 * len(whole))]] = True
            pool, test = whole.select(~held), whole.select(held)
            samples = samples_of(pool)
            for unit in UNITS:
                for rows in _rounds(samples, CompositionSpace(whole.elements), unit, rounds, seed, cost):
                    wafers = len({samples.wafers[row] for row in rows})
                    record = {
                        "dataset": path.stem,
                        "unit": unit,
                        "seed": seed,
                        "spectra": len(rows),
                        "wafers": wafers,
                        "hours": cost.of(wafers, len(rows)),
                        "mse": quick_mse(pool.select(rows), test, seed=seed),
                    }
                    records.append(record)
                    on_record(record)
    return records


def _rounds(
    samples: Samples, space: CompositionSpace, unit: str, rounds: int, seed: int, cost: CostConfig
) -> Iterator[Rows]:
    """Yield what is measured after each round, rows of the samples."""
    learned = np.empty(0, dtype=np.intp)
    for round_ in range(min(rounds, len(samples) // BATCH)):
        free = np.setdiff1d(np.arange(len(samples)), learned)
        taken, rng = samples.compositions[learned], np.random.default_rng([seed, round_])
        if unit == "wafer":
            free = _on_next_wafers(samples, free, learned, Aim.of(space, known=taken), seed + round_, cost)
        batch = plan_batch(
            samples.compositions[free], BATCH, taken=taken, seed=rng, cover=space if unit == "wafer" else None
        )
        learned = np.concatenate([learned, free[batch.rows]])
        yield learned


def _on_next_wafers(samples: Samples, free: Rows, learned: Rows, aim: Aim, seed: int, cost: CostConfig) -> Rows:
    """Return those of the free rows that lie on the wafers of the next round."""
    begun, rows = {samples.wafers[row] for row in learned}, dict[str, list[int]]()
    for row in free:
        rows.setdefault("" if samples.wafers[row] in begun else samples.wafers[row], []).append(int(row))
    options = {name: Option(samples.select(np.array(some)), is_begun=not name) for name, some in rows.items()}
    plan = plan_wafers(aim, [*options.values()], n=1, points=BATCH, cost=WaferCost(cost.wafer, cost.point), seed=seed)
    chosen = [one.option for one in plan.chosen]
    return np.concatenate([rows[name] for name, option in options.items() if any(option is one for one in chosen)])


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw the errors against hours, a panel a set: each replay, and wafers as numbers at the first one's points."""
    names = list(dict.fromkeys(record["dataset"] for record in records))
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    for axes, name in zip(np.atleast_1d(np.asarray(figure.subplots(1, len(names)))), names, strict=True):
        of = [record for record in records if record["dataset"] == name]
        for unit in UNITS:
            for seed in dict.fromkeys(record["seed"] for record in of):
                curve = [record for record in of if (record["unit"], record["seed"]) == (unit, seed)]
                hours, mse = ([record[what] for record in curve] for what in ("hours", "mse"))
                label = f"by {unit}s" if seed == of[0]["seed"] else None
                axes.plot(hours, mse, ".-", color=COLOURS[unit], alpha=0.7, linewidth=1, label=label)
                for record in curve if seed == of[0]["seed"] else ():
                    axes.annotate(str(record["wafers"]), (record["hours"], record["mse"]), fontsize=7, color="0.3")
        axes.set(title=name, xlabel="hours; numbers: wafers measured", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test MSE")
    figure.axes[0].legend(frameon=False)
    figure.savefig(path, dpi=110)
