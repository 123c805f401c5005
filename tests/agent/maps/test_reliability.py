"""What P(glass) and intervals were worth, by what was measured."""

import numpy as np
import pytest

from glassmap.agent.maps.reliability import EDGES, Share, coverage, reliability


def test_a_share_of_few_alloys_may_be_nearly_anything_and_of_many_may_not():
    low, high = Share(3, 3).interval
    assert low == pytest.approx(0.526, abs=1e-3) and high == 1, "Wilson's, 90 %"
    low, high = Share(900, 1000).interval
    assert 0.88 < low < 0.9 < high < 0.92
    assert Share(0, 0).interval == (0, 1) and np.isnan(Share(0, 0).value)
    assert Share(17, 18).say() == "17 of 18 (94 %; 79–99 %)"


def test_what_is_as_likely_as_said_errs_as_chance_has_it_and_what_is_too_sure_by_much_more():
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 2000)
    found = (rng.uniform(0, 1, 2000) < said).astype(np.float64)
    right, too_sure = reliability(said, found), reliability((said > 0.5).astype(np.float64), found)
    assert right.calibration_error < 2 * right.by_chance < 0.04 and all(one.holds for one in right.classes)
    assert too_sure.calibration_error > 0.2 and too_sure.by_chance == 0
    assert not any(one.holds for one in too_sure.classes if one.measured.of)
    assert right.brier < too_sure.brier and right.brier < right.brier_of_share == pytest.approx(0.25, abs=1e-3)


def test_classes_begin_where_the_headline_s_words_do_and_what_can_t_be_told_is_left_out():
    found = reliability(np.array([0.1, 0.5, 0.9, 1.0, np.nan, 0.95]), np.array([0, 1, 1, 1, 1, np.nan]))
    assert found.alloys == 4 and len(found.classes) == len(EDGES) - 1
    assert [one.measured.of for one in found.classes] == [0, 1, 0, 1, 0, 2]
    nothing = reliability(np.array([np.nan]), np.array([1.0]))
    assert nothing.alloys == 0 and np.isnan(nothing.brier) and np.isnan(nothing.calibration_error)


def test_an_interval_is_judged_where_there_are_both_and_by_group():
    low, high = np.array([0.0, 0.0, 0.0, np.nan]), np.array([1.0, 1.0, 1.0, np.nan])
    wafer = np.array([True, False, False, True])
    found = coverage(low, high, np.array([0.5, 2.0, np.nan, 0.5]), [("wafer 1", wafer), ("wafer 2", ~wafer)])
    assert found == {"all": Share(1, 2), "wafer 1": Share(1, 1), "wafer 2": Share(0, 1)}
