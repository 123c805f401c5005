"""The pseudo-Voigt profile of a diffraction peak, and its least-squares fit to a whole batch at once."""

import math
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

MAX_ITERATIONS = 60


def pseudo_voigt(
    x: Float[Tensor, "n p"], parameters: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n p"], Float[Tensor, "n 4 p"]]:
    """The profile h (η L + (1 - η) G) and its derivatives.

    Args:
        x: Abscissae, a row for each peak. Shape `(n, p)`.
        parameters: Height h, centre, FWHM (of L and G alike) and Lorentzian share η of each peak. Shape `(n, 4)`.

    Returns:
        The profile, shape `(n, p)`, and its derivatives with respect to the parameters, shape `(n, 4, p)`.
    """
    height, center, fwhm, share = (parameter[:, None] for parameter in parameters.unbind(1))
    u = (x - center) / fwhm
    gaussian = torch.exp(-4 * math.log(2) * u * u)
    lorentzian = 1 / (1 + 4 * u * u)
    shape = gaussian + share * (lorentzian - gaussian)
    slope = -height * 8 * u * (share * lorentzian**2 + (1 - share) * math.log(2) * gaussian)  # d/du
    jacobian = torch.stack([shape, -slope / fwhm, -slope * u / fwhm, height * (lorentzian - gaussian)], dim=1)
    return height * shape, jacobian


def fit_pseudo_voigts(x: Float[Tensor, "n p"], y: Float[Tensor, "n p"]) -> Float[Tensor, "n 4"]:
    """Least squares by Levenberg and Marquardt, every row for itself, from height 1, centre 0, FWHM 1 and η 0.5.

    η is kept within [0, 1]: while it rests on a bound that the gradient pushes it against, it is held fixed.
    Rows leave the batch as they converge, so that neither time nor the result depends on the slowest of a block.

    Args:
        x: Abscissae, scaled so that the start is near. Shape `(n, p)`.
        y: Ordinates, scaled likewise. Shape `(n, p)`.

    Returns:
        The parameters as `pseudo_voigt` takes them, in the scaled units. Shape `(n, 4)`.

    Source: D. W. Marquardt, J. Soc. Ind. Appl. Math. 11, 431 (1963).
    """
    start = torch.tensor([1.0, 0.0, 1.0, 0.5], dtype=x.dtype, device=x.device)
    solution = start.expand(len(x), 4).clone()
    rows = torch.arange(len(x), device=x.device)
    parameters, damping = solution.clone(), torch.full_like(x[:, 0], 1e-3)
    model, jacobian = pseudo_voigt(x, parameters)
    cost = (y - model).square().sum(1)
    for _ in range(MAX_ITERATIONS):
        gradient = torch.einsum("nip,np->ni", jacobian, y - model)
        hessian = jacobian @ jacobian.mT
        share = parameters[:, 3]
        free = torch.ones_like(parameters)
        free[:, 3] = ~(((share <= 0) & (gradient[:, 3] < 0)) | ((share >= 1) & (gradient[:, 3] > 0)))
        hessian = hessian * free[:, :, None] * free[:, None, :]
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        damped = hessian + torch.diag_embed(damping[:, None] * diagonal + (1 - free) + 1e-12)
        trial = parameters + cast(Tensor, cast(Any, torch.linalg).solve_ex(damped, gradient * free)[0])
        trial[:, 0].clamp_(min=0)
        trial[:, 2].clamp_(0.1, 10)
        trial[:, 3].clamp_(0, 1)
        trial_model, trial_jacobian = pseudo_voigt(x, trial)
        trial_cost = (y - trial_model).square().sum(1)
        better = trial_cost <= cost
        converged = (better & (cost - trial_cost <= 1e-9 * cost + 1e-14)) | (damping > 1e8)
        parameters = torch.where(better[:, None], trial, parameters)
        solution[rows] = parameters
        going = ~converged
        if not going.any():
            break
        model = torch.where(better[:, None], trial_model, model)[going]
        jacobian = torch.where(better[:, None, None], trial_jacobian, jacobian)[going]
        cost = torch.where(better, trial_cost, cost)[going]
        damping = torch.where(better, damping / 10, damping * 5)[going].clamp(min=1e-9)
        rows, x, y, parameters = rows[going], x[going], y[going], parameters[going]
    return solution
