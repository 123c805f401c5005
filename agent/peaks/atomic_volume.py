"""Where the first peak of a metallic glass lies by the volume of its atoms alone: q1 = 9.3 v^-0.433.

v is the mean volume of an atom in Å3, by Vegard's rule from the densities of the elements. The power is one over the
fractal dimension 2.31 of the order beyond the first neighbours. Up to one factor a system, within 2 % of 1, it gives 75
to 97 % of the variance of q1 among halos, without any spectrum. Crystals follow other factors, and alloys with much of
an element that is no metal none, as its atoms take less room there than in the element. Needs no torch.

Letters: n alloys, e elements.

Source: D. Ma, A. D. Stoica, X.-L. Wang, Nat. Mater. 8, 30 (2009).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import periodictable

from glassmap.agent.errors import CompositionError
from glassmap.agent.shapes import Composition, Compositions, Mask, PerSample

PREFACTOR, POWER = 9.3, -0.433  # of v in Å3, to q1 in 1/Å
HALO = 0.15  # Δq over q1, whatever the wavelength was taken for; 0.42 1/Å (Joress 2020) at a q1 of 2.8 1/Å
FEWEST = 20  # halos to learn a system's factor from
MOST_OF_NO_METAL = 0.05  # atomic fraction, of an alloy that the law is held against
NO_METALS = {"H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br", "Te", "I"}
_AVOGADRO = 0.602214  # atoms an Å3, of 1 mol/cm3


def atomic_volumes(elements: Sequence[str]) -> Composition:
    """Return the volume of an atom in each element, Å3, `(e,)`: its molar mass over its density.

    Raises:
        CompositionError: If the density of an element isn't known.

    Source: the densities of periodictable, at room temperature.
    """
    volumes: list[float] = []
    for symbol in elements:
        element = getattr(periodictable, symbol)
        if not element.density:
            raise CompositionError(f"The density of {symbol} isn't known, got {'-'.join(elements)}. Leave it out.")
        volumes.append(element.mass / element.density / _AVOGADRO)
    return np.array(volumes)


def q1_by_volume(compositions: Compositions, elements: Sequence[str]) -> PerSample:
    """Return the law's q1 of each alloy, 1/Å, `(n,)`, as far as its system's factor is 1.

    Raises:
        CompositionError: If the density of an element isn't known.

    Example:
        >>> q1_by_volume(np.array([[0.5, 0.4, 0.1]]), ("Zr", "Cu", "Al")).round(2)
        array([2.66])
    """
    return PREFACTOR * (compositions @ atomic_volumes(elements)) ** POWER


def halos(compositions: Compositions, elements: Sequence[str], q1: PerSample, delta_q: PerSample) -> Mask:
    """Return which alloys the law speaks of: metals whose first peak is wide, `(n,)`; NaN is no peak."""
    others = compositions[:, [element in NO_METALS for element in elements]].sum(1)
    return (delta_q > HALO * q1) & (others <= MOST_OF_NO_METAL)


class VolumeLaw(NamedTuple):
    """The law with the factor of one system."""

    elements: tuple[str, ...]
    factor: float
    """Of q1; mean over the halos that it was learned from, on the logarithm."""
    scatter: float
    """Standard deviation of ln q1 about the law, over the same halos: a share of q1."""

    @classmethod
    def learned_from(
        cls, compositions: Compositions, elements: Sequence[str], q1: PerSample, delta_q: PerSample
    ) -> "VolumeLaw | None":
        """Learn a system's factor; None where fewer than `FEWEST` alloys are halos, or an element has no density.

        Args:
            compositions: Atomic fractions `(n, e)`, of what was measured.
            elements: Of the columns.
            q1: 1/Å, `(n,)`; NaN where there is no peak.
            delta_q: 1/Å, `(n,)`.
        """
        told = halos(compositions, elements, q1, delta_q)
        if told.sum() < FEWEST:
            return None
        try:
            off = np.log(q1[told] / q1_by_volume(compositions[told], elements))
        except CompositionError:
            return None
        return cls(tuple(elements), float(np.exp(off.mean())), float(off.std()))

    def q1(self, compositions: Compositions) -> PerSample:
        """Return the q1 that the law gives alloys as halos, 1/Å, `(n,)`; its standard deviation is `scatter` of it."""
        return self.factor * q1_by_volume(compositions, self.elements)
