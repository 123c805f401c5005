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
    for part in parts:
        group = next((group for group in groups if _is_of_one_place(group[0], part)), None)
        if group is None:
            groups.append([part])
        else:
            group.append(part)
    return [group[0] if len(group) == 1 else _of_one_place(group) for group in groups]


def _is_of_one_place(one: Part, other: Part) -> bool:
    if one.sample != other.sample or one.axis_name != other.axis_name:
        return False
    return all(
        a == b or (a is not None and b is not None and abs(a - b) <= SAME_PLACE)
        for a, b in ((one.x, other.x), (one.y, other.y))
    )


def _of_one_place(parts: Sequence[Part]) -> Part:
    """Sum repeats of one range, or join parts that follow on in one."""
    for name in dict.fromkeys(name for part in parts for name in part.settings):
        values = [part.settings.get(name) for part in parts]
        if any(not _is_same(value, values[0]) for value in values):
            said = ", ".join(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in values))
            raise DatasetError(
                f"It holds {len(parts)} scans of one place that differ in {name}: {said[:200]}. They are neither "
                "summed nor told apart; export the one meant alone."
            )
    first = parts[0]
    times = [part.seconds for part in parts]
    if all(_is_one_axis(part.axis, first.axis) for part in parts):
        if any(part.is_rate for part in parts):
            weights = None if None in times else [float(time or 0) for time in times]
            intensity = np.average([part.intensity for part in parts], axis=0, weights=weights)
            done = "were averaged"
        else:
            intensity, done = np.sum([part.intensity for part in parts], axis=0), "were summed"
        seconds = None if None in times else float(np.sum([time or 0 for time in times]))
        return first._replace(
            intensity=intensity,
            seconds=seconds,
            is_rate=any(part.is_rate for part in parts),
            notes=(f"{len(parts)} scans of one range {done}.", *_notes(parts)),
        )
    if all(after.axis[0] > before.axis[-1] for before, after in pairwise(parts)):
        per_second = not first.is_rate and len(set(times)) > 1 and None not in times
        intensities = [part.intensity / (part.seconds or 1 if per_second else 1) for part in parts]
        note = f"{len(parts)} scans that follow on were joined" + ", in counts per second." * per_second
        return first._replace(
            axis=np.concatenate([part.axis for part in parts]),
            intensity=np.concatenate(intensities),
            seconds=times[0] if len(set(times)) == 1 else None,
            is_rate=first.is_rate or per_second,
            notes=(note, *_notes(parts)),
        )
    raise DatasetError(
        f"It holds {len(parts)} scans of one place that are neither of one range nor follow on. Export the one meant."
    )


def _notes(parts: Sequence[Part]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for part in parts for note in part.notes))


def _is_same(value: float | str | None, other: float | str | None) -> bool:
    if isinstance(value, float) and isinstance(other, float):
        return abs(value - other) <= SAME_SETTING * max(1.0, abs(other))
    return value == other


def _is_one_axis(one: ScanAxis, other: ScanAxis) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=0, atol=1e-6))


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
