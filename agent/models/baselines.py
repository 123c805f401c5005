"""What else a user could have used to go from composition to spectrum, on the same two methods as the ensemble.

Each learns `fit(compositions, spectra) -> self` and answers `generate(compositions) -> spectra`.
"""

import warnings
from typing import Protocol

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import KDTree
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

from glassmap.agent.data.composition import average_replicates
from glassmap.agent.shapes import Compositions, Spectra


class SpectrumModel(Protocol):
    """Anything that learns spectra from compositions."""

    def fit(self, compositions: Compositions, spectra: Spectra) -> "SpectrumModel":
        """Learn from measured spectra, shape `(n, q)`, of compositions `(n, e)`."""
        ...

    def generate(self, compositions: Compositions) -> Spectra:
        """One spectrum, intensity 0-100, for each row of compositions."""
        ...


class NearestNeighbour:
    """The spectrum of the nearest measured alloy."""

    def fit(self, compositions: Compositions, spectra: Spectra) -> "NearestNeighbour":
        """Remember the spectra."""
        self._tree, self._spectra = KDTree(compositions), spectra
        return self

    def generate(self, compositions: Compositions) -> Spectra:
        """Copy the nearest one."""
        return self._spectra[self._tree.query(compositions)[1]]


class Rbf:
    """Thin-plate-spline interpolation of every point of the spectrum (scipy's `RBFInterpolator`).

    Replicates are averaged first, because an interpolation can't pass through both.
    """

    def fit(self, compositions: Compositions, spectra: Spectra) -> "Rbf":
        """Solve for the weights; the last share is left out, since it follows from the others."""
        self._range = spectra.min(), spectra.max()
        unique, mean, _ = average_replicates(compositions[:, :-1], spectra)
        enough = len(unique) > unique.shape[1]  # a plane needs one point more than it has directions
        self._model = RBFInterpolator(
            unique, mean, degree=1 if enough else 0, kernel="thin_plate_spline" if enough else "linear"
        )
        return self

    def generate(self, compositions: Compositions) -> Spectra:
        """Interpolate, then cut to the range of what was learned."""
        return self._model(compositions[:, :-1]).clip(*self._range)


class PcaGp:
    """A Gaussian process on each principal component that the spectra need for 99.9 % of their variance, at most 20."""

    def fit(self, compositions: Compositions, spectra: Spectra) -> "PcaGp":
        """Fit the components, then one process each; kernel: constant x RBF with a length an element + noise."""
        self._range = spectra.min(), spectra.max()
        self._mean = spectra.mean(axis=0)
        left, strength, components = np.linalg.svd(spectra - self._mean, full_matrices=False)
        explained = np.cumsum(strength**2) / max(np.sum(strength**2), 1e-12)
        needed = min(20, 1 + int(np.searchsorted(explained[:-1], 0.999)))
        scores, self._components = left[:, :needed] * strength[:needed], components[:needed]
        self._scale = scores.std(axis=0) + 1e-9
        e = compositions.shape[1]
        kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF([0.2] * e, (1e-2, 1e2)) + WhiteKernel(1e-2, (1e-6, 1e1))
        with warnings.catch_warnings():
            # A length that rests on its bound is an element that a component doesn't depend on: no fault
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._processes = [
                GaussianProcessRegressor(kernel, random_state=0).fit(compositions, score)
                for score in (scores / self._scale).T
            ]
        return self

    def generate(self, compositions: Compositions) -> Spectra:
        """The posterior mean, back in intensities and cut to the range of what was learned."""
        scores = np.stack([process.predict(compositions) for process in self._processes], axis=1) * self._scale
        return (self._mean + scores @ self._components).clip(*self._range)


class ExtraTrees:
    """300 extremely randomised trees, every point of the spectrum an output."""

    def fit(self, compositions: Compositions, spectra: Spectra) -> "ExtraTrees":
        """Grow the trees, seed 0."""
        self._model = ExtraTreesRegressor(300, random_state=0, n_jobs=-1).fit(compositions, spectra)
        return self

    def generate(self, compositions: Compositions) -> Spectra:
        """The mean of the trees."""
        return self._model.predict(compositions)


BASELINES: dict[str, type[SpectrumModel]] = {
    "nearest": NearestNeighbour,
    "rbf": Rbf,
    "pca-gp": PcaGp,
    "extra-trees": ExtraTrees,
}
