"""The measures of a generated spectrum: each blind to what it leaves out, and none where nothing can be said."""

import numpy as np
import pytest

from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.peaks.batched import errors_by_spectrum
from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.peaks.measures import MEASURES, MSE, SCALE_FREE_MSE
from tests.support.peaks import BACKGROUND, Q, pseudo_voigt

SPECTRA = 0.1 * np.stack([BACKGROUND + pseudo_voigt(q1, 0.4) for q1 in (2.4, 2.6, 2.8)] + [BACKGROUND])
PEAKED = slice(0, 3)


def test_measures_have_names_and_labels_of_their_own_and_every_figure_is_one():
    for names in ([m.name for m in MEASURES], [m.label for m in MEASURES], [m.title for m in MEASURES]):
        assert len(set(names)) == len(MEASURES)
    assert [m.name for m in MEASURES][3:] == [figure.name for figure in FIGURES]
    assert [*errors_by_spectrum(SPECTRA, SPECTRA, q=Q)] == [m.name for m in MEASURES]


def test_the_mean_over_spectra_of_the_first_is_the_papers_mse():
    generated = SPECTRA + np.random.default_rng(0).normal(0, 2, SPECTRA.shape)
    errors = errors_by_spectrum(generated, SPECTRA, q=Q)["mse"]
    assert errors.mean() == pytest.approx(mean_squared_error(generated, SPECTRA))


@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_a_factor_is_all_of_the_mse_and_nothing_of_the_rest(factor: float):
    errors = errors_by_spectrum(factor * SPECTRA, SPECTRA, q=Q)
    assert (errors["mse"] > 1).all() and (errors["first_peak_mse"][PEAKED] > 1).all()
    np.testing.assert_allclose(errors["scale_free_mse"], 0, atol=1e-9)
    np.testing.assert_allclose(errors["q1"][PEAKED], 0, atol=1e-3)
    np.testing.assert_allclose(errors["delta_q"][PEAKED], 0, atol=2e-3)


def test_no_factor_is_better_than_the_one_taken_and_none_is_negative():
    rng = np.random.default_rng(1)
    generated = SPECTRA + rng.normal(0, 3, SPECTRA.shape)
    errors = errors_by_spectrum(generated, SPECTRA, q=Q)["scale_free_mse"]
    for factor in np.linspace(0.9, 1.1, 21):
        assert (errors <= np.square(factor * generated - SPECTRA).mean(1) + 1e-9).all()
    for opposite in (-SPECTRA, 0 * SPECTRA):
        errors = errors_by_spectrum(opposite, SPECTRA, q=None)["scale_free_mse"]
        np.testing.assert_allclose(errors, np.square(SPECTRA).mean(1))


def test_what_lies_outside_the_first_peak_is_nothing_to_its_mse():
    far = np.where(Q > 4, 5.0, 0.0)
    near = np.where((Q > 2.5) & (Q < 2.7), 5.0, 0.0)
    errors = errors_by_spectrum(SPECTRA[1:2] + np.stack([far, near]), SPECTRA[[1, 1]], q=Q)["first_peak_mse"]
    assert errors[0] == 0 and 5 < errors[1] <= 25


def test_nothing_is_said_of_a_peak_that_is_not_there():
    errors = errors_by_spectrum(SPECTRA[::-1], SPECTRA, q=Q)  # the measured last has no peak, the generated first
    for name, values in errors.items():
        silent = np.isnan(values).nonzero()[0].tolist()
        assert silent == (
            [] if name in (MSE.name, SCALE_FREE_MSE.name) else [3] if name == "first_peak_mse" else [0, 3]
        )
    on_r = errors_by_spectrum(SPECTRA[::-1], SPECTRA, q=None)
    assert [name for name, values in on_r.items() if not np.isnan(values).any()] == ["mse", "scale_free_mse"]
    assert [*on_r] == [*errors]


def test_of_no_spectra_there_are_no_errors():
    assert all(values.shape == (0,) for values in errors_by_spectrum(SPECTRA[:0], SPECTRA[:0], q=Q).values())


def test_an_error_is_shown_with_its_digits_its_standard_error_and_its_unit():
    by_name = {measure.name: measure for measure in MEASURES}
    assert by_name["delta_q"].say(0.04123, 0.00312) == "0.0412 ± 0.0031 Å⁻¹"
    assert by_name["mse"].say(10.34) == "10.3" and by_name["mse"].say(10.34, float("nan")) == "10.3"
    assert by_name["q1"].say(None) == by_name["q1"].say(float("nan")) == "–"
