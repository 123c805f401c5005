"""What else draws spectra of an alloy: the controls beside which a generative model is judged.

Letters: k draws, b alloys, q points, c principal components.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from sklearn.exceptions import ConvergenceWarning  # pyright: ignore[reportMissingTypeStubs]
from sklearn.gaussian_process import GaussianProcessRegressor  # pyright: ignore[reportMissingTypeStubs]
from sklearn.gaussian_process.kernels import (  # pyright: ignore[reportMissingTypeStubs]
    ConstantKernel,
    Matern,
    WhiteKernel,
)

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.models.baselines import ExtraTrees, PcaGp, TrainedExtraTrees, TrainedPcaGp
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.shapes import Compositions, PerSample, Spectra
from glassmap.flows.compare import CONTROL, fit_without_networks
from tests.benchmarks.scores import Draws, FigureDraws

REGRESSION = TrainingConfig(
    architecture="compact",
    members=10,
    steps=1500,
    batch_size=32,
    learning_rate=2e-3,
    momentum=0.9,
    energy=0.0,
    fidelity=1.0,
    adversarial=0.0,
    jitter=0.0,
    averaging=0.99,
)
"""The ensemble that learns by the squared error alone; its networks draw nothing."""


class Forecast(Protocol):
    """A model that has learned, as the benchmark asks it."""

    def mean(self, compositions: Compositions) -> Spectra:
        """Return the mean spectrum of each alloy."""
        ...

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Return draws of each alloy's spectrum; of a model that draws nothing, its mean alone."""
        ...


Fit = Callable[[SpectraSet, int], Forecast]  # of spectra to learn from, and a seed


@dataclass(frozen=True, eq=False)
class EnsembleForecast:
    """An ensemble, by draws of its whole distribution."""

    ensemble: TrainedEnsemble

    def mean(self, compositions: Compositions) -> Spectra:
        """Return the ensemble mean."""
        return self.ensemble.predict(compositions).mean

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Draw as the ensemble does."""
        return self.ensemble.draws(compositions, count, seed)


@dataclass(frozen=True, eq=False)
class PointForecast(EnsembleForecast):
    """An ensemble's mean, as if there were nothing else."""

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Return the mean."""
        return self.mean(compositions)[None]


@dataclass(frozen=True, eq=False)
class ResidualForecast:
    """A mean, and the residuals of spectra that were left out, drawn with equal chances whatever the alloy.

    The fair control: any distribution is better than a point by a proper score, this one without having learned where
    alloys are uncertain.
    """

    ensemble: TrainedEnsemble
    residuals: Spectra

    def mean(self, compositions: Compositions) -> Spectra:
        """Return the ensemble mean."""
        return self.ensemble.predict(compositions).mean

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Add a residual to the mean, cut to 0-100."""
        rows = np.random.default_rng(seed).integers(len(self.residuals), size=(count, len(compositions)))
        return (self.mean(compositions) + self.residuals[rows]).clip(0, 100)


@dataclass(frozen=True, eq=False)
class PosteriorForecast:
    """PCA + GP, by the posterior of its components, noise included."""

    trained: TrainedPcaGp

    def mean(self, compositions: Compositions) -> Spectra:
        """Return the posterior mean."""
        return self.trained.predict(compositions).mean

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Draw every component by itself, as the processes are independent; cut to what was learned."""
        of_components = [cast(Any, one).predict(compositions, return_std=True) for one in self.trained.processes]
        mean, std = (np.stack(part, axis=1) for part in zip(*of_components, strict=True))
        normal = np.random.default_rng(seed).standard_normal((count, *mean.shape))
        scores = (mean + std * normal) * self.trained.scale
        return (self.trained.middle + scores @ self.trained.components).clip(self.trained.lowest, self.trained.highest)


@dataclass(frozen=True, eq=False)
class LeafForecast:
    """ExtraTrees, by the measured spectra at the leaves that an alloy comes to."""

    trained: TrainedExtraTrees

    def mean(self, compositions: Compositions) -> Spectra:
        """Return the mean of the trees."""
        return self.trained.predict(compositions).mean

    def draws(self, compositions: Compositions, count: int, seed: int) -> Draws:
        """Ask some of the trees, the same for all alloys."""
        trees = cast(Any, self.trained.regressor).estimators_
        chosen = np.random.default_rng(seed).permutation(len(trees))[:count]
        return np.stack([trees[tree].predict(compositions) for tree in chosen])


def fit_ensemble(learn: SpectraSet, seed: int, config: TrainingConfig) -> TrainedEnsemble:
    """Train an ensemble of some preset."""
    return Ensemble(config, seed=seed).fit(learn.compositions, learn.intensities.astype(np.float64))


def fit_residuals(learn: SpectraSet, seed: int) -> ResidualForecast:
    """Stack without networks, and keep how far off it is on what it was fitted without."""
    ensemble = fit_without_networks(learn, seed=seed, config=REGRESSION)
    assert ensemble.stack.left_out is not None, "there are alloys enough to leave some out"
    residuals = learn.intensities - ensemble.stack.left_out
    return ResidualForecast(ensemble, residuals[np.isfinite(residuals).all(1)])


def fit_posterior(learn: SpectraSet, seed: int) -> PosteriorForecast:
    """Fit the baseline PCA + GP."""
    return PosteriorForecast(PcaGp().fit(learn.compositions, learn.intensities.astype(np.float64), seed=seed))


def fit_leaves(learn: SpectraSet, seed: int) -> LeafForecast:
    """Fit the baseline ExtraTrees."""
    return LeafForecast(ExtraTrees().fit(learn.compositions, learn.intensities.astype(np.float64), seed=seed))


def ours(config: TrainingConfig) -> Fit:
    """Return how an ensemble of some settings is fitted and asked."""
    return lambda learn, seed: EnsembleForecast(fit_ensemble(learn, seed, config))


# Points; and what draws: a bootstrap, the ensemble's own recipe without generators (residuals of nearby alloys), a
# posterior, measured spectra.
CONTROLS: Mapping[str, Fit] = {
    "regression": lambda learn, seed: PointForecast(fit_ensemble(learn, seed, REGRESSION)),
    CONTROL: lambda learn, seed: PointForecast(fit_without_networks(learn, seed=seed, config=REGRESSION)),
    "left-out residuals": fit_residuals,
    "without networks, its draws": lambda learn, seed: EnsembleForecast(
        fit_without_networks(learn, seed=seed, config=REGRESSION)
    ),
    "regression, its draws": ours(REGRESSION),
    "pca-gp": fit_posterior,
    "extra-trees": fit_leaves,
}


def draw_figure(
    learned: Compositions, figure: PerSample, compositions: Compositions, count: int, seed: int
) -> tuple[PerSample, FigureDraws]:
    """Return mean and draws of a figure by a Gaussian process on the figure itself: no spectrum is generated.

    Args:
        learned: Atomic fractions of the alloys learned from.
        figure: Of each; those without one (NaN) are left out.
        compositions: Asked for.
        count: Of draws.
        seed: Of the draws.
    """
    there = np.isfinite(figure)
    middle, scale = figure[there].mean(), figure[there].std() + 1e-9
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(0.3, (0.03, 10), nu=2.5) + WhiteKernel(0.1, (1e-5, 1e1))
    process = cast(Any, GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a length that rests on its bound is no fault
        process.fit(learned[there], (figure[there] - middle) / scale)
    mean, std = process.predict(compositions, return_std=True)
    normal = np.random.default_rng(seed).standard_normal((count, len(mean)))
    return middle + scale * mean, middle + scale * (mean + std * normal)
