"""Glass, crystal, or sharp lines on a halo, told by the spectrum."""

import pytest

from glassmap.agent.peaks.reference import fit_peak
from glassmap.agent.peaks.states import state_of
from tests.support.peaks import BACKGROUND, Q, pseudo_voigt

HALO = BACKGROUND + pseudo_voigt(2.7, 0.55, height=100, share=0.2)


@pytest.mark.parametrize(
    ("spectrum", "state"),
    [
        (HALO, "glass"),
        (HALO + pseudo_voigt(2.6, 0.06, height=40), "both"),
        (HALO + pseudo_voigt(2.65, 0.06, height=100), "both"),
        (BACKGROUND + pseudo_voigt(2.7, 0.08, height=300), "crystalline"),
        (BACKGROUND + pseudo_voigt(2.7, 0.2, height=100), "unclear"),
        (BACKGROUND + pseudo_voigt(2.7, 0.3, height=100), "unclear"),
        (BACKGROUND, "unclear"),
    ],
    ids=["halo", "line on a halo", "line as high as the halo", "line", "fine crystals", "between", "nothing"],
)
def test_a_spectrum_shows_whether_it_is_a_halo_a_line_or_both(spectrum, state):
    assert state_of(fit_peak(Q, spectrum).figures) == state


def test_lines_on_a_halo_leave_its_width_and_have_their_share():
    clean, marked = (fit_peak(Q, spectrum).figures for spectrum in (HALO, HALO + pseudo_voigt(2.6, 0.06, height=60)))
    assert marked["delta_q"] == pytest.approx(clean["delta_q"], rel=0.03)
    assert marked["crystalline_share"] == pytest.approx(60 * 0.06 / (60 * 0.06 + 100 * 0.57), abs=0.02)
    assert clean["crystalline_share"] < 0.005
