"""The places that pages and the report list."""

from pathlib import Path

import numpy as np
import pandas as pd

from glassmap.agent.maps.wish import Wish
from glassmap.dashboard.candidates import NUMBERS, candidates_of, say_table, table_of
from glassmap.dashboard.data import read_last_archive, read_last_map
from glassmap.dashboard.plots.maps import draw_parallel
from tests.support.pages import known


def test_a_table_has_a_row_a_place_with_what_was_measured_there(campaigns: Path):
    campaign = known(campaigns / "converged")
    map_ = read_last_map(campaign)
    assert map_ is not None
    found = candidates_of(campaign, map_, read_last_archive(campaign), wish=Wish({"Zr": (20.0, 50.0)}))
    table = table_of(found, campaign.elements)
    assert 0 < len(table) == len(found.places) and set(NUMBERS) - {"$/kg"} <= set(table)
    assert all(place.low_at_pct[0] >= 20 and place.high_at_pct[0] <= 50 for place in found.places)
    assert any(place.measured for place in found.places)
    assert f"{found.meeting:,} alloys" in say_table(found)
    nothing = candidates_of(campaign, map_, None)
    assert not {"nearest measured", "away (at.%)"} & set(table_of(nothing, campaign.elements))
    rows = pd.DataFrame([place.to_row(campaign.elements) for place in nothing.places])
    figure = draw_parallel(rows, elements=campaign.elements, limits=(0.0, 1.0))
    assert "distance (at.%)" not in str(figure)


def test_what_is_extrapolated_is_no_candidate_unless_it_is_asked_for(campaigns: Path):
    campaign = known(campaigns / "converged")
    map_ = read_last_map(campaign)
    assert map_ is not None
    far = map_.figures["distance"] > map_.figures["distance"].median()
    map_ = map_._replace(figures=map_.figures.assign(known=np.where(far, 0, 1)))
    near, all_ = (candidates_of(campaign, map_, None, only_known=only) for only in (True, False))
    assert 0 < near.meeting < all_.meeting == all_.likely
