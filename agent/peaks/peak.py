"""The first diffraction peak: its position q1 and its full width at half maximum Δq.

Two doors to one quantity. `fit_peak` is the reference: one spectrum, lmfit, uncertainties, a reason where it refuses.
`measure_peaks` is the same for millions: batched, on whatever device the spectra are on. Both share the background,
the window and the rule of acceptance, and fit the same profile, so they agree (held so by the tests):

1. Background: SNIP with a half-width of 1 1/Å, on the spectrum averaged to steps of 0.02 1/Å.
2. First peak: the first maximum at least 0.45 times as high as the highest below 4 1/Å.
3. Window: 0.75 estimated widths to either side, or up to the valley before the next peak.
4. Profile: a pseudo-Voigt on nothing else. A straight line fitted along with it trades height with the
   Lorentzian tails and makes Δq a lottery; see docs/results.md for the figures.

Adding a constant or a slope to a spectrum, or scaling it, changes neither q1 nor Δq.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from lmfit import Model
from lmfit.lineshapes import pvoigt

from glassmap.agent.errors import SpectrumError
from glassmap.agent.peaks.pseudo_voigt import fit_pseudo_voigts, pseudo_voigt
from glassmap.agent.shapes import Axis, Scan, ScanAxis, Spectra, Spectrum

STEP = 0.02  # 1/Å, of the grid on which peaks are looked for; also the standard deviation of the smoothing
MARGIN = 0.05  # 1/Å left out at either end of the axis, where detectors cut intensity off
SNIP_HALF_WIDTH = 1.0  # 1/Å; Δq of the widest halos is 0.9, and 0.8 to 1.5 give the same widths within 1 %
HIGHEST_Q1 = 4.0  # 1/Å; by Ehrenfest's q1 d = 7.7, metal atoms would be 1.9 Å apart, closer than in any metal
RELATIVE_HEIGHT = 0.45  # of the highest peak; lower ones before it are bumps
RELATIVE_FALL = 0.05  # of the highest peak; a smaller rise or fall is a ripple
NOISE_FALL = 6.0  # standard deviations of the noise; a smaller rise or fall is noise
HALF_WINDOW = 0.75  # in estimated FWHM
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


class Peak(NamedTuple):
    """The first peak of one spectrum; the numbers are NaN where there is a reason not to trust them."""

    q1: float  # 1/Å
    delta_q: float  # FWHM, 1/Å
    q1_stderr: float  # 1/Å
    delta_q_stderr: float  # 1/Å
    r_squared: float  # share of the variance within the window that the profile explains
    reason: str  # why there is no trustworthy peak; empty where there is one


class Peaks(NamedTuple):
    """The first peak of every spectrum; NaN where `found` is false."""

    q1: Float[torch.Tensor, " n"]  # 1/Å
    delta_q: Float[torch.Tensor, " n"]  # FWHM, 1/Å
    found: Bool[torch.Tensor, " n"]


class _Scene(NamedTuple):
    """Spectra as peaks are looked for in them."""

    cumulative: Float[torch.Tensor, "n q"]  # integral from the start of the axis, trapezoidal rule
    grid: Float[torch.Tensor, " g"]  # 1/Å, in steps of STEP
    smooth: Float[torch.Tensor, "n g"]
    background: Float[torch.Tensor, "n g"]


class _Windows(NamedTuple):
    """Where each spectrum is fitted, and from which start."""

    low: Float[torch.Tensor, " n"]  # 1/Å
    high: Float[torch.Tensor, " n"]  # 1/Å
    center: Float[torch.Tensor, " n"]  # 1/Å, of the maximum
    fwhm: Float[torch.Tensor, " n"]  # 1/Å, estimated at half the height
    height: Float[torch.Tensor, " n"]  # above the background
    verdict: Int64[torch.Tensor, " n"]  # FOUND, NO_MAXIMUM or AT_EDGE


def fit_peak(q: Axis, intensity: Spectrum) -> Peak:
    """Fit the first peak of one spectrum with a pseudo-Voigt on the SNIP background.

    Args:
        q: Scattering vector in 1/Å, strictly increasing. Shape `(q,)`. For 2θ, convert first: `q_from_two_theta`.
        intensity: Any unit, background included. Shape `(q,)`.

    Returns:
        q1, Δq and their standard errors in 1/Å, or NaN and the reason. The errors are the fit's own: they know nothing
        of the background, which takes the outermost tails of a peak (of a lone Gaussian 3 % of Δq, of a Lorentzian
        13 %).

    Raises:
        SpectrumError: If a value isn't finite, or the axis decreases, repeats itself or spans less than 1 1/Å
            below 4 1/Å.

    Source: peak profile as in F. Ren et al., Sci. Adv. 4, eaaq1566 (2018).
    """
    return _fit(q, intensity)[0]


def fitted_profile(q: Axis, intensity: Spectrum) -> tuple[ScanAxis, Scan]:
    """The curve that `fit_peak` found, on its background: q (1/Å) and intensity within its window; empty without one.

    Raises:
        SpectrumError: As for `fit_peak`.
    """
    return _fit(q, intensity)[1:]


def _fit(q: Axis, intensity: Spectrum) -> tuple[Peak, ScanAxis, Scan]:
    spectra = torch.as_tensor(np.array(intensity, dtype=np.float64))[None]
    _check(q, spectra)
    scene = _look_at(q, spectra)
    windows = _find_windows(q, spectra, scene)
    if (verdict := int(windows.verdict)) != FOUND:
        return _refuse(verdict)
    low, high, center, fwhm, height = (float(value) for value in windows[:5])
    inside = (q >= low) & (q <= high)
    if inside.sum() <= 4:  # as many as parameters
        return _refuse(TOO_NARROW)
    background = np.interp(q[inside], scene.grid.numpy(), scene.background[0].numpy())
    net = (intensity[inside] - background) / height

    model = Model(pvoigt)  # PseudoVoigtModel without its derived parameters, which triple the time
    parameters = model.make_params(
        amplitude={"value": 1.2 * fwhm, "min": 0},
        center={"value": center, "min": low, "max": high},
        sigma={"value": fwhm / 2, "min": fwhm / 20, "max": 2 * (high - low)},
        fraction={"value": 0.5, "min": 0, "max": 1},
    )
    result = model.fit(net, parameters, x=q[inside])
    q1, half_width = result.params["center"], result.params["sigma"]  # lmfit's sigma is half the FWHM

    x, y = _bin(q, scene, windows)
    r_squared = _r_squared(y / height, torch.as_tensor(result.eval(x=x[0].numpy()))[None])
    fitted = torch.tensor([[q1.value], [2 * half_width.value]], dtype=torch.float64)
    verdict = int(_judge(q, windows, fitted[0], fitted[1], r_squared)) if result.success else NOT_CONVERGED
    if verdict != FOUND:
        return _refuse(verdict, float(r_squared))
    q1_stderr, half_width_stderr = (math.nan if p.stderr is None else p.stderr for p in (q1, half_width))
    peak = Peak(q1.value, 2 * half_width.value, q1_stderr, 2 * half_width_stderr, float(r_squared), "")
    return peak, q[inside], background + height * np.asarray(result.best_fit)


def _refuse(verdict: int, r_squared: float = math.nan) -> tuple[Peak, ScanAxis, Scan]:
    return Peak(math.nan, math.nan, math.nan, math.nan, r_squared, REASONS[verdict]), np.empty(0), np.empty(0)


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
    _check(q, intensity)
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
    _check(q, intensity)
    return torch.cat([_profile_block(q, block.detach().double()) for block in intensity.split(2048)])


def _profile_block(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> Float[torch.Tensor, "n q"]:
    scene, windows, parameters, peaks = _fit_block(q, spectra)
    everywhere = torch.as_tensor(q.copy(), dtype=spectra.dtype, device=spectra.device).expand_as(spectra)
    x = (everywhere - windows.center[:, None]) / windows.fwhm[:, None]
    background = _at(scene.grid, scene.background, everywhere.clamp(scene.grid[0], scene.grid[-1]))
    curve = background + windows.height[:, None] * pseudo_voigt(x, parameters)[0]
    inside = (everywhere >= windows.low[:, None]) & (everywhere <= windows.high[:, None])
    return curve.where(inside & peaks.found[:, None], math.nan)


def _measure_block(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> Peaks:
    return _fit_block(q, spectra)[3]


def _fit_block(
    q: Axis, spectra: Float[torch.Tensor, "n q"]
) -> tuple[_Scene, _Windows, Float[torch.Tensor, "n 4"], Peaks]:
    scene = _look_at(q, spectra)
    windows = _find_windows(q, spectra, scene)
    x, y = _bin(q, scene, windows)
    x = (x - windows.center[:, None]) / windows.fwhm[:, None]  # in units of the estimates, every fit starts alike
    y = y / windows.height[:, None]
    parameters = fit_pseudo_voigts(x, y)
    q1 = windows.center + windows.fwhm * parameters[:, 1]
    delta_q = windows.fwhm * parameters[:, 2]
    verdict = _judge(q, windows, q1, delta_q, _r_squared(y, pseudo_voigt(x, parameters)[0]))
    found = verdict == FOUND
    return scene, windows, parameters, Peaks(q1.where(found, math.nan), delta_q.where(found, math.nan), found)


def _judge(
    q: Axis,
    windows: _Windows,
    q1: Float[torch.Tensor, " n"],
    delta_q: Float[torch.Tensor, " n"],
    r_squared: Float[torch.Tensor, " n"],
) -> Int64[torch.Tensor, " n"]:
    """What is wrong with each fit, as an index of `REASONS`; the first objection counts."""
    margin = 0.01 * (windows.high - windows.low)
    objections = {
        POOR_FIT: ~(r_squared >= MIN_R_SQUARED),
        TOO_NARROW: delta_q < 3 * float(np.diff(q).max()),
        TOO_WIDE: delta_q > windows.high - windows.low,
        NOT_CONVERGED: ~((q1 > windows.low + margin) & (q1 < windows.high - margin) & (delta_q > 0)),
    }
    verdict = torch.full_like(windows.verdict, FOUND)
    for objection, holds in objections.items():
        verdict = torch.where(holds, objection, verdict)
    return torch.where(windows.verdict == FOUND, verdict, windows.verdict)


def _check(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> None:
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


def _at(
    grid: Float[torch.Tensor, " q"], values: Float[torch.Tensor, "n q"], x: Float[torch.Tensor, "n p"]
) -> torch.Tensor:
    """Linear interpolation of each row of `values` on `grid` at its own `x`. Shape `(n, p)`."""
    left = (torch.searchsorted(grid, x.contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    share = (x - grid[left]) / (grid[left + 1] - grid[left])
    return torch.lerp(values.gather(1, left), values.gather(1, left + 1), share)


def _bin(q: Axis, scene: _Scene, windows: _Windows) -> tuple[Float[torch.Tensor, "n p"], Float[torch.Tensor, "n p"]]:
    """Centres and mean net intensities of `BINS` equal bins of each window. Shape `(n, BINS)`."""
    cumulative = scene.cumulative
    q_ = torch.as_tensor(q.copy(), dtype=cumulative.dtype, device=cumulative.device)
    shares = torch.linspace(0, 1, BINS + 1, dtype=cumulative.dtype, device=cumulative.device)
    edges = windows.low[:, None] + (windows.high - windows.low)[:, None] * shares  # (n, BINS + 1)
    centers = (edges[:, 1:] + edges[:, :-1]) / 2
    means = _at(q_, cumulative, edges).diff(dim=1) / edges.diff(dim=1)
    return centers, means - _at(scene.grid, scene.background, centers)


def snip_background(spectra: Float[torch.Tensor, "n g"], half_width: int) -> Float[torch.Tensor, "n g"]:
    """Background of each spectrum: peaks narrower than twice `half_width` points are clipped to the chord below them.

    Args:
        spectra: On an equidistant axis. Shape `(n, g)`.
        half_width: Number of points.

    Source: C. G. Ryan et al., Nucl. Instrum. Methods B 34, 396 (1988), with the clipping window decreasing as in
        M. Morháč et al., Nucl. Instrum. Methods A 401, 113 (1997).
    """
    background = spectra.T.clone(memory_format=torch.contiguous_format)  # (g, n): points in one piece
    points = len(background)
    for w in range(min(half_width, (points - 1) // 2), 0, -1):
        chord = (background[: points - 2 * w] + background[2 * w :]) / 2
        background[w : points - w] = torch.minimum(background[w : points - w], chord)
    return background.T


def _look_at(q: Axis, spectra: Float[torch.Tensor, "n q"]) -> _Scene:
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
    return _Scene(cumulative, (edges[4:-3] + edges[3:-4]) / 2, smooth, background)


def _least_fall(q: Axis, spectra: Float[torch.Tensor, "n q"], highest: Float[torch.Tensor, " n"]) -> torch.Tensor:
    """How far the smooth curve has to fall after a maximum for it to be a peak, neither ripple nor noise."""
    # The noise of a point shows in the second difference, to which no peak adds much; smoothing averages it out
    curvature = torch.linalg.vector_norm(spectra.diff(n=2, dim=1), ord=1, dim=1) / (len(q) - 2)
    noise = curvature * math.sqrt(math.pi / 2 / 6)
    points_averaged = 2 * math.sqrt(math.pi) * STEP / float(np.diff(q).mean())
    noise = noise / math.sqrt(max(1.0, points_averaged))
    rounding = 1e-6 * torch.maximum(spectra.amax(1), -spectra.amin(1))
    return torch.maximum(torch.maximum(RELATIVE_FALL * highest, NOISE_FALL * noise), rounding)


def _find_windows(q: Axis, spectra: Float[torch.Tensor, "n q"], scene: _Scene) -> _Windows:
    """The window of each first peak; that of a spectrum without one is of no use."""
    grid, net = scene.grid, scene.smooth - scene.background
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
    verdict = torch.where(at_edge, AT_EDGE, FOUND).where(is_peak.any(1), NO_MAXIMUM)
    height = net.gather(1, peak[:, None])[:, 0].where(verdict == FOUND, 1.0)
    return _Windows(low, high, center, fwhm, height, verdict)


def _flank(
    net: Float[torch.Tensor, "n g"], peak: Int64[torch.Tensor, " n"], rise: Float[torch.Tensor, " n"]
) -> tuple[Float[torch.Tensor, " n"], Float[torch.Tensor, " n"]]:
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


def _r_squared(y: Float[torch.Tensor, "n p"], model: Float[torch.Tensor, "n p"]) -> Float[torch.Tensor, " n"]:
    return 1 - (y - model).square().sum(1) / (y - y.mean(1, keepdim=True)).square().sum(1)
