"""What a person wishes of a candidate beside being a glass: shares of elements, what it costs, how dense it is.

Letters: n alloys, e elements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import periodictable

from glassmap.agent.data.composition import ROUNDING_AT_PCT
from glassmap.agent.errors import CompositionError
from glassmap.agent.maps.prices import PRICES_PER_KG
from glassmap.agent.peaks.atomic_volume import atomic_volumes
from glassmap.agent.shapes import Composition, Compositions, Mask, PerSample

_GRAMS_A_CM3 = 1 / 0.602214  # of a dalton in an Å3
_SLACK = 1 + 1e-9  # of a limit, so that an alloy that is on it meets it


@dataclass(frozen=True)
class Wish:
    """Limits that candidates keep to; by default there are none."""

    bounds_at_pct: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    """Lowest and highest share of an element in at.%, both included."""
    max_cost_per_kg: float | None = None
    """US dollars, of the raw elements."""
    density: tuple[float, float] | None = None
    """Lowest and highest, g/cm3."""
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    """US dollars a kilogram, in place of those of `PRICES_PER_KG`."""

    def costs(self, compositions: Compositions, elements: Sequence[str]) -> PerSample:
        """Return what the elements of each alloy cost, US dollars a kilogram, `(n,)`; NaN where a price isn't known."""
        prices = {**PRICES_PER_KG, **self.prices}
        weights = compositions * _masses(elements)
        each = np.array([prices.get(element, np.nan) for element in elements])
        return np.where(weights > 0, weights * each, 0).sum(1) / weights.sum(1)

    def is_met(self, compositions: Compositions, elements: Sequence[str]) -> Mask:
        """Return which alloys keep to the limits, `(n,)`; one whose cost isn't known keeps to none on it.

        Raises:
            CompositionError: If there is a limit on the density, and that of an element isn't known.
        """
        met = np.ones(len(compositions), dtype=bool)
        for element, (low, high) in self.bounds_at_pct.items():
            if element in elements:
                share = 100 * compositions[:, list(elements).index(element)]
                met &= (share >= low - ROUNDING_AT_PCT) & (share <= high + ROUNDING_AT_PCT)
            elif low > 0:
                met[:] = False
        if self.max_cost_per_kg is not None:
            met &= self.costs(compositions, elements) <= self.max_cost_per_kg * _SLACK
        if self.density is not None:
            low, high = self.density
            found = densities(compositions, elements)
            met &= (found >= low / _SLACK) & (found <= high * _SLACK)
        return met

    def say(self) -> str:
        """Return the limits in a phrase, such as `Co 0 to 40 at.%, at most 50 $/kg`; empty without any."""
        said: list[str] = []
        for element, (low, high) in self.bounds_at_pct.items():
            said.append(f"{element} {low:g} to {high:g} at.%")
        if self.max_cost_per_kg is not None:
            said.append(f"at most {self.max_cost_per_kg:g} $/kg")
        if self.density is not None:
            said.append(f"{self.density[0]:g} to {self.density[1]:g} g/cm³")
        return ", ".join(said)


def densities(compositions: Compositions, elements: Sequence[str]) -> PerSample:
    """Return the density of each alloy by Vegard's rule, g/cm3, `(n,)`: its mass over the volumes of its elements.

    Metals are within some per cent of it, denser where their elements attract each other. Alloys with much of an
    element that is no metal are further off, as its atoms take less room there than in the element.

    Raises:
        CompositionError: If the density of an element isn't known.

    Example:
        >>> densities(np.array([[0.5, 0.4, 0.1]]), ("Zr", "Cu", "Al")).round(2)
        array([6.8])
    """
    return (compositions @ _masses(elements)) / (compositions @ atomic_volumes(elements)) * _GRAMS_A_CM3


def has_density(elements: Sequence[str]) -> bool:
    """Return whether the densities of all elements are known."""
    try:
        atomic_volumes(elements)
    except CompositionError:
        return False
    return True


def _masses(elements: Sequence[str]) -> Composition:
    """Return the standard atomic weights, u, `(e,)`."""
    return np.array([float(getattr(periodictable, element).mass) for element in elements])
