"""Which wafer to measure next: chosen by what its points bring an hour, among all combinations where they are few."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import Samples
from glassmap.agent.errors import SpaceExhausted
from glassmap.agent.planning.acquisition import choose_medians, coverage_of, distance_to, plan_batch
from glassmap.agent.planning.sputtering import Chamber, Gun, points_of
from glassmap.agent.planning.wafers import Aim, Option, WaferCost, WaferPlan, Workshop, plan_wafers, unreached

SPACE = CompositionSpace(("Co", "V", "Zr"), step_at_pct=5)
NOTHING = np.empty((0, 3))
COST = WaferCost(wafer=8.0, point=0.05)


def wafer(name: str, centre: tuple[float, float, float], width: float = 1.0) -> Samples:
    """49 points of a wafer: log-ratios that are linear over it."""
    y, x = (axis.ravel() for axis in np.mgrid[-3:4, -3:4].astype(float))
    logarithms = np.log(centre) + width * np.column_stack([x, y, -x - y]) / 6
    shares = np.exp(logarithms)
    names = tuple(f"{k + 1}" for k in range(len(x)))
    return Samples(names, (name,) * len(x), shares / shares.sum(axis=1, keepdims=True), 10 * x, 10 * y)


CO, V, ZR, MIDDLE = (
    wafer("Co-rich", (0.7, 0.15, 0.15)),
    wafer("V-rich", (0.15, 0.7, 0.15)),
    wafer("Zr-rich", (0.15, 0.15, 0.7)),
    wafer("middle", (1 / 3, 1 / 3, 1 / 3)),
)
WAFERS = (CO, V, ZR, MIDDLE)


def test_few_points_are_chosen_as_well_as_any_could_be():
    space = SPACE.compositions(np.arange(len(SPACE)))
    points = np.concatenate([one.compositions[::6] for one in WAFERS])
    known = MIDDLE.compositions[:1]
    chosen = choose_medians(points, 3, cover=space, weights=np.ones(len(space)), nearest=distance_to(space, known))
    means = [
        distance_to(space, np.concatenate([points[list(rows)], known])).mean()
        for rows in combinations(range(len(points)), 3)
    ]
    assert distance_to(space, np.concatenate([points[chosen], known])).mean() <= 1.005 * min(means)
    everything = choose_medians(
        points, 100, cover=space, weights=np.ones(len(space)), nearest=distance_to(space, NOTHING)
    )
    assert sorted(everything.tolist()) == [*range(len(points))], "each once, and no more than there are"


def test_a_list_covers_the_space_better_where_it_is_to_cover_the_space():
    listed = np.concatenate([CO.compositions, MIDDLE.compositions])
    for_itself = plan_batch(listed, 6, taken=NOTHING, seed=0)
    for_space = plan_batch(listed, 6, taken=NOTHING, seed=0, cover=SPACE)
    of_space = coverage_of(SPACE, for_itself.compositions, taken=NOTHING)
    assert for_space.coverage.mean < 0.9 * of_space.mean
    np.testing.assert_array_equal(for_space.compositions, listed[for_space.rows])
    again = plan_batch(listed, 6, taken=for_space.compositions, seed=0, cover=SPACE)
    assert set(again.rows).isdisjoint(for_space.rows)
    assert again.coverage.mean < for_space.coverage.mean


def test_a_list_that_is_used_up_or_empty_is_said_to_be():
    with pytest.raises(SpaceExhausted, match="No candidate is left"):
        plan_batch(NOTHING, 1, taken=NOTHING, seed=0)
    with pytest.raises(SpaceExhausted, match="All 49 candidates"):
        plan_batch(CO.compositions, 1, taken=CO.compositions, seed=0, cover=SPACE)


def means_of_sets(wafers: Sequence[Samples], n: int) -> dict[tuple[str, ...], float]:
    """What every set of wafers leaves with all its points, at.%."""
    aim = Aim.of(SPACE, known=NOTHING)
    return {
        tuple(one.wafers[0] for one in some): aim.with_(np.concatenate([one.compositions for one in some])).mean
        for some in combinations(wafers, n)
    }


def begun_by(wafers: Sequence[Samples], n: int) -> tuple[str, ...]:
    options = [Option(one) for one in wafers]
    plan = plan_wafers(Aim.of(SPACE, known=NOTHING), options, n=n, points=5, cost=COST, seed=0)
    return tuple(one.samples.wafers[0] for one in plan.begin)


def test_the_wafers_that_cover_best_together_are_chosen_of_all_sets():
    for n in (2, 3):
        means = means_of_sets(WAFERS, n)
        assert begun_by(WAFERS, n) == min(means, key=means.__getitem__)


def test_a_single_wafer_is_the_better_half_of_the_best_pair():
    pairs, alone = means_of_sets(WAFERS[:3], 2), means_of_sets(WAFERS[:3], 1)
    best = min(pairs, key=pairs.__getitem__)
    assert begun_by(WAFERS[:3], 1) == (min(best, key=lambda name: alone[(name,)]),)
    broad = wafer("broad", (1 / 3, 1 / 3, 1 / 3), width=2.5)
    halves = [wafer("left", (0.4, 0.2, 0.4), width=2), wafer("right", (0.1, 0.8, 0.1), width=2)]
    wafers = [broad, *halves]
    alone, pairs = means_of_sets(wafers, 1), means_of_sets(wafers, 2)
    assert min(alone, key=alone.__getitem__) == ("broad",) and min(pairs, key=pairs.__getitem__) == ("left", "right")
    assert begun_by(wafers, 1) == ("left",), "though `broad` covers more alone"


def test_a_plan_says_what_it_brings_and_costs_beside_every_alternative():
    aim = Aim.of(SPACE, known=NOTHING)
    plan = plan_wafers(aim, [Option(one) for one in WAFERS], n=2, points=5, cost=COST, seed=0)
    assert plan.go_on is None and plan.chosen == plan.begin and plan.hours == pytest.approx(2 * 8 + 10 * 0.05)
    assert sum(one.gain for one in plan.chosen) == pytest.approx(plan.before.mean - plan.after.mean)
    assert [one.rate for one in plan.alternatives] == sorted((one.rate for one in plan.alternatives), reverse=True)
    assert {one.samples.wafers[0] for one in plan.alternatives} == {one.wafers[0] for one in WAFERS}
    assert all(len(set(one.rows.tolist())) == 5 for one in plan.alternatives)


def test_one_goes_on_with_a_begun_wafer_as_long_as_that_brings_more_an_hour():
    known = MIDDLE.compositions[::12]
    rest = MIDDLE.select(np.setdiff1d(np.arange(49), np.arange(49)[::12]))
    aim, options = Aim.of(SPACE, known=known), [Option(rest, is_begun=True), Option(V)]

    def chosen(hours: float) -> str:
        plan = plan_wafers(aim, options, n=1, points=5, cost=WaferCost(hours, 0.05), seed=0)
        assert plan.go_on is not None and plan.go_on.hours == pytest.approx(0.25)
        return plan.chosen[0].samples.wafers[0]

    assert chosen(0.0) == "V-rich" and chosen(100.0) == "middle"
    plan = plan_wafers(aim, options[:1], n=1, points=5, cost=COST, seed=0)
    assert plan.begin == () and plan.chosen == (plan.go_on,), "there is nothing else"


def test_to_fill_in_a_wafer_whose_alloys_are_known_brings_less_than_its_mean_distance_says():
    known = MIDDLE.compositions[np.arange(49) % 5 > 0]
    aim, rest = Aim.of(SPACE, known=known), MIDDLE.select(np.arange(0, 49, 5))
    options = [Option(rest, is_begun=True), Option(V)]

    def plan(hours: float) -> WaferPlan:
        return plan_wafers(aim, options, n=1, points=5, cost=WaferCost(hours, 0.05), seed=0)

    begin, go_on = plan(0.0).begin[0], plan(0.0).go_on
    assert go_on is not None
    dear = plan(1.2 * 0.25 * (begin.gain / go_on.gain - 1))  # where means would have one go on
    assert dear.go_on is not None and dear.go_on.rate > dear.begin[0].rate and dear.chosen == dear.begin


def test_weights_say_which_wafer_counts():
    def begun(column: int) -> str:
        aim = Aim.of(SPACE, known=NOTHING, weigh=lambda alloys: alloys[:, column] ** 6)
        plan = plan_wafers(aim, [Option(one) for one in WAFERS], n=1, points=5, cost=COST, seed=0)
        return plan.chosen[0].samples.wafers[0]

    assert [begun(column) for column in range(3)] == ["Co-rich", "V-rich", "Zr-rich"]


def test_where_wafers_are_many_they_are_chosen_nearly_as_well_as_of_all_sets(monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    wafers = [wafer(f"{k}", tuple(rng.dirichlet((1, 1, 1)))) for k in range(8)]
    means = means_of_sets(wafers, 4)
    monkeypatch.setattr("glassmap.agent.planning.wafers.TRIED", 0)
    found = begun_by(wafers, 4)
    assert len(set(found)) == 4 and means[tuple(sorted(found))] <= 1.01 * min(means.values())


def test_powers_are_sought_that_cover_better_than_any_that_are_drawn_and_the_same_by_one_seed():
    guns = tuple(
        Gun(element, np.eye(3)[k], 120.0 * k, 30.0, 150.0, rate=5.0, power=100.0, powers=(20.0, 200.0))
        for k, element in enumerate(SPACE.elements)
    )
    workshop = Workshop(Chamber(SPACE.elements, guns), *points_of(100.0, 5.0, 10.0), SPACE)
    aim = Aim.of(SPACE, known=MIDDLE.compositions[::12])

    def powers(seed: int) -> list[list[float]]:
        plan = plan_wafers(aim, [], n=2, points=5, cost=COST, seed=seed, workshop=workshop)
        return [one.option.powers.tolist() for one in plan.begin if one.option.powers is not None]

    def left(both: Sequence[np.ndarray]) -> float:
        return aim.with_(np.concatenate([workshop.make(one).samples.compositions for one in both])).mean

    found = powers(0)
    assert found == powers(0) and len(found) == 2 and 20 <= np.min(found) <= np.max(found) <= 200
    drawn = workshop.draw(60, np.random.default_rng(7))
    assert left([*map(np.array, found)]) < min(left(pair) for pair in zip(drawn[::2], drawn[1::2], strict=True))


def test_what_no_wafer_holds_is_said_with_an_alloy():
    aim = Aim.of(SPACE, known=NOTHING)
    some = unreached(aim, [CO.compositions, MIDDLE.compositions])
    every = unreached(aim, [one.compositions for one in WAFERS])
    assert 0 < every.share < some.share < 1 and some.at_pct > every.at_pct > 5
    distance = 100 * distance_to(some.farthest[None], np.concatenate([CO.compositions, MIDDLE.compositions]))
    assert distance[0] == pytest.approx(some.at_pct)


def test_without_a_free_point_no_wafer_can_be_planned():
    none = Option(CO.select(np.empty(0, dtype=np.intp)))
    with pytest.raises(SpaceExhausted, match=r"Name more tables under \[candidates\]"):
        plan_wafers(Aim.of(SPACE, known=NOTHING), [none], n=1, points=5, cost=COST, seed=0)
