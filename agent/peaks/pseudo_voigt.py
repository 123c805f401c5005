"""The pseudo-Voigt profile of a diffraction peak, and its least-squares fit to a whole batch at once."""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

STEPS = 3  # of Gauss and Newton
CENTERS, WIDTHS, SHARES = 13, 8, (1 / 6, 1 / 2, 5 / 6)  # how many profiles a fit may start from
NARROWEST, WIDEST = 0.075, 1.3  # windows, of their FWHM
_LN2 = math.log(2)


class Fits(NamedTuple):
    """The least-squares profile of each row, its window running from 0 to 1."""

    height: Float[Tensor, " n"]
    center: Float[Tensor, " n"]
    fwhm: Float[Tensor, " n"]
    share: Float[Tensor, " n"]  # η, 0 to 1
    unexplained: Float[Tensor, " n"]  # share of the variance that the profile leaves


class _Starts(NamedTuple):
    """Profiles to start from, and what the steps of all fits share, on one device."""

    x: Float[Tensor, " p"]
    minus_x: Float[Tensor, " p"]
    profiles: Float[Tensor, "p k"]  # of norm 1; a third Gaussian, a third Lorentzian, a third between
    parameters: Float[Tensor, "k 4"]  # of each, as `_step` takes them
    first: Int64[Tensor, " 3"]  # number of the first of each third
    has: Float[Tensor, "5 5 1 3"]  # what of the normal equations each third has
    rest: Float[Tensor, "5 5 1 3"]  # and what stands where it has nothing
    units: Float[Tensor, "4 5 1 1 1"]
    scales: Float[Tensor, " 4"]  # of a step
    fwhm: Float[Tensor, ""]  # of the profile, in u
    lowest: Float[Tensor, " 4"]  # of the parameters
    highest: Float[Tensor, " 4"]


def pseudo_voigt(x: Float[Tensor, " p"], parameters: Float[Tensor, "n 4"]) -> Float[Tensor, "n p"]:
    """The profile h (η L + (1 - η) G), of a Lorentzian and a Gaussian of one width.

    Args:
        x: Abscissae. Shape `(p,)`.
        parameters: Height h, centre, FWHM and Lorentzian share η of each of n peaks. Shape `(n, 4)`.
    """
    height, center, fwhm, share = parameters[:, :, None].unbind(1)
    w = (2 * (x - center) / fwhm).square()
    return height * (share / (1 + w) + (1 - share) * torch.exp2(-w))


def fit_pseudo_voigts(y: Float[Tensor, "n p"]) -> Fits:
    """Least squares of the profile to the rows of a batch, each for itself, at p places evenly spread over its window.

    As a sum of a Gaussian a and a Lorentzian b of one width, the heights a and b enter linearly, and neither may be
    negative. So three fits are made: of the Gaussian alone, of the Lorentzian alone, and of both, which counts where
    neither height came out negative; else the better of the others does, and one whose equations fail never does. Each
    starts from the nearest of some hundred profiles and takes `STEPS` steps, after which Δq is within 0.002 of where
    it would end, so that the time doesn't depend on the rows.

    Source: Gauss-Newton as in J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed. (Springer, 2006), ch. 10.
    """
    starts = _starts(y.shape[1], y.device)
    product, nearest = (y @ starts.profiles).view(len(y), 3, starts.profiles.shape[1] // 3).max(2)
    parameters = starts.parameters[nearest + starts.first]
    parameters[:, :, :2] *= product[:, :, None]
    left = product  # of no use before the first step
    for _ in range(STEPS):
        parameters, left = _step(y[:, None], parameters, starts)
    failed = (parameters[:, :, :2].amin(2) < 0) | left.isnan()
    best = left.masked_fill(failed, math.inf).argmin(1)[:, None, None]
    a, b, v, r, left = torch.cat([parameters, left[:, :, None]], 2).take_along_dim(best, 1)[:, 0].unbind(1)
    height = torch.add(a, b, alpha=1 / _LN2)
    whole = (y - y.mean(1, keepdim=True)).square().sum(1)
    return Fits(height, v / r, starts.fwhm / r, 1 - a / height, left / whole)


def _step(
    y: Float[Tensor, "n 1 p"], parameters: Float[Tensor, "n 3 4"], starts: _Starts
) -> tuple[Float[Tensor, "n 3 4"], Float[Tensor, "n 3"]]:
    """Return the parameters a Gauss-Newton step on, and the sum of squares that is left by the linear model there.

    The profile is a exp(-u²) + b / (u² + ln 2) with u = r x - v. The normal equations hold the products of its
    derivatives with each other and with what it leaves of y, and the square of that; they are positive definite, so
    Gauss-Jordan elimination needs no pivoting. What is eliminated of the square is what the step explains.
    """
    a, b, v, r = parameters[:, :, :, None].unbind(2)
    u = starts.x * r - v
    w = u * u
    gaussian, lorentzian = torch.exp(-w), (w + _LN2).reciprocal()
    a_part, b_part = a * gaussian, b * lorentzian
    slope = u * torch.addcmul(a_part, b_part, lorentzian)  # half the derivative by v
    rows = torch.stack([gaussian, lorentzian, slope, slope * starts.minus_x, y - a_part - b_part], 2)
    products = (rows @ rows.mT).permute(2, 3, 0, 1)
    shape = products.shape
    equations = torch.addcmul(starts.rest, products, starts.has, out=torch.empty(shape, device=y.device))
    for i, unit in enumerate(starts.units):
        row = equations[i : i + 1] / equations[i : i + 1, i : i + 1]
        equations = torch.addcmul(equations, equations[:, i : i + 1] - unit, row, value=-1)
    step = equations[:4, 4].permute(1, 2, 0)
    return torch.addcmul(parameters, step, starts.scales).clamp(starts.lowest, starts.highest), equations[4, 4]


@lru_cache(maxsize=4)
def _starts(places: int, device: torch.device) -> _Starts:
    x = (torch.arange(places) + 0.5) / places
    centers, between = torch.linspace(0.1, 0.9, CENTERS), torch.tensor(SHARES)

    def grid(widths: int, shares: Float[Tensor, " s"]) -> Float[Tensor, "k 3"]:
        of_widths = torch.exp(torch.linspace(math.log(NARROWEST), math.log(WIDEST), widths))
        return torch.cartesian_prod(centers, of_widths, shares)

    alone = len(SHARES) * WIDTHS
    thirds = torch.cat([grid(alone, torch.zeros(1)), grid(alone, torch.ones(1)), grid(WIDTHS, between)])
    profiles = pseudo_voigt(x, torch.cat([torch.ones(len(thirds), 1), thirds], 1))
    norms = profiles.square().sum(1).sqrt()
    center, fwhm, share = thirds.unbind(1)
    scale = 2 * math.sqrt(_LN2) / fwhm
    has = torch.ones(3, 5, 5)
    for third, lacks in ((0, 1), (1, 0)):
        has[third, lacks] = has[third, :, lacks] = 0
    starts = _Starts(
        x=x,
        minus_x=-x,
        profiles=(profiles / norms[:, None]).T.contiguous(),
        parameters=torch.stack([(1 - share) / norms, _LN2 * share / norms, center * scale, scale], 1),
        first=torch.arange(3) * (len(thirds) // 3),
        has=has.permute(1, 2, 0)[:, :, None],
        rest=torch.diag_embed(1 - has.diagonal(dim1=1, dim2=2)).permute(1, 2, 0)[:, :, None],
        units=torch.eye(5)[:4, :, None, None, None],
        scales=torch.tensor([1, 1, 0.5, 0.5]),
        lowest=torch.tensor([-math.inf, -math.inf, -50.0, 0.5]),
        highest=torch.tensor([math.inf, math.inf, 50.0, 50.0]),
        fwhm=torch.tensor(2 * math.sqrt(_LN2)),
    )
    return _Starts(*(value.to(device) for value in starts))
