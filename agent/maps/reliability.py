"""Whether P(glass) and intervals of Δq can be believed: what was said of alloys, and what was measured of them."""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from glassmap.agent.maps.glass import LIKELY, POSSIBLY, SURELY
from glassmap.agent.models.config import CONFIDENCE
from glassmap.agent.shapes import Mask, PerSample

EDGES = (0.0, POSSIBLY, 0.3, LIKELY, 0.7, SURELY, 1.0)  # of the classes of P(glass)
_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


class Share(NamedTuple):
    """Of how many alloys something is true."""

    true: float  # need be no whole number: a measured alloy near an uncertain threshold is a glass in part
    of: int

    @property
    def value(self) -> float:
        """Return the share; NaN of none."""
        return self.true / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Return between which shares the true one is, `CONFIDENCE` sure, by Wilson (1927); 0 to 1 of none.

        As if alloys erred independently: those of one wafer don't, and are fewer than they look.
        """
        if not self.of:
            return 0.0, 1.0
        n, share = self.of, self.value
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def say(self) -> str:
        """Return such as `17 of 18 (94 %; 77–99 %)`."""
        low, high = (f"{100 * end:.0f}" for end in self.interval)
        return f"{self.true:.3g} of {self.of} ({100 * self.value:.0f} %; {low}–{high} %)"


class Class(NamedTuple):
    """Alloys of which nearly the same P(glass) was said."""

    low: float
    high: float
    said: float  # mean P(glass); NaN of none
    measured: Share  # of them, those measured to be a glass

    @property
    def holds(self) -> bool:
        """Return whether what was said is within the interval of what was measured."""
        low, high = self.measured.interval
        return not self.measured.of or low <= self.said <= high


class Reliability(NamedTuple):
    """What P(glass) was worth."""

    classes: tuple[Class, ...]  # between `EDGES`
    alloys: int  # with a P(glass) and a measured Δq
    brier: float  # mean squared difference of P(glass) and whether it is a glass: 0 at best
    brier_of_share: float  # of who says of every alloy the share of glasses among them
    calibration_error: float  # mean over alloys of how far what was said of their class is from what was measured
    by_chance: float  # what it would be on average for so many alloys if P(glass) were right


def reliability(p_glass: PerSample, is_glass: PerSample) -> Reliability:
    """Return how what was said of alloys compares with what they were measured to be.

    Args:
        p_glass: That was said of each; NaN where nothing was.
        is_glass: 1 for a glass and 0 for none, or by an uncertain rule between; NaN where Δq can't be read.
    """
    told = np.isfinite(p_glass) & np.isfinite(is_glass)
    said, found = p_glass[told], is_glass[told]
    n = len(said)
    rows = np.clip(np.searchsorted(EDGES, said, side="right") - 1, 0, len(EDGES) - 2)
    classes: list[Class] = []
    error = by_chance = 0.0
    for number, (low, high) in enumerate(pairwise(EDGES)):
        mine = rows == number
        count = int(mine.sum())
        classes.append(
            Class(low, high, float(said[mine].mean()) if count else math.nan, Share(float(found[mine].sum()), count))
        )
        error += abs(float((said[mine] - found[mine]).sum())) / max(n, 1)
        by_chance += math.sqrt(2 / math.pi * float((said[mine] * (1 - said[mine])).sum())) / max(n, 1)
    nothing = math.nan
    return Reliability(
        tuple(classes),
        n,
        float(np.square(said - found).mean()) if n else nothing,
        float(np.square(found.mean() - found).mean()) if n else nothing,
        error if n else nothing,
        by_chance if n else nothing,
    )


def coverage(
    low: PerSample, high: PerSample, measured: PerSample, groups: Sequence[tuple[str, Mask]] = ()
) -> dict[str, Share]:
    """Return of how many alloys the measured figure is within the interval that was said of it, of all and by group.

    Args:
        low: Where the interval of each begins; NaN where it isn't known.
        high: Where it ends.
        measured: NaN where it can't be read.
        groups: Their names, and which alloys each holds; such as wafers.
    """
    judged = np.isfinite(low) & np.isfinite(high) & np.isfinite(measured)
    inside = judged & (low <= measured) & (measured <= high)
    everything = [("all", np.ones(len(judged), dtype=bool)), *groups]
    return {name: Share(float(np.sum(inside & rows)), int(np.sum(judged & rows))) for name, rows in everything}
