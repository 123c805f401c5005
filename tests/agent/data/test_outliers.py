"""Measurements to flag are found, good ones are left alone."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data import outliers
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.outliers import LINE_WIDTH, WITNESSES, nearest_rows, screen, screen_set, witnesses

Q = np.linspace(1, 5, 801)


def halos(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compositions, spectra of a glass former, and their counts."""
    rng = np.random.default_rng(seed)
    x = rng.dirichlet((2, 2, 2), size=n)
    y = (
        20
        + 80 / (1 + 4 * ((Q - 2.4 - 0.6 * x[:, :1]) / (0.35 + 0.4 * x[:, 1:2])) ** 2)
        + rng.normal(scale=0.3, size=(n, 801))
    )
    return x, 100 * y / y.max(axis=1, keepdims=True), np.full(n, 500.0)


def judge(x: np.ndarray, y: np.ndarray, counts: np.ndarray, **options) -> list[str]:
    return screen(Q, x, y, counts=counts, new=np.ones(len(x), dtype=bool), **options)


def test_good_spectra_are_not_flagged():
    assert not any(judge(*halos(60)))


def test_a_line_too_narrow_for_a_film_is_flagged_unless_its_neighbours_have_it():
    x, y, counts = halos(30)
    line = 40 * np.exp(-0.5 * ((Q - 3.0) / 0.005) ** 2)
    y[4] += line
    reasons = judge(x, y, counts)
    assert "A sharp line at 3.00 1/Å, " in reasons[4] and sum(map(bool, reasons)) == 1
    everywhere = judge(x, halos(30)[1] + line, counts)
    assert not any("sharp line" in reason for reason in everywhere)
    expected = halos(30)[1] + line
    assert not any("sharp line" in reason for reason in judge(x, y, counts, expected=expected)), "the model knows it"


def test_a_line_of_a_film_is_not_flagged():
    x, y, counts = halos(30)
    y[4] += 40 * np.exp(-0.5 * ((Q - 3.0) / LINE_WIDTH) ** 2)
    assert "sharp" not in judge(x, y, counts)[4]


def test_what_resembles_no_neighbour_is_flagged_unless_the_model_expects_it():
    x, y, counts = halos(100)
    y[7] = 100 - y[7]
    reasons = judge(x, y, counts)
    assert "It resembles no neighbour" in reasons[7] and sum(map(bool, reasons)) == 1
    assert not any(judge(x, y, counts, expected=y))


def test_no_film_no_signal_and_saturation_are_flagged():
    x, y, counts = halos(30)
    counts[1] = 100
    y[2] = 50 + np.random.default_rng(1).normal(scale=10, size=801)
    y[3] = np.minimum(y[3], 70) / 0.7
    reasons = judge(x, y, counts)
    assert "20% of the counts of its neighbours: no film?" in reasons[1]
    assert "No signal" in reasons[2]
    assert "points in a row are at the maximum" in reasons[3]
    assert [row for row, reason in enumerate(reasons) if reason] == [1, 2, 3]


def test_only_new_ones_are_judged_and_few_are_no_measure():
    x, y, counts = halos(30)
    y[7] = y[7][::-1]
    assert not any(screen(Q, x, y, counts=counts, new=np.zeros(30, dtype=bool)))
    assert not any(judge(x[:7], y[1:8], counts[:7])), "with seven, nobody knows how far neighbours differ"
    assert judge(x[:1], y[:1], counts[:1]) == [""]


def test_counts_that_are_not_known_raise_no_flag():
    x, y, counts = halos(30)
    assert not any(judge(x, y, counts * np.nan))


def test_a_new_one_is_screened_with_the_nearest_of_very_many():
    x, _, _ = halos(500)
    new = np.arange(500) % 250 == 7
    rows = witnesses(x, new)
    assert {7, 257} <= set(rows.tolist()) and len(rows) <= 2 * WITNESSES
    assert (np.diff(rows) > 0).all()
    for row in (7, 257):
        nearest = np.linalg.norm(x - x[row], axis=1).argsort()[:WITNESSES]
        assert set(nearest.tolist()) <= set(rows.tolist())
        assert nearest_rows(x, row).tolist() == nearest[1:5].tolist(), "itself is no neighbour"
    assert witnesses(x[:3], np.array([True, False, False])).tolist() == [0, 1, 2], "all of few"


@pytest.mark.parametrize("seed", [0, 1])
def test_of_real_wafers_few_good_points_are_flagged(shared_data: Path, seed: int):
    from glassmap.agent.data.dataset import read_dataset
    from glassmap.flows.backends.replay import counts_of

    raw = read_dataset(shared_data / "synchrotron" / "co-v-zr.nc")
    rows = np.random.default_rng(seed).permutation(len(raw))[:100]
    spectra, counts = raw.prepared().select(rows), counts_of(raw)[rows]
    y = spectra.intensities.astype(np.float64)
    reasons = screen(spectra.axis, spectra.compositions, y, counts=counts, new=np.ones(100, dtype=bool))
    assert sum(map(bool, reasons)) <= 2


@pytest.mark.parametrize("at_once", [7, 100])
def test_a_data_set_is_screened_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch, at_once: int):
    monkeypatch.setattr(outliers, "AT_ONCE", at_once)
    x, y, _ = halos(60)
    y[33] += 40 * np.exp(-0.5 * ((Q - 3.0) / 0.005) ** 2)
    y[50] = y[50] / 10
    spectra = SpectraSet(tuple(f"s{k}" for k in range(60)), ("Co", "V", "Zr"), x, "q", Q, 7 * y)
    found = screen_set(spectra)
    assert found.keys() == {"s33", "s50"}
    assert "A sharp line at 3.00 1/Å" in found["s33"] and "10% of the counts" in found["s50"]
