"""Samples of one alloy that differ by more than their noise, and what explains it."""

import numpy as np

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.mixture import find_mixture, mixture_of

ALLOYS = 60
RNG = np.random.default_rng(0)
COMPOSITIONS = np.repeat(RNG.dirichlet(np.full(3, 2.0), ALLOYS), 4, axis=0)
NOISE = RNG.normal(scale=1.0, size=(4 * ALLOYS, 50))  # a pair of one state differs by an MSE of 1
RATE = np.tile(["high", "high", "low", "low"], ALLOYS)
WAFER = np.tile(["1", "2", "3", "4"], ALLOYS)  # two of each rate
POSITION = RNG.integers(0, 5, 4 * ALLOYS)
FAST = (RATE == "high")[:, None] * np.linspace(0, 8, 50)


def test_the_column_that_explains_most_is_named_with_its_figure():
    found = find_mixture(COMPOSITIONS, NOISE + FAST, {"position": POSITION, "rate": RATE})
    assert found is not None and [one.column for one in found.explained] == ["rate"], "a position explains nothing"
    assert abs(found.explained[0].alike - 1) < 0.1, "what is left is the noise"
    assert found.explained[0].share > 0.8
    assert "`rate`, which explains 8" in found.say() and '`context = {rate = "…"}`' in found.say()


def test_noise_alone_is_no_mixture():
    assert find_mixture(COMPOSITIONS, NOISE, {"rate": RATE, "wafer": WAFER}) is None


def test_samples_of_which_a_column_says_nothing_share_none_of_its_values():
    half = {"wafer": np.where(RATE == "high", "", "3"), "power": np.where(RATE == "high", np.nan, 3.0)}
    assert find_mixture(COMPOSITIONS, NOISE + FAST, half) is None
    found = find_mixture(COMPOSITIONS, NOISE + FAST, half | {"rate": RATE})
    assert found is not None and [one.column for one in found.explained] == ["rate"]


def test_few_pairs_that_are_alike_by_chance_name_no_column():
    """Of twelve alloys, three samples are far off: where chance puts their partners elsewhere, it seems to explain."""
    few = slice(0, 4 * 12)
    spectra = NOISE[few] + 12 * (np.arange(48) % 16 == 0)[:, None]
    columns = [np.random.default_rng(seed).integers(0, 3, 48) for seed in range(20)]
    assert not any(find_mixture(COMPOSITIONS[few], spectra, {"batch": column}) for column in columns)


def test_columns_of_which_one_says_the_other_cannot_be_told_apart():
    columns = {"rate": RATE, "wafer": np.char.add(WAFER, np.repeat(["a", "b"], 2 * ALLOYS))}
    twice = np.concatenate([COMPOSITIONS, COMPOSITIONS])  # two samples of each wafer
    spectra = np.concatenate([NOISE, NOISE[::-1]]) + np.concatenate([FAST, FAST])
    both = {name: np.concatenate([values, values]) for name, values in columns.items()}
    found = find_mixture(twice, spectra, both)
    assert found is not None and [(c.column, c.other) for c in found.confounded] == [("wafer", "rate")]
    assert found.confounded[0].alike < 1.2 < found.confounded[0].unlike, "two wafers of one rate are alike"
    assert "They are confounded: each `wafer` has one `rate`." in found.say()
    assert found.coarsest == "rate"


def test_what_models_are_told_already_is_not_said_again():
    assert find_mixture(COMPOSITIONS, NOISE + FAST, {"rate": RATE, "wafer": WAFER}, known={"rate": RATE}) is None


def test_what_was_read_off_the_spectra_explains_nothing():
    spectra = SpectraSet(
        ids=tuple(map(str, range(4 * ALLOYS))),
        elements=("Co", "V", "Zr"),
        compositions=COMPOSITIONS,
        axis_name="q",
        axis=np.linspace(1, 5, 50),
        intensities=NOISE + FAST,
        coordinates={"width": np.where(RATE == "high", 0.6, 0.4)},
        units={"width": "1/angstrom"},
    )
    assert mixture_of(spectra) is None
