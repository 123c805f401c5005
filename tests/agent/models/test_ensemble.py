"""What an ensemble predicts."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.errors import ModelError
from glassmap.agent.models.base_models import ALONE, BASE_MODELS
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, resolve_device
from tests.support.models import TINY, peaks


def test_training_is_repeatable_and_leaves_the_global_random_state_alone():
    x, _, y = peaks(20)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = Ensemble(TINY, seed=3, device="cpu").fit(x, y).predict(x).mean
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    np.testing.assert_array_equal(Ensemble(TINY, seed=3, device="cpu").fit(x, y).predict(x).mean, first)
    others = [next(Ensemble(TINY, seed=seed, device="cpu").fit(x, y).predict_blocks(x))[1] for seed in (3, 4)]
    assert (others[0] - others[1]).abs().mean((0, 2))[:2].min() > 0.1, "networks are those of the seed"


def test_unseen_spectra_are_predicted_far_better_than_by_their_mean():
    x, _, y = peaks(40)
    asked, _, truth = peaks(60, seed=1)
    config = TrainingConfig(members=2, steps=200)
    predicted = Ensemble(config, device="cpu").fit(x, y).predict(asked).mean
    assert mean_squared_error(predicted, truth) < 0.1 * mean_squared_error(0 * truth + y.mean(0), truth)


def test_every_base_model_of_the_registry_is_stacked_and_named():
    x, _, y = peaks(20)
    stacked = Ensemble(TINY, device="cpu").fit(x, y)
    assert tuple(stacked.weights) == tuple(BASE_MODELS)
    assert sum(stacked.weights.values()) == pytest.approx(1)
    alone = Ensemble(TINY.model_copy(update={"stacked": False}), device="cpu").fit(x, y)
    assert dict(alone.weights) == dict.fromkeys(ALONE, 1.0)
    members = next(stacked.predict_blocks(x))[1]
    assert members.shape == (20, TINY.members + len(BASE_MODELS) - 1, 96)


def test_an_ensemble_that_has_learned_is_frozen():
    x, _, y = peaks(10)
    untrained = Ensemble(TINY, device="cpu")
    trained = untrained.fit(x, y)
    for one, name in ((untrained, "seed"), (trained, "stack"), (trained.stack, "weights")):
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, None)
    assert not hasattr(untrained, "predict"), "what hasn't learned can't be asked"


def test_one_spectrum_is_enough_to_train_on():
    x, _, y = peaks(1)
    assert np.isfinite(Ensemble(TINY, device="cpu").fit(x, y).predict(x).mean).all()


def test_spectra_that_are_all_zero_are_learned_too():
    x, _, y = peaks(20)
    assert np.abs(Ensemble(TINY, device="cpu").fit(x, 0 * y).predict(x).mean).max() < 5


def test_disagreement_is_small_where_it_was_measured():
    x, _, y = peaks(40)
    near_titanium = x[:, 1] > x[:, 0]
    ensemble = Ensemble(TrainingConfig(members=4, steps=150), device="cpu").fit(x[near_titanium], y[near_titanium])
    asked = peaks(200, seed=1)[0]
    disagreement = ensemble.disagreement(asked)
    assert disagreement[asked[:, 0] > 0.7].mean() > 2 * disagreement[asked[:, 1] > 0.6].mean()
    np.testing.assert_allclose(disagreement, ensemble.predict(asked).epistemic_std.mean(1), rtol=1e-5)


def test_an_alloys_spectrum_does_not_depend_on_what_is_asked_for_with_it():
    x, _, y = peaks(30)
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    many = peaks(300, seed=5)[0]
    np.testing.assert_allclose(ensemble.predict(many).mean[[290]], ensemble.predict(many[[290]]).mean, atol=1e-4)


def test_blocks_are_what_the_prediction_is_made_of():
    x, _, y = peaks(30)
    ensemble, many = Ensemble(TINY, device="cpu").fit(x, y), peaks(300, seed=5)[0]
    means = np.concatenate([mean.numpy() for mean, *_ in ensemble.predict_blocks(many)])
    np.testing.assert_array_equal(means, ensemble.predict(many).mean.astype(np.float32))


def test_unnormalised_spectra_keep_their_scale():
    x, _, y = peaks(30)
    predicted = Ensemble(TrainingConfig(members=1, steps=120), device="cpu").fit(x, y / 30).predict(x).mean
    assert mean_squared_error(predicted, y / 30) < 0.1 * np.var(y / 30)


def test_negative_spectra_are_learned_as_well():
    """A reduced pair distribution swings around zero."""
    x, q, y = peaks(40)
    wave = (y - 50) / 25 * np.cos(4 * q)
    predicted = Ensemble(TrainingConfig(members=1, steps=300), device="cpu").fit(x, wave).predict(x).mean
    assert mean_squared_error(predicted, wave) < 0.2 * np.var(wave)
    assert predicted.min() < 0.5 * wave.min()


def test_wrong_use_is_refused_in_words():
    x, _, y = peaks(5)
    with pytest.raises(ModelError, match="at least one spectrum"):
        Ensemble(TINY).fit(x[:0], y[:0])
    ensemble = Ensemble(TINY, device="cpu").fit(x, y)
    for ask in (ensemble.predict, ensemble.disagreement, lambda few: next(ensemble.predict_blocks(few))):
        with pytest.raises(ModelError, match="trained on 3 elements, got compositions of 2"):
            ask(x[:, :2])
    with pytest.raises(ModelError, match="device must be"):
        resolve_device("abacus")
