"""Scores of draws: what they say of distributions that are known."""

import numpy as np
import pytest

from tests.benchmarks import scores


def test_the_energy_score_is_least_for_draws_of_the_truth():
    rng = np.random.default_rng(0)
    measured = rng.normal(50, 3, (300, 1)) + np.zeros((300, 8))  # every spectrum shifted as a whole
    right = 50 + rng.normal(0, 3, (40, 300, 1)) + np.zeros((40, 300, 8))
    narrow, shifted, point = 50 + (right - 50) / 3, right + 2, np.full((1, 300, 8), 50.0)
    best = scores.energy_scores(right, measured).mean()
    assert best == pytest.approx(3 / np.sqrt(np.pi), rel=0.1), "half the mean distance of two normal numbers"
    for worse in (narrow, shifted, point):
        assert scores.energy_scores(worse, measured).mean() > 1.05 * best


def test_the_energy_score_of_few_draws_is_that_of_many():
    rng = np.random.default_rng(1)
    measured, draws = rng.normal(0, 1, (400, 5)), rng.normal(0, 1, (60, 400, 5))
    few, many = (scores.energy_scores(draws[:k], measured).mean() for k in (2, 60))
    assert few == pytest.approx(many, abs=0.03)
    by_hand = scores.energy_scores(np.array([[[0.0, 0.0]], [[2.0, 2.0]]]), np.array([[1.0, 1.0]]))
    assert by_hand == pytest.approx([1 - 2 / 2])


def test_the_crps_is_the_energy_score_of_one_number_and_leaves_out_what_is_missing():
    rng = np.random.default_rng(2)
    draws, measured = rng.normal(0, 1, (30, 50)), rng.normal(0, 1, 50)
    np.testing.assert_allclose(scores.crps(draws, measured), scores.energy_scores(draws[:, :, None], measured[:, None]))
    holed = np.vstack([draws, np.full((5, 50), np.nan)])
    np.testing.assert_allclose(scores.crps(holed, measured), scores.crps(draws, measured))
    missing = scores.crps(np.array([[np.nan, 1.0, 3.0]]), np.array([1.0, np.nan, 1.0]))
    np.testing.assert_array_equal(missing, [np.nan, np.nan, 2.0])


def test_intervals_hold_what_they_say_whatever_the_number_of_draws():
    rng = np.random.default_rng(3)
    for count in (19, 60):
        draws, measured = rng.normal(0, 1, (count, 8_000)), rng.normal(0, 1, 8_000)
        low, high = scores.interval(draws, 0.9)
        assert ((low <= measured) & (measured <= high)).mean() == pytest.approx(0.9, abs=0.015)
    low, _ = scores.interval(np.array([[1.0], [np.nan]]), 0.9)
    assert np.isnan(low).all(), "one draw has no interval"


def test_probabilities_are_held_against_what_happened():
    draws = np.array([[0.5, 0.7, np.nan], [0.5, 0.5, np.nan]])
    np.testing.assert_array_equal(scores.probability_above(draws, 0.57), [0, 0.5, np.nan])
    said, happened = np.array([0.1, 0.1, 0.9, 1.0]), np.array([0.0, 1.0, 1.0, 1.0])
    assert scores.reliability(said, happened) == [(0.1, 0.5, 2), (pytest.approx(0.95), 1.0, 2)]


def test_a_classifier_is_at_chance_on_draws_of_the_truth_and_finds_other_alloys_and_other_textures():
    rng = np.random.default_rng(4)
    q, x = np.linspace(1, 2.4, 32), rng.dirichlet(np.ones(3), 120)

    def spectra(alloys: np.ndarray, noise: float) -> np.ndarray:
        halos = 80 * np.exp(-(((q - 1.7 - 0.6 * alloys[:, :1]) / 0.3) ** 2))
        return halos + rng.normal(0, 3, (len(alloys), 1)) + rng.normal(0, noise, (len(alloys), len(q)))

    measured = spectra(x, 0.5)
    groups = scores.alloy_groups(x, 0.01)
    assert len(np.unique(groups)) < 120

    def auc(generated: np.ndarray) -> float:
        views = [np.concatenate([x, scores.spectrum_view(q, each)], axis=1) for each in (generated, measured)]
        return scores.two_sample_auc(*views, groups=groups)

    assert auc(spectra(x, 0.5)) == pytest.approx(0.5, abs=0.12)
    assert auc(spectra(x, 0.1)) > 0.9, "too smooth"
    assert auc(spectra(np.roll(x, 1, axis=1), 0.5)) > 0.7, "real spectra, of other alloys"
