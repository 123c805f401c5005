"""What a model of spectra is: `fit` returns a frozen object, and that predicts.

The ensemble's base models and every baseline keep it. This file needs no torch, so that whoever draws may fit a
baseline.

Letters: n compositions, e elements, q points of a spectrum, m members.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from glassmap.agent.shapes import Compositions, MemberSpectra, Spectra


@dataclass(frozen=True, eq=False)
class Prediction:
    """The spectra that a model predicts of some compositions, in the unit of the spectra it learned from."""

    mean: Spectra
    members: MemberSpectra | None
    """Each member's own, where a model has several and they are at hand."""
    std: Spectra
    """How far the truth may be off, as the model itself sees it; NaN where it can't tell."""


@runtime_checkable
class TrainedModel(Protocol):
    """A model that has learned; frozen, so that equal questions have equal answers."""

    def predict(self, compositions: Compositions) -> Prediction:
        """Predict the spectrum of each row, atomic fractions `(n, e)`."""
        ...


@runtime_checkable
class Model(Protocol):
    """Anything that learns spectra from compositions."""

    def fit(self, compositions: Compositions, spectra: Spectra, *, seed: int) -> TrainedModel:
        """Learn from measured spectra.

        Args:
            compositions: Atomic fractions `(n, e)`; replicates are legal.
            spectra: `(n, q)`, intensity 0-100.
            seed: Decides every random number.
        """
        ...


def stream_seed(seed: int, purpose: str, number: int = 0) -> int:
    """Return the seed of one of the random streams that a seed stands for, below 2**63; it depends on no other."""
    sequence = np.random.SeedSequence([seed, sum(purpose.encode()), number])
    return int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1))
