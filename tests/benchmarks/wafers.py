"""Which wafers to make: errors on all alloys of a set against the wafers measured, chosen as a campaign would, or not.

A quick model stands for the ensemble: a Gaussian process on principal components and trees, half each. As many spectra
are spread over however many wafers are chosen, and three tenths of the alloys of *all* wafers judge.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from glassmap.agent.config.wafers import CostConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.samples import samples_of
from glassmap.agent.models.baselines import BASELINES
from glassmap.agent.planning.acquisition import plan_batch
from glassmap.agent.planning.wafers import Aim, Option, WaferCost, plan_wafers
from glassmap.flows.compare import read_prepared

BATCH = 20  # spectra that are planned together
MODELS = ("pca-gp", "extra-trees")
MOST_SETS = 100  # of wafers that are all tried for the best; of more only those that were drawn
Record = dict[str, Any]


def run(
    datasets: Sequence[Path],
    *,
    where: str | None = None,
    spectra: int = 60,
    draws: int = 20,
    seeds: Iterable[int] = range(3),
    cost: CostConfig | None = None,
    on_record: Callable[[Record], object] = lambda _: None,
) -> list[Record]:
    """Choose wafers one after the other, as rounds that plan wafers do, beside random orders and all choices.

    Args:
        datasets: Any whose samples name their wafers.
        where: Only the samples for which this holds.
        spectra: How many to learn from, whatever the number of wafers.
        draws: Random orders of the wafers.
        seeds: Of the split.
        cost: Of a wafer and of a spectrum, hours.
        on_record: Told of each.

    Returns:
        Records with `dataset`, `seed`, `wafers` (how many), `hours`, `names` of those that are chosen, and test MSE:
        `chosen`, `random` (median of the draws), `best` and `worst` of those tried, and `all` wafers together.
    """
    cost, records = cost or CostConfig(), list[Record]()
    for path in datasets:
        whole = read_prepared(path, where=where)
        wafers = [str(name) for name in samples_of(whole).wafer_names]
        for seed in seeds:
            trial = _Trial(whole, spectra, seed)
            order, rng = trial.chosen_order(), np.random.default_rng(seed)
            random = [rng.permutation(wafers).tolist() for _ in range(draws)]
            for n in range(1, len(wafers) + 1):
                drawn = [trial.mse(some[:n]) for some in random]
                every = [*combinations(wafers, n)]
                tried = drawn + ([trial.mse(some) for some in every] if len(every) <= MOST_SETS else [])
                record = {
                    "dataset": path.stem,
                    "seed": seed,
                    "wafers": n,
                    "hours": cost.of(n, spectra),
                    "names": order[:n],
                    "chosen": trial.mse(order[:n]),
                    "random": float(np.median(drawn)),
                    "best": min(tried),
                    "worst": max(tried),
                    "all": trial.mse(wafers),
                }
                records.append(record)
                on_record(record)
    return records


class _Trial:
    """A split of a set, and what a quick model errs that learned from some of its wafers."""

    def __init__(self, whole: SpectraSet, spectra: int, seed: int) -> None:
        held = np.zeros(len(whole), dtype=bool)
        held[np.random.default_rng(seed).permutation(len(whole))[: round(0.3 * len(whole))]] = True
        self._test, self._pool = whole.select(held), whole.select(~held)
        self._samples, self._space = samples_of(self._pool), CompositionSpace(whole.elements)
        self._spectra, self._seed = spectra, seed
        self._known = dict[frozenset[str], float]()

    def chosen_order(self) -> list[str]:
        """Return the wafers in the order in which they are begun where each new one costs nothing."""
        order, taken = list[str](), np.empty((0, len(self._space.elements)))
        names = self._samples.wafer_names
        while len(order) < len(names):
            options = [Option(self._samples.select(self._samples.on(name)), is_begun=name in order) for name in names]
            plan = plan_wafers(
                Aim.of(self._space, known=taken), options, n=1, points=BATCH, cost=WaferCost(0.0, 0.05), seed=self._seed
            )
            order.append(plan.begin[0].samples.wafers[0])
            taken = np.concatenate([taken, plan.begin[0].samples.compositions])
        return order

    def mse(self, wafers: Iterable[str]) -> float:
        """Return the test MSE of a model that learned from spectra spread over some wafers."""
        if (key := frozenset(wafers)) not in self._known:
            self._known[key] = self._learn(key)
        return self._known[key]

    def _learn(self, wafers: frozenset[str]) -> float:
        on = np.flatnonzero(np.isin(self._samples.wafers, [*wafers]))
        compositions, rows = self._samples.compositions[on], list[int]()
        while len(rows) < min(self._spectra, len(on)):
            size = min(BATCH, self._spectra - len(rows))
            taken = compositions[rows].reshape(-1, compositions.shape[1])
            rows += plan_batch(compositions, size, taken=taken, seed=self._seed, cover=self._space).rows.tolist()
        return quick_mse(self._pool.select(on[rows]), self._test, seed=self._seed)


def quick_mse(learn: SpectraSet, test: SpectraSet, *, seed: int) -> float:
    """Return the MSE on some spectra of the quick model that learned from others."""
    said = [
        BASELINES[name]().fit(learn.compositions, learn.intensities, seed=seed).predict(test.compositions)
        for name in MODELS
    ]
    return float(np.square(np.mean([one.mean for one in said], axis=0) - test.intensities).mean())


def draw(records: Sequence[Record], path: Path) -> None:
    """Draw the errors against the wafers measured, a panel a set: medians over seeds."""
    names = list(dict.fromkeys(record["dataset"] for record in records))
    figure = Figure(figsize=(4.2 * len(names), 3.6), layout="constrained")
    for axes, name in zip(np.atleast_1d(np.asarray(figure.subplots(1, len(names)))), names, strict=True):
        of = [record for record in records if record["dataset"] == name]
        numbers = sorted({record["wafers"] for record in of})

        def median(what: str, n: int, of: Sequence[Record] = of) -> float:
            return float(np.median([record[what] for record in of if record["wafers"] == n]))

        low, high = ([median(what, n) for n in numbers] for what in ("best", "worst"))
        axes.fill_between(numbers, low, high, color="0.9", label="every choice")
        axes.plot(numbers, [median("random", n) for n in numbers], "--", color="0.4", label="random, median")
        axes.plot(numbers, [median("chosen", n) for n in numbers], "o-", color="tab:blue", label="chosen")
        axes.axvspan(3, min(4, numbers[-1]) if numbers[-1] > 3 else 3.05, color="tab:orange", alpha=0.15)
        axes.set(title=name, xlabel="wafers measured (orange: the paper's 3-4)", yscale="log")
        axes.set_xticks(numbers)
    figure.axes[0].set_ylabel("test MSE")
    figure.axes[0].legend()
    figure.savefig(path, dpi=110)
