from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.planning.convergence import Budget, CurvePoint, Decision, Estimate, decide_by_smoothed_mse

errors = st.floats(min_value=1e-3, max_value=1e4)


def curve(*mse: float) -> list[CurvePoint]:
    found = [{"mse": Estimate(float(value), nan)} for value in mse]
    return [CurvePoint(k, 20 * k, 1.2 * errors["mse"].value, None, 9, errors, {}) for k, errors in enumerate(found, 1)]


def judge(
    *mse: float,
    tolerance: float = 0.05,
    patience: int = 2,
    rounds: int = 50,
    room: bool = True,
    budget: Budget | None = None,
) -> Decision:
    points, used = curve(*mse), Budget(len(mse), spectra=20 * len(mse), hours=1.5, cpu_hours=0.0)
    limits = budget or Budget(rounds)
    return decide_by_smoothed_mse(
        points, tolerance=tolerance, patience=patience, budget=limits, used=used, room_left=room
    )


@given(level=errors, patience=st.integers(1, 5), tolerance=st.floats(0.001, 0.9))
def test_a_flat_curve_converges_after_just_as_many_rounds_as_patience_asks(
    level: float, patience: int, tolerance: float
):
    flat = [level] * (patience + 1)
    assert judge(*flat, patience=patience, tolerance=tolerance).state == "converged"
    assert judge(*flat[:-1], patience=patience, tolerance=tolerance).state == "continue"


@given(start=errors, n=st.integers(2, 12), patience=st.integers(1, 3))
def test_a_curve_that_halves_every_round_never_converges(start: float, n: int, patience: int):
    assert judge(*(start / 2**k for k in range(n)), patience=patience).state == "continue"


@given(mse=st.lists(errors, min_size=1, max_size=10), scale=st.sampled_from([0.25, 8.0, 1024.0]))
def test_the_decision_does_not_depend_on_the_unit_of_intensity(mse: list[float], scale: float):
    one, other = judge(*mse), judge(*(scale * value for value in mse))
    assert one.state == other.state
    assert one.improvements == pytest.approx(other.improvements)


@given(mse=st.lists(errors, min_size=1, max_size=10), tolerances=st.tuples(st.floats(0.01, 0.9), st.floats(0.01, 0.9)))
def test_what_converges_converges_at_every_larger_tolerance(mse: list[float], tolerances: tuple[float, float]):
    if judge(*mse, tolerance=min(tolerances)).state == "converged":
        assert judge(*mse, tolerance=max(tolerances)).state == "converged"


@given(mse=st.lists(errors, min_size=1, max_size=10), patience=st.integers(1, 5))
def test_what_converges_converges_with_every_lesser_patience(mse: list[float], patience: int):
    if judge(*mse, patience=patience + 1).state == "converged":
        assert judge(*mse, patience=patience).state == "converged"


@given(mse=st.lists(errors, min_size=1, max_size=10), room=st.booleans(), rounds=st.integers(1, 12))
def test_a_campaign_goes_on_only_with_room_and_budget_left(mse: list[float], room: bool, rounds: int):
    decision = judge(*mse, room=room, rounds=rounds)
    if decision.state == "continue":
        assert room and len(mse) < rounds
    assert len(decision.improvements) == len(mse) - 1


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
    decision = judge(100, 50, budget=budget)
    assert decision.state == "exhausted" and words in decision.reason
    assert judge(100, 50, budget=Budget(9, spectra=41, hours=2.5, cpu_hours=0.1)).state == "continue"


def test_one_lucky_round_among_bad_ones_does_not_stop_a_noisy_curve():
    assert judge(100, 60, 59, 40).state == "continue"


def test_a_curve_that_got_worse_has_converged():
    assert judge(20, 20, 21).state == "converged"


def test_a_perfect_model_converges_and_divides_by_nothing():
    assert judge(0.0, 0.0, 0.0).state == "converged"


def test_the_sentence_of_convergence_carries_its_evidence():
    decision = judge(40, 20, 20.5, 20)
    assert decision.improvements == pytest.approx((0.25, 0.325, 0.0))
    assert judge(40, 20, 19.8, 19.8, 19.8).reason == (
        "Converged after 100 spectra in 5 rounds, hold-out MSE 19.8: improvement of the smoothed MSE in the last "
        "2 rounds: 0.50 %, 0.00 %; less than 5 % each."
    )


def test_the_sentence_of_a_spent_budget_says_what_the_last_rounds_still_brought():
    decision = judge(40, 20, rounds=2)
    assert decision.state == "exhausted"
    assert decision.reason == (
        "Stopped after 40 spectra in 2 rounds, hold-out MSE 20: the budget of 2 rounds is spent; improvement "
        "of the smoothed MSE in the last 1 round: 25.00 %."
    )


def test_the_sentences_of_an_exhausted_space_and_of_the_first_round():
    assert judge(40, room=False).reason == (
        "Stopped after 20 spectra in 1 round, hold-out MSE 40: no alloy is left to measure; no trend yet."
    )
    assert judge(40).reason == "Go on after 20 spectra in 1 round, hold-out MSE 40: no trend yet."
