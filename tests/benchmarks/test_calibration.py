"""What the calibration benchmark makes of forecasts that are right, and of ones that are too sure."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.maps.glass import NORMAL_ATOMS
from glassmap.agent.peaks.figures import DELTA_Q
from tests.benchmarks import calibration
from tests.support.pictures import shows_something


def judged(sureness: float, seed: int = 0, n: int = 4000) -> dict:
    """Scores of forecasts whose spread is `sureness` times too small."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0.57, 0.1, n)
    truth = mean + 0.05 * rng.standard_normal(n)
    draws = mean + NORMAL_ATOMS[:, None] * 0.05 / sureness
    return calibration.judge(DELTA_Q.name, draws, truth, np.where(np.arange(n) < n - 10, "a", "b"))


def test_a_forecast_that_is_right_holds_what_it_says_and_one_that_is_too_sure_does_not():
    right, too_sure = judged(1.0), judged(3.0)
    assert right["inside"] == pytest.approx(0.9, abs=0.02) == right["inside_glass"]
    assert too_sure["inside"] < 0.5
    assert right["ece"] < 0.03 < too_sure["ece"]
    assert right["crps"] < too_sure["crps"] and right["brier"] < too_sure["brier"]
    assert right["told"] == 1 and len(right["wafers"]) == 1, "ten spectra of a wafer say nothing of it"


def test_halves_of_the_draws_are_told_apart_and_drawn_together(tmp_path: Path):
    records = [
        {"dataset": "co-v-zr", "split": "random", "seed": seed, "n": 80, "figure": DELTA_Q.name, "way": way}
        | judged(sureness, seed, 300)
        for seed in (0, 1, 5)
        for way, sureness in (("ensemble", 1.0), ("spread of its members", 3.0))
    ]
    rows = calibration.summary(records)
    assert [(row["half"], row["cases"]) for row in rows] == [("chosen on", 2), ("judged on", 1)] * 2
    assert rows[0]["pooled_ece"] < rows[2]["pooled_ece"]
    calibration.draw(records, tmp_path / "reliability.png", ways=("ensemble", "spread of its members"))
    assert shows_something(tmp_path / "reliability.png")
