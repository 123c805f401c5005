"""What the networks descend on: one function a term, of tensors alone.

Letters: b batch, m members, e elements, q points.
"""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def squared_error(generated: Float[Tensor, "b m q"], measured: Float[Tensor, "b m q"]) -> Float[Tensor, " m"]:
    """Return each member's mean squared difference from the measured spectra, in intensity²."""
    away = (generated - measured).transpose(0, 1)  # members in front, as in `DenseGenerator.forward`
    return away.square().mean((1, 2))


def judged_fake(score: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    """Return the cross-entropy of spectra that are real, or are to pass for it, by their scores."""
    return functional.softplus(-score)


def judged_real(score: Float[Tensor, "b m"]) -> Float[Tensor, "b m"]:
    """Return the cross-entropy of generated spectra by their scores."""
    return functional.softplus(score)


def composition_error(seen: Float[Tensor, "b m e"], true: Float[Tensor, "b m e"]) -> Float[Tensor, "b m"]:
    """Return the mean squared error of the composition that the discriminator believes to see."""
    return (seen - true).square().mean(2)
