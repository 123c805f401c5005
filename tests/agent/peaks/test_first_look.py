from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import SpectraSet, read_dataset
from glassmap.agent.data.scan_folder import read_scan_folder
from glassmap.agent.data.spectrum import two_theta_from_q
from glassmap.agent.errors import DatasetError, SpectrumError
from glassmap.agent.peaks import first_look
from glassmap.agent.peaks.first_look import cut, look_at_scans
from glassmap.flows.cli.demo import BUNDLED

Q = np.linspace(0.2, 5.4, 521)
N = 12


def scans(
    *, beam_stop: bool = False, zeros_from: float | None = None, halo: float = 60.0, axis: str = "q"
) -> SpectraSet:
    """Scans of a film: small-angle scattering, a halo that moves, noise; as the instrument leaves them."""
    rng = np.random.default_rng(3)
    q1 = np.linspace(2.4, 2.9, N)[:, None]
    y = 400 * np.exp(-Q / 4) + halo / (1 + ((Q - q1) / 0.25) ** 2) + rng.normal(scale=1.0, size=(N, len(Q)))
    if beam_stop:
        y = y / (1 + np.exp((0.45 - Q) / 0.06))
    if zeros_from is not None:
        y[:, zeros_from < Q] = 0
    return SpectraSet(
        ids=tuple(f"s{k}" for k in range(N)),
        elements=("Co", "Zr"),
        compositions=np.stack([np.linspace(0.1, 0.9, N), np.linspace(0.9, 0.1, N)], axis=1),
        axis_name=axis,  # type: ignore[arg-type]
        axis=two_theta_from_q(Q, wavelength=1.5406) if axis == "two_theta" else Q,
        intensities=y,
        wavelength=1.5406 if axis == "two_theta" else None,
    )


def test_clean_scans_keep_their_whole_axis():
    spectra = scans()
    look = look_at_scans(spectra)
    assert (look.low, look.high, look.has_peaks) == (None, None, True)
    assert str(look) == "A first peak is found over q 0.2 to 5.4 1/Å in 12 of 12 scans."
    kept = cut(spectra, look)
    np.testing.assert_array_equal(kept.intensities, spectra.intensities)
    assert kept.attributes["range"] == str(look)


@pytest.mark.parametrize("name", ["co-ti-zr", "co-v-zr", "fe-ti-nb"])
def test_measured_sets_that_are_fine_keep_their_whole_axis(shared_data: Path, name: str):
    look = look_at_scans(read_dataset(shared_data / "synchrotron" / f"{name}.nc"))
    assert look.taken == look.whole
    assert look.with_peak is not None and look.with_peak[1] > 0.97 * look.scans


def test_a_simulated_structure_factor_that_begins_at_nothing_keeps_its_whole_axis():
    look = look_at_scans(read_dataset(BUNDLED))
    assert look.taken == look.whole and look.with_peak == (look.scans, look.scans)


def test_raw_scans_are_taken_without_beam_stop_and_without_the_zeros_at_their_end(shared_data: Path):
    folder = shared_data / "raw-scans"
    spectra = read_scan_folder(folder, compositions=folder / "compositions.csv", axis="q")
    look = look_at_scans(spectra)
    assert look.low is not None and 0.5 <= look.low <= 0.9, "the authors took 0.9"
    assert look.high is not None and 4.9 <= look.high <= 5.05, "the authors took 5.05"
    assert look.with_peak == (3, 56)
    assert (cut(spectra, look).intensities > 0).all()


def test_of_many_scans_some_are_looked_at_and_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(first_look, "LOOKED_AT", 4)
    assert "in 4 of 4 scans, spread evenly over 12." in str(look_at_scans(scans()))


def test_the_shadow_of_a_beam_stop_is_left_out_where_that_finds_peaks():
    look = look_at_scans(scans(beam_stop=True))
    assert look.low is not None and 0.45 < look.low < 1.0 and look.high is None
    before, now = look.with_peak or (0, 0)
    assert before < N / 2 and now == N
    assert f"Up to {look.low:.3g} the scans climb as behind a beam stop" in str(look)


def test_zeros_at_an_end_are_left_out_and_said():
    spectra = scans(zeros_from=5.0)
    look = look_at_scans(spectra)
    assert look.low is None and look.high is not None and 4.9 <= look.high <= 5.0
    assert "Every scan has signal over q 0.2 to 4.9" in str(look)
    kept = cut(spectra, look)
    assert kept.axis[0] == Q[0] and kept.axis[-1] <= look.high and kept.attributes["range"] == str(look)


def test_a_scan_of_few_counts_is_not_taken_for_one_that_broke_off():
    clean = scans(halo=6000)
    counts = np.random.default_rng(0).poisson(clean.intensities / 150).astype(np.float64)
    assert (counts[:, -20:] == 0).mean() > 0.25
    few = SpectraSet(clean.ids, clean.elements, clean.compositions, "q", clean.axis, counts)
    look = look_at_scans(few)
    assert look.signal == look.whole and look.taken == look.whole


def test_a_range_in_two_theta_is_said_and_taken_in_degrees():
    spectra = scans(beam_stop=True, zeros_from=5.0, axis="two_theta")
    look = look_at_scans(spectra)
    low, high = two_theta_from_q(np.array([0.45, 5.0]), wavelength=1.5406)
    assert look.low is not None and low < look.low < 2 * low and look.high is not None and high - 1.5 < look.high < high
    assert "Taken: 2θ " in str(look) and "°" in str(look)


def test_the_range_that_was_asked_for_is_taken_whatever_the_look_says():
    look = look_at_scans(scans(beam_stop=True, zeros_from=5.0), asked=(1.0, 4.0))
    assert look.taken == (1.0, 4.0) and look.with_peak is not None and look.with_peak[1] == N
    with pytest.raises(SpectrumError, match=r"within that of the scans, 0\.2 to 5\.4 1/Å; got 0\.1 to 4"):
        look_at_scans(scans(), asked=(0.1, 4.0))


def test_a_range_of_q_over_scans_in_two_theta_is_refused_with_the_one_in_degrees():
    low, high = two_theta_from_q(np.array([1.5, 4.5]), wavelength=1.5406)
    with pytest.raises(SpectrumError, match=rf"got 1\.5 to 4\.5.*--range {low:.4g} {high:.4g}`, or `--axis q`"):
        look_at_scans(scans(axis="two_theta"), asked=(1.5, 4.5))
    with pytest.raises(SpectrumError, match="Choose a narrower one"):
        look_at_scans(scans(axis="two_theta"), asked=(1.5, 7.0))


def test_scans_without_a_peak_are_refused_with_what_was_seen_and_the_remedy():
    with pytest.raises(DatasetError, match=r"in 0 of 12 scans.*No maximum below.*--range LOW HIGH.*without a film"):
        look_at_scans(scans(halo=0)).check()


def test_scans_of_which_few_have_a_peak_are_taken_with_a_warning():
    with_film, without = scans(), scans(halo=0)
    mixed = SpectraSet(
        with_film.ids,
        with_film.elements,
        with_film.compositions,
        "q",
        Q,
        np.concatenate([with_film.intensities[:3], without.intensities[3:]]),
    )
    look = look_at_scans(mixed)
    assert not look.has_peaks and "in 3 of 12 scans" in str(look) and "is there a film on every sample" in str(look)


def test_a_scan_that_breaks_off_is_named():
    spectra = scans()
    spectra.intensities[7, 100:] = 0
    with pytest.raises(SpectrumError, match=r"less than half of their range in common.*s7 up to 1\.19"):
        look_at_scans(spectra)


def test_a_pair_distribution_keeps_the_range_in_which_it_is_nothing():
    spectra = scans(axis="r")
    spectra.intensities[:, Q < 2] = 0
    look = look_at_scans(spectra)
    assert look.taken == look.whole and look.has_peaks and str(look) == ""
