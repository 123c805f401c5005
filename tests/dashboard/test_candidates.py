"""The alloys that are worth measuring."""

from pathlib import Path

import numpy as np

from glassmap.dashboard.candidates import best_alloys
from glassmap.dashboard.data import read_last_map
from tests.support.pages import known


def test_best_alloys_are_surely_wide_and_meet_the_filters(campaigns: Path):
    campaign = known(campaigns / "converged")
    map_ = read_last_map(campaign)
    assert map_ is not None
    table = best_alloys(
        campaign.elements, map_, ranges_at_pct={"Zr": (20, 50)}, most_std=0.02, least_distance=3, most_distance=9
    )
    assert len(table) and table["at_least"].is_monotonic_decreasing
    assert table["Zr"].between(20, 50).all() and max(table["delta_q_std"]) <= 0.02
    assert table["distance"].between(3, 9).all()
    np.testing.assert_allclose(table["at_least"], table["delta_q"] - 2 * table["delta_q_std"], atol=1e-6)
    assert best_alloys(campaign.elements, map_, ranges_at_pct={"Zr": (99, 100)}).empty


def test_what_is_extrapolated_is_no_candidate_unless_it_is_asked_for(campaigns: Path):
    campaign = known(campaigns / "converged")
    map_ = read_last_map(campaign)
    assert map_ is not None and map_.extrapolated is not None
    far = map_.figures["distance"] > map_.figures["distance"].median()
    map_ = map_._replace(figures=map_.figures.assign(known=np.where(far, 0, 1)))
    assert 0 < len(best_alloys(campaign.elements, map_, n=10**6)) == (~far).sum()
    assert len(best_alloys(campaign.elements, map_, only_known=False, n=10**6)) == len(far)
    older = map_._replace(figures=map_.figures.assign(known=np.nan))
    assert older.extrapolated is None and len(best_alloys(campaign.elements, older, n=10**6)) == len(far)
