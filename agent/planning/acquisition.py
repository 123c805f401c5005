"""Which alloys to measure next: the rules that choose a batch.

A rule is a function of the `Pool` that it chooses from, and an entry of `RULES`; nothing else has to know of it.
`uniform` is the paper's: a centroidal Voronoi design, which minimises the mean distance from an alloy of the space to
the nearest alloy that is measured, pending or in the batch. Farthest-point sampling, the usual "uniform" rule, spends a
batch on the corners and faces as soon as there are more than three elements.
Source: Du, Faber, Gunzburger, SIAM Review 41, 637 (1999); with Weiszfeld's step to the geometric median, because the
distance counts and not its square.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from glassmap.agent.data.composition import SAME_ALLOY, CompositionSpace, check_fractions, label, parse_composition
from glassmap.agent.errors import CampaignError, CompositionError, SpaceExhausted
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import (
    BatchCompositions,
    CandidateCompositions,
    Composition,
    Compositions,
    CoverCompositions,
    Distances,
    Neighbours,
    Ranks,
    Rows,
    TakenCompositions,
    Weights,
)

DIAMETER = math.sqrt(2)  # no two compositions lie farther apart, as atomic fractions
NEAR_AT_PCT = 2  # from the sample of a list that stands for an alloy that a person names
LIST_STEP_AT_PCT = 1  # a list of measured alloys has no grid step; 1 at.% is about what EDX resolves
SAMPLE = 20_000  # alloys that stand for a larger space while planning
REFERENCE = 200_000  # alloys that stand for a larger space in the coverage figures
STARTS, START_SAMPLE, START_STEPS = 16, 4_000, 20  # enough to find the same quaternary optimum from any seed
STEPS = 60
COVER = 5_000  # alloys that stand for what a list is to cover
MOST_CANDIDATES = 5_000  # alloys that stand for a longer list, where something else is to be covered
OWN_COVER = 1_000  # alloys of that list that are to be covered, too, with as much weight as all else
BLOCK, LOOKS = 500, 10  # points that are held against what is to be covered at once, at most and at least
EXCHANGES, NEIGHBOURS = 20, 50  # most rounds of an exchange, and with how many of the nearest points each
LEAST_GAIN = 1e-4  # that an exchange has to bring, of what the point brings
OVERSTEP = 1.7  # Weiszfeld's step is too short; converges about twice as fast

Cost = Callable[[int, Weights], Weights]  # of each point as number k of a batch, by its distance to the nearest known


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


@runtime_checkable
class Forecast(Protocol):
    """What a rule may ask the last round's model."""

    def figures(self, compositions: Compositions) -> Mapping[str, Weights]:
        """Return the columns of a map for some alloys: `delta_q` and `delta_q_std` (1/Å), … `peak_share`.

        NaN where the alloy's spectrum has no trustworthy peak.
        """
        ...

    def disagreement(self, compositions: Compositions) -> Weights:
        """Return how far the base models' spectra of some alloys lie apart, 0-100."""
        ...


@dataclass(frozen=True)
class Pool:
    """The alloys that a rule chooses a batch from, and all that it may look at."""

    candidates: CompositionSpace | CandidateCompositions
    """The space, or a list of the only alloys there are."""
    rows: Ranks
    """Which of the candidates these are: all, or a sample of a large space. Shape `(n,)`."""
    points: Compositions
    """Their compositions, shape `(n, e)`."""
    taken: TakenCompositions
    """Measured, pending and rejected alloys, shape `(t, e)`."""
    nearest: Weights
    """Distance from each point to the nearest taken one, atomic fraction, shape `(n,)`."""
    size: int
    """How many to choose."""
    spacing: float
    """What is no farther than this is adjacent, atomic fraction."""
    rng: np.random.Generator
    """The only source of chance."""
    weigh: Callable[[Compositions], Weights] | None = None
    """What an alloy counts, of rules that take weights; None for all the same."""
    forecast: Forecast | None = None
    """The last model, for rules that need it."""
    cover: CoverCompositions | None = None
    """What is to lie near a measured alloy, of rules that take it; None for the points themselves."""

    @property
    def weights(self) -> Weights:
        """What each point counts; see `weights_of`."""
        return self.weights_of(self.points)

    def weights_of(self, compositions: Compositions) -> Weights:
        """Return what alloys count; 1 where nothing else was said.

        Raises:
            CompositionError: If weights are negative, not finite, or all 0.
        """
        weights = np.ones(len(compositions)) if self.weigh is None else self.weigh(compositions).astype(float)
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise CompositionError(
                f"Weights must be finite, 0 or more and not all 0, got {weights.min():g} to {weights.max():g}; "
                "leave them out to weigh every alloy the same."
            )
        return weights

    def refined(self, places: BatchCompositions) -> "Pool":
        """Return the pool with the grid points nearest to some places, which a sample of a large space may lack."""
        rows, points, nearest = self.rows, self.points, self.nearest
        if isinstance(self.candidates, CompositionSpace) and len(rows) < len(self.candidates):
            rows = np.union1d(rows, self.candidates.snap(places))
            points = self.candidates.compositions(rows)
            nearest = distance_to(points, self.taken)
        free = np.flatnonzero(nearest > SAME_ALLOY)  # in a space that is nearly all measured, few
        return replace(self, rows=rows[free], points=points[free], nearest=nearest[free])

    def pick(self, cost: Cost) -> tuple[Rows, BatchCompositions]:
        """Take the cheapest point that keeps its distance, one by one; an adjacent one only where no other is left.

        Args:
            cost: Cost of each point as number k of the batch, given its distance to the nearest taken or chosen one.

        Returns:
            Rows among the candidates and compositions of the batch, which may be smaller than asked for.
        """
        nearest, chosen = self.nearest, list[int]()
        while len(chosen) < self.size:
            clear = np.flatnonzero(nearest > self.spacing)
            if not clear.size:
                clear = np.flatnonzero(nearest > SAME_ALLOY)
            if not clear.size:
                break
            chosen.append(int(clear[cost(len(chosen), nearest)[clear].argmin()]))
            nearest = np.minimum(nearest, np.linalg.norm(self.points - self.points[chosen[-1]], axis=1))
        return self.rows[chosen], self.points[chosen]


@dataclass(frozen=True)
class AcquisitionRule:
    """A way to choose the alloys of a batch."""

    name: str
    """As `planning.method` of a campaign file says it."""
    sentence: str
    """Why alloys are chosen, for people: the beginning of a sentence, without its full stop."""
    choose: Callable[[Pool], tuple[Rows, BatchCompositions]]
    """Returns rows among the candidates and compositions; best by `Pool.pick`, which keeps a batch apart."""
    takes_weights: bool = False
    """Whether `planning.weights` may say where to look more closely."""
    needs_model: bool = False
    """Whether it asks the last round's model, `Pool.forecast`; a round without one is planned by `FIRST_RULE`."""
    reads_peaks: bool = False
    """Whether it goes by the first peak, which g(r) hasn't."""
    needs_stack: bool = False
    """Whether it goes by P(glass), which only a stacked model says."""


def choose_uniform(pool: Pool) -> tuple[Rows, BatchCompositions]:
    """Choose the alloys with the smallest mean distance from an alloy of the space to its nearest."""
    if pool.cover is not None:
        return _choose_for(pool.cover, pool)
    places = _spread(pool.points, pool.weights, pool.nearest, pool.size, pool.rng)
    pool = pool.refined(places)
    return pool.pick(lambda k, _: np.linalg.norm(pool.points - places[k], axis=1))


def _choose_for(cover: Compositions, pool: Pool) -> tuple[Rows, BatchCompositions]:
    """Choose alloys with the smallest mean distance from what is to be covered, and from all points, to the nearest.

    Half of all weight goes to either; for the sake of the cover alone, all would lie along the rim of what there is.
    """
    apart = pool.nearest > pool.spacing
    rows = np.flatnonzero(apart if np.count_nonzero(apart) >= pool.size else pool.nearest > SAME_ALLOY)
    if len(rows) > MOST_CANDIDATES:
        rows = np.sort(pool.rng.choice(rows, MOST_CANDIDATES, replace=False))
    points = pool.points[rows]
    own = sample_of(points, OWN_COVER)
    both, weights = np.concatenate([cover, own]), pool.weights_of(cover)
    weights = np.concatenate([weights / weights.sum(), np.full(len(own), 1 / max(1, len(own)))])
    chosen = rows[choose_medians(points, pool.size, cover=both, weights=weights, nearest=distance_to(both, pool.taken))]
    return pool.rows[chosen], pool.points[chosen]


def choose_farthest(pool: Pool) -> tuple[Rows, BatchCompositions]:
    """Choose one after the other the alloy that is farthest from all before."""
    return pool.pick(lambda _, nearest: -nearest)


def choose_boundary(pool: Pool) -> tuple[Rows, BatchCompositions]:
    """Choose alloys evenly along where glass and no glass meet, by P (1 - P) of P(glass), and a few elsewhere.

    Where the model says nothing, or all is decided, it chooses as `uniform` does. What goes to all alloys alike was
    chosen in replays: without it, spectra and Δq are told worse and the boundary no better.
    """
    assert pool.forecast is not None, "`plan_batch` refuses the rule without a model"
    leaning = Weighting("", "", _doubt_of_glass, even_share=0.2)
    return choose_uniform(replace(pool, weigh=leaning.by(pool.forecast)))


def choose_random(pool: Pool) -> tuple[Rows, BatchCompositions]:
    """Draw alloys."""
    lots = pool.rng.random(len(pool.points))
    return pool.pick(lambda _k, _nearest: lots)


RULES: dict[str, AcquisitionRule] = {
    rule.name: rule
    for rule in (
        AcquisitionRule(
            "uniform",
            "Chosen so that the alloys that are far from every one asked for so far get the nearest new one",
            choose_uniform,
            takes_weights=True,
        ),
        AcquisitionRule(
            "farthest", "Chosen as the alloys that are farthest from every one asked for so far", choose_farthest
        ),
        AcquisitionRule("random", "Drawn at random", choose_random),
        AcquisitionRule(
            "boundary",
            "Chosen evenly along where glass and no glass meet, most where the model can't say which",
            choose_boundary,
            needs_model=True,
            reads_peaks=True,
            needs_stack=True,
        ),
    )
}


@dataclass(frozen=True)
class Weighting:
    """What a batch is to lean to, for rules that take weights."""

    name: str
    """As `planning.weights` of a campaign file says it."""
    sentence: str
    """Goes on the rule's sentence, for people."""
    weigh: Callable[[Forecast, Compositions], Weights] | None
    """What each alloy counts by the last round's model, NaN where it can't say; None for all the same."""
    even_share: float = 0.0
    """Of all weight, what goes to all alloys alike."""
    reads_peaks: bool = False
    """Whether it goes by the first peak, which g(r) hasn't."""
    needs_stack: bool = False
    """Whether it goes by P(glass), which only a stacked ensemble says."""

    def by(self, forecast: Forecast) -> Callable[[Compositions], Weights] | None:
        """Return what alloys count by a model; one of which it can't say as much as the others on the mean."""
        if (weigh := self.weigh) is None:
            return None

        def weights(compositions: Compositions) -> Weights:
            said = weigh(forecast, compositions)
            mean = float(said[known].mean()) if (known := np.isfinite(said)).any() else 0.0
            if not mean > 0:
                return np.ones(len(said))
            return self.even_share * mean + (1 - self.even_share) * np.where(known, said, mean)

        return weights


def _spread_of_delta_q(forecast: Forecast, compositions: Compositions) -> Weights:
    return forecast.figures(compositions)[DELTA_Q.std_name]


def _doubt_of_glass(forecast: Forecast, compositions: Compositions) -> Weights:
    p_glass = forecast.figures(compositions)["p_glass"]
    return p_glass * (1 - p_glass)


WEIGHTS: dict[str, Weighting] = {
    weighting.name: weighting
    for weighting in (
        Weighting("even", "", None),
        Weighting(
            "disagreement", "the more where the model's spectra disagree", lambda forecast, c: forecast.disagreement(c)
        ),
        Weighting("delta_q", "the more where Δq is unsure", _spread_of_delta_q, even_share=0.5, reads_peaks=True),
        Weighting(
            "glass", "the more where glass is in doubt", _doubt_of_glass, 0.5, reads_peaks=True, needs_stack=True
        ),
    )
}
FIRST_RULE = "uniform"  # of rounds that a rule that needs a model has none for


def rule_of(method: str, *, has_model: bool) -> AcquisitionRule:
    """Return the rule that plans a round: that of the campaign, or `FIRST_RULE` where it lacks the model it needs."""
    rule = RULES[method]
    return RULES[FIRST_RULE] if rule.needs_model and not has_model else rule


def plan_batch(
    candidates: CompositionSpace | Compositions,
    size: int,
    *,
    taken: TakenCompositions,
    seed: int | np.random.Generator,
    method: str = "uniform",
    weights: Callable[[Compositions], Weights] | None = None,
    forecast: Forecast | None = None,
    cover: CompositionSpace | Compositions | None = None,
) -> Batch:
    """Choose the next alloys to measure.

    No alloy of the batch equals another or a taken one, nor lies within one grid step (1 at.% in a list) of it while
    there is room elsewhere.

    Args:
        candidates: The space, or a list of the only alloys there are, shape `(n, e)`, as in a replay.
        size: Number of alloys; fewer come back where fewer are left.
        taken: Measured, pending and rejected alloys, on the grid or off it, shape `(t, e)`.
        seed: The same seed and state plan the same batch.
        method: A name of `RULES`: `uniform` has the smallest mean distance, `boundary` the most alloys where glass and
            no glass meet; `farthest` and `random` are there to compare.
        weights: What a composition counts in the mean, 0 or more, such as the ensemble's spread. For rules that take
            weights.
        forecast: The last round's model, for rules that need one.
        cover: What is to lie near a measured alloy, such as the whole space where candidates are a list; the candidates
            themselves by default. `uniform` goes by it, others don't; the coverage that comes back is its.

    Raises:
        SpaceExhausted: If every candidate is taken.
        CompositionError: If an argument breaks its rule, such as `taken` in at.% or weights that are all zero.
    """
    rng = np.random.default_rng(seed)
    rule = RULES.get(method)
    if size < 1 or rule is None or (weights is not None and not rule.takes_weights):
        takers = " and ".join(one.name for one in RULES.values() if one.takes_weights)
        raise CompositionError(
            f"A batch needs size >= 1 and a method of {', '.join(RULES)}, and only {takers} takes weights; "
            f"got size = {size}, method = {method!r}."
        )
    if rule.needs_model and forecast is None:
        raise CompositionError(
            f"method = {method!r} asks a model, and none was given; plan the first batch with {FIRST_RULE!r}."
        )
    if isinstance(candidates, CompositionSpace):
        n_elements, step_at_pct = len(candidates.elements), candidates.step_at_pct
    else:
        n_elements, step_at_pct = candidates.shape[1], LIST_STEP_AT_PCT
        check_fractions(candidates, n_elements, "candidates")
    check_fractions(taken, n_elements, "taken")
    spacing = DIAMETER * step_at_pct / 100 + SAME_ALLOY  # to an adjacent alloy: one step from one element to another
    blocked = size * (1 + n_elements * (n_elements - 1))  # most grid points a batch and its adjacent points cover
    if not len(candidates):
        raise SpaceExhausted("No candidate is left: every sample was asked for, or lies on a wafer that is left out.")
    rows, points = _sample(candidates, max(SAMPLE, 2 * blocked), rng)
    nearest = distance_to(points, taken)
    if len(rows) < len(candidates) and np.count_nonzero(nearest > spacing) < blocked:
        rows, points = _sample(candidates, len(candidates), rng)
        nearest = distance_to(points, taken)
    aim = None if cover is None else sample_of(cover)
    chosen, compositions = rule.choose(
        Pool(candidates, rows, points, taken, nearest, size, spacing, rng, weights, forecast, aim)
    )
    if not len(chosen):
        raise SpaceExhausted(
            f"All {len(candidates)} candidates are measured, pending or rejected; widen the bounds or take a smaller "
            "step_at_pct to go on."
        )
    return Batch(chosen, compositions, coverage_of(candidates if cover is None else cover, compositions, taken=taken))


def choose_medians(
    points: CandidateCompositions,
    size: int,
    *,
    cover: Compositions,
    weights: Weights,
    nearest: Weights,
    exchange: bool = True,
) -> Rows:
    """Choose those of some points that leave the smallest mean distance from what is to be covered to its nearest.

    One after the other, as a point brings the less the later it comes; then each is taken back and chosen again, until
    that helps no more.
    Sources: Nemhauser, Wolsey, Fisher, Math. Program. 14, 265 (1978), by which the first is at least 1 - 1/e of what is
    possible; Teitz, Bart, Oper. Res. 16, 955 (1968), for the exchange.

    Args:
        points: That may be chosen, shape `(c, e)`.
        size: How many; fewer come back where there are fewer.
        cover: What is to lie near them, shape `(n, e)`.
        weights: What each of that counts, shape `(n,)`.
        nearest: Distance from each of it to the nearest known alloy, atomic fraction, shape `(n,)`.
        exchange: Whether what was chosen is chosen again.

    Returns:
        Rows of `points`, each once, in the order in which they were chosen.
    """
    # here, because its import takes longer than a light command does
    from scipy.spatial.distance import cdist  # pyright: ignore[reportMissingTypeStubs]

    distances = np.empty((len(points), len(cover)), dtype=np.float32)
    for k in range(0, len(points), BLOCK):
        distances[k : k + BLOCK] = cdist(points[k : k + BLOCK], cover)
    weights, nearest = weights.astype(np.float32), nearest.astype(np.float32)

    def gains_of(rows: Rows, nearest: Weights) -> Any:
        blocks = (rows[k : k + BLOCK] for k in range(0, len(rows), BLOCK))
        return np.concatenate([np.maximum(nearest - distances[block], 0) @ weights for block in blocks])

    if not len(points):
        return np.empty(0, dtype=np.intp)
    chosen, now, most = list[int](), nearest, gains_of(np.arange(len(points)), nearest)
    while len(chosen) < min(size, len(points)):
        is_new = np.zeros(len(points), dtype=bool)
        while not is_new[best := int(most.argmax())]:  # what a point brought before is the most that it still can
            rows = np.argsort(np.where(is_new, np.inf, -most), kind="stable")[:LOOKS]
            rows = rows[np.isfinite(most[rows])]
            most[rows], is_new[rows] = gains_of(rows, now), True
        chosen.append(best)
        now, most[best] = np.minimum(now, distances[best]), -np.inf
    for _ in range(EXCHANGES if exchange else 0):
        before = list(chosen)
        neighbours = _nearest(points[chosen], points, k=min(NEIGHBOURS, len(points)))[1]
        for k in range(len(chosen)):
            others = chosen[:k] + chosen[k + 1 :]
            without = np.minimum(nearest, distances[others].min(axis=0)) if others else nearest
            near = np.setdiff1d(neighbours[k], others)
            gains = gains_of(near, without)
            if gains.max() > gains_of(np.array([chosen[k]]), without)[0] * (1 + LEAST_GAIN):
                chosen[k] = int(near[gains.argmax()])
        if chosen == before:
            break
    return np.array(chosen, dtype=np.intp)


def rows_of(candidates: CompositionSpace | Compositions, compositions: BatchCompositions) -> Rows:
    """Return the candidate nearest to each composition: its rank in the space, or its row of the list."""
    if isinstance(candidates, CompositionSpace):
        return candidates.snap(compositions)
    return _nearest(compositions, candidates)[1][:, 0]


def candidate_named(text: str, candidates: CompositionSpace | Compositions, elements: Sequence[str]) -> Composition:
    """Return the candidate that a person calls by its name, such as `Co40V32Zr28`; of a list the nearest alloy.

    Raises:
        CompositionError: If the text can't be read.
        CampaignError: If the alloy isn't on the space's grid or within its bounds, or none of the list is near.
    """
    wanted = parse_composition(text, elements)
    if not len(candidates):
        raise CampaignError(f"{text} can't be asked for yet: no sample is known before `glassmap run` planned a wafer.")
    row = rows_of(candidates, wanted[None])
    listed = not isinstance(candidates, CompositionSpace)
    found = candidates[row[0]] if listed else candidates.compositions(row)[0]
    away_at_pct = 100 * float(np.linalg.norm(found - wanted))
    if away_at_pct > (NEAR_AT_PCT if listed else 100 * SAME_ALLOY):
        where = "no sample that exists" if listed else "not among the alloys of the campaign's space"
        raise CampaignError(
            f"{text} is {where}; the nearest is {label(found, elements)}, {away_at_pct:.1f} at.% away. Ask for that, "
            "or for another."
        )
    return found


def has_room(candidates: CompositionSpace | Compositions, *, taken: TakenCompositions) -> bool:
    """Return whether any candidate is left to plan."""
    try:
        plan_batch(candidates, 1, taken=taken, method="random", seed=0)
    except SpaceExhausted:
        return False
    return True


def spread_evenly(compositions: Compositions, share: float) -> Rows:
    """Return which of a batch to hold out, such that they lie most evenly among it.

    Args:
        compositions: Of the batch, shape `(n, e)`.
        share: Of the batch, 0 to 1.

    Returns:
        Rows of the batch: at least one, and at least one fewer than there are; none of a batch of one, or of no share.
    """
    n = min(max(1, round(share * len(compositions))), len(compositions) - 1) if share else 0  # leaves one to learn from
    none = np.empty((0, compositions.shape[1]))
    return plan_batch(compositions, n, taken=none, seed=0).rows if n else np.empty(0, dtype=np.int64)


def coverage_of(
    candidates: CompositionSpace | Compositions, compositions: BatchCompositions, *, taken: TakenCompositions
) -> Coverage:
    """Return how evenly `compositions` and `taken` cover the candidates.

    Spaces of more than 200 000 alloys are represented by a fixed sample of as many, which makes `worst` a close lower
    bound.

    Args:
        candidates: The space, or a list of alloys, shape `(n, e)`.
        compositions: The new alloys, shape `(b, e)`.
        taken: The alloys there were before, shape `(t, e)`.
    """
    known = np.concatenate([compositions, taken])
    _, points = _sample(candidates, REFERENCE, np.random.default_rng(0))
    distance = 100 * distance_to(points, known)
    gaps, _ = _nearest(compositions, known, k=2)  # the nearest of each is itself
    return Coverage(100 * float(gaps[:, 1].min()), float(distance.max()), float(distance.mean()))


def sample_of(cover: CompositionSpace | Compositions, n: int = COVER) -> Compositions:
    """Return all alloys that are to be covered, or a fixed sample of about `n`, shape `(n, e)`."""
    rng = np.random.default_rng(0)
    if isinstance(cover, CompositionSpace) or len(cover) <= n:
        return _sample(cover, n, rng)[1]
    return cover[np.sort(rng.choice(len(cover), n, replace=False))]


def _sample(
    candidates: CompositionSpace | Compositions, n: int, rng: np.random.Generator
) -> tuple[Ranks, Compositions]:
    """Return rows and compositions of all candidates, or of about `n` of a larger space."""
    if not isinstance(candidates, CompositionSpace):
        return np.arange(len(candidates)), candidates
    rows = np.arange(len(candidates)) if len(candidates) <= n else np.unique(candidates.sample(n, rng))
    return rows, candidates.compositions(rows)


def distance_to(points: Compositions, known: TakenCompositions) -> Weights:
    """Return the distance from each point to the nearest known composition, atomic fraction."""
    return _nearest(points, known)[0][:, 0] if len(known) else np.full(len(points), DIAMETER)


def _nearest(
    points: Compositions, known: TakenCompositions, *, k: int = 1, within: float = math.inf
) -> tuple[Distances, Neighbours]:
    """Return distance (atomic fraction) and row of the `k` nearest known compositions of each point, `(n, k)`."""
    # here, because its import takes longer than a light command does
    from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

    tree: Any = KDTree(known)
    distances, rows = tree.query(points, k=range(1, k + 1), distance_upper_bound=within)
    return np.asarray(distances), np.asarray(rows)


def _spread(
    points: Compositions, shares: Weights, nearest: Weights, size: int, rng: np.random.Generator
) -> BatchCompositions:
    """Return places, anywhere in the simplex, that minimise the mean distance of `points`, given `nearest` known."""
    best, lowest = points[:1], math.inf
    few = rng.permutation(len(points))[:START_SAMPLE]
    for _ in range(STARTS):
        centres = _start(points[few], shares[few], nearest[few], size, rng)
        centres = _refine(centres, points[few], shares[few], nearest[few], START_STEPS)
        mean = np.average(np.minimum(distance_to(points[few], centres), nearest[few]), weights=shares[few])
        if mean < lowest:
            best, lowest = centres, mean
    return _refine(best, points, shares, nearest, STEPS)


def _start(
    points: Compositions, shares: Weights, nearest: Weights, size: int, rng: np.random.Generator
) -> BatchCompositions:
    """Draw points one by one, each with a chance that grows with its distance to those before (k-means++)."""
    centres = np.empty((size, points.shape[1]))
    for k in range(size):
        chance = np.cumsum(shares * (nearest + SAME_ALLOY))
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
        distances, owners = _nearest(points, centres, within=reach)
        distance, owner = distances[:, 0], owners[:, 0]
        pulls = np.flatnonzero(distance < nearest)
        owner, pull = owner[pulls], shares[pulls] / np.maximum(distance[pulls], SAME_ALLOY)
        total = np.bincount(owner, pull, len(centres))
        sums = np.column_stack([np.bincount(owner, pull * column[pulls], len(centres)) for column in points.T])
        moved = total > 0  # a centre that serves no point stays
        centres[moved] += OVERSTEP * (sums[moved] / total[moved, None] - centres[moved])
    return centres
