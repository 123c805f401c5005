"""What else a user could have used to go from composition to spectrum, with the protocol of the ensemble's models.

Another one is its two classes, `fit` and what that returns, and a line in `BASELINES`.

Letters: n compositions, e elements, q points, c principal components.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy.interpolate import RBFInterpolator  # pyright: ignore[reportMissingTypeStubs]
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]
from sklearn.ensemble import ExtraTreesRegressor  # pyright: ignore[reportMissingTypeStubs]
from sklearn.exceptions import ConvergenceWarning  # pyright: ignore[reportMissingTypeStubs]
from sklearn.gaussian_process import GaussianProcessRegressor  # pyright: ignore[reportMissingTypeStubs]
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel  # pyright: ignore[reportMissingTypeStubs]

from glassmap.agent.data.composition import average_replicates
from glassmap.agent.models.protocol import Model, Prediction
from glassmap.agent.shapes import Compositions, PerPoint, Spectra


@dataclass(frozen=True)
class MeanSpectrum:
    """The mean of the spectra, whatever the alloy: what a model has to beat to have learned anything."""

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> "TrainedMeanSpectrum":
        """Take the mean; nothing is random."""
        return TrainedMeanSpectrum(spectra.mean(axis=0), spectra.std(axis=0))


@dataclass(frozen=True, eq=False)
class TrainedMeanSpectrum:
    """A mean, and how far the spectra were from it."""

    mean: PerPoint
    std: PerPoint

    def predict(self, compositions: Compositions) -> Prediction:
        """Return the same for every composition."""
        mean, std = (np.tile(values, (len(compositions), 1)) for values in (self.mean, self.std))
        return Prediction(mean, None, std)


@dataclass(frozen=True)
class NearestNeighbour:
    """The spectrum of the nearest measured alloy."""

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> "TrainedNearestNeighbour":
        """Remember the spectra; nothing is random."""
        return TrainedNearestNeighbour(KDTree(compositions), spectra)


@dataclass(frozen=True, eq=False)
class TrainedNearestNeighbour:
    """Spectra that are copied."""

    tree: KDTree
    spectra: Spectra

    def predict(self, compositions: Compositions) -> Prediction:
        """Copy the nearest one; it can't tell how far off it is."""
        mean = self.spectra[cast(Any, self.tree).query(compositions)[1]]
        return Prediction(mean, None, np.full_like(mean, np.nan))


@dataclass(frozen=True)
class Rbf:
    """Thin-plate-spline interpolation of every point of the spectrum (scipy's `RBFInterpolator`).

    Replicates are averaged first, because an interpolation can't pass through both.
    """

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> "TrainedRbf":
        """Solve for the weights; the last share is left out, since it follows from the others; nothing is random."""
        unique, mean, _ = average_replicates(compositions[:, :-1], spectra)
        enough = len(unique) > unique.shape[1]  # a plane needs one point more than it has directions
        interpolator = RBFInterpolator(
            unique, mean, degree=1 if enough else 0, kernel="thin_plate_spline" if enough else "linear"
        )
        return TrainedRbf(interpolator, spectra.min(), spectra.max())


@dataclass(frozen=True, eq=False)
class TrainedRbf:
    """An interpolation, cut to the range of what was learned."""

    interpolator: RBFInterpolator
    lowest: float
    highest: float

    def predict(self, compositions: Compositions) -> Prediction:
        """Interpolate; it can't tell how far off it is."""
        mean = self.interpolator(compositions[:, :-1]).clip(self.lowest, self.highest)
        return Prediction(mean, None, np.full_like(mean, np.nan))


@dataclass(frozen=True)
class PcaGp:
    """A Gaussian process on each principal component that the spectra need for 99.9 % of their variance, at most 20."""

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> "TrainedPcaGp":
        """Fit the components, then one process each; kernel: constant x RBF with a length an element + noise."""
        mean = spectra.mean(axis=0)
        left, strength, components = np.linalg.svd(spectra - mean, full_matrices=False)
        explained = np.cumsum(strength**2) / max(np.sum(strength**2), 1e-12)
        needed = min(20, 1 + int(np.searchsorted(explained[:-1], 0.999)))
        scores = left[:, :needed] * strength[:needed]
        scale = scores.std(axis=0) + 1e-9
        e = compositions.shape[1]
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF([0.2] * e, (1e-2, 1e2)) + WhiteKernel(1e-2, (1e-6, 1e1))
        with warnings.catch_warnings():
            # A length that rests on its bound is an element that a component doesn't depend on: no fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            processes = [
                cast(Any, GaussianProcessRegressor(kernel, random_state=seed)).fit(compositions, score)
                for score in (scores / scale).T
            ]
        return TrainedPcaGp(processes, scale, components[:needed], mean, spectra.min(), spectra.max())


@dataclass(frozen=True, eq=False)
class TrainedPcaGp:
    """A process of each component, cut to the range of what was learned."""

    processes: list[GaussianProcessRegressor]
    scale: Float[np.ndarray, " c"]
    components: Float[np.ndarray, "c q"]
    middle: PerPoint
    lowest: float
    highest: float

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict the posterior's mean and standard deviation, back in intensities."""
        posteriors = [cast(Any, process).predict(compositions, return_std=True) for process in self.processes]
        scores, stds = (np.stack(part, axis=1) * self.scale for part in zip(*posteriors, strict=True))
        mean = (self.middle + scores @ self.components).clip(self.lowest, self.highest)
        return Prediction(mean, None, np.sqrt(np.square(stds) @ np.square(self.components)))


@dataclass(frozen=True)
class ExtraTrees:
    """300 extremely randomised trees, every point of the spectrum an output."""

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> "TrainedExtraTrees":
        """Grow the trees."""
        regressor = cast(Any, ExtraTreesRegressor(300, random_state=seed, n_jobs=-1))
        regressor.fit(compositions, spectra).set_params(
            n_jobs=1
        )  # threads would add up what trees predict in any order
        return TrainedExtraTrees(regressor)


@dataclass(frozen=True, eq=False)
class TrainedExtraTrees:
    """Trees, as scikit-learn grew them."""

    regressor: ExtraTreesRegressor

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict the mean of the trees, and their standard deviation."""
        regressor = cast(Any, self.regressor)
        mean: Spectra = regressor.predict(compositions)
        variance = np.zeros_like(mean)
        for tree in regressor.estimators_:
            variance += np.square(tree.predict(compositions) - mean) / len(regressor.estimators_)
        return Prediction(mean, None, np.sqrt(variance))


BASELINES: dict[str, Callable[[], Model]] = {
    "mean": MeanSpectrum,
    "nearest": NearestNeighbour,
    "rbf": Rbf,
    "pca-gp": PcaGp,
    "extra-trees": ExtraTrees,
}
