"""What a diffractometer puts on a scan is taken off it: held by made-up scans of known truth."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.config.space import SpectrumConfig
from glassmap.agent.data.corrections import DOUBLETS, FWHM, Corrections
from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.spectrum import Preprocessing, q_from_two_theta, two_theta_from_q
from glassmap.agent.errors import SpectrumError
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.flows.backends.protocol import open_backend

CU = DOUBLETS["Cu"]
TWO_THETA = np.arange(15, 80, 0.02)
Q = q_from_two_theta(TWO_THETA, wavelength=CU.alpha1)
SI_111 = 2.0038  # 1/Å, of a lattice parameter of 5.4310 Å


def peak(center: float, width: float, *, on: np.ndarray = Q, lorentzian: float = 0.5) -> np.ndarray:
    """A pseudo-Voigt on a small background; Si 111 of large crystals, or a halo."""
    w = (2 * (on - center) / width) ** 2
    return 10 + 100 * (lorentzian / (1 + w) + (1 - lorentzian) * 2.0**-w)


def first_peak(spectrum: np.ndarray) -> tuple[float, float]:
    found = measure_peaks(Q, torch.as_tensor(spectrum[None])).figures
    return float(found["q1"]), float(found["delta_q"])


def blurred(spectrum_of: np.ndarray, width: float) -> np.ndarray:
    """A spectrum in steps of 0.002°, as an instrument of that width measures it every 0.02°."""
    offsets = np.arange(-3 * width, 3 * width, 0.002)
    kernel = np.exp(-0.5 * (offsets * FWHM / width) ** 2)
    return np.convolve(spectrum_of, kernel / kernel.sum(), "same")[::10][: len(TWO_THETA)]


@pytest.mark.parametrize("center, width", [(SI_111, 0.02), (2.8, 0.03), (2.8, 0.5)])
def test_the_second_line_is_stripped_of_silicon_and_of_a_halo(center: float, width: float):
    measured = (peak(center, width) + 0.5 * peak(center, width, on=Q * CU.alpha1 / CU.alpha2)) / 1.5
    q1, delta_q = first_peak(Corrections("Cu", k_alpha2=0.5).apply(Q, measured[None])[0])
    true_q1, true_delta_q = first_peak(peak(center, width))
    assert q1 == pytest.approx(true_q1, abs=2e-4) and delta_q == pytest.approx(true_delta_q, rel=0.01)
    assert first_peak(measured)[0] > true_q1 + 1e-3, "which it was not before"


@pytest.mark.parametrize("width", [0.03, 0.05, 0.1, 0.5])
@pytest.mark.parametrize("lorentzian", [0.0, 0.5, 1.0])
def test_the_instrument_s_width_is_taken_off_within_three_percent(width: float, lorentzian: float):
    fine = q_from_two_theta(np.arange(15, 80, 0.002), wavelength=CU.alpha1)
    measured = blurred(peak(2.8, width, on=fine, lorentzian=lorentzian), 0.15)
    delta_q = first_peak(Corrections("Cu", instrument_width=0.15).apply(Q, measured[None])[0])[1]
    assert delta_q == pytest.approx(first_peak(peak(2.8, width, lorentzian=lorentzian))[1], rel=0.03)


def test_factors_are_divided_out_of_scans_or_put_on_what_was_simulated():
    true, theta = peak(2.6, 0.5)[None], np.radians(TWO_THETA / 2)
    factor = (1 + np.cos(np.radians(26.6)) ** 2 * np.cos(2 * theta) ** 2) / (1 + np.cos(np.radians(26.6)) ** 2)
    measured = true * factor / (np.sin(theta) ** 2 * np.cos(theta))
    removed = Corrections("Cu", polarization="removed", lorentz="removed", monochromator=26.6)
    kept = Corrections("Cu", polarization="kept", lorentz="kept", monochromator=26.6)
    simulated = [replace(one, is_simulated=True) for one in (removed, kept)]
    np.testing.assert_allclose(removed.apply(Q, measured), true)
    np.testing.assert_allclose(simulated[0].apply(Q, true), true)
    np.testing.assert_allclose(kept.apply(Q, measured), measured)
    np.testing.assert_allclose(simulated[1].apply(Q, true), measured)


def test_scans_over_q_and_over_two_theta_are_corrected_alike():
    corrections = Corrections("Cu", polarization="removed", k_alpha2=0.5, instrument_width=0.1)
    measured = peak(2.6, 0.1)
    over_q = Preprocessing("q", 1.5, 4.5, 1501, corrections=corrections).prepare(Q, measured)
    low, high = two_theta_from_q(np.array([1.5, 4.5]), wavelength=CU.alpha1)
    steps = Preprocessing("two_theta", low, high, 3000, wavelength=CU.alpha1, corrections=corrections)
    over_angle = steps.prepare(TWO_THETA, measured)
    grid = q_from_two_theta(steps.grid(), wavelength=CU.alpha1)
    np.testing.assert_allclose(np.interp(np.linspace(1.5, 4.5, 1501), grid, over_angle), over_q, atol=0.3)


def test_another_anode_than_the_scans_and_an_angle_out_of_reach_are_refused():
    with pytest.raises(SpectrumError, match=r"got Co .* and a wavelength of 1\.5418 Å"):
        Preprocessing("two_theta", 20.0, 80.0, wavelength=1.5418, corrections=Corrections("Co", k_alpha2=0.5))
    with pytest.raises(SpectrumError, match="Narrow the range"):
        Corrections("Cr", polarization="removed").apply(np.linspace(1, 6, 100), np.ones((1, 100)))


@pytest.mark.parametrize(
    "given, said",
    [
        ({"anode": "Cu"}, "need one to make"),
        ({"anode": "Cu", "k_alpha2": 0.5, "monochromator": 26.6}, "and no polarization"),
    ],
)
def test_a_campaign_file_whose_corrections_do_nothing_is_refused(given: dict[str, object], said: str):
    with pytest.raises(ValueError, match=said):
        SpectrumConfig.model_validate({"corrections": given})


def test_a_campaign_file_s_corrections_reach_the_spectra():
    config = SpectrumConfig.model_validate({"corrections": {"anode": "Mo", "polarization": "removed"}})
    assert config.read()["corrections"] == Corrections("Mo", polarization="removed")
    assert SpectrumConfig().read()["corrections"] is None


def opened(tmp_path: Path, backend: dict[str, Any], corrections: dict[str, Any]) -> Any:
    """A laboratory or a simulation whose campaign file asks for corrections."""
    settings = {"name": "corrected", "space": {"elements": ["Zr", "Cu", "Al"]}, "backend": backend}
    settings["spectrum"] = {"low": 1.5, "high": 4.5, "points": 1501, "corrections": corrections}
    config = CampaignConfig.of(settings, source="the test")
    return open_backend(config.backend, config, tmp_path)


def test_a_laboratory_s_scan_loses_its_second_line_and_is_over_q_of_the_first(tmp_path: Path):
    lab = opened(
        tmp_path, {"kind": "lab", "columns": "two_theta", "drop": [str(tmp_path)]}, {"anode": "Cu", "k_alpha2": 0.5}
    )
    measured = peak(SI_111, 0.03) + 0.5 * peak(SI_111, 0.03, on=Q * CU.alpha1 / CU.alpha2)
    scan = RawScan("two_theta", TWO_THETA, measured, 1.5419, None)
    spectrum = lab.prepare(scan)
    assert lab.axis[np.argmax(spectrum)] == pytest.approx(SI_111, abs=0.001)
    with pytest.raises(SpectrumError, match="got Cu"):
        lab.prepare(scan._replace(wavelength=1.789))


def test_a_simulation_gets_the_polarization_that_scans_keep_and_none_that_they_lose(tmp_path: Path):
    means: list[float] = []
    for is_ in ("kept", "removed"):
        simulation = opened(
            tmp_path, {"kind": "simulation", "potential": "zhou"}, {"anode": "Cu", "polarization": is_, "k_alpha2": 0.5}
        )
        spectrum = simulation._steps.prepare(np.linspace(1, 5, 201), np.ones(201))
        means.append(float(spectrum.mean()))
    assert means[1] == pytest.approx(100) and means[0] < 95
