"""The networks as a base model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from glassmap.agent.models.base_model import FOLDS
from glassmap.agent.models.config import ARCHITECTURES, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.network_ensemble import NetworkEnsemble
from glassmap.agent.models.stacking import assign_folds
from tests.support.models import CPU, NOISY, TINY, peaks


def test_a_member_never_sees_the_spectra_that_it_leaves_out():
    x, _, y = peaks(40)
    config = TrainingConfig(architecture="compact", members=6, steps=20)
    ensemble, asked = Ensemble(config, device="cpu"), peaks(9, seed=1)[0]
    folds = assign_folds(x, seed=0)
    changed = y.copy()
    mine = np.flatnonzero(folds == 1)
    changed[mine] = y[np.roll(mine, 1)]  # of the same mean and range
    for z in (y, changed):
        z[0, :2] = 0, 100
    before, after = (ensemble.fit(x, z) for z in (y, changed))
    first, second = (next(e.predict_blocks(asked))[1][:, :6].numpy() for e in (before, after))
    np.testing.assert_allclose(first[:, 1], second[:, 1], atol=0.05)
    assert np.abs(first - second).max(axis=(0, 2))[[0, 2, 3, 4, 5]].min() > 0.5


def test_the_members_that_left_a_fold_out_predict_it_without_training_again():
    x, _, y = peaks(40)
    model, folds = NetworkEnsemble(TINY.model_copy(update={"members": 7}), CPU), assign_folds(x, seed=3)
    trained = model.fit(x, y, seed=3, folds=folds)
    every = trained.predict(x).members
    assert every is not None
    for fold, mine in ((0, [0, 5, 0, 5, 0, 5, 0]), (1, [1, 6, 1, 6, 1, 6, 1]), (2, [2] * 7)):
        left = model.leave_out(fold, trained, x, y, seed=3, folds=folds)
        assert left is not None and left.generator is trained.generator
        np.testing.assert_array_equal(left.predict(x).members, every[:, mine])


def test_a_fold_that_every_member_has_seen_can_not_be_left_out():
    x, _, y = peaks(40)
    model, folds = NetworkEnsemble(TINY, CPU), assign_folds(x, seed=0)
    trained = model.fit(x, y, seed=0, folds=folds)
    left = [model.leave_out(fold, trained, x, y, seed=0, folds=folds) for fold in range(FOLDS)]
    assert [one is None for one in left] == [False, False, True, True, True]


def test_epistemic_and_aleatoric_std_are_told_apart(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ARCHITECTURES, "noisy", "tests.support.models:NOISY")
    x, _, y = peaks(30)
    networks = TINY.model_copy(update={"stacked": False, "architecture": "noisy", "energy": 1.0})
    predicted = Ensemble(networks, device="cpu").fit(x, y).predict(x)
    assert predicted.epistemic_std.mean() > 0
    assert predicted.aleatoric_std.mean() > 0
    alone = Ensemble(networks.model_copy(update={"members": 1}), device="cpu").fit(x, y).predict(x)
    assert not alone.epistemic_std.any()


def test_the_default_networks_are_generative_and_those_that_learn_by_fidelity_alone_are_not():
    x, _, y = peaks(30)
    default = TINY.model_copy(update={"architecture": "auto", "energy": 1.0})
    assert Ensemble(default, device="cpu").fit(x, y).predict(x).aleatoric_std.min() > 0
    assert not Ensemble(TINY, device="cpu").fit(x, y).predict(x).aleatoric_std.any(), "it learns by fidelity alone"


def test_the_few_draws_that_make_a_members_mean_come_nearer_to_that_of_many_than_others(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(ARCHITECTURES, "noisy", "tests.support.models:NOISY")
    x, _, y = peaks(30)
    config = TINY.model_copy(update={"architecture": "noisy", "energy": 1.0, "steps": 60})
    trained, asked = NetworkEnsemble(config, CPU).fit(x, y, seed=0), peaks(40, seed=1)[0]

    def members(noise: torch.Tensor) -> np.ndarray:
        found = replace(trained, noise=noise).predict(asked).members
        assert found is not None
        return found

    size, stream = trained.noise.shape, torch.Generator().manual_seed(0)
    many = members(torch.randn(200, *size[1:], generator=stream))
    others = [members(torch.randn(size, generator=stream)) for _ in range(8)]
    away, usual = (np.square(one - many).mean() for one in (members(trained.noise), np.stack(others)))
    assert size == (NOISY.draws, 1, 2, 3) and away < 0.6 * usual


def test_aleatoric_std_is_that_of_many_new_draws_whatever_the_networks_weigh_and_whoever_is_asked_for_with_an_alloy(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(ARCHITECTURES, "noisy", "tests.support.models:NOISY")
    (x, _, y), asked = peaks(30), peaks(40, seed=1)[0]
    config = TINY.model_copy(update={"architecture": "noisy", "energy": 1.0, "steps": 60, "members": 4})
    ensemble, stream = Ensemble(config, device="cpu").fit(x, 3 * y - 20), torch.Generator().manual_seed(5)
    networks = ensemble.stack.models["networks"]
    many = [networks.draw_block(torch.tensor(asked), stream) for _ in range(200)]
    draws = np.stack([np.asarray(members) for members in many]) * ensemble.stack.scale  # (k, b, m, q)
    told, true = ensemble.predict(asked).aleatoric_std, np.sqrt(draws.var(0, ddof=1).mean(1))
    assert told.mean() == pytest.approx(true.mean(), rel=0.15), "the four of the mean say half as much"
    few = ensemble.predict(asked[7:9]).aleatoric_std
    np.testing.assert_allclose(few, told[7:9], atol=1e-4)
    weights = dict.fromkeys(ensemble.weights, 0.0) | {"trees": 1.0}
    unweighed = replace(ensemble, stack=replace(ensemble.stack, weights=weights))
    np.testing.assert_array_equal(unweighed.predict(asked).aleatoric_std, told)


def test_draws_of_different_alloys_are_of_different_members():
    x, _, y = peaks(30)
    config = TINY.model_copy(update={"stacked": False, "energy": 1.0})
    ensemble = Ensemble(config, device="cpu").fit(x, y)
    x = np.repeat(x[:1], 200, axis=0)
    members = next(ensemble.predict_blocks(x[:1]))[1].numpy()[0]  # (m, q)
    (draws,) = ensemble.draws(x, 1, 0)
    nearest = np.square(draws[:, None] - members).mean(2).argmin(1)
    assert 60 < (nearest == 0).sum() < 140, "one draw is not of one member for all alloys"


def test_draws_of_generators_that_stand_alone_are_what_they_generate(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(ARCHITECTURES, "noisy", "tests.support.models:NOISY")
    x, _, y = peaks(30)
    config = TINY.model_copy(update={"stacked": False, "architecture": "noisy"})
    ensemble = Ensemble(config, device="cpu").fit(x, y)
    draws = ensemble.draws(x, 6, 3)
    assert draws.shape == (6, 30, 96)
    np.testing.assert_array_equal(ensemble.draws(x, 6, 3), draws)
    assert np.abs(draws - ensemble.draws(x, 6, 4)).max() > 0.1, "another seed, other draws"
    apart = np.abs(draws[:, None] - draws).max((2, 3))
    assert apart[~np.eye(6, dtype=bool)].min() > 0.1, "each is another"
    wide, narrow = (np.abs(ensemble.draws(x, n, 0).mean(0) - ensemble.predict(x).mean).mean() for n in (2, 64))
    assert narrow < 0.6 * wide, "their mean is the ensemble's"


def test_deterministic_generators_that_stand_alone_draw_one_of_their_members():
    x, _, y = peaks(12)
    ensemble = Ensemble(TINY.model_copy(update={"stacked": False}), device="cpu").fit(x, y)
    members = next(ensemble.predict_blocks(x))[1].numpy()
    away = np.abs(ensemble.draws(x, 5, 0)[:, :, None] - members).max(3)  # (d, n, m)
    assert away.min(2).max() < 1e-3 and set(away.argmin(2).ravel()) == {0, 1}
