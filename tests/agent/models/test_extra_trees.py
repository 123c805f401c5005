"""The randomised trees."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import ExtraTreesRegressor

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.baselines import ExtraTrees
from glassmap.agent.models.extra_trees import TREES, RandomisedTrees
from glassmap.agent.models.protocol import stream_seed
from tests.support.models import CPU, peaks


def shares(x: np.ndarray, y: np.ndarray, asked: np.ndarray, *, seed: int = 0) -> np.ndarray:
    return RandomisedTrees(CPU).fit(x, y, seed=seed).blend(torch.tensor(asked)).numpy()


@given(n=st.integers(1, 40), elements=st.integers(2, 5), seed=st.integers(0, 1000))
def test_what_trees_predict_is_a_mean_of_measured_spectra(n: int, elements: int, seed: int):
    rng = np.random.default_rng(seed)
    x, asked = (rng.dirichlet(np.ones(elements), size) for size in (n, 20))
    found = shares(x, rng.normal(size=(n, 16)), asked, seed=seed)
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(1), 1)


def test_a_measured_alloy_has_its_own_spectrum():
    x, _, y = peaks(40)
    np.testing.assert_allclose(shares(x, y, x), np.eye(40), atol=1e-12)


def test_replicates_count_as_their_mean():
    x, _, y = peaks(20)
    twice, both = np.concatenate([x, x + 1e-9]), np.concatenate([y, y + 10])
    predicted = shares(twice, both, x) @ both
    np.testing.assert_allclose(predicted, y + 5, atol=1e-9)


def test_the_tables_predict_what_scikit_learns_trees_do():
    x, _, y = peaks(30)
    asked, order = peaks(200, seed=1)[0], np.lexsort(x.round(6).T[::-1])
    x, y = x[order], y[order]
    theirs = ExtraTreesRegressor(TREES, random_state=stream_seed(3, "trees") % 2**32).fit(x.round(6), y).predict(asked)
    np.testing.assert_allclose(shares(x, y, asked, seed=3) @ y, theirs, atol=1e-8)


def test_they_are_as_good_as_the_baseline_of_whole_spectra():
    x, _, y = peaks(60)
    asked, _, truth = peaks(200, seed=1)
    ours = mean_squared_error(shares(x, y, asked) @ y, truth)
    theirs = mean_squared_error(ExtraTrees().fit(x, y, seed=0).predict(asked).mean, truth)
    assert 0.8 * theirs < ours < 1.25 * theirs
