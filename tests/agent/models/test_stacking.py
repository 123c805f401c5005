"""Folds, weights, spread, band, draws: what knows base models by their protocol only."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.models.base_model import PredictedBlock
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.stacking import StackedBlock, assign_folds, fit_stacking_weights
from tests.support.models import TINY, peaks

WEIGHTS = {"bold": 0.5, "sure": 0.3, "cautious": 0.2}


def stacked(unknown: list[float], *, sure: float, cautious: float, nearest: torch.Tensor | None = None) -> StackedBlock:
    """Five members that predict 80, a model that tells what it doesn't know, and one that never extrapolates."""
    b = len(unknown)
    predictions = {
        "bold": PredictedBlock(torch.full((1, b, 5, 4), 80.0)),
        "sure": PredictedBlock(torch.full((1, b, 1, 4), sure), torch.tensor(unknown)),
        "cautious": PredictedBlock(torch.full((1, b, 1, 4), cautious)),
    }
    near = torch.zeros(b, 4) if nearest is None else nearest
    return StackedBlock(predictions, ("cautious",), near, torch.full((b, 3), 1 / 3))


def test_a_cautious_model_takes_over_from_one_that_knows_nothing():
    block = stacked([0.0, 0.5, 1.0], sure=20.0, cautious=60.0)
    torch.testing.assert_close(block.mean(WEIGHTS)[:, 0], torch.tensor([58.0, 64.0, 70.0]))
    alone = block.mean({"bold": 1.0, "sure": 0.0, "cautious": 0.0})
    torch.testing.assert_close(alone, torch.full((3, 4), 80.0))


def test_several_cautious_models_share_what_is_left_by_their_weights():
    block = stacked([1.0], sure=20.0, cautious=60.0)
    predictions = block.predictions | {"other": PredictedBlock(torch.full((1, 1, 1, 4), 10.0))}
    two = replace(block, predictions=predictions, cautious=("cautious", "other"))
    mean = two.mean({"bold": 0.5, "sure": 0.2, "cautious": 0.2, "other": 0.1})
    torch.testing.assert_close(mean[0, 0], torch.tensor(0.5 * 80 + 0.5 * (2 / 3 * 60 + 1 / 3 * 10)))
    unweighed = two.mean({"bold": 0.5, "sure": 0.5, "cautious": 0.0, "other": 0.0})
    torch.testing.assert_close(unweighed[0, 0], torch.tensor(0.5 * 80 + 0.5 * 35))


def test_where_no_model_is_cautious_each_keeps_its_weight():
    block = stacked([1.0], sure=20.0, cautious=60.0)
    bold = replace(block, cautious=())
    torch.testing.assert_close(bold.mean(WEIGHTS)[0, 0], torch.tensor(0.5 * 80 + 0.3 * 20 + 0.2 * 60))


def test_what_all_agree_on_is_doubted_where_nothing_like_it_was_measured_nearby():
    nearest = torch.tensor([[80.0] * 4, [20.0] * 4])
    sure = stacked([0.0, 0.0], sure=80.0, cautious=80.0, nearest=nearest)
    torch.testing.assert_close(sure.epistemic_std(WEIGHTS), torch.zeros(2, 4))
    unsure = stacked([0.25, 0.25], sure=80.0, cautious=80.0, nearest=nearest)
    torch.testing.assert_close(unsure.epistemic_std(WEIGHTS), torch.tensor([[0.0] * 4, [30.0] * 4]))


def test_every_member_of_every_model_counts_into_the_spread():
    block = stacked([0.0], sure=20.0, cautious=60.0)
    values = torch.tensor([80.0] * 5 + [20.0, 60.0])
    torch.testing.assert_close(block.members()[0, :, 0], values)
    torch.testing.assert_close(block.epistemic_std(WEIGHTS)[0, 0], values.std())


@given(st.integers(0, 10**6))
def test_weights_are_those_with_which_predictions_together_come_nearest(seed: int):
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(12, 7))
    predictions = {str(size): truth + rng.normal(0.3, size, truth.shape) for size in (0.5, 1.0, 2.0)}
    weights = np.array(list(fit_stacking_weights(predictions, truth).values()))
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
    together = np.stack(list(predictions.values()))
    size = np.sqrt(np.square(together - truth).mean((0, 2)))

    def error(weights: np.ndarray) -> float:
        return float((np.square(np.tensordot(weights, together, 1) - truth).sum(1) / size).sum())

    for other in rng.dirichlet(np.ones(3), 50):
        assert error(weights) <= error(other) + 1e-6


def test_a_prediction_that_is_right_is_the_only_one_that_counts_and_all_may_be_right():
    truth = np.random.default_rng(0).normal(size=(9, 5))
    weights = fit_stacking_weights({"a": truth + 1, "b": truth, "c": truth + 2}, truth)
    assert weights == pytest.approx({"a": 0, "b": 1, "c": 0}, abs=1e-3)
    assert sum(fit_stacking_weights({"a": truth, "b": truth, "c": truth}, truth).values()) == pytest.approx(1)


def test_one_alloy_that_nobody_foresees_does_not_decide_for_all():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 30))
    good, bad = truth + 0.5 * rng.normal(size=truth.shape), truth + rng.normal(size=truth.shape)
    good[7] += 30
    bad[7] += 20
    assert fit_stacking_weights({"good": good, "bad": bad}, truth)["good"] > 0.4
    assert fit_stacking_weights({"good": good[7:8], "bad": bad[7:8]}, truth[7:8])["good"] < 0.1


def test_folds_are_even_keep_alloys_together_and_stay_when_spectra_are_added():
    x = peaks(40)[0]
    folds = assign_folds(x, seed=0)
    assert np.bincount(folds).tolist() == [8] * 5
    more = np.concatenate([x, peaks(7, seed=2)[0], x[:3]])
    assert np.array_equal(assign_folds(more, seed=0)[:40], folds), "a spectrum keeps its fold when others are added"
    assert np.array_equal(assign_folds(more, seed=0)[47:], folds[:3]), "spectra of one alloy share a fold"
    assert (assign_folds(np.tile(x[:9], (5, 1)), seed=0) == -1).all(), "with so few alloys, every member sees all"


def test_networks_are_trusted_where_spectra_jump_and_the_process_where_they_are_noisy():
    x, _, smooth = peaks(60)
    rng = np.random.default_rng(0)
    jump = np.where(x[:, :1] > 0.4, smooth, smooth[:, ::-1])
    noisy = (50 + 20 * rng.normal(size=(60, 1)) + 0 * smooth).clip(0, 100)
    config = TrainingConfig(members=5, steps=250)
    jumping, shaking = (Ensemble(config, device="cpu").fit(x, y).weights for y in (jump, noisy))
    assert jumping["networks"] > 2 * jumping["gaussian_process"]
    assert shaking["gaussian_process"] > shaking["networks"]


def test_the_band_holds_nine_of_ten_points_of_unseen_spectra():
    x, _, y = peaks(60)
    asked, _, truth = peaks(100, seed=1)
    rng = np.random.default_rng(0)
    noisy, measured = (z + 3 * rng.normal(size=z.shape) for z in (y, truth))
    ensemble = Ensemble(TrainingConfig(members=5, steps=300), device="cpu").fit(x, noisy)
    predicted = ensemble.predict(asked)
    assert 0.85 < (np.abs(measured - predicted.mean) <= predicted.band).mean() < 0.97
    error = mean_squared_error(predicted.mean, measured)
    assert ensemble.oof_mse == pytest.approx(error, rel=0.3)


def test_nothing_left_out_gives_no_band():
    x, _, y = peaks(30)
    for config, n in ((TINY.model_copy(update={"stacked": False}), 30), (TINY, 9)):
        ensemble = Ensemble(config, device="cpu").fit(x[:n], y[:n])
        predicted = ensemble.predict(x)
        assert np.isnan(predicted.band).all() and np.isnan(ensemble.oof_mse)
        assert np.isfinite(predicted.mean).all()


def energy_score(draws: np.ndarray, truth: np.ndarray) -> float:
    """How well draws `(d, n, q)` foretell what was measured: 0 where all are it (Gneiting and Raftery, 2007)."""
    away, apart = (np.sqrt(np.square(draws - z).mean(-1)).mean() for z in (truth, np.roll(draws, 1, axis=0)))
    return float(away - apart / 2)


def test_draws_are_as_smooth_as_what_was_measured():
    x, _, y = peaks(40)
    y = y * np.random.default_rng(0).uniform(0.5, 1, (len(y), 1))
    config = TINY.model_copy(update={"steps": 100, "energy": 1.0})
    draws = Ensemble(config, device="cpu").fit(x, y).draws(peaks(30, seed=1)[0], 6, 0)
    measured, drawn = (np.abs(np.diff(z, 2, axis=-1)).mean() for z in (y, draws))
    assert drawn < 1.5 * measured


def test_draws_foretell_unseen_spectra_of_a_kind_that_composition_does_not_determine():
    (x, _, y), (asked, _, truth) = peaks(60), peaks(100, seed=1)
    rng = np.random.default_rng(0)
    noisy, measured = (z * rng.uniform(0.5, 1, (len(z), 1)) for z in (y, truth))  # films of other thickness
    ensemble = Ensemble(TINY.model_copy(update={"steps": 200}), device="cpu").fit(x, noisy)
    predicted, draws = ensemble.predict(asked), ensemble.draws(asked, 12, 0)
    assert energy_score(draws, measured) < 0.85 * energy_score(predicted.mean[None], measured)
    low, high = np.quantile(draws.mean(2), (0.05, 0.95), axis=0)
    assert 0.6 < ((low <= measured.mean(1)) & (measured.mean(1) <= high)).mean() < 1
    away = np.sqrt(np.square(predicted.sample - predicted.mean).mean())
    assert away > 0.5 * np.sqrt(np.square(measured - predicted.mean).mean()), "a sample scatters as measurements do"
