"""The one list of peak figures: read off alike from one peak and from many, and shown alike."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from glassmap.agent.peaks import batched, reference
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, PeakFigure
from glassmap.agent.peaks.reference import fit_peak
from tests.support.peaks import BACKGROUND, Q, pseudo_voigt

SPECTRA = np.stack([BACKGROUND + pseudo_voigt(q1, 0.4, share=0.3) for q1 in (2.4, 2.6, 2.8)] + [BACKGROUND])


def test_names_and_labels_are_their_own():
    for names in ([f.name for f in FIGURES], [f.label for f in FIGURES], [f.title for f in FIGURES]):
        assert len(set(names)) == len(FIGURES)
    assert all(figure.name.isidentifier() and figure.digits >= 0 for figure in FIGURES)


def test_one_peak_and_many_have_every_figure_of_the_list_and_it_is_the_same():
    many = measure_peaks(Q, torch.tensor(SPECTRA))
    assert many.found.tolist() == [True, True, True, False]
    for row, spectrum in enumerate(SPECTRA):
        one = fit_peak(Q, spectrum)
        assert [*one.figures] == [*one.standard_errors] == [*many.figures] == [figure.name for figure in FIGURES]
        for figure in FIGURES:
            found = float(many.figures[figure.name][row])
            assert found == pytest.approx(one.figures[figure.name], rel=0.03, nan_ok=True), figure.name
            assert math.isnan(found) == (not many.found[row])


def test_a_line_of_the_list_is_read_off_everywhere(monkeypatch: pytest.MonkeyPatch):
    height = PeakFigure("height", "h", "height of the first peak", "", 1, lambda fit: fit.height)
    lorentzian = PeakFigure("share", "η", "Lorentzian share", "", 2, lambda fit: fit.lorentzian_share)
    for module in (batched, reference):
        monkeypatch.setattr(module, "FIGURES", (*FIGURES, height, lorentzian))
    spectrum = BACKGROUND + pseudo_voigt(2.7, 0.1, height=80, share=0.5)
    one, many = fit_peak(Q, spectrum), measure_peaks(Q, torch.tensor(spectrum)[None]).figures
    for name, expected, within in (("height", 80, 2.5), ("share", 0.5, 0.1)):
        assert one.figures[name] == pytest.approx(expected, abs=within)
        assert float(many[name]) == pytest.approx(one.figures[name], abs=within)
    assert 0 < one.standard_errors["height"] < 3 and 0 < one.standard_errors["share"] < 0.2


def test_a_figure_is_shown_with_its_digits_and_its_unit():
    assert DELTA_Q.say(0.41234) == "0.412 Å⁻¹"
    assert DELTA_Q.say(0.41234, 0.0126) == "0.412 ± 0.013 Å⁻¹"
    assert DELTA_Q.say(0.41234, math.nan) == "0.412 Å⁻¹"
    assert DELTA_Q.say(None) == DELTA_Q.say(math.nan) == "–"
    bare = dataclasses.replace(DELTA_Q, unit="", label="x")
    assert (DELTA_Q.head, bare.head) == ("Δq (Å⁻¹)", "x")
    assert bare.say(1) == "1.000"
    assert fit_peak(Q, SPECTRA[0]).say().startswith("Δq = 0.3") and "No maximum" in fit_peak(Q, SPECTRA[3]).say()


@pytest.mark.parametrize(("share", "delta_q", "height"), [(0.0, 0.3, 100.0), (0.0, 0.08, 40.0), (0.5, 0.1, 250.0)])
def test_the_area_is_that_of_the_profile(share: float, delta_q: float, height: float):
    spectrum = BACKGROUND + pseudo_voigt(2.7, delta_q, height=height, share=share)
    exact = height * delta_q * (share * math.pi / 2 + (1 - share) * math.sqrt(math.pi / math.log(2)) / 2)
    one, many = fit_peak(Q, spectrum), measure_peaks(Q, torch.tensor(spectrum)[None]).figures
    assert one.figures["area"] == pytest.approx(exact, rel=0.05 + 0.1 * share)  # the background takes tails
    assert float(many["area"]) == pytest.approx(one.figures["area"], rel=0.02)


def test_the_area_and_its_error_go_with_the_intensity_and_the_asymmetry_does_not():
    noise = np.random.default_rng(6).normal(0, 1, Q.shape)
    spectrum = BACKGROUND + pseudo_voigt(2.7, 0.3, share=0.3) + noise
    one, twice = fit_peak(Q, spectrum), fit_peak(Q, 2 * spectrum + 50)
    assert twice.figures["area"] == pytest.approx(2 * one.figures["area"], rel=1e-4)
    assert twice.standard_errors["area"] == pytest.approx(2 * one.standard_errors["area"], rel=1e-3)
    assert twice.figures["asymmetry"] == pytest.approx(one.figures["asymmetry"], rel=1e-4)


def test_the_standard_error_of_the_area_is_the_scatter_of_repeated_measurements():
    rng = np.random.default_rng(1)
    clean = BACKGROUND + pseudo_voigt(2.7, 0.3, share=0.5)
    peaks = [fit_peak(Q, clean + rng.normal(0, 2, Q.shape)) for _ in range(30)]
    claimed = np.mean([peak.standard_errors["area"] for peak in peaks])
    assert 0.4 < claimed / np.std([peak.figures["area"] for peak in peaks]) < 2


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("left", [0.1, 0.25])
@pytest.mark.parametrize("ratio", [0.67, 1.0, 1.25, 1.5])
def test_the_asymmetry_is_the_ratio_of_the_half_widths(left: float, ratio: float, share: float):
    rng = np.random.default_rng(7)
    peaks = [pseudo_voigt(q1, (left, ratio * left), share=share) for q1 in np.linspace(2.4, 3.0, 40)]
    spectra = torch.tensor(BACKGROUND + np.array(peaks) + rng.normal(0, 1, (40, len(Q))))
    found = measure_peaks(Q, spectra).figures["asymmetry"]
    assert found.isfinite().all()
    assert float(found.mean()) == pytest.approx(ratio, rel=0.01 + 0.05 * abs(ratio - 1) + 0.03 * share)
    assert float(found.std()) < 0.05


@pytest.mark.parametrize("right", [0.1, 0.15, 0.3])
def test_a_mirrored_peak_has_the_inverse_asymmetry(right: float):
    peaks = np.stack([pseudo_voigt(2.7, (0.15, right)), pseudo_voigt(2.7, (right, 0.15))])
    there, back = measure_peaks(Q, torch.tensor(30 + peaks)).figures["asymmetry"].tolist()
    assert there * back == pytest.approx(1, rel=0.02)


def test_a_peak_that_another_overlaps_above_half_its_height_is_read_off_its_core_alone():
    crowd = BACKGROUND + pseudo_voigt(2.4, 0.2) + pseudo_voigt(2.62, 0.2, height=90)
    one, many = fit_peak(Q, crowd), measure_peaks(Q, torch.tensor(crowd)[None])
    assert one.reason == "" and many.found.all()
    for figures in (one.figures, {name: float(values) for name, values in many.figures.items()}):
        assert figures["asymmetry"] == pytest.approx(1, abs=0.02)
        assert figures["delta_q"] == pytest.approx(0.2, abs=0.04)
        assert figures["area"] > 0
