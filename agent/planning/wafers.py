"""Which wafer to measure next, or to make, and which of its points.

A wafer costs much and its points cost little. What could be done next is an `Option`: to go on with the wafers that
were begun, to begin one that lies there, or to make one at powers that are sought for it. Each is judged by what its
points take off the mean distance from what is to be covered to the nearest measured alloy, an hour of what it costs.
Several wafers are chosen together: all combinations are tried where they are few, else one after the other, each of
which is then chosen again.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

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
    Weights,
)

if TYPE_CHECKING:
    from glassmap.agent.planning.sputtering import Chamber

NEAR_AT_PCT = 5.0  # from an alloy to the nearest that any wafer holds; what lies farther away is out of reach
PASSES = 3  # in which each of several wafers is chosen again beside the others
TRIED = 200  # combinations of wafers that are all tried
SOUGHT_COVER, SOUGHT_POINTS = 1_000, 150  # alloys and points of a wafer that stand for all while powers are sought
DRAWS, STARTS, STEPS = 128, 3, 80  # powers that are drawn; how many of the best are improved, and in how many steps
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
    def worst(self) -> float:
        """Distance from the alloy that is served worst, of those that count, at.%."""
        return 100 * float(self.nearest[self.weights > 0].max())


@dataclass(frozen=True)
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

    def make(self, powers: PerGun, name: str = "") -> Option:
        """Return the wafer that some powers make, with those of its points that the space admits, `NAME-001` and on."""
        compositions = self.chamber.compositions(powers[None], self.x, self.y)[0]
        digits = max(3, len(str(len(self.x))))
        names = tuple(f"{name}-{k + 1:0{digits}d}" for k in range(len(self.x)))
        samples = Samples(names, (name,) * len(names), compositions, self.x, self.y)
        return Option(samples.select(np.flatnonzero(self.space.admits(compositions))), powers=powers)

    def draw(self, n: int, rng: np.random.Generator) -> list[PerGun]:
        """Draw powers of every gun, each ratio as likely as its inverse, W, each shape `(g,)`."""
        low, high = np.array([gun.powers for gun in self.chamber.guns], dtype=float).T
        return [*(low * (high / low) ** rng.random((n, len(low))))]

    def thinned(self, n: int) -> "Workshop":
        """Return it with a fixed part of the points, about `n`, that is spread over the wafer."""
        rows = np.unique(np.linspace(0, len(self.x) - 1, n).astype(np.intp))
        return replace(self, x=self.x[rows], y=self.y[rows])


@dataclass(frozen=True)
class Choice:
    """An option with the points of it that are to be measured, and what that brings."""

    option: Option
    rows: Rows
    """Of the option's samples, in the order in which they were chosen."""
    gain: float
    """What they take off the mean distance, at.%."""
    hours: float
    """What that costs."""

    @property
    def samples(self) -> Samples:
        """What is to be measured."""
        return self.option.samples.select(self.rows)

    @property
    def rate(self) -> float:
        """The gain an hour, at.%/h; infinite of what costs nothing."""
        return _rate([self])[0]


@dataclass(frozen=True)
class WaferPlan:
    """The wafers that are chosen, and beside them what else could have been."""

    before: Aim
    after: Aim
    chosen: tuple[Choice, ...]
    """In the order of the options, wafers that are to be made last."""
    alternatives: tuple[Choice, ...]
    """Every option as the only one that is chosen, the best first; those that are chosen among them."""

    @property
    def hours(self) -> float:
        """What all that is chosen costs."""
        return math.fsum(one.hours for one in self.chosen)


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
    """Choose which wafers to measure or to make next, and which points of each: those with the largest gain an hour.

    Args:
        aim: What is to be covered.
        options: What could be measured; those without a free sample count for nothing.
        n: How many of them to choose, at most.
        points: How many points of each, at most.
        cost: Of a wafer and of a point.
        seed: The same seed and state plan the same wafers.
        workshop: Where others can be made.

    Raises:
        SpaceExhausted: If there is no free sample, and no wafer can be made.
    """
    options = [option for option in options if len(option.samples)]
    sought = _Search(aim, points, cost, workshop, seed)
    first = [*(sought.judge(option, aim) for option in options), *sought.made(aim)]
    if not first:
        raise SpaceExhausted(
            "No wafer has a point left that the space admits and that wasn't asked for. Name more tables under "
            "[candidates], describe the chamber under [wafer], or widen the bounds."
        )
    if workshop is None and math.comb(len(options), min(n, len(options))) <= TRIED:
        sets = combinations(options, min(n, len(options)))
        best, _ = max((sought.together(one) for one in sets), key=lambda pair: _rate(pair[0]))
    else:
        best, _ = _one_by_one(sought, options, first, n)
    order = {id(option): place for place, option in enumerate(options)}
    wafers = sorted((one.option for one in best), key=lambda option: order.get(id(option), len(order)))
    chosen, after = sought.together(wafers, exchange=True)
    alternatives = sorted(first, key=lambda one: _rate([one]), reverse=True)
    return WaferPlan(aim, after, tuple(chosen), tuple(alternatives))


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


@dataclass(frozen=True)
class _Search:
    """What every step of the search for wafers goes by."""

    aim: Aim
    points: int
    cost: WaferCost
    workshop: Workshop | None
    seed: int

    def judge(self, option: Option, aim: Aim, *, exchange: bool = False) -> Choice:
        """Choose an option's points for what is left to cover, and again by exchange for what is really asked for."""
        rows = choose_medians(
            option.samples.compositions,
            self.points,
            cover=aim.points,
            weights=aim.weights,
            nearest=aim.nearest,
            exchange=exchange,
        )
        gain = aim.mean - aim.with_(option.samples.compositions[rows]).mean
        return Choice(option, rows, gain, (not option.is_begun) * self.cost.wafer + self.cost.point * len(rows))

    def together(self, options: Iterable[Option], *, exchange: bool = False) -> tuple[list[Choice], Aim]:
        """Choose the points of several options, each for what those before leave; and what is left then."""
        aim, chosen = self.aim, list[Choice]()
        for option in options:
            chosen.append(self.judge(option, aim, exchange=exchange))
            aim = aim.with_(chosen[-1].samples.compositions)
        return chosen, aim

    def made(self, aim: Aim) -> list[Choice]:
        """Return the wafer that is best made for what is left to cover; none without a workshop that can."""
        if self.workshop is None:
            return []
        found = self.judge(self.workshop.make(self._best_powers(self.workshop, aim)), aim)
        return [found] if len(found.rows) else []

    def _best_powers(self, workshop: Workshop, aim: Aim) -> PerGun:
        """Seek the powers (W) whose wafer has the largest gain: draw, then improve the best by simplex search."""
        from scipy.optimize import minimize  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        aim, workshop = aim.thinned(SOUGHT_COVER), workshop.thinned(SOUGHT_POINTS)
        low, high = np.log([gun.powers for gun in workshop.chamber.guns]).T

        def loss(logarithms: PerGun) -> float:
            return -self.judge(workshop.make(np.exp(np.clip(logarithms, low, high))), aim).gain

        drawn = [np.log(powers) for powers in workshop.draw(DRAWS, np.random.default_rng(self.seed))]
        best = sorted(drawn, key=loss)[:STARTS]
        bounds, options = [*zip(low, high, strict=True)], {"maxfev": STEPS, "xatol": 0.01, "fatol": 1e-3}
        found: list[Any] = [minimize(loss, one, method="Nelder-Mead", bounds=bounds, options=options) for one in best]
        return np.exp(np.clip(min(found, key=lambda one: one.fun).x, low, high))


def _one_by_one(
    sought: _Search, options: Sequence[Option], first: Sequence[Choice], n: int
) -> tuple[list[Choice], Aim]:
    """Choose wafers one after the other, then each again beside the others, where that is better."""

    def best_beside(others: Sequence[Option], *before: Option) -> tuple[list[Choice], Aim] | None:
        """Return some wafers with the best that can be added to them: of all, and of what stood there before."""
        _, aim = sought.together(others)
        rest = {id(option): option for option in (*options, *before)}
        added = [option for option in rest.values() if all(option is not one for one in others)]
        added += [one.option for one in sought.made(aim)]
        return max((sought.together([*others, one]) for one in added), key=lambda pair: _rate(pair[0]), default=None)

    found = sought.together([max(first, key=lambda one: _rate([one])).option])
    while len(found[0]) < n and (more := best_beside([one.option for one in found[0]])) is not None:
        found = more
    stayed = 0  # wafers that were chosen again
    for _ in range(PASSES * n if n > 1 else 0):
        one, *others = (choice.option for choice in found[0])
        found = best_beside(others, one) or found
        stayed = stayed + 1 if found[0][-1].option is one else 0
        if stayed == len(found[0]):
            break
    return found


def _rate(chosen: Sequence[Choice]) -> tuple[float, float]:
    """Return the gain of several choices an hour, infinite where they cost nothing; and the gain."""
    gain, hours = math.fsum(one.gain for one in chosen), math.fsum(one.hours for one in chosen)
    return gain / hours if hours > 0 else math.inf if gain > 0 else 0.0, gain
