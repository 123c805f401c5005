"""Where the first peak of a spectrum is: its background, its window, and when a fit within it is trusted.

Both fits, `reference.fit_peak` and `batched.measure_peaks`, share this and fit the same profile, so they agree (held
so by the tests):

1. Background: SNIP with a half-width of 1 1/Å, on the spectrum averaged to steps of 0.02 1/Å.
2. First peak: the first maximum at least 0.45 times as high as the highest below 4 1/Å.
3. Window: 0.75 estimated widths to either side, or up to the valley before the next peak.
4. Profile: a pseudo-Voigt on nothing else. A straight line fitted along with it trades height with the
   Lorentzian tails and makes Δq a lottery; see docs/results.md for the figures.

Adding a constant or a slope to a spectrum, or scaling it, changes neither q1 nor Δq.
"""

import math
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glassmap.agent.errors import SpectrumError
from glassmap.agent.shapes import Axis

STEP = 0.02  # 1/Å, of the grid on which peaks are looked for; also the standard deviation of the smoothing
MARGIN = 0.05  # 1/Å left out at either end of the axis, where detectors cut intensity off
SNIP_HALF_WIDTH = 1.0  # 1/Å; Δq of the widest halos is 0.9, and 0.8 to 1.5 give the same widths within 1 %
HIGHEST_Q1 = 4.0  # 1/Å; by Ehrenfest's q1 d = 7.7, metal atoms would be 1.9 Å apart, closer than in any metal
RELATIVE_HEIGHT = 0.45  # of the highest peak; lower ones before it are bumps
RELATIVE_FALL = 0.05  # of the highest peak; a smaller rise or fall is a ripple
NOISE_FALL = 6.0  # standard deviations of the noise; a smaller rise or fall is noise
HALF_WINDOW = 0.75  # in estimated FWHM
TOP = 0.6  # in half widths to either side of a maximum; what its place is read from
TOP_STEPS = 4  # from the highest point to the maximum
BINS = 32  # of a window; `measure_peaks` fits them, both doors take R² over them
MIN_R_SQUARED = 0.8

REASONS = (
    "",
    f"No maximum below {HIGHEST_Q1:g} 1/Å stands out of the background and the noise.",
    "The first maximum lies within its own width of an end of the axis.",
    "The fit did not converge to a peak within its window.",
    "The peak is wider than the window that the next peaks leave it.",
    "The peak is narrower than three steps of the axis.",
    f"The pseudo-Voigt explains less than {MIN_R_SQUARED:.0%} of the variance in its window.",
)
FOUND, NO_MAXIMUM, AT_EDGE, NOT_CONVERGED, TOO_WIDE, TOO_NARROW, POOR_FIT = range(len(REASONS))


class Smoothed(NamedTuple):
    """Spectra as peaks are looked for in them."""

    cumulative: Float[Tensor, "n q"]  # integral from the start of the axis, trapezoidal rule
    grid: Float[Tensor, " g"]  # 1/Å, in steps of STEP
    smooth: Float[Tensor, "n g"]
    background: Float[Tensor, "n g"]


class Windows(NamedTuple):
    """Where each spectrum is fitted, and from which start."""

    low: Float[Tensor, " n"]  # 1/Å
    high: Float[Tensor, " n"]  # 1/Å
    center: Float[Tensor, " n"]  # 1/Å, of the maximum
    fwhm: Float[Tensor, " n"]  # 1/Å, estimated at half the height
    height: Float[Tensor, " n"]  # above the background
    half_left: Float[Tensor, " n"]  # 1/Å, from the maximum to half its height; NaN where a valley comes first
    half_right: Float[Tensor, " n"]
    reason_code: Int64[Tensor, " n"]  # FOUND, NO_MAXIMUM or AT_EDGE


def check_spectra(q: Axis, spectra: Float[Tensor, "n q"]) -> None:
    """Refuse, with a `SpectrumError`, values that aren't finite and an axis on which no first peak can be told."""
    if not (np.isfinite(q).all() and bool(torch.isfinite(spectra).all())):
        raise SpectrumError("A spectrum must be finite, got NaN or inf. Mask the bad detector points and interpolate.")
    if not (np.diff(q) > 0).all():
        raise SpectrumError(f"q must increase strictly, got {q[0]:g} to {q[-1]:g} 1/Å. Sort it and average duplicates.")
    if q[-1] - q[0] < SNIP_HALF_WIDTH or q[0] > HIGHEST_Q1 - SNIP_HALF_WIDTH:
        raise SpectrumError(
            f"q must span at least {SNIP_HALF_WIDTH:g} 1/Å, {SNIP_HALF_WIDTH:g} of it below {HIGHEST_Q1:g} 1/Å, "
            f"to tell the first peak from its background, got {q[0]:g} to {q[-1]:g}. Measure a wider range; "
            "if the axis is 2θ, use `q_from_two_theta`."
        )


def smooth_spectra(q: Axis, spectra: Float[Tensor, "n q"]) -> Smoothed:
    """Average to steps of STEP, smooth with a Gaussian of the same standard deviation, find the background."""
    q_ = torch.as_tensor(q.copy(), dtype=spectra.dtype, device=spectra.device)
    areas = (spectra[:, 1:] + spectra[:, :-1]) / 2 * q_.diff()
    cumulative = torch.nn.functional.pad(areas.cumsum(1), (1, 0))

    points = int((q[-1] - q[0] - 2 * MARGIN) / STEP)
    edges = q[0] + MARGIN + STEP * torch.arange(points + 1, dtype=spectra.dtype, device=spectra.device)
    left = (torch.searchsorted(q_, edges, right=True) - 1).clamp(0, len(q_) - 2)
    share = (edges - q_[left]) / (q_[left + 1] - q_[left])
    averaged = torch.lerp(cumulative[:, left], cumulative[:, left + 1], share).diff(dim=1) / STEP

    kernel = torch.exp(-0.5 * torch.arange(-3, 4, dtype=spectra.dtype, device=spectra.device) ** 2)
    smooth = torch.nn.functional.conv1d(averaged[:, None], (kernel / kernel.sum())[None, None])[:, 0]
    background = snip_background(smooth, round(SNIP_HALF_WIDTH / STEP))
    return Smoothed(cumulative, (edges[4:-3] + edges[3:-4]) / 2, smooth, background)


def snip_background(spectra: Float[Tensor, "n g"], half_width: int) -> Float[Tensor, "n g"]:
    """Background of each spectrum: peaks narrower than twice `half_width` points are clipped to the chord below them.

    Args:
        spectra: On an equidistant axis. Shape `(n, g)`.
        half_width: Number of points.

    Source: C. G. Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988), with the clipping window decreasing as in
        M. Morháč et al., Nucl. Instrum. Methods A 401, 113 (1997).
    """
    background = spectra.T.clone(memory_format=torch.contiguous_format)  # (g, n): points in one piece
    points, chords = len(background), torch.empty_like(background)
    for w in range(min(half_width, (points - 1) // 2), 0, -1):
        clipped = background[w : points - w]
        chord = torch.add(background[: points - 2 * w], background[2 * w :], out=chords[: points - 2 * w]).mul_(0.5)
        torch.minimum(clipped, chord, out=clipped)
    return background.T


def find_windows(q: Axis, spectra: Float[Tensor, "n q"], smoothed: Smoothed) -> Windows:
    """The window of each first peak; that of a spectrum without one is of no use."""
    grid, net = smoothed.grid, smoothed.smooth - smoothed.background
    highest = net[:, grid <= HIGHEST_Q1].amax(1)
    fall = _least_fall(q, spectra, highest)
    record, place = net.cummax(1)
    is_peak = (record >= RELATIVE_HEIGHT * highest[:, None]) & (record - net > fall[:, None])
    is_peak &= grid[place] <= HIGHEST_Q1
    peak = place.gather(1, is_peak.int().argmax(1, keepdim=True))[:, 0]

    half_right, valley_right = _flank(net, peak, fall)
    half_left, valley_left = _flank(net.flip(1), len(grid) - 1 - peak, fall)
    center = grid[peak]
    fwhm = 2 * STEP * torch.minimum(half_left, half_right)
    low = torch.maximum(center - HALF_WINDOW * fwhm, center - STEP * valley_left)
    high = torch.minimum(center + HALF_WINDOW * fwhm, center + STEP * valley_right)
    at_edge = (center - fwhm < grid[0]) | (center + fwhm > grid[-1])
    reason_code = torch.where(at_edge, AT_EDGE, FOUND).where(is_peak.any(1), NO_MAXIMUM)
    height = net.gather(1, peak[:, None])[:, 0].where(reason_code == FOUND, 1.0)
    half_left, half_right = (
        (STEP * half).where(half <= valley, math.nan)
        for half, valley in ((half_left, valley_left), (half_right, valley_right))
    )
    return Windows(low, high, center, fwhm, height, half_left, half_right, reason_code)


def _least_fall(q: Axis, spectra: Float[Tensor, "n q"], highest: Float[Tensor, " n"]) -> Tensor:
    """How far the smooth curve has to fall after a maximum for it to be a peak, neither ripple nor noise."""
    # The noise of a point shows in the second difference, to which no peak adds much; smoothing averages it out
    curvature = cast(Tensor, cast(Any, torch.linalg).vector_norm(spectra.diff(n=2, dim=1), ord=1, dim=1)) / (len(q) - 2)
    noise = curvature * math.sqrt(math.pi / 2 / 6)
    points_averaged = 2 * math.sqrt(math.pi) * STEP / float(np.diff(q).mean())
    noise = noise / math.sqrt(max(1.0, points_averaged))
    rounding = 1e-6 * torch.maximum(spectra.amax(1), -spectra.amin(1))
    return torch.maximum(torch.maximum(RELATIVE_FALL * highest, NOISE_FALL * noise), rounding)


def _flank(
    net: Float[Tensor, "n g"], peak: Int64[Tensor, " n"], rise: Float[Tensor, " n"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Points from each peak rightwards to half its height, and to the valley from where the curve rises again."""
    points = net.shape[1]
    index = torch.arange(points, device=net.device)
    beyond = net.where(index >= peak[:, None], math.inf)
    lowest, place = beyond.cummin(1)
    rises = (index >= peak[:, None]) & (net - lowest >= rise[:, None])
    turn = torch.where(rises.any(1), rises.int().argmax(1), points - 1)
    valley = place.gather(1, turn[:, None])[:, 0] - peak

    half = net.gather(1, peak[:, None]) / 2
    below = (beyond <= half).int()
    after = torch.where(below.any(1), below.argmax(1), points - 1).clamp(min=1)[:, None]
    upper, lower = net.gather(1, after - 1), net.gather(1, after)
    share = ((upper - half) / (upper - lower)).nan_to_num(1.0).clamp(0, 1)
    distance = (after - 1 + share)[:, 0] - peak
    return distance.clamp(min=1.0), valley.to(net.dtype).clamp(min=1.0)


def bin_windows(q: Axis, smoothed: Smoothed, windows: Windows) -> tuple[Float[Tensor, "n p"], Float[Tensor, "n p"]]:
    """Centres and mean net intensities of `BINS` equal bins of each window. Shape `(n, BINS)`."""
    cumulative = smoothed.cumulative
    q_ = torch.as_tensor(q.copy(), dtype=cumulative.dtype, device=cumulative.device)
    shares = torch.linspace(0, 1, BINS + 1, dtype=cumulative.dtype, device=cumulative.device)
    edges = windows.low[:, None] + (windows.high - windows.low)[:, None] * shares  # (n, BINS + 1)
    centers = (edges[:, 1:] + edges[:, :-1]) / 2
    means = interpolate_rows(q_, cumulative, edges).diff(dim=1) / edges.diff(dim=1)
    return centers, means - interpolate_rows(smoothed.grid, smoothed.background, centers)


def find_half_widths(
    windows: Windows, x: Float[Tensor, "n p"], y: Float[Tensor, "n p"]
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Half widths at half maximum of the data, left and right of the maximum; NaN where a valley comes first.

    The highest point of a noisy halo says little of where its maximum is. So it is the vertex of a parabola through the
    top of the peak, each side measured in its own half width, which a peak of two sides of one shape meets exactly.

    Args:
        windows: As of `find_windows`.
        x: Centres of the bins from the highest point, in estimated FWHM. Shape `(n, BINS)`.
        y: Net intensities of the bins, in heights of the peak. Shape `(n, BINS)`.

    Returns:
        Both in 1/Å, shape `(n,)`.
    """
    low, high = -windows.half_left / windows.fwhm, windows.half_right / windows.fwhm
    top = torch.zeros_like(low)
    for _ in range(TOP_STEPS):
        left, right = top - low, high - top
        u = x - top[:, None]
        u = u / torch.where(u < 0, left[:, None], right[:, None])
        powers = torch.stack([torch.ones_like(u), u, u * u], dim=1)  # (n, 3, BINS)
        weighted = powers * (1 - (u / TOP).square()).clamp(min=0).square()[:, None]
        moments = weighted @ powers.mT  # (n, 3, 3)
        (s0, s1, s2), (s3, s4) = moments[:, 0].unbind(1), moments[:, 2, 1:].unbind(1)
        t0, t1, t2 = (weighted @ y[:, :, None])[:, :, 0].unbind(1)
        slope = s0 * (t1 * s4 - s3 * t2) - t0 * (s1 * s4 - s2 * s3) + s2 * (s1 * t2 - s2 * t1)  # by Cramer's rule
        bend = s0 * (s2 * t2 - s3 * t1) - s1 * (s1 * t2 - s2 * t1) + t0 * (s1 * s3 - s2 * s2)
        vertex = (-slope / (2 * bend)).clamp(-TOP, TOP)
        top = top + vertex * torch.where(vertex < 0, left, right)
    return windows.fwhm * (top - low), windows.fwhm * (high - top)


def judge_fits(
    q: Axis,
    windows: Windows,
    center: Float[Tensor, " n"],
    fwhm: Float[Tensor, " n"],
    r_squared: Float[Tensor, " n"],
) -> Int64[Tensor, " n"]:
    """Return what is wrong with each fit, as an index of `REASONS`; the first objection counts."""
    margin = 0.01 * (windows.high - windows.low)
    objections = {
        POOR_FIT: ~(r_squared >= MIN_R_SQUARED),
        TOO_NARROW: fwhm < 3 * float(np.diff(q).max()),
        TOO_WIDE: fwhm > windows.high - windows.low,
        NOT_CONVERGED: ~((center > windows.low + margin) & (center < windows.high - margin) & (fwhm > 0)),
    }
    reason_code = torch.full_like(windows.reason_code, FOUND)
    for objection, holds in objections.items():
        reason_code = torch.where(holds, objection, reason_code)
    return torch.where(windows.reason_code == FOUND, reason_code, windows.reason_code)


def share_of_variance(y: Float[Tensor, "n p"], model: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    """Return R², the share of the variance of each row that the model explains."""
    return 1 - (y - model).square().sum(1) / (y - y.mean(1, keepdim=True)).square().sum(1)


def interpolate_rows(grid: Float[Tensor, " q"], values: Float[Tensor, "n q"], x: Float[Tensor, "n p"]) -> Tensor:
    """Linear interpolation of each row of `values` on `grid` at its own `x`. Shape `(n, p)`."""
    left = (torch.searchsorted(grid, x.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    share = (x - grid[left]) / (grid[left + 1] - grid[left])
    return torch.lerp(values.gather(1, left), values.gather(1, left + 1), share)
