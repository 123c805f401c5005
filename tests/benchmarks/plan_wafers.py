"""What planning the next wafers takes and brings; `python -m tests.benchmarks plan-wafers`.

Every run has a process of its own, so that none inherits the memory or the warm caches of another.
"""

import json
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import Samples
from glassmap.agent.planning.sputtering import Chamber, points_of
from glassmap.agent.planning.wafers import Aim, Option, WaferCost, Workshop, plan_wafers, unreached
from tests.benchmarks.planning import ELEMENTS, in_new_process, peak_mib
from tests.benchmarks.sputtering import guns_of


def run(
    elements_counts: Sequence[int] = (3, 4, 5),
    wafers: Sequence[int] = (1, 2, 3),
    lying: Sequence[int] = (0, 20),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, Any]]:
    """Plan the next wafers of a chamber with a gun an element, one record a run.

    Args:
        elements_counts: Numbers of elements and guns.
        wafers: How many are to be begun.
        lying: How many wafers lie there besides, made at random powers.
        seeds: Seeds of each.

    Returns:
        Records with `elements`, `wafers`, `lying`, `seconds`, `peak_mib` (resident memory of the whole process),
        `mean` and `worst` (at.%, then), `random` (mean at random powers, the median of 20 sets) and `unreached` (share
        of the space).
    """
    runs = [(e, n, k, seed) for e in elements_counts for n in wafers for k in lying for seed in seeds]
    return [in_new_process(__name__, *settings) for settings in runs]


def plan_once(n_elements: int, n: int, lying: int, seed: int, *, draws: int = 20) -> dict[str, Any]:
    """Plan `n` wafers of 709 points, of which 20 are measured, beside draws of as many; see `run`."""
    elements = ELEMENTS[:n_elements]
    guns = guns_of(elements, [360 / n_elements * k for k in range(n_elements)], exponent=1.0)
    start = time.perf_counter()
    space, (x, y) = CompositionSpace(elements), points_of(100.0, 5.0, 3.0)
    workshop = Workshop(Chamber(elements, guns), x, y, space)
    rng = np.random.default_rng([seed, 1])
    options = [Option(workshop.make(powers, f"W{k}").samples) for k, powers in enumerate(workshop.draw(lying, rng))]
    aim = Aim.of(space, known=np.empty((0, n_elements)))
    plan = plan_wafers(aim, options, n=n, points=20, cost=WaferCost(8, 0.05), seed=seed, workshop=workshop)
    held = [option.samples.compositions for option in options]
    out = unreached(aim, held, workshop=workshop)
    seconds = time.perf_counter() - start
    return {
        "elements": n_elements,
        "wafers": n,
        "lying": lying,
        "seconds": seconds,
        "peak_mib": peak_mib(),
        "mean": plan.after.mean,
        "worst": plan.after.worst,
        "random": float(np.median([_at_random(aim, workshop, n, rng) for _ in range(draws)])),
        "unreached": out.share,
    }


def _at_random(aim: Aim, workshop: Workshop, n: int, rng: np.random.Generator) -> float:
    """Return what `n` wafers at random powers leave with as many points of each, at.%."""
    for powers in workshop.draw(n, rng):
        made: Samples = workshop.make(powers).samples
        plan = plan_wafers(aim, [Option(made)], n=1, points=20, cost=WaferCost(8, 0.05), seed=0)
        aim = plan.after
    return aim.mean


if __name__ == "__main__":
    print(json.dumps(plan_once(*map(int, sys.argv[1:]))))
