"""Models that learn process variables beside the composition."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.context import Context, Encoding, rows_of
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.errors import ModelError
from glassmap.agent.models.base_models import BASE_MODELS, Setup
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.gaussian_process import GaussianProcess
from tests.support.models import CPU, TINY, peaks


def two_rates(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Compositions and spectra of films whose peak lies elsewhere where they were made fast, and the rate of each."""
    x, _, y = peaks(n, seed=seed)
    fast = np.random.default_rng(seed).random(n) < 0.5
    return x, np.where(fast[:, None], np.roll(y, 12, axis=1), y), {"rate": np.where(fast, "high", "low")}


LEARNED = two_rates(40)
ASKED = two_rates(40, seed=1)


def test_every_base_model_learns_what_the_process_does():
    (x, y, columns), (asked, truth, of_each) = LEARNED, ASKED
    encoding = Encoding.learned_from(Context(columns, {"rate": "high"}))
    slow = {"rate": np.full(len(asked), "low")}
    for name, make in BASE_MODELS.items():
        told = make(Setup(TINY, CPU, context=encoding.width)).fit(encoding.beside(x, columns), y, seed=0)
        blind = make(Setup(TINY, CPU)).fit(x, y, seed=0)
        mean = told.predict(encoding.beside(asked, of_each)).mean
        assert np.abs(mean - told.predict(encoding.beside(asked, slow)).mean).max() > 1, name
        if name != "networks":  # so few steps teach them little
            error = mean_squared_error(blind.predict(asked).mean, truth)
            assert mean_squared_error(mean, truth) < 0.6 * error, name


def test_compositions_alone_are_predicted_at_the_value_that_is_held(tmp_path: Path):
    x, y, columns = LEARNED
    trained = Ensemble(TINY, device="cpu").fit(x, y, context=Context(columns, {"rate": "high"}))
    high, low = ({"rate": np.full(len(x), rate)} for rate in ("high", "low"))
    np.testing.assert_array_equal(trained.predict(x).mean, trained.predict(x, context=high).mean)
    slow = trained.held_at({"rate": "low"})
    np.testing.assert_array_equal(slow.predict(x).mean, trained.predict(x, context=low).mean)
    assert np.abs(slow.predict(x).mean - trained.predict(x).mean).max() > 5
    path = trained.save(tmp_path, axis=np.arange(y.shape[1], dtype=np.float64), record={})
    again = type(trained).load(path, device="cpu")
    np.testing.assert_array_equal(again.predict(x).mean, trained.predict(x).mean)
    np.testing.assert_array_equal(again.held_at({"rate": "low"}).predict(x).mean, slow.predict(x).mean)


def test_a_process_that_makes_no_difference_does_not_count():
    x, _, y = peaks(40)
    y = y + np.random.default_rng(0).normal(0, 0.5, y.shape)
    beside = np.concatenate([x, np.random.default_rng(1).integers(0, 2, (40, 1))], axis=1)
    assert GaussianProcess(CPU, 1).fit(beside, y, seed=0).kernel.context == 0
    assert GaussianProcess(CPU).fit(x, y, seed=0).kernel == GaussianProcess(CPU, 1).fit(beside, y, seed=0).kernel


def test_an_ensemble_is_held_only_at_what_it_learned():
    x, y, columns = LEARNED
    few = np.flatnonzero(columns["rate"] == "low")
    slow = Ensemble(TINY, device="cpu").fit(x[few], y[few], context=Context(rows_of(columns, few), {"rate": "high"}))
    low = {"rate": np.full(len(few), "low")}
    same = slow.predict(x[few], context=low).mean
    np.testing.assert_allclose(slow.predict(x[few]).mean, same, atol=1e-4, err_msg="until one was made so")
    with pytest.raises(ModelError, match=r"rate = medium, .* there are low"):
        slow.held_at({"rate": "medium"})
    with pytest.raises(ModelError, match="learned from compositions alone and can't be held at rate = low"):
        Ensemble(TINY, device="cpu").fit(x, y).held_at({"rate": "low"})
