"""q1 and Δq: known peaks recovered, laws, refusals with a reason, and the two doors held to agree on real spectra."""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from glassmap.agent.errors import SpectrumError
from glassmap.agent.peaks.batched import fitted_profiles, measure_peaks
from glassmap.agent.peaks.find import REASONS, snip_background
from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts
from glassmap.agent.peaks.pseudo_voigt import pseudo_voigt as profile
from glassmap.agent.peaks.reference import fit_peak, fitted_profile

SHARED = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "../shared/data")) / "synchrotron"
needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason=f"no shared data at {SHARED}")

Q = np.arange(0.9, 5.05, 0.005)  # 1/Å
BACKGROUND = 700 * np.exp(-0.25 * Q)  # counts; a falling background as the synchrotron sets have


def pseudo_voigt(q1, delta_q, *, height=100.0, share=0.0):
    u = (Q - q1) / delta_q
    return height * (share / (1 + 4 * u**2) + (1 - share) * np.exp(-4 * math.log(2) * u**2))


def measure_peak(q, intensity):
    """`measure_peaks` of one spectrum."""
    return tuple(values.item() for values in measure_peaks(q, torch.tensor(intensity)[None]))


# --- known peaks


# The background takes the outermost tails: the wider the peak and the more of a Lorentzian it is, the more.
@pytest.mark.parametrize(
    ("delta_q", "share", "relative_loss"), [(0.05, 0.0, 0.01), (0.05, 0.5, 0.02), (0.5, 0.0, 0.04), (0.5, 0.5, 0.09)]
)
@pytest.mark.parametrize("q1", [2.3, 2.7, 3.1])
def test_a_noisy_peak_is_recovered(q1, delta_q, share, relative_loss):
    noise = np.random.default_rng(0).normal(0, 2, Q.shape)
    spectrum = BACKGROUND + pseudo_voigt(q1, delta_q, share=share) + noise
    peak = fit_peak(Q, spectrum)
    assert peak.reason == ""
    assert abs(peak.q1 - q1) < 4 * peak.q1_stderr
    assert -4 * peak.delta_q_stderr - relative_loss * delta_q < peak.delta_q - delta_q < 4 * peak.delta_q_stderr
    measured_q1, measured_delta_q, found = measure_peak(Q, spectrum)
    assert found
    assert measured_q1 == pytest.approx(peak.q1, abs=peak.q1_stderr)
    assert measured_delta_q == pytest.approx(peak.delta_q, abs=0.02 * delta_q + peak.delta_q_stderr)


def test_the_standard_errors_are_the_scatter_of_repeated_measurements():
    rng = np.random.default_rng(1)
    clean = BACKGROUND + pseudo_voigt(2.7, 0.5)
    peaks = [fit_peak(Q, clean + rng.normal(0, 2, Q.shape)) for _ in range(30)]
    for quantity in ("q1", "delta_q"):
        scatter = np.std([getattr(peak, quantity) for peak in peaks])
        claimed = np.mean([getattr(peak, f"{quantity}_stderr") for peak in peaks])
        assert 0.5 < claimed / scatter < 2


def test_the_first_strong_peak_is_taken_and_not_the_highest():
    spectrum = BACKGROUND + pseudo_voigt(2.3, 0.08, height=150) + pseudo_voigt(2.6, 0.08, height=250)
    assert fit_peak(Q, spectrum).q1 == pytest.approx(2.3, abs=0.01)


def test_a_bump_before_the_peak_is_passed_over():
    spectrum = BACKGROUND + pseudo_voigt(2.0, 0.2, height=30) + pseudo_voigt(2.8, 0.4)
    assert fit_peak(Q, spectrum).q1 == pytest.approx(2.8, abs=0.02)


def test_a_texture_peak_far_above_does_not_hide_the_first():
    spectrum = BACKGROUND + pseudo_voigt(2.5, 0.1) + pseudo_voigt(4.7, 0.1, height=5000)
    assert fit_peak(Q, spectrum).q1 == pytest.approx(2.5, abs=0.01)


# --- laws


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
        np.testing.assert_allclose(measure(Q, changed)[:2], measure(Q, spectrum)[:2], atol=2e-4)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-0.4, 0.4))
def test_a_shifted_spectrum_has_its_peak_shifted_as_far(shift):
    q1, delta_q, found = measure_peak(Q, 300 - 50 * Q + pseudo_voigt(2.7 + shift, 0.3))
    assert found
    assert q1 == pytest.approx(2.7 + shift, abs=2e-3)
    assert delta_q == pytest.approx(0.3, rel=0.02)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), half_width=st.integers(1, 60))
def test_the_background_never_exceeds_the_spectrum_and_is_a_straight_line_of_one(seed, half_width):
    spectra = torch.as_tensor(np.random.default_rng(seed).uniform(0, 100, (3, 120)))
    kept = spectra.clone()
    assert (snip_background(spectra, half_width) <= spectra).all()
    assert torch.equal(spectra, kept)
    line = torch.linspace(50, 10, 120, dtype=torch.float64)[None]
    torch.testing.assert_close(snip_background(line, half_width), line)


# --- no trustworthy peak: NaN, and the reason


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
        (BACKGROUND + pseudo_voigt(2.4, 0.25) + pseudo_voigt(2.65, 0.25, height=90), "wider than the window"),
    ],
    ids=["flat", "zero", "line", "decay", "noise", "too far up", "edge", "spike", "crowd"],
)
def test_no_trustworthy_peak_is_nan_with_a_reason(spectrum, reason):
    peak = fit_peak(Q, spectrum)
    assert reason in peak.reason
    assert peak.reason in REASONS
    assert all(math.isnan(value) for value in peak[:4])
    q1, delta_q, found = measure_peak(Q, spectrum)
    assert not found
    assert math.isnan(q1)
    assert math.isnan(delta_q)


@pytest.mark.parametrize(
    ("q", "spectrum", "message"),
    [
        (Q, np.where(Q > 3, np.nan, BACKGROUND), "must be finite"),
        (Q[::-1].copy(), BACKGROUND, "increase strictly, got 5.045 to 0.9"),
        (Q[:100], BACKGROUND[:100], "span at least 1 1/Å.*got 0.9 to 1.395"),
        (20 + 10 * Q, BACKGROUND, "if the axis is 2θ"),
    ],
    ids=["nan", "decreasing", "short", "two_theta"],
)
def test_an_impossible_spectrum_is_refused(q, spectrum, message):
    with pytest.raises(SpectrumError, match=message):
        fit_peak(q, spectrum)
    with pytest.raises(SpectrumError, match=message):
        measure_peaks(q, torch.tensor(spectrum)[None])


# --- batches


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


def _noisy_spectra(n):
    rng = np.random.default_rng(4)
    peaks = [pseudo_voigt(rng.uniform(2.3, 3.1), rng.uniform(0.06, 0.7), share=rng.uniform(0, 1)) for _ in range(n)]
    return torch.tensor(np.stack(peaks) + BACKGROUND + rng.normal(0, 1, (n, len(Q))))


def test_fitted_curves_of_many_are_those_of_one_by_one_and_absent_where_there_is_no_peak():
    spectra = np.stack([20 - 3 * Q + pseudo_voigt(2.8, 0.4), pseudo_voigt(3.1, 0.6, share=0.6), np.full_like(Q, 7.0)])
    curves = fitted_profiles(Q, torch.from_numpy(spectra)).numpy()
    for curve, spectrum in zip(curves[:2], spectra[:2], strict=True):
        x, y = fitted_profile(Q, spectrum)
        np.testing.assert_array_equal(Q[np.isfinite(curve)], x)
        np.testing.assert_allclose(curve[np.isfinite(curve)], y, atol=1.0)
    assert np.isnan(curves[2]).all()


@pytest.mark.parametrize("block_size", [1, 7, 1000])
def test_the_block_size_changes_nothing(block_size):
    spectra = _noisy_spectra(20)
    for ours, theirs in zip(measure_peaks(Q, spectra), measure_peaks(Q, spectra, block_size=block_size), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-9)


def test_single_precision_spectra_measure_the_same():
    spectra = _noisy_spectra(40)
    exact, rounded = measure_peaks(Q, spectra), measure_peaks(Q, spectra.float())
    assert torch.equal(exact.found, rounded.found)
    torch.testing.assert_close(exact.delta_q, rounded.delta_q, rtol=0, atol=1e-4)


def test_spectra_of_a_network_are_measured_without_gradients():
    peaks = measure_peaks(Q, _noisy_spectra(3).requires_grad_())
    assert not peaks.q1.requires_grad


def test_no_spectra_give_no_peaks():
    assert len(measure_peaks(Q, torch.empty(0, len(Q))).q1) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_measures_the_same():
    spectra = _noisy_spectra(200)
    for ours, theirs in zip(measure_peaks(Q, spectra), measure_peaks(Q, spectra.cuda()), strict=True):
        torch.testing.assert_close(ours, theirs.cpu(), rtol=0, atol=1e-6)


# --- real spectra


def _r_squared(ours, theirs):
    return 1 - np.sum((ours - theirs) ** 2) / np.sum((theirs - theirs.mean()) ** 2)


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "q1_correlation", "delta_q_correlation", "slopes"),
    [
        ("co-ti-zr", 0.95, 0.93, (1.0, 1.12)),
        ("co-v-zr", 0.99, 0.92, (0.95, 1.03)),
        ("fe-ti-nb", 0.99, 0.99, (0.95, 1.03)),
    ],
)
def test_both_doors_agree_on_real_spectra_and_with_the_published_peaks(
    name, q1_correlation, delta_q_correlation, slopes
):
    with xr.open_dataset(SHARED / f"{name}.nc", engine="h5netcdf") as data:
        data = data.load().isel(sample=data["cleaned"].to_numpy()).isel(sample=slice(None, None, 20))
    q, intensity = data["q"].to_numpy(), data["intensity"].to_numpy()
    fits = [fit_peak(q, spectrum) for spectrum in intensity]
    measured = measure_peaks(q, torch.as_tensor(intensity))
    fitted = np.array([fit.reason == "" for fit in fits])
    found = measured.found.numpy()
    assert np.mean(fitted == found) > 0.98
    assert np.mean(found) > 0.95

    both = fitted & found
    for quantity, least, correlation in (("q1", 0.999, q1_correlation), ("delta_q", 0.99, delta_q_correlation)):
        ours = np.array([getattr(fit, quantity) for fit in fits])[both]
        assert _r_squared(getattr(measured, quantity).numpy()[both], ours) >= least
        published = data[f"{quantity}_reported"].to_numpy()[both]
        assert np.corrcoef(ours, published)[0, 1] >= correlation
        if quantity == "delta_q":
            assert slopes[0] < ours @ published / (published @ published) < slopes[1]
