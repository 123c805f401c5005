"""A Gaussian process of spectra over composition: what is learned well from few, smooth or noisy spectra.

Letters: n training spectra, e elements and columns of the context, q points, b alloys asked for.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cdist  # pyright: ignore[reportMissingTypeStubs]
from torch import Tensor

from glassmap.agent.models.base_model import (
    Known,
    PredictedBlock,
    Saved,
    TrainedBaseModel,
    blocks_of,
    distances_to,
    on_cpu,
)
from glassmap.agent.models.protocol import Prediction
from glassmap.agent.progress import Report, ignore
from glassmap.agent.shapes import Compositions, Groups, Spectra

LENGTHS = (0.15, 0.3, 0.6, 1.2, 2.4)  # of the kernel, distance of composition vectors (atomic fraction)
NOISES = (1e-4, 1e-3, 1e-2, 1e-1)  # variance of a measurement, in that of the spectra over the system
# How far usual samples that differ in the context are from each other, as a distance of composition vectors; from where
# it makes no difference to where they tell hardly anything of each other.
CONTEXTS = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
Square = Float[np.ndarray, "n n"]


class Kernel(NamedTuple):
    """How far a spectrum tells of others, how noisy it is, and how much the context counts beside the composition."""

    length: float
    noise: float
    context: float = 0.0  # what a column of the context counts in a distance, where a share counts 1

    @classmethod
    def choose(cls, compositions: Compositions, spectra: Spectra, *, context: int = 0) -> "Kernel":
        """Return the one with the least leave-one-out MSE over all spectra; the scale-free MSE picks no better one.

        Source: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), eq. 5.12.

        Args:
            compositions: `(n, e)`.
            spectra: `(n, q)`.
            context: How many columns behind the shares are of the context.
        """

        best, least = None, math.inf
        for weight in CONTEXTS if context else (0.0,):
            weights = context_weights(weight, context, compositions.shape[1]).numpy()
            distances = _distances(compositions * weights)
            for length in LENGTHS:
                kernel = matern(distances, length).numpy()
                for noise in NOISES:
                    error = leave_one_out_error(kernel, spectra, noise)
                    if best is None or error < least:
                        best, least = cls(length, noise, weight), error
        assert best is not None, "there are kernels"
        return best


@dataclass(frozen=True)
class GaussianProcess:
    """Gaussian-process regression of every point of the spectrum with one Matérn-5/2 kernel."""

    device: torch.device
    context: int = 0
    """How many columns of a context stand behind the compositions."""

    def fit(
        self,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups | None = None,
        report: Report = ignore,
    ) -> "TrainedGaussianProcess":
        """Choose the kernel and solve for the shares of the spectra, `(n, q)`; nothing is random, nothing left out."""
        return self.condition(compositions, spectra, Kernel.choose(compositions, spectra, context=self.context))

    def condition(self, compositions: Compositions, spectra: Spectra, kernel: Kernel) -> "TrainedGaussianProcess":
        """Condition a process of a given kernel on some spectra."""
        weights = context_weights(kernel.context, self.context, compositions.shape[1])
        covariance = matern(_distances(compositions * weights.numpy()), kernel.length)
        inverse = torch.inverse(covariance + kernel.noise * torch.eye(len(compositions)))
        known = Known.of(compositions, spectra, self.device)
        return TrainedGaussianProcess(known, inverse.to(self.device), kernel, weights.to(self.device))

    def leave_out(
        self,
        fold: int,
        trained: TrainedBaseModel,
        compositions: Compositions,
        spectra: Spectra,
        *,
        seed: int,
        folds: Groups,
    ) -> "TrainedGaussianProcess":
        """Condition on the other folds. The kernel stays that of all spectra: no difference (docs/results.md)."""
        assert isinstance(trained, TrainedGaussianProcess), "what `fit` returned"
        rest = folds != fold
        return self.condition(compositions[rest], spectra[rest], trained.kernel)

    def restore(self, saved: Saved, known: Known) -> "TrainedGaussianProcess":
        """Return a trained process from what a checkpoint kept of it."""
        kernel, inverse = Kernel(**saved.facts), saved.tensors["inverse"].to(self.device).T
        weights = context_weights(kernel.context, self.context, known.compositions.shape[1]).to(self.device)
        return TrainedGaussianProcess(known, inverse, kernel, weights)


@dataclass(frozen=True, eq=False)
class TrainedGaussianProcess:
    """A process conditioned on spectra.

    What it predicts of an alloy is a blend of them, so it holds, beside them, a matrix; in double precision, since a
    blend's shares are small differences of large numbers.
    """

    known: Known
    inverse: Float[Tensor, "n n"]  # (K + noise)^-1
    kernel: Kernel
    weights: Float[Tensor, " e"]  # of the columns, in a distance
    extrapolates: ClassVar[bool] = True  # shares may be negative, or more than 1

    def blend(self, compositions: Float[Tensor, "b e"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, " b"]]:
        """Return each training spectrum's share in some alloys' spectra, and the posterior std of each alloy.

        The std is in that of the spectra over the system: 0 at a measurement without noise, 1 far from all, where the
        process knows nothing and predicts the mean of its spectra.
        """
        distances = distances_to(self.known.compositions * self.weights, compositions * self.weights)
        kernel = matern(distances, self.kernel.length)
        shares = kernel @ self.inverse  # (b, n)
        std = (1 - (shares * kernel).sum(1)).clamp(0, 1).sqrt()
        return shares + (1 - shares.sum(1, keepdim=True)) / len(self.known.compositions), std

    def predict_block(self, compositions: Float[Tensor, "b e"]) -> PredictedBlock:
        """Blend the spectra, cut to 0-100; `unknown` is the posterior std."""
        shares, std = self.blend(compositions)
        return PredictedBlock((shares.float() @ self.known.spectra).clamp(0, 100)[None, :, None], std.float())

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict mean and std: the posterior's, times the standard deviation of the spectra at each point."""
        of_spectra = self.known.spectra.double().std(0, correction=0)
        means: list[Tensor] = []
        stds: list[Tensor] = []
        for block in blocks_of(compositions, self.inverse.device):
            predicted = self.predict_block(block)
            assert predicted.unknown is not None, "a process always tells"
            means.append(predicted.mean)
            stds.append(predicted.unknown[:, None] * of_spectra)
        return Prediction(on_cpu(means), None, on_cpu(stds))

    def draw_block(self, compositions: Float[Tensor, "b e"], stream: torch.Generator, *, alike: bool = False) -> None:
        """Draw nothing: one kernel for every point says how sure the mean is, not how spectra scatter."""

    def save(self) -> Saved:
        """Return the kernel, and the matrix by columns, as it was solved for: so sums are the same once it is read."""
        return Saved({"inverse": self.inverse.T}, self.kernel._asdict())


def context_weights(weight: float, context: int, columns: int) -> Float[Tensor, " e"]:
    """Return what each column counts in a distance: shares 1, those of the context their weight; double precision."""
    weights = torch.ones(columns, dtype=torch.float64)
    weights[columns - context :] = weight
    return weights


def matern(distances: Float[Tensor, "b n"], length: float) -> Float[Tensor, "b n"]:
    """Return the Matérn-5/2 kernel: a process that can be differentiated twice."""
    scaled = math.sqrt(5) * distances / length
    return (1 + scaled + scaled.square() / 3) * torch.exp(-scaled)


def leave_one_out_error(kernel: Square, spectra: Spectra, noise: float) -> float:
    """Return the mean squared error of each spectrum from all the others, around their mean."""
    n = len(spectra)
    inverse = np.linalg.inv(kernel + noise * np.eye(n))
    others = (spectra.sum(0) - spectra) / (n - 1) if n > 1 else 0 * spectra
    residuals = (inverse @ spectra - inverse.sum(1, keepdims=True) * others) / np.diag(inverse)[:, None]
    return float(np.square(residuals).mean())


def _distances(compositions: Compositions) -> Float[Tensor, "n n"]:
    return torch.as_tensor(cdist(compositions, compositions))
