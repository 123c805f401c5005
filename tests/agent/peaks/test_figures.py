"""The one list of peak figures: read off alike from one peak and from many, and shown alike."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from glassmap.agent.peaks import batched, reference
from glassmap.agent.peaks.batched import mean_peak_errors, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1, PeakFigure
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


def test_errors_are_over_pairs_that_both_have_the_figure():
    generated = np.stack([BACKGROUND + pseudo_voigt(2.41, 0.4, share=0.3), SPECTRA[3], SPECTRA[2], SPECTRA[3]])
    errors = mean_peak_errors(Q, generated, SPECTRA)
    assert [*errors] == [figure.name for figure in FIGURES]
    assert errors[Q1.name] == pytest.approx(0.005, abs=1e-3)  # of two pairs, one is the same spectrum
    assert mean_peak_errors(Q, SPECTRA[3:], SPECTRA[:1]) == dict.fromkeys(errors)


def test_a_figure_is_shown_with_its_digits_and_its_unit():
    assert DELTA_Q.say(0.41234) == "0.412 Å⁻¹"
    assert DELTA_Q.say(0.41234, 0.0126) == "0.412 ± 0.013 Å⁻¹"
    assert DELTA_Q.say(0.41234, math.nan) == "0.412 Å⁻¹"
    assert DELTA_Q.say(None) == DELTA_Q.say(math.nan) == "–"
    bare = dataclasses.replace(DELTA_Q, unit="", label="x")
    assert (DELTA_Q.head, bare.head) == ("Δq (Å⁻¹)", "x")
    assert bare.say(1) == "1.000"
    assert fit_peak(Q, SPECTRA[0]).say().startswith("Δq = 0.3") and "No maximum" in fit_peak(Q, SPECTRA[3]).say()
