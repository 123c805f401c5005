"""The first peaks of millions of spectra at once, on whatever device they are: `reference.fit_peak` in bulk."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from glassmap.agent.peaks.figures import FIGURES
from glassmap.agent.peaks.find import FOUND, check_spectra, find_windows, ruler_of, smooth_spectra
from glassmap.agent.peaks.measures import FIRST_PEAK_MSE, MEASURES, MSE, SCALE_FREE_MSE
from glassmap.agent.peaks.robust_fit import Read, curve_at, fit_windows, judge_fits, read_fits
from glassmap.agent.shapes import Axis, PerSample, Spectra

BLOCK_SIZES = {"cpu": 2048, "cuda": 65536}  # spectra at a time: what a cache holds, and what hides launches


class Peaks(NamedTuple):
    """The figures of the first peak of every spectrum."""

    figures: dict[str, Float[Tensor, " n"]]  # by their names in `FIGURES`; NaN where `found` is false
    found: Bool[Tensor, " n"]
    reason_code: Int64[Tensor, " n"]  # why not, as an index of `REASONS`


class _Block(NamedTuple):
    """Some spectra with their fits."""

    read: Read
    reason_code: Int64[Tensor, " n"]


def measure_peaks(q: Axis, intensity: Float[Tensor, "n q"], *, block_size: int | None = None) -> Peaks:
    """Measure the first peak of many spectra on one axis, as `fit_peak` would one by one.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`.
        intensity: Spectra, background included, on any device. Shape `(n, q)`.
        block_size: Spectra at a time, by default what suits the device; bounds the memory, and changes nothing else but
            the last digits.

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
    for spectra in _blocks(intensity):
        block = _fit_block(q, spectra)
        ranges.append(block.read.ends.where((block.reason_code == FOUND)[:, None], math.nan))
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
    return torch.cat([_profile_block(q, block) for block in _blocks(intensity)])


def _blocks(intensity: Float[Tensor, "n q"], size: int | None = None) -> Iterator[Float[Tensor, "b q"]]:
    """Yield the spectra some at a time, in single precision; of none, a block of none."""
    size = size or BLOCK_SIZES.get(intensity.device.type, BLOCK_SIZES["cpu"])
    for start in range(0, max(1, len(intensity)), size):
        yield intensity[start : start + size].detach().float()


def _measure_block(q: Axis, spectra: Float[Tensor, "n q"]) -> Peaks:
    block = _fit_block(q, spectra)
    figures = torch.stack([figure.read_off(block.read.fit) for figure in FIGURES]).double()
    found = block.reason_code == FOUND
    read = figures.where(found, math.nan).unbind()
    return Peaks(dict(zip((figure.name for figure in FIGURES), read, strict=True)), found, block.reason_code)


def _profile_block(q: Axis, spectra: Float[Tensor, "n q"]) -> Float[Tensor, "n q"]:
    block = _fit_block(q, spectra)
    ruler = ruler_of(q, spectra.device)
    everywhere, low, high = ruler.q, block.read.ends[:, :1], block.read.ends[:, 1:]
    found = (block.reason_code == FOUND)[:, None]
    curve = curve_at(ruler, block.read, everywhere)
    return curve.where((everywhere >= low) & (everywhere <= high) & found, math.nan)


def _fit_block(q: Axis, spectra: Float[Tensor, "n q"]) -> _Block:
    ruler = ruler_of(q, spectra.device)
    smoothed = smooth_spectra(ruler, spectra)
    windows = find_windows(ruler, spectra, smoothed)
    read = read_fits(ruler, smoothed, windows, fit_windows(ruler, smoothed, windows))
    return _Block(read, judge_fits(ruler, windows, read))
