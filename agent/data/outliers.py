"""Outliers among measurements: points without film, lines of substrate or holder, saturation, what resembles nothing.

A measurement is flagged, never changed: what is done about it is a person's decision or the campaign's policy. What the
thresholds find on real wafers is in docs/results.md.

Letters: n measured alloys, e elements, q points.
"""

from typing import cast

import numpy as np
from scipy.ndimage import median_filter  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]
from scipy.spatial.distance import cdist

from glassmap.agent.data.composition import SAME_ALLOY
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.shapes import Axis, Compositions, Mask, Neighbours, PerSample, Rows, Spectra, Spectrum, Weights

ENOUGH = 8  # measured alloys; with fewer, nobody knows how far neighbours differ
AT_ONCE = 3000  # new measurements of a data set, so that the memory for their neighbours is bounded
WITNESSES = 30  # nearest measurements that a new one is screened with
NEIGHBOURS = 6  # nearest measured alloys that a spectrum is held against
LINE_WIDTH = 0.035  # 1/Å; a narrower line needs grains of 16 nm or more (Scherrer)
LINE_HEIGHT = 15.0  # of 100, above what lies within LINE_SURROUNDINGS
LINE_SURROUNDINGS = 0.15  # 1/Å
SIGNAL = 8.0  # standard deviations of the noise, from lowest to highest point; noise alone spans 6 or 7
FLAT_TOP = 4  # points in a row at the maximum
UNLIKE = 25.0  # times the median difference between an alloy and the most similar of its neighbours, …
UNLIKE_AT_MOST = 30.0  # … or this, of 100, where neighbours differ much
FEW_COUNTS = 0.5  # of the median of its neighbours' counts


def screen(
    q: Axis,
    compositions: Compositions,
    spectra: Spectra,
    *,
    counts: PerSample,
    new: Mask,
    expected: Spectra | None = None,
) -> list[str]:
    """Say why each measurement is to be flagged; empty where it isn't.

    Args:
        q: 1/Å, `(q,)`.
        compositions: Atomic fractions `(n, e)`, of all measurements that are used.
        spectra: 0-100, `(n, q)`.
        counts: Median of each spectrum before it was normalised, NaN where it isn't known.
        new: Which of them to judge; the others are only held against.
        expected: What a model that has not seen the new ones says of each, 0-100, `(n, q)`.
    """
    lines = _sharp_lines(q, spectra)
    nearest = _nearest(compositions)
    reasons = list[str]()
    differences = (spectra - spectra[neighbour] for neighbour in nearest.T)  # one after another, to spare memory
    squares = [np.einsum("nq,nq->n", apart, apart) / len(q) for apart in differences]
    closest = np.sqrt(np.min(squares, axis=0, initial=np.inf)) if squares else np.full(len(spectra), np.inf)
    median_closest = float(np.median(closest)) if len(spectra) >= ENOUGH else np.inf
    for row in range(len(spectra)):
        if not new[row]:
            reasons.append("")
            continue
        found = [_no_signal(spectra[row]), _saturation(spectra[row])]
        if len(spectra) >= ENOUGH:
            reference_lines = [lines[int(k)] for k in nearest[row]]
            if expected is not None:
                reference_lines.append(_sharp_lines(q, expected[row : row + 1])[0])
            found.append(_strange_line(lines[row], reference_lines, q))
            apart = closest[row]
            if expected is not None:
                apart = min(apart, float(np.sqrt(np.square(spectra[row] - expected[row]).mean())))
            if apart > min(UNLIKE * median_closest, UNLIKE_AT_MOST):
                found.append(f"It resembles no neighbour: {apart:.1f} of 100 apart, usual is {median_closest:.1f}.")
            share = float(counts[row] / np.median(counts[nearest[row]]))
            if share < FEW_COUNTS:
                found.append(f"It has {share:.0%} of the counts of its neighbours: no film?")
        reasons.append(" ".join(filter(None, found)))
    return reasons


def screen_set(spectra: SpectraSet) -> dict[str, str]:
    """Say of each sample of a data set that is to be flagged why, by its id; of none over r.

    Args:
        spectra: As measured, over the range that is learned from.
    """
    prepared = spectra.prepared(points=len(spectra.axis))
    q = q_axis(prepared.axis_name, prepared.axis, prepared.wavelength)
    if q is None:
        return {}
    counts = np.median(spectra.intensities, axis=1).astype(np.float64)
    flagged = dict[str, str]()
    for begin in range(0, len(spectra), AT_ONCE):
        new = np.zeros(len(spectra), dtype=bool)
        new[begin : begin + AT_ONCE] = True
        rows = witnesses(spectra.compositions, new) if len(spectra) > AT_ONCE else np.arange(len(spectra))
        reasons = screen(q, spectra.compositions[rows], prepared.intensities[rows], counts=counts[rows], new=new[rows])
        flagged |= {spectra.ids[int(row)]: reason for row, reason in zip(rows, reasons, strict=True) if reason}
    return flagged


def witnesses(compositions: Compositions, new: Mask) -> Rows:
    """Return which measurements are needed to judge the new ones: themselves and the `WITNESSES` nearest of each.

    Args:
        compositions: Of all measurements that are used, of which there may be very many; `(n, e)`.
        new: Which of them to judge, `(n,)`.

    Returns:
        Rows, increasing.
    """
    near = np.argsort(cdist(compositions[new], compositions), axis=1)[:, :WITNESSES]
    return np.unique(near)


def nearest_rows(compositions: Compositions, row: int, *, n: int = 4) -> Rows:
    """Return the rows of the `n` measurements nearest to one, the nearest first."""
    return np.argsort(cdist(compositions[[row]], compositions)[0], kind="stable")[1 : n + 1]


def _nearest(compositions: Compositions) -> Neighbours:
    """Return rows of the nearest other alloys, `(n, up to NEIGHBOURS)`; replicates don't vouch for each other."""
    distances = cdist(compositions, compositions)
    distances[distances < SAME_ALLOY] = np.inf
    return np.argsort(distances, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(compositions) - 1)]


def _no_signal(spectrum: Spectrum) -> str:
    noise = _noise(spectrum)
    height = float(np.ptp(spectrum))
    return "" if height > SIGNAL * noise else f"No signal: it varies by {height:.2g} of 100, its noise by {noise:.2g}."


def _noise(spectrum: Spectrum) -> float:
    """Return standard deviation, from the differences of neighbouring points."""
    return 1.4826 * float(np.median(np.abs(np.diff(spectrum)))) / np.sqrt(2)


def _saturation(spectrum: Spectrum) -> str:
    top = np.flatnonzero(spectrum >= spectrum.max() * (1 - 1e-6))
    runs = np.split(top, np.flatnonzero(np.diff(top) > 1) + 1)
    longest = max(map(len, runs))
    return f"Saturated: {longest} points in a row are at the maximum." if longest >= FLAT_TOP else ""


def _sharp_lines(q: Axis, spectra: Spectra) -> list[dict[int, float]]:
    """Return place (point of the axis) and height of lines too narrow for a film; none where the axis is coarse."""
    step = float(np.median(np.diff(q)))
    if step > LINE_WIDTH / 3:
        return [{} for _ in spectra]
    window = round(LINE_SURROUNDINGS / step) | 1
    found = list[dict[int, float]]()
    for spectrum in spectra:
        above = spectrum - cast("Spectrum", median_filter(spectrum, size=window))
        least = max(6 * _noise(spectrum), 1.0)
        found.append(_narrow_peaks(above, least, step) if above.max() >= least else {})
    return found


def _narrow_peaks(above: Spectrum, least: float, step: float) -> dict[int, float]:
    """Return place and height of the peaks that are higher than `least` and narrower than a film's."""
    from scipy.signal import (  # takes half a second, and few scans need it  # pyright: ignore[reportMissingTypeStubs]
        find_peaks,  # pyright: ignore[reportUnknownVariableType]
        peak_widths,  # pyright: ignore[reportUnknownVariableType]
    )

    peaks = cast("Rows", find_peaks(above, height=least, prominence=least)[0])
    widths = cast("Weights", peak_widths(above, peaks, rel_height=0.5)[0]) * step
    return {int(k): float(above[k]) for k in peaks[widths < LINE_WIDTH]}


def _strange_line(lines: dict[int, float], reference_lines: list[dict[int, float]], q: Axis) -> str:
    """Name the highest sharp line that neither a neighbour nor the model has at half its height."""
    reach = LINE_WIDTH / float(np.median(np.diff(q)))
    strange = {
        k: height
        for k, height in lines.items()
        if height > LINE_HEIGHT
        and not any(
            other > height / 2 and abs(j - k) <= reach
            for reference in reference_lines
            for j, other in reference.items()
        )
    }
    if not strange:
        return ""
    k = max(strange, key=lambda k: strange[k])
    return (
        f"A sharp line at {q[k]:.2f} 1/Å, {strange[k]:.0f} of 100 high and narrower than {LINE_WIDTH} 1/Å, that no "
        "neighbour has: substrate or holder?"
    )
