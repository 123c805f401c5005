"""Every baseline learns."""

import numpy as np
import pytest

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.baselines import BASELINES


def halos(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    compositions = np.random.default_rng(seed).dirichlet(np.ones(3), n)
    q = np.linspace(1, 5, 60)
    return compositions, 100 * np.exp(-((q - 2 - compositions @ [[0.0], [0.5], [1.0]]) ** 2))


@pytest.mark.parametrize("name", sorted(BASELINES.keys() - {"mean"}))
def test_a_baseline_learns_unseen_spectra(name):
    x, y = halos(60, 0)
    asked, truth = halos(50, 1)
    predicted = BASELINES[name]().fit(x, y, seed=0).predict(asked).mean
    assert predicted.shape == truth.shape
    assert mean_squared_error(predicted, truth) < 0.25 * truth.var(axis=0).mean()
    assert ((predicted >= 0) & (predicted <= 100)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_replicates_and_a_single_spectrum_are_legal(name):
    x, y = halos(4, 0)
    model = BASELINES[name]().fit(np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0), seed=0)
    assert np.isfinite(model.predict(x).mean).all()
    one = BASELINES[name]().fit(x[:1], y[:1], seed=0).predict(x).mean
    np.testing.assert_allclose(one, np.repeat(y[:1], 4, axis=0), atol=1e-6)


def test_the_mean_spectrum_knows_nothing_of_composition():
    x, y = halos(20, 0)
    predicted = BASELINES["mean"]().fit(x, y, seed=0).predict(halos(50, 1)[0])
    np.testing.assert_array_equal(predicted.mean, np.tile(y.mean(axis=0), (50, 1)))


def test_nearest_neighbour_repeats_what_it_knows():
    x, y = halos(20, 0)
    np.testing.assert_array_equal(BASELINES["nearest"]().fit(x, y, seed=0).predict(x).mean, y)
