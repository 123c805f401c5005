"""The way over a stage: each point once, short, and the same however the points are listed."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.planning.stage_path import length_of, stage_path

PLACES = st.lists(st.tuples(st.integers(-15, 15), st.integers(-15, 15)), min_size=1, max_size=14, unique=True)


@given(places=PLACES, seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_each_point_is_driven_to_once_by_no_longer_a_way_than_row_by_row(places: list[tuple[int, int]], seed: int):
    x, y = 3.0 * np.array(places, dtype=float).T
    way = stage_path(x, y)
    assert sorted(way.tolist()) == list(range(len(x)))
    rows = sorted({*y.tolist()})
    fro = np.where([rows.index(at) % 2 == 1 for at in y], -x, x)
    by_rows = np.lexsort((fro, y))
    assert length_of(x[way], y[way]) <= length_of(x[by_rows], y[by_rows]) + 1e-9
    other = np.random.default_rng(seed).permutation(len(x))
    again = other[stage_path(x[other], y[other])]
    np.testing.assert_array_equal(again, way)


def test_a_grid_is_driven_through_without_a_step_longer_than_its_pitch():
    x, y = (axis.ravel() for axis in np.meshgrid(np.arange(-30.0, 31, 3), np.arange(-30.0, 31, 3)))
    assert length_of(*(axis[stage_path(x, y)] for axis in (x, y))) == pytest.approx(440 * 3.0)


def test_of_few_points_the_way_is_within_a_twentieth_of_the_shortest_on_average():
    rng = np.random.default_rng(3)
    over = list[float]()
    for _ in range(12):
        x, y = rng.uniform(-40, 40, (2, 7))
        ways = (np.array(way) for way in itertools.permutations(range(7)) if way[0] < way[-1])
        shortest = min(length_of(x[way], y[way]) for way in ways)
        way = stage_path(x, y)
        over.append(length_of(x[way], y[way]) / shortest)
    assert min(over) >= 1 - 1e-9 and np.mean(over) < 1.05
