"""What held-out and left-out alloys say of P(glass) and of the intervals."""

import numpy as np

from glassmap.agent.maps.reliability import reliability
from glassmap.dashboard.reliability import Evidence


def test_a_p_glass_that_is_too_sure_is_said_to_be_and_one_that_is_right_is_not():
    rng = np.random.default_rng(0)
    said = rng.uniform(0, 1, 300)
    found = (rng.uniform(0, 1, 300) < said).astype(np.float64)

    def verdict(of: np.ndarray) -> str:
        return Evidence("held out", reliability(of, found), {}).say()[0]

    assert verdict(said) == "Held out: nothing speaks against P(glass)."
    assert verdict((said > 0.5).astype(np.float64)) == "Held out: P(glass) is too sure."
    assert verdict(0.5 + 0.3 * (said - 0.5)) == "Held out: P(glass) is less sure than it could be."


def test_what_was_called_surely_is_counted_and_what_never_was_is_said():
    found = reliability(np.array([0.95, 0.97, 0.99, 0.5]), np.array([1.0, 1.0, 0.0, 1.0]))
    verdict, said, *_ = Evidence("left out", found, {}).say()
    assert verdict == "Left out: of so few alloys hardly anything can be told of P(glass)."
    assert said.startswith("By 4 alloys that were left out: ")
    assert "of those called surely a glass (P ≥ 0.9), 2 of 3 (67 %; 25–92 %) are one" in said
    assert "not one was called surely none (P < 0.1)" in said
