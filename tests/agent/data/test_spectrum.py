"""2θ and q, and the four steps from a scan to a spectrum: known angles, laws, refusals, real scans."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.spectrum import (
    Preprocessing,
    Substrate,
    mean_squared_error,
    q_axis,
    q_from_two_theta,
    two_theta_from_q,
)
from glassmap.agent.errors import SpectrumError

SHARED = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))
needs_shared_data = pytest.mark.skipif(not SHARED.exists(), reason=f"no shared data at {SHARED}")

CU_K_ALPHA = 1.5406  # Å
Q = np.linspace(0.8, 5.2, 441)  # 1/Å
PREPROCESSING = Preprocessing("q", low=1.0, high=5.0, points=500)


def halo(q, *, height=100.0):
    """A glass's two halos on a falling background."""
    halos = np.exp(-(((q - 2.7) / 0.35) ** 2)) + np.exp(-(((q - 4.6) / 0.6) ** 2)) / 4
    return 200 * np.exp(-q / 2) + height * halos


# --- 2θ and q


def test_q_of_silicon_111():  # a = 5.431 Å, so q = 2π√3 / a = 2.0038 1/Å, seen at 2θ = 28.443° with Cu Kα1
    np.testing.assert_allclose(q_from_two_theta(np.array([28.443]), wavelength=CU_K_ALPHA), 2.0038, atol=2e-4)
    np.testing.assert_allclose(two_theta_from_q(np.array([2.0038]), wavelength=CU_K_ALPHA), 28.443, atol=3e-3)


@given(two_theta=st.floats(0.01, 179), wavelength=st.floats(0.1, 3))
def test_two_theta_to_q_and_back_is_the_identity(two_theta, wavelength):
    q = q_from_two_theta(np.array([two_theta]), wavelength=wavelength)
    np.testing.assert_allclose(two_theta_from_q(q, wavelength=wavelength), two_theta, rtol=1e-6)


@pytest.mark.parametrize("angle", [-1.0, 0.0, 180.0, np.nan])
def test_an_angle_that_no_diffractometer_has_is_refused(angle):
    with pytest.raises(SpectrumError, match=r"within \(0, 180\) degrees"):
        q_from_two_theta(np.array([20.0, angle]), wavelength=CU_K_ALPHA)


def test_a_q_beyond_backscattering_is_refused():
    with pytest.raises(SpectrumError, match=r"within \(0, 8\.1568\).*got 2 to 9"):
        two_theta_from_q(np.array([2.0, 9.0]), wavelength=CU_K_ALPHA)


@pytest.mark.parametrize("convert", [q_from_two_theta, two_theta_from_q])
@pytest.mark.parametrize("wavelength", [0.0, -1.5406])
def test_a_wavelength_must_be_positive(convert, wavelength):
    with pytest.raises(SpectrumError, match="wavelength must be positive"):
        convert(np.array([2.0]), wavelength=wavelength)


def test_only_axes_of_diffraction_have_a_q():
    angles = np.array([20.0, 40.0])
    np.testing.assert_array_equal(q_axis("q", Q, None), Q)
    np.testing.assert_array_equal(q_axis("two_theta", angles, 1.0), q_from_two_theta(angles, wavelength=1.0))
    assert q_axis("r", Q, None) is None
    with pytest.raises(SpectrumError, match="needs its wavelength"):
        q_axis("two_theta", angles, None)


# --- the four steps


@given(scale=st.floats(1e-3, 1e6), points=st.integers(16, 5000))
def test_a_prepared_spectrum_has_a_maximum_of_100_and_forgets_the_exposure(scale, points):
    preprocessing = Preprocessing("q", low=1.0, high=5.0, points=points)
    spectrum = preprocessing.prepare(Q, scale * halo(Q))
    assert spectrum.shape == preprocessing.grid().shape == (points,)
    assert spectrum.max() == 100
    np.testing.assert_allclose(spectrum, preprocessing.prepare(Q, halo(Q)), rtol=1e-9)


def test_preparing_twice_changes_nothing():
    once = PREPROCESSING.prepare(Q, halo(Q))
    np.testing.assert_allclose(PREPROCESSING.prepare(PREPROCESSING.grid(), once), once, atol=1e-10)


def test_a_set_is_prepared_as_its_scans_one_by_one():
    scans = np.stack([halo(Q, height=height) for height in (50.0, 100.0, 300.0)])
    expected = np.stack([PREPROCESSING.prepare(Q, scan) for scan in scans])
    np.testing.assert_array_equal(PREPROCESSING.prepare_all(Q, scans), expected)


def test_interpolation_is_linear():
    np.testing.assert_allclose(PREPROCESSING.prepare(Q, 10 - Q), 100 * (10 - PREPROCESSING.grid()) / 9)


def test_what_lies_beyond_the_range_plays_no_part():
    beyond = halo(Q) + np.where(Q < 0.99, 1e6, 0)
    np.testing.assert_allclose(PREPROCESSING.prepare(Q, beyond), PREPROCESSING.prepare(Q, halo(Q)))


def test_the_default_length_is_that_of_the_paper():
    assert len(Preprocessing("two_theta", 20.0, 65.0, wavelength=CU_K_ALPHA).grid()) == 3743


def test_a_pair_distribution_keeps_its_limit_of_one():
    r = np.linspace(0, 10, 201)
    g = 1 - np.exp(-r)
    np.testing.assert_allclose(Preprocessing("r", 0.0, 10.0, points=201).prepare(r, g), g)


def test_a_point_may_be_negative():
    scan = halo(Q) - 60
    assert PREPROCESSING.prepare(Q, scan).min() < 0


# --- what becomes 100


def test_noise_lowers_a_spectrum_scaled_by_its_maximum_and_hardly_one_scaled_by_its_smoothed_maximum():
    highest, smoothed = (Preprocessing("q", 1.0, 5.0, 2000, scale=s) for s in ("maximum", "smoothed maximum"))
    fine = highest.grid()
    counted = np.random.default_rng(3).poisson(1.35 * highest.prepare(Q, halo(Q)), (20, 2000)).astype(np.float64)
    kept = [p.prepare_all(fine, counted).mean() / p.prepare(Q, halo(Q)).mean() for p in (highest, smoothed)]
    assert kept[0] < 0.85 and 0.96 < kept[1] < 1  # of the level without noise


@pytest.mark.parametrize("width", [0.05, 0.1, 0.5])
def test_without_noise_a_smoothed_maximum_is_nearly_the_maximum_of_lines_and_halos_alike(width):
    line = 20 + 100 * np.exp(-4 * np.log(2) * ((Q - 2.7) / width) ** 2)
    assert Preprocessing("q", 1.0, 5.0, scale="smoothed maximum").prepare(Q, line).max() == pytest.approx(100, abs=8)


def test_of_a_window_the_mean_becomes_100_whatever_lies_outside():
    preprocessing = Preprocessing("q", 1.0, 5.0, 401, scale="window", scale_window=(2.0, 3.5))
    inside = (preprocessing.grid() >= 2.0) & (preprocessing.grid() <= 3.5)
    rise = np.where(Q < 1.5, 1e4, 0)
    for scan in (halo(Q), 7 * halo(Q), halo(Q) + rise):
        spectrum = preprocessing.prepare(Q, scan)
        assert spectrum[inside].mean() == pytest.approx(100)
        np.testing.assert_allclose(spectrum[inside], preprocessing.prepare(Q, halo(Q))[inside])


def test_a_pair_distribution_is_scaled_by_no_rule():
    r = np.linspace(0, 10, 201)
    g = 1 - np.exp(-r)
    np.testing.assert_allclose(Preprocessing("r", 0.0, 10.0, 201, scale="smoothed maximum").prepare(r, g), g)


@pytest.mark.parametrize(
    ("axis", "scale", "window", "message"),
    [
        ("q", "window", None, 'got scale = "window" and no window'),
        ("q", "maximum", (2.0, 3.0), 'got scale = "maximum" and a window'),
        ("q", "window", (3.0, 2.0), "within 1 to 5, got 3 to 2"),
        ("q", "window", (0.5, 2.0), "within 1 to 5, got 0.5 to 2"),
        ("q", "window", (2.0, 2.001), "two points or more within 1 to 5, got 2 to 2.001"),
        ("r", "window", (2.0, 3.0), "isn't scaled"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(axis, scale, window, message):
    with pytest.raises(SpectrumError, match=message):
        Preprocessing(axis, 1.0, 5.0, 401, scale=scale, scale_window=window)


def test_a_spectrum_without_signal_in_its_window_is_refused():
    with pytest.raises(SpectrumError, match="positive intensity within 4 to 5; 1 of 1 have none"):
        Preprocessing("q", 1.0, 5.0, scale="window", scale_window=(4.0, 5.0)).prepare(Q, np.where(Q < 3.9, 1.0, 0.0))


# --- the background


def test_a_background_is_removed_on_demand_only():
    slope = 30 + 400 / Q
    bare = Preprocessing("q", 1.0, 5.0).prepare(Q, halo(Q) + slope)
    without = Preprocessing("q", 1.0, 5.0, background=1.2).prepare(Q, halo(Q) + slope)
    alone = Preprocessing("q", 1.0, 5.0, background=1.2).prepare(Q, halo(Q))
    assert bare.min() > 5
    assert without.min() < 1
    assert np.abs(without - alone).max() < 8


@pytest.mark.parametrize("half_width", [0.0, -1.0, 2.1])
def test_an_impossible_background_is_refused(half_width):
    with pytest.raises(SpectrumError, match=f"at most half the range, got {half_width:g} for 1 to 5"):
        Preprocessing("q", 1.0, 5.0, background=half_width)


# --- the substrate


def substrate_peak(q):
    return 500 * np.exp(-(((q - 2.0038) / 0.2) ** 2)) + 50


@pytest.mark.parametrize(("scale", "factor"), [(1.0, 1.0), (0.7, 0.7), (None, 0.7)])
def test_the_substrate_disappears(scale, factor):
    film = np.where((Q > 1.5) & (Q < 4.9), halo(Q), 0)
    coarse = np.linspace(0.9, 5.1, 1000)  # the substrate has an axis of its own
    preprocessing = Preprocessing("q", 1.0, 5.0, substrate=Substrate(coarse, substrate_peak(coarse), scale))
    spectrum = preprocessing.prepare(Q, film + factor * substrate_peak(Q))
    bare = Preprocessing("q", 1.0, 5.0).prepare(Q, film)
    np.testing.assert_allclose(spectrum, bare, atol=1)


def test_a_fitted_scale_leaves_nearly_no_point_negative():
    noise = np.random.default_rng(0).normal(0, 2, Q.shape)
    preprocessing = Preprocessing("q", 1.0, 5.0, substrate=Substrate(Q, substrate_peak(Q), scale=None))
    spectrum = preprocessing.prepare(Q, halo(Q) + 0.4 * substrate_peak(Q) + noise)
    assert 0 < np.mean(spectrum < 0) < 0.02


def test_a_substrate_must_cover_the_range():
    short = Q[Q < 4]
    preprocessing = Preprocessing("q", 1.0, 5.0, substrate=Substrate(short, substrate_peak(short)))
    with pytest.raises(SpectrumError, match=r"substrate must cover the range 1 to 5, got 0\.8 to"):
        preprocessing.prepare(Q, halo(Q))


def test_a_substrate_brighter_than_the_film_is_refused():
    preprocessing = Preprocessing("q", 1.0, 5.0, substrate=Substrate(Q, 2 * halo(Q)))
    with pytest.raises(SpectrumError, match="1 of 1 have none, first row 1"):
        preprocessing.prepare(Q, halo(Q))


def test_the_scale_of_a_substrate_must_be_positive():
    with pytest.raises(SpectrumError, match="must be positive, got 0"):
        Substrate(Q, halo(Q), scale=0.0)


# --- refusals


@pytest.mark.parametrize(
    ("axis", "intensity", "message"),
    [
        (Q, np.where(Q > 3, np.nan, 1.0), "must be finite, got 220 NaN"),
        (np.where(Q > 5, np.inf, Q), np.ones_like(Q), "must be finite"),
        (Q, np.zeros_like(Q), "positive intensity"),
        (Q, -halo(Q), "positive intensity"),
        (Q[::-1].copy(), halo(Q), r"must increase, got one from 5\.2 down to 0\.8\. Reverse it"),
        (np.repeat(Q[::2], 2)[:441], halo(Q), "increase strictly, got 0.8 followed by 0.8"),
        (Q + 0.5, halo(Q), "cover the range 1 to 5, got 1.3 to 5.7"),
        (Q, halo(Q)[:-1], "one length, got 441 and 440"),
        (Q[::40], halo(Q)[::40], "16 points or more, got 12"),
        (np.linspace(-30, 80, 100), np.ones(100), "16 points or more within 1 to 5, got 4"),
    ],
)
def test_a_scan_that_breaks_a_rule_is_refused(axis, intensity, message):
    with pytest.raises(SpectrumError, match=message):
        PREPROCESSING.prepare(axis, intensity)


def test_the_message_tells_which_spectrum_of_a_set_is_empty():
    scans = np.stack([halo(Q), halo(Q), np.zeros_like(Q)])
    with pytest.raises(SpectrumError, match="1 of 3 have none, first row 3"):
        PREPROCESSING.prepare_all(Q, scans)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axis": "q", "low": 5.0, "high": 1.0}, "run upwards from 0 or above, got 5 to 1"),
        ({"axis": "q", "low": 1.0, "high": 5.0, "points": 3}, "16 points or more, got 3"),
        ({"axis": "two_theta", "low": 20.0, "high": 65.0}, "needs its wavelength"),
        ({"axis": "two_theta", "low": 20.0, "high": 200.0, "wavelength": 1.54}, "within \\(0, 180\\)"),
        ({"axis": "q", "low": 1.0, "high": 5.0, "wavelength": 1.54}, "Only 2θ has a wavelength"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(SpectrumError, match=message):
        Preprocessing(**settings)


# --- error, real scans


def test_the_mean_squared_error_of_a_constant_offset_is_its_square():
    spectra = np.stack([halo(Q), halo(Q)])
    assert mean_squared_error(spectra + 3, spectra) == pytest.approx(9)


@needs_shared_data
def test_a_raw_synchrotron_scan_is_divided_by_its_maximum_and_keeps_its_background():
    path = sorted((SHARED / "raw-scans").glob("*_1D.csv"))[0]
    q, counts = np.loadtxt(path, delimiter=",", unpack=True)
    preprocessing = Preprocessing("q", low=1.0, high=5.0)
    spectrum = preprocessing.prepare(q, counts)
    expected = np.interp(preprocessing.grid(), q, counts)
    np.testing.assert_allclose(spectrum, 100 * expected / expected.max())
    assert spectrum.min() > 20
