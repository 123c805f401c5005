"""The parts of a file: which are summed, which are joined, and which are scans of their own.

Every reader returns the parts as the file has them, and says of each what may differ: where it was taken, of what, at
which angles and temperature, how long. What is done with several is decided here, once for all formats.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.errors import DatasetError
from glassmap.agent.shapes import AxisName, Scan, ScanAxis

SAME_PLACE = 1e-3  # mm
SAME_SETTING = 1e-3  # degrees, mm or relative; what instruments scatter by
SAME_POINT = 1e-6  # of an axis, in its unit
WIDEST_GAP = 2.5  # steps, between scans that follow on
SAME_TEMPERATURE = 2.0  # K; what a heating stage scatters by
SAME_WAVELENGTH = 1e-4  # relative; Kα1 and the mean of Kα are 0.8e-3 apart


class Part(NamedTuple):
    """One scan of a file as it stands there."""

    axis: ScanAxis  # in 1/Å, degrees or Å, whatever unit the file has
    intensity: Scan  # counts, or counts per second where `is_rate`; attenuation applied once
    axis_name: AxisName | None = "two_theta"  # None where a file of text doesn't say it
    wavelength: float | None = None  # Å
    sample: str | None = None
    x: float | None = None  # mm, of the stage
    y: float | None = None
    seconds: float | None = None  # at each point, where all have the same
    is_rate: bool = False
    settings: Mapping[str, float | str] = {}  # what else was set, as messages call it: {"Omega (°)": 18.0}
    notes: tuple[str, ...] = ()
    frame: int | None = None  # in a series from 1, where the file doesn't say that all were taken at one place


class Format(NamedTuple):
    """How one kind of file is known, and read."""

    name: str  # as messages and docs/formats.md call it
    suffixes: tuple[str, ...]  # in lower case
    is_one: Callable[[bytes, str], bool]  # by its content, and its suffix in lower case
    read: Callable[[bytes, str], list[Part]]  # of its content and suffix; raises GlassmapError without the file's name
    is_of_columns: bool = False  # whether it may leave open what it is over


def combine(parts: Sequence[Part]) -> list[Part]:
    """Sum what was measured again, join what follows on, and leave apart what was taken at other places.

    Args:
        parts: Of one file, in its order.

    Returns:
        One for each sample and place, in the order in which they begin.

    Raises:
        DatasetError: If parts of one place differ in a setting, or in their range without following on.
    """
    groups: list[list[Part]] = []
    nearby: dict[tuple[object, ...], list[list[Part]]] = {}  # by sample, axis and cell, so that maps don't take hours
    for part in parts:
        what = (part.sample, part.axis_name, part.frame)
        cells = [(*what, x, y) for x in _cells(part.x) for y in _cells(part.y)]
        candidates = (group for cell in cells for group in nearby.get(cell, []))
        group = next((group for group in candidates if _is_of_one_place(group[0], part)), None)
        if group is None:
            group = list[Part]()
            groups.append(group)
            nearby.setdefault(cells[0], []).append(group)
        group.append(part)
    return [group[0] if len(group) == 1 else _of_one_place(group) for group in groups]


def _cells(at: float | None) -> tuple[int | None, ...]:
    """Return the cell that a coordinate lies in, and the two beside it."""
    if at is None or not np.isfinite(at):
        return (None,)
    cell = int(at // SAME_PLACE)
    return cell, cell - 1, cell + 1


def _is_of_one_place(one: Part, other: Part) -> bool:
    return all(
        a == b or (a is not None and b is not None and abs(a - b) <= SAME_PLACE)
        for a, b in ((one.x, other.x), (one.y, other.y))
    )


def _of_one_place(parts: Sequence[Part]) -> Part:
    """Sum repeats of one range, or join parts that follow on in one."""
    for name in dict.fromkeys(name for part in parts for name in part.settings):
        _check_same(name, [part.settings.get(name) for part in parts])
    _check_same("wavelength (Å)", [part.wavelength for part in parts])
    parts, rates = _as_rates(parts)
    first = parts[0]
    times = [part.seconds for part in parts]
    if all(_is_one_axis(part.axis, first.axis) for part in parts):
        if first.is_rate:
            weights = None if None in times else [float(time or 0) for time in times]
            intensity = np.average([part.intensity for part in parts], axis=0, weights=weights)
            done = "were averaged"
        else:
            intensity, done = np.sum([part.intensity for part in parts], axis=0), "were summed"
        return first._replace(
            intensity=intensity,
            seconds=None if None in times else float(np.sum([time or 0 for time in times])),
            notes=(f"{len(parts)} scans of one range {done}.", *rates, *_notes(parts)),
        )
    parts = sorted(parts, key=lambda part: float(part.axis[0]))
    if all(after.axis[0] > before.axis[-1] - SAME_POINT for before, after in pairwise(parts)):
        return _joined(parts, rates)
    raise DatasetError(
        f"It holds {len(parts)} scans of one place that are neither of one range nor follow on. Export the one meant."
    )


def _joined(parts: Sequence[Part], notes: tuple[str, ...]) -> Part:
    """Join parts that follow on; a point where one ends and the next begins is averaged by time.

    Raises:
        DatasetError: If some of them don't say how long they were counted, or nothing was measured between two.
    """
    for before, part in pairwise(parts):
        step = max(float(np.diff(one.axis).max()) for one in (before, part))
        if part.axis[0] - before.axis[-1] > WIDEST_GAP * step:
            raise DatasetError(
                f"It holds scans of one place that leave a gap, from {before.axis[-1]:g} to {part.axis[0]:g}. Export "
                "the one meant alone."
            )
    times = [part.seconds for part in parts]
    note = f"{len(parts)} scans that follow on were joined"
    if not parts[0].is_rate and len(set(times)) > 1:
        if None in times:
            raise DatasetError(
                f"It holds {len(parts)} scans that follow on, and says of some alone how long each point was counted. "
                "Export them apart, or with their counting times."
            )
        parts = [_as_rate(part) for part in parts]
        note += ", in counts per second"
    axis, intensity, shared = parts[0].axis, parts[0].intensity, False
    for before, part in pairwise(parts):
        own = part.intensity
        if part.axis[0] - axis[-1] <= SAME_POINT:
            weights = [before.seconds or 1.0, part.seconds or 1.0]
            own = np.concatenate([[np.average([intensity[-1], own[0]], weights=weights)], own[1:]])
            axis, intensity, shared = axis[:-1], intensity[:-1], True
        axis, intensity = np.concatenate([axis, part.axis]), np.concatenate([intensity, own])
    if shared:
        note += ", and averaged where one ends and the next begins"
    return parts[0]._replace(
        axis=axis,
        intensity=intensity,
        seconds=times[0] if len(set(times)) == 1 else None,
        notes=(f"{note}.", *notes, *_notes(parts)),
    )


def _check_same(name: str, values: Sequence[float | str | None]) -> None:
    """Refuse parts of one place that differ in a setting.

    Raises:
        DatasetError: If they do.
    """
    if any(not _is_same(name, value, values[0]) for value in values):
        said = ", ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v or "not said") for v in values))
        raise DatasetError(
            f"It holds {len(values)} scans of one place that differ in {name}: {said[:200]}. They are neither "
            "summed nor told apart; export the one meant alone."
        )


def _as_rates(parts: Sequence[Part]) -> tuple[Sequence[Part], tuple[str, ...]]:
    """Return parts of which one is a rate all as rates, and a note where that changed some.

    Raises:
        DatasetError: If a part of counts doesn't say how long they were counted.
    """
    if len({part.is_rate for part in parts}) == 1:
        return parts, ()
    if any(not part.is_rate and not part.seconds for part in parts):
        raise DatasetError(
            f"It holds {len(parts)} scans of one place, some in counts and some in counts per second, and doesn't say "
            "how long the counts were counted. Export them apart."
        )
    return [part if part.is_rate else _as_rate(part) for part in parts], ("Counts became counts per second.",)


def _as_rate(part: Part) -> Part:
    return part._replace(intensity=part.intensity / (part.seconds or 1), is_rate=True)


def _notes(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for part in parts for note in part.notes))


def _is_same(name: str, value: float | str | None, other: float | str | None) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        if name.startswith("temperature"):
            return abs(value - other) <= SAME_TEMPERATURE
        if name.startswith("wavelength"):
            return abs(value - other) <= SAME_WAVELENGTH * other
        return abs(value - other) <= SAME_SETTING * max(1.0, abs(other))
    return value == other


def _is_one_axis(one: ScanAxis, other: ScanAxis) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=SAME_POINT))


def as_scans(parts: Sequence[Part], axis: AxisName) -> list[RawScan]:
    """Return parts as scans, each with a name of its own; `axis` is what those are over that don't say it."""
    samples = [part.sample for part in parts]
    named = None not in samples and len(set(samples)) == len(samples)
    return [
        RawScan(
            part.axis_name or axis,
            part.axis,
            part.intensity,
            part.wavelength,
            part.sample,
            part.notes,
            part.x,
            part.y,
            str(part.sample) if named else str(number),
        )
        for number, part in enumerate(parts, start=1)
    ]
