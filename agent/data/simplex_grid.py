"""The integer points of a simplex under ranges and linear limits, numbered without a list.

A grid is a layered automaton. Layer i fixes the parts of element i; a state of it is what the elements so far leave
open: the parts left, how many more elements may be non-zero, the slack of every limit. Counting the ways from every
state to the end, once, turns a rank into a point, a point into its rank and a target into its nearest point.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from glassmap.agent.errors import CompositionError
from glassmap.agent.shapes import Parts, Ranks

_Branches = Integer[np.ndarray, " branches"]


class Limit(NamedTuple):
    """sum(factors * parts) <= most, in integers."""

    factors: tuple[int, ...]
    most: int


class Layer(NamedTuple):
    """The choices for one element: branches sorted by the state they leave, then by the parts they give."""

    first: Integer[np.ndarray, " states+1"]  # first branch of each state, then the number of branches
    value: Integer[np.ndarray, " branches"]  # parts of this element
    target: Integer[np.ndarray, " branches"]  # state reached in the next layer
    start: Integer[np.ndarray, " branches+1"]  # ways to the end of all branches before, then of all
    key: Integer[np.ndarray, " branches"]  # state * (total + 1) + value, increasing


class SimplexGrid(NamedTuple):
    """Integer points that sum to `total`, in lexicographic order."""

    total: int
    layers: tuple[Layer, ...]  # one per element; none where no point meets the rules

    @classmethod
    def build(
        cls, total: int, ranges: Sequence[tuple[int, int]], limits: Sequence[Limit], *, max_nonzero: int
    ) -> "SimplexGrid":
        """Count the points within `ranges` (low and high parts of each element) that meet every limit.

        Raises:
            CompositionError: If there are more than a 64-bit rank can number.
        """
        states = np.array([[total, max_nonzero, *(limit.most for limit in limits)]])
        steps = list[tuple[int, _Branches, _Branches, _Branches]]()  # states; state, value and state reached of each
        for i in range(len(ranges)):
            state, value, after = _advance(states, i, ranges, limits)
            if not len(state):
                return cls(total, ())
            count = len(states)
            states, reached = np.unique(after, axis=0, return_inverse=True)
            steps.append((count, state, value, reached.ravel()))
        layers, ways = list[Layer](), np.ones(len(states), dtype=np.int64)
        for count, state, value, reached in reversed(steps):
            live = ways[reached] > 0
            state, value, reached = state[live], value[live], reached[live]
            if ways[reached].sum(dtype=float) > 2.0**62:
                raise CompositionError(
                    "The space holds more than 4e18 alloys; take a larger step_at_pct or set bounds."
                )
            target = (np.cumsum(ways > 0) - 1)[reached]  # states that lead nowhere lose their number
            start = np.concatenate([[0], np.cumsum(ways[reached])])
            first = np.searchsorted(state, np.arange(count + 1))
            ways = np.diff(start[first])
            key = (np.cumsum(ways > 0) - 1)[state] * (total + 1) + value
            layers.append(Layer(np.append(first[:-1][ways > 0], len(state)), value, target, start, key))
        return cls(total, tuple(reversed(layers)) if ways.any() else ())

    @property
    def size(self) -> int:
        """Number of points."""
        return int(self.layers[0].start[-1]) if self.layers else 0

    def unrank(self, ranks: Ranks) -> Parts:
        """Return the points of ranks within 0 to `size - 1`, shape `(n, e)`."""
        parts = np.empty((len(ranks), len(self.layers)), dtype=np.int64)
        state, rest = np.zeros(len(ranks), dtype=np.int64), ranks.astype(np.int64)
        for column, layer in enumerate(self.layers):
            rest += layer.start[layer.first[state]]
            branch = np.searchsorted(layer.start, rest, side="right") - 1
            rest -= layer.start[branch]
            parts[:, column], state = layer.value[branch], layer.target[branch]
        return parts

    def rank(self, parts: Parts) -> Ranks:
        """Return the ranks of points, shape `(n,)`; -1 where a row is no point of the grid."""
        inside = ((parts >= 0) & (parts <= self.total)).all(axis=1)
        state, ranks = np.zeros(len(parts), dtype=np.int64), np.zeros(len(parts), dtype=np.int64)
        for layer, value in zip(self.layers, parts.T, strict=True):
            key = state * (self.total + 1) + value
            branch = np.minimum(np.searchsorted(layer.key, key), len(layer.key) - 1)
            inside &= layer.key[branch] == key
            ranks += layer.start[branch] - layer.start[layer.first[state]]
            state = layer.target[branch]
        return np.where(inside, ranks, -1)

    def nearest(self, target: Float[np.ndarray, " e"]) -> int:
        """Find the rank of the point nearest to `target` in parts: a shortest path through the layers, so exact."""
        costs = list[Float[np.ndarray, " branches"]]()  # squared distance from each branch to the end
        ahead = np.zeros(self.layers[-1].target.max() + 1)  # … and from each state
        for layer, wish in zip(reversed(self.layers), target[::-1], strict=True):
            costs.append((layer.value - wish) ** 2 + ahead[layer.target])
            ahead = np.minimum.reduceat(costs[-1], layer.first[:-1])
        rank, state = 0, 0
        for layer, cost in zip(self.layers, reversed(costs), strict=True):
            first, end = layer.first[state : state + 2]
            branch = first + cost[first:end].argmin()
            rank += layer.start[branch] - layer.start[first]
            state = layer.target[branch]
        return int(rank)


def _advance(
    states: Integer[np.ndarray, "states columns"], i: int, ranges: Sequence[tuple[int, int]], limits: Sequence[Limit]
) -> tuple[Integer[np.ndarray, " branches"], Integer[np.ndarray, " branches"], Integer[np.ndarray, "branches columns"]]:
    """Make every choice for element i: the state it leaves, its value, and the columns of the state it reaches.

    What can't bind any more is cut to one value, so that states which differ in nothing that matters are one.
    """
    value = np.arange(ranges[i][0], ranges[i][1] + 1)
    rest = ranges[i + 1 :]
    left = states[:, :1] - value  # (states, values)
    state, choice = np.nonzero((left >= sum(low for low, _ in rest)) & (left <= sum(high for _, high in rest)))
    value, left = value[choice], left[state, choice]
    nonzero = states[state, 1] - (value > 0)
    possible, columns = nonzero >= 0, [left, np.minimum(nonzero, len(rest))]
    for column, limit in enumerate(limits, start=2):
        slack = states[state, column] - limit.factors[i] * value
        ahead = limit.factors[i + 1 :] or (0,)
        possible &= slack >= left * min(ahead)
        columns.append(np.minimum(slack, left * max(ahead)))
    return state[possible], value[possible], np.column_stack(columns)[possible]
