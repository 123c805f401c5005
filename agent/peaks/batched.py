"""The first peaks of millions of spectra at once, on whatever device they are: `reference.fit_peak` in bulk."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glassmap.agent.peaks.figures import FIGURES, PeakFit
from glassmap.agent.peaks.find import (
    FOUND,
    Smoothed,
    Windows,
    bin_windows,
    check_spectra,
    find_half_widths,
    find_windows,
    interpolate_rows,
    judge_fits,
    share_of_variance,
    smooth_spectra,
)
from glassmap.agent.peaks.measures import FIRST_PEAK_MSE, MEASURES, MSE, SCALE_FREE_MSE
from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts, pseudo_voigt
from glassmap.agent.shapes import Axis, PerSample, Spectra

BLOCK_SIZE = 2048  # spectra


class Peaks(NamedTuple):
    """The figures of the first peak of every spectrum."""

    figures: dict[str, Float[Tensor, " n"]]  # by their names in `FIGURES`; NaN where `found` is false
    found: Bool[Tensor, " n"]
    reason_code: Int64[Tensor, " n"]  # why not, as an index of `REASONS`


class _Block(NamedTuple):
    """Some spectra with their fits."""

    smoothed: Smoothed
    windows: Windows
    parameters: Float[Tensor, "n 4"]  # of `pseudo_voigt`, in units of the windows' estimates
    fit: PeakFit[Float[Tensor, " n"]]
    reason_code: Int64[Tensor, " n"]

    @property
    def found(self) -> Bool[Tensor, " n"]:
        return self.reason_code == FOUND


def measure_peaks(q: Axis, intensity: Float[Tensor, "n q"], *, block_size: int = BLOCK_SIZE) -> Peaks:
    """Measure the first peak of many spectra on one axis, as `fit_peak` would one by one.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`.
        intensity: Spectra, background included, on any device. Shape `(n, q)`.
        block_size: Spectra at a time; bounds the memory, and changes nothing else.

    Returns:
        Every figure of `FIGURES`, and whether there is a trustworthy peak; float64, on the device of `intensity`.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    check_spectra(q, intensity)
    blocks = [_measure_block(q, block) for block in _blocks(intensity, block_size)]
    return Peaks(
        {figure.name: torch.cat([block.figures[figure.name] for block in blocks]) for figure in FIGURES},
        torch.cat([block.found for block in blocks]),
        torch.cat([block.reason_code for block in blocks]),
    )


def errors_by_spectrum(generated: Spectra, measured: Spectra, *, q: Axis | None) -> dict[str, PerSample]:
    """Return how far each generated spectrum is from the measured one, by every measure of `MEASURES`.

    Args:
        generated: Shape `(n, q)`.
        measured: Of the same alloys, on the same axis. Shape `(n, q)`.
        q: Their axis in 1/Å, or None for g(r), which has no first peak in q. Shape `(q,)`.

    Returns:
        By the name of the measure, of shape `(n,)`; NaN where it can't be said: what asks for the first peak where the
        measured spectrum has none, and an error of a figure where either has none.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    generated, measured = (np.ascontiguousarray(spectra, dtype=np.float64) for spectra in (generated, measured))
    factors = (generated * measured).sum(1) / np.maximum((generated**2).sum(1), np.finfo(np.float64).tiny)
    scaled = np.maximum(factors, 0)[:, None] * generated
    errors = {
        MSE.name: np.square(generated - measured).mean(axis=1),
        SCALE_FREE_MSE.name: np.square(scaled - measured).mean(axis=1),
    }
    if q is None:
        return {measure.name: errors.get(measure.name, np.full(len(measured), math.nan)) for measure in MEASURES}
    errors[FIRST_PEAK_MSE.name] = _errors_within(
        first_peak_windows(q, torch.as_tensor(measured)), q, generated, measured
    )
    ours, theirs = (measure_peaks(q, torch.as_tensor(spectra)).figures for spectra in (generated, measured))
    return errors | {name: (ours[name] - theirs[name]).abs().numpy() for name in ours}


def first_peak_windows(q: Axis, intensity: Float[Tensor, "n q"]) -> Float[Tensor, "n 2"]:
    """Return the range in 1/Å in which the first peak of each spectrum is fitted; NaN where there is none.

    Args:
        q: As for `measure_peaks`.
        intensity: As for `measure_peaks`.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    check_spectra(q, intensity)
    ranges: list[Float[Tensor, "b 2"]] = []
    for spectra in _blocks(intensity, BLOCK_SIZE):
        block = _fit_block(q, spectra)
        ends = torch.stack([block.windows.low, block.windows.high], dim=1)
        ranges.append(ends.where(block.found[:, None], math.nan))
    return torch.cat(ranges)


def _errors_within(windows: Float[Tensor, "n 2"], q: Axis, generated: Spectra, measured: Spectra) -> PerSample:
    """Return the mean squared error over the points of each window; NaN where there is none."""
    low, high = windows.cpu().numpy().T[:, :, None]
    inside = (q >= low) & (q <= high)
    return (np.square(generated - measured) * inside).sum(1) / np.where(inside.any(1), inside.sum(1), math.nan)


def fitted_profiles(q: Axis, intensity: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    """Return the curves that `measure_peaks` fits, on their backgrounds; NaN outside each window and without a peak.

    Args:
        q: As for `measure_peaks`.
        intensity: As for `measure_peaks`.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    check_spectra(q, intensity)
    return torch.cat([_profile_block(q, block) for block in _blocks(intensity, BLOCK_SIZE)])


def _blocks(intensity: Float[Tensor, "n q"], size: int) -> Iterator[Float[Tensor, "b q"]]:
    """Yield the spectra some at a time, in double precision; of none, a block of none."""
    for start in range(0, max(1, len(intensity)), size):
        yield intensity[start : start + size].detach().double()


def _measure_block(q: Axis, spectra: Float[Tensor, "n q"]) -> Peaks:
    block = _fit_block(q, spectra)
    figures = {figure.name: figure.read_off(block.fit).where(block.found, math.nan) for figure in FIGURES}
    return Peaks(figures, block.found, block.reason_code)


def _profile_block(q: Axis, spectra: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    block = _fit_block(q, spectra)
    smoothed, windows, parameters = block.smoothed, block.windows, block.parameters
    everywhere = torch.as_tensor(q.copy(), dtype=spectra.dtype, device=spectra.device).expand_as(spectra)
    x = (everywhere - windows.center[:, None]) / windows.fwhm[:, None]
    grid = smoothed.grid
    background = interpolate_rows(grid, smoothed.background, everywhere.clamp(grid[0], grid[-1]))
    curve = background + windows.height[:, None] * pseudo_voigt(x, parameters)[0]
    inside = (everywhere >= windows.low[:, None]) & (everywhere <= windows.high[:, None])
    return curve.where(inside & block.found[:, None], math.nan)


def _fit_block(q: Axis, spectra: Float[Tensor, "n q"]) -> _Block:
    smoothed = smooth_spectra(q, spectra)
    windows = find_windows(q, spectra, smoothed)
    x, y = bin_windows(q, smoothed, windows)
    x = (x - windows.center[:, None]) / windows.fwhm[:, None]  # in units of the estimates, every fit starts alike
    y = y / windows.height[:, None]
    parameters = fit_pseudo_voigts(x, y)
    height, center, fwhm, share = parameters.unbind(1)
    left, right = find_half_widths(windows, x, y)
    fit = PeakFit(
        center=windows.center + windows.fwhm * center,
        fwhm=windows.fwhm * fwhm,
        height=windows.height * height,
        lorentzian_share=share,
        left_half_width=left,
        right_half_width=right,
    )
    reason_code = judge_fits(q, windows, fit.center, fit.fwhm, share_of_variance(y, pseudo_voigt(x, parameters)[0]))
    return _Block(smoothed, windows, parameters, fit, reason_code)
