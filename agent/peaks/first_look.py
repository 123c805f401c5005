"""A first look at the scans of a data set, before anything is learned from them: over which range, and is there a peak?

Scans as an instrument leaves them often begin behind the beam stop and end in zeros where the detector ends. A model of
such scans learns the cliffs, and finds no first peak in what it generates.
"""

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch

from glassmap.agent.data.context import WAFER
from glassmap.agent.data.corrections import DOUBLETS
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis, q_from_two_theta, two_theta_from_q
from glassmap.agent.errors import DatasetError, SpectrumError
from glassmap.agent.peaks.batched import Peaks, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, MOST, Q1
from glassmap.agent.peaks.find import FOUND, MARGIN, REASONS, SNIP_HALF_WIDTH, STEP, ruler_of, smooth_spectra
from glassmap.agent.peaks.volume_check import VolumeCheck, check_volumes
from glassmap.agent.shapes import Axis, AxisName, Codes, Rows, Scan, Scans

LOOKED_AT = 1000  # scans in which a peak is looked for, spread evenly over a larger set
FEWEST_EMPTY = 4  # points without signal at an end of a scan; fewer are noise, or do no harm
CLIMB_ENDS = 0.2  # 1/Å; what isn't exceeded for so long is where the shadow of a beam stop ends, not its noise
LONGEST_SHADOW = 1.5  # 1/Å, of a beam stop; what is still climbing there climbs to a halo
GAIN = 0.1  # of the scans; a range that finds a first peak in so many more is taken
NAMED = 5  # scans without a peak
DECIMALS = 2  # of a range that is proposed, in the unit of its axis
_WORDS: dict[AxisName, tuple[str, str]] = {"q": ("q", " 1/Å"), "two_theta": ("2θ", "°"), "r": ("r", " Å")}


class Range(NamedTuple):
    """A part of an axis, in its unit, both ends included."""

    low: float
    high: float

    def of(self, axis: Axis) -> slice:
        """Return the points within."""
        return slice(int(np.searchsorted(axis, self.low)), int(np.searchsorted(axis, self.high, side="right")))


class FirstLook(NamedTuple):
    """What was seen, and the range that is taken."""

    axis_name: AxisName
    scans: int  # in which a first peak was looked for
    whole: Range  # of the scans' own axis
    signal: Range  # in which every scan has signal
    shadow: float | None  # where the shadow of a beam stop ends; None where none is seen
    taken: Range
    with_peak: tuple[int, int] | None  # scans with a first peak, over the whole axis and over what is taken; None for r
    often: str  # why most of the others have none, over what is taken; empty where all have one
    with_other_anode: str = ""  # of 2θ whose peaks are missing or strange: by whose wavelength they are not; else empty
    volumes: VolumeCheck | None = None  # whether peaks lie where they can; None where too few are wide enough to tell
    of: int = 0  # scans that those looked at are spread over, where they are more
    without: tuple[str, ...] = ()  # ids of those without a first peak over what is taken

    @property
    def low(self) -> float | None:
        """Where the range that is taken begins; None where the axis does."""
        return None if self.taken.low == self.whole.low else self.taken.low

    @property
    def high(self) -> float | None:
        """Where the range that is taken ends; None where the axis does."""
        return None if self.taken.high == self.whole.high else self.taken.high

    @property
    def has_peaks(self) -> bool:
        """Whether most scans have a first peak over what is taken; always on r, where none is looked for."""
        return self.with_peak is None or self.with_peak[1] >= MOST * self.scans

    def check(self) -> None:
        """Refuse to go on where there is nothing to map.

        Raises:
            DatasetError: If not one scan has a first peak over what is taken.
        """
        if self.with_peak is not None and not self.with_peak[1]:
            raise DatasetError(
                f"{self} Without a peak there is no q1 and no Δq to map. Give the range that has it with `--range LOW "
                "HIGH`, check what the axis is and its wavelength, leave out samples without a film, or measure longer."
            )

    def __str__(self) -> str:
        said: list[str] = []
        if self.signal != self.whole:
            said.append(f"Every scan has signal over {self._say(self.signal)} only.")
        if self.shadow is not None:
            said.append(f"Up to {self.shadow:.3g} the scans climb as behind a beam stop.")
        over = f"over {self._say(self.taken)}"
        if self.taken != self.whole:
            said.append(
                f"Taken: {self._say(self.taken)}, of {self._say(self.whole)} (`--range {self.taken.low:.8g} "
                f"{self.taken.high:.8g}`); `--range LOW HIGH` takes another."
            )
            over = "there"
        if self.with_peak is not None:
            before, now = self.with_peak
            than = f", over the whole axis in {before}" if self.taken != self.whole else ""
            spread = f", spread evenly over {self.of}" if self.of > self.scans else ""
            said.append(f"A first peak is found {over} in {now} of {self.scans} scans{spread}{than}.")
            if self.has_peaks and self.without:
                more = f" and {len(self.without) - NAMED} more" if len(self.without) > NAMED else ""
                said.append(f"None in {', '.join(self.without[:NAMED])}{more}.")
            if not self.has_peaks:
                said.append(
                    f"Most often: {self.often} Is it the right range, is there a film on every sample, and are there "
                    "counts enough?"
                )
        if self.with_other_anode:
            said.append(self.with_other_anode)
        return " ".join(said)

    def _say(self, part: Range) -> str:
        symbol, unit = _WORDS[self.axis_name]
        return f"{symbol} {part.low:.3g} to {part.high:.3g}{unit}"


def describe(spectra: SpectraSet) -> str:
    """Say how many scans there are, over what, and by which wavelength."""
    symbol, unit = _WORDS[spectra.axis_name]
    by = "" if spectra.wavelength is None else f", wavelength {spectra.wavelength:.6g} Å"
    first, last = spectra.axis[0], spectra.axis[-1]
    return f"{len(spectra)} scans over {symbol} {first:.4g} to {last:.4g}{unit}, {len(spectra.axis)} points{by}."


def look_at_scans(spectra: SpectraSet, *, asked: tuple[float, float] | None = None) -> FirstLook:
    """Look at scans and choose the range that is learned from.

    It is the one in which every scan has signal. If the mean scan climbs from its start, as behind a beam stop, the
    climb is left out where a first peak is then found in more scans, by a tenth of them. A set with nothing to leave
    out keeps its whole axis. g(r) keeps it always: it is 0 up to the first neighbours, and has no peak of q.

    Args:
        spectra: As measured or prepared.
        asked: The range that is taken instead, in the unit of the axis.

    Raises:
        SpectrumError: If the range asked for isn't covered, the scans have signal in less than half of their range in
            common, or no first peak can be told on such an axis.
    """
    axis, whole = spectra.axis, Range(float(spectra.axis[0]), float(spectra.axis[-1]))
    taken = signal = whole
    if asked is not None:
        taken = Range(*asked)
        if not whole.low <= taken.low < taken.high <= whole.high:
            raise SpectrumError(
                f"A range must run upwards within that of the scans, {whole.low:g} to {whole.high:g}"
                f"{_WORDS[spectra.axis_name][1]}; got {taken.low:g} to {taken.high:g}. "
                f"{_in_two_theta(spectra, taken) or 'Choose a narrower one.'}"
            )
    q = q_axis(spectra.axis_name, axis, spectra.wavelength)
    if q is None:
        return FirstLook(spectra.axis_name, len(spectra), whole, signal, None, taken, None, "")
    rows = np.unique(np.linspace(0, len(spectra) - 1, LOOKED_AT).astype(np.int64))
    some = spectra.intensities[rows].astype(np.float64)

    def measured(part: Range) -> Peaks:
        points = part.of(axis)
        return measure_peaks(q[points], torch.as_tensor(some[:, points].copy()))

    before = now = measured(whole)
    shadow = None
    if asked is not None:
        now = before if taken == whole else measured(taken)
    else:
        if (signal := _range_of_signal(q, spectra)) != whole:
            taken, now = signal, measured(signal)
        if (begins := _end_of_climb(q, axis, some, signal)) is not None:
            behind = Range(begins, signal.high)
            then = measured(behind)
            if then.found.sum() - now.found.sum() >= GAIN * len(some):
                taken, now, shadow = behind, then, begins
    reasons: Codes = now.reason_code.numpy()
    codes, counts = np.unique(reasons[reasons != FOUND], return_counts=True)
    often = REASONS[int(codes[np.argmax(counts)])] if codes.size else ""
    with_peak = int(before.found.sum()), int(now.found.sum())
    without = tuple(spectra.ids[int(row)] for row in rows[reasons != FOUND])
    look = FirstLook(
        *(spectra.axis_name, len(some), whole, signal, shadow, taken, with_peak, often),
        of=len(spectra),
        without=without,
    )
    volumes = _volumes(spectra, rows, now)
    is_strange = not look.has_peaks or (volumes is not None and (bool(volumes.orders) or volumes.off.is_sure))
    more_than = 0 if volumes is None or volumes.orders else round(1.25 * volumes.halos)
    if spectra.axis_name == "two_theta" and is_strange and (said := _say_other_anode(spectra, rows, some, more_than)):
        return look._replace(with_other_anode=said)
    return look._replace(volumes=volumes)


def _say_other_anode(spectra: SpectraSet, rows: Rows, scans: Scans, more_than: int) -> str:
    """Return with which anode's wavelength most scans have a first peak where their atoms' volume puts it, if any.

    It has to find more halos than `more_than`.
    """
    found: list[tuple[int, str]] = []
    for anode, lines in DOUBLETS.items():
        q = q_from_two_theta(spectra.axis, wavelength=lines.alpha1)
        with suppress(SpectrumError):  # no first peak can be on such an axis
            peaks = measure_peaks(q, torch.as_tensor(scans))
            volumes = _volumes(spectra, rows, peaks)
            if volumes is None or volumes.off.is_sure or volumes.orders or volumes.halos <= more_than:
                continue
            if peaks.found.sum() >= MOST * len(scans):
                said = f"With the wavelength of {anode} Kα ({lines.alpha1:g} Å) a first peak is found in"
                found.append((int(peaks.found.sum()), said))
    if not found:
        return ""
    most, said = max(found)
    return f"{said} {most} of {len(scans)} scans, where the volume of their atoms lets expect it: is it that?"


def _in_two_theta(spectra: SpectraSet, asked: Range) -> str:
    """Say where a range lies that was meant in q, where the axis is 2θ; nothing where that isn't covered either."""
    if spectra.axis_name != "two_theta" or spectra.wavelength is None or asked.high * spectra.wavelength >= 4 * np.pi:
        return ""
    low, high = two_theta_from_q(np.array([asked.low, asked.high]), wavelength=spectra.wavelength)
    if not spectra.axis[0] <= low < high <= spectra.axis[-1]:
        return ""
    return f"If that is q in 1/Å, say `--range {low:.4g} {high:.4g}`, or `--axis q` as well."


def _volumes(spectra: SpectraSet, rows: Rows, peaks: Peaks) -> VolumeCheck | None:
    """Return what the volume of atoms says of the samples' first peaks."""
    wafers = spectra.coordinates.get(WAFER)
    return check_volumes(
        spectra.compositions[rows],
        spectra.elements,
        peaks.figures[Q1.name].numpy(),
        peaks.figures[DELTA_Q.name].numpy(),
        ids=[spectra.ids[int(row)] for row in rows],
        groups=None if wafers is None else wafers[rows],
        wavelength=spectra.wavelength,
    )


def cut(spectra: SpectraSet, look: FirstLook) -> SpectraSet:
    """Return a set on the range that was taken, with what was seen as its attribute `range`."""
    points = look.taken.of(spectra.axis)
    return replace(
        spectra,
        axis=spectra.axis[points],
        intensities=spectra.intensities[:, points],
        attributes={**spectra.attributes, "range": str(look)},
    )


def _range_of_signal(q: Axis, spectra: SpectraSet) -> Range:
    """Return where no scan is empty, a little within, as detectors fade out; the whole axis where none is empty."""
    axis, scans = spectra.axis, spectra.intensities
    begin, end = (np.array([_empty_points(scan) for scan in side]) for side in (scans, scans[:, ::-1]))
    first, last = int(begin.max()), len(axis) - 1 - int(end.max())
    if last <= first or q[last] - q[first] < (q[-1] - q[0]) / 2:
        latest, earliest = spectra.ids[int(begin.argmax())], spectra.ids[int(end.argmax())]
        raise SpectrumError(
            "The scans have signal in less than half of their range in common: "
            f"{latest} from {axis[begin.max()]:g} on, {earliest} up to {axis[-1 - end.max()]:g}, of {axis[0]:g} to "
            f"{axis[-1]:g}. Measure those again, leave them out, or give the range with `--range LOW HIGH`."
        )
    low, high = np.interp([q[first] + MARGIN, q[last] - MARGIN], q, axis).tolist()
    return Range(
        float(axis[0]) if first == 0 else _round(low, up=True),
        float(axis[-1]) if last == len(axis) - 1 else _round(high, up=False),
    )


def _empty_points(scan: Scan) -> int:
    """Return how many points from the start on hold no signal: 0, or whatever negative value marks a masked pixel.

    A count of 0 is no sign of that where such counts occur between others, nearly as many in a row.
    """
    begins = int(np.argmax(scan != scan[0]))
    if scan[0] > 0 or begins < FEWEST_EMPTY:
        return 0
    is_empty = np.flatnonzero(scan[begins:] > 0)
    return begins if not is_empty.size or begins > 2 * np.diff(is_empty).max(initial=0) else 0


def _end_of_climb(q: Axis, axis: Axis, scans: Scans, signal: Range) -> float | None:
    """Return where the mean scan first stops to climb, in the unit of the axis; None where no beam stop ends there."""
    points = signal.of(axis)
    q, axis, scans = q[points], axis[points], scans[:, points]
    heights = np.abs(scans).max(axis=1, keepdims=True)
    mean = np.mean(scans / np.where(heights > 0, heights, 1), axis=0)
    mean_scan = torch.as_tensor(mean, dtype=torch.float32)[None]
    smoothed = smooth_spectra(ruler_of(q, mean_scan.device), mean_scan)
    curve, grid = smoothed.smooth[0].numpy(), smoothed.grid.numpy()
    ahead = round(CLIMB_ENDS / STEP)
    later = np.lib.stride_tricks.sliding_window_view(np.append(curve, np.full(ahead, -np.inf)), ahead + 1).max(axis=1)
    top = int(np.argmax(curve >= later))
    if top == 0 or grid[top] > min(LONGEST_SHADOW, q[-1] - SNIP_HALF_WIDTH):
        return None
    return _round(float(np.interp([grid[top]], q, axis)[0]), up=True)


def _round(value: float, *, up: bool) -> float:
    """Return a number of few digits, within a range that begins there (`up`) or ends there."""
    scaled = value * 10**DECIMALS
    return float(np.ceil(scaled) if up else np.floor(scaled)) / 10**DECIMALS
