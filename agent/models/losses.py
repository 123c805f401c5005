"""What the networks descend on: one function a term, of tensors alone; each returns a figure a member.

Letters: k draws, b batch, m members, e elements, q points. Members stand in front wherever something is summed over the
batch, so that a member comes out the same whichever others there are.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def squared_error(generated: Float[Tensor, "k b m q"], measured: Float[Tensor, "b m q"]) -> Float[Tensor, " m"]:
    """Return the mean squared difference from the measured spectra of what is generated on average, in intensity².

    One draw is that average. Of two draws it is <f1 - y, f2 - y>, whose expectation holds nothing of how far draws lie
    apart; |f - y|² would press them together.
    """
    away = (generated - measured).transpose(1, 2)  # (k, m, b, q)
    return (away[0] * away[-1]).mean((1, 2))


def variance_of_draws(generated: Float[Tensor, "2 b m q"]) -> Float[Tensor, " m"]:
    """Return the variance of what is generated for a composition, by two draws, in intensity²."""
    return (generated[0] - generated[1]).transpose(0, 1).square().mean((1, 2)) / 2


def energy_score(generated: Float[Tensor, "2 b m q"], measured: Float[Tensor, "b m q"]) -> Float[Tensor, " m"]:
    """Return the energy score of two draws, in intensity: ½(|f1 - y| + |f2 - y|) - ½|f1 - f2|, RMS over the points.

    It is least where the draws are distributed as the measured spectra are (Gneiting and Raftery, J. Am. Stat. Assoc.
    102, 359, 2007; as a loss: Shen and Meinshausen, engression, J. R. Stat. Soc. B, 2024).
    """
    away = _root_mean_square((generated - measured).transpose(1, 2)).mean(0)  # (m, b)
    apart = _root_mean_square((generated[0] - generated[1]).transpose(0, 1))
    return (away - apart / 2).mean(1)


def _root_mean_square(difference: Float[Tensor, "... q"]) -> Float[Tensor, "..."]:
    return (difference.square().mean(-1) + 1e-6).sqrt()  # two draws that are the same have a gradient, too


def outranking(winning: Float[Tensor, "b m"], losing: Float[Tensor, "b m"]) -> Float[Tensor, " m"]:
    """Return the loss of having some spectra score higher than others of the same composition, pair by pair.

    Source: relativistic pairing, Jolicoeur-Martineau, ICLR 2019; Huang et al., NeurIPS 2024. The discriminator wants
    measured spectra to win, the generator its own. Neither gains by moving all scores.
    """
    return functional.softplus(losing - winning).mean(0)


def squared_slope(score: Float[Tensor, "b m"], spectra: Float[Tensor, "b m q"]) -> Float[Tensor, " m"]:
    """Return the mean squared slope of a score: by how much it changes a unit of RMS intensity, steepest way.

    The penalty on it is R1 where spectra are measured, R2 where they are generated (Mescheder et al., ICML 2018).

    Args:
        score: Of the spectra; differentiable in them, and again.
        spectra: As the score was computed from.
    """
    (gradient,) = torch.autograd.grad(score.sum(), spectra, create_graph=True)
    return spectra.shape[2] * gradient.square().sum(2).mean(0)


def composition_error(seen: Float[Tensor, "b m e"], true: Float[Tensor, "b m e"]) -> Float[Tensor, " m"]:
    """Return the mean squared error of the compositions that the discriminator believes to see, atomic fraction²."""
    return (seen - true).square().mean((0, 2))
