"""A glass rule learnt from labels."""

import numpy as np
import pytest
from scipy.special import expit

from glassmap.agent.maps.calibration import Calibration, NoRule, learn_rule

EXACT = np.zeros(400)


def labelled(seed: int, n: int, *, std: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Made-up alloys whose chance is one half at 0.5 1/Å; what is said of their Δq, which is off, and the labels."""
    rng = np.random.default_rng(seed)
    widths = rng.uniform(0.1, 0.9, n)
    true = widths + std * rng.standard_normal(n)
    return widths, rng.random(n) < expit((true - 0.5) / 0.03)


@pytest.mark.parametrize("how", ["logistic", "isotonic"])
def test_the_threshold_that_made_the_labels_is_found_within_its_uncertainty(how: Calibration):
    errors = []
    for seed in range(12):
        widths, is_glass = labelled(seed, 100)
        rule = learn_rule(widths, EXACT[:100], is_glass, how)
        errors.append((rule.threshold - 0.5) / rule.threshold_std)
        assert 0.002 < rule.threshold_std < 0.05
        chance = rule.chance(np.linspace(0, 1, 50))
        assert (np.diff(chance) >= 0).all() and chance[0] < 0.1 and chance[-1] > 0.9
    assert 0.4 < float(np.sqrt(np.mean(np.square(errors)))) < 1.7


def test_labels_of_alloys_that_were_not_measured_make_no_blunter_rule():
    widths, is_glass = labelled(3, 400, std=0.1)
    knows = learn_rule(widths, np.full(400, 0.1), is_glass, "logistic")
    believes = learn_rule(widths, EXACT, is_glass, "logistic")
    sharp, blunt = (rule.chance(np.array([0.4, 0.6])) for rule in (knows, believes))
    assert sharp[0] < blunt[0] - 0.05 and sharp[1] > blunt[1] + 0.05


def test_few_labels_leave_the_rule_unsure_even_where_they_do_not_overlap():
    widths = np.linspace(0.3, 0.8, 10)
    few = learn_rule(widths, EXACT[:10], widths > 0.55, "logistic")
    many = learn_rule(np.repeat(widths, 20), EXACT[:200], np.repeat(widths > 0.55, 20), "logistic")
    assert few.threshold == pytest.approx(0.55, abs=0.02) and few.threshold_std > 2 * many.threshold_std
    at = np.array([0.65])
    assert few.chance(at) < many.chance(at)


@pytest.mark.parametrize("how", ["logistic", "isotonic"])
def test_labels_that_make_no_rule_are_told_why(how: Calibration):
    widths = np.linspace(0.3, 0.8, 12)
    with pytest.raises(NoRule, match="that takes 10 of alloys whose Δq is known, 3 of either kind, and there are 12"):
        learn_rule(widths, EXACT[:12], np.ones(12, dtype=bool), how)
    with pytest.raises(NoRule, match="there are 4 glasses and 4 others"):
        learn_rule(widths[:8], EXACT[:8], widths[:8] > 0.46, how)
    with pytest.raises(NoRule, match="wider peaks aren't more often a glass"):
        learn_rule(widths, EXACT[:12], widths < 0.5, how)


@pytest.mark.parametrize("how", ["logistic", "isotonic"])
def test_labels_without_a_meaning_make_no_rule_but_by_chance(how):
    rng, made = np.random.default_rng(0), 0
    for _ in range(40):
        delta_q, is_glass = rng.uniform(0.4, 0.9, 20), rng.random(20) < 0.5
        try:
            learn_rule(delta_q, np.zeros(20), is_glass, how)
            made += 1
        except NoRule:
            pass
    assert made <= 4


def test_a_threshold_beyond_all_labels_is_none():
    rng = np.random.default_rng(1)
    delta_q = np.concatenate([rng.uniform(0.5, 0.9, 40), [0.49, 0.5, 0.51]])
    with pytest.raises(NoRule, match=r"beyond the Δq of all of them|than chance"):
        learn_rule(delta_q, np.zeros(43), np.arange(43) < 40, "logistic")
