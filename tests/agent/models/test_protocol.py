"""Every base model and every baseline keeps the protocol."""

from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass

import numpy as np
import pytest
import torch

from glassmap.agent.models.base_model import FOLDS, Known
from glassmap.agent.models.base_models import BASE_MODELS, Setup
from glassmap.agent.models.baselines import BASELINES
from glassmap.agent.models.protocol import Model, stream_seed
from glassmap.agent.models.stacking import assign_folds
from tests.support.models import CPU, TINY, peaks

SETUP = Setup(TINY.model_copy(update={"members": 7}), CPU)
MODELS: dict[str, Callable[[], Model]] = {
    **{name: (lambda make=make: make(SETUP)) for name, make in BASE_MODELS.items()},
    **BASELINES,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_predicts_a_spectrum_of_each_alloy_and_says_what_it_can(name: str):
    x, _, y = peaks(20)
    predicted = MODELS[name]().fit(x, y, seed=0).predict(peaks(300, seed=1)[0])
    assert predicted.mean.shape == predicted.std.shape == (300, 96)
    assert np.isfinite(predicted.mean).all() and predicted.mean.min() >= -1e-4 and predicted.mean.max() <= 100 + 1e-4
    assert np.isnan(predicted.std).all() or (predicted.std >= 0).all()
    if predicted.members is not None:
        assert predicted.members.ndim == 3 and predicted.members.shape[::2] == (300, 96)
        np.testing.assert_allclose(predicted.members.mean(1), predicted.mean, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_decides_every_random_number(name: str):
    x, _, y = peaks(20)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    state = torch.get_rng_state()
    first, again = (MODELS[name]().fit(x, y, seed=3).predict(x) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.randint(10**6) == 985772  # noqa: NPY002
    np.testing.assert_allclose(first.mean, again.mean, atol=1e-10)
    np.testing.assert_allclose(first.std, again.std, atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_what_fit_returns_is_frozen_and_fitting_leaves_the_model_as_it_was(name: str):
    x, _, y = peaks(12)
    model = MODELS[name]()
    before = dict(vars(model))
    trained = model.fit(x, y, seed=0)
    assert vars(model) == before
    assert is_dataclass(trained)
    first = fields(trained)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(trained, first, None)


@pytest.mark.parametrize("name", MODELS)
def test_one_spectrum_and_replicates_are_legal(name: str):
    x, _, y = peaks(4)
    twice = np.repeat(x, 2, axis=0), np.repeat(y, 2, axis=0)
    for spectra in ((x[:1], y[:1]), twice):
        assert np.isfinite(MODELS[name]().fit(*spectra, seed=0).predict(x).mean).all()


@pytest.mark.parametrize("name", BASE_MODELS)
def test_a_base_model_predicts_blocks_as_it_predicts_arrays(name: str):
    x, _, y = peaks(20)
    trained = BASE_MODELS[name](SETUP).fit(x, y, seed=0)
    block = trained.predict_block(torch.tensor(x))
    k, b, m, q = block.draws.shape
    assert (b, q) == (20, 96) and k >= 1 and m >= 1
    np.testing.assert_array_equal(block.mean.numpy(), trained.predict(x).mean.astype(np.float32))
    assert block.unknown is None or (
        block.unknown.shape == (20,) and 0 <= block.unknown.min() <= block.unknown.max() <= 1
    )
    assert isinstance(trained.extrapolates, bool)


@pytest.mark.parametrize("name", BASE_MODELS)
def test_a_base_model_is_the_same_after_it_was_saved(name: str):
    x, _, y = peaks(20)
    model = BASE_MODELS[name](SETUP)
    trained = model.fit(x, y, seed=0)
    restored = model.restore(trained.save(), Known.of(x, y, CPU))
    for one, other in (
        (trained.predict(x).mean, restored.predict(x).mean),
        (trained.predict(x).std, restored.predict(x).std),
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", BASE_MODELS)
def test_a_base_model_without_a_fold_has_not_seen_it(name: str):
    x, _, y = peaks(40)
    model, folds = BASE_MODELS[name](SETUP), assign_folds(x, seed=0)
    assert set(folds) == set(range(FOLDS))
    other = y.copy()
    mine = np.flatnonzero(folds == 1)
    other[mine] += 0.1 * (y[np.roll(mine, 1)] - y[mine])  # of the same mean, and too little to move a kernel
    predicted: list[np.ndarray] = []
    for spectra in (y, other):
        trained = model.fit(x, spectra, seed=0, folds=folds)
        left = model.leave_out(1, trained, x, spectra, seed=0, folds=folds)
        assert left is not None
        predicted += [trained.predict(x[mine]).mean, left.predict(x[mine]).mean]
    first, first_left, second, second_left = predicted
    np.testing.assert_allclose(first_left, second_left, atol=0.01)
    assert np.abs(first - second).max() > 0.1


def test_the_streams_of_a_seed_are_apart():
    seeds = {
        stream_seed(seed, purpose, number) for seed in (0, 1) for purpose in ("member", "noise") for number in (0, 1)
    }
    assert len(seeds) == 8 and max(seeds) < 2**63 and min(seeds) >= 0
