"""Enough of a wafer: what the rest would bring, where it is known what that is."""

import time
from typing import Any

import numpy as np
import pytest

from glassmap.agent.planning.convergence import On
from glassmap.agent.planning.enough import FEWEST, REACH_AT_PCT, Kernel, Rest, posterior, say_rest, weigh_rest

AXIS = np.linspace(1.5, 4.5, 60)
THRESHOLD = 0.6


def wafer(pitch: float = 6.0) -> np.ndarray:
    """Compositions of points on a square grid of 60 mm, 0.5 at.% a mm, row by row."""
    x, y = (part.ravel() for part in np.meshgrid(*[np.arange(-30, 31, pitch)] * 2, indexing="xy"))
    shares = np.stack([0.3 + 0.005 * x, 0.3 + 0.005 * y], axis=1)
    return np.column_stack([shares, 1 - shares.sum(1)])


def widths(points: np.ndarray) -> np.ndarray:
    """A step as wide as a third of the wafer, and noise."""
    noise = np.random.default_rng(1).normal(scale=0.003, size=len(points))
    return 0.5 + 0.2 * np.tanh((points[:, 1] - 0.3) / 0.1) + noise


def spectra(points: np.ndarray, noise: float = 0.3) -> np.ndarray:
    centre, width = 2.4 + 0.6 * points[:, :1], widths(points)[:, None]
    made = 100 / (1 + 4 * ((AXIS - centre) / width) ** 2)
    return made + np.random.default_rng(0).normal(scale=noise, size=made.shape)


def spread(points: np.ndarray, every: int) -> np.ndarray:
    """Every so many rows and columns of the grid."""
    side = round(len(points) ** 0.5)
    return np.arange(len(points)).reshape(side, side)[::every, ::every].ravel()


def weigh(rows: np.ndarray, points: np.ndarray, on: On = "mse", **settings: Any) -> Rest:
    rest = weigh_all(rows, points, on, **settings)
    assert rest is not None
    return rest


def weigh_all(rows: np.ndarray, points: np.ndarray, on: On = "mse", **settings: Any) -> Rest | None:
    left = ~np.isin(np.arange(len(points)), rows)
    measured = spectra(points)[rows] if on == "mse" else widths(points)[rows]
    return weigh_rest(on, points[rows], measured, points, left, **settings)


def test_what_is_left_between_measured_points_brings_little_and_what_lies_beyond_them_much():
    points = wafer()
    between, beyond = weigh(spread(points, 2), points, mse=5.0), weigh(np.arange(36), points, mse=5.0)
    assert between.gain < 0.04 < 0.5 < beyond.gain
    assert between.is_enough(0.05) and not beyond.is_enough(0.05)
    assert between.farthest_at_pct == pytest.approx(100 * 0.03 * 2**0.5, abs=2) and beyond.farthest_at_pct > 30


def test_the_gain_falls_as_points_are_measured_and_is_none_once_all_are():
    points = wafer()
    gains = [weigh(spread(points, every), points, mse=5.0).gain for every in (3, 2, 1)]
    assert gains == sorted(gains, reverse=True) and gains[0] > 2 * gains[1] > gains[-1] == 0
    done = weigh(np.arange(len(points)), points)
    assert (done.gain, done.farthest_at_pct, len(done.next)) == (0, 0, 0) and done.is_enough(0.05)


def test_it_is_not_enough_while_a_point_lies_far_from_all_however_little_it_seems_to_bring():
    points = wafer()
    near = np.flatnonzero(points[:, 1] < 0.36)
    rest = weigh(near, points, mse=1e6)
    assert rest.gain < 0.05 and rest.farthest_at_pct > REACH_AT_PCT and not rest.is_enough(0.05)
    assert "but one lies 17 at.% from every one that is measured" in say_rest(
        "mse", rest.gain, 0.05, rest.farthest_at_pct
    )


def test_the_next_points_are_left_are_far_from_each_other_and_bring_more_than_others():
    points, rows = wafer(), np.arange(60)
    rest = weigh(rows, points, mse=5.0)
    assert len(rest.next) == 5 and not set(rest.next) & set(rows)
    worst = np.setdiff1d(np.arange(60, 66), rest.next)[:5]
    assert (
        weigh(np.append(rows, rest.next), points, mse=5.0).gain
        < 0.5 * weigh(np.append(rows, worst), points, mse=5.0).gain
    )


def test_the_expected_fall_is_the_one_that_comes():
    """Against what a process of the same kernel finds, averaged over many functions drawn from it."""
    points, rng = wafer(12.0), np.random.default_rng(1)
    kernel, rows = Kernel(0.4, 1e-3), np.arange(0, 36, 3)
    prior = posterior(kernel, points[:0], points)
    drawn = rng.multivariate_normal(np.zeros(len(points)), prior + 1e-9 * np.eye(len(points)), size=400)
    noisy = drawn + rng.normal(scale=kernel.noise**0.5, size=drawn.shape)
    across = prior[rows]
    foreseen = noisy[:, rows] @ np.linalg.solve(prior[np.ix_(rows, rows)] + kernel.noise * np.eye(len(rows)), across)
    expected = np.diag(posterior(kernel, points[rows], points))
    assert np.mean((foreseen - drawn) ** 2) == pytest.approx(expected.mean(), rel=0.1)


def test_few_spectra_tell_nothing_and_points_without_a_first_peak_are_not_counted():
    points = wafer()
    assert weigh_all(np.arange(FEWEST - 1), points) is None
    rows, delta_q = np.arange(0, len(points), 3), widths(points)
    delta_q[rows[FEWEST - 1 :]] = np.nan
    left = ~np.isin(np.arange(len(points)), rows)
    assert weigh_rest("delta_q", points[rows], delta_q[rows], points, left) is None


@pytest.mark.parametrize("on", ["delta_q", "glass"])
def test_the_gain_is_in_the_unit_of_what_has_to_settle(on: On):
    points = wafer()
    between, beyond = (weigh(rows, points, on, threshold=THRESHOLD) for rows in (spread(points, 2), np.arange(36)))
    largest = {"delta_q": 0.3, "glass": 1.0}[on]
    assert 0 < between.gain < {"delta_q": 0.002, "glass": 0.02}[on] < beyond.gain < largest


def test_a_wafer_of_441_points_is_weighed_in_less_than_a_second():
    points = wafer(3.0)
    rows = np.sort(np.random.default_rng(2).permutation(441)[:400])
    begun = time.process_time()
    rest = weigh(rows, points)
    assert time.process_time() - begun < 2  # of all cores together
    assert weigh(rows, points).next.tolist() == rest.next.tolist()


@pytest.mark.parametrize(
    ("on", "words"),
    [
        ("mse", "the others would lower the MSE by 1.2 % (tolerance 5 %)"),
        ("delta_q", "the others would lower the error of Δq by 0.0120 Å⁻¹ (tolerance 0.05 Å⁻¹)"),
        ("glass", "1.2 % of its alloys would yet change sides of the glass boundary (tolerance 5 %)"),
    ],
)
def test_it_is_said_in_its_unit(on: On, words: str):
    assert say_rest(on, 0.012, 0.05, 3.0) == words


def test_no_number_is_said_where_nearly_all_of_the_error_is_counted_on():
    assert say_rest("mse", 1.0, 0.05, 3.0) == "the others would lower the MSE by most of what it is (tolerance 5 %)"
