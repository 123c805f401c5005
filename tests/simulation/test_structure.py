from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassmap.agent.data.spectrum import Preprocessing, q_from_two_theta
from glassmap.agent.peaks.reference import fit_peak
from glassmap.simulation.first_peak import first_peak
from glassmap.simulation.structure import (
    RDF_BINS,
    Q,
    coarsen_rdf,
    diffracted_intensity,
    first_rdf_peak,
    form_factors,
    pairs,
    spectrum_axis,
    spectrum_of,
    structure_factor,
    total_rdf,
)
from tests.support.glasses import fake_structure


def even(counts: tuple[int, ...], g: np.ndarray | None = None):
    """A structure whose partial g(r) are all alike."""
    structure = fake_structure(counts)
    g = np.ones_like(structure.r) if g is None else g
    return replace(structure, partials=np.tile(g, (len(structure.partials), 1)))


def test_no_correlation_scatters_as_free_atoms():
    """g = 1 everywhere: S = 1, and the intensity is the mean of the squared form factors."""
    gas = even((50, 40, 10))
    np.testing.assert_allclose(structure_factor(gas, Q), 1, atol=1e-12)
    f = form_factors(gas.elements, Q)
    np.testing.assert_allclose(diffracted_intensity(gas, Q), gas.composition @ f**2)


def test_form_factors_begin_at_the_number_of_electrons():
    f = form_factors(("Zr", "Cu", "Al"), np.array([1e-6, 8.0]))
    np.testing.assert_allclose(f[:, 0], [40, 29, 13], rtol=2e-3)
    assert (f[:, 1] < 0.6 * f[:, 0]).all(), "and fall with q"


def test_one_shell_scatters_as_debye_has_it():
    """A thin shell of Z atoms at distance d adds Z sin(qd)/(qd) to S (Debye's formula)."""
    structure = even((100, 0, 0))
    d, z, step = structure.r[600], 12.0, structure.r[1] - structure.r[0]
    shell = np.zeros_like(structure.r)
    shell[600] = z / (4 * np.pi * d**2 * step * structure.number_density)
    alone = structure_factor(even((100, 0, 0), 1 + shell), Q) - 1
    np.testing.assert_allclose(alone, z * np.sin(Q * d) / (Q * d), rtol=1e-6, atol=1e-9)


def test_atoms_that_scatter_alike_give_one_s_whatever_they_are_called():
    """Copper named twice is copper."""
    copper = even((0, 100, 0), total_rdf(fake_structure()))
    named_twice = replace(
        copper, elements=("Cu", "Cu", "Al"), counts=(60, 40, 0), partials=np.tile(copper.partials, (3, 1))
    )
    np.testing.assert_allclose(structure_factor(named_twice, Q), structure_factor(copper, Q), rtol=1e-9)


def test_heavy_atoms_are_seen_better():
    structure = fake_structure((50, 0, 50))
    zr_zr, _, al_al = structure.partials
    with_shells = [
        replace(structure, partials=np.array([zr_zr, zr_zr * 0 + 1, al_al * 0 + 1])),
        replace(structure, partials=np.array([zr_zr * 0 + 1, zr_zr * 0 + 1, al_al])),
    ]
    heavy, light = (np.abs(structure_factor(s, Q) - 1).max() for s in with_shells)
    assert heavy > 5 * light


def test_the_lorch_window_widens_the_first_peak_so_it_is_not_what_is_fitted():
    structure = fake_structure()
    plain, smooth = (fit_peak(Q, structure_factor(structure, Q, lorch=lorch)) for lorch in (False, True))
    assert first_peak(structure).figures == plain.figures
    assert smooth.figures["delta_q"] > 1.01 * plain.figures["delta_q"]
    assert smooth.figures["q1"] == pytest.approx(plain.figures["q1"], abs=0.03)


def test_the_total_weighs_each_pair_by_its_number():
    structure = fake_structure((2, 3, 0))
    zz, zc, cc = structure.partials
    np.testing.assert_allclose(total_rdf(structure), (1 * zz + 6 * zc + 3 * cc) / 10)


def test_pairs_are_those_of_the_elements_that_are_there():
    assert pairs((5, 0, 5)) == [(0, 0), (0, 2), (2, 2)]


@given(st.floats(2.2, 3.4), st.floats(0.08, 0.2))
def test_the_first_peak_of_g_is_found_between_bins(d: float, width: float):
    r = (np.arange(RDF_BINS) + 0.5) * 16 / RDF_BINS
    g = 3 * np.exp(-0.5 * ((r - d) / width) ** 2) + (r > 4)
    assert first_rdf_peak(r, g) == pytest.approx(d, abs=0.005)


@given(st.integers(0, 2**32 - 1))
def test_merging_bins_keeps_the_number_of_atoms_in_every_shell(seed: int):
    g = np.random.default_rng(seed).random(3000)
    r = (np.arange(3000) + 0.5) * 16 / 3000
    coarse_r, coarse = coarsen_rdf(r, g, bins=500)
    edges = np.linspace(0, 16, 501)
    np.testing.assert_allclose(coarse_r, (edges[1:] + edges[:-1]) / 2)
    atoms = (g * r**2).reshape(500, 6).sum(1)
    np.testing.assert_allclose(coarse * (r**2).reshape(500, 6).sum(1), atoms)


def test_merging_to_500_bins_loses_nothing_of_a_peak():
    """A nearest-neighbour peak at 300 K has a standard deviation of 0.12 Å or more; bins of 0.032 Å keep its shape."""
    r = (np.arange(3000) + 0.5) * 16 / 3000
    g = 3 * np.exp(-0.5 * ((r - 2.8) / 0.12) ** 2)
    back = np.interp(r, *coarsen_rdf(r, g, bins=RDF_BINS))
    assert np.mean((back - g) ** 2) < 2e-5


@pytest.mark.parametrize("wavelength", [None, 1.5406, 0.7093])
def test_a_spectrum_stands_on_its_axis_and_can_be_prepared(wavelength: float | None):
    structure = fake_structure()
    name, axis = spectrum_axis("diffraction", wavelength=wavelength, rdf_cutoff=16.0)
    intensity = spectrum_of(structure, "diffraction", wavelength=wavelength)
    assert name == ("q" if wavelength is None else "two_theta") and axis.shape == intensity.shape
    q = axis if wavelength is None else q_from_two_theta(axis, wavelength=wavelength)
    np.testing.assert_allclose(intensity, diffracted_intensity(structure, q), rtol=1e-9)
    prepared = Preprocessing.over(name, axis, wavelength=wavelength).prepare(axis, intensity)
    assert prepared.max() == pytest.approx(100) and len(prepared) == (len(Q) if wavelength is None else 3743)
    diffracted, factor = fit_peak(Q, diffracted_intensity(structure, Q)), first_peak(structure)
    assert diffracted.figures["q1"] == pytest.approx(factor.figures["q1"], abs=0.05)


def test_g_of_r_is_learned_on_bins_of_its_own():
    structure = fake_structure()
    name, axis = spectrum_axis("rdf", wavelength=None, rdf_cutoff=16.0)
    assert name == "r"
    np.testing.assert_allclose(axis, coarsen_rdf(structure.r, structure.r, bins=RDF_BINS)[0])
    assert spectrum_of(structure, "rdf", wavelength=None).shape == axis.shape == (RDF_BINS,)


def test_density_is_mass_over_volume():
    """Copper as it is in a crystal: 4 atoms in (3.615 Å)³, 8.93 g/cm³."""
    copper = replace(even((0, 4, 0)), volume=3.615**3)
    assert copper.density == pytest.approx(8.93, abs=0.01)


def test_a_crystallised_structure_is_flagged():
    assert replace(fake_structure(), crystalline=0.5).is_crystalline
    assert not replace(fake_structure(), crystalline=0.02).is_crystalline
