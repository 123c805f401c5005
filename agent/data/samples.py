"""Samples: the alloys that exist, what each is called, on which wafer it lies and where."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.composition_table import ShareUnit, read_composition_table
from glassmap.agent.data.context import WAFER
from glassmap.agent.errors import DatasetError
from glassmap.agent.outside_text import plain_name, visible
from glassmap.agent.shapes import CandidateCompositions, PerCandidate, Rows

if TYPE_CHECKING:
    from glassmap.agent.data.dataset import SpectraSet


@dataclass(frozen=True)
class Samples:
    """Alloys of which each is there: a row of a table of compositions, a sample of a data set, a point of a wafer."""

    names: tuple[str, ...]
    """What each is called, unique on its wafer."""
    wafers: tuple[str, ...]
    """That each lies on, empty where that isn't known."""
    compositions: CandidateCompositions
    """As measured, or of a wafer that is yet to be made as expected."""
    x: PerCandidate
    """mm, on the wafer; NaN where that isn't known."""
    y: PerCandidate

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def none(cls, n_elements: int) -> "Samples":
        """Return an empty list."""
        return cls((), (), np.empty((0, n_elements)), np.empty(0), np.empty(0))

    def select(self, rows: Rows) -> "Samples":
        """Return some of them, in the order of `rows`."""
        return Samples(
            tuple(self.names[row] for row in rows),
            tuple(self.wafers[row] for row in rows),
            self.compositions[rows],
            self.x[rows],
            self.y[rows],
        )

    def is_same(self, others: "Samples") -> bool:
        """Return whether another list holds the same samples in the same order."""
        if (self.names, self.wafers) != (others.names, others.wafers):
            return False
        pairs = ((self.compositions, others.compositions), (self.x, others.x), (self.y, others.y))
        return all(np.array_equal(mine, other, equal_nan=True) for mine, other in pairs)

    @cached_property
    def wafer_names(self) -> tuple[str, ...]:
        """The wafers, each once, in the order in which they come."""
        return tuple(dict.fromkeys(name for name in self.wafers if name))

    def on(self, wafer: str) -> Rows:
        """Return the rows of a wafer, by its plain name."""
        return np.flatnonzero(np.array([plain_name(name) for name in self.wafers]) == plain_name(wafer))

    def with_others(self, others: "Samples") -> "Samples":
        """Return these and others, in that order."""
        return Samples(
            self.names + others.names,
            self.wafers + others.wafers,
            np.concatenate([self.compositions, others.compositions]),
            np.concatenate([self.x, others.x]),
            np.concatenate([self.y, others.y]),
        )

    def called(self, text: str, *, wafer: str = "") -> Rows:
        """Return the rows of the samples that a person may mean by a name; several where it comes on several wafers.

        Args:
            text: The sample's name, or that of its wafer before it with `-`, `/`, `:`, `_` or a blank between.
            wafer: That the sample lies on; any by default.
        """
        said, on = plain_name(text), plain_name(wafer)

        def is_meant(where: str, name: str) -> bool:
            if wafer and where != on:
                return False
            return said == name or (where != "" and said in {f"{where}{mark}{name}" for mark in "-/:_ "})

        each = enumerate(zip(map(plain_name, self.wafers), map(plain_name, self.names), strict=True))
        return np.array([row for row, one in each if is_meant(*one)], dtype=np.intp)

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """Return several lists, one at least, as one; of a sample that stands in more than one the last counts.

        Names are compared by their plain forms; a wafer is called as where it comes first.
        """
        last = {
            (plain_name(wafer), plain_name(name)): (part, row)
            for part in parts
            for row, (wafer, name) in enumerate(zip(part.wafers, part.names, strict=True))
        }
        if not last:
            return parts[0]
        called = dict[str, str]()
        for name in (name for part in parts for name in part.wafers):
            called.setdefault(plain_name(name), name)
        return cls(
            tuple(part.names[row] for part, row in last.values()),
            tuple(called[wafer] for wafer, _ in last),
            np.array([part.compositions[row] for part, row in last.values()]),
            np.array([part.x[row] for part, row in last.values()]),
            np.array([part.y[row] for part, row in last.values()]),
        )


def compositions_of(candidates: "CompositionSpace | Samples") -> "CompositionSpace | CandidateCompositions":
    """Return what may be planned as planning takes it: the space, or the compositions of a list."""
    return candidates if isinstance(candidates, CompositionSpace) else candidates.compositions


def read_samples(
    paths: Sequence[Path],
    elements: Sequence[str],
    *,
    sample: str | None = None,
    columns: Mapping[str, str] | None = None,
    unit: ShareUnit | None = None,
    others: Literal["refuse", "leave out"] = "refuse",
) -> Samples:
    """Read which alloys exist.

    Args:
        paths: Tables as `read_composition_table` takes them, with columns `wafer`, `x (mm)` and `y (mm)` where they
            have them; or data sets (.nc), with or without spectra.
        elements: Of the campaign, in its order.
        sample: The column of names, as `read_composition_table` takes it.
        columns: Of each element, the same.
        unit: Of the shares, the same.
        others: Whether shares of other elements are refused, or left out and the rest closed to 100.

    Raises:
        DatasetError: If one can't be read, or holds other elements; or if two name a sample alike, and neither says on
            which wafer it lies.
        CompositionError: If a row's shares don't sum to 100.
    """
    parts = [
        _read_dataset(path, elements)
        if path.suffix == ".nc"
        else _read_table(path, elements, sample, columns, unit, elements if others == "leave out" else None)
        for path in paths
    ]
    named = dict[str, Path]()  # the samples of no wafer, and the first table that names each
    for path, part in zip(paths, parts, strict=True):
        unplaced = [name for name, wafer in zip(part.names, part.wafers, strict=True) if not wafer]
        for name in unplaced:
            if (first := named.setdefault(plain_name(name), path)) is not path:
                raise DatasetError(
                    f"{first.name} and {path.name} both name a sample {name}, and neither says on which wafer it lies, "
                    "so that one would take the other's place. Add a column `wafer`, or give each sample a name of its "
                    "own."
                )
    return Samples.joined(parts)


def _read_table(
    path: Path,
    elements: Sequence[str],
    sample: str | None,
    columns: Mapping[str, str] | None,
    unit: ShareUnit | None,
    over: Sequence[str] | None,
) -> Samples:
    table = read_composition_table(path, sample=sample, columns=columns or None, unit=unit, over=over)
    if unknown := [element for element in table.elements if element not in elements]:
        raise DatasetError(
            f"{path.name} holds {', '.join(unknown)}, which the campaign doesn't. Take the column out, or set "
            'candidates.others = "leave out".'
        )
    wafers = [name_of_wafer(cell) for cell in table.cells(WAFER)]
    called = Counter(zip(map(plain_name, wafers), map(plain_name, table.samples), strict=True))
    (wafer, name), times = called.most_common(1)[0]
    if times > 1:
        of = f" of wafer {next(one for one in wafers if plain_name(one) == wafer)}" if wafer else ""
        raise DatasetError(f"{path.name} names the sample {name}{of} more than once. Keep the row that counts.")
    compositions = np.zeros((len(table.samples), len(elements)))
    compositions[:, [list(elements).index(element) for element in table.elements]] = table.compositions
    nowhere = np.full(len(table.samples), np.nan)
    return Samples(
        tuple(table.samples),
        tuple(wafers),
        compositions,
        nowhere if table.x is None else table.x,
        nowhere if table.y is None else table.y,
    )


def _read_dataset(path: Path, elements: Sequence[str]) -> Samples:
    from glassmap.agent.data.dataset import read_dataset  # xarray is slow to import

    spectra = read_dataset(path)
    if spectra.elements != tuple(elements):
        raise DatasetError(
            f"{path.name} is of {', '.join(spectra.elements)}, the campaign of {', '.join(elements)}. Name the set of "
            "this system, in its order."
        )
    return samples_of(spectra)


def samples_of(spectra: "SpectraSet") -> Samples:
    """Return the samples of a data set: wafers of its `wafer`, places of `x` and `y`, or of `plate_xy` (mm)."""
    known = spectra.coordinates
    nowhere = np.full(len(spectra), np.nan)
    x, y = known.get("plate_xy", np.column_stack([known.get("x", nowhere), known.get("y", nowhere)])).T.astype(float)
    return Samples(
        spectra.ids,
        tuple(name_of_wafer(name) for name in known.get(WAFER, [""] * len(spectra))),
        spectra.compositions,
        x,
        y,
    )


def name_of_wafer(said: object) -> str:
    """Return a wafer as it is called; empty where a table or data set has nothing there, as NaN.

    A number is said as people do, 7 and not 7.0, which it becomes beside an empty cell.
    """
    if isinstance(said, float | np.floating) and float(said).is_integer():
        said = int(said)
    return "" if said is None or said != said else visible(str(said)).strip()
