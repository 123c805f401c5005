"""What the stop rule says of spectra whose truth is known: `decide`, `estimate` and `forecast`."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.planning.convergence import Budget, Decision, Estimate, Marks, decide, estimate, forecast


def marks(*levels: float, spectra: int = 60, noise: float = 0.02, seed: int = 0, batch: int = 16) -> Marks:
    """Each round's model on the same spectra: heavy-tailed errors of a mean that falls as it is told."""
    rng = np.random.default_rng(seed)
    sizes = rng.lognormal(0, 0.8, spectra)
    errors = np.array(levels)[:, None] * sizes / sizes.mean() * rng.lognormal(0, noise, (len(levels), spectra))
    return Marks(tuple(batch * (k + 1) for k in range(len(levels))), errors, np.arange(spectra))


def unknown(held: Marks) -> Marks:
    """Nothing of the spectra learned from."""
    return Marks(held.spectra, np.full((len(held.spectra), 0), np.nan), np.empty(0, dtype=int))


def judge(held: Marks, left: Marks | None = None, **changes: Any) -> Decision:
    given: dict[str, Any] = {"batch": 16, "tolerance": 0.05, "patience": 1, "budget": Budget(50), "room_left": True}
    given |= {"used": Budget(len(held.spectra), 20 * len(held.spectra), 1.5, 0.0), "changes": (), "on": "mse"} | changes
    return decide(given.pop("on"), held, left or unknown(held), given.pop("changes"), **given)


FALLING = (40.0, 26.0, 19.0, 15.0, 12.5, 10.8, 9.5)
FLAT = (40.0, 12.0, 10.2, 10.0, 10.1, 10.0, 9.9, 10.0)


def test_a_curve_that_falls_is_still_improving_and_one_that_is_flat_has_converged():
    assert (judge(marks(*FALLING)).state, judge(marks(*FALLING)).trend) == ("continue", "improving")
    assert (judge(marks(*FLAT)).state, judge(marks(*FLAT)).trend) == ("converged", "converged")


def test_no_error_is_said_to_be_lowered_by_more_than_itself():
    plunging = judge(marks(100.0, 60.0, 5.0))
    assert (
        "falls too steeply to say what another 32 alloys would bring" in plunging.reason and "%" not in plunging.reason
    )


@given(level=st.floats(0.1, 100), step=st.floats(0.15, 2), seed=st.integers(0, 50), patience=st.integers(1, 3))
def test_a_curve_that_rises_never_converges(level: float, step: float, seed: int, patience: int):
    rising = marks(*(level * (1 + step * k) for k in range(6)), seed=seed)
    decision = judge(rising, patience=patience)
    assert (decision.state, decision.trend) == ("continue", "rising")
    assert "rose by" in decision.reason and "phase or a wafer" in decision.reason


def test_few_spectra_never_say_that_it_has_converged():
    few = judge(marks(*FLAT, spectra=11))
    assert (few.state, few.trend) == ("continue", "unknown")
    assert "only 11 spectra tell" in few.reason


def test_noise_that_hides_what_a_batch_brings_is_not_convergence():
    noisy = judge(marks(*FLAT, noise=0.8))
    assert (noisy.state, noisy.trend) == ("continue", "unknown")
    assert noisy.evidence["low"] < 0.05 < noisy.evidence["high"]


def test_spectra_that_were_left_out_tell_where_too_few_are_held_out():
    few = marks(*FLAT, spectra=6)
    left = marks(*FLAT, spectra=128, seed=1)
    errors = left.errors.copy()
    for round_, learned in enumerate(left.spectra):
        errors[round_, learned:] = np.nan  # not learned from yet
    together = judge(few, Marks(left.spectra, errors, left.groups))
    assert judge(few).trend == "unknown" and together.state == "converged"
    assert together.evidence["judged_by"] == 6 + left.spectra[-2]


def test_spectra_of_a_wafer_that_err_alike_count_as_fewer():
    groups = np.repeat(np.arange(6), 10)
    errors = np.repeat([1.0, 9.0, 2.0, 8.0, 3.0, 7.0], 10)
    alone, by_wafer = estimate(errors, np.arange(60)), estimate(errors, groups)
    assert alone.value == by_wafer.value == 5
    assert by_wafer.standard_error == pytest.approx(np.std(errors[::10], ddof=1) / np.sqrt(6))
    assert by_wafer.standard_error > 3 * alone.standard_error


def test_an_estimate_leaves_out_what_is_unknown_and_says_when_nothing_is_known():
    assert estimate(np.array([1.0, np.nan, 3.0]), np.arange(3)) == Estimate(2.0, 1.0)
    assert np.isnan(estimate(np.array([np.nan]), np.arange(1))).all()


def test_it_has_to_hold_as_many_rounds_in_a_row_as_patience_asks():
    first = next(k for k in range(3, 9) if judge(marks(*FLAT[:k])).state == "converged")
    waiting = judge(marks(*FLAT[:first]), patience=2)
    assert (waiting.state, waiting.trend) == ("continue", "unknown")
    assert "in 2 rounds in a row" in waiting.reason
    assert judge(marks(*FLAT), patience=2).state == "converged"


@given(scale=st.sampled_from([0.25, 8.0, 1024.0]), seed=st.integers(0, 50))
def test_the_decision_on_the_mse_does_not_depend_on_the_unit_of_intensity(scale: float, seed: int):
    held = marks(*FLAT, seed=seed, noise=0.1)
    scaled = held._replace(errors=scale * held.errors)
    assert judge(held).trend == judge(scaled).trend
    assert judge(held).evidence["gain"] == pytest.approx(judge(scaled).evidence["gain"])


@given(seed=st.integers(0, 50), tolerances=st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 0.9)))
def test_what_converges_converges_at_every_larger_tolerance(seed: int, tolerances: tuple[float, float]):
    held = marks(*FLAT, seed=seed, noise=0.1)
    if judge(held, tolerance=min(tolerances)).state == "converged":
        assert judge(held, tolerance=max(tolerances)).state == "converged"


def test_the_width_of_the_first_peak_can_be_what_settles():
    held = marks(0.08, 0.05, 0.042, 0.040, 0.0395, 0.0393, 0.0392, 0.0392)
    decision = judge(held, on="delta_q", tolerance=0.002)
    assert decision.state == "converged"
    assert "another 32 alloys would lower the error of Δq by 0.0" in decision.reason and "1/Å" in decision.reason
    assert judge(held, on="delta_q", tolerance=1e-5).state == "continue"


def test_which_alloys_are_a_glass_can_be_what_settles():
    held = marks(*FLAT)
    settled = judge(held, on="glass", tolerance=0.02, changes=(0.2, 0.1, 0.03, 0.01, 0.008, 0.006, 0.007))
    moving = judge(held, on="glass", tolerance=0.02, changes=(0.2, 0.1, 0.08, 0.07, 0.06, 0.07, 0.06))
    assert (settled.state, moving.state) == ("converged", "continue") and moving.trend == "improving"
    assert "of the map to the other side" in settled.reason
    assert settled.evidence["judged_by"] is None, "maps tell, no spectra"


def test_a_model_whose_errors_nobody_knows_has_not_converged():
    held = marks(*FLAT, spectra=128)
    held.errors[-1] = np.nan
    assert (judge(held).state, judge(held).trend) == ("continue", None)


def test_no_error_below_0_is_forecast():
    falling = [Estimate(value, 1.0) for value in (100.0, 30.0, 5.0)]
    assert forecast((20, 40, 60), falling, 65) is not None and forecast((20, 40, 60), falling, 100) is None


def test_an_error_that_no_held_out_spectrum_tells_is_said_not_to_be_known():
    assert "hold-out error of Δq not known: no trend yet" in judge(marks(math.nan), on="delta_q").reason


def test_a_spent_budget_is_said_not_to_be_convergence():
    spent = judge(marks(*FALLING), budget=Budget(7))
    assert spent.state == "exhausted" and spent.reason.startswith("Budget spent, not converged, after 112 spectra")
    assert judge(marks(*FALLING), room_left=False).reason.startswith("Budget spent, not converged")
    assert judge(marks(*FLAT), budget=Budget(7)).state == "converged"


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (Budget(2), "the budget of 2 rounds is spent"),
        (Budget(9, spectra=40), "the budget of 40 spectra is spent"),
        (Budget(9, hours=1.0), "the budget of 1 hour is spent"),
        (Budget(9, hours=2.5, cpu_hours=0.0), "the budget of 0 CPU-hours of simulation is spent"),
    ],
)
def test_a_campaign_stops_in_words_when_any_part_of_its_budget_is_spent(budget: Budget, words: str):
    decision = judge(marks(100.0, 50.0), budget=budget)
    assert decision.state == "exhausted" and words in decision.reason
    assert judge(marks(100.0, 50.0), budget=Budget(9, spectra=41, hours=2.5, cpu_hours=0.1)).state == "continue"


def test_a_person_has_the_last_word_on_going_on():
    decision = judge(marks(*FLAT), extended_to=9)
    assert decision.state == "continue" and "extended to round 9" in decision.reason


def test_before_the_third_round_there_is_no_trend():
    assert judge(marks(40.0, 20.0)).trend is None and "no trend yet" in judge(marks(40.0, 20.0)).reason


def test_a_perfect_model_converges_and_divides_by_nothing():
    assert judge(marks(0.0, 0.0, 0.0, 0.0)).state == "converged"


def test_rounds_that_brought_no_new_spectra_tell_no_trend():
    held = marks(*FLAT)
    assert judge(held._replace(spectra=(16,) * len(FLAT))).trend is None


def test_the_evidence_is_plain_numbers():
    evidence = judge(marks(*FLAT)).evidence
    assert evidence["alloys"] == 32 and evidence["low"] < evidence["gain"] < evidence["high"] < evidence["tolerance"]
    assert {type(value) for value in evidence.values()} <= {int, float, str, type(None)}


def test_a_forecast_carries_the_curve_on_with_its_scatter():
    levels = [Estimate(10 + 600 / n, 2.0) for n in (20, 40, 60, 80)]
    ahead = forecast((20, 40, 60, 80), levels, 120)
    assert ahead is not None and ahead.value == pytest.approx(10 + 600 / 120)
    assert ahead.standard_error == pytest.approx(0, abs=1e-9)
    rough = [level._replace(value=level.value + (-1) ** k) for k, level in enumerate(levels)]
    wobbly = forecast((20, 40, 60, 80), rough, 120)
    assert wobbly is not None and wobbly.standard_error > 1
    assert forecast((20, 40), levels[:2], 60) is None
