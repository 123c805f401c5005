"""Candidates are places of a map, not alloys."""

import itertools

import numpy as np
import pytest

from glassmap.agent.data.composition import CompositionSpace, label, parse_composition
from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.regions import (
    REACH_AT_PCT,
    Candidates,
    MeasuredAlloys,
    find_candidates,
    joint_chance,
)
from glassmap.agent.maps.wish import Wish
from glassmap.agent.shapes import Compositions

ELEMENTS = ("Co", "V", "Zr")
SPACE = CompositionSpace(ELEMENTS, step_at_pct=2)
ALLOYS = SPACE.compositions(np.arange(len(SPACE)))
RULE = GlassRule()


def hill(alloy: str, width_at_pct: float, height: float = 0.3) -> np.ndarray:
    """What Δq of every alloy is above 0.4 1/Å: most at one, half of it at a distance."""
    away = 100 * np.linalg.norm(ALLOYS - parse_composition(alloy, ELEMENTS), axis=1)
    return height / (1 + (away / width_at_pct) ** 2)


def columns(more: np.ndarray, **others: np.ndarray) -> dict[str, np.ndarray]:
    """A map whose Δq is known to 0.02 1/Å."""
    delta_q = (0.4 + more).astype(np.float32)
    std = np.full(len(delta_q), 0.02, dtype=np.float32)
    found = {"delta_q": delta_q, "delta_q_std": std / 2, "delta_q_predictive_std": std}
    ones = np.ones(len(delta_q), dtype=np.float32)
    return found | {"p_glass": RULE.probability(delta_q, std), "peak_share": ones, "known": ones} | others


def candidates(more: np.ndarray, others: dict[str, np.ndarray] | None = None, **how: object) -> Candidates:
    """The candidates of a map of that much Δq above 0.4 1/Å."""
    wanted: dict[str, object] = {"step_at_pct": 2, "rule": RULE, **how}
    return find_candidates(ALLOYS, columns(more, **(others or {})), ELEMENTS, **wanted)  # pyright: ignore[reportArgumentType]


def measured(**delta_q: float) -> MeasuredAlloys:
    """Measured alloys by their names."""
    shares = np.array([parse_composition(alloy, ELEMENTS) for alloy in delta_q])
    return MeasuredAlloys([f"r001-{k:02d}" for k in range(1, len(shares) + 1)], shares, np.array([*delta_q.values()]))


TWO = hill("Co20V20Zr60", 6) + hill("Co60V20Zr20", 6, height=0.25)


def test_two_hills_of_glass_are_two_rows_the_wider_first_and_each_says_where_it_is():
    found = candidates(TWO)
    assert [place.region for place in found.places] == [1, 2] and found.regions == 2
    first, second = found.places
    assert (first.alloy, second.alloy) == ("Co20V20Zr60", "Co60V20Zr20") and first.delta_q > second.delta_q
    assert found.meeting == first.alloys + second.alloys and first.share == first.alloys / len(ALLOYS)
    assert first.low_at_pct[0] < 20 < first.high_at_pct[0] and first.p_centre > first.p_glass > 0.5
    assert first.say_extent(ELEMENTS).startswith(f"Co {first.low_at_pct[0]:g}–{first.high_at_pct[0]:g}, V ")


def test_a_wide_region_is_divided_into_places_that_hold_each_of_its_alloys_once_and_reach_no_further():
    found = candidates(hill("Co34V32Zr34", 30))
    assert found.regions == 1 and len(found.places) > 3 and {place.region for place in found.places} == {1}
    assert sum(place.alloys for place in found.places) == found.meeting == found.places[0].region_alloys
    for place in found.places:
        widths = np.subtract(place.high_at_pct, place.low_at_pct)
        assert max(widths) <= 2 * REACH_AT_PCT
    assert len(candidates(hill("Co34V32Zr34", 30), most=2).places) == 2


def test_places_are_ranked_by_what_is_expected_of_a_new_measurement():
    narrow = np.where(ALLOYS[:, 0] < 0.4, 0.6, 0.8).astype(np.float32)
    found = candidates(TWO, {"delta_q_expected": narrow}).places
    assert [place.alloy for place in found] == ["Co60V20Zr20", "Co20V20Zr60"] and found[0].delta_q < found[1].delta_q
    assert found[0].delta_q_expected == pytest.approx(0.8)


def by_hand(alloys: Compositions) -> int:
    """Count the regions of some alloys by looking at each pair."""
    parts = np.rint(50 * alloys).astype(int)
    group = list(range(len(parts)))
    for a, b in itertools.combinations(range(len(parts)), 2):
        if np.abs(parts[a] - parts[b]).sum() == 2:
            group = [group[a] if one == group[b] else one for one in group]
    return len(set(group))


@pytest.mark.parametrize("seed", range(3))
def test_regions_are_those_that_looking_at_each_pair_gives(seed: int):
    some = np.random.default_rng(seed).random(len(ALLOYS)) < 0.2
    found = candidates(np.where(some, 0.4, 0.0), most=1)
    assert found.regions == by_hand(ALLOYS[some]) > 10


def test_what_is_extrapolated_or_hardly_a_glass_is_no_candidate_unless_it_is_asked_for():
    left = ALLOYS[:, 0] < 0.4
    found = candidates(TWO, {"known": np.where(left, 1, 0)})
    assert [place.alloy for place in found.places] == ["Co20V20Zr60"]
    assert len(candidates(TWO, {"known": np.where(left, 1, 0)}, only_known=False).places) == 2
    assert len(candidates(TWO, {"known": np.full(len(ALLOYS), np.nan)}).places) == 2  # an older map doesn't say
    assert candidates(TWO, level=0.9).places[0].alloys < found.places[0].alloys
    assert not candidates(TWO, {"peak_share": np.full(len(ALLOYS), 0.4)}).places


def test_measurements_say_what_a_place_is_and_what_to_measure_next():
    nothing = candidates(TWO, measured=measured(Co90V5Zr5=0.2)).places[0]
    assert nothing.state == "open" and nothing.say_confirm() == "Measure Co20V20Zr60." and nothing.nearest == "r001-01"
    glass = candidates(TWO, measured=measured(Co21V20Zr59=0.68, Co60V20Zr20=0.3)).places
    assert [place.state for place in glass] == ["confirmed", "refuted"] and glass[0].distance < 2
    assert glass[0].say_confirm().startswith("Measured: 1 of 1 a glass; nearest the centre r001-01 Co21V20Zr59")
    next_ = parse_composition(glass[0].measure, ELEMENTS)
    assert 100 * np.linalg.norm(next_ - glass[0].centre) > 4
    both = candidates(TWO, measured=measured(Co21V20Zr59=0.68, Co20V20Zr60=0.5, Co60V20Zr20=float("nan"))).places
    assert [place.state for place in both] == ["mixed", "open"]  # without a peak nothing is said


def test_wishes_leave_out_alloys_before_regions_are_made():
    all_ = candidates(TWO)
    half = candidates(TWO, wish=Wish(bounds_at_pct={"V": (0.0, 20.0)}))
    assert half.likely == all_.likely and half.meeting < all_.meeting and half.places[0].high_at_pct[1] == 20
    cheap = candidates(TWO, wish=Wish(max_cost_per_kg=75.0))
    assert 0 < cheap.meeting < all_.meeting and max(place.cost_per_kg for place in cheap.places) <= 75
    light = candidates(TWO, wish=Wish(density=(0.0, 7.0)))
    assert [place.alloy for place in light.places] == ["Co20V20Zr60"] and light.places[0].density < 7
    none = candidates(TWO, wish=Wish(max_cost_per_kg=1.0))
    assert not none.places and none.say_none().endswith("none of them is known and meets what is wished for.")


def test_an_own_price_goes_before_the_listed_one_and_an_unknown_one_meets_no_limit():
    alloy = np.array([[0.5, 0.5]])
    assert Wish(prices={"V": 0.0, "Co": 10.0}).costs(alloy, ("Co", "V"))[0] == pytest.approx(5.36, abs=0.01)
    assert np.isnan(Wish().costs(alloy, ("Co", "Tc"))[0])
    assert not Wish(max_cost_per_kg=1e9).is_met(alloy, ("Co", "Tc")).any()
    assert Wish().costs(np.array([[1.0, 0.0]]), ("Co", "Tc"))[0] == pytest.approx(32.8)  # it holds none of it


def test_a_map_without_glass_says_which_alloy_is_likeliest():
    found = candidates(0.5 * TWO)
    assert not found.places and found.chance is None
    assert "the likeliest is Co20V20Zr60 with a probability of 0.1" in found.say_none()


def test_a_map_without_probabilities_is_taken_by_width_and_one_of_simulations_by_its_widest():
    older = {key: values for key, values in columns(TWO).items() if key not in ("p_glass", "delta_q_predictive_std")}
    found = find_candidates(ALLOYS, older, ELEMENTS, step_at_pct=2, rule=RULE)
    assert len(found.places) == 2 and np.isnan(found.places[0].p_glass) and found.chance is None
    assert found.places[0].delta_q_predictive_std == pytest.approx(0.01)
    narrow = {**older, "delta_q": older["delta_q"] / 2}
    widest = find_candidates(ALLOYS, narrow, ELEMENTS, step_at_pct=2, rule=None, measured=measured(Co20V20Zr60=0.3))
    assert widest.likely == pytest.approx(0.05 * len(ALLOYS), abs=2)
    assert widest.places[0].state == "measured"


def test_far_places_err_for_themselves_and_near_ones_alike():
    far = np.array([parse_composition(alloy, ELEMENTS) for alloy in ("Co98V1Zr1", "Co1V98Zr1")])
    near = np.array([parse_composition(alloy, ELEMENTS) for alloy in ("Co34V33Zr33", "Co33V34Zr33")])
    half = np.array([0.5, 0.5])
    assert joint_chance(far, half).at_least_one == pytest.approx(0.75, abs=0.02)
    assert joint_chance(near, half).at_least_one == pytest.approx(0.5 + 0.07, abs=0.03)
    assert joint_chance(near, half) == joint_chance(near, half) and joint_chance(near, half).expected == 1
    sure = joint_chance(far, np.array([1.0, 0.0]))
    assert (sure.low, sure.high, sure.at_least_one) == (1, 1, 1.0)


def test_a_row_has_a_column_for_each_element_and_none_for_what_is_not_known():
    row = candidates(TWO).places[0].to_row(ELEMENTS)
    assert (row["alloy"], row["Zr"], row["nearest_delta_q"]) == ("Co20V20Zr60", 60.0, None)
    assert row["V_low"] < row["V"] < row["V_high"] and row["state"] == "open"  # pyright: ignore[reportOperatorIssue]
    assert label(np.array([row[e] for e in ELEMENTS]) / 100, ELEMENTS) == row["alloy"]
