"""What the volume of atoms finds of faults that are put into good data sets, at which size, and how often it is wrong.

A fault is put into the scans' axis or table, the first peaks are measured again on that axis, and the check is asked.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from glassmap.agent.data.context import WAFER
from glassmap.agent.data.spectrum import q_axis, q_from_two_theta, two_theta_from_q
from glassmap.agent.errors import DatasetError, SpectrumError
from glassmap.agent.peaks.atomic_volume import VolumeLaw, atomic_volumes, halos, q1_by_volume
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.volume_check import ANODES, VolumeCheck, check_volumes
from glassmap.agent.shapes import Axis, PerSample, Rows
from glassmap.flows.compare import read_prepared

SIZES = (50, 200, None)  # samples looked at; None: all
ZEROS = (0.2, 0.5, 1.0, 2.0, 3.0)  # degrees of 2θ, either way
BATCH = 20  # samples a round
NEAREST = (30, 60, 100, 300)  # samples round a random one: a set that covers a part of the space


class Set(NamedTuple):
    """A data set whose samples are good, with its first peaks on its own axis."""

    name: str
    elements: tuple[str, ...]
    compositions: np.ndarray
    wafers: np.ndarray | None
    q: Axis
    spectra: torch.Tensor
    ids: tuple[str, ...]

    def peaks(self, q: Axis) -> tuple[PerSample, PerSample]:
        """Return q1 and Δq as they are read on another axis."""
        found = measure_peaks(q, self.spectra).figures
        return found["q1"].numpy(), found["delta_q"].numpy()


def read_set(path: Path) -> Set:
    """Read a data set, without the samples that its authors left out.

    Raises:
        DatasetError: If its axis is r.
    """
    spectra = read_prepared(path)
    if "cleaned" in spectra.coordinates:
        spectra = spectra.where("cleaned")
    q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
    if q is None:
        raise DatasetError(f"{path}: peaks are measured in q, got an axis in r.")
    wafers = spectra.coordinates.get(WAFER)
    intensity = torch.as_tensor(spectra.intensities.astype(np.float64))
    return Set(path.stem, tuple(spectra.elements), spectra.compositions, wafers, q, intensity, tuple(spectra.ids))


def run(
    paths: Sequence[Path],
    *,
    seeds: Sequence[int] = tuple(range(10)),
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a set, fault, size and number of samples: `tried`, `judged` as there were 20 halos, `said` anything,
    `right`ly named.

    Args:
        paths: Data sets in q or 2θ whose samples are good.
        seeds: Of the draws of samples. Thresholds were set on 0 to 4; `half` says which half a record is of.
        on_record: Called with every record as it is there.
    """
    records: list[dict[str, Any]] = []
    for path in paths:
        good = read_set(path)
        for half, part in (("chosen on", [s for s in seeds if s < 5]), ("judged on", [s for s in seeds if s >= 5])):
            cases: dict[tuple[str, float | str, int | None], list[tuple[bool, bool, bool]]] = {}
            for fault, size, n, *outcome in _cases(good, part):
                cases.setdefault((fault, size, n), []).append((outcome[0], outcome[1], outcome[2]))
            for (fault, size, n), outcomes in cases.items():
                judged, said, right = (int(sum(column)) for column in zip(*outcomes, strict=True))
                record = {"dataset": good.name, "half": half, "fault": fault, "size": size, "n": n}
                record |= {"tried": len(outcomes), "judged": judged, "said": said, "right": right}
                records.append(record)
                on_record(record)
    return records


def laws(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One record a set: how well its halos follow the volume of their atoms.

    `factor` and `scatter` of the law, `explained`, the share of the variance of ln q1 that it gives up to that factor,
    and `own_power`, which would fit best.
    """
    records: list[dict[str, Any]] = []
    for path in paths:
        good = read_set(path)
        q1, delta_q = good.peaks(good.q)
        law = VolumeLaw.learned_from(good.compositions, good.elements, q1, delta_q)
        if law is None:
            continue
        told = halos(good.compositions, good.elements, q1, delta_q)
        ln_q1, ln_v = np.log(q1[told]), np.log(good.compositions[told] @ atomic_volumes(good.elements))
        figures = {
            "factor": law.factor,
            "scatter": law.scatter,
            "explained": 1 - law.scatter**2 / float(ln_q1.var()),
            "own_power": float(np.polyfit(ln_v, ln_q1, 1)[0]),
        }
        records.append({"dataset": good.name, "samples": len(q1), "halos": int(told.sum())} | figures)
    return records


def over_sets(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records of all sets, elements and wavelengths together, a fault a line."""
    sums: dict[tuple[str, str, str], dict[str, Any]] = {}
    for record in records:
        size = f"{record['size']:g}°" if isinstance(record["size"], float) else ""
        n = "all" if record["n"] is None else str(record["n"])
        case = {"half": record["half"], "fault": f"{record['fault']} {size}".rstrip(), "n": n}
        counts = ("tried", "judged", "said", "right")
        one = sums.setdefault((case["half"], case["fault"], n), case | dict.fromkeys(counts, 0))
        for name in counts:
            one[name] += record[name]
    return list(sums.values())


def _cases(good: Set, seeds: Sequence[int]) -> Iterator[tuple[str, float | str, int | None, bool, bool, bool]]:
    """Yield fault, size, number of samples, and the outcome of each check."""
    own = good.peaks(good.q)
    for seed in seeds:
        for n in SIZES:
            if n is not None and n >= len(good.ids):
                continue
            rng = np.random.default_rng([seed, n or 0])
            rows = np.arange(len(good.ids)) if n is None else np.sort(rng.choice(len(good.ids), n, replace=False))
            for fault, size, check, is_right in _with_faults(good, rows, own, rng):
                yield fault, size, n, *_outcome(check, is_right)
        for n in NEAREST:
            rng = np.random.default_rng([seed, n])
            for centre in rng.choice(len(good.ids), 10, replace=False):
                apart = np.square(good.compositions - good.compositions[centre]).sum(1)
                check = _check(good, np.argsort(apart)[:n], *own)
                yield "none, part of the space", "", n, *_outcome(check, lambda check: check.is_right)
    for wafer in () if good.wafers is None else np.unique(good.wafers):
        check = _check(good, np.flatnonzero(good.wafers == wafer), *own)
        yield "none, one wafer", "", None, *_outcome(check, lambda check: check.is_right)


def _outcome(check: VolumeCheck | None, is_right: Callable[[VolumeCheck], bool]) -> tuple[bool, bool, bool]:
    """Return whether there were halos enough to judge, whether anything was said, and whether it was right."""
    return (False, False, False) if check is None else (True, not check.is_right, is_right(check))


def _with_faults(
    good: Set, rows: Rows, own: tuple[PerSample, PerSample], rng: np.random.Generator
) -> Iterator[tuple[str, float | str, VolumeCheck | None, Callable[[VolumeCheck], bool]]]:
    """Yield the check of some samples without a fault and with each."""
    yield "none", "", _check(good, rows, *own), lambda check: check.is_right
    for taken, true in permutations(ANODES, 2):
        figures = _some(good, rows, good.q * ANODES[true] / ANODES[taken])
        check = _check(good, rows, *figures, wavelength=ANODES[taken])
        yield (
            f"wavelength, {_apart(taken, true)}",
            f"{true} as {taken}",
            check,
            lambda c, true=true: f"{true} Kα" in str(c),
        )
    for one, other in combinations(range(len(good.elements)), 2):
        order = np.arange(len(good.elements))
        order[[one, other]] = other, one
        swapped = good._replace(compositions=good.compositions[:, order])
        held = tuple(good.elements[k] for k in order)
        names = "-".join(good.elements[k] for k in (one, other))
        yield "swapped", names, _check(swapped, rows, *own), lambda check, held=held: held in check.orders
    two_theta = two_theta_from_q(good.q[good.q < 8], wavelength=ANODES["Cu"])
    wafers = None if good.wafers is None else good.wafers[rows]
    batches = rng.permutation(len(rows)) // BATCH
    if len(rows) >= 4 * BATCH and len(rows) <= 10 * BATCH:
        in_batches = good._replace(wafers=_spread(good, rows, batches))
        yield "none, batches of 20", "", _check(in_batches, rows, *own), lambda check: check.is_right
    for zero in ZEROS:
        shift = zero * rng.choice([-1, 1])
        figures = _some(good, rows, q_from_two_theta(two_theta + shift, wavelength=ANODES["Cu"]))
        yield "zero", zero, _check(good, rows, *figures, wavelength=ANODES["Cu"]), lambda check: check.off.is_sure
        if wafers is not None and len(np.unique(wafers)) > 1:
            wafer = rng.choice(np.unique(wafers))
            its = np.isin(np.arange(len(good.ids)), rows[wafers == wafer])
            mixed = tuple(np.where(its, new, old) for new, old in zip(figures, own, strict=True))
            check = _check(good, rows, *mixed, wavelength=ANODES["Cu"])
            yield "zero of a wafer", zero, check, lambda c, wafer=wafer: [one.of for one in c.apart] == [str(wafer)]
        if len(rows) >= 4 * BATCH and len(rows) <= 10 * BATCH:
            in_batches = good._replace(wafers=_spread(good, rows, batches))
            its = np.isin(np.arange(len(good.ids)), rows[batches == 0])
            mixed = tuple(np.where(its, new, old) for new, old in zip(figures, own, strict=True))
            check = _check(in_batches, rows, *mixed, wavelength=ANODES["Cu"])
            yield "zero of a batch", zero, check, lambda check: [one.of for one in check.apart] == ["0"]
    one, other = rng.choice(rows, 2, replace=False)
    changed = good.compositions.copy()
    changed[one] = changed[other]
    apart = abs(math.log(float(np.divide(*q1_by_volume(good.compositions[[one, other]], good.elements)))))
    size = "q1 by less than 6 %" if apart < 0.06 else "q1 by 6 to 15 %" if apart < 0.15 else "q1 by more than 15 %"
    check = _check(good._replace(compositions=changed), rows, *own)
    yield "sample's alloy", size, check, lambda check: good.ids[one] in [single.of for single in check.single]


def _spread(good: Set, rows: Rows, batches: np.ndarray) -> np.ndarray:
    """Return a batch for every sample of a set, -1 of those that aren't looked at."""
    every = np.full(len(good.ids), -1)
    every[rows] = batches
    return every


def _some(good: Set, rows: Rows, q: Axis) -> tuple[PerSample, PerSample]:
    """Return q1 and Δq of some samples on another axis, NaN of the others."""
    try:
        figures = measure_peaks(q, good.spectra[torch.as_tensor(rows), : len(q)]).figures
    except SpectrumError:  # no first peak can be on such an axis, which is refused in words
        return np.full(len(good.ids), math.nan), np.full(len(good.ids), math.nan)
    found: list[PerSample] = []
    for name in ("q1", "delta_q"):
        every = np.full(len(good.ids), math.nan)
        every[rows] = figures[name].numpy()
        found.append(every)
    return found[0], found[1]


def _check(
    good: Set, rows: Rows, q1: PerSample, delta_q: PerSample, *, wavelength: float | None = None
) -> VolumeCheck | None:
    return check_volumes(
        good.compositions[rows],
        good.elements,
        q1[rows],
        delta_q[rows],
        ids=[good.ids[int(row)] for row in rows],
        groups=None if good.wafers is None else good.wafers[rows],
        wavelength=wavelength,
    )


def _apart(taken: str, true: str) -> str:
    """Return how much two wavelengths differ, in words."""
    factor = max(ANODES[true] / ANODES[taken], ANODES[taken] / ANODES[true])
    return "by 8 to 27 %" if factor < 1.3 else "by 27 to 49 %" if factor < 1.5 else "by a factor of 2 and more"
