"""The split profile and its fit."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from glassmap.agent.peaks.pseudo_voigt import nearest_start, split_pseudo_voigt, starts_of, step_towards

STARTS = starts_of(64, torch.device("cpu"))


def fit(y, *, tied=False, steps=12):
    parameters, is_tied = nearest_start(STARTS, y), torch.full((len(y),), float(tied))
    if tied:
        parameters[:, 2:4] = parameters[:, 2:4].amin(1, keepdim=True)
    for _ in range(steps):
        parameters = step_towards(y, torch.ones_like, STARTS, parameters, is_tied=is_tied)
    return parameters


@settings(max_examples=30, deadline=None)
@given(
    height=st.floats(0.7, 1.5),
    center=st.floats(0.35, 0.65),
    left=st.floats(0.1, 0.35),
    right=st.floats(0.1, 0.35),
    share=st.floats(0, 1),
)
def test_an_exact_profile_gives_its_parameters_back(height, center, left, right, share):
    exact = torch.tensor([[height, center, left, right, share]])
    found = fit(split_pseudo_voigt(STARTS.x, exact))
    for tolerance, ours, theirs in zip((0.03, 3e-3, 5e-3, 5e-3), found[0], exact[0], strict=False):
        assert abs(ours - theirs) < tolerance


def test_half_widths_that_are_tied_stay_the_same_and_nothing_to_fit_gives_no_nan():
    leaning = split_pseudo_voigt(STARTS.x, torch.tensor([[1, 0.5, 0.1, 0.3, 0.2], [0, 0.5, 0.1, 0.1, 0]]))
    found = fit(leaning, tied=True)
    assert torch.equal(found[:, 2], found[:, 3])
    assert found.isfinite().all()
    assert 0.1 < found[0, 2] < 0.3


def test_a_fit_of_noisy_peaks_is_the_best_that_a_search_from_many_starts_finds():
    rng = np.random.default_rng(3)
    low, high = [0.7, 0.35, 0.1, 0.1, 0], [1.5, 0.65, 0.35, 0.35, 1]
    parameters = torch.tensor(rng.uniform(low, high, (10, 5)), dtype=torch.float32)
    y = split_pseudo_voigt(STARTS.x, parameters) + torch.tensor(rng.normal(0, 0.03, (10, 64)), dtype=torch.float32)
    for row, found in zip(y, fit(y), strict=True):
        target = row.double().numpy()

        def left(values, target=target):
            return split_pseudo_voigt(STARTS.x.double(), torch.tensor(values)[None])[0].numpy() - target

        bounds = [0, -1, 0.02, 0.02, 0], [9, 2, 1, 1, 1]
        starts = [(target.max(), 0.5, side, side, 0.5) for side in (0.1, 0.3)]
        best = min((least_squares(left, start, bounds=bounds) for start in starts), key=lambda search: search.cost)
        assert np.square(left(found.double().numpy())).sum() / 2 < 1.03 * best.cost
        assert abs(found[2] + found[3] - best.x[2] - best.x[3]) < 0.05 * (best.x[2] + best.x[3])
