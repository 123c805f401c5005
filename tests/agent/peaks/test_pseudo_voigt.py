"""The profile and its fit."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts
from glassmap.agent.peaks.pseudo_voigt import pseudo_voigt as profile

X = (torch.arange(32) + 0.5) / 32


@settings(max_examples=30, deadline=None)
@given(height=st.floats(0.7, 1.5), center=st.floats(0.3, 0.7), fwhm=st.floats(0.2, 0.8), share=st.floats(0, 1))
def test_an_exact_profile_gives_its_parameters_back(height, center, fwhm, share):
    fits = fit_pseudo_voigts(profile(X, torch.tensor([[height, center, fwhm, share]])))
    assert abs(fits.height.item() - height) < 2e-3 * height
    for found, expected in ((fits.center, center), (fits.fwhm, fwhm)):
        assert abs(found.item() - expected) < 1e-3
    assert fits.unexplained.item() < 1e-5


def test_a_fit_of_one_kind_that_fails_does_not_take_the_others_with_it():
    stream, shoulder = torch.Generator().manual_seed(0), torch.tensor([[0.2, 0, 0.05, 0], [0.9, 1, 0.5, 1]])
    peak = torch.tensor([[1, 0.4, 0.2, 0], [1, 0.6, 0.9, 1]])
    parts = [profile(X, low + (high - low) * torch.rand(20_000, 4, generator=stream)) for low, high in (peak, shoulder)]
    assert all(values.isfinite().all() for values in fit_pseudo_voigts(torch.stack(parts).sum(0)))


def test_a_fit_of_noisy_peaks_that_lean_is_the_best_that_a_search_from_many_starts_finds():
    rng = np.random.default_rng(3)
    parameters = torch.tensor(rng.uniform([0.7, 0.2, 0.15, 0], [1.5, 0.8, 1, 1], (10, 4)), dtype=torch.float32)
    leaning = profile(X + 0.1 * (X - 0.5) ** 2, parameters)
    y = leaning + parameters[:, :1] * torch.tensor(rng.normal(0, 0.05, (10, 32)), dtype=torch.float32)
    fits = fit_pseudo_voigts(y)
    for row, (height, fwhm, share) in zip(y, torch.stack(fits[:1] + fits[2:4], 1).tolist(), strict=True):
        target = row.double().numpy()

        def left(values, target=target):
            return profile(X.double(), torch.tensor(values)[None])[0].numpy() - target

        searches = [
            least_squares(
                left, (target.max(), X[target.argmax()], start, 0.5), bounds=([0, -1, 0.04, 0], [999, 2, 2, 1])
            )
            for start in (0.2, 0.5, 0.9)
        ]
        best = min(searches, key=lambda search: search.cost)
        assert abs(fwhm - best.x[2]) < 0.02 * best.x[2]
        assert abs(height - best.x[0]) < 0.03 * best.x[0]
        assert 0 <= share <= 1
