"""Which wafer to measure next, or to make, and which of its points.

A wafer costs much and its points cost little, so that all its points count when it is chosen: those wafers are taken
that together leave the smallest mean distance from what is to be covered to anything measured or on them. Taken one by
one they would be bad, since the one with the widest range leaves gaps that no other fits; so even one is chosen as the
better half of the best pair. Whether to go on with the wafers that were begun instead is said by what a batch of their
points brings an hour.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import SpaceExhausted
from glassmap.agent.planning.acquisition import COVER, DIAMETER, choose_medians, distance_to, sample_of
from glassmap.agent.shapes import (
    Composition,
    Compositions,
    PerCandidate,
    PerGun,
    Rows,
    TakenCompositions,
    WaferDistances,
    Weights,
)

if TYPE_CHECKING:
    from glassmap.agent.planning.sputtering import Calibration, Chamber

NEAR_AT_PCT = 5.0  # from an alloy to the nearest that any wafer holds; what lies farther away is out of reach
AHEAD = 2  # wafers that are chosen together where fewer are asked for
TRIED = 2_000  # sets of all wafers but one, up to which all sets are tried
PASSES = 3  # in which each of several wafers is chosen again beside the others
SOUGHT_COVER, SOUGHT_POINTS = 1_000, 150  # alloys and points of a wafer that stand for all while powers are sought
DRAWS, STEPS = 200, 80  # powers that are drawn, and in how many steps the best of them are improved
POWER_DIGITS = 1  # of W, as powers are set
REACH_DRAWS = 256  # powers that stand for all that a chamber can be set to


class WaferCost(NamedTuple):
    """What measuring costs, hours."""

    wafer: float  # to make, mount and align one that was not begun
    point: float  # to measure one of its points


@dataclass(frozen=True)
class Aim:
    """What is to lie near a measured alloy, and how near it does."""

    points: Compositions
    """Atomic fraction, shape `(n, e)`."""
    weights: Weights
    """What each counts, 0 or more, shape `(n,)`."""
    nearest: Weights
    """Distance from each to the nearest alloy that is measured or waited for, atomic fraction, shape `(n,)`."""

    @classmethod
    def of(
        cls,
        cover: CompositionSpace | Compositions,
        *,
        known: TakenCompositions,
        weigh: Callable[[Compositions], Weights] | None = None,
    ) -> "Aim":
        """Begin with what is known.

        Args:
            cover: The space, or a list of alloys; a large one is represented by a fixed sample.
            known: What is measured or waited for, shape `(t, e)`.
            weigh: What alloys count; by default all the same.
        """
        points = sample_of(cover, COVER)
        weights = np.ones(len(points)) if weigh is None else weigh(points)
        return cls(points, weights, distance_to(points, known))

    def with_(self, compositions: Compositions) -> "Aim":
        """Return it with some alloys measured."""
        return replace(self, nearest=np.minimum(self.nearest, distance_to(self.points, compositions)))

    def thinned(self, n: int) -> "Aim":
        """Return a fixed part of it, of about `n` alloys."""
        rows = np.unique(np.linspace(0, len(self.points) - 1, n).astype(np.intp))
        return Aim(self.points[rows], self.weights[rows], self.nearest[rows])

    @property
    def mean(self) -> float:
        """Weighted mean distance from an alloy to the nearest that is known, at.%."""
        return 100 * float(np.average(self.nearest, weights=self.weights))

    @property
    def mean_square(self) -> float:
        """Weighted mean of the squared distance, at.%²: what a model errs that interpolates grows about as it does."""
        return 1e4 * float(np.average(np.square(self.nearest), weights=self.weights))

    @property
    def worst(self) -> float:
        """Distance from the alloy that is served worst, of those that count, at.%."""
        return 100 * float(self.nearest[self.weights > 0].max())


@dataclass(frozen=True, eq=False)
class Option:
    """What could be measured next: points of wafers that were begun, of one that lies there, or of one to be made."""

    samples: Samples
    """That are free to be measured; of a wafer that is to be made as it is expected."""
    is_begun: bool = False
    """Whether a wafer costs nothing any more."""
    powers: PerGun | None = None
    """W of each gun, of a wafer that is to be made, shape `(g,)`."""


@dataclass(frozen=True)
class Workshop:
    """Where wafers can be made."""

    chamber: "Chamber"
    x: PerCandidate
    """mm, of the points of a wafer, shape `(c,)`."""
    y: PerCandidate
    space: CompositionSpace
    """Whose alloys may be measured."""
    calibration: "Calibration | None" = None
    """That the chamber is of; None of one as the campaign file says it."""

    def names(self, wafer: str) -> tuple[str, ...]:
        """Return what the points of a wafer are called, all of them: w001-001 and on."""
        digits = max(3, len(str(len(self.x))))
        return tuple(f"{wafer}-{k + 1:0{digits}d}" for k in range(len(self.x)))

    def make(self, powers: PerGun, name: str = "") -> Option:
        """Return the wafer that some powers make, with those of its points that the space admits."""
        compositions = self.chamber.compositions(powers[None], self.x, self.y)[0]
        samples = Samples(self.names(name), (name,) * len(self.x), compositions, self.x, self.y)
        return Option(samples.select(np.flatnonzero(self.space.admits(compositions))), powers=powers)

    def draw(self, n: int, rng: np.random.Generator) -> list[PerGun]:
        """Draw powers of every gun, each ratio as likely as its inverse, W, each shape `(g,)`."""
        low, high = np.array([gun.powers for gun in self.chamber.guns], dtype=float).T
        return [*(low * (high / low) ** rng.random((n, len(low))))]

    def thinned(self, n: int) -> "Workshop":
        """Return it with a fixed part of the points, about `n`, that is spread over the wafer."""
        rows = np.unique(np.linspace(0, len(self.x) - 1, n).astype(np.intp))
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True, eq=False)
class Choice:
    """An option with the points of it that are to be measured, and what that brings."""

    option: Option
    rows: Rows
    """Of the option's samples, in the order in which they were chosen."""
    gain: float
    """What they take off the mean distance, at.%."""
    squares: float
    """What they take off the mean of the squared distance, at.%²."""
    hours: float
    """What that costs."""

    @property
    def samples(self) -> Samples:
        """What is to be measured."""
        return self.option.samples.select(self.rows)

    @property
    def rate(self) -> float:
        """The gain an hour, at.%/h; infinite of what costs nothing."""
        return _rate(self.gain, self.hours)[0]


@dataclass(frozen=True, eq=False)
class WaferPlan:
    """The wafers that are chosen to be begun, and beside them what else could be done."""

    before: Aim
    begin: tuple[Choice, ...]
    """Wafers to begin, in the order of the options, those that are to be made last; none where none is left."""
    go_on: Choice | None
    """What the wafers that were begun still have to give instead; None where nothing was begun, or all is asked for."""
    alternatives: tuple[Choice, ...]
    """Every option and every wafer to be made, each alone, the largest gain an hour first."""

    @property
    def chosen(self) -> tuple[Choice, ...]:
        """What brings more an hour: to go on, or to begin any of the others.

        Squared distances say it: more points between those of a wafer take much off the mean distance, and little off
        what a model errs, which is what it doesn't know of far away.
        """
        begun = [one.option for one in self.begin]
        rates = [
            _rate(one.squares, one.hours) for one in self.alternatives if any(one.option is option for option in begun)
        ]
        if self.go_on is not None and all(_rate(self.go_on.squares, self.go_on.hours) >= rate for rate in rates):
            return (self.go_on,)
        return self.begin

    @property
    def hours(self) -> float:
        """What all that is chosen costs."""
        return math.fsum(one.hours for one in self.chosen)

    @property
    def after(self) -> Aim:
        """What is left to cover once what is chosen is measured."""
        return self.before.with_(np.concatenate([one.samples.compositions for one in self.chosen]))


class Unreached(NamedTuple):
    """What none of the wafers holds, within `NEAR_AT_PCT`."""

    share: float  # of what is to be covered, by weight
    farthest: Composition  # the alloy that is farthest from all that they hold
    at_pct: float  # its distance


def plan_wafers(
    aim: Aim,
    options: Sequence[Option],
    *,
    n: int,
    points: int,
    cost: WaferCost,
    seed: int,
    workshop: Workshop | None = None,
) -> WaferPlan:
    """Choose which wafers to measure or to make next, and which points of each.

    Args:
        aim: What is to be covered.
        options: What could be measured, that which was begun as one; those without a free sample count for nothing.
        n: How many to begin, at most.
        points: How many points of each, at most.
        cost: Of a wafer and of a point.
        seed: The same seed and state plan the same wafers.
        workshop: Where others can be made.

    Raises:
        SpaceExhausted: If there is no free sample, and no wafer can be made.
    """
    options = [option for option in options if len(option.samples)]
    begun, others = ([option for option in options if option.is_begun is kind] for kind in (True, False))
    covered = aim
    for option in begun:  # its points cost so little that they count as good as measured
        covered = covered.with_(option.samples.compositions)
    found = _best_set(covered, others, max(n, AHEAD), workshop, seed)
    if n < len(found):
        found = sorted(found, key=lambda option: covered.with_(option.samples.compositions).mean)[:n]
        found.sort(key=lambda option: _place(option, others))
    begin, left = list[Choice](), aim
    for option in found:
        begin.append(_judge(option, left, points, cost))
        left = left.with_(begin[-1].samples.compositions)
    alone = [
        _judge(option, aim, points, cost) for option in (*options, *(one for one in found if one.powers is not None))
    ]
    if not alone:
        raise SpaceExhausted(
            "No wafer has a point left that the space admits and that wasn't asked for. Name more tables under "
            "[candidates], describe the chamber under [wafer], or widen the bounds."
        )
    go_on = max(
        (one for one in alone if one.option.is_begun), key=lambda one: _rate(one.squares, one.hours), default=None
    )
    alone.sort(key=lambda one: _rate(one.gain, one.hours), reverse=True)
    return WaferPlan(aim, tuple(begin), go_on, tuple(alone))


def unreached(aim: Aim, held: Iterable[Compositions], *, workshop: Workshop | None = None) -> Unreached:
    """Return what is to be covered and lies far from all that any wafer holds.

    Args:
        aim: What is to be covered.
        held: Compositions of the wafers that there are, measured or not, each `(c, e)`.
        workshop: Where others can be made; looked at with 256 draws of its powers.
    """
    distance = np.full(len(aim.points), DIAMETER)
    for compositions in held:
        distance = np.minimum(distance, distance_to(aim.points, compositions))
    if workshop is not None:
        coarse = workshop.thinned(SOUGHT_POINTS)
        for powers in coarse.draw(REACH_DRAWS, np.random.default_rng(0)):
            distance = np.minimum(distance, distance_to(aim.points, coarse.make(powers).samples.compositions))
    counts = aim.weights > 0
    farthest = int(np.where(counts, distance, -1).argmax())
    share = float(np.average(100 * distance > NEAR_AT_PCT, weights=aim.weights))
    return Unreached(share, aim.points[farthest], 100 * float(distance[farthest]))


def _judge(option: Option, aim: Aim, points: int, cost: WaferCost) -> Choice:
    """Choose an option's points for what is left to cover."""
    given = option.samples.compositions
    rows = choose_medians(given, points, cover=aim.points, weights=aim.weights, nearest=aim.nearest)
    then = aim.with_(given[rows])
    gain, squares = aim.mean - then.mean, aim.mean_square - then.mean_square
    return Choice(option, rows, gain, squares, (not option.is_begun) * cost.wafer + cost.point * len(rows))


def _best_set(aim: Aim, options: Sequence[Option], n: int, workshop: Workshop | None, seed: int) -> list[Option]:
    """Return the `n` wafers that cover best together with all their points, in the order of the options.

    Wafers that could be made are first some whose powers are drawn; the powers of those that are chosen are improved.
    """
    if workshop is None:
        return _improved(_Reach.of(aim, options), n)
    coarse, thin = workshop.thinned(SOUGHT_POINTS), aim.thinned(SOUGHT_COVER)
    drawn = [coarse.make(powers) for powers in workshop.draw(DRAWS, np.random.default_rng(seed))]
    library = [*options, *(option for option in drawn if len(option.samples))]
    chosen = _improved(_Reach.of(thin, library), n)
    for place, option in enumerate(chosen * 2):  # twice, as each was improved beside the others as they were then
        place %= len(chosen)
        if option.powers is not None:
            beside = thin
            for other in (*chosen[:place], *chosen[place + 1 :]):
                beside = beside.with_(other.samples.compositions)
            chosen[place] = coarse.make(_better_powers(coarse, beside, chosen[place]))
    low, high = np.array([gun.powers for gun in workshop.chamber.guns]).T
    return [
        option if option.powers is None else workshop.make(np.clip(np.round(option.powers, POWER_DIGITS), low, high))
        for option in chosen
    ]


def _better_powers(workshop: Workshop, aim: Aim, option: Option) -> PerGun:
    """Improve a wafer's powers (W) for what is left to cover, by simplex search over their logarithms."""
    from scipy.optimize import minimize  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    assert option.powers is not None, "a wafer that lies there has no powers"
    low, high = np.log([gun.powers for gun in workshop.chamber.guns]).T

    def left(logarithms: PerGun) -> float:
        made = workshop.make(np.exp(np.clip(logarithms, low, high))).samples.compositions
        return aim.with_(made).mean if len(made) else aim.mean

    seek = cast("Any", minimize)
    found = seek(
        left,
        np.log(option.powers),
        method="Nelder-Mead",
        bounds=[*zip(low, high, strict=True)],
        options={"maxfev": STEPS, "xatol": 0.01, "fatol": 1e-3},
    )
    return np.exp(np.clip(found.x, low, high))


@dataclass(frozen=True)
class _Reach:
    """How near some wafers come to all that is to be covered."""

    options: Sequence[Option]
    shares: Weights
    """Of what is to be covered, shape `(n,)`; sum to 1."""
    nearest: Weights
    """Distance from each of that to the nearest known alloy, atomic fraction, shape `(n,)`."""
    distances: WaferDistances
    """… and to the nearest point of each wafer, at most that, shape `(wafers, n)`."""

    @classmethod
    def of(cls, aim: Aim, options: Sequence[Option]) -> "_Reach":
        distances = np.empty((len(options), len(aim.points)))
        for row, option in enumerate(options):
            distances[row] = np.minimum(aim.nearest, distance_to(aim.points, option.samples.compositions))
        return cls(options, aim.weights / aim.weights.sum(), aim.nearest, distances)

    def left(self, rows: Sequence[int]) -> float:
        """Return the mean distance that some wafers leave together."""
        return float(self.distances[list(rows)].min(axis=0) @ self.shares)

    def best_beside(self, rows: Sequence[int]) -> int:
        """Return the wafer that leaves the smallest mean distance beside some others."""
        nearest = np.minimum(self.nearest, self.distances[list(rows)].min(axis=0, initial=np.inf))
        left = np.minimum(nearest, self.distances) @ self.shares
        left[list(rows)] = np.inf
        return int(left.argmin())


def _improved(reach: _Reach, n: int) -> list[Option]:
    """Return the set of `n` wafers that covers best, of all sets where they are few, else nearly; in their order.

    Where they are many, it begins with the best pair, adds the best beside those chosen, and then chooses each again.
    """
    n, count = min(n, len(reach.options)), len(reach.options)
    if not n:
        return []
    sure = n if math.comb(count, n - 1) <= TRIED else min(n, AHEAD)
    rows = min(([*some, reach.best_beside(some)] for some in combinations(range(count), sure - 1)), key=reach.left)
    while len(rows) < n:
        rows.append(reach.best_beside(rows))
    for _ in range(PASSES * n if sure < n else 0):
        one, others = rows[0], rows[1:]  # in turn
        rows = [*others, reach.best_beside(others)]
        if reach.left(rows) >= reach.left([one, *others]):
            rows[-1] = one
    return [reach.options[row] for row in sorted(rows)]


def _place(option: Option, options: Sequence[Option]) -> int:
    """Return where an option stands among others; behind them where it isn't one of them."""
    return next((place for place, one in enumerate(options) if one is option), len(options))


def _rate(gain: float, hours: float) -> tuple[float, float]:
    """Return a gain an hour, infinite where it costs nothing; and the gain."""
    return gain / hours if hours > 0 else math.inf if gain > 0 else 0.0, gain
