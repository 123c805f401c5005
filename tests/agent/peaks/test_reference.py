"""The reference fit: laws, and errors that are those of repeated measurements."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.peaks.reference import fit_peak
from tests.support.peaks import BACKGROUND, Q, measure_peak, pseudo_voigt


def test_the_standard_errors_are_the_scatter_of_repeated_measurements():
    rng = np.random.default_rng(1)
    clean = BACKGROUND + pseudo_voigt(2.7, 0.5)
    peaks = [fit_peak(Q, clean + rng.normal(0, 2, Q.shape)) for _ in range(30)]
    for quantity in ("q1", "delta_q"):
        scatter = np.std([peak.figures[quantity] for peak in peaks])
        claimed = np.mean([peak.standard_errors[quantity] for peak in peaks])
        assert 0.5 < claimed / scatter < 2


@settings(max_examples=15, deadline=None)
@given(
    factor=st.floats(1e-3, 1e5),
    constant=st.floats(0, 1e4),
    slope=st.floats(-100, 100),
    q1=st.floats(2.2, 3.2),
    delta_q=st.floats(0.1, 0.7),
)
def test_neither_scale_nor_constant_nor_slope_changes_the_peak(factor, constant, slope, q1, delta_q):
    noise = np.random.default_rng(2).normal(0, 0.5, Q.shape)
    spectrum = BACKGROUND + pseudo_voigt(q1, delta_q, share=0.3) + noise
    changed = factor * (spectrum + constant + slope * Q)
    for measure in (fit_peak, measure_peak):
        (ours, *_), (theirs, *_) = measure(Q, changed), measure(Q, spectrum)
        for figure in (Q1.name, DELTA_Q.name):
            np.testing.assert_allclose(ours[figure], theirs[figure], atol=2e-4)
