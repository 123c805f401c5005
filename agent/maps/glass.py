"""What counts as a glass: the threshold of Δq, the probability of an alloy, and the share of a map. Needs no torch.

An alloy is called a glass by the width of its first peak. A rule says how likely an alloy of a known Δq is one: not
below a threshold and surely above it, or less sharply where the threshold itself is uncertain or was learnt from
labels. The probability of an alloy is the mean of that over what its Δq may be. SciPy has no types.
"""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUnknownVariableType=false

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from glassmap.agent.shapes import Mask, PerAlloy

GLASS_DELTA_Q = 0.57  # 1/Å; above it Ren et al., Sci. Adv. 4, eaaq1566 (2018) call an alloy a glass
P_GLASS = "p_glass"  # the map's column
LIKELY, SURELY, POSSIBLY = 0.5, 0.9, 0.1  # from which probability on an alloy is a glass, surely one, possibly one
SAID_UNREADABLE = 0.01  # share of a map without a first peak that is said

Atoms = Float[np.ndarray, " k"]  # quantiles of an error in units of its standard deviation, equally likely
_ATOMS = 199
NORMAL_ATOMS: Atoms = np.array([NormalDist().inv_cdf((k + 0.5) / _ATOMS) for k in range(_ATOMS)])
"""Of an error of which no more is known than its standard deviation."""


@dataclass(frozen=True)
class GlassRule:
    """How likely an alloy of a known Δq is a glass."""

    threshold: float = GLASS_DELTA_Q
    """Δq in 1/Å at which it is as likely as not."""
    threshold_std: float = 0.0
    """Its standard uncertainty in 1/Å; of labels that of the fitted threshold, which the curve needn't hold."""
    curve: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Learnt from labels: rising Δq in 1/Å, and the probability at each, never falling; straight between them."""
    note: str = ""
    """How it was learnt from labels, or why it wasn't, in words that begin small; empty without labels."""

    def chance(self, delta_q: PerAlloy) -> PerAlloy:
        """Return how likely alloys are a glass whose Δq is known exactly; NaN where it is."""
        if self.curve is not None:
            chance = np.interp(delta_q, *self.curve)
        elif self.threshold_std > 0:
            from scipy.special import ndtr

            chance = np.asarray(ndtr((delta_q - self.threshold) / self.threshold_std), dtype=np.float64)
        else:
            chance = (delta_q >= self.threshold).astype(np.float64)
        return np.where(np.isnan(delta_q), np.nan, chance)

    def probability(self, mean: PerAlloy, std: PerAlloy, atoms: Atoms | None = None) -> PerAlloy:
        """Return how likely alloys are a glass: the mean of `chance` over mean + std · atoms.

        Args:
            mean: Δq that is expected, 1/Å; NaN where none can be read.
            std: Standard deviation of the error of a new measurement, 1/Å; NaN where it isn't known.
            atoms: Quantiles of that error; `NORMAL_ATOMS` by default.

        Returns:
            NaN where either isn't known.
        """
        atoms = NORMAL_ATOMS if atoms is None else atoms
        total = np.zeros(len(mean))
        for atom in atoms.tolist():  # one at a time, as the map of a quinary has millions of rows
            total += self.chance(mean + std * atom)
        return total / len(atoms)

    def is_glass(self, delta_q: PerAlloy) -> np.ndarray:
        """Return which alloys of a known Δq are a glass rather than not; False where it is NaN."""
        return np.asarray(delta_q >= self.threshold)

    def say(self) -> str:
        """Return the rule in a phrase, such as `Δq ≥ 0.57 Å⁻¹`; of labels with where the chance passes over."""
        if self.curve is not None:
            low, high = (float(np.interp(share, self.curve[1], self.curve[0])) for share in (POSSIBLY, SURELY))
            passes = f", from 10 % at {low:.2f} to 90 % at {high:.2f}"
            return f"Δq ≥ {self.threshold:.3f} ± {self.threshold_std:.3f} Å⁻¹{passes}"
        if self.threshold_std > 0:
            return f"Δq ≥ {self.threshold:.3f} ± {self.threshold_std:.3f} Å⁻¹"
        return f"Δq ≥ {self.threshold:g} Å⁻¹"

    def to_json(self) -> dict[str, Any]:
        """Return the rule in JSON types, as a map's metadata have it under `glass`."""
        curve = None if self.curve is None else [list(values) for values in self.curve]
        numbers = {"threshold": self.threshold, "threshold_std": self.threshold_std}
        return {**numbers, "curve": curve, "note": self.note}

    @classmethod
    def from_json(cls, found: Mapping[str, Any] | None) -> "GlassRule":
        """Return the rule of `to_json`; the default one where a map is older than rules."""
        if found is None:
            return cls()
        curve = None if found["curve"] is None else (tuple(found["curve"][0]), tuple(found["curve"][1]))
        return cls(found["threshold"], found["threshold_std"], curve, found["note"])


class GlassShares(NamedTuple):
    """How much of a map is a glass, each a share of all its alloys; the surely ones are among the others."""

    glass: float  # rather than not
    surely: float | None  # None where nobody can say how sure Δq is
    possibly: float | None
    unreadable: float  # without a Δq


def reaches(p_glass: PerAlloy, level: float) -> Mask:
    """Return which probabilities are a level or more, by the digits that a map keeps: 0.9 of its float32 is 0.9."""
    return p_glass.astype(np.float32) >= np.float32(level)


def glass_shares(p_glass: PerAlloy) -> GlassShares:
    """Return how much of a map is a glass.

    Args:
        p_glass: Probability of each alloy; NaN where Δq can't be read.
    """
    glass, surely, possibly = (float(np.mean(reaches(p_glass, least))) for least in (LIKELY, SURELY, POSSIBLY))
    return GlassShares(glass, surely, possibly, float(np.mean(np.isnan(p_glass))))


def shares_of_map(delta_q: PerAlloy, p_glass: PerAlloy | None, rule: GlassRule) -> GlassShares:
    """Return how much of a map is a glass; of one that doesn't say how sure its Δq is, by Δq alone.

    Args:
        delta_q: The map's column.
        p_glass: The map's column; None of an older one.
        rule: Of the map.
    """
    if p_glass is not None and not np.isnan(p_glass[~np.isnan(delta_q)]).all():
        return glass_shares(p_glass)
    return GlassShares(float(np.mean(rule.is_glass(delta_q))), None, None, float(np.mean(np.isnan(delta_q))))


def say_glass(shares: GlassShares) -> str:
    """Return the headline, such as `glass: 31 % of the space (8 % surely, 42 % possibly)`."""
    return f"glass: {percent(shares.glass)} of the space ({say_how_surely(shares)})"


def say_how_surely(shares: GlassShares) -> str:
    """Return how sure the share of the glass is, such as `8 % surely, 42 % possibly`."""
    if shares.surely is None or shares.possibly is None:
        more = ["how surely isn't known"]
    else:
        more = [f"{percent(shares.surely)} surely", f"{percent(shares.possibly)} possibly"]
    if shares.unreadable > SAID_UNREADABLE:
        more.append(f"{percent(shares.unreadable)} can't be read")
    return ", ".join(more)


def percent(share: float) -> str:
    """Return a share in per cent; below one per cent to one digit, and never 0 or 100 where it isn't."""
    percent = 100 * share
    if 0 < percent < 1:
        return f"{percent:.1g} %" if percent >= 0.1 else "< 0.1 %"
    return f"{math.floor(percent) if 99 < percent < 100 else round(percent)} %"
