"""How far off a model is expected to be at an alloy, and so where it knows more than a guess without the place.

Letters: n alloys, k knots.
"""

from typing import NamedTuple

import numpy as np

from glassmap.agent.shapes import PerSample

KNOWN_SHARE = 0.5  # of the guess's error; an alloy is known where the model is expected to err by less


class ExpectedError(NamedTuple):
    """Root mean squared error of a generated spectrum, by the distance to the nearest alloy learned from."""

    distances: tuple[float, ...]  # at.%, increasing
    errors: tuple[float, ...]  # at each of them, in the unit of the spectra; never falling
    guess: float  # error of the mean of all spectra, which knows nothing of the place

    @classmethod
    def learned_from(cls, distances: PerSample, errors: PerSample, guess: float) -> "ExpectedError":
        """Return what left-out spectra tell; beyond the farthest of them, no less than a guess errs.

        Args:
            distances: Of each from the nearest alloy that was not left out with it, at.%.
            errors: Root mean squared, of each.
            guess: Root mean squared error of the mean of all.
        """
        order = np.argsort(distances, kind="stable")
        x, squares = distances[order], np.square(errors[order])
        thirds = [part for part in np.array_split(np.arange(len(x)), 3) if len(part)]
        knots = [float(x[part].mean()) for part in thirds] + [float(x[-1]) + 1e-6]
        rising = np.maximum.accumulate([*(squares[part].mean() ** 0.5 for part in thirds), guess])
        return cls(tuple(knots), tuple(float(error) for error in rising), guess)

    def at(self, distances: PerSample) -> PerSample:
        """Return the expected error at some distances, at.%."""
        return np.interp(distances, self.distances, self.errors)

    def is_known(self, errors: PerSample) -> PerSample:
        """Return 1 where an expected error is less than `KNOWN_SHARE` of the guess's, else 0."""
        return (errors < KNOWN_SHARE * self.guess).astype(np.float64)
