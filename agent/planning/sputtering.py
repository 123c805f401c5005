"""Sputtered wafers: which composition lies where, by what each gun emits; and how wafers that were made correct it.

A gun emits atoms by a power of the cosine of the angle from its axis; what reaches a point of the wafer falls with the
square of the distance and with the cosine at which it comes in. Fluxes of guns add up, and no atom scatters on its way.
The guns' rates are thicknesses, of films as dense as the elements, so that volumes of atoms turn them into atoms.

What people say of a chamber is about right (`Known`). Wafers of which powers and compositions are known mend it
(`calibrate`): the likeliest chamber by both, and how sure that is.

Letters: p wafers (each by its powers), g guns, k points of a wafer, e elements, h figures of all guns. The wafer lies
in the plane z = 0 with its centre at 0, and the guns stand above it; everything in mm.

Source: L. Holland, W. Steckelmacher, Vacuum 2, 346 (1952), for the cosine law and the geometry; the power of the cosine
as E. B. Graper, J. Vac. Sci. Technol. 10, 100 (1973).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, cast

import numpy as np

from glassmap.agent.errors import CompositionError
from glassmap.agent.peaks.atomic_volume import atomic_volumes
from glassmap.agent.shapes import (
    Composition,
    Compositions,
    GunFactors,
    GunFigures,
    GunFiguresCovariance,
    GunPowers,
    GunRates,
    GunShares,
    PerWafer,
    Place,
    Residuals,
    WaferCompositions,
    WaferMinutes,
    WaferPoints,
    WaferThickness,
)

EDX_AT_PCT = 1.0  # that measured compositions err by, until a fit says it
THICKNESS_ERROR = 0.05  # of a measured thickness, as a share
TOLD = 0.8  # of how well a figure was known before; one that is known no better isn't told by the wafers
SEVERAL_POWERS = 1.05  # highest over lowest, from which on wafers tell how a rate grows with power
BLOCK_MM = 24.0  # of a wafer, within which points err alike where the model isn't right
LEAST_AT_PCT = 0.05  # that compositions err by, however well a fit goes through them
OWN_RATE = 3.0  # of a wafer of unknown powers, on its logarithm
HELD = 1e-3  # on a logarithm, of what is held: the scale of rates that no thickness tells
FIGURES = ("rate", "exponent", "power_exponent", "azimuth", "tilt", "distance", "aim")  # of a gun, that are fitted
LOGARITHMIC = ("rate", "exponent", "distance")


@dataclass(frozen=True)
class Gun:
    """A sputter gun."""

    name: str
    composition: Composition
    """Of its target, over the campaign's elements; atoms come off it in these shares."""
    azimuth: float
    """Degrees about the wafer's normal, from +x towards +y, at which it stands."""
    tilt: float
    """Degrees from the wafer's normal, at which it is seen from the wafer's centre."""
    distance: float
    """mm, from the wafer's centre to the middle of its target."""
    rate: float
    """nm/min that it alone gives at the centre of the wafer …"""
    power: float
    """… at this power, W."""
    powers: tuple[float, float]
    """W, the lowest and highest that it runs at."""
    exponent: float = 1.0
    """Of the cosine that it emits by: 1 of a plate that emits as Lambert's, higher of a beam."""
    power_exponent: float = 1.0
    """Of the power that its rate grows by."""
    aim: float = 0.0
    """mm from the centre of the wafer, towards the gun, at which its axis meets the wafer's plane."""

    @cached_property
    def place(self) -> Place:
        """Where the middle of its target stands, mm."""
        off = math.radians(self.tilt)
        return self.distance * (math.sin(off) * self._about + np.array([0.0, 0.0, math.cos(off)]))

    @cached_property
    def direction(self) -> Place:
        """It faces, a unit vector."""
        way = self.aim * self._about - self.place
        return way / np.linalg.norm(way)

    @property
    def _about(self) -> Place:
        """The unit vector from the centre of the wafer to below the gun."""
        return np.array([math.cos(math.radians(self.azimuth)), math.sin(math.radians(self.azimuth)), 0.0])


@dataclass(frozen=True)
class Chamber:
    """Guns above a wafer that stands still."""

    elements: tuple[str, ...]
    guns: tuple[Gun, ...]

    def rates(self, powers: GunPowers, x: WaferPoints, y: WaferPoints) -> GunRates:
        """Return what each gun gives at each point, nm/min of its own target, `(p, g, k)`.

        Args:
            powers: W, `(p, g)`; 0 is off.
            x: mm, `(k,)`.
            y: mm, `(k,)`.
        """
        given = np.array([gun.rate for gun in self.guns])
        at = powers / np.array([gun.power for gun in self.guns])
        grown = given * at ** np.array([gun.power_exponent for gun in self.guns])
        return grown[:, :, None] * self._shares(x, y)

    def compositions(self, powers: GunPowers, x: WaferPoints, y: WaferPoints) -> WaferCompositions:
        """Return the composition of each point, atomic fractions, `(p, k, e)`.

        Args:
            powers: W, `(p, g)`; 0 is off.
            x: mm, `(k,)`.
            y: mm, `(k,)`.

        Raises:
            CompositionError: If all guns of a wafer are off, or the density of an element isn't known.
        """
        if not (np.asarray(powers) > 0).any(1).all():
            raise CompositionError("A wafer needs a gun that is on, got powers of 0 W alone. Give one a power.")
        targets = np.array([gun.composition for gun in self.guns])
        atoms = self.rates(powers, x, y) / (targets @ atomic_volumes(self.elements))[:, None]
        by_element = np.einsum("pgk,ge->pke", atoms, targets)
        return by_element / by_element.sum(2, keepdims=True)

    def thickness(self, powers: GunPowers, x: WaferPoints, y: WaferPoints, minutes: float = 1.0) -> WaferThickness:
        """Return how thick the film becomes at each point, nm, `(p, k)`.

        Args:
            powers: W, `(p, g)`; 0 is off.
            x: mm, `(k,)`.
            y: mm, `(k,)`.
            minutes: Of deposition.
        """
        return minutes * self.rates(powers, x, y).sum(1)

    def minutes(self, powers: GunPowers, thickness: float) -> WaferMinutes:
        """Return how long each wafer takes until its centre is so thick, min, `(p,)`; thickness in nm."""
        centre = np.zeros(1)
        return thickness / self.thickness(powers, centre, centre)[:, 0]

    def _shares(self, x: WaferPoints, y: WaferPoints) -> GunShares:
        """Return what each gun gives at each point over what it gives at the centre, `(g, k)`."""
        points = np.stack([np.append(x, 0.0), np.append(y, 0.0), np.zeros(len(x) + 1)])  # the centre last
        places, directions = (np.array([getattr(gun, name) for gun in self.guns]) for name in ("place", "direction"))
        way = points - places[:, :, None]  # from the gun to the point, (g, 3, k + 1)
        length = np.sqrt((way**2).sum(1))
        emitted = np.clip(np.einsum("gck,gc->gk", way, directions) / length, 1e-9, None)  # hardly any behind the target
        exponents = np.array([[gun.exponent] for gun in self.guns])
        flux = emitted**exponents * places[:, 2:] / length**3  # one of the three is the angle at which it comes in
        return flux[:, :-1] / flux[:, -1:]


class Known(NamedTuple):
    """How well a chamber is known before it is calibrated: standard deviations of what is said of each gun.

    0 holds a figure as it is.
    """

    rate: float = 1.0  # on its logarithm: twice as much is nothing
    exponent: float = 1.0  # on its logarithm
    power_exponent: float = 0.2  # about 1
    azimuth: float = 5.0  # degrees
    tilt: float = 5.0  # degrees
    distance: float = 0.1  # on its logarithm
    aim: float = 20.0  # mm
    turn: float = 10.0  # degrees, of a wafer that was laid on the stage by hand


class Deposition(NamedTuple):
    """A wafer that was made, and what was found on it."""

    powers: Sequence[float] | None  # W, of each gun; None where nobody knows, and only the shape of the fields tells
    x: WaferPoints
    y: WaferPoints
    compositions: Compositions
    """Of the points, `(k, e)`."""
    thickness: float | None = None  # nm at the centre, where it was measured …
    minutes: float | None = None  # … after so long
    name: str = ""


@dataclass(frozen=True)
class Calibration:
    """A chamber as wafers tell it."""

    chamber: Chamber
    errors: tuple[dict[str, float], ...]
    """Standard deviation of each figure of `FIGURES` of each gun; of rate, exponent and distance as a share of them."""
    covariance: GunFiguresCovariance
    """Of all figures of all guns, gun by gun, those of `LOGARITHMIC` on their logarithm."""
    wafers: tuple[str, ...]
    """What they are called."""
    turns: tuple[float, ...]
    """Degrees by which each wafer lay turned when it was measured, from +x towards +y."""
    rms_at_pct: float
    """Of measured compositions against those of the chamber, over elements and points of all wafers."""
    worst_at_pct: float
    rms_by_wafer: tuple[float, ...]
    powers_used: tuple[tuple[float, float] | None, ...]
    """W, lowest and highest of each gun on those wafers; None where none of their powers is known."""
    is_absolute: bool
    """Whether a thickness was known; else rates are right only against each other."""
    notes: tuple[str, ...]

    def warn(self, powers: Sequence[float]) -> tuple[str, ...]:
        """Say which powers of a wafer, W, lie outside those of the wafers that the chamber was calibrated by."""
        said = list[str]()
        for gun, used, power in zip(self.chamber.guns, self.powers_used, powers, strict=True):
            if power and used is None:
                said.append(f"{gun.name} never ran on a wafer of known powers; its rate is as given.")
            elif power and used is not None and not used[0] * 0.99 <= power <= used[1] * 1.01:
                between = f"at {used[0]:g} W" if used[0] == used[1] else f"between {used[0]:g} and {used[1]:g} W"
                said.append(f"{gun.name} is asked for {power:g} W and was calibrated {between} only.")
        return tuple(said)

    def expected_error(self, powers: GunPowers, x: WaferPoints, y: WaferPoints) -> WaferThickness:
        """Return by how much compositions are expected to err, at.%, root mean square over elements, `(p, k)`.

        That is what the figures of the guns leave open, and what the chamber missed on the wafers that it was
        calibrated by, for a wafer that isn't laid down turned. Of powers that were never used it is as wide as `Known`
        says.

        Args:
            powers: W, `(p, g)`.
            x: mm, `(k,)`.
            y: mm, `(k,)`.
        """
        figures, steps = _figures(self.chamber), np.sqrt(np.diag(self.covariance))
        at = self.chamber.compositions(powers, x, y)
        tangents = [np.zeros_like(at)] * len(figures)
        for row, step in enumerate(steps):
            if step:
                moved = figures.copy()
                moved[row] += 0.01 * step
                tangents[row] = (_with_figures(self.chamber, moved).compositions(powers, x, y) - at) / (0.01 * step)
        spread = np.einsum("hpke,hi,ipke->pk", tangents, self.covariance, tangents, optimize=True)
        return np.sqrt(100**2 * spread / len(self.chamber.elements) + self.rms_at_pct**2)

    def expected_at_most(self, powers: Sequence[tuple[float, float]], x: WaferPoints, y: WaferPoints) -> float:
        """Return the largest expected error of a wafer, at.%, root mean square over its points.

        Args:
            powers: W, lowest and highest of each gun; wafers are made at either, in all combinations.
            x: mm, `(k,)`, of the points.
            y: mm, `(k,)`.
        """
        errors = self.expected_error(np.array([*product(*powers)]), x, y)
        return float(np.sqrt((errors**2).mean(axis=1)).max())


def calibrate(chamber: Chamber, depositions: Sequence[Deposition], known: Known | None = None) -> Calibration:
    """Return the likeliest chamber by what was said of it and by wafers that were made in it.

    It minimises the squares of compositions (and thicknesses) missed, in units of what compositions err by, plus the
    squares of what is changed of the chamber, in units of `known`. What compositions err by is what the fit itself
    leaves, as far as neighbours err alike counted by blocks of the wafer, so that a model that isn't right isn't surer.
    How a rate grows with power is fitted of guns that ran at several powers, else it is taken as said. The lie of a
    wafer is fitted, too, as people turn wafers; its centre is trusted.

    Args:
        chamber: As it is said to be.
        depositions: At least one, over the chamber's elements.
        known: How well that is.

    Raises:
        CompositionError: If there is no wafer, one has no point or no place, or powers aren't one a gun and above 0 for
            some.
    """
    known = known or Known()
    _check(chamber, depositions)
    fit = _Fit(chamber, tuple(depositions), known)
    first = fit.solve(EDX_AT_PCT)
    return fit.calibration(fit.solve(fit.error(first.unknowns), first.unknowns))


def _check(chamber: Chamber, depositions: Sequence[Deposition]) -> None:
    if not depositions:
        raise CompositionError(
            "A chamber is calibrated by wafers that were made, got none. Name their tables under [[wafer.made]]."
        )
    for one in depositions:
        what = f"Wafer {one.name}" if one.name else "A wafer"
        if not len(one.x) or not np.isfinite([one.x, one.y]).all():
            raise CompositionError(
                f"{what} has no points, or some whose place isn't known. Give its table columns `x (mm)` and `y (mm)`."
            )
        if one.powers is not None and (len(one.powers) != len(chamber.guns) or not any(one.powers)):
            raise CompositionError(
                f"{what} needs a power of each of {len(chamber.guns)} guns, one of them above 0 W, got "
                f"{', '.join(f'{power:g}' for power in one.powers) or 'none'}."
            )


def _figures(chamber: Chamber) -> GunFigures:
    """Return the figures of all guns, gun by gun as in `FIGURES`, some as their logarithm, `(h,)`."""
    said = [(name, getattr(gun, name)) for gun in chamber.guns for name in FIGURES]
    return np.array([math.log(value) if name in LOGARITHMIC else value for name, value in said])


def _with_figures(chamber: Chamber, figures: GunFigures) -> Chamber:
    """Return the chamber with other figures, as `_figures` gives them."""
    guns = list[Gun]()
    for gun, row in zip(chamber.guns, figures.reshape(-1, len(FIGURES)).tolist(), strict=True):
        named = zip(FIGURES, row, strict=True)
        guns.append(replace(gun, **{name: math.exp(value) if name in LOGARITHMIC else value for name, value in named}))
    return Chamber(chamber.elements, tuple(guns))


class _Fit:
    """The fit of a chamber to wafers.

    Its unknowns are figures of guns, how each wafer lies turned, and for wafers of unknown powers the rate of each gun;
    each in standard deviations from what was said.
    """

    def __init__(self, chamber: Chamber, depositions: Sequence[Deposition], known: Known) -> None:
        self.said, self.depositions = chamber, depositions
        self.used = tuple(self._powers_used(gun) for gun in range(len(chamber.guns)))
        self.is_absolute = any(one.thickness and one.minutes and one.powers is not None for one in depositions)
        self._spread = np.array([self._known(known, used) for used in self.used]).ravel()
        self._free = np.flatnonzero(self._spread)
        self._turn = known.turn
        self._unknown_powers = [k for k, one in enumerate(depositions) if one.powers is None]
        self._start = np.zeros(
            len(self._free) + len(depositions) + len(self._unknown_powers) * len(chamber.guns),
        )

    def _powers_used(self, gun: int) -> tuple[float, float] | None:
        used = [one.powers[gun] for one in self.depositions if one.powers is not None and one.powers[gun] > 0]
        return (min(used), max(used)) if used else None

    @staticmethod
    def _known(known: Known, used: tuple[float, float] | None) -> list[float]:
        """Return how well each figure of a gun is known; 0 of what no wafer can tell."""
        several = used is not None and used[1] > SEVERAL_POWERS * used[0]
        told = {"rate": used is not None, "power_exponent": several}
        return [getattr(known, name) if told.get(name, True) else 0.0 for name in FIGURES]

    def read(self, unknowns: GunFigures) -> tuple[Chamber, PerWafer, GunFactors]:
        """Return the chamber, how each wafer lies turned in degrees, and a factor of each gun's rate on each wafer."""
        figures, guns = _figures(self.said), len(self.said.guns)
        of_guns, turns, own = np.split(unknowns, np.cumsum([len(self._free), len(self.depositions)]))
        figures[self._free] += self._spread[self._free] * of_guns
        factors = np.ones((len(self.depositions), guns))
        factors[self._unknown_powers] = np.exp(OWN_RATE * own.reshape(-1, guns))
        return _with_figures(self.said, figures), self._turn * turns, factors

    def misses(self, chamber: Chamber, turns: PerWafer, factors: GunFactors) -> tuple[list[Compositions], list[float]]:
        """Return by how much compositions are missed on each wafer, at.%, and thicknesses on their logarithm.

        Args:
            chamber: As `read` returns it, with …
            turns: … how each wafer lies turned, and …
            factors: … of the rates of each.
        """
        alone = np.array([gun.power for gun in chamber.guns])
        grows = np.array([gun.power_exponent for gun in chamber.guns])
        centre, compositions, thicknesses = np.zeros(1), list[Compositions](), list[float]()
        for one, turn, factor in zip(self.depositions, np.radians(turns), factors, strict=True):
            x, y = (
                one.x * math.cos(turn) + one.y * math.sin(turn),
                one.y * math.cos(turn) - one.x * math.sin(turn),
            )
            powers = (alone * factor ** (1 / grows) if one.powers is None else np.array(one.powers, np.float64))[None]
            there = chamber.compositions(powers, x, y)[0]
            compositions.append(100 * (there - one.compositions))
            if one.thickness and one.minutes and one.powers is not None:
                made = chamber.thickness(powers, centre, centre, one.minutes)[0, 0]
                thicknesses.append(math.log(made / one.thickness))
        return compositions, thicknesses

    def residuals(self, unknowns: GunFigures, error: float) -> Residuals:
        """Return all that is missed or changed, each in its standard deviations; compositions err by `error`, at.%."""
        chamber, turns, factors = self.read(unknowns)
        compositions, thicknesses = self.misses(chamber, turns, factors)
        scale = [np.log(factors[self._unknown_powers]).mean(1)]  # of a wafer's rates: only their ratios show
        if not self.is_absolute:
            scale.append(np.array([_log_rates(chamber) - _log_rates(self.said)]))
        return np.concatenate(
            [
                *(one.ravel() / error for one in compositions),
                np.array(thicknesses) / THICKNESS_ERROR,
                *(one / HELD for one in scale),
                unknowns,
            ]
        )

    def solve(self, error: float, start: GunFigures | None = None) -> "_Solved":
        """Return the likeliest unknowns, and their covariance, where compositions err by `error`, at.%."""
        from scipy.optimize import least_squares  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

        fit = cast("Any", least_squares)
        found = fit(self.residuals, self._start if start is None else start, args=(error,))
        return _Solved(found.x, np.linalg.inv(found.jac.T @ found.jac))

    def error(self, unknowns: GunFigures) -> float:
        """Return by how much compositions err about a solution, at.%, as far as points err independently.

        Points of a block of the wafer that err together count as fewer points.
        """
        compositions, _ = self.misses(*self.read(unknowns))
        squares = sum(float((one**2).sum()) for one in compositions)
        together = 0.0
        for one, missed in zip(self.depositions, compositions, strict=True):
            cells = np.column_stack([one.x, one.y]) // BLOCK_MM
            blocks = np.unique(cells, axis=0, return_inverse=True)[1].ravel()
            sums = np.zeros((blocks.max() + 1, missed.shape[1]))
            np.add.at(sums, blocks, missed)
            together += float((sums**2).sum())
        told = sum(len(one) for one in compositions) * (len(self.said.elements) - 1)
        return max(LEAST_AT_PCT, math.sqrt(max(squares, together) / max(told - len(unknowns), 1)))

    def calibration(self, solved: "_Solved") -> Calibration:
        """Return what was found, in words and figures."""
        chamber, turns, factors = self.read(solved.unknowns)
        compositions, _ = self.misses(chamber, turns, factors)
        spread = self._spread[self._free]
        covariance = np.zeros((len(self._spread), len(self._spread)))
        of_guns = solved.covariance[: len(spread), : len(spread)]
        covariance[np.ix_(self._free, self._free)] = of_guns * np.outer(spread, spread)
        errors = np.sqrt(np.diag(covariance)).reshape(-1, len(FIGURES)).tolist()
        return Calibration(
            chamber=chamber,
            errors=tuple(dict(zip(FIGURES, row, strict=True)) for row in errors),
            covariance=covariance,
            wafers=tuple(one.name for one in self.depositions),
            turns=tuple(turns.tolist()),
            rms_at_pct=_rms(compositions),
            worst_at_pct=max(float(np.abs(one).max()) for one in compositions),
            rms_by_wafer=tuple(_rms([one]) for one in compositions),
            powers_used=self.used,
            is_absolute=self.is_absolute,
            notes=tuple(self._notes(np.array(errors) / self._spread.reshape(-1, len(FIGURES)).clip(1e-12))),
        )

    def _notes(self, told: GunShares) -> list[str]:
        """Say what the wafers don't tell; `told` is how well figures are known over how well before, `(g, h)`."""
        notes = list[str]()
        if not self.is_absolute:
            notes.append(
                "No thickness of a wafer is known, so rates are right only against each other. Give one of "
                "[[wafer.made]] thickness (nm, at the centre) and minutes."
            )
        for gun, used, row in zip(self.said.guns, self.used, told.tolist(), strict=True):
            left = [name for name, share in zip(FIGURES, row, strict=True) if share > TOLD]
            if used is None:
                notes.append(f"{gun.name} ran on no wafer of known powers: its rate is as given.")
            elif used[1] <= SEVERAL_POWERS * used[0]:
                notes.append(
                    f"{gun.name} ran at {used[0]:g} W only: its rate is taken to grow as its power to the "
                    f"{gun.power_exponent:g}."
                )
            if left:
                notes.append(
                    f"The wafers hardly tell {gun.name}'s {', '.join(left).replace('_', ' ')}: about as given."
                )
        return notes


class _Solved(NamedTuple):
    """The likeliest unknowns, and their covariance."""

    unknowns: GunFigures
    covariance: GunFiguresCovariance


def _log_rates(chamber: Chamber) -> float:
    """Return the mean logarithm of the rates of all guns."""
    return math.fsum(math.log(gun.rate) for gun in chamber.guns) / len(chamber.guns)


def _rms(missed: Sequence[Compositions]) -> float:
    return float(np.sqrt(np.mean(np.concatenate(missed) ** 2)))


def points_of(diameter: float, edge: float, pitch: float) -> tuple[WaferPoints, WaferPoints]:
    """Return the points of a wafer that are measured, x and y in mm, row by row from below.

    Args:
        diameter: Of the wafer, mm.
        edge: mm from the rim that hold no point.
        pitch: mm between neighbours of the square grid, which has a point in the centre.
    """
    radius = diameter / 2 - edge
    most = math.floor(radius / pitch + 1e-9)
    steps = pitch * np.arange(-most, most + 1)
    y, x = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    on = np.hypot(x, y) <= radius + 1e-9
    return x[on], y[on]
