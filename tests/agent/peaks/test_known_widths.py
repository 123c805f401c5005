"""Δq of made-up halos is read within 3 %, whatever their width, lean, profile, axis and lines."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from tests.benchmarks.widths import ALLOWED, AXES, SHARE, Made, make

SEEDS = st.integers(0, 2**32 - 1)


def read(made: Made) -> dict[str, np.ndarray]:
    peaks = measure_peaks(made.q, torch.as_tensor(made.spectra))
    assert peaks.found.double().mean() > 0.8
    return {name: values.numpy() for name, values in peaks.figures.items()}


@settings(max_examples=20, deadline=None, derandomize=True)
@given(SEEDS, st.floats(0.3, 0.9), st.floats(0.5, 2), st.floats(0, 0.8), st.sampled_from(list(AXES)))
def test_halos_of_any_width_lean_and_profile_are_read_right(seed, width, ratio, lorentzian, axis):
    rng = np.random.default_rng(seed)
    made = make(48, rng, widths=(width, 1.1 * width), ratio=ratio, lorentzian=lorentzian, axis=axis)
    figures = read(made)
    assert abs(np.nanmedian(figures[DELTA_Q.name] / made.delta_q) - 1) < ALLOWED
    assert np.nanmedian(np.abs(figures[Q1.name] - made.q1) / made.delta_q) < ALLOWED


@settings(max_examples=10, deadline=None, derandomize=True)
@given(SEEDS, st.floats(0.08, 0.3))
def test_narrow_peaks_are_read_right(seed, width):
    made = make(48, np.random.default_rng(seed), widths=(width, 1.1 * width))
    assert abs(np.nanmedian(read(made)[DELTA_Q.name] / made.delta_q) - 1) < ALLOWED


@settings(max_examples=10, deadline=None, derandomize=True)
@given(SEEDS, st.floats(0.4, 0.8), st.sampled_from([0.05, 0.1, 0.2, 0.3, 0.5, 1.0]))
def test_a_line_on_a_halo_leaves_its_width_and_is_told_as_a_share(seed, width, line):
    made = make(48, np.random.default_rng(seed), widths=(width, 1.1 * width), line=line, lines=1)
    figures = read(made)
    assert abs(np.nanmedian(figures[DELTA_Q.name] / made.delta_q) - 1) < ALLOWED
    assert np.nanmedian(np.abs(figures[SHARE] - made.crystalline_share)) < 0.05
