"""The profile and its fit."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts
from glassmap.agent.peaks.pseudo_voigt import pseudo_voigt as profile


@settings(max_examples=30, deadline=None)
@given(height=st.floats(0.7, 1.3), center=st.floats(-0.2, 0.2), fwhm=st.floats(0.6, 1.6), share=st.floats(0, 1))
def test_an_exact_profile_gives_its_parameters_back(height, center, fwhm, share):
    x = torch.linspace(-1, 1, 32, dtype=torch.float64)[None]
    parameters = torch.tensor([[height, center, fwhm, share]], dtype=torch.float64)
    torch.testing.assert_close(fit_pseudo_voigts(x, profile(x, parameters)[0]), parameters, rtol=0, atol=2e-3)


def test_the_derivatives_of_the_profile_are_those_of_autograd():
    x = torch.linspace(-1, 1, 9, dtype=torch.float64)[None]
    parameters = torch.tensor([[1.3, 0.1, 0.8, 0.4]], dtype=torch.float64)
    expected = torch.func.jacrev(lambda p: profile(x, p)[0][0])(parameters)[:, 0].T
    torch.testing.assert_close(profile(x, parameters)[1][0], expected)
