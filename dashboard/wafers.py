"""Wafers as pages, report and pictures show them: what lies where, what became of it, what of a space they reach."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from glassmap.agent.data.composition import label
from glassmap.agent.data.scan_matching import SAME_PLACE
from glassmap.agent.maps.spectra_archive import SpectraArchive
from glassmap.agent.outside_text import plain_name, visible
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.acquisition import distance_to
from glassmap.agent.planning.stage_path import stage_path
from glassmap.agent.planning.wafers import NEAR_AT_PCT
from glassmap.agent.shapes import Compositions, GridCompositions, Mask, PerAlloy, PerSample, Rows
from glassmap.agent.store.records import ExcludedWafer, Measurement, PlannedWafer, SuggestionStatus, WaferGain
from glassmap.dashboard.data import CampaignSnapshot, Map, WaferRecords, colour_limits, measured_values
from glassmap.dashboard.plots.disc import Blend, Disc, Shown, blend_over, disc_of
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import VIRIDIS, colours_of

Kind = Literal["measured", "held out", "flagged", "pending", "failed", "free"]
KINDS: dict[Kind, str] = {  # what became of a point, in words
    "measured": "measured, learned from",
    "held out": "measured, held out",
    "flagged": "measured, flagged",
    "pending": "still to be measured",
    "failed": "failed or given up",
    "free": "not asked for",
}
MEASURED: tuple[Kind, ...] = ("measured", "held out", "flagged")
WAFER_INKS = ("#000000", "#d62728", "#1f4fd8", "#7a3fa0", "#b35900", "#00695c", "#c2185b", "#5d6d00")
UNNAMED = "without a name"  # the wafer of a table that has places and names none


class Wafer(NamedTuple):
    """A wafer with all its points."""

    name: str
    samples: tuple[str, ...]
    compositions: Compositions  # atomic fraction: as found where it is measured, else as a table or plan says
    x: PerSample  # mm; NaN where that isn't known
    y: PerSample
    kinds: tuple[Kind, ...]
    ids: tuple[str, ...]  # of the measurement, else of the suggestion; empty of what nobody asked for
    path: Rows  # of those that are pending and have a place, in the order of the scan list
    planned: PlannedWafer | None  # how it is to be made, where the campaign planned it
    excluded: ExcludedWafer | None  # why nothing of it is planned any more
    gain: WaferGain | None  # what measuring the rest of it would bring, where that was reckoned

    def of(self, *kinds: Kind) -> Mask:
        """Return which points are of some kinds."""
        return np.array([kind in kinds for kind in self.kinds], dtype=bool)

    @property
    def placed(self) -> Mask:
        """Which points have a place."""
        return np.isfinite(self.x) & np.isfinite(self.y)

    @property
    def state(self) -> str:
        """How far it is, in a few words."""
        if self.excluded is not None:
            return self.excluded.kind
        if self.of(*MEASURED).any():
            return "being measured" if self.of("pending").any() else "measured"
        if self.of("pending").any():
            return "to be made" if self.planned is not None else "asked for"
        return "not asked for"

    @property
    def recipe(self) -> str:
        """How it is to be made, in a sentence; empty of one that exists."""
        if self.planned is None:
            return ""
        powers = ", ".join(f"{visible(gun)} {power:.4g} W" for gun, power in self.planned.powers.items())
        return f"Planned in round {self.planned.round}: {powers}; {self.planned.minutes:.3g} minutes."

    @property
    def sentences(self) -> tuple[str, ...]:
        """How far it is, what the rest would bring, how it is to be made, and why nothing of it is planned any more."""
        counts = [f"{int(self.of(kind).sum())} {words}" for kind, words in KINDS.items() if self.of(kind).any()]
        gone = self.excluded
        why = "" if gone is None else f"{gone.kind.capitalize()}, says {visible(gone.person)}: {visible(gone.reason)}"
        rest = "" if self.gain is None else f"{(said := self.gain.say())[0].upper()}{said[1:]}."
        return f"{len(self.samples)} points: {'; '.join(counts)}.", rest, self.recipe, why

    def disc(self, diameter: float | None) -> Disc:
        """Return where it ends.

        Args:
            diameter: mm, of wafers that the campaign plans; None where it plans none.
        """
        return disc_of(self.x[self.placed], self.y[self.placed], diameter)

    def texts(self, elements: Sequence[str]) -> list[str]:
        """Return what is said of each point: what it is called, where it lies, what it holds, what became of it."""
        said = list[str]()
        for k, kind in enumerate(self.kinds):
            place = f", {self.x[k]:g}, {self.y[k]:g} mm" if self.placed[k] else ""
            words = f"{KINDS[kind]} {self.ids[k]}".strip()
            said.append(f"{self.samples[k]}{place}<br>{label(self.compositions[k], elements)}<br>{words}")
        return said


class _Point:
    """A point of a wafer as it is put together from what is known of it."""

    def __init__(self, sample: str, composition: Sequence[float]) -> None:
        self.sample, self.composition = visible(sample), composition
        self.x, self.y = np.nan, np.nan
        self.kind: Kind = "free"
        self.id = ""
        self.round = 0  # that asked for it last; 0 of none
        self.is_expected = False  # by the chamber's model alone


class _Points:
    """The points of all wafers by what these and they are called, in the order in which they came to be known."""

    def __init__(self) -> None:
        self.wafers: dict[str, tuple[str, dict[str, _Point]]] = {}
        self._cells: dict[tuple[str, int, int], _Point] = {}  # of `SAME_PLACE` each way

    def named(self, wafer: str, name: str) -> _Point | None:
        """Return the point of a name, if there is one."""
        return self._of(wafer).get(plain_name(name))

    def at(self, wafer: str, x: float | None, y: float | None) -> _Point | None:
        """Return the point at a place, mm, if there is one."""
        if x is None or y is None:
            return None
        key, i, j = plain_name(visible(wafer) or UNNAMED), round(x / SAME_PLACE), round(y / SAME_PLACE)
        near = (self._cells.get((key, i + right, j + up)) for right in (0, -1, 1) for up in (0, -1, 1))
        return next((one for one in near if one and math.hypot(one.x - x, one.y - y) <= SAME_PLACE), None)

    def new(self, wafer: str, name: str, composition: Sequence[float]) -> _Point:
        """Return a new point."""
        return self._of(wafer).setdefault(plain_name(name), _Point(name, composition))

    def put(self, point: _Point, wafer: str, x: float | None, y: float | None) -> None:
        """Have a point lie at a place, where there is one."""
        if x is not None and y is not None and np.isfinite([x, y]).all():
            point.x, point.y = float(x), float(y)
            cell = plain_name(visible(wafer) or UNNAMED), round(x / SAME_PLACE), round(y / SAME_PLACE)
            self._cells[cell] = point

    def _of(self, wafer: str) -> dict[str, _Point]:
        name = visible(wafer) or UNNAMED
        return self.wafers.setdefault(plain_name(name), (name, {}))[1]


def wafers_of(records: WaferRecords) -> list[Wafer]:
    """Return a campaign's wafers with all their points, in the order in which they came to be known."""
    points, existing = _Points(), records.existing
    planned = {plain_name(visible(one.name)): one for one in records.planned}
    rows = zip(existing.wafers, existing.names, existing.compositions, existing.x, existing.y, strict=True)
    for wafer, name, composition, x, y in rows:
        if wafer or np.isfinite(x):
            point = points.new(wafer, name, composition)
            points.put(point, wafer, x, y)
            point.is_expected = plain_name(visible(wafer)) in planned
    asked = dict[str, _Point]()
    for one in records.asked:
        suggestion = one.suggestion
        if suggestion.wafer or suggestion.x is not None:
            wafer, name = suggestion.wafer, suggestion.sample or suggestion.id
            point = points.named(wafer, name) or points.new(wafer, name, suggestion.composition)
            asked[suggestion.id] = point
            points.put(point, wafer, suggestion.x, suggestion.y)
            point.kind, point.id, point.round = _kind_of(one), suggestion.id, suggestion.round
    for row in reversed(records.tables):  # the last counts
        point = points.named(row.wafer, row.sample) or points.at(row.wafer, row.x, row.y)
        point = point or points.new(row.wafer, row.sample, row.composition)
        point.composition, point.is_expected = row.composition, False
        points.put(point, row.wafer, row.x, row.y)
    for measurement in records.measured:
        if measurement.state != "retracted":
            _measure(points, asked, measurement)
    excluded = {plain_name(visible(one.wafer)): one for one in records.excluded}
    gains = {plain_name(visible(one.wafer)): one for one in records.gains}
    told = {plain_name(visible(row.wafer)) for row in records.tables}  # whose points are those of their table alone
    wafers = list[Wafer]()
    for key, (name, found) in points.wafers.items():
        there = [one for one in found.values() if not (one.is_expected and one.kind == "free" and key in told)]
        if there:
            wafers.append(_wafer(name, there, planned.get(key), excluded.get(key), gains.get(key)))
    return wafers


def _kind_of(one: SuggestionStatus) -> Kind:
    if one.state == "missing":
        return "pending"
    return "failed" if one.state in ("failed", "rejected", "abandoned", "retracted") else "measured"


def _measure(points: _Points, asked: Mapping[str, _Point], measurement: Measurement) -> None:
    """Have a measurement be of its point: the one that was asked for, else by name, else by place."""
    facts = measurement.facts
    wafer, x, y = str(facts.get("wafer", "")), facts.get("x"), facts.get("y")
    point = asked.get(measurement.suggestion or "")
    if point is None and not wafer and x is None:
        return
    name = str(facts.get("sample", measurement.id))
    point = point or points.named(wafer, name) or points.at(wafer, x, y)
    point = point or points.new(wafer, name, measurement.composition)
    if np.isnan(point.x):
        points.put(point, wafer, x, y)
    point.composition, point.id = measurement.composition, measurement.id
    point.kind = "held out" if measurement.hold_out else "measured"
    if measurement.reason or measurement.state == "flagged":
        point.kind = "flagged"


def _wafer(
    name: str,
    points: Sequence[_Point],
    planned: PlannedWafer | None,
    excluded: ExcludedWafer | None,
    gain: WaferGain | None,
) -> Wafer:
    x, y = (np.array([getattr(point, axis) for point in points]) for axis in "xy")
    return Wafer(
        name,
        tuple(point.sample for point in points),
        np.array([point.composition for point in points], dtype=np.float64),
        x,
        y,
        tuple(point.kind for point in points),
        tuple(point.id for point in points),
        _path(points, x, y),
        planned,
        excluded,
        gain,
    )


def _path(points: Sequence[_Point], x: PerSample, y: PerSample) -> Rows:
    """Return the rows of what is still to be measured in the order of the scan lists, which go by all of a round."""
    rounds, is_placed = np.array([point.round for point in points]), np.isfinite(x)
    is_pending = np.array([point.kind == "pending" for point in points])
    path = [np.empty(0, dtype=np.intp)]
    for round_ in np.unique(rounds[is_pending & is_placed]):
        rows = np.flatnonzero((rounds == round_) & is_placed)
        driven = rows[stage_path(x[rows], y[rows])]
        path.append(driven[is_pending[driven]])
    return np.concatenate(path)


def inks_of(wafers: Sequence[Wafer]) -> list[str]:
    """Return the colour of each wafer's outline."""
    return [WAFER_INKS[k % len(WAFER_INKS)] for k in range(len(wafers))]


class Reach(NamedTuple):
    """What of a space a campaign's wafers reach."""

    space: GridCompositions  # its alloys, or many of them spread evenly
    distance: PerAlloy  # at.%, from each to the nearest point of a wafer

    @property
    def is_unreached(self) -> Mask:
        """Which alloys no wafer reaches."""
        return self.distance > NEAR_AT_PCT

    def say(self, elements: Sequence[str]) -> str:
        """Return in sentences how near wafers come to the alloys of the space, and what none reaches."""
        mean = self.distance.mean()
        said = f"An alloy of the space lies {mean:.1f} at.% from the nearest point of a wafer on average"
        share = float(self.is_unreached.mean())
        if not share:
            return f"{said}, none farther than {self.distance.max():.1f} at.%."
        farthest = label(self.space[int(self.distance.argmax())], elements)
        return (
            f"{said}. {100 * share:.0f} % of the space is farther than {NEAR_AT_PCT:g} at.% from all of them; "
            f"the farthest is {farthest}, {self.distance.max():.0f} at.% away."
        )


def reach_of(wafers: Sequence[Wafer], space: GridCompositions) -> Reach:
    """Return what of a space is reached by wafers that weren't rejected and haven't failed."""
    nothing = np.empty((0, space.shape[1]))
    there = [wafer.compositions for wafer in wafers if wafer.excluded is None]
    return Reach(space, 100 * distance_to(space, np.concatenate([nothing, *there])))


class WafersSeen(NamedTuple):
    """A campaign's wafers, and what of its space they reach."""

    wafers: list[Wafer]
    reach: Reach
    diameter: float | None  # mm, of those that the campaign plans

    @property
    def blend(self) -> Blend:
        """The colours of a ternary's alloys, as varied as they can be over all wafers."""
        return blend_over(np.concatenate([wafer.compositions for wafer in self.wafers]))

    def most_asked(self, most: int) -> list[Wafer]:
        """Return the wafers with places of which anything is asked for or measured, those of most points if so many."""
        asked = [(wafer, int((~wafer.of("free")).sum())) for wafer in self.wafers if wafer.placed.any()]
        least = sorted((count for _, count in asked), reverse=True)[:most][-1:]
        return [wafer for wafer, count in asked if count and count >= least[0]][:most]


def wafers_seen(records: WaferRecords) -> WafersSeen:
    """Return what is known of a campaign's wafers, put together."""
    wafers = wafers_of(records)
    return WafersSeen(wafers, reach_of(wafers, records.space), records.diameter)


def discs_of(
    wafer: Wafer, seen: WafersSeen, campaign: CampaignSnapshot, map_: Map | None, archive: SpectraArchive | None
) -> list[Shown]:
    """Return what a wafer's discs show side by side: what it holds, Δq as generated, and Δq as measured."""
    elements, column = campaign.elements, DELTA_Q.name
    if len(elements) == 3:
        discs = [by_composition(wafer, seen.blend)]
    else:
        discs = [by_share(wafer, seen.wafers, elements, element) for element in elements]
    if map_ is not None:
        limits = colour_limits(map_, archive, column)
        found = measured(wafer, map_, archive, column, limits)
        discs += [generated(wafer, map_, column, limits), *([] if found is None else [found])]
    return discs


def by_composition(wafer: Wafer, blend: Blend) -> Shown:
    """Return a ternary wafer by its composition, each alloy in the mixture of its elements' inks."""
    return Shown("composition", blend.colours(wafer.compositions), ("",) * len(wafer.samples))


def by_share(wafer: Wafer, wafers: Sequence[Wafer], elements: Sequence[str], element: str) -> Shown:
    """Return a wafer by its share of an element, with colours that mean the same on all wafers."""
    k = elements.index(element)
    of_all = 100 * np.concatenate([one.compositions[:, k] for one in wafers])
    limits = float(of_all.min()), float(of_all.max()) if np.ptp(of_all) else float(of_all.min()) + 1
    share = 100 * wafer.compositions[:, k]
    texts = tuple(f"{element} {value:.1f} at.%" for value in share)
    return Shown(f"{element} (at.%)", colours_of(share, limits, VIRIDIS), texts, limits, VIRIDIS)


def generated(wafer: Wafer, map_: Map, column: str, limits: tuple[float, float]) -> Shown:
    """Return a wafer by a column of the map: each point by the grid's alloy that is nearest to it."""
    nearest = np.asarray(KDTree(map_.compositions).query(wafer.compositions)[1])
    return _by_quantity("generated", map_.values(column)[nearest], column, limits)


def measured(
    wafer: Wafer, map_: Map, archive: SpectraArchive | None, column: str, limits: tuple[float, float]
) -> Shown | None:
    """Return a wafer by what was measured of a column of the map; None where nothing can be."""
    values = measured_values(map_, archive, wafer.ids, column)
    if archive is None or values is None:
        return None
    known = {*archive.measured.ids}
    shown = _by_quantity("measured", values, column, limits)
    return shown._replace(is_there=np.array([id_ in known for id_ in wafer.ids], dtype=bool))


def _by_quantity(how: str, values: PerSample, column: str, limits: tuple[float, float]) -> Shown:
    what = QUANTITIES[column]
    texts = tuple(
        "no trustworthy first peak" if np.isnan(value) else f"{what.title} {value:.{what.digits}f} {what.unit}, {how}"
        for value in values
    )
    return Shown(f"{what.label}, {how}", colours_of(values, limits, what.colours), texts, limits, what.colours)


def counts_of(wafers: Sequence[Wafer]) -> pd.DataFrame:
    """Return wafers as a table for people, a row each."""
    rows = [
        {"wafer": wafer.name, "state": wafer.state, "points": len(wafer.samples)}
        | {words: int(wafer.of(kind).sum()) for kind, words in KINDS.items()}
        for wafer in wafers
    ]
    return pd.DataFrame(rows)


def points_of(wafer: Wafer, elements: Sequence[str]) -> pd.DataFrame:
    """Return a wafer's points as a table, a row each, in at.%."""
    columns = {"sample": wafer.samples, "x (mm)": wafer.x, "y (mm)": wafer.y}
    columns |= dict(zip(elements, 100 * wafer.compositions.T, strict=True))
    return pd.DataFrame(columns | {"state": [KINDS[kind] for kind in wafer.kinds], "measurement": wafer.ids})
