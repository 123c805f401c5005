"""A whole data set by simulation: which alloys, in which order."""

from collections.abc import Sequence

import numpy as np

from agent.acquisition import plan_batch
from agent.composition import CompositionSpace
from agent.shapes import Composition


def plan_sweep(
    elements: Sequence[str], *, steps_at_pct: Sequence[int], repeats: int, seed: int = 0
) -> list[tuple[Composition, int]]:
    """Compositions and seeds of a set, in the order in which to simulate them.

    One grid after another, every alloy with all elements; each in farthest-point order, so that a sweep that is stopped
    has covered the space evenly. After the first grid, its first `repeats` alloys come again with another seed: the
    noise of one simulation. Alloys of a later grid that an earlier one holds are not repeated.

    Args:
        elements: Symbols.
        steps_at_pct: Steps of the grids, such as 5 and then 2 at.%.
        repeats: Alloys simulated twice.
        seed: Of the first simulation of an alloy; the second has the next.

    Raises:
        CompositionError: If a step divides no 100 or leaves no alloy.
    """
    none = np.empty((0, len(elements)))
    planned: list[tuple[Composition, int]] = []
    for number, step in enumerate(steps_at_pct):
        space = CompositionSpace(tuple(elements), step_at_pct=step)
        taken = np.array([composition for composition, _ in planned]) if planned else none
        grid = plan_batch(space, len(space), taken=taken, method="farthest", seed=seed).compositions
        planned += [(composition, seed) for composition in grid]
        if number == 0:
            planned += [(composition, seed + 1) for composition in grid[:repeats]]
    return planned
