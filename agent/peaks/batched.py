"""The first peaks of millions of spectra at once, on whatever device they are: `reference.fit_peak` in bulk."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float

from glassmap.agent.peaks.find import (
    FOUND,
    Smoothed,
    Windows,
    bin_windows,
    check_spectra,
    find_windows,
    interpolate_rows,
    judge_fits,
    share_of_variance,
    smooth_spectra,
)
from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts, pseudo_voigt
from glassmap.agent.shapes import Axis, Spectra


class Peaks(NamedTuple):
    """The first peak of every spectrum; NaN where `found` is false."""

    q1: Float[torch.Tensor, " n"]  # 1/Å
    delta_q: Float[torch.Tensor, " n"]  # FWHM, 1/Å
    found: Bool[torch.Tensor, " n"]


def measure_peaks(q: Axis, intensity: Float[torch.Tensor, "n q"], *, block_size: int = 2048) -> Peaks:
    """Measure the first peak of many spectra on one axis, as `fit_peak` would one by one.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`.
        intensity: Spectra, background included, on any device. Shape `(n, q)`.
        block_size: Spectra at a time; bounds the memory, and changes nothing else.

    Returns:
        q1 and Δq in 1/Å and whether there is a trustworthy peak, float64, on the device of `intensity`. Shape `(n,)`.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    check_spectra(q, intensity)
    blocks = [_measure_block(q, block.detach().double()) for block in intensity.split(block_size)]
    return Peaks(*(torch.cat(parts) for parts in zip(*blocks, strict=True)))


def mean_peak_errors(q: Axis, generated: Spectra, measured: Spectra) -> tuple[float | None, float | None]:
    """Mean absolute errors of q1 and Δq (1/Å) over pairs that both have a peak; None where no pair has."""
    ours, theirs = (measure_peaks(q, torch.from_numpy(spectra)) for spectra in (generated, measured))
    both = ours.found & theirs.found
    if not both.any():
        return None, None
    errors = ((getattr(ours, name) - getattr(theirs, name))[both].abs().mean() for name in ("q1", "delta_q"))
    return next(errors).item(), next(errors).item()


def fitted_profiles(q: Axis, intensity: Float[torch.Tensor, "n q"]) -> Float[torch.Tensor, "n q"]:
    """The curves that `measure_peaks` found, on their backgrounds; NaN outside each window and where there is no peak.

    Args:
        q: As for `measure_peaks`.
        intensity: As for `measure_peaks`.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    check_spectra(q, intensity)
    return torch.cat([_profile_block(q, block.detach().double()) for block in intensity.split(2048)])


def _profile_block(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> Float[torch.Tensor, "n q"]:
    smoothed, windows, parameters, peaks = _fit_block(q, spectra)
    everywhere = torch.as_tensor(q.copy(), dtype=spectra.dtype, device=spectra.device).expand_as(spectra)
    x = (everywhere - windows.center[:, None]) / windows.fwhm[:, None]
    background = interpolate_rows(
        smoothed.grid, smoothed.background, everywhere.clamp(smoothed.grid[0], smoothed.grid[-1])
    )
    curve = background + windows.height[:, None] * pseudo_voigt(x, parameters)[0]
    inside = (everywhere >= windows.low[:, None]) & (everywhere <= windows.high[:, None])
    return curve.where(inside & peaks.found[:, None], math.nan)


def _measure_block(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> Peaks:
    return _fit_block(q, spectra)[3]


def _fit_block(
    q: Axis, spectra: Float[torch.Tensor, "n q"]
) -> tuple[Smoothed, Windows, Float[torch.Tensor, "n 4"], Peaks]:
    smoothed = smooth_spectra(q, spectra)
    windows = find_windows(q, spectra, smoothed)
    x, y = bin_windows(q, smoothed, windows)
    x = (x - windows.center[:, None]) / windows.fwhm[:, None]  # in units of the estimates, every fit starts alike
    y = y / windows.height[:, None]
    parameters = fit_pseudo_voigts(x, y)
    q1 = windows.center + windows.fwhm * parameters[:, 1]
    delta_q = windows.fwhm * parameters[:, 2]
    verdict = judge_fits(q, windows, q1, delta_q, share_of_variance(y, pseudo_voigt(x, parameters)[0]))
    found = verdict == FOUND
    return smoothed, windows, parameters, Peaks(q1.where(found, math.nan), delta_q.where(found, math.nan), found)
