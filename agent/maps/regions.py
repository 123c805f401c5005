"""Candidates: where on a map one would bet on a glass, a row a place and not a row an alloy. Needs no torch.

What is likely a glass, known and wished for hangs together in *regions*: from one alloy to the next by a step of the
grid. A region is often wider than one measurement can speak for, so it is divided into *places* about as far apart as
errors of Δq go together. A place is one row: its centre, its extent, what is expected there and how sure that is, what
was measured there and what to measure next. SciPy has no types, and is loaded where it is needed.

Letters: n alloys, e elements, k places.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from glassmap.agent.data.composition import label
from glassmap.agent.maps.glass import LIKELY, P_GLASS, POSSIBLY, SURELY, GlassRule, GlassShares, reaches, shares_of_map
from glassmap.agent.maps.wish import Wish, densities, has_density
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.shapes import Compositions, Mask, Parts, PerAlloy, PerTaken, Rows, TakenCompositions

REACH_AT_PCT = 15.0  # over which the correlation of two alloys' errors of Δq falls to 1/e on wafers that were left out
MOST_AGREE = 0.5  # share of the model that finds a peak, for an alloy to be a candidate
TOP_SHARE = 0.05  # of the alloys, by Δq, where no width says what a glass is
MOST_PLACES = 20
_DRAWS = 20_000  # of a set's errors, for its joint probability
_INTERVAL = (0.05, 0.95)

State = Literal["open", "confirmed", "mixed", "refuted", "measured"]
"""Nothing measured there; of what was, most, some or hardly anything a glass; measured, where no width says that."""
_Places = Integer[np.ndarray, " n"]


class MeasuredAlloys(NamedTuple):
    """What was measured, learned from or held out."""

    ids: list[str]
    compositions: TakenCompositions
    delta_q: PerTaken  # 1/Å, NaN without a first peak


class Place(NamedTuple):
    """One candidate. What isn't known is NaN."""

    region: int  # which of the connected regions it is a part of, 1 that of the first place
    alloy: str  # its centre, in at.%: of its alloys the one nearest to their mean
    centre: tuple[float, ...]  # the same as atomic fractions
    low_at_pct: tuple[float, ...]  # least share of each element
    high_at_pct: tuple[float, ...]  # largest share of each
    alloys: int  # of the map that are in it
    share: float  # the same as a share of the map
    region_alloys: int  # of its whole region, as far as they meet what is asked
    delta_q: float  # mean over its alloys, 1/Å
    delta_q_expected: float  # mean of what is expected of a new measurement, 1/Å, by which places are ranked
    delta_q_predictive_std: (
        float  # what a new measurement is expected to be off by: root mean square over its alloys, 1/Å
    )
    p_glass: float  # mean probability of its alloys to be a glass
    p_centre: float  # that of the centre
    known_share: float  # of its alloys, those that the model knows rather than extrapolates
    cost_per_kg: float  # of the centre's elements, US dollars
    density: float  # of the centre by Vegard's rule, g/cm3
    nearest: str  # id of the measured alloy nearest to the centre; empty without any
    nearest_alloy: str
    nearest_delta_q: float  # as it was measured, 1/Å
    distance: float  # from it to the centre, at.%
    measured: int  # alloys that were measured in it and have a first peak
    measured_glasses: int | None  # how many of those are a glass by their own Δq; None where no width says so
    measure: str  # alloy to measure next: the centre, or the one farthest from what is measured; empty if none is far

    @property
    def state(self) -> State:
        """What measurements say of it so far."""
        if not self.measured:
            return "open"
        if self.measured_glasses is None:
            return "measured"
        share = self.measured_glasses / self.measured
        return "confirmed" if share >= SURELY else "refuted" if share <= POSSIBLY else "mixed"

    def holds(self, compositions: Compositions, *, step_at_pct: int) -> Mask:
        """Return which alloys lie within its extent, to half a step of the map's grid; shape `(n,)`."""
        off = np.maximum(100 * compositions - self.high_at_pct, np.array(self.low_at_pct) - 100 * compositions)
        return np.asarray(off.max(axis=1) <= (0.5 + 1e-6) * step_at_pct)

    def say_extent(self, elements: Sequence[str]) -> str:
        """Return the ranges of its elements in at.%, such as `Co 34–46, V 25–38, Zr 22–36`."""
        ends = zip(elements, self.low_at_pct, self.high_at_pct, strict=True)
        return ", ".join(f"{e} {low:g}" if low == high else f"{e} {low:g}–{high:g}" for e, low, high in ends)

    def say_measured(self) -> str:
        """Return how much was measured there, such as `41 of 42 a glass`."""
        if not self.measured:
            return "none"
        return (
            f"{self.measured}"
            if self.measured_glasses is None
            else f"{self.measured_glasses} of {self.measured} a glass"
        )

    def say_confirm(self) -> str:
        """Return in sentences what was measured there and what to measure."""
        if not self.measured:
            return f"Measure {self.measure}."
        near = f"{self.nearest} {self.nearest_alloy}, {DELTA_Q.label} {DELTA_Q.say(self.nearest_delta_q)}"
        then = f" Farthest from any: {self.measure}." if self.measure else ""
        return f"Measured: {self.say_measured()}; nearest the centre {near}.{then}"

    def to_row(self, elements: Sequence[str]) -> dict[str, str | float | int | None]:
        """Return it as a row of a table, with columns for each element; None where something isn't known."""
        each = zip(elements, self.centre, self.low_at_pct, self.high_at_pct, strict=True)
        ends = {e: {e: round(100 * c, 6), f"{e}_low": low, f"{e}_high": high} for e, c, low, high in each}
        said = {name: value for name, value in self._asdict().items() if not isinstance(value, tuple)}
        first = {name: said.pop(name) for name in ("region", "alloy")}
        row = {**first, **{k: v for columns in ends.values() for k, v in columns.items()}, **said}
        row |= {"state": self.state, "confirm": self.say_confirm()}
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}


class JointChance(NamedTuple):
    """What comes of measuring the centres of several places."""

    n: int
    expected: float  # how many are a glass
    low: int  # at least so many with 95 %
    high: int  # at most so many with 95 %
    at_least_one: float  # probability

    def say(self) -> str:
        """Return it as a sentence."""
        if self.n == 1:
            return f"That it is a glass has a probability of {_chance(self.at_least_one)}."
        return (
            f"Of these {self.n} centres {self.expected:.1f} are expected to be a glass, {self.low} to {self.high} with "
            f"90 %; that at least one is has a probability of {_chance(self.at_least_one)}."
        )


class Candidates(NamedTuple):
    """The places of a map, the one of largest expected Δq first."""

    places: list[Place]
    likely: int  # alloys of the map that are likely a glass, whatever else they are
    meeting: int  # of those the ones that are known and wished for, whether or not a place is listed for them
    regions: int  # that these form
    likeliest: str  # the alloy of the map that is likeliest a glass; empty where nobody can say
    p_likeliest: float
    chance: JointChance | None  # of the open places; None without one, or where nobody can say
    glass: GlassShares | None  # of the whole map; None where no width says what a glass is
    knows_how_sure: bool  # whether `delta_q_std` is of a new measurement; else it is epistemic, as of an older map

    def say_none(self) -> str:
        """Return why there is no place; empty where there is one."""
        if self.places:
            return ""
        if self.likely:
            return f"{self.likely:,} alloys are likely a glass; none of them is known and meets what is wished for."
        if not self.likeliest:
            return "No alloy of the map is likely a glass."
        return (
            "No alloy of the map is likely a glass; the likeliest is "
            f"{self.likeliest} with a probability of {_chance(self.p_likeliest)}."
        )


def find_candidates(
    compositions: Compositions,
    columns: Mapping[str, np.ndarray],
    elements: Sequence[str],
    *,
    step_at_pct: int,
    rule: GlassRule | None,
    measured: MeasuredAlloys | None = None,
    wish: Wish | None = None,
    only_known: bool = True,
    level: float = LIKELY,
    most: int = MOST_PLACES,
) -> Candidates:
    """Return the places of a map that one would bet on.

    Args:
        compositions: Of every alloy of the map, atomic fractions `(n, e)`.
        columns: Of the map; one that lacks `p_glass` is taken by Δq and the rule's threshold.
        elements: Of the columns of `compositions`.
        step_at_pct: Of the map's grid.
        rule: What a glass is; None where no width says so, as of simulated spectra: then the `TOP_SHARE` of largest Δq.
        measured: What is measured, where that is known.
        wish: What candidates have to meet besides.
        only_known: Whether to leave out what is extrapolated; a map that doesn't say so leaves out nothing.
        level: Probability from which an alloy counts as likely a glass.
        most: Places.
    """
    wish, told = wish or Wish(), _Map(compositions, tuple(elements), columns, step_at_pct)
    if rule is None:
        likely = told.expected >= (np.nanquantile(told.expected, 1 - TOP_SHARE) if told.has_peaks else math.inf)
    else:
        likely = reaches(told.p_glass, level) if told.says_how_sure else rule.is_glass(told.delta_q)
    likely &= columns["peak_share"] >= MOST_AGREE
    rows = np.flatnonzero(likely & (columns["known"] != 0) if only_known else likely)
    rows = rows[wish.is_met(compositions[rows], elements)]
    parts = np.rint(compositions[rows] * (100 / step_at_pct)).astype(np.int64)
    region = _connected(parts)
    owner = _divided(100 * compositions[rows], told.expected[rows], region, most=most)
    groups = [np.flatnonzero(owner == k) for k in range(owner.max(initial=-1) + 1)]
    groups.sort(key=lambda group: -float(told.expected[rows[group]].mean()))
    rank = {which: k for k, which in enumerate(dict.fromkeys(int(region[group[0]]) for group in groups), start=1)}
    sizes = np.bincount(region, minlength=1)
    places = [
        told.place(rows[group], rank[which], int(sizes[which]), rule=rule, measured=measured, wish=wish)
        for group, which in ((group, int(region[group[0]])) for group in groups)
    ]
    knows = rule is not None and told.says_how_sure
    best = int(np.nanargmax(told.p_glass)) if knows else 0
    still_open = [one for one in places if one.state == "open"]
    return Candidates(
        places,
        int(likely.sum()),
        len(rows),
        len(np.unique(region)),
        label(compositions[best], elements) if knows else "",
        float(told.p_glass[best]) if knows else math.nan,
        joint_chance(np.array([one.centre for one in still_open]), np.array([one.p_centre for one in still_open]))
        if knows and still_open
        else None,
        None if rule is None else shares_of_map(told.delta_q, told.p_glass, rule),
        DELTA_Q.predictive_std_name in columns,
    )


def joint_chance(centres: Compositions, p_glass: PerAlloy) -> JointChance:
    """Return what comes of measuring several alloys, whose errors of Δq go together the more the nearer they are.

    Each errs by a normal number; those of two alloys correlate by exp(-d / `REACH_AT_PCT`) at a distance d, as on
    wafers that were left out. The same alloys and probabilities give the same answer.

    Args:
        centres: Atomic fractions `(k, e)`, all different.
        p_glass: Probability of each to be a glass.
    """
    from scipy.special import ndtri

    apart = 100 * np.linalg.norm(centres[:, None] - centres, axis=2)
    root = np.linalg.cholesky(np.exp(-apart / REACH_AT_PCT))
    errors = np.random.default_rng(0).standard_normal((_DRAWS, len(centres))) @ root.T
    glasses = (errors < ndtri(p_glass)).sum(1)
    low, high = np.quantile(glasses, _INTERVAL, method="inverted_cdf")
    return JointChance(len(centres), float(p_glass.sum()), int(low), int(high), float(np.mean(glasses > 0)))


@dataclass(frozen=True)
class _Map:
    """The columns of a map that candidates are made of."""

    compositions: Compositions
    elements: tuple[str, ...]
    columns: Mapping[str, np.ndarray]
    step_at_pct: int

    @cached_property
    def delta_q(self) -> PerAlloy:
        return self.columns[DELTA_Q.name].astype(np.float64)

    @cached_property
    def expected(self) -> PerAlloy:
        """Δq that is expected of a new measurement; that of the mean spectrum where nobody can say."""
        found = self.columns.get(DELTA_Q.expected_name, self.delta_q).astype(np.float64)
        return np.where(np.isnan(found), self.delta_q, found)

    @cached_property
    def delta_q_predictive_std(self) -> PerAlloy:
        """What a new measurement is off by; of a map older than that the epistemic std."""
        return self.columns.get(DELTA_Q.predictive_std_name, self.columns[DELTA_Q.std_name]).astype(np.float64)

    @cached_property
    def p_glass(self) -> PerAlloy:
        found = self.columns.get(P_GLASS)
        return np.full(len(self.compositions), np.nan) if found is None else found.astype(np.float64)

    @cached_property
    def has_peaks(self) -> bool:
        return bool(np.isfinite(self.delta_q).any())

    @cached_property
    def says_how_sure(self) -> bool:
        return bool(np.isfinite(self.p_glass).any())

    def place(
        self,
        rows: Rows,
        region: int,
        region_alloys: int,
        *,
        rule: GlassRule | None,
        measured: MeasuredAlloys | None,
        wish: Wish,
    ) -> Place:
        """Return what is to be said of a place whose alloys are in some rows."""
        alloys, elements = self.compositions[rows], self.elements
        middle = int(np.square(alloys - alloys.mean(0)).sum(1).argmin())
        centre, known = alloys[middle], self.columns["known"][rows]
        found = _measured_in(alloys, self.step_at_pct, measured)
        id_, near, delta_q, distance, next_ = "", "", math.nan, math.nan, middle
        if measured is not None and len(measured.ids):
            away = 100 * np.linalg.norm(measured.compositions - centre, axis=1)
            if len(found):
                nearest = int(found[away[found].argmin()])
                next_ = _farthest(alloys, measured.compositions, self.step_at_pct)
            else:
                nearest = int(away.argmin())
            id_, near = measured.ids[nearest], label(measured.compositions[nearest], elements)
            delta_q, distance = float(measured.delta_q[nearest]), float(away[nearest])
        glasses = None
        if rule is not None and measured is not None:
            glasses = int(rule.is_glass(measured.delta_q[found]).sum())
        return Place(
            region=region,
            alloy=label(centre, elements),
            centre=tuple(centre.tolist()),
            low_at_pct=tuple((100 * alloys.min(0)).round(6).tolist()),
            high_at_pct=tuple((100 * alloys.max(0)).round(6).tolist()),
            alloys=len(rows),
            share=len(rows) / len(self.compositions),
            region_alloys=region_alloys,
            delta_q=float(self.delta_q[rows].mean()),
            delta_q_expected=float(self.expected[rows].mean()),
            delta_q_predictive_std=float(np.sqrt(np.square(self.delta_q_predictive_std[rows]).mean())),
            p_glass=float(self.p_glass[rows].mean()),
            p_centre=float(self.p_glass[rows[middle]]),
            known_share=math.nan if np.isnan(known.astype(float)).all() else float(np.mean(known == 1)),
            cost_per_kg=float(wish.costs(centre[None], elements)[0]),
            density=float(densities(centre[None], elements)[0]) if has_density(elements) else math.nan,
            nearest=id_,
            nearest_alloy=near,
            nearest_delta_q=delta_q,
            distance=distance,
            measured=len(found),
            measured_glasses=glasses,
            measure="" if next_ is None else label(alloys[next_], elements),
        )


def _measured_in(alloys: Compositions, step_at_pct: int, measured: MeasuredAlloys | None) -> Rows:
    """Return the rows of the measured alloys with a first peak that are nearest to one of some alloys of a grid."""
    if measured is None or not len(measured.ids):
        return np.empty(0, dtype=np.int64)
    from scipy.spatial import KDTree

    off = KDTree(alloys).query(measured.compositions, p=np.inf)[0]
    within = off <= (0.5 + 1e-6) * step_at_pct / 100
    return np.flatnonzero(within & np.isfinite(measured.delta_q))


def _farthest(alloys: Compositions, measured: TakenCompositions, step_at_pct: int) -> int | None:
    """Return the row of the alloy farthest from what is measured; None where each has that within two steps."""
    from scipy.spatial import KDTree

    away = 100 * KDTree(measured).query(alloys)[0]
    row = int(away.argmax())
    return row if away[row] > 2 * math.sqrt(2) * step_at_pct else None


def _connected(parts: Parts) -> _Places:
    """Return which connected region each alloy of a grid is in: neighbours differ by one part of two elements.

    A pair of elements at a time, so that the alloys of a quinary fit in memory many times.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, e = parts.shape
    label_of = np.arange(n)
    if not n:
        return label_of
    weights = np.append((int(parts[0].sum()) + 1) ** np.arange(e - 2, -1, -1, dtype=np.int64), 0)
    keys = parts @ weights  # of the alloys of one sum no two have the same
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    for more in range(e):
        for less in range(more + 1, e):
            here = np.flatnonzero(parts[order, less] > 0)
            wanted = keys[here] + weights[more] - weights[less]
            there = np.minimum(np.searchsorted(keys, wanted), n - 1)
            is_there = keys[there] == wanted
            ends = label_of[order[here[is_there]]], label_of[order[there[is_there]]]
            count = int(label_of.max()) + 1
            graph = coo_array((np.ones(len(ends[0]), dtype=bool), ends), shape=(count, count))
            label_of = connected_components(graph, directed=False)[1][label_of]
    return label_of


def _divided(at_pct: Float[np.ndarray, "n e"], score: PerAlloy, region: _Places, *, most: int) -> _Places:
    """Return which place each alloy is in, -1 where none is listed for it.

    Again and again the alloy of largest score that is not in reach of one before begins a place; then each alloy is
    in the place of the nearest first alloy within its region.
    """
    owner, nearest = np.full(len(score), -1), np.full(len(score), np.inf)
    for place in range(most):
        free = np.where(nearest > REACH_AT_PCT, score, -np.inf)
        first = int(free.argmax()) if len(free) else 0
        if not len(free) or free[first] == -np.inf:
            break
        same = np.flatnonzero(region == region[first])
        away = np.linalg.norm(at_pct[same] - at_pct[first], axis=1)
        nearer = same[away < nearest[same]]
        owner[nearer] = place
        nearest[nearer] = away[away < nearest[same]]
    return np.where(nearest <= REACH_AT_PCT, owner, -1)


def _chance(probability: float) -> str:
    """Return a probability to two digits, and never as 0 or 1, which nothing learned from measurements is."""
    return "under 0.005" if probability < 0.005 else "over 0.995" if probability > 0.995 else f"{probability:.2f}"
