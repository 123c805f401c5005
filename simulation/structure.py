"""From a simulated structure to what an instrument would see: g(r), S(q), diffracted intensity. Pure, no torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Literal

import numpy as np
import periodictable
from periodictable.cromermann import fxrayatq

from glassmap.agent.data.composition import label
from glassmap.agent.data.spectrum import two_theta_from_q
from glassmap.agent.shapes import (
    Axis,
    AxisName,
    Composition,
    FineRdf,
    FormFactors,
    PartialRdfs,
    RadialAxis,
    RadialValues,
    Spectrum,
)

CRYSTALLINE_SHARE = 0.1  # of atoms; glasses hold below 0.01, a single crystal above 0.9
RDF_BINS = 500  # of g(r) as it is learned: 0.032 Å up to 16 Å
Q = np.round(np.arange(1.0, 8.0001, 0.02), 2)  # 1/Å, where spectra are computed; Cu Kα reaches 8.1


@dataclass(frozen=True, eq=False)
class Structure:
    """What a run found: the partial g(r), averaged over time, and the state they belong to."""

    elements: tuple[str, ...]
    """Symbols, in the order of a composition's columns; some may have no atom."""
    counts: tuple[int, ...]
    r: RadialAxis
    """Å, centres of equal bins, shape `(r,)`."""
    partials: PartialRdfs
    """g(r) of each pair of the elements that are there, in the order of `pairs`, shape `(pairs, r)`."""
    volume: float
    """Å3, of all atoms."""
    temperature: float
    """K, mean while measuring."""
    pressure: float
    """bar, mean while measuring."""
    energy: float
    """Potential energy, eV an atom, mean while measuring."""
    crystalline: float
    """Share of atoms in fcc, hcp or bcc surroundings, by common neighbour analysis."""
    seed: int
    cpu_seconds: float
    """What the run took; where it was cut, what its last start took."""

    @property
    def composition(self) -> Composition:
        """Atomic fraction, shape `(e,)`."""
        return np.array(self.counts) / sum(self.counts)

    @property
    def label(self) -> str:
        """The composition in at.%."""
        return label(self.composition, self.elements)

    @property
    def number_density(self) -> float:
        """Atoms per Å3."""
        return sum(self.counts) / self.volume

    @property
    def density(self) -> float:
        """g/cm3."""
        mass = sum(n * getattr(periodictable, e).mass for e, n in zip(self.elements, self.counts, strict=True))
        return mass / self.volume / 0.602214

    @property
    def is_crystalline(self) -> bool:
        """Whether too much has crystallised for the structure to be a glass's."""
        return self.crystalline > CRYSTALLINE_SHARE


def coarsen_rdf(r: FineRdf, g: FineRdf, *, bins: int) -> tuple[RadialAxis, RadialValues]:
    """Return g(r) as a histogram of fewer bins would have it, both `(bins,)`; a shell counts by its volume.

    Finer bins than about a tenth of an atom's thermal vibration hold noise and no structure.

    Args:
        r: Centres of equal bins from 0 on, shape `(r,)`.
        g: Total or partial g(r), shape `(r,)`.
        bins: How many; the number of bins there are is a multiple of it.
    """
    groups = r.reshape(bins, -1)
    return groups.mean(axis=1), np.average(g.reshape(bins, -1), axis=1, weights=groups**2)


def pairs(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Return the columns of the elements of each partial g(r), in order: all pairs of the elements that have atoms."""
    return list(combinations_with_replacement(np.flatnonzero(counts).tolist(), 2))


def total_rdf(structure: Structure) -> RadialValues:
    """Return g(r) of all atoms alike, shape `(r,)`; each pair weighs as many pairs of atoms as there are."""
    return np.average(structure.partials, axis=0, weights=_pair_counts(structure))


def _pair_counts(structure: Structure) -> list[float]:
    n = structure.counts
    return [n[i] * (n[i] - 1) / 2 if i == j else float(n[i] * n[j]) for i, j in pairs(n)]


def first_rdf_peak(r: RadialAxis, g: RadialValues) -> float:
    """Return where g(r) has its first peak, Å: highest over 0.1 Å, then a parabola through 0.15 Å around.

    In a glass no later shell is as high; where unlike atoms split the first shell, it is the higher part's place.

    Args:
        r: Centres of bins, shape `(r,)`.
        g: Total or partial g(r), shape `(r,)`.
    """
    points = max(1, round(0.1 / float(r[1] - r[0])))
    top = r[np.argmax(np.convolve(g, np.ones(points) / points, "same"))]
    near = np.abs(r - top) <= 0.15
    a, b, _ = np.polyfit(r[near] - top, g[near], 2)
    return float(np.clip(top - b / (2 * a), top - 0.15, top + 0.15))


def form_factors(elements: Sequence[str], q: Axis) -> FormFactors:
    """Return the X-ray form factors f0(q) of neutral atoms, electrons, shape `(e, q)`.

    Source: D. Waasmaier, A. Kirfel, Acta Cryst. A 51, 416 (1995), from periodictable.
    """
    return np.array([fxrayatq(element, q) for element in elements])


def structure_factor(structure: Structure, q: Axis, *, lorch: bool = False) -> Spectrum:
    """Return the X-ray weighted total structure factor by Faber and Ziman, 1 at large q, shape `(q,)`.

    S(q) = 1 + Σ c_i c_j f_i f_j / <f>² · 4πρ ∫ r² (g_ij(r) - 1) sin(qr) / (qr) dr

    Args:
        structure: Its g(r) should have come to 1 at its end.
        q: In 1/Å, positive, shape `(q,)`.
        lorch: Multiply by the Lorch window, sin(πr/R) / (πr/R): smooth for the eye, but a first peak 37 % too wide.

    Source: T. E. Faber, J. M. Ziman, Philos. Mag. 11, 153 (1965); E. Lorch, J. Phys. C 2, 229 (1969).
    """
    r, step = structure.r, structure.r[1] - structure.r[0]
    f = form_factors(structure.elements, q)
    mean = structure.composition @ f
    g = np.zeros((len(r), len(q)))
    for (i, j), partial in zip(pairs(structure.counts), structure.partials, strict=True):
        share = structure.composition[i] * structure.composition[j] * (1 if i == j else 2)
        g += np.outer(partial - 1, share * f[i] * f[j] / mean**2)
    if lorch:
        g *= np.sinc(r / (r[-1] + step / 2))[:, None]
    wave = np.sin(np.outer(r, q)) * r[:, None]
    return 1 + 4 * np.pi * structure.number_density * step * (wave * g).sum(axis=0) / q


def curves_of(structure: Structure) -> tuple[RadialAxis, dict[str, RadialValues], dict[str, Spectrum]]:
    """Return what people look at: r (Å), g(r) by name, the total first, S(q) on `Q` by name, that for the eye first."""
    names = structure.elements
    r, total = coarsen_rdf(structure.r, total_rdf(structure), bins=RDF_BINS)
    partials = {
        f"{names[i]}–{names[j]}": coarsen_rdf(structure.r, g, bins=RDF_BINS)[1]
        for (i, j), g in zip(pairs(structure.counts), structure.partials, strict=True)
    }
    factors = {
        "Lorch window, for the eye": structure_factor(structure, Q, lorch=True),
        "no window": structure_factor(structure, Q),
    }
    return r, {"total": total, **partials}, factors


def diffracted_intensity(structure: Structure, q: Axis) -> Spectrum:
    """Return coherently scattered intensity an atom in electron units, un-windowed, shape `(q,)`.

    I(q) = <f²> - <f>² + <f>² S(q): what a diffractometer measures of a bulk glass after its usual corrections, without
    Compton scattering, background and polarisation.
    """
    f = form_factors(structure.elements, q)
    mean, mean_square = structure.composition @ f, structure.composition @ f**2
    return mean_square - mean**2 + mean**2 * structure_factor(structure, q)


def spectrum_axis(
    kind: Literal["diffraction", "rdf"], *, wavelength: float | None, rdf_cutoff: float
) -> tuple[AxisName, Axis]:
    """Name and values of the axis that `spectrum_of` gives spectra on, shape `(q,)`."""
    if kind == "rdf":
        return "r", (np.arange(RDF_BINS) + 0.5) * rdf_cutoff / RDF_BINS
    if wavelength is None:
        return "q", Q
    return "two_theta", two_theta_from_q(_reached(wavelength), wavelength=wavelength)


def spectrum_of(structure: Structure, kind: Literal["diffraction", "rdf"], *, wavelength: float | None) -> Spectrum:
    """Return what a campaign learns of a structure: the diffracted intensity or the total g(r), on `spectrum_axis`."""
    if kind == "rdf":
        return coarsen_rdf(structure.r, total_rdf(structure), bins=RDF_BINS)[1]
    return diffracted_intensity(structure, Q if wavelength is None else _reached(wavelength))


def _reached(wavelength: float) -> Axis:
    """Return the part of Q below 180°."""
    limit = 4 * np.pi / wavelength
    return Q[limit > Q]
