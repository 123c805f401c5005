"""Many peaks at once: known ones recovered, the same in any batch, and as the reference on real spectra."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from glassmap.agent.peaks.batched import _measure_block, fitted_profiles, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1
from glassmap.agent.peaks.reference import fit_peak, fitted_profile
from tests.support.peaks import BACKGROUND, Q, measure_peak, pseudo_voigt

SHARED = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "../shared/data")) / "synchrotron"
needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason=f"no shared data at {SHARED}")


@pytest.mark.parametrize(
    ("delta_q", "share", "relative_loss"), [(0.05, 0.0, 0.01), (0.05, 0.5, 0.02), (0.5, 0.0, 0.01), (0.5, 0.5, 0.02)]
)
@pytest.mark.parametrize("q1", [2.3, 2.7, 3.1])
def test_a_noisy_peak_is_recovered(q1, delta_q, share, relative_loss):
    noise = np.random.default_rng(0).normal(0, 2, Q.shape)
    spectrum = BACKGROUND + pseudo_voigt(q1, delta_q, share=share) + noise
    peak = fit_peak(Q, spectrum)
    assert peak.reason == ""
    fitted, errors = peak.figures, peak.standard_errors
    assert abs(fitted["q1"] - q1) < 4 * errors["q1"]
    assert -4 * errors["delta_q"] - relative_loss * delta_q < fitted["delta_q"] - delta_q < 4 * errors["delta_q"]
    measured, found = measure_peak(Q, spectrum)
    assert found
    assert measured["q1"] == pytest.approx(fitted["q1"], abs=errors["q1"])
    assert measured["delta_q"] == pytest.approx(fitted["delta_q"], abs=0.02 * delta_q + errors["delta_q"])


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-0.4, 0.4))
def test_a_shifted_spectrum_has_its_peak_shifted_as_far(shift):
    figures, found = measure_peak(Q, 300 - 50 * Q + pseudo_voigt(2.7 + shift, 0.3))
    assert found
    assert figures["q1"] == pytest.approx(2.7 + shift, abs=2e-3)
    assert figures["delta_q"] == pytest.approx(0.3, rel=0.02)


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


@pytest.mark.parametrize("block_size", [3, 7])
def test_the_block_size_changes_nothing_but_the_last_digits(block_size):
    spectra = _noisy_spectra(20)
    ours, theirs = measure_peaks(Q, spectra), measure_peaks(Q, spectra, block_size=block_size)
    assert torch.equal(ours.found, theirs.found)
    torch.testing.assert_close(ours.figures, theirs.figures, rtol=1e-5, atol=1e-5, equal_nan=True)


class _Passes(TorchDispatchMode):
    """Notes what PyTorch is asked for on data, views and empty memory left out."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if not func.is_view and "empty" not in func.name():
            self.names.append(func.name())
        return func(*args, **(kwargs or {}))


def test_a_block_takes_as_many_passes_whatever_is_in_it_and_nothing_waits_for_the_device():
    spectra = _noisy_spectra(64).float()
    spectra[40:] = 7
    noted = []
    for part in (spectra[:2], spectra):
        measure_peaks(Q, part)  # makes the tables of the axis
        with _Passes() as passes:
            _measure_block(Q, part)
        noted.append(passes.names)
    assert noted[0] == noted[1]
    assert len(noted[0]) <= 1600
    assert not {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"} & set(noted[0])


def test_an_axis_of_uneven_steps_gives_the_same_peaks():
    uneven = Q + 1e-3 * np.sin(40 * Q)
    spectra = np.stack([40 - 5 * q + 100 * np.exp(-(((q - 2.7) / 0.2) ** 2)) for q in (Q, uneven)])
    even, other = (measure_peak(q, spectrum) for q, spectrum in zip((Q, uneven), spectra, strict=True))
    assert even[1] and other[1]
    for figure in (Q1.name, DELTA_Q.name):
        assert other[0][figure] == pytest.approx(even[0][figure], abs=3e-4)


def test_single_precision_spectra_measure_the_same():
    spectra = _noisy_spectra(40)
    exact, rounded = measure_peaks(Q, spectra), measure_peaks(Q, spectra.float())
    assert torch.equal(exact.found, rounded.found)
    for figure in (Q1.name, DELTA_Q.name):
        torch.testing.assert_close(exact.figures[figure], rounded.figures[figure], rtol=0, atol=1e-4)


def test_spectra_of_a_network_are_measured_without_gradients():
    peaks = measure_peaks(Q, _noisy_spectra(3).requires_grad_())
    assert not any(values.requires_grad for values in peaks.figures.values())


def test_no_spectra_give_no_peaks():
    peaks = measure_peaks(Q, torch.empty(0, len(Q)))
    assert {name: len(values) for name, values in peaks.figures.items()} == {f.name: 0 for f in FIGURES}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_measures_the_same():
    spectra = _noisy_spectra(200)
    ours, theirs = measure_peaks(Q, spectra), measure_peaks(Q, spectra.cuda())
    assert torch.equal(ours.found, theirs.found.cpu())
    for name, values in theirs.figures.items():
        torch.testing.assert_close(ours.figures[name], values.cpu(), rtol=1e-4, atol=1e-4, equal_nan=True)


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
        data = data.load().isel(sample=data["cleaned"].to_numpy()).isel(sample=slice(None, None, 40))
    q, intensity = data["q"].to_numpy(), data["intensity"].to_numpy()
    fits = [fit_peak(q, spectrum) for spectrum in intensity]
    measured = measure_peaks(q, torch.as_tensor(intensity))
    fitted = np.array([fit.reason == "" for fit in fits])
    found = measured.found.numpy()
    assert np.mean(fitted == found) > 0.98
    assert np.mean(found) > 0.95

    both = fitted & found
    for quantity, least, correlation in (("q1", 0.999, q1_correlation), ("delta_q", 0.99, delta_q_correlation)):
        ours = np.array([fit.figures[quantity] for fit in fits])[both]
        assert _r_squared(measured.figures[quantity].numpy()[both], ours) >= least
        published = data[f"{quantity}_reported"].to_numpy()[both]
        assert np.corrcoef(ours, published)[0, 1] >= correlation
        if quantity == "delta_q":
            assert slopes[0] < ours @ published / (published @ published) < slopes[1]
