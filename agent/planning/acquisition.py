"""Which alloys to measure next: a sparse batch, spread evenly over what is not yet known.

The uniform batch is a centroidal Voronoi design: it minimises the mean distance from an alloy of the space to the
nearest alloy that is measured, pending or in the batch. Farthest-point sampling, the usual "uniform" rule, spends a
batch on the corners and faces as soon as there are more than three elements.
Source: Du, Faber, Gunzburger, SIAM Review 41, 637 (1999); with Weiszfeld's step to the geometric median, because the
distance counts and not its square.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
from scipy.spatial import KDTree

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import CompositionError, SpaceExhausted
from glassmap.agent.shapes import BatchCompositions, Compositions, Ranks, Rows, TakenCompositions, Weights

Method = Literal["uniform", "farthest", "random"]

DIAMETER = math.sqrt(2)  # no two compositions lie farther apart, as atomic fractions
SAME = 1e-6  # closer than this, two compositions are one
LIST_STEP_AT_PCT = 1  # a list of measured alloys has no grid step; 1 at.% is about what EDX resolves
SAMPLE = 20_000  # alloys that stand for a larger space while planning
REFERENCE = 200_000  # alloys that stand for a larger space in the coverage figures
STARTS, START_SAMPLE, START_STEPS = 16, 4_000, 20  # enough to find the same quaternary optimum from any seed
STEPS = 60
OVERSTEP = 1.7  # Weiszfeld's step is too short; converges about twice as fast


class Coverage(NamedTuple):
    """How evenly a batch, with what was there before, covers a space. Distances in at.%, Euclidean."""

    separation: float  # between the two closest alloys, at least one of them new; infinite for a single alloy
    worst: float  # from the worst-served alloy of the space to its nearest
    mean: float  # from an alloy of the space to its nearest


class Batch(NamedTuple):
    """Alloys to measure together."""

    rows: Rows  # ranks in the space, or rows of the candidate list
    compositions: BatchCompositions
    coverage: Coverage


def plan_batch(
    candidates: CompositionSpace | Compositions,
    size: int,
    *,
    taken: TakenCompositions,
    seed: int | np.random.Generator,
    method: Method = "uniform",
    weights: Callable[[Compositions], Weights] | None = None,
) -> Batch:
    """Choose the next alloys to measure.

    No alloy of the batch equals another or a taken one, nor lies within one grid step (1 at.% in a list) of it while
    there is room elsewhere.

    Args:
        candidates: The space, or a list of the only alloys there are, shape `(n, e)`, as in a replay.
        size: Number of alloys; fewer come back where fewer are left.
        taken: Measured, pending and rejected alloys, on the grid or off it, shape `(t, e)`.
        seed: The same seed and state plan the same batch.
        method: `uniform` has the smallest mean distance; `farthest` and `random` are there to compare.
        weights: What a composition counts in the mean, 0 or more, such as the ensemble's spread. Uniform only.

    Raises:
        SpaceExhausted: If every candidate is taken.
        CompositionError: If an argument breaks its rule, such as `taken` in at.% or weights that are all zero.
    """
    rng = np.random.default_rng(seed)
    if size < 1 or method not in get_args(Method) or (weights is not None and method != "uniform"):
        raise CompositionError(
            f"A batch needs size >= 1 and a method of {', '.join(get_args(Method))}, and only uniform takes weights; "
            f"got size = {size}, method = {method!r}."
        )
    if isinstance(candidates, CompositionSpace):
        n_elements, step_at_pct = len(candidates.elements), candidates.step_at_pct
    else:
        n_elements, step_at_pct = candidates.shape[1], LIST_STEP_AT_PCT
        _check(candidates, n_elements, "candidates")
    _check(taken, n_elements, "taken")
    spacing = DIAMETER * step_at_pct / 100 + SAME  # to an adjacent alloy: one step from one element to another
    blocked = size * (1 + n_elements * (n_elements - 1))  # most grid points a batch and its adjacent points cover
    rows, points = _sample(candidates, max(SAMPLE, 2 * blocked), rng)
    nearest = _distance(points, taken)
    if len(rows) < len(candidates) and np.count_nonzero(nearest > spacing) < blocked:
        rows, points = _sample(candidates, len(candidates), rng)
        nearest = _distance(points, taken)
    if method == "uniform":
        centres = _spread(points, _shares(points, weights), nearest, size, rng)
        if isinstance(candidates, CompositionSpace) and len(rows) < len(candidates):
            rows = np.union1d(rows, candidates.snap(centres))
            points = candidates.compositions(rows)
            nearest = _distance(points, taken)
        free = np.flatnonzero(nearest > SAME)  # in a space that is nearly all measured, few
        rows, points, nearest = rows[free], points[free], nearest[free]
        chosen = _choose(points, nearest, size, spacing, lambda k, _: np.linalg.norm(points - centres[k], axis=1))
    elif method == "farthest":
        chosen = _choose(points, nearest, size, spacing, lambda _, nearest: -nearest)
    else:
        lots = rng.random(len(points))
        chosen = _choose(points, nearest, size, spacing, lambda *_: lots)
    if not chosen:
        raise SpaceExhausted(
            f"All {len(candidates)} candidates are measured, pending or rejected; widen the bounds or take a smaller "
            "step_at_pct to go on."
        )
    return Batch(rows[chosen], points[chosen], coverage_of(candidates, points[chosen], taken=taken))


def coverage_of(
    candidates: CompositionSpace | Compositions, compositions: BatchCompositions, *, taken: TakenCompositions
) -> Coverage:
    """How evenly `compositions` and `taken` cover the candidates.

    Spaces of more than 200 000 alloys are represented by a fixed sample of as many, which makes `worst` a close lower
    bound.

    Args:
        candidates: The space, or a list of alloys, shape `(n, e)`.
        compositions: The new alloys, shape `(b, e)`.
        taken: The alloys there were before, shape `(t, e)`.
    """
    known = np.concatenate([compositions, taken])
    _, points = _sample(candidates, REFERENCE, np.random.default_rng(0))
    distance = 100 * _distance(points, known)
    gaps, _ = KDTree(known).query(compositions, k=2)  # the nearest of each is itself
    return Coverage(100 * float(gaps[:, 1].min()), float(distance.max()), float(distance.mean()))


def _check(compositions: Compositions, n_elements: int, name: str) -> None:
    """Refuse a table that does not hold atomic fractions of `n_elements` elements."""
    if compositions.shape[1] != n_elements:
        raise CompositionError(f"{name} needs {n_elements} columns, one per element, got {compositions.shape[1]}.")
    sums = compositions.sum(axis=1)
    if (wrong := np.flatnonzero(~(np.abs(sums - 1) < 5e-3))).size:
        raise CompositionError(
            f"Rows of {name} must be atomic fractions that sum to 1, got {sums[wrong[0]]:g} in row {wrong[0]}; "
            "pass a table in at.% through `close_compositions` first."
        )


def _sample(
    candidates: CompositionSpace | Compositions, n: int, rng: np.random.Generator
) -> tuple[Ranks, Compositions]:
    """All candidates, or about `n` of a larger space: their rows and compositions."""
    if not isinstance(candidates, CompositionSpace):
        return np.arange(len(candidates)), candidates
    rows = np.arange(len(candidates)) if len(candidates) <= n else np.unique(candidates.sample(n, rng))
    return rows, candidates.compositions(rows)


def _distance(points: Compositions, known: TakenCompositions) -> Weights:
    """Distance from each point to the nearest known composition, atomic fraction."""
    return KDTree(known).query(points)[0] if len(known) else np.full(len(points), DIAMETER)


def _shares(points: Compositions, weights: Callable[[Compositions], Weights] | None) -> Weights:
    """What each point counts in the mean."""
    shares = np.ones(len(points)) if weights is None else weights(points).astype(float)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.any()):
        raise CompositionError(
            f"Weights must be finite, 0 or more and not all 0, got {shares.min():g} to {shares.max():g}; "
            "leave them out to weigh every alloy the same."
        )
    return shares


def _spread(
    points: Compositions, shares: Weights, nearest: Weights, size: int, rng: np.random.Generator
) -> BatchCompositions:
    """Places, anywhere in the simplex, that minimise the mean distance of `points` given the `nearest` known ones."""
    best, lowest = points[:1], math.inf
    few = rng.permutation(len(points))[:START_SAMPLE]
    for _ in range(STARTS):
        centres = _start(points[few], shares[few], nearest[few], size, rng)
        centres = _refine(centres, points[few], shares[few], nearest[few], START_STEPS)
        mean = np.average(np.minimum(_distance(points[few], centres), nearest[few]), weights=shares[few])
        if mean < lowest:
            best, lowest = centres, mean
    return _refine(best, points, shares, nearest, STEPS)


def _start(
    points: Compositions, shares: Weights, nearest: Weights, size: int, rng: np.random.Generator
) -> BatchCompositions:
    """Points drawn one by one, each with a chance that grows with its distance to those before (k-means++)."""
    centres = np.empty((size, points.shape[1]))
    for k in range(size):
        chance = np.cumsum(shares * (nearest + SAME))
        centres[k] = points[np.searchsorted(chance, rng.random() * chance[-1], side="right")]
        nearest = np.minimum(nearest, np.linalg.norm(points - centres[k], axis=1))
    return centres


def _refine(
    centres: BatchCompositions, points: Compositions, shares: Weights, nearest: Weights, steps: int
) -> BatchCompositions:
    """Move each centre towards the geometric median of the points that are closer to it than to any other or known."""
    free = nearest > 0  # a known point pulls at no centre
    points, shares, nearest = points[free], shares[free], nearest[free]
    for _ in range(steps if len(points) else 0):
        reach = float(nearest.max())  # who is farther from every centre has a nearer known one, and pulls at none
        distance, owner = KDTree(centres).query(points, distance_upper_bound=reach)
        pulls = np.flatnonzero(distance < nearest)
        owner, pull = np.asarray(owner)[pulls], shares[pulls] / np.maximum(distance[pulls], SAME)
        total = np.bincount(owner, pull, len(centres))
        sums = np.column_stack([np.bincount(owner, pull * column[pulls], len(centres)) for column in points.T])
        moved = total > 0  # a centre that serves no point stays
        centres[moved] += OVERSTEP * (sums[moved] / total[moved, None] - centres[moved])
    return centres


def _choose(
    points: Compositions,
    nearest: Weights,
    size: int,
    spacing: float,
    cost: Callable[[int, Weights], Weights],
) -> list[int]:
    """Take the cheapest point that keeps its distance, one by one; an adjacent point only where no other is left.

    Args:
        points: Allowed compositions, shape `(n, e)`.
        nearest: Distance from each to the nearest known composition, shape `(n,)`.
        size: Number of points.
        spacing: What is no farther than this is adjacent, atomic fraction.
        cost: Cost of each point as number k of the batch, given its distance to the nearest known or chosen one.
    """
    chosen: list[int] = []
    while len(chosen) < size:
        clear = np.flatnonzero(nearest > spacing)
        if not clear.size:
            clear = np.flatnonzero(nearest > SAME)
        if not clear.size:
            break
        chosen.append(int(clear[cost(len(chosen), nearest)[clear].argmin()]))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
