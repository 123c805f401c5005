"""Where a map is known, in words."""

import math

import numpy as np

from glassmap.agent.maps.knowledge import extrapolated_share, say_extrapolated, say_known


def test_the_share_that_is_extrapolated_is_said_or_that_it_was_not_recorded():
    assert extrapolated_share(np.array([1.0, 0, 0, 1, 1])) == 0.4
    assert say_extrapolated(0.374) == "37 % of the map is extrapolated"
    assert extrapolated_share(np.full(3, np.nan)) is None
    assert "wasn't recorded" in say_extrapolated(None)


def test_an_alloy_is_said_to_be_known_or_not_with_the_figures_that_decide_it():
    assert say_known(3.21, 9.3, 4.0).startswith("Known here: its spectrum is expected to err by 3.21")
    far = say_known(12.34, 9.3, 20.1)
    assert far.startswith("Not known here: 20.1 at.% from the nearest alloy learned from, ")
    assert "to err by 12.3 " in far and "less than 9.3 is" in far and "extrapolated" in far
    assert "can't be said" in say_known(math.nan, 9.3, 4.0) and "can't be said" in say_known(3.0, math.nan, 4.0)
