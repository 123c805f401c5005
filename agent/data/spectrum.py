"""From a diffractometer's scan to the spectrum a network learns: the four steps of Xie et al. (2025).

Subtract the substrate, cut to a common range, interpolate to a standard length, divide by the maximum and scale to 100.
What stands for the maximum may be chosen (`ScaleRule`): the paper's highest point is one point, and noise pushes it up.
"""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from glassmap.agent.data.corrections import Corrections
from glassmap.agent.errors import SpectrumError
from glassmap.agent.shapes import Axis, AxisName, PerSample, Scan, ScanAxis, Scans, Spectra, Spectrum

STANDARD_POINTS = 3743  # the paper's length of a 2θ spectrum
MIN_POINTS = 16  # within the range; with fewer there is no telling a peak from a step
ScaleRule = Literal["maximum", "smoothed maximum", "window"]
"""What of a spectrum becomes 100: its highest point, as the paper has it; its highest point once it is smoothed, which
noise hardly moves; or its mean over a chosen window, such as the halo's."""
SMOOTHING = 0.02  # of the range, 0.08 1/Å of a synchrotron's 0.9 to 5.05: a quadratic over it keeps crystals' lines


def q_from_two_theta(two_theta: Axis, *, wavelength: float) -> Axis:
    """Return the scattering vector magnitude at each diffraction angle, q = 4π sin(2θ / 2) / λ.

    Args:
        two_theta: Angle 2θ in degrees, within (0, 180). Shape `(q,)`.
        wavelength: X-ray wavelength λ in Å (Cu Kα1: 1.5406).

    Returns:
        q in 1/Å, shape `(q,)`.

    Raises:
        SpectrumError: If an angle lies outside (0, 180) or the wavelength isn't positive.

    Source: Warren, *X-ray Diffraction* (Dover, 1990).
    """
    _check_wavelength(wavelength)
    if not ((two_theta > 0) & (two_theta < 180)).all():
        raise SpectrumError(
            f"2θ must lie within (0, 180) degrees, got {two_theta.min():g} to {two_theta.max():g}. "
            "If the column is q already, it needs no conversion; leave out rows beyond the range."
        )
    return 4 * np.pi * np.sin(np.radians(two_theta / 2)) / wavelength


def two_theta_from_q(q: Axis, *, wavelength: float) -> Axis:
    """Return the diffraction angle 2θ = 2 asin(q λ / 4π) at each scattering vector magnitude.

    Args:
        q: In 1/Å, positive and below 4π / λ. Shape `(q,)`.
        wavelength: X-ray wavelength λ in Å.

    Returns:
        2θ in degrees, shape `(q,)`.

    Raises:
        SpectrumError: If a q is out of reach at this wavelength, or the wavelength isn't positive.

    Source: Warren, *X-ray Diffraction* (Dover, 1990).
    """
    _check_wavelength(wavelength)
    reach = 4 * np.pi / wavelength
    if not ((q > 0) & (q < reach)).all():
        raise SpectrumError(
            f"At a wavelength of {wavelength:g} Å, q must lie within (0, {reach:g}) 1/Å, "
            f"got {q.min():g} to {q.max():g}. Leave out the points beyond, or check the wavelength."
        )
    return 2 * np.degrees(np.arcsin(q / reach))


def q_axis(name: str, axis: Axis, wavelength: float | None) -> Axis | None:
    """Return the axis in q (1/Å), on which `glassmap.agent.peaks` measures; None on r, where peaks of q mean nothing.

    Args:
        name: `two_theta`, `q` or `r`.
        axis: In degrees, 1/Å or Å. Shape `(q,)`.
        wavelength: In Å; needed for 2θ alone.

    Raises:
        SpectrumError: If 2θ comes without its wavelength.
    """
    if name != "two_theta":
        return axis if name == "q" else None
    if wavelength is None:
        raise SpectrumError("A 2θ axis needs its wavelength in Å, got none. Cu Kα1 is 1.5406.")
    return q_from_two_theta(axis, wavelength=wavelength)


def mean_squared_error(generated: Spectra, measured: Spectra) -> float:
    """Return the paper's MSE: intensities 0-100, mean over the points, mean over the spectra."""
    return float(np.mean((generated - measured) ** 2))


@dataclass(frozen=True, eq=False)
class Substrate:
    """The scan of a bare substrate, taken under the conditions of the spectra it's subtracted from.

    Attributes:
        axis: As the axis of the spectra: 2θ in degrees or q in 1/Å. Shape `(q,)`.
        intensity: In the unit of the spectra. Shape `(q,)`.
        scale: What it is multiplied with, for a film that absorbs part of it or another counting time. None fits, for
            each spectrum, the largest scale that leaves 99 % of its points positive.
    """

    axis: Axis
    intensity: Scan
    scale: float | None = 1.0

    def __post_init__(self) -> None:
        _check_scans(self.axis, self.intensity[None])
        if self.scale is not None and not self.scale > 0:
            raise SpectrumError(
                f"The scale of a substrate must be positive, got {self.scale:g}. To subtract none, leave it out."
            )


@dataclass(frozen=True)
class Preprocessing:
    """How scans become spectra on one axis; the same for every spectrum that a model shall learn from.

    The background stays unless asked otherwise: the network learns it, and the peak fit takes its own off.

    Attributes:
        axis: What the scans are measured against: 2θ in degrees, q in 1/Å or, for a pair distribution, r in Å.
        low: Start of the common range, in the unit of the axis.
        high: End of the common range.
        points: Length of every spectrum. 3743 is the paper's.
        wavelength: In Å; mandatory for 2θ, so that a spectrum can always be brought to q.
        substrate: Subtracted where given.
        corrections: What of the diffractometer is taken off after the substrate, where given.
        background: Where given, the SNIP background is taken off after the substrate: what lies under the chords over
            peaks narrower than twice this width (unit of the axis, some times the width of the widest halo). For sets
            whose background changes from scan to scan for reasons other than the alloy.
        scale: What of each spectrum becomes 100; see `ScaleRule`. A g(r) isn't scaled: its limit of 1 has a meaning.
        scale_window: Of the rule `window`: from where to where, in the unit of the axis, within the range.

    Source: Xie et al., npj Comput. Mater. (2025), "Strategy and modeling".

    Example:
        >>> preprocessing = Preprocessing("q", low=1.0, high=5.0, points=801)
        >>> q = np.linspace(0.5, 5.5, 51)
        >>> preprocessing.prepare(q, 20 - q)[:3]
        array([100.        ,  99.97368421,  99.94736842])
    """

    axis: AxisName
    low: float
    high: float
    points: int = STANDARD_POINTS
    wavelength: float | None = None
    substrate: Substrate | None = None
    corrections: Corrections | None = None
    background: float | None = None
    scale: ScaleRule = "maximum"
    scale_window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.background is not None and not 0 < self.background <= (self.high - self.low) / 2:
            raise SpectrumError(
                f"A background's half-width must be positive and at most half the range, got {self.background:g} for "
                f"{self.low:g} to {self.high:g}. To remove none, leave it out."
            )
        if not 0 <= self.low < self.high:
            raise SpectrumError(f"A range must run upwards from 0 or above, got {self.low:g} to {self.high:g}.")
        if self.points < MIN_POINTS:
            raise SpectrumError(
                f"A spectrum needs {MIN_POINTS} points or more, got {self.points}. The paper has {STANDARD_POINTS}."
            )
        if self.axis == "two_theta":
            q_axis(self.axis, np.array([self.low, self.high]), self.wavelength)  # refuses what is no 2θ
        elif self.wavelength is not None:
            raise SpectrumError(f"Only 2θ has a wavelength, got {self.wavelength:g} Å with {self.axis}. Leave it out.")
        if self.corrections is not None:
            if self.axis == "r":
                raise SpectrumError("A g(r) has nothing of a diffractometer, got corrections. Leave them out.")
            self.corrections.check_wavelength(self.wavelength)
        self._check_scale()

    @classmethod
    def over(
        cls,
        axis_name: AxisName,
        axis: ScanAxis,
        *,
        low: float | None = None,
        high: float | None = None,
        points: int | None = None,
        wavelength: float | None = None,
        substrate: Substrate | None = None,
        corrections: Corrections | None = None,
        background: float | None = None,
        scale: ScaleRule = "maximum",
        scale_window: tuple[float, float] | None = None,
    ) -> "Preprocessing":
        """Set up the steps for scans on `axis`; what isn't given is the scans' own.

        By default the range is the whole axis, and the length the paper's 3743 in 2θ, else as many points as the axis
        has within the range.
        """
        low = float(axis[0]) if low is None else low
        high = float(axis[-1]) if high is None else high
        if points is None and axis_name != "two_theta":
            points = int(((axis >= low) & (axis <= high)).sum())
        return cls(
            axis_name,
            low,
            high,
            points or STANDARD_POINTS,
            wavelength=wavelength if axis_name == "two_theta" else None,
            substrate=substrate,
            corrections=corrections,
            background=background,
            scale=scale,
            scale_window=scale_window,
        )

    def grid(self) -> Axis:
        """Return the common axis, in its own unit. Shape `(points,)`."""
        return np.linspace(self.low, self.high, self.points)

    def prepare(self, axis: ScanAxis, intensity: Scan) -> Spectrum:
        """Make one scan ready to learn from, on `grid()`. See `prepare_all`."""
        return self.prepare_all(axis, intensity[None])[0]

    def prepare_all(self, axis: ScanAxis, intensity: Scans) -> Spectra:
        """Make every scan of a set on one axis ready to learn from.

        Scan and substrate are brought to the common axis before the one is subtracted from the other. What becomes 100
        is taken last, so that it is that whatever the axis. A g(r) isn't scaled.

        Args:
            axis: 2θ in degrees, q in 1/Å or r in Å, strictly increasing, covering the range. Shape `(p,)`.
            intensity: In any unit. Shape `(n, p)`.

        Returns:
            Spectra on `grid()`, what `scale` names 100. Noise around a subtracted substrate stays slightly negative.
            Shape `(n, points)`.

        Raises:
            SpectrumError: If a value isn't finite, the axis decreases, repeats itself or doesn't cover the range, fewer
                than 16 points lie within it, or a spectrum has no positive intensity there.
        """
        _check_scans(axis, intensity)
        grid = self.grid()
        spectra = _interpolate(grid, axis, intensity, "scan")
        if self.substrate is not None:
            spectra = spectra - self._scaled_substrate(grid, spectra)
        if self.corrections is not None:
            q = q_axis(self.axis, grid, self.corrections.wavelength)
            assert q is not None, "a g(r) has no corrections"
            spectra = self.corrections.apply(q, spectra)
        if self.background is not None:
            spectra = spectra - _snip_backgrounds(grid, spectra, self.background)
        if self.axis == "r":
            return spectra
        size = self._sizes(grid, spectra)
        if not (size > 0).all():
            empty = np.flatnonzero(size <= 0)
            low, high = self.scale_window or (self.low, self.high)
            raise SpectrumError(
                f"A spectrum needs a positive intensity within {low:g} to {high:g}; {len(empty)} of "
                f"{len(spectra)} have none, first row {empty[0] + 1}. Leave them out, or lower the substrate's scale."
            )
        return spectra / size[:, None] * 100

    def _sizes(self, grid: Axis, spectra: Spectra) -> PerSample:
        """Return what of each spectrum becomes 100.

        Source, of the smoothing: A. Savitzky and M. J. E. Golay, Anal. Chem. 36, 1627 (1964).
        """
        if self.scale == "maximum":
            return spectra.max(axis=1)
        if self.scale_window is not None:
            low, high = self.scale_window
            return spectra[:, (grid >= low) & (grid <= high)].mean(axis=1)
        from scipy.signal import savgol_filter  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        points = max(5, round(SMOOTHING * len(grid)) | 1)
        return cast(Spectra, savgol_filter(spectra, points, polyorder=2, axis=1)).max(axis=1)

    def _check_scale(self) -> None:
        """Refuse a window without its rule, the rule without one, and a window that the range doesn't hold."""
        if (self.scale == "window") != (self.scale_window is not None):
            raise SpectrumError(
                f'A scale window goes with scale = "window", got scale = "{self.scale}" and '
                f"{'no window' if self.scale_window is None else 'a window'}. Give both, or neither."
            )
        if self.scale_window is None:
            return
        low, high = self.scale_window
        if self.axis == "r":
            raise SpectrumError("A g(r) isn't scaled, got a scale window. Leave it out.")
        if not self.low <= low < high <= self.high or high - low < (self.high - self.low) / (self.points - 1):
            raise SpectrumError(
                f"A scale window must run upwards over two points or more within {self.low:g} to {self.high:g}, got "
                f"{low:g} to {high:g}. Choose one that holds the halo, such as 2 to 3.5 1/Å."
            )

    def _scaled_substrate(self, grid: Axis, spectra: Spectra) -> Spectra:
        """Return what each spectrum has of the substrate."""
        assert self.substrate is not None
        bare = _interpolate(grid, self.substrate.axis, self.substrate.intensity[None], "substrate")
        if self.substrate.scale is not None:
            return self.substrate.scale * np.broadcast_to(bare, spectra.shape)
        bright = bare[0] > 0.01 * bare.max()  # elsewhere a ratio is noise
        scales = np.quantile(spectra[:, bright] / bare[:, bright], 0.01, axis=1, keepdims=True)
        return np.maximum(scales, 0) * bare


def _snip_backgrounds(grid: Axis, spectra: Spectra, half_width: float) -> Spectra:
    """Return the SNIP background of each spectrum; its half-width in the unit of the axis."""
    from pybaselines import Baseline  # pyright: ignore[reportMissingTypeStubs]  # takes half a second, and few ask

    points = round(half_width / (grid[1] - grid[0]))
    ends = {"extrapolate_window": max(2, points // 20)}  # continued by their own slope
    fitter: Any = Baseline(x_data=grid)
    found = [fitter.snip(y, max_half_window=points, decreasing=True, pad_kwargs=ends)[0] for y in spectra]
    return np.array(found, dtype=np.float64).reshape(spectra.shape)


def _check_wavelength(wavelength: float) -> None:
    if not wavelength > 0:
        raise SpectrumError(f"A wavelength must be positive, got {wavelength:g} Å. Cu Kα1 is 1.5406.")


def _check_scans(axis: ScanAxis, intensity: Scans) -> None:
    if intensity.shape[1] != len(axis):
        raise SpectrumError(
            f"Axis and intensity must be of one length, got {len(axis)} and {intensity.shape[1]}. "
            "Check that both are columns of the same file."
        )
    if len(axis) < MIN_POINTS:
        raise SpectrumError(f"A scan needs {MIN_POINTS} points or more, got {len(axis)}. Is the file complete?")
    if not (np.isfinite(axis).all() and np.isfinite(intensity).all()):
        bad = int((~np.isfinite(axis)).sum() + (~np.isfinite(intensity)).sum())
        raise SpectrumError(f"A scan must be finite, got {bad} NaN or infinite values. Leave out these points.")
    steps = np.diff(axis)
    if (steps < 0).all():
        raise SpectrumError(
            f"An axis must increase, got one from {axis[0]:g} down to {axis[-1]:g}. "
            "Reverse it and the intensity: `[::-1]`."
        )
    if not (steps > 0).all():
        where = int(np.argmax(steps <= 0))
        raise SpectrumError(
            f"An axis must increase strictly, got {axis[where]:g} followed by {axis[where + 1]:g}. "
            "Sort the scan and average duplicates."
        )


def _interpolate(grid: Axis, axis: ScanAxis, intensity: Scans, what: str) -> Spectra:
    """Interpolate every scan linearly to `grid`, which the scan must cover with enough points."""
    if axis[0] > grid[0] or axis[-1] < grid[-1]:
        raise SpectrumError(
            f"A {what} must cover the range {grid[0]:g} to {grid[-1]:g}, got {axis[0]:g} to {axis[-1]:g}. "
            "Narrow the range, leave the scan out, or check the unit of its axis."
        )
    inside = int(((axis >= grid[0]) & (axis <= grid[-1])).sum())
    if inside < MIN_POINTS:
        raise SpectrumError(
            f"A {what} needs {MIN_POINTS} points or more within {grid[0]:g} to {grid[-1]:g}, got {inside}. "
            "Widen the range or measure in finer steps."
        )
    left = np.clip(np.searchsorted(axis, grid, side="right") - 1, 0, len(axis) - 2)
    share = (grid - axis[left]) / (axis[left + 1] - axis[left])
    return intensity[:, left] * (1 - share) + intensity[:, left + 1] * share
