"""Which row of a composition table a scan is of: by its name, or by its place on the stage; never by its order.

One rule for the lab's drop folder and for `glassmap import`.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from glassmap.agent.outside_text import plain_name

SAME_PLACE = 0.25  # mm, between where a scan and a row of a table say that they are
_SEPARATORS = ("-", "_", "/", "#", " ")  # between a file's name and the number of a scan in it
_DIGITS = (1, 2, 3, 4)  # that a number is written with, zeros before it


@runtime_checkable
class Called(Protocol):
    """What a scan is called, and where it was taken: what of a `RawScan`, or a record of one, is matched by."""

    @property
    def name(self) -> str:
        """Among the scans of its file."""
        ...

    @property
    def sample(self) -> str | None:
        """As the file says, if it does."""
        ...

    @property
    def x(self) -> float | None:
        """In mm, as the file says."""
        ...

    @property
    def y(self) -> float | None:
        """In mm, as the file says."""
        ...


class Place(NamedTuple):
    """A row of a composition table, as far as scans are matched to it."""

    sample: str
    wafer: str = ""
    x: float | None = None  # mm
    y: float | None = None


def names_of_scan(scan: Called, stem: str, *, is_alone: bool) -> list[str]:
    """Return the plain names that a scan goes by, the best first.

    Args:
        scan: As it was read.
        stem: Name of its file, without its suffix.
        is_alone: Whether the file holds no other. Then it is called as its file, or as the instrument says; one of
            several goes by its own sample's name, or by file and number, such as `W3-17`.
    """
    if is_alone:
        called = [stem, *([scan.sample] if scan.sample else [])]
    elif scan.name == scan.sample:
        called = [scan.name, *(f"{stem}{separator}{scan.name}" for separator in _SEPARATORS)]
    else:
        called = [f"{stem}{s}{scan.name.zfill(digits)}" for s in _SEPARATORS for digits in _DIGITS]
    return list(dict.fromkeys(map(plain_name, called)))


def own_name(name: str, wafer: str) -> str:
    """Return what a sample is called among those of its wafer, by its plain name: without the wafer and zeros before.

    >>> own_name("W3-017", "W3"), own_name("17", "W3"), own_name("W30-1", "W3")
    ('17', '17', 'w30-1')
    """
    plain = plain_name(name)
    rest = _after_wafer(plain, plain_name(wafer)) or plain
    return rest.lstrip("0") or rest


def _after_wafer(name: str, wafer: str) -> str:
    """Return what follows on a wafer in a plain name, `17` of `w3-17`; empty where it doesn't begin with the wafer."""
    begins = wafer != "" and name.startswith(wafer) and name[len(wafer) :].startswith(_SEPARATORS)
    return name[len(wafer) + 1 :] if begins else ""


def names_on_wafer(own: str, wafer: str) -> list[str]:
    """Return the plain names that a sample of a wafer may have which is called `own` among its samples."""
    padded = dict.fromkeys(own.zfill(digits) for digits in _DIGITS)
    return [*padded, *(f"{plain_name(wafer)}{separator}{name}" for separator in _SEPARATORS for name in padded)]


def wafers_called(names: Sequence[str], called: Collection[str], wafers: Iterable[str]) -> list[str]:
    """Return the wafers that a scan may be on by what it is called.

    Args:
        names: The plain names that it goes by.
        called: The plain names that its wafer may have: its file, its folders, the sample that it is of.
        wafers: All that there are.
    """
    return [
        wafer
        for wafer in dict.fromkeys(filter(None, wafers))
        if (plain := plain_name(wafer)) in called or any(_after_wafer(name, plain) for name in names)
    ]


def match_scans(
    scans: Sequence[Called],
    stems: Sequence[str],
    is_alone: Sequence[bool],
    rows: Sequence[Place],
    folders: Sequence[str] = (),
) -> list[int | str]:
    """Find the row of each scan, or say why there is none.

    A name that comes again on several wafers is that of the wafer that the scan, its file or a folder is called as, or
    the one at the scan's place.

    Args:
        scans: Of one file or of many.
        stems: Name of the file of each, without its suffix.
        is_alone: Whether each is the only scan of its file.
        rows: Of the table; on a wafer, plain names must differ.
        folders: Names of the folders that the files lie in.

    Returns:
        For each scan its row, counted from 0, or a sentence that says why it has none.
    """
    by_name, places = _Names(rows), _Places(rows)
    found = list[int | str]()
    for scan, stem, alone in zip(scans, stems, is_alone, strict=True):
        names = names_of_scan(scan, stem, is_alone=alone)
        called = {plain_name(name) for name in (stem, scan.sample, *folders) if name}
        named = by_name.find(names, called)
        at = [row for row in named if (_distance(scan, rows[row]) or 0.0) <= SAME_PLACE]
        near = places.near(scan, called)
        if not named:
            said = f"No row is called {' or '.join(names[:2])}"
            if place := places.say_none(scan, called):
                said += f", and {place}."
            elif not alone and scan.name != scan.sample:
                said += ". Its scans are only numbered: call the rows so, or give columns x and y in mm."
            else:
                said += "."
            found.append(said if near is None else near)
        elif len(at) == 1:
            found.append(at[0])
        elif len(named) == 1:
            row = rows[named[0]]
            found.append(
                f"Row {named[0] + 1} is called {row.sample}, but lies at {row.x:g}, {row.y:g} mm, "
                f"and the scan at {scan.x:g}, {scan.y:g} mm. Correct the name or the place."
            )
        else:
            found.append(say_which_wafer(rows[row] for row in named))
    return found


def say_which_wafer(rows: Iterable[Place]) -> str:
    """Say that a scan's name is that of samples on several wafers, and how to say which."""
    named = sorted((row.wafer, row.sample) for row in rows if row.wafer)
    wafer, sample = named[0]
    wafers = ", ".join(dict.fromkeys(wafer for wafer, _ in named))
    return (
        f"A sample {sample} lies on each of the wafers {wafers}: call the file as wafer and sample, such as "
        f"{wafer}-{sample}, or put it into a folder that is called as its wafer."
    )


def _distance(scan: Called, row: Place) -> float | None:
    """Return how far in mm a scan lies from a row; None where one of them doesn't say its place."""
    if scan.x is None or scan.y is None or row.x is None or row.y is None:
        return None
    return float(np.hypot(scan.x - row.x, scan.y - row.y))


class _Names:
    """What the rows of a table are called, to find those of a name."""

    def __init__(self, rows: Sequence[Place]) -> None:
        self._rows = rows
        self._wafers = [row.wafer for row in rows]
        self._whole: dict[str, list[int]] = {}
        self._own: dict[tuple[str, str], list[int]] = {}
        for k, row in enumerate(rows):
            self._whole.setdefault(plain_name(row.sample), []).append(k)
            self._own.setdefault((plain_name(row.wafer), own_name(row.sample, row.wafer)), []).append(k)

    def find(self, names: Sequence[str], called: Collection[str]) -> list[int]:
        """Return the rows of the first name that has some, of several those on a wafer that the scan is called as."""
        for name in names:
            if found := self._whole.get(name, []):
                on_its_wafer = [k for k in found if plain_name(self._rows[k].wafer) in called]
                return on_its_wafer or found
        for wafer in wafers_called(names, called, self._wafers):
            for name in names:
                if found := self._own.get((plain_name(wafer), own_name(name, wafer)), []):
                    return found
        return []


class _Places:
    """Where the rows of a table lie, to find the one at a place."""

    def __init__(self, rows: Sequence[Place]) -> None:
        self._cells: dict[tuple[int, int], list[int]] = {}
        self._rows = rows
        self._wafers = {plain_name(row.wafer) for row in rows}
        for k, row in enumerate(rows):
            if row.x is not None and row.y is not None:
                self._cells.setdefault(_cell(row.x, row.y), []).append(k)

    def near(self, scan: Called, called: Collection[str]) -> int | None:
        """Return the one row at a scan's place, on the wafer that it is called as; None without one."""
        near = self._on_its_wafer(called, self._at(scan))
        return near[0] if len(near) == 1 else None

    def say_none(self, scan: Called, called: Collection[str]) -> str:
        """Say why no row is the one at a scan's place; nothing where the scan or the rows have no place."""
        if scan.x is None or scan.y is None or not self._cells:
            return ""
        at = self._at(scan)
        if not at:
            return f"none lies within {SAME_PLACE} mm of its place, {scan.x:g}, {scan.y:g} mm"
        rows = f"{len(at)} rows lie at its place, {scan.x:g}, {scan.y:g} mm"
        if self._on_its_wafer(called, at):
            return f"{rows}, such as {' and '.join(self._rows[k].sample for k in at[:2])}: keep one"
        wafers = ", ".join(dict.fromkeys(self._rows[k].wafer or "without one" for k in at[:4]))
        return f"{rows}, on other wafers ({wafers}): call the file or its sample as its wafer"

    def _at(self, scan: Called) -> list[int]:
        """Return the rows at a scan's place."""
        if scan.x is None or scan.y is None:
            return []
        i, j = _cell(scan.x, scan.y)
        near = [k for a in (-1, 0, 1) for b in (-1, 0, 1) for k in self._cells.get((i + a, j + b), ())]
        return [k for k in near if (_distance(scan, self._rows[k]) or 0.0) <= SAME_PLACE]

    def _on_its_wafer(self, called: Collection[str], rows: list[int]) -> list[int]:
        """Return those rows that are on the wafer that a scan is called as, where there are several."""
        if len(self._wafers) <= 1:
            return rows
        return [k for k in rows if plain_name(self._rows[k].wafer) in called]


def _cell(x: float, y: float) -> tuple[int, int]:
    return int(np.floor(x / SAME_PLACE)), int(np.floor(y / SAME_PLACE))
