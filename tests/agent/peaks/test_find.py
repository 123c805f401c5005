"""Which peak is the first, what lies under it, and what is refused."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.errors import SpectrumError
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import Q1
from glassmap.agent.peaks.find import (
    REASONS,
    opened,
    snip_background,
)
from glassmap.agent.peaks.reference import fit_peak
from tests.support.peaks import BACKGROUND, Q, measure_peak, pseudo_voigt


def test_the_first_strong_peak_is_taken_and_not_the_highest():
    spectrum = BACKGROUND + pseudo_voigt(2.3, 0.08, height=150) + pseudo_voigt(2.6, 0.08, height=250)
    assert fit_peak(Q, spectrum).figures[Q1.name] == pytest.approx(2.3, abs=0.01)


def test_a_bump_before_the_peak_is_passed_over():
    spectrum = BACKGROUND + pseudo_voigt(2.0, 0.2, height=30) + pseudo_voigt(2.8, 0.4)
    assert fit_peak(Q, spectrum).figures[Q1.name] == pytest.approx(2.8, abs=0.02)


def test_a_texture_peak_far_above_does_not_hide_the_first():
    spectrum = BACKGROUND + pseudo_voigt(2.5, 0.1) + pseudo_voigt(4.7, 0.1, height=5000)
    assert fit_peak(Q, spectrum).figures[Q1.name] == pytest.approx(2.5, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), half_width=st.integers(1, 60))
def test_the_background_never_exceeds_the_spectrum_and_is_a_straight_line_of_one(seed, half_width):
    spectra = torch.as_tensor(np.random.default_rng(seed).uniform(0, 100, (3, 120)))
    kept = spectra.clone()
    assert (snip_background(spectra, half_width) <= spectra).all()
    assert torch.equal(spectra, kept)
    line = torch.linspace(50, 10, 120, dtype=torch.float64)[None]
    torch.testing.assert_close(snip_background(line, half_width), line)


@pytest.mark.parametrize(
    ("spectrum", "reason"),
    [
        (np.full_like(Q, 100.0), "No maximum"),
        (np.zeros_like(Q), "No maximum"),
        (100 + 20 * Q, "No maximum"),
        (700 * np.exp(-Q), "No maximum"),
        (100 + np.random.default_rng(3).normal(0, 5, Q.shape), "No maximum"),
        (BACKGROUND + pseudo_voigt(4.6, 0.2), "No maximum"),
        (BACKGROUND + pseudo_voigt(1.15, 0.6), "an end of the axis"),
        (BACKGROUND + pseudo_voigt(2.7, 0.008), "narrower than three steps"),
    ],
    ids=["flat", "zero", "line", "decay", "noise", "too far up", "edge", "spike"],
)
def test_no_trustworthy_peak_is_nan_with_a_reason(spectrum, reason):
    peak = fit_peak(Q, spectrum)
    assert reason in peak.reason
    assert peak.reason in REASONS
    assert all(math.isnan(value) for value in (*peak.figures.values(), *peak.standard_errors.values()))
    figures, found = measure_peak(Q, spectrum)
    assert not found
    assert all(math.isnan(value) for value in figures.values())


@pytest.mark.parametrize(
    ("q", "spectrum", "message"),
    [
        (Q, np.where(Q > 3, np.nan, BACKGROUND), "must be finite"),
        (Q[::-1].copy(), BACKGROUND, "increase strictly, got 5.045 to 0.9"),
        (Q[:100], BACKGROUND[:100], "span at least 1 1/Å.*got 0.9 to 1.395"),
        (20 + 10 * Q, BACKGROUND, "if the axis is 2θ"),
        (Q[::99], BACKGROUND[::99], "10 points or more, got 9"),
    ],
    ids=["nan", "decreasing", "short", "two_theta", "coarse"],
)
def test_an_impossible_spectrum_is_refused(q, spectrum, message):
    with pytest.raises(SpectrumError, match=message):
        fit_peak(q, spectrum)
    with pytest.raises(SpectrumError, match=message):
        measure_peaks(q, torch.tensor(spectrum)[None])


def test_opening_takes_what_is_narrow_and_leaves_what_is_broad():
    flat, broad, line = torch.zeros(1, 60), torch.zeros(1, 60), torch.zeros(1, 60)
    broad[0, 20:40] = 2.0
    line[0, 28:33] = 5.0
    assert torch.equal(opened(broad + line, 7), broad)
    assert torch.equal(opened(line, 7), flat)
    assert torch.equal(opened(broad, 7), broad)
