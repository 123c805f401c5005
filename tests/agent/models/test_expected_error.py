"""What error is expected of a spectrum, and where that makes an alloy known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.models.expected_error import ExpectedError, LeftOut
from tests.support.models import TINY, peaks

CORNER = np.array([[0.0, 0.0, 1.0]])


@pytest.fixture(scope="module")
def of_one_side() -> tuple[TrainedEnsemble, np.ndarray, np.ndarray]:
    """It learned from alloys with less than 40 at.% of the last element; they are there, and all others."""
    x, _, y = peaks(150)
    near = x[:, 2] < 0.4
    learned = np.flatnonzero(near)[:40]
    rest = np.setdiff1d(np.arange(150), learned)
    return Ensemble(TINY, device="cpu").fit(x[learned], y[learned]), x[rest], y[rest]


def test_the_share_of_each_cause_is_found_again_in_scattered_errors():
    rng = np.random.default_rng(0)
    spreads, unknown, far = rng.uniform(0, 2, 4000), rng.uniform(0, 0.2, 4000), rng.uniform(0, 1, 4000)
    singles = LeftOut((3 + 4 * spreads**2 + 50 * unknown**2) * rng.gamma(2, 0.5, 4000), unknown)
    regions = LeftOut((5 + 50 * far**2) * rng.gamma(2, 0.5, 4000), far)
    found = ExpectedError.learned_from(singles, regions, spreads=spreads, guess=40.0)
    assert (found.noise, found.spread_factor, found.unknown_factor) == pytest.approx((3, 4, 50), rel=0.15)
    assert found.limit == pytest.approx((found.noise + 10) ** 0.5), "noise aside, half of the error of a guess"
    alike = ExpectedError.learned_from(singles, LeftOut(np.full(50, 5.0), far[:50]), spreads=spreads, guess=40.0)
    assert alike.unknown_factor == 40, "regions that show nothing of it make no one better than a guess"
    usual, beyond = torch.tensor([found.most_spread, 100.0]), torch.zeros(2)
    assert found.at(usual, beyond)[0] == found.at(usual, beyond)[1], "a spread that was hardly ever seen says no more"


def test_where_nothing_was_measured_is_not_known_and_errs_as_much_as_is_expected(of_one_side):
    ensemble, x, y = of_one_side
    expected = ensemble.expected_errors(x)
    actual = np.sqrt(np.square(ensemble.predict(x).mean - y).mean(1))
    known = expected < ensemble.known_below
    guess = ensemble.stack.expected_error.guess**0.5
    assert known[x[:, 2] < 0.3].mean() > 0.8 and not known[x[:, 2] > 0.7].any()
    assert ensemble.expected_errors(CORNER) > ensemble.known_below
    assert np.sqrt(np.mean(actual[known] ** 2)) < 0.5 * guess < np.sqrt(np.mean(actual[~known] ** 2))
    assert np.corrcoef(expected, actual)[0, 1] > 0.6


def test_the_spread_is_that_of_the_epistemic_std(of_one_side):
    ensemble, x, _ = of_one_side
    for block in ensemble.stack.predict_blocks(x):
        expected = block.epistemic_std(ensemble.weights).double().square().mean(1).sqrt()
        torch.testing.assert_close(block.spread(ensemble.weights).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_keeps_what_is_expected_and_one_without_it_says_nothing(of_one_side, tmp_path: Path):
    ensemble, x, _ = of_one_side
    path = ensemble.save(tmp_path, axis=np.linspace(1, 5, 96), record={})
    again = TrainedEnsemble.load(path, device="cpu")
    assert again.known_below == ensemble.known_below
    np.testing.assert_array_equal(again.expected_errors(x), ensemble.expected_errors(x))
    without = replace(ensemble, stack=replace(ensemble.stack, expected_error=None))
    older = TrainedEnsemble.load(without.save(tmp_path, axis=np.linspace(1, 5, 96), record={}), device="cpu")
    assert np.isnan(older.known_below) and np.isnan(older.expected_errors(x)).all()


def test_of_too_few_alloys_nothing_is_said_to_be_known():
    x, _, y = peaks(6)
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    assert np.isnan(ensemble.expected_errors(x)).all() and np.isnan(ensemble.known_below)
