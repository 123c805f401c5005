"""How candidates are judged: what goes together, and what comes of bets over draws."""

import numpy as np
import pytest

from tests.benchmarks.candidates import DISTANCES, going_together, over_draws


def test_errors_that_neighbours_share_go_together_and_others_do_not():
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(20), 20)
    shares = rng.dirichlet(np.ones(3), 20)[place] + rng.normal(0, 1e-4, (400, 3))
    shared = rng.standard_normal(20)[place]
    found = going_together(shares, shared, seed=0)
    assert found["together"][0] / found["mean_square"] == pytest.approx(1, abs=0.2)
    assert len(found["together"]) == len(DISTANCES) - 1
    own = going_together(shares, rng.standard_normal(400), seed=0)
    assert abs(own["together"][0] / own["mean_square"]) < 0.2


def test_bets_are_counted_over_the_draws_that_had_any():
    case = {"dataset": "x", "kind": "random", "way": "places"}
    had = {"bets": 4, "glasses": 3, "expected": 3.5, "low": 3, "high": 4, "delta_q": 0.7, "apart": None} | {
        "at_least_one": 0.9
    }
    one, other = had | {"apart": 20.0}, had | {"glasses": 1}
    (row,) = over_draws([case | one, case | other, case | {"bets": 0}])
    assert (row["draws"], row["bets"], row["glass"], row["said"]) == (2, 8, 0.5, 0.875)
    assert (row["apart"], row["within"], row["any"]) == (20.0, 1, 2)
