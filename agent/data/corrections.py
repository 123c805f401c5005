"""What a diffractometer puts on a scan, taken off where asked: polarisation, Lorentz factor, Kα2, its own width.

A synchrotron's scan needs none of it, and for halos most are too small to matter; sizes are in docs/delta-q.md. All are
functions of the angle, so they need the anode, whatever axis the spectra are on.

Letters: n spectra, q points.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

import numpy as np

from glassmap.agent.errors import SpectrumError
from glassmap.agent.shapes import Axis, PerPoint, Scan, ScanAxis, Scans, Spectra

Anode = Literal["Cr", "Fe", "Co", "Cu", "Mo", "Ag"]
FactorIs = Literal["removed", "kept"]
"""What becomes of a factor: divided out of what was measured, or left in it and put on what was simulated."""
FWHM = 2.35482  # of a Gaussian, in standard deviations
SHARPENINGS = 3  # steps of van Cittert's; more find nothing but noise
SAME_WAVELENGTH = 0.01  # as a share: Kα1, and the mean of the doublet


class Doublet(NamedTuple):
    """The Kα lines of an anode, Å."""

    alpha1: float
    alpha2: float


DOUBLETS: dict[Anode, Doublet] = {
    "Cr": Doublet(2.28973, 2.29365),
    "Fe": Doublet(1.93604, 1.93997),
    "Co": Doublet(1.78900, 1.79284),
    "Cu": Doublet(1.54059, 1.54443),
    "Mo": Doublet(0.70932, 0.71361),
    "Ag": Doublet(0.55942, 0.56381),
}
"""Source: G. Hölzer et al., Phys. Rev. A 56, 4554 (1997), of Cr, Fe, Co and Cu; R. D. Deslattes et al., Rev. Mod. Phys.
75, 35 (2003), of Mo and Ag."""


@dataclass(frozen=True)
class Corrections:
    """What is taken off scans, or put on simulated spectra, so that both are the same thing.

    Attributes:
        anode: Of the tube; its Kα1 makes angles of q.
        polarization: (1 + A cos² 2θ) / (1 + A), with A = cos² 2θ of the monochromator, 1 without one. It is all that an
            isotropic film's scattering has.
        lorentz: 1 / (sin² θ cos θ), of powder lines when they are to be compared as structure factors. A halo and
            what is simulated of one have none.
        monochromator: Its diffraction angle 2θ in degrees, before or behind the sample, in its plane.
        k_alpha2: Its intensity over that of Kα1, near 0.5; the second line is stripped. None: it stays.
        instrument_width: Full width at half maximum in degrees of 2θ of a line that has no width of its own, Gaussian;
            taken off every peak. None: it stays.
        is_simulated: Whether spectra were simulated: they have no factor, no second line and no instrument's width.
    """

    anode: Anode
    polarization: FactorIs | None = None
    lorentz: FactorIs | None = None
    monochromator: float | None = None
    k_alpha2: float | None = None
    instrument_width: float | None = None
    is_simulated: bool = False

    @property
    def wavelength(self) -> float:
        """Å, of Kα1."""
        return DOUBLETS[self.anode].alpha1

    def __str__(self) -> str:
        done = [f"{name} {is_}" for name in ("polarization", "lorentz") if (is_ := getattr(self, name))]
        if self.k_alpha2 is not None and not self.is_simulated:
            done.append(f"Kα2 of {self.k_alpha2:g} stripped")
        if self.instrument_width is not None and not self.is_simulated:
            done.append(f"an instrument's width of {self.instrument_width:g}° taken off")
        return f"{self.anode} Kα: {' and '.join(done)}"

    def check_wavelength(self, wavelength: float | None) -> None:
        """Refuse scans whose own wavelength is another anode's.

        Raises:
            SpectrumError: If it differs from Kα1 by more than 1 %.
        """
        if wavelength is not None and abs(wavelength / self.wavelength - 1) > SAME_WAVELENGTH:
            raise SpectrumError(
                f"Corrections need the anode that the scans were taken with, got {self.anode} ({self.wavelength:g} Å) "
                f"and a wavelength of {wavelength:g} Å. Correct spectrum.corrections.anode, or leave corrections out."
            )

    def apply(self, q: Axis, spectra: Spectra) -> Spectra:
        """Return spectra with all that was asked for.

        Args:
            q: 1/Å, strictly increasing, within reach of the anode. Shape `(q,)`.
            spectra: Without their substrate, in any unit. Shape `(n, q)`.

        Raises:
            SpectrumError: If q goes beyond 4π/λ.
        """
        reach = 4 * np.pi / self.wavelength
        if not 0 < q[0] < q[-1] < reach:
            raise SpectrumError(
                f"With {self.anode} Kα, q must lie within (0, {reach:.3g}) 1/Å to be corrected, got {q[0]:g} to "
                f"{q[-1]:g}. Narrow the range, or check the anode."
            )
        theta = np.arcsin(q / reach)
        removed, kept = self._factor(theta, "removed"), self._factor(theta, "kept")
        if self.is_simulated:
            return spectra * kept
        if self.k_alpha2 is not None:
            lines = DOUBLETS[self.anode]
            spectra = strip_second_line(q, spectra, ratio=self.k_alpha2, shift=lines.alpha2 / lines.alpha1)
        if self.instrument_width is not None:
            spectra = sharpen(2 * np.degrees(theta), spectra, width=self.instrument_width)
        return spectra / removed

    def _factor(self, theta: PerPoint, is_: FactorIs) -> PerPoint:
        """Return the product of the factors that are removed, or of those that are kept."""
        factor = np.ones_like(theta)
        if self.polarization == is_:
            a = 1.0 if self.monochromator is None else float(np.cos(np.radians(self.monochromator)) ** 2)
            factor *= (1 + a * np.cos(2 * theta) ** 2) / (1 + a)
        if self.lorentz == is_:
            factor /= np.sin(theta) ** 2 * np.cos(theta)
        return factor


def strip_second_line(q: Axis, spectra: Spectra, *, ratio: float, shift: float) -> Spectra:
    """Return spectra as the first line of a doublet alone would give them.

    What the first line shows at q, the second shows at q · `shift`, `ratio` times as high. So the second is the sum of
    what was measured at q / shift, q / shift², …, times ratio, -ratio², …. Below the range the first point goes on.

    Args:
        q: By the first line, 1/Å. Shape `(q,)`.
        spectra: Shape `(n, q)`.
        ratio: Intensity of the second line over the first, below 1.
        shift: Wavelength of the second line over the first.

    Source: W. A. Rachinger, J. Sci. Instrum. 25, 254 (1948), solved in closed form.
    """
    stripped, weight = spectra.astype(np.float64), 1.0
    for times in range(1, 1 + int(np.ceil(np.log(1e-4) / np.log(ratio)))):
        weight *= -ratio
        stripped += weight * _interpolate(q / shift**times, q, spectra)
    return stripped * (1 + ratio)


def sharpen(two_theta: Axis, spectra: Spectra, *, width: float) -> Spectra:
    """Return spectra without the width of the instrument, as far as their noise allows.

    What blurring takes off what was found so far is given back, `SHARPENINGS` times. The second moment of each peak is
    right after the first.

    Args:
        two_theta: Degrees. Shape `(q,)`.
        spectra: Shape `(n, q)`.
        width: Full width at half maximum of the instrument's Gaussian, degrees.

    Source: P. H. van Cittert, Z. Phys. 69, 298 (1931).
    """
    from scipy.ndimage import gaussian_filter1d  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

    even: ScanAxis = np.linspace(two_theta[0], two_theta[-1], 2 * len(two_theta), dtype=np.float64)
    points = width / FWHM / float(even[1] - even[0])
    found = spectra.astype(np.float64)
    for _ in range(SHARPENINGS):
        on_even = _interpolate(even, two_theta, found)
        blurred: Scans = cast(Any, gaussian_filter1d)(on_even, points, axis=1, mode="nearest")
        found = found + spectra - _interpolate(two_theta, even, blurred)
    return found


def _interpolate(at: ScanAxis, axis: Axis, spectra: Spectra) -> Scans:
    """Return spectra between their points, and beyond their ends as there."""
    rows: list[Scan] = [np.interp(at, axis, spectrum) for spectrum in spectra]
    return np.array(rows).reshape(len(rows), len(at))
