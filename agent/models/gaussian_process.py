"""A kernel smoother of spectra over composition: what is learned well from few, smooth or noisy spectra.

Letters: n training spectra, e elements, q points, b alloys asked for.
"""

import math
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Integer
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from glassmap.agent.shapes import Compositions, Spectra

LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)  # of the kernel, distance of composition vectors (atomic fraction)
NOISES = (1e-4, 1e-3, 1e-2, 1e-1)  # variance of a measurement, in that of the spectra over the system
Square = Float[np.ndarray, "n n"]


class Kernel(NamedTuple):
    """How far a spectrum tells of others, and how noisy it is."""

    length: float
    noise: float

    @classmethod
    def choose(cls, compositions: Compositions, spectra: Spectra) -> "Kernel":
        """The one with the least leave-one-out error over all spectra and points.

        Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 5.12.
        """
        distances = torch.as_tensor(cdist(compositions, compositions))
        kernels = {length: _matern(distances, length).numpy() for length in LENGTHS}
        pairs = (cls(length, noise) for length, noise in product(LENGTHS, NOISES))
        return min(pairs, key=lambda pair: _leave_one_out(kernels[pair.length], spectra, pair.noise))


class Smoother(nn.Module):
    """Gaussian-process regression of every point of the spectrum with one Matérn-5/2 kernel.

    What it says of an alloy is a blend of the training spectra, so it holds no spectra but a matrix, in double
    precision: a blend's shares are small differences of large numbers.
    """

    compositions: Tensor  # (n, e)
    inverse: Tensor  # (n, n): (K + noise)^-1
    length: Tensor  # of the kernel, scalar

    def __init__(self, **tables: Tensor) -> None:
        super().__init__()
        for name, table in tables.items():
            self.register_buffer(name, table)

    @classmethod
    def fit(cls, compositions: Compositions, kernel: Kernel) -> "Smoother":
        """Learn the alloys, atomic fractions `(n, e)`, whose spectra are to be blended."""
        alloys = torch.as_tensor(compositions, dtype=torch.float64)
        covariance = _matern(torch.as_tensor(cdist(compositions, compositions)), kernel.length)
        inverse = torch.linalg.inv(covariance + kernel.noise * torch.eye(len(alloys)))
        return cls(compositions=alloys, inverse=inverse, length=torch.tensor(kernel.length, dtype=torch.float64))

    def forward(
        self, compositions: Float[Tensor, "b e"]
    ) -> tuple[Float[Tensor, "b n"], Float[Tensor, " b"], Integer[Tensor, " b"]]:
        """Each training spectrum's share in what is said of some alloys, the doubt of each, and the nearest's row.

        Doubt is the standard deviation of the process there, 0 at a measurement without noise, 1 far from all: where
        the smoother knows nothing and says the mean of its spectra.
        """
        distances = torch.linalg.vector_norm(compositions[:, None] - self.compositions, dim=2)
        kernel = _matern(distances, self.length)
        shares = kernel @ self.inverse  # (b, n)
        doubt = (1 - (shares * kernel).sum(1)).clamp(0, 1).sqrt()
        return shares + (1 - shares.sum(1, keepdim=True)) / len(self.compositions), doubt, distances.argmin(1)


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
