"""A kernel smoother of spectra over composition: what is learned well from few, smooth or noisy spectra.

Beside each network of the ensemble stands one of these, fitted to the same spectra; `agent.ensemble` weighs the two.

Letters: n training spectra, e elements, q points, m members, b alloys asked for.
"""

import math
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from agent.shapes import Compositions, Spectra

LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)  # of the kernel, distance of composition vectors (atomic fraction)
NOISES = (1e-4, 1e-3, 1e-2, 1e-1)  # variance of a measurement, in that of the spectra over the system
Square = Float[np.ndarray, "n n"]


class Smoother(nn.Module):
    """Gaussian-process regression of every point of the spectrum with one Matérn-5/2 kernel, for all members.

    Every member sees some of the spectra. What it says of an alloy is a blend of those, so all members share the
    spectra and have only their matrices of their own, in double precision: a blend's shares are small differences of
    large numbers. Length and noise are those with the least leave-one-out error over all spectra (Rasmussen & Williams,
    Gaussian Processes for Machine Learning, 2006, eq. 5.12).
    """

    compositions: Tensor  # (n, e)
    spectra: Tensor  # (n, q)
    inverses: Tensor  # (m, n, n): (K + noise)^-1 of what each member has seen, 0 elsewhere
    seen: Tensor  # (m, n): 1 or 0
    length: Tensor  # of the kernel, scalar

    def __init__(self, *, members: int, samples: int, elements: int, points: int) -> None:
        super().__init__()
        for name, shape in {
            "compositions": (samples, elements),
            "spectra": (samples, points),
            "inverses": (members, samples, samples),
            "seen": (members, samples),
            "length": (),
        }.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float32 if name == "spectra" else torch.float64))

    @classmethod
    def fit(cls, compositions: Compositions, spectra: Spectra, *, seen: Bool[np.ndarray, "m n"]) -> "Smoother":
        """Learn from spectra 0-100.

        Args:
            compositions: Atomic fractions `(n, e)`.
            spectra: `(n, q)`.
            seen: Which spectra each member learns from; at least one.
        """
        distances = torch.as_tensor(cdist(compositions, compositions))
        kernels = {length: _matern(distances, length).numpy() for length in LENGTHS}
        length, noise = min(
            product(LENGTHS, NOISES), key=lambda pair: _leave_one_out(kernels[pair[0]], spectra, pair[1])
        )
        (n, e), q = compositions.shape, spectra.shape[1]
        smoother = cls(members=len(seen), samples=n, elements=e, points=q)
        smoother.compositions.copy_(torch.as_tensor(compositions))
        smoother.spectra.copy_(torch.as_tensor(spectra))
        smoother.length.fill_(length)
        smoother.seen.copy_(torch.as_tensor(seen))
        kernel = kernels[length]
        for member, mine in enumerate(seen):
            inverse = np.linalg.inv(kernel[np.ix_(mine, mine)] + noise * np.eye(mine.sum()))
            rows = torch.as_tensor(np.flatnonzero(mine))
            smoother.inverses[member, rows[:, None], rows] = torch.as_tensor(inverse)
        return smoother

    def forward(
        self, compositions: Float[Tensor, "b e"]
    ) -> tuple[Float[Tensor, "b m q"], Float[Tensor, "b m"], Integer[Tensor, "b m"]]:
        """Each member's spectra of some alloys, within 0-100, its doubt, and the row of the nearest alloy it has seen.

        Compositions are in double precision. Doubt is the standard deviation of the process there, 0 at a measurement
        without noise, 1 far from all: where the smoother knows nothing and says the mean of its spectra.
        """
        distances = torch.linalg.vector_norm(compositions[:, None] - self.compositions, dim=2)  # (b, n)
        kernel = _matern(distances, self.length)
        shares = torch.einsum("bn,mnk->bmk", kernel, self.inverses)  # (b, m, n)
        doubt = (1 - torch.einsum("bmn,bn->bm", shares, kernel)).clamp(0, 1).sqrt()
        shares = shares + (1 - shares.sum(2, keepdim=True)) * self.seen / self.seen.sum(1, keepdim=True)
        nearest = torch.where(self.seen > 0, distances[:, None], math.inf).argmin(2)
        return (shares.float() @ self.spectra).clamp(0, 100), doubt.float(), nearest


def _matern(distances: Float[Tensor, "b n"], length: float | Tensor) -> Float[Tensor, "b n"]:
    """Matérn-5/2: the process can be differentiated twice."""
    scaled = math.sqrt(5) * distances / length
    return (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)


def _leave_one_out(kernel: Square, spectra: Spectra, noise: float) -> float:
    """Mean squared error of each spectrum from all the others, around their mean."""
    n = len(spectra)
    inverse = np.linalg.inv(kernel + noise * np.eye(n))
    others = (spectra.sum(0) - spectra) / (n - 1) if n > 1 else 0 * spectra
    residuals = (inverse @ spectra - inverse.sum(1, keepdims=True) * others) / np.diag(inverse)[:, None]
    return float(np.square(residuals).mean())
