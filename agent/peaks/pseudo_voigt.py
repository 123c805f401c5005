"""The split pseudo-Voigt profile of a diffraction peak, and weighted least squares of it, a step for a whole batch."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

USUAL_SHARE, TRUST_IN_IT = 0.3, 1e-4  # Lorentzian share that is believed where the data don't tell, and how firmly
DAMPING = 1e-3  # of the normal equations
LONGEST_STEP = 0.5  # of a height or a half width, in its logarithm
LOWEST = 1e-3  # profile to start from
_LN2 = math.log(2)


class Starts(NamedTuple):
    """Profiles to start from, on one device; their windows run from 0 to 1."""

    x: Float[Tensor, " p"]
    profiles: Float[Tensor, "p k"]  # of norm 1
    parameters: Float[Tensor, "k 5"]  # of each, of norm 1


def split_pseudo_voigt(x: Float[Tensor, "*n p"], parameters: Float[Tensor, "n 5"]) -> Float[Tensor, "n p"]:
    """The profile h (η L + (1 - η) G), of a Lorentzian and a Gaussian of one half width to the left, one to the right.

    Args:
        x: Abscissae, the same for all peaks or their own.
        parameters: Height h, centre, half widths at half maximum left and right, and Lorentzian share η of each.
    """
    height, center, left, right, share = parameters[:, :, None].unbind(1)
    away = x - center
    w = (away / torch.where(away < 0, left, right)).square()
    return height * (share / (1 + w) + (1 - share) * torch.exp2(-w))


@lru_cache(maxsize=4)
def starts_of(places: int, device: torch.device) -> Starts:
    """Return the profiles from which fits over so many evenly spread places begin; made once."""
    x = (torch.arange(places) + 0.5) / places
    widths = torch.exp(torch.linspace(math.log(0.06), math.log(0.6), 6))
    grid = torch.cartesian_prod(torch.linspace(0.25, 0.75, 7), widths, widths, torch.tensor([0.1, 0.6]))
    grid = grid[(grid[:, 1] / grid[:, 2]).log().abs() < 1.5]
    parameters = torch.cat([torch.ones(len(grid), 1), grid], 1)
    profiles = split_pseudo_voigt(x, parameters)
    norms = profiles.square().sum(1)
    parameters[:, 0] = 1 / norms.sqrt()
    return Starts(x.to(device), (profiles / norms.sqrt()[:, None]).T.contiguous().to(device), parameters.to(device))


def nearest_start(starts: Starts, y: Float[Tensor, "n p"]) -> Float[Tensor, "n 5"]:
    """Return of each row the profile that is most like it, as high as suits it best."""
    product, nearest = (y @ starts.profiles).max(1)
    scale = torch.ones(len(y), 5, device=y.device)
    scale[:, 0] = product.clamp(min=LOWEST)  # where nothing is like a peak
    return starts.parameters[nearest] * scale


def step_towards(
    y: Float[Tensor, "n p"],
    weigh: Callable[[Float[Tensor, "n p"]], Float[Tensor, "n p"]],
    starts: Starts,
    parameters: Float[Tensor, "n 5"],
    *,
    is_tied: Float[Tensor, " n"],
) -> Float[Tensor, "n 5"]:
    """Return the parameters a damped Gauss-Newton step on towards weighted least squares.

    Height and half widths enter by their logarithms, and the Lorentzian share is held between 0 and 1.

    Args:
        y: What the profiles are fitted to.
        weigh: What each point counts, by what the profiles leave there.
        starts: That the fits began with.
        parameters: As of `split_pseudo_voigt`.
        is_tied: 1 where both half widths are to be the same, and are; else 0.

    Source: J. Nocedal and S. J. Wright, Numerical Optimization, 2nd ed. (Springer, 2006), ch. 10.
    """
    height, center, left, right, share = parameters[:, :, None].unbind(1)
    away = starts.x - center
    is_left = away < 0
    per_width = torch.where(is_left, 1 / left, 1 / right)
    t = away * per_width
    u = t * t
    lorentzian, gaussian = (u + 1).reciprocal(), torch.exp2(-u)
    of_lorentzian, of_gaussian = height * share * lorentzian, (height - height * share) * gaussian
    bend = 2 * torch.addcmul(of_gaussian * _LN2, of_lorentzian, lorentzian)
    of_width = bend * u
    of_left = of_width * torch.maximum(is_left.float(), is_tied[:, None])  # tied, the right one has no derivative
    profile = of_lorentzian + of_gaussian
    rest = y - profile
    of_share = height * (lorentzian - gaussian)
    rows = torch.stack([profile, bend * t * per_width, of_left, of_width - of_left, of_share, rest], 1)
    products = (rows * weigh(rest)[:, None]) @ rows.mT  # (n, 6, 6)

    usual, share = TRUST_IN_IT * y.shape[1], parameters[:, 4]
    by_share = products[:, 4, 5] + usual * (USUAL_SHARE - share)
    stops = ((share <= 0) & (by_share < 0)) | ((share >= 1) & (by_share > 0))
    more = products[:, :5, :5].diagonal(dim1=1, dim2=2) * DAMPING + 1e-6
    more[:, 4] += usual + 1e6 * stops
    right_side = torch.cat([products[:, :4, 5], by_share[:, None]], 1)
    equations = products[:, :5, :5] + torch.diag_embed(more)
    step = cast(Tensor, cast(Any, torch.linalg).solve_ex(equations, right_side)[0])
    sides = torch.where(is_tied[:, None] > 0, step[:, 2:3], step[:, 2:4])
    factors = torch.cat([step[:, :1], sides], 1).clamp(-LONGEST_STEP, LONGEST_STEP).exp()
    narrower = parameters[:, 2:4].amin(1)
    return torch.stack(
        [
            parameters[:, 0] * factors[:, 0],
            parameters[:, 1] + torch.maximum(torch.minimum(step[:, 1], narrower), -narrower),
            parameters[:, 2] * factors[:, 1],
            parameters[:, 3] * factors[:, 2],
            (share + step[:, 4]).clamp(0, 1),
        ],
        1,
    )
