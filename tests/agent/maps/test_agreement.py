"""How well two readings of a figure agree."""

import numpy as np
import pytest

from glassmap.agent.maps.agreement import STDS_OF_INTERVAL, agreement


def test_a_factor_is_the_slope_and_both_r2_say_how_much_is_left():
    theirs = np.linspace(0.4, 0.8, 40)
    found = agreement(1.1 * theirs, theirs)
    assert found.n == 40 and found.slope == pytest.approx(1.1)
    assert found.r2 == pytest.approx(1) and found.r2_origin == pytest.approx(1)
    assert found.mae == pytest.approx(0.1 * theirs.mean())


def test_what_knows_nothing_of_the_place_has_an_r2_of_none_about_the_mean_whatever_it_is_about_zero():
    theirs = np.linspace(0.5, 0.6, 40)
    ours = 0.55 + 0.01 * np.random.default_rng(0).standard_normal(40)
    found = agreement(ours, theirs)
    assert found.r2 < 0.1 and found.r2_origin > 0.99


def test_the_interval_holds_what_lies_within_it_and_what_has_none_is_not_judged():
    std = np.array([0.1, 0.1, 0.1, np.nan])
    off = np.array([0.0, 0.9, 1.1, 0.0]) * STDS_OF_INTERVAL * 0.1
    found = agreement(1 + off, np.ones(4), std)
    assert (found.inside, found.judged, found.n) == (2, 3, 4)
    assert pytest.approx(1.645, abs=1e-3) == STDS_OF_INTERVAL


def test_a_figure_that_only_one_has_is_no_pair():
    found = agreement(np.array([1.0, np.nan, 2.0]), np.array([np.nan, 1.0, 2.0]))
    assert found.n == 1 and found.slope == 1 and np.isnan(found.slope_error)
    assert agreement(np.full(3, np.nan), np.ones(3)).n == 0


def test_samples_of_one_wafer_that_err_alike_tell_less_than_as_many_of_their_own():
    rng, wafers = np.random.default_rng(0), np.repeat(np.arange(6), 100)
    theirs = rng.uniform(0.4, 0.8, 600)
    ours = theirs + rng.normal(0, 0.05, 6)[wafers]
    alone, of_wafers = agreement(ours, theirs), agreement(ours, theirs, groups=wafers)
    assert of_wafers.slope_error > 4 * alone.slope_error and of_wafers.mae_error > 4 * alone.mae_error
