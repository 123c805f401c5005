"""Fits of a first peak that neither lines on it, nor a shoulder, nor a curved background draw along.

Letters: n spectra, k = 2 windows (core, wide), p bins, g steps of the ruler's grid.

- **Robust.** Points that stand above the fit by more than the noise count less the higher they stand: those of lines in
  both windows, in the core also those of whatever broad is beside the peak. The fit that starts from the broad part
  alone is tried as well, and the better one kept (Geman and McClure, 1985).
- **Core.** A symmetric pseudo-Voigt on the SNIP background, over 1.5 half widths of the narrower side.
- **Wide.** A split pseudo-Voigt over 1.5 half widths of each side. SNIP takes the feet of a peak for background, and
  lies above or below a curved one; so it is made again of what is left when the fitted peak is taken off, twice.
- **Which counts.** The wide fit where it explains its window to about half a per cent of the height: then there is one
  peak, and its foot and its far side tell. Where it doesn't, there is more than one, and only the core tells of the
  first. Between the two the figures pass over smoothly.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from glassmap.agent.peaks.figures import PeakFit
from glassmap.agent.peaks.find import (
    FOUND,
    MIN_R_SQUARED,
    OPENING,
    REACH,
    SNIP_HALF_WIDTH,
    STEP,
    Ruler,
    Smoothed,
    Windows,
    bin_means,
    interpolate,
    opened,
    snip_background,
)
from glassmap.agent.peaks.pseudo_voigt import nearest_start, split_pseudo_voigt, starts_of, step_towards

STEPS = 5  # towards the fit from either start
ROUNDS, STEPS_A_ROUND = 2, 2  # of the background beneath the peak
SHARP_BINS = 13  # of a window; what is narrower stands out sharply
COARSE = 4  # steps of the grid that are one for it
OVERSTEP = 1.3  # its changes are as much larger, as they would go on for ever smaller ones
LEAST_NOISE = 0.0105  # of the height; a line is what stands higher than this and the noise
BESIDE = 0.05  # of the height, in the core: what stands higher is another peak
MISFIT, SHARPNESS = 0.005, 4  # of the height: where the wide fit counts half, and how fast it ceases to
LINE, HALO = 0.15, 0.25  # Å⁻¹; a peak this narrow is a line itself, one this wide none
LEAST_LINE, NOISE_OF_LINES = 0.03, 5.0  # of the height, and in standard deviations of the noise
LINES_BESIDE = 0.3  # Å⁻¹ to either side of a line, in which it and what is broad are compared


class Fitted(NamedTuple):
    """A profile in each of two windows of each spectrum, both running from 0 to 1, in units of the peak's height."""

    parameters: Float[Tensor, "n k 5"]  # as of `split_pseudo_voigt`
    y: Float[Tensor, "n k p"]  # what was fitted, without its background
    weights: Float[Tensor, "n k p"]
    noise: Float[Tensor, "n k"]  # standard deviation of a bin
    background: Float[Tensor, "n m"]  # beneath the wide one, of COARSE steps of the grid
    first: Float[Tensor, "n 5"]  # the wide one on the SNIP background


class Read(NamedTuple):
    """What is read of each first peak."""

    fit: PeakFit[Float[Tensor, " n"]]
    trust: Float[Tensor, " n"]  # how much the wide fit counts, 0 to 1
    unexplained: Float[Tensor, " n"]  # share of the weighted variance that is left in the window
    place: Float[Tensor, " n"]  # of the centre, as a share of the core
    ends: Float[Tensor, "n 2"]  # of the window, 1/Å
    background: Float[Tensor, "n g"]


def fit_windows(ruler: Ruler, smoothed: Smoothed, windows: Windows) -> Fitted:
    """Fit both windows of every spectrum, by the same number of passes for any."""
    n, p = len(windows.height), len(ruler.centers)
    starts = starts_of(p, windows.height.device)
    centers = torch.lerp(windows.ends[..., :1], windows.ends[..., 1:], ruler.centers)
    raw = bin_means(ruler, smoothed, windows.ends)
    height = windows.height[:, :, None]
    y = (raw - interpolate(smoothed.background, centers)) / height
    broad = interpolate(windows.broad, centers) / height
    points = (windows.ends.diff(dim=2)[..., 0] * (STEP / p / ruler.mean_step)).clamp(min=1)
    noise = windows.noise / windows.height / points.sqrt()

    # From what stands there and from what is broad of it: fits beside each other
    both = torch.stack([y, broad], 2).flatten(0, 2)
    twice, is_tied = y[:, :, None].expand(-1, -1, 2, -1).flatten(0, 2), torch.tensor([1.0, 0.0], device=y.device)
    tied = is_tied[None, :, None].expand(n, 2, 2).flatten()
    limit = noise[:, :, None].expand(-1, -1, 2).flatten()[:, None]
    parameters = nearest_start(starts, both)
    narrower = parameters[:, 2:4].amin(1, keepdim=True)
    parameters = torch.cat(
        [parameters[:, :2], torch.lerp(parameters[:, 2:4], narrower, tied[:, None]), parameters[:, 4:]], 1
    )
    for _ in range(STEPS):
        parameters = step_towards(twice, lambda left: _weights(left, limit, tied), starts, parameters, is_tied=tied)
    left = twice - split_pseudo_voigt(starts.x, parameters)
    weights = _weights(left, limit, tied)
    cost = (weights * left.square() + _scale(limit).square() * (1 - weights.sqrt()).square()).sum(1).view(n, 2, 2)
    best = cost.argmin(2)[:, :, None, None]
    parameters = parameters.view(n, 2, 2, 5).take_along_dim(best, 2)[:, :, 0]
    weights = weights.view(n, 2, 2, p).take_along_dim(best, 2)[:, :, 0]

    wide, of_wide, free = parameters[:, 1], y[:, 1], torch.zeros(n, device=y.device)
    begin, length = windows.ends[:, 1, :1], windows.ends[:, 1].diff(dim=1)
    steps = torch.arange(len(ruler.grid), device=y.device)
    bins = ((centers[:, 1:] - (COARSE - 1) / 2) / COARSE).clamp(0, len(ruler.grid) // COARSE - 1.001)
    snip = background = _coarse(smoothed.background)
    lift = windows.noise * math.sqrt(min(1.0, ruler.mean_step / STEP / COARSE))  # SNIP lies under the noise
    for _ in range(ROUNDS):
        peak = _smooth(split_pseudo_voigt((steps - begin) / length, wide) * windows.height)
        beneath = snip_background(_coarse(smoothed.smooth - peak), round(SNIP_HALF_WIDTH / STEP / COARSE))
        background = torch.lerp(snip, beneath + lift, OVERSTEP)
        of_wide = (raw[:, 1] - interpolate(background, bins)[:, 0]) / windows.height
        for _ in range(STEPS_A_ROUND):
            wide = step_towards(of_wide, lambda left: _weights(left, noise[:, 1:], free), starts, wide, is_tied=free)
    of_wide_weights = _weights(of_wide - split_pseudo_voigt(starts.x, wide), noise[:, 1:], free)
    return Fitted(
        torch.stack([parameters[:, 0], wide], 1),
        torch.stack([y[:, 0], of_wide], 1),
        torch.stack([weights[:, 0], of_wide_weights], 1),
        noise,
        background,
        parameters[:, 1],
    )


def read_fits(ruler: Ruler, smoothed: Smoothed, windows: Windows, fitted: Fitted) -> Read:
    """Return what is read of each first peak: of the wide fit as far as it is trusted, else of the core."""
    n, x = len(windows.height), ruler.centers
    profiles = split_pseudo_voigt(x, fitted.parameters.flatten(0, 1)).view_as(fitted.y)
    squares = fitted.weights * (fitted.y - profiles).square()
    whole = (fitted.y - fitted.y.mean(2, keepdim=True)).square().sum(2)
    misfit = (squares[:, 1].mean(1) - fitted.noise[:, 1].square()).clamp(min=0).sqrt() / fitted.parameters[:, 1, 0]
    trust = 1 / (1 + (misfit / MISFIT) ** SHARPNESS)

    def blend(values: Float[Tensor, "n k"]) -> Float[Tensor, " n"]:
        return torch.lerp(values[:, 0], values[:, 1], trust)

    length = windows.ends.diff(dim=2)[..., 0]  # steps of the grid
    height, center, left, right, share = fitted.parameters.unbind(2)
    places = windows.ends[..., 0] + center * length
    sides = torch.stack([left * length, right * length], 2) * STEP
    widths = sides.sum(2)
    low, high = (blend(windows.ends[..., side]) for side in (0, 1))
    background = torch.lerp(smoothed.background, _fine(fitted.background, len(ruler.grid)), trust[:, None])
    fit = PeakFit(
        center=ruler.grid[0] + STEP * blend(places).double(),
        fwhm=blend(widths),
        height=windows.height[:, 0] * blend(height),
        lorentzian_share=blend(share),
        left_half_width=blend(sides[..., 0]),
        right_half_width=blend(sides[..., 1]),
        crystalline_share=torch.zeros(n, device=x.device),
    )
    return Read(
        replace(fit, crystalline_share=_crystalline_share(ruler, smoothed, windows, fit, background)),
        trust,
        blend(squares.sum(2) / whole),
        center[:, 0],
        ruler.grid[0] + STEP * torch.stack([low, high], 1).double(),
        background,
    )


def judge_fits(ruler: Ruler, windows: Windows, read: Read) -> Int64[Tensor, " n"]:
    """Return what is wrong with each fit, as an index of `find.REASONS`; the first objection counts."""
    width = read.fit.fwhm / (read.ends[:, 1] - read.ends[:, 0])
    objections = [
        read.place != read.place.clamp(0.01, 0.99),  # nor is NaN
        width > 1,
        read.fit.fwhm < 3 * ruler.longest_step,
        read.unexplained > 1 - MIN_R_SQUARED,
    ]
    objections.append(torch.ones_like(objections[0]))
    code = ruler.objections[torch.stack(objections, dim=1).max(1).indices]
    return code.where(windows.reason_code == FOUND, windows.reason_code)


def curve_at(ruler: Ruler, read: Read, q: Float[Tensor, " p"]) -> Float[Tensor, "n p"]:
    """Return the fitted curves with their backgrounds at some q."""
    fit = read.fit
    parts = (fit.height, fit.center, fit.left_half_width, fit.right_half_width, fit.lorentzian_share)
    places = ((q - ruler.grid[0]) / STEP).float().clamp(0, len(ruler.grid) - 1.001)
    under = interpolate(read.background, places.expand(len(read.background), 1, -1))[:, 0]
    return under + split_pseudo_voigt(q, torch.stack(parts, 1))


def _crystalline_share(
    ruler: Ruler,
    smoothed: Smoothed,
    windows: Windows,
    fit: PeakFit[Float[Tensor, " n"]],
    background: Float[Tensor, "n g"],
) -> Float[Tensor, " n"]:
    """Return what share of a first peak's area sharp lines hold, within 1.5 half widths to either side of its centre.

    A halo's lines are what stands above it sharply. A line is one itself, and then it is what is broad beneath that
    isn't; from one to the other the share passes over smoothly.
    """
    grid = ruler.grid.float()
    parts = (fit.height, fit.center.float(), fit.left_half_width, fit.right_half_width, fit.lorentzian_share)
    peak = _smooth(split_pseudo_voigt(grid, torch.stack(parts, 1)))
    net = smoothed.smooth - background
    rest = net - peak
    broad = opened(rest, OPENING)
    sharp = rest - broad
    points_averaged = 2 * math.sqrt(math.pi) * STEP / ruler.mean_step
    noise = windows.noise / math.sqrt(max(1.0, points_averaged))
    least = torch.maximum(NOISE_OF_LINES * noise, LEAST_LINE * fit.height[:, None])
    sharp = sharp * (sharp > least)
    away = grid - fit.center.float()[:, None]
    within = (away >= -REACH * fit.left_half_width[:, None]) & (away <= REACH * fit.right_half_width[:, None])
    of_halo = (sharp * within).sum(1) / (net.clamp(min=0) * within).sum(1).clamp(min=1e-9)
    beside = away.abs() <= LINES_BESIDE
    line = (peak * beside).sum(1)
    of_line = line / (line + (broad.clamp(min=0) * beside).sum(1)).clamp(min=1e-9)
    is_line = ((HALO - fit.fwhm) / (HALO - LINE)).clamp(0, 1)
    return torch.lerp(of_halo, of_line, is_line).clamp(0, 1)


def _weights(
    left: Float[Tensor, "n p"], noise: Float[Tensor, "n 1"], is_core: Float[Tensor, " n"]
) -> Float[Tensor, "n p"]:
    """Return what each point counts: less the more sharply it stands above the fit, in the core also the higher."""
    above = left - 2 * noise
    sharp = (above - opened(left, SHARP_BINS)).clamp(min=0) / _scale(noise)
    beside = is_core[:, None] * above.clamp(min=0) / (BESIDE + noise)
    return 1 / (1 + sharp.square() + beside.square()).square()


def _scale(noise: Float[Tensor, "n 1"]) -> Float[Tensor, "n 1"]:
    """Return what stands out sharply, by the noise."""
    return 3 * noise.clamp(min=LEAST_NOISE)


def _smooth(curves: Float[Tensor, "n g"]) -> Float[Tensor, "n g"]:
    """Smooth as spectra are smoothed."""
    kernel = torch.exp(-0.5 * torch.arange(-3.0, 4, device=curves.device) ** 2)
    padded = torch.nn.functional.pad(curves[:, None], (3, 3), mode="replicate")[:, 0]
    return padded.unfold(1, 7, 1) @ (kernel / kernel.sum())  # a GPU would take a convolution's factors by TF32


def _coarse(curves: Float[Tensor, "n g"]) -> Float[Tensor, "n m"]:
    """Average over COARSE steps of the grid."""
    whole = curves.shape[1] // COARSE
    return curves[:, : whole * COARSE].view(len(curves), whole, COARSE).mean(2)


def _fine(curves: Float[Tensor, "n m"], steps: int) -> Float[Tensor, "n g"]:
    """Interpolate back."""
    places = (torch.arange(steps, device=curves.device) - (COARSE - 1) / 2) / COARSE
    places = places.clamp(0, curves.shape[1] - 1.001).float()
    return interpolate(curves, places.expand(len(curves), 1, -1))[:, 0]
