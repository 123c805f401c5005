"""The kernel smoother that stands beside each network."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.smoother import LENGTHS, Smoother, _leave_one_out, _matern
from agent.spectrum import mean_squared_error
from tests.test_ensemble import peaks


def fit(x: np.ndarray, y: np.ndarray, seen: np.ndarray | None = None) -> Smoother:
    return Smoother.fit(x, y, seen=np.ones((1, len(x)), dtype=bool) if seen is None else seen)


def ask(smoother: Smoother, x: np.ndarray) -> np.ndarray:
    return smoother(torch.tensor(x))[0].numpy().astype(np.float64)


def test_a_smooth_system_is_interpolated_closely():
    x, _, y = peaks(60)
    unseen, _, truth = peaks(40, seed=1)
    smoother = fit(x, y)
    np.testing.assert_allclose(ask(smoother, x)[:, 0], y, atol=2)
    assert mean_squared_error(ask(smoother, unseen)[:, 0], truth) < 0.02 * np.var(truth)


def test_noise_is_smoothed_out():
    x, _, y = peaks(80)
    noisy = (y + 5 * np.random.default_rng(0).normal(size=y.shape)).clip(0, 100)
    assert mean_squared_error(ask(fit(x, noisy), x)[:, 0], y) < 0.5 * 25


@given(n=st.integers(1, 12), height=st.floats(0, 100))
def test_spectra_that_are_all_the_same_stay_so_everywhere(n: int, height: float):
    x, _, _ = peaks(n)
    spectra = ask(fit(x, np.full((n, 64), height)), peaks(20, seed=2)[0])
    np.testing.assert_allclose(spectra, height, atol=1e-3)


def test_a_member_knows_nothing_of_what_it_has_not_seen():
    x, _, y = peaks(30)
    seen = np.arange(30) % 3 != np.arange(3)[:, None]
    smoother = fit(x, y, seen)
    changed = y.copy()
    changed[::3] = 50  # what member 0 leaves out
    smoother.spectra.copy_(torch.tensor(changed))
    unseen = peaks(10, seed=1)[0]
    np.testing.assert_array_equal(ask(smoother, unseen)[:, 0], ask(fit(x, y, seen), unseen)[:, 0])
    assert np.abs(ask(smoother, unseen)[:, 1] - ask(fit(x, y, seen), unseen)[:, 1]).max() > 1


def test_the_length_of_the_kernel_follows_how_fast_spectra_change():
    x, _, y = peaks(80)
    rough = 50 + 50 * np.sin(20 * x[:, :1]) * np.ones((1, 64))
    straight = 100 * x[:, :1] * np.ones((1, 64))
    lengths = [float(fit(x, spectra).length) for spectra in (straight, y, rough)]
    assert lengths[0] == max(LENGTHS) and lengths == sorted(lengths, reverse=True) and lengths[2] < lengths[0]


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_spectra_are_enough(n: int):
    x, _, y = peaks(n)
    assert np.isfinite(ask(fit(x, y), peaks(5, seed=1)[0])).all()


def test_doubt_is_small_at_measurements_and_grows_away_from_them():
    x, _, _ = peaks(60)
    rough = 50 + 50 * np.sin(20 * x[:, :1]) * np.ones((1, 64))
    near = x[:, 0] > 0.4
    smoother = fit(x[near], rough[near])
    doubt = smoother(torch.tensor(x))[1].numpy()[:, 0]
    assert doubt[near].max() < 0.4 < doubt[x[:, 0] < 0.1].mean() < doubt.max() <= 1


def test_replicates_are_averaged():
    x, _, y = peaks(20)
    twice, both = np.concatenate([x, x]), np.concatenate([y, (y + 10).clip(0, 100)])
    assert np.abs(ask(fit(twice, both), x)[:, 0] - (y + 5)).mean() < 1.5


def test_the_leave_one_out_error_is_that_of_leaving_each_spectrum_out():
    x, _, y = peaks(12)
    kernel, noise = _matern(torch.cdist(torch.tensor(x), torch.tensor(x)), 0.6).numpy(), 0.01
    residuals = []
    for one in range(12):
        rest = np.arange(12) != one
        mean = y[rest].mean(0)
        blend = np.linalg.solve(kernel[np.ix_(rest, rest)] + noise * np.eye(11), kernel[rest, one])
        residuals.append(y[one] - mean - blend @ (y[rest] - mean))
    np.testing.assert_allclose(_leave_one_out(kernel, y, noise), np.square(residuals).mean(), rtol=1e-9)
