"""The second opinion on labels: lines, halos and both as they were made, and the labels themselves."""

import csv

import numpy as np
import pytest

from tests.benchmarks.states import LABELS, STATES, by_criterion
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
