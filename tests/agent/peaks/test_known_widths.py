"""Δq of made-up halos is read within 3 %, whatever their width, profile and axis."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from tests.benchmarks.widths import ALLOWED, AXES, make


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9), st.floats(0, 0.3), st.sampled_from(list(AXES)))
def test_halos_of_any_width_and_profile_are_read_right(seed, width, lorentzian, axis):
    made = make(48, np.random.default_rng(seed), widths=(width, 1.1 * width), lorentzian=lorentzian, axis=axis)
    peaks = measure_peaks(made.q, torch.as_tensor(made.spectra))
    assert peaks.found.all()
    widths, places = (peaks.figures[figure.name].numpy() for figure in (DELTA_Q, Q1))
    assert abs(np.median(widths / made.delta_q) - 1) < ALLOWED
    assert np.median(np.abs(places - made.q1) / made.delta_q) < ALLOWED
