"""The Gaussian process."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.gaussian_process import LENGTHS, GaussianProcess, Kernel, leave_one_out_error, matern
from glassmap.agent.models.stacking import assign_folds
from tests.support.models import CPU, peaks

PROCESS = GaussianProcess(CPU)


def smooth(x: np.ndarray, y: np.ndarray, asked: np.ndarray) -> np.ndarray:
    shares, _ = PROCESS.fit(x, y, seed=0).blend(torch.tensor(asked))
    return shares.numpy() @ y


def test_a_smooth_system_is_interpolated_closely():
    x, _, y = peaks(60)
    asked, _, truth = peaks(40, seed=1)
    np.testing.assert_allclose(smooth(x, y, x), y, atol=2)
    assert mean_squared_error(smooth(x, y, asked), truth) < 0.02 * np.var(truth)


def test_noise_is_smoothed_out():
    x, _, y = peaks(80)
    noisy = (y + 5 * np.random.default_rng(0).normal(size=y.shape)).clip(0, 100)
    assert mean_squared_error(smooth(x, noisy, x), y) < 0.5 * 25


@given(n=st.integers(1, 12), height=st.floats(0, 100))
def test_spectra_that_are_all_the_same_stay_so_everywhere(n: int, height: float):
    x, _, _ = peaks(n)
    spectra = smooth(x, np.full((n, 64), height), peaks(20, seed=2)[0])
    np.testing.assert_allclose(spectra, height, atol=1e-6)


def test_the_length_of_the_kernel_follows_how_fast_spectra_change():
    x, _, y = peaks(80)
    rough = 50 + 50 * np.sin(20 * x[:, :1]) * np.ones((1, 64))
    straight = 100 * x[:, :1] * np.ones((1, 64))
    lengths = [Kernel.choose(x, spectra).length for spectra in (straight, y, rough)]
    assert lengths[0] == max(LENGTHS) and lengths == sorted(lengths, reverse=True) and lengths[2] < lengths[0]


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_spectra_are_enough(n: int):
    x, _, y = peaks(n)
    assert np.isfinite(smooth(x, y, peaks(5, seed=1)[0])).all()


def test_the_posterior_std_is_small_at_measurements_and_grows_away_from_them():
    x, _, y = peaks(60)
    near = x[:, 0] > 0.4
    trained = PROCESS.condition(x[near], y[near], Kernel(0.15, 1e-4))
    std = trained.blend(torch.tensor(x))[1].numpy()
    assert std[near].max() < 0.4 < std[x[:, 0] < 0.1].mean() < std.max() <= 1
    np.testing.assert_allclose(trained.predict(x).std, std[:, None] * y[near].std(0), atol=1e-4)


def test_a_fold_is_left_out_with_the_kernel_of_all():
    x, _, y = peaks(40)
    folds, trained = assign_folds(x, seed=0), PROCESS.fit(x, y, seed=0)
    left = PROCESS.leave_out(2, trained, x, y, seed=0, folds=folds)
    assert left.kernel == trained.kernel
    again = PROCESS.condition(x[folds != 2], y[folds != 2], trained.kernel)
    np.testing.assert_array_equal(left.predict(x).mean, again.predict(x).mean)


def test_replicates_are_averaged():
    x, _, y = peaks(20)
    twice, both = np.concatenate([x, x]), np.concatenate([y, (y + 10).clip(0, 100)])
    assert np.abs(smooth(twice, both, x) - (y + 5)).mean() < 1.5


def test_the_leave_one_out_error_is_that_of_leaving_each_spectrum_out():
    x, _, y = peaks(12)
    kernel, noise = matern(torch.cdist(torch.tensor(x), torch.tensor(x)), 0.6).numpy(), 0.01
    residuals = []
    for one in range(12):
        rest = np.arange(12) != one
        mean = y[rest].mean(0)
        blend = np.linalg.solve(kernel[np.ix_(rest, rest)] + noise * np.eye(11), kernel[rest, one])
        residuals.append(y[one] - mean - blend @ (y[rest] - mean))
    np.testing.assert_allclose(leave_one_out_error(kernel, y, noise), np.square(residuals).mean(), rtol=1e-9)
