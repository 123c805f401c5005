"""What counts as a glass, how likely an alloy is one, and the headline of a map."""

import json

import numpy as np
import pytest
from scipy.stats import norm

from glassmap.agent.maps.glass import GlassRule, GlassShares, glass_shares, say_glass, shares_of_map

NAN = float("nan")


def test_an_alloy_at_the_threshold_is_as_likely_a_glass_as_not_and_surer_the_better_delta_q_is_known():
    widths, stds = np.array([0.57, 0.6, 0.6, 0.4, NAN, 0.6]), np.array([0.05, 0.05, 0.01, 0.05, 0.05, NAN])
    likely = GlassRule().probability(widths, stds)
    assert likely[:4] == pytest.approx(norm.cdf((widths - 0.57) / stds)[:4], abs=0.005)
    assert np.isnan(likely[4:]).all(), "without Δq or how sure it is, nobody can say"


def test_nine_in_ten_is_surely_whether_a_map_was_written_or_read_again():
    kept = np.array([0.9, 0.5, 0.1, 0.09]).astype(np.float32)
    assert glass_shares(kept) == glass_shares(kept.astype(np.float64)) == GlassShares(0.5, 0.25, 0.75, 0.0)


def test_an_uncertain_threshold_makes_every_alloy_less_sure():
    widths, stds = np.array([0.5, 0.6, 0.7]), np.full(3, 0.03)
    likely = GlassRule(threshold_std=0.04).probability(widths, stds)
    assert likely == pytest.approx(norm.cdf((widths - 0.57) / 0.05), abs=0.002)


def test_a_learnt_curve_says_how_likely_a_width_is_and_errors_need_not_be_normal():
    rule = GlassRule(threshold=0.5, curve=((0.4, 0.6), (0.1, 0.9)))
    assert rule.chance(np.array([0.2, 0.5, 0.8])) == pytest.approx([0.1, 0.5, 0.9])
    assert rule.probability(np.array([0.5]), np.array([0.1]), np.array([-1.0, 1.0, 3.0])) == pytest.approx([1.9 / 3])
    assert GlassRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def test_the_headline_says_how_much_is_a_glass_surely_and_possibly():
    shares = glass_shares(np.array([0.95, 0.6, 0.5, 0.2, *[0.01] * 5, NAN]))
    assert shares == GlassShares(0.3, 0.1, 0.4, 0.1)
    assert say_glass(shares) == "glass: 30 % of the space (10 % surely, 40 % possibly, 10 % can't be read)"
    assert say_glass(GlassShares(0.996, 0.0, 0.996, 0.004)) == "glass: 99 % of the space (0 % surely, 99 % possibly)"


def test_of_a_map_that_does_not_say_how_sure_it_is_the_share_is_counted_by_width_alone():
    widths = np.array([0.6, 0.5, 0.5, NAN])
    expected = GlassShares(0.25, None, None, 0.25)
    assert shares_of_map(widths, None, GlassRule()) == expected
    assert shares_of_map(widths, np.full(4, NAN), GlassRule()) == expected
    assert "how surely isn't known" in say_glass(expected)
    partly = shares_of_map(widths, np.array([0.95, 0.2, NAN, NAN]), GlassRule())
    assert partly == GlassShares(0.25, 0.25, 0.5, 0.5), "an alloy of which it isn't known is one that can't be read"
