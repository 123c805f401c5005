"""Where the first peak of a spectrum is: its background, what of it is broad, its windows, and when a fit is trusted.

Both fits, `reference.fit_peak` and `batched.measure_peaks`, share this and what `robust_fit` makes of it:

1. Background: SNIP with a half-width of 1 1/Å, on the spectrum averaged to steps of 0.02 1/Å.
2. Broad part: the morphological opening over 0.26 1/Å of what stands above the background, in which lines are missing.
3. First peak: the first maximum at least 0.45 times as high as the highest below 4 1/Å; of the broad part where that
   is a third as high or more and much wider, so that lines on a halo don't stand for it.
4. Two windows about it, each up to the valley before the next peak: 1.5 half widths of its narrower side to either
   side (core), and 1.5 half widths of each side (wide).

Adding a constant or a slope to a spectrum, or scaling it, changes neither q1 nor Δq.

Every step is a pass over all spectra at once: no spectrum leaves a batch, and nothing is asked of the device before the
end, so that a GPU never waits and the number of passes doesn't depend on the spectra. What all spectra on an axis share
is a `Ruler`. Sums over the axis are taken in double precision, all else in single: that is 1e-7 of a spectrum.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glassmap.agent.errors import SpectrumError
from glassmap.agent.shapes import Axis

STEP = 0.02  # 1/Å, of the grid on which peaks are looked for; also the standard deviation of the smoothing
LEAST_POINTS = 10  # of an axis
MARGIN = 0.05  # 1/Å left out at either end of the axis, where detectors cut intensity off
SNIP_HALF_WIDTH = 1.0  # 1/Å; Δq of the widest halos is 0.9, and 0.8 to 1.5 give the same widths within 1 %
HIGHEST_Q1 = 4.0  # 1/Å; by Ehrenfest's q1 d = 7.7, metal atoms would be 1.9 Å apart, closer than in any metal
RELATIVE_HEIGHT = 0.45  # of the highest peak; lower ones before it are bumps
RELATIVE_FALL = 0.05  # of the highest peak; a smaller rise or fall is a ripple
NOISE_FALL = 6.0  # standard deviations of the noise; a smaller rise or fall is noise
ROUNDING = 1e-5  # of the largest value; a smaller rise or fall is rounding
FLANK = 2 * SNIP_HALF_WIDTH  # 1/Å; above its background no peak is longer to one side
EVEN = 1e-3  # of a step; points of an axis are that near to even steps, or aren't taken for even
REACH = 1.5  # of a window, in half widths
MOST_UNEVEN = 2.5  # a side's half width, in those of the other, that a window follows
BINS = 64  # of a window, which both doors fit
OPENING = 13  # steps; what is narrower is a line, or several, and no halo
HALO_HEIGHT = 0.3  # of a broad part, in that of the whole peak, from which on it may be the first peak …
HALO_WIDTH = 0.7  # … where the window of the whole peak is less than this share of its, …
HALO_SIDE = 0.6  # … or its narrower half width less than this share
MIN_R_SQUARED = 0.8
PARTS = 6  # of the smooth curve on a CPU, each made of a part of the axis; a GPU does with one product of nearly zeros

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


class Ruler(NamedTuple):
    """What all spectra on one axis share, on the device where they are."""

    q: Float[Tensor, " q"]  # 1/Å, double precision
    mean_step: float  # 1/Å
    longest_step: float
    is_even: bool  # whether its steps are of one length
    half_steps: Float[Tensor, " q-1"]  # in steps of STEP
    smoothing: list[tuple[slice, Float[Tensor, "p c"]]]  # points of the axis, and what makes a part of the smooth curve
    grid: Float[Tensor, " g"]  # 1/Å, in steps of STEP, double precision
    start: Float[Tensor, ""]  # the first of them, in points of the axis
    below: int  # how many of them are below HIGHEST_Q1
    room: Float[Tensor, " g"]  # half as many steps as from each to the nearer end
    flanks: Int64[Tensor, "2 f"]  # steps from a peak to the left and to the right, the last beyond every end
    edges: Float[Tensor, " p+1"]  # of the bins, as shares of a window, double precision
    centers: Float[Tensor, " p"]
    sides: Float[Tensor, " 2"]  # -1, 1
    pair: Int64[Tensor, " 2"]  # -1, 0
    objections: Int64[Tensor, " 5"]  # of `judge_fits`, as an index of REASONS

    def place(self, steps: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        """Return at which point of the axis, and what share of the way to the next, some places of the grid are."""
        if self.is_even:
            return self.start.add(steps, alpha=STEP / self.mean_step)
        q = self.grid[0].add(steps, alpha=STEP)
        left = torch.searchsorted(self.q[1:-1], q, right=True)
        return left + (q - self.q[left]) / (self.q[left + 1] - self.q[left])


class Smoothed(NamedTuple):
    """Spectra as peaks are looked for in them."""

    cumulative: Float[Tensor, "n q"]  # integral from the start of the axis over steps of STEP, trapezoidal rule
    grid: Float[Tensor, " g"]  # 1/Å, in steps of STEP
    smooth: Float[Tensor, "n g"]
    background: Float[Tensor, "n g"]


class Windows(NamedTuple):
    """Where each spectrum is fitted, and from what."""

    ends: Float[Tensor, "n 2 2"]  # steps of the grid; of the core and of the wide window
    height: Float[Tensor, "n 1"]  # of the maximum above the background
    reason_code: Int64[Tensor, " n"]  # FOUND, NO_MAXIMUM or AT_EDGE
    noise: Float[Tensor, "n 1"]  # standard deviation of a point of the spectrum
    broad: Float[Tensor, "n g"]  # what of the net curve is broad


def check_spectra(q: Axis, spectra: Float[Tensor, "n q"]) -> None:
    """Refuse, with a `SpectrumError`, values that aren't finite and an axis on which no first peak can be told."""
    if not (np.isfinite(q).all() and bool(torch.isfinite(spectra).all())):
        raise SpectrumError("A spectrum must be finite, got NaN or inf. Mask the bad detector points and interpolate.")
    if not (np.diff(q) > 0).all():
        raise SpectrumError(f"q must increase strictly, got {q[0]:g} to {q[-1]:g} 1/Å. Sort it and average duplicates.")
    if len(q) < LEAST_POINTS:
        raise SpectrumError(
            f"A first peak needs an axis of {LEAST_POINTS} points or more, got {len(q)}. Measure finer."
        )
    if q[-1] - q[0] < SNIP_HALF_WIDTH or q[0] > HIGHEST_Q1 - SNIP_HALF_WIDTH:
        raise SpectrumError(
            f"q must span at least {SNIP_HALF_WIDTH:g} 1/Å, {SNIP_HALF_WIDTH:g} of it below {HIGHEST_Q1:g} 1/Å, "
            f"to tell the first peak from its background, got {q[0]:g} to {q[-1]:g}. Measure a wider range; "
            "if the axis is 2θ, use `q_from_two_theta`."
        )


def ruler_of(q: Axis, device: torch.device) -> Ruler:
    """Return the ruler of an axis; made once."""
    return _ruler(np.asarray(q, dtype=np.float64).tobytes(), device)


@lru_cache(maxsize=8)
def _ruler(axis: bytes, device: torch.device) -> Ruler:
    q = torch.frombuffer(bytearray(axis), dtype=torch.float64)
    steps = int((q[-1] - q[0] - 2 * MARGIN) / STEP)
    edges = q[0] + MARGIN + STEP * torch.arange(steps + 1, dtype=torch.float64)
    grid = (edges[4:-3] + edges[3:-4]) / 2
    points = torch.arange(len(grid))
    kernel = torch.exp(-0.5 * torch.arange(-3.0, 4) ** 2).double()
    taps = torch.arange(steps)[:, None] - points
    smoothing = torch.where((taps >= 0) & (taps < 7), (kernel / kernel.sum())[taps.clamp(0, 6)], 0)
    # A step holds of every stretch between two points of the axis the share that lies within, and its mean intensity
    within = torch.minimum(q[1:, None], edges[1:]) - torch.maximum(q[:-1, None], edges[:-1])
    stretches = within.clamp(min=0) @ smoothing / STEP / 2
    nothing = torch.zeros(1, len(grid))
    weights = torch.cat([stretches, nothing]) + torch.cat([nothing, stretches])
    reach = torch.arange(round(FLANK / STEP) + 2)
    reach[-1] = len(grid)
    centers = ((torch.arange(BINS) + 0.5) / BINS).double()
    even = torch.linspace(float(q[0]), float(q[-1]), len(q), dtype=torch.float64)
    ruler = Ruler(
        q=q,
        mean_step=float(even.diff()[0]),
        longest_step=float(q.diff().max()),
        is_even=bool((q - even).abs().max() < EVEN * even.diff()[0]),
        half_steps=(q.diff() / 2 / STEP).float(),
        smoothing=[(points, part.to(device)) for points, part in _in_parts(weights.float(), device)],
        grid=grid,
        start=(grid[0] - q[0]) / even.diff()[0],
        below=int((grid <= HIGHEST_Q1).sum()),
        room=torch.minimum(points, len(grid) - 1 - points) / 2,
        flanks=torch.stack([1 - reach, 1 + reach]),
        edges=torch.linspace(0, 1, BINS + 1, dtype=torch.float64),
        centers=centers.float(),
        sides=torch.tensor([-1.0, 1.0]),
        pair=torch.tensor([-1, 0]),
        objections=torch.tensor([NOT_CONVERGED, TOO_WIDE, TOO_NARROW, POOR_FIT, FOUND]),
    )
    moved = [value.to(device) if isinstance(value, Tensor) else value for value in ruler]
    return Ruler(*cast("list[Any]", moved))


def _in_parts(weights: Float[Tensor, "q g"], device: torch.device) -> list[tuple[slice, Float[Tensor, "p c"]]]:
    """Return a matrix in parts of its columns, each with the rows that aren't zero."""
    found: list[tuple[slice, Float[Tensor, "p c"]]] = []
    for part in weights.tensor_split(PARTS if device.type == "cpu" else 1, dim=1):
        rows = np.flatnonzero(part.numpy().any(axis=1))
        points = slice(int(rows[0]), int(rows[-1]) + 1)
        found.append((points, part[points].contiguous()))
    return found


def smooth_spectra(ruler: Ruler, spectra: Float[Tensor, "n q"]) -> Smoothed:
    """Average to steps of STEP, smooth with a Gaussian of the same standard deviation, find the background."""
    areas = (spectra[:, 1:] + spectra[:, :-1]) * ruler.half_steps
    cumulative = torch.nn.functional.pad(areas, (1, 0)).cumsum(1, dtype=torch.float64)
    parts = [weights.T @ spectra[:, points].T for points, weights in ruler.smoothing]
    smooth = torch.cat(parts).T  # points in one piece, as SNIP likes them
    background = snip_background(smooth, round(SNIP_HALF_WIDTH / STEP))
    return Smoothed(cumulative, ruler.grid, smooth, background)


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
        chord = torch.lerp(background[: points - 2 * w], background[2 * w :], 0.5, out=chords[: points - 2 * w])
        torch.minimum(clipped, chord, out=clipped)
    return background.T


def find_windows(ruler: Ruler, spectra: Float[Tensor, "n q"], smoothed: Smoothed) -> Windows:
    """The windows of each first peak; those of a spectrum without one are of no use."""
    net = (smoothed.smooth - smoothed.background).contiguous()
    noise = _noise(ruler, spectra)
    broad = opened(net, OPENING)
    padded = torch.nn.functional.pad(broad[:, None], (OPENING // 2, OPENING // 2), mode="replicate")
    levelled = torch.nn.functional.avg_pool1d(padded, OPENING, 1)[:, 0]
    n, both = len(net), torch.cat([net, levelled])
    highest = both[:, : ruler.below].amax(1, keepdim=True)
    points_averaged = 2 * math.sqrt(math.pi) * STEP / ruler.mean_step
    least = NOISE_FALL * noise / math.sqrt(max(1.0, points_averaged))
    least = least.add(spectra.abs().amax(1, keepdim=True), alpha=ROUNDING)
    fall = torch.maximum(RELATIVE_FALL * highest, torch.maximum(RELATIVE_FALL * highest[:n], least).repeat(2, 1))
    record, place = both.cummax(1)
    is_peak = (record >= RELATIVE_HEIGHT * highest) & (record - both > fall)
    falls, where = is_peak.max(1, keepdim=True)  # the first place where one has fallen enough
    peak = place.gather(1, where)
    height, half, valley = _flanks(both, peak, fall, ruler)
    is_there = falls & (peak < ruler.below)

    # Opening and levelling widen a halo by about half their length to either side
    own = torch.maximum(half[n:].square() - (OPENING / 2) ** 2, (half[n:].clamp(min=1) / 2).square()).sqrt()
    half = torch.cat([half[:n], own])
    narrower = half.amin(1, keepdim=True)
    core = torch.minimum(REACH * narrower, valley)
    length = core.sum(1, keepdim=True)
    is_narrow = (length[:n] < HALO_WIDTH * length[n:]) | (narrower[:n] < HALO_SIDE * narrower[n:]) | ~is_there[:n]
    is_halo = (height[n:] >= HALO_HEIGHT * height[:n]) & is_there[n:] & is_narrow

    def pick(values: Tensor) -> Tensor:
        return torch.where(is_halo, values[n:], values[:n])

    peak, height, half, valley, narrower, core = map(pick, (peak, height, half, valley, narrower, core))
    wide = torch.minimum(REACH * torch.minimum(half, MOST_UNEVEN * narrower), valley)
    ends = torch.addcmul(peak[:, :, None], torch.stack([core, wide], dim=1), ruler.sides)
    at_edge = (ruler.room[peak] < narrower) * AT_EDGE
    reason_code = at_edge.where(pick(is_there), NO_MAXIMUM)
    return Windows(ends.clamp(0, len(ruler.grid) - 1.001), height, reason_code[:, 0], noise, broad)


def opened(curves: Float[Tensor, "n g"], length: int) -> Float[Tensor, "n g"]:
    """Return the morphological opening of each curve: what is narrower than so many points, an odd number, is gone.

    Source: J. Serra, Image Analysis and Mathematical Morphology (Academic Press, 1982).
    """
    reach = length - 1
    lowest = _running(torch.nn.functional.pad(curves, (reach, reach), value=math.inf), length, torch.minimum)
    return _running(lowest, length, torch.maximum)


def _running(
    curves: Float[Tensor, "n h"], length: int, pick: Callable[[Tensor, Tensor], Tensor]
) -> Float[Tensor, "n k"]:
    """Return the least or largest of every so many points in a row, in a pass for each doubling."""
    have = 1
    while have < length:
        shift = min(have, length - have)
        curves = pick(curves[:, :-shift], curves[:, shift:])
        have += shift
    return curves


def _noise(ruler: Ruler, spectra: Float[Tensor, "n q"]) -> Float[Tensor, "n 1"]:
    """Standard deviation of a point: it shows in the second difference, to which no peak adds much."""
    norm = cast(Any, torch.linalg).vector_norm
    curvature = cast(Tensor, norm(spectra.diff(n=2, dim=1), ord=1, dim=1, keepdim=True))
    return math.sqrt(math.pi / 2 / 6) / (len(ruler.q) - 2) * curvature


def _flanks(
    net: Float[Tensor, "n g"], peak: Int64[Tensor, "n 1"], rise: Float[Tensor, "n 1"], ruler: Ruler
) -> tuple[Float[Tensor, "n 1"], Float[Tensor, "n 2"], Int64[Tensor, "n 2"]]:
    """Height of each peak, and steps to half of it and to the valley before the curve rises again, left and right."""
    walled = torch.nn.functional.pad(net, (1, 1), value=math.inf)  # beyond an end it rises
    index = (peak[:, :, None] + ruler.flanks).clamp(0, walled.shape[1] - 1)
    flank = walled.gather(1, index.flatten(1)).view(index.shape)  # (n, 2, f), each from its peak
    lowest, place = flank.cummin(2)
    turn = (flank - lowest >= rise[:, :, None]).max(2, keepdim=True).indices
    valley = place.gather(2, turn)[:, :, 0]

    top = flank[:, :1, :1]
    half = top / 2
    after = (lowest > half).sum(2, keepdim=True).clamp(1, flank.shape[2] - 1)
    ends = lowest.gather(2, after + ruler.pair)
    back = ((half - ends[..., 1:]) / (ends[..., :1] - ends[..., 1:])).nan_to_num(nan=0.0, neginf=0.0)
    return top[:, 0], (after - back)[:, :, 0], valley


def bin_means(ruler: Ruler, smoothed: Smoothed, ends: Float[Tensor, "n k 2"]) -> Float[Tensor, "n k p"]:
    """Mean intensities, background included, of `BINS` equal bins of k windows of each spectrum."""
    places = ends.double()
    edges = torch.lerp(places[..., :1], places[..., 1:], ruler.edges)  # (n, k, p + 1)
    integral = interpolate(smoothed.cumulative, ruler.place(edges))
    return (integral.diff(dim=2) / (edges[..., 1:2] - edges[..., :1])).float()


def interpolate(values: Float[Tensor, "n q"], places: Float[Tensor, "n k p"]) -> Float[Tensor, "n k p"]:
    """Return each row's values between two of its points, linearly."""
    left = places.long()
    here, there = (values.gather(1, index.flatten(1)).view_as(places) for index in (left, left + 1))
    return torch.lerp(here, there, places - left)
