"""Whether first peaks lie where the volume of their atoms puts them, and if not, what was likely mistaken.

A wrong wavelength multiplies every q by one factor, a shifted zero of 2θ nearly so; elements in the wrong columns make
another alloy of each sample. The law of `atomic_volume` sees both, without a model and before anything is learned from
the scans. What it finds at which size, and how often it is wrong, is in docs/results.md. Needs no torch.

Letters: n samples, e elements.
"""

import math
from collections.abc import Sequence
from itertools import permutations
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Shaped
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

from glassmap.agent.data.corrections import DOUBLETS
from glassmap.agent.peaks.atomic_volume import FEWEST, VolumeLaw, halos, q1_by_volume
from glassmap.agent.shapes import CandidateCompositions, Compositions, Distances, Mask, Neighbours, PerSample

ANODES: dict[str, float] = {anode: lines.alpha1 for anode, lines in DOUBLETS.items()}  # Å, of Kα1
SURELY = 3.0  # standard errors
SYSTEMS = 0.018  # standard deviation of ln factor between systems whose halos lie round the middle of the triangle …
AWAY = 0.12  # … and more for each unit of atomic fraction that the mean of the halos is away from it
OF_ANOTHER_KIND = 4  # parts of the scatter that count as error, as fine crystals may be among the halos
BETWEEN_WAFERS = 0.025  # standard deviation of the shift of one wafer against others at the same alloys …
AS_MANY_WAFERS = 3  # … which counts beside those of the set as that of so many
NEAR_AT_PCT = 10.0  # how far the alloys of other wafers may be, that a wafer's are held against
FEWEST_OF_A_GROUP = 8  # halos near those of other groups, for it to be judged
NEIGHBOURS = 8  # that a single sample is held against
SINGLE, SINGLE_SCATTERS = 0.14, 8.0  # shift of a sample that is named: this at least, and so many times the usual
SCATTERED = 0.02  # about the law, where elements may have been swapped
FITS_BETTER = 0.8  # scatter with elements swapped over that without
AS_WELL = 1.1  # times the least scatter: which other orders of the elements fit as well
MOST_ELEMENTS = 6  # of which all orders are tried
NAMED = 3  # samples


class Shift(NamedTuple):
    """How far the first peaks of some samples lie above where they are expected."""

    of: str
    """A wafer, a round or a sample; empty for all samples."""
    share: float
    """Of q1: ln of the factor by which it is too large."""
    error: float
    """Its standard error, what differs between systems or wafers included."""

    @property
    def is_sure(self) -> bool:
        """Whether it is more than what systems, wafers and noise make."""
        return abs(self.share) > SURELY * self.error


class VolumeCheck(NamedTuple):
    """What was seen in the first peaks of samples; only halos are looked at."""

    elements: tuple[str, ...]
    halos: int
    law: VolumeLaw
    q1: float
    """Median of the halos, 1/Å."""
    wavelength: float | None
    """By which 2θ was made q; None where the axis was q already."""
    orders: tuple[tuple[str, ...], ...]
    """What the columns likely are, the best first, where that isn't `elements`."""
    off: Shift
    """All samples against the law."""
    apart: tuple[Shift, ...]
    """Wafers or rounds that surely lie off what others say at the same alloys."""
    single: tuple[Shift, ...]
    """Samples that lie off their neighbours, the farthest first."""

    @property
    def is_right(self) -> bool:
        """Whether nothing is to be said."""
        return not (self.orders or self.off.is_sure or self.apart or self.single)

    def __str__(self) -> str:
        if self.orders:
            return self._say_orders()
        words: list[str] = []
        if self.off.is_sure:
            words.append(self._say_shift(self.off, "what the volume of their atoms lets expect"))
        words += [self._say_shift(one, "what the others say of the same alloys") for one in self.apart]
        if self.single:
            named = ", ".join(f"{one.of} ({_percent(one)})" for one in self.single[:NAMED])
            more = f" and {len(self.single) - NAMED} more" if len(self.single) > NAMED else ""
            words.append(
                f"q₁ of {named}{more} lies off those of the most similar alloys: is it another alloy than the table "
                "says?"
            )
        return " ".join(words) or (
            f"q₁ of the {self.halos:,} wide peaks follows the volume of their atoms within {self.law.scatter:.1%}, as "
            "it should."
        )

    def _say_orders(self) -> str:
        orders = " or ".join(", ".join(order) for order in self.orders[:NAMED])
        return (
            f"The elements look swapped: q₁ of the {self.halos:,} wide peaks follows the volume of their atoms much "
            f"better if the columns {', '.join(self.elements)} hold {orders}. Check the composition table."
        )

    def _say_shift(self, shift: Shift, than: str) -> str:
        whose = f"the wide peaks of {shift.of}" if shift.of else f"the {self.halos:,} wide peaks"
        side = "above" if shift.share > 0 else "below"
        words = f"q₁ of {whose} lies {_percent(shift).lstrip('+-')} {side} {than}."
        if anodes := self._anodes(shift):
            words += f" As if {anodes}."
        if self.wavelength is not None:
            zero, error = (_two_theta_of(share, self.q1, self.wavelength) for share in (shift.share, shift.error))
            words += f" A zero of 2θ shifted by {zero:+.2f} ± {error:.2f}° would do the same."
        return f"{words} Check the wavelength, the zero and the alloys."

    def _anodes(self, shift: Shift) -> str:
        """Return which wrong wavelength explains a shift, within two standard errors; empty where none does."""
        found: list[tuple[float, str]] = []
        for true, length in ANODES.items():
            if self.wavelength is not None:
                miss = abs(math.log(length / self.wavelength) - shift.share)
                found.append((miss, f"the wavelength were {true} Kα ({length:g} Å), not {self.wavelength:g} Å"))
                continue
            for taken, used in ANODES.items():
                if taken != true:
                    miss = abs(math.log(length / used) - shift.share)
                    found.append((miss, f"scans of {true} Kα had been brought to q by the wavelength of {taken} Kα"))
        miss, words = min(found)
        return words if miss < 2 * shift.error else ""


def check_volumes(
    compositions: Compositions,
    elements: Sequence[str],
    q1: PerSample,
    delta_q: PerSample,
    *,
    ids: Sequence[str] = (),
    groups: Shaped[np.ndarray, " n"] | None = None,
    wavelength: float | None = None,
) -> VolumeCheck | None:
    """Hold the first peaks of samples against the volume of their atoms; None where fewer than 20 are halos.

    Args:
        compositions: Atomic fractions `(n, e)`, as they were measured.
        elements: Of the columns.
        q1: 1/Å, `(n,)`; NaN where there is no peak.
        delta_q: 1/Å, `(n,)`.
        ids: Names of the samples; without, single ones aren't looked at.
        groups: Wafer or round of each, which may have a fault of its own; without, none is looked at.
        wavelength: In Å, by which 2θ was made q.
    """
    law = VolumeLaw.learned_from(compositions, elements, q1, delta_q)
    if law is None:
        return None
    told = halos(compositions, elements, q1, delta_q)
    compositions, q1 = compositions[told], q1[told]
    off = np.log(q1 / q1_by_volume(compositions, elements))
    away = float(np.linalg.norm(compositions.mean(0) - 1 / len(elements)))
    whole = Shift("", float(np.median(off)), math.hypot(SYSTEMS, AWAY * away, law.scatter / OF_ANOTHER_KIND))
    orders = _better_orders(compositions, elements, q1) if law.scatter > SCATTERED else ()
    apart = () if groups is None else _groups_apart(compositions, off, groups[told])
    single = _single_samples(compositions, elements, off, np.asarray(ids)[told]) if len(ids) else ()
    return VolumeCheck(tuple(elements), len(q1), law, float(np.median(q1)), wavelength, orders, whole, apart, single)


def _better_orders(compositions: Compositions, elements: Sequence[str], q1: PerSample) -> tuple[tuple[str, ...], ...]:
    """Return which elements the columns hold if q1 follows the law much better so, the best first."""
    if len(elements) > MOST_ELEMENTS:
        return ()
    scatters = {order: float(np.log(q1 / q1_by_volume(compositions, order)).std()) for order in permutations(elements)}
    least = min(scatters.values())
    if least > FITS_BETTER * scatters[tuple(elements)]:
        return ()
    return tuple(sorted((order for order, s in scatters.items() if s < AS_WELL * least), key=scatters.__getitem__))


def _groups_apart(
    compositions: Compositions, off: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"]
) -> tuple[Shift, ...]:
    """Return the groups that surely lie off all others, the surest first.

    One that does is left out before the rest are compared, so that it isn't held against the good ones. How far groups
    lie off by themselves is what the others do, and what was seen of wafers before.
    """
    found: list[Shift] = []
    left = np.ones(len(off), dtype=bool)
    while True:
        alone = [_group_apart(compositions[left], off[left], groups[left], group) for group in np.unique(groups[left])]
        shifts = [shift for shift in alone if shift is not None]
        sure: list[Shift] = []
        for shift in shifts:
            others = [other.share for other in shifts if other is not shift]
            between = (AS_MANY_WAFERS * BETWEEN_WAFERS**2 + float(np.square(others).sum())) / (
                AS_MANY_WAFERS + len(others)
            )
            sure.append(shift._replace(error=math.hypot(math.sqrt(between), shift.error)))
        sure = [shift for shift in sure if shift.is_sure]
        if not sure:
            return tuple(found)
        found.append(max(sure, key=lambda shift: abs(shift.share) / shift.error))
        left &= groups.astype(str) != found[-1].of


def _group_apart(
    compositions: Compositions, off: Float[np.ndarray, " n"], groups: Shaped[np.ndarray, " n"], group: object
) -> Shift | None:
    """Return how far a group lies off the others, sample by sample against their nearest; None where too few tell.

    Its error is what the scatter of its samples makes.
    """
    own: Mask = groups == group
    if (~own).sum() < FEWEST:
        return None
    distances, nearest = _nearest(compositions[own], compositions[~own], 3)
    near = distances[:, -1] <= NEAR_AT_PCT / 100
    if near.sum() < FEWEST_OF_A_GROUP:
        return None
    apart = (off[own] - np.median(off[~own][nearest], axis=1))[near]
    error = float(apart.std()) / math.sqrt(len(apart) / 4)  # neighbours tell the same
    return Shift(str(group), float(np.median(apart)), error)


def _single_samples(
    compositions: Compositions, elements: Sequence[str], off: Float[np.ndarray, " n"], ids: Shaped[np.ndarray, " n"]
) -> tuple[Shift, ...]:
    """Return the samples that lie off the median of their nearest neighbours, the farthest first.

    By more than the elements differ no alloy is off: there another peak was taken for the first.
    """
    _, nearest = _nearest(compositions, compositions, NEIGHBOURS + 1)
    apart = off - np.median(off[nearest[:, 1:]], axis=1)
    usual = 1.4826 * float(np.median(np.abs(apart)))
    least = max(SINGLE, SINGLE_SCATTERS * usual)
    most = float(np.ptp(np.log(q1_by_volume(np.eye(len(elements)), elements))))
    rows = np.argsort(-np.abs(apart))
    return tuple(Shift(str(ids[k]), float(apart[k]), usual) for k in rows if least < abs(apart[k]) <= most)


def _nearest(of: Compositions, among: CandidateCompositions, k: int) -> tuple[Distances, Neighbours]:
    """Return distance and row of the nearest alloys to each, the nearest first."""
    distances, rows = cast(Any, KDTree(among)).query(of, k=k)
    return distances, rows


def _percent(shift: Shift) -> str:
    return f"{100 * math.expm1(shift.share):+.1f} ± {100 * shift.error:.1f} %"


def _two_theta_of(share: float, q1: float, wavelength: float) -> float:
    """Return the shift of 2θ in degrees that moves q1 by a share of it."""
    return math.degrees(2 * math.tan(math.asin(min(q1 * wavelength / (4 * math.pi), 0.999))) * share)
