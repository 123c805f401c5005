"""The second opinion on labels: lines, halos and both as they were made, and the labels themselves."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.states import LABELS, STATES, by_criterion, learn, run
from tests.benchmarks.widths import make


@pytest.mark.parametrize(
    ("state", "settings"),
    [
        ("glass", {"widths": (0.45, 0.8)}),
        ("unclear", {"widths": (0.22, 0.34)}),
        ("both", {"widths": (0.45, 0.8), "line": 1.0, "lines": 1}),
        ("crystalline", {"halo": False, "line": 1.0, "lines": 3}),
    ],
)
def test_the_criterion_tells_what_was_made(state, settings):
    made = make(8, np.random.default_rng(0), **settings)
    assert {by_criterion(made.q, spectrum) for spectrum in made.spectra} == {state}


def test_a_hundred_spectra_of_each_set_are_labelled_once():
    with LABELS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["dataset"], row["sample"]) for row in rows}) == len(rows) == 300
    assert {row["state"] for row in rows} == set(STATES)


def test_rules_are_held_against_the_labels_and_what_labels_teach_is_judged_on_others(shared_data: Path):
    paths = [shared_data / "synchrotron" / f"{name}.nc" for name in ("fe-ti-nb", "co-ti-zr")]
    records = {(record["dataset"], record["rule"]): record for record in run(paths)}
    criterion, by_width = records["all", "criterion"], records["all", "Δq alone, 0.57"]
    assert criterion["n"] == by_width["n"] == 200 and criterion["kappa"] > 0.8 > by_width["kappa"]
    assert criterion["low"] < criterion["agree"] < criterion["high"]
    learned = {(record["dataset"], record["rule"]): record for record in learn(paths)}
    assert learned["fe-ti-nb", "elsewhere"]["brier"] < 0.1 < learned["fe-ti-nb", "0.57"]["brier"]
