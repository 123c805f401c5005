"""How far off a model is expected to be at an alloy, and where that makes the alloy known.

Three things make up the expected squared error of a spectrum: noise, which no further measurement takes away; the
spread of the model's members; and how little is known there, which grows with the distance to what was measured. What
each of them costs is learned from spectra that were left out. Single ones tell of noise and spread, whole regions of
what it means to be far away: what is left out alone of a well spread batch has neighbours on all sides (Roberts et al.,
Ecography 40, 913, 2017; Meyer & Pebesma, Methods Ecol. Evol. 12, 1620, 2021).

Letters: n left-out spectra, b alloys.
"""

import math
from typing import NamedTuple, cast

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from torch import Tensor

from glassmap.agent.shapes import PerSample

KNOWN_SHARE = 0.5  # of a guess's error
USUAL_SPREADS = 0.9  # of the left-out spectra's; larger ones tell no more, as hardly any was seen (docs/results.md)
ROUNDS = 20  # of reweighing; the factors have settled after a handful


class LeftOut(NamedTuple):
    """Spectra that a model had not seen: how it erred, and what it knew beforehand."""

    squared_errors: PerSample  # mean over the points, in the spectra's unit squared
    unknown: PerSample  # how little is known, 0 to 1


class ExpectedError(NamedTuple):
    """Squared error expected of a spectrum: noise + spread_factor · spread² + unknown_factor · unknown²."""

    noise: float  # in the spectra's unit squared
    spread_factor: float
    unknown_factor: float  # in the spectra's unit squared
    most_spread: float  # beyond which a spread counts no more
    guess: float  # mean squared error of the mean of all spectra, a guess that knows nothing of the place

    @classmethod
    def learned_from(cls, singles: LeftOut, regions: LeftOut, *, spreads: PerSample, guess: float) -> "ExpectedError":
        """Return what left-out spectra tell.

        Args:
            singles: Left out with others all over the space.
            regions: Left out with all that is near them.
            spreads: Of the singles, root mean square over the points of the epistemic std.
            guess: Mean squared error of the mean of all spectra.
        """
        _, found = _factors(np.square(regions.unknown), regions.squared_errors)
        unknown_factor = max(found, guess)  # who knows nothing is no better than a guess, even if no region shows it
        most_spread = float(np.quantile(spreads, USUAL_SPREADS))
        far = unknown_factor * np.square(singles.unknown)
        near = np.maximum(singles.squared_errors - far, 0.05 * singles.squared_errors)
        noise, spread_factor = _factors(np.square(spreads.clip(max=most_spread)), near)
        return cls(noise, spread_factor, unknown_factor, most_spread, guess)

    @property
    def limit(self) -> float:
        """The root mean squared error below which an alloy is known: noise aside, `KNOWN_SHARE` of a guess's error."""
        return math.sqrt(self.noise + KNOWN_SHARE**2 * self.guess)

    def at(self, spreads: Float[Tensor, " b"], unknown: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
        """Return the root mean squared error that is expected of some alloys' spectra, in the spectra's unit.

        Args:
            spreads: Root mean square over the points of the epistemic std.
            unknown: How little is known, 0 to 1.
        """
        of_spread = self.spread_factor * spreads.clamp(max=self.most_spread).square()
        return (self.noise + of_spread + self.unknown_factor * unknown.square()).sqrt()


def _factors(cause: PerSample, squared_errors: PerSample) -> tuple[float, float]:
    """Return constant and factor, neither negative, of what squared errors are expected to be.

    A squared error scatters as much as it is large, so each counts by the inverse of its expectation: least squares,
    weighed anew until that settles.
    """
    design = np.stack([np.ones_like(cause), cause], axis=1)
    mean = max(float(squared_errors.mean()), 1e-12)
    expected = np.full_like(squared_errors, mean)
    constant, factor = mean, 0.0
    for _ in range(ROUNDS):
        found = cast(np.ndarray, nnls(design / expected[:, None], squared_errors / expected)[0])
        constant, factor = float(found[0]), float(found[1])
        expected = np.maximum(design @ found, 1e-3 * mean)
    return constant, factor
