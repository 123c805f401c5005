"""Whether the first peak is read right: the batched measurement against lmfit, and lmfit against the published fits."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps.agreement import agreement
from glassmap.agent.maps.glass import GLASS_DELTA_Q
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.peaks.batched import Peaks, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES
from glassmap.agent.peaks.reference import fit_peak
from glassmap.agent.shapes import Axis, PerSample, Spectra
from glassmap.flows.compare import read_prepared
from tests.benchmarks.spectra import draw_split, learning_size

Figures = dict[str, PerSample]  # peak figures of every sample, by name


def run(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Measure every spectrum of each set both ways and compare; minutes a set, as lmfit fits one by one.

    Args:
        paths: Data sets in q or 2θ; those with `q1_reported` and `delta_q_reported` (1/Å) are held against them too.

    Returns:
        Records with `dataset`, `quantity` (a name of `FIGURES`), `against` (`fit_peak`: `measure_peaks` against it;
        `reported`: `fit_peak` against the published), `slope` a and `r2` of the fit y = a x (as the paper's), `mae`
        (1/Å, about y = x) and `n`, the number of spectra where both have a peak. Points without film (`cleaned`
        false) aren't held against the published.
    """
    records = []
    for path in paths:
        q, intensity, reported = _read(path)
        measured = _as_arrays(measure_peaks(q, torch.as_tensor(intensity)))
        fits = [fit_peak(q, spectrum) for spectrum in intensity]
        fitted = {figure.name: np.array([fit.figures[figure.name] for fit in fits]) for figure in FIGURES}
        for quantity in fitted:
            for against, ours, theirs in (("fit_peak", measured, fitted), ("reported", fitted, reported)):
                if np.isfinite(theirs[quantity]).any():
                    figures = compare(ours[quantity], theirs[quantity])
                    records.append({"dataset": path.stem, "quantity": quantity, "against": against, **figures})
    return records


def compare(ours: PerSample, theirs: PerSample) -> dict[str, float | int]:
    """Slope and R² of the fit ours = a · theirs (about the mean and, as the paper's, about 0), MAE, number of pairs."""
    found = agreement(ours, theirs)
    return {"r2": found.r2, "r2_origin": found.r2_origin, "slope": found.slope, "mae": found.mae, "n": found.n}


def judge_generated(
    paths: Sequence[Path],
    *,
    seeds: Sequence[int],
    where: str | None = None,
    picture: Path | None = None,
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """Peaks of generated spectra against those of the measured ones, all samples of each set.

    The ensemble learns from as many random spectra as `spectra.run`'s.

    Args:
        paths: Data sets in q or 2θ.
        seeds: Each draws other training spectra.
        where: Keeps the samples for which this coordinate holds.
        picture: PNG of the scatter plots of the first seed.
        on_record: Called with every record as it is there.

    Returns:
        A record a set, seed and quantity as of `run`, with those of Δq also the counts `both` (glass as measured and
        as generated, by the threshold of the data's authors), `missed`, `false` and `neither`.
    """
    records, pairs = [], {}
    for path in paths:
        spectra = read_prepared(path, where=where)
        q = q_axis(spectra.axis_name, spectra.axis, spectra.wavelength)
        if q is None:
            raise DatasetError(f"{path}: peaks are measured in q, got an axis in {spectra.axis_name}.")
        theirs = _as_arrays(measure_peaks(q, torch.as_tensor(spectra.intensities.astype(np.float64))))
        for seed in seeds:
            learn, _ = draw_split(spectra, "random", n=learning_size(path), seed=seed)
            ensemble = Ensemble(seed=seed).fit(learn.compositions, learn.intensities.astype(np.float64))
            ours = _as_arrays(measure_peaks(q, torch.as_tensor(ensemble.predict(spectra.compositions).mean)))
            pairs.setdefault(path.stem, (theirs, ours))
            for quantity in ours:
                record = {"dataset": path.stem, "n_learned": len(learn), "seed": seed, "quantity": quantity}
                record |= compare(ours[quantity], theirs[quantity])
                if quantity == DELTA_Q.name:
                    record |= _confusion(ours[quantity], theirs[quantity])
                records.append(record)
                on_record(record)
    if picture is not None:
        _draw(pairs, picture, "measured", "generated")
    return records


def _confusion(ours: PerSample, theirs: PerSample) -> dict[str, int]:
    both = np.isfinite(ours) & np.isfinite(theirs)
    generated, measured = ours[both] > GLASS_DELTA_Q, theirs[both] > GLASS_DELTA_Q
    counts = (generated & measured, ~generated & measured, generated & ~measured, ~generated & ~measured)
    return {name: int(c.sum()) for name, c in zip(("both", "missed", "false", "neither"), counts, strict=True)}


def scatter_plot(paths: Sequence[Path], picture: Path) -> None:
    """Draw the peak figures of each set, measured against published, to a PNG."""
    pairs = {}
    for path in paths:
        q, intensity, reported = _read(path)
        pairs[path.stem] = reported, _as_arrays(measure_peaks(q, torch.as_tensor(intensity)))
    _draw(pairs, picture, "published", "by glassmap")


def _draw(pairs: dict[str, tuple[Figures, Figures]], picture: Path, theirs: str, ours: str) -> None:
    shown = [one for one in FIGURES if any(np.isfinite(x[one.name]).any() for x, _ in pairs.values())]
    figure = Figure(figsize=(4 * len(pairs), 3.8 * len(shown)), layout="constrained")
    axes = figure.subplots(len(shown), len(pairs), squeeze=False)
    for column, (name, (x, y)) in zip(axes.T, pairs.items(), strict=True):
        column[0].set_title("-".join(part.capitalize() for part in name.split("-")), fontweight="bold")
        for panel, peak_figure in zip(column, shown, strict=True):
            _scatter(panel, x[peak_figure.name], y[peak_figure.name])
            panel.set_xlabel(f"{peak_figure.head}, {theirs}")
            panel.set_ylabel(f"{peak_figure.head}, {ours}")
        glass = column[shown.index(DELTA_Q)]
        glass.axvline(GLASS_DELTA_Q, color="0.6", linewidth=0.8, linestyle=":")
        glass.axhline(GLASS_DELTA_Q, color="0.6", linewidth=0.8, linestyle=":")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=150)


def _scatter(panel: Axes, theirs: PerSample, ours: PerSample) -> None:
    both = np.isfinite(theirs) & np.isfinite(ours)
    if not both.any():
        panel.text(0.5, 0.5, "none published", transform=panel.transAxes, horizontalalignment="center")
        return
    x, y = theirs[both], ours[both]
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    margin = 0.04 * (ends[1] - ends[0])
    limits = (ends[0] - margin, ends[1] + margin)
    panel.plot(limits, limits, color="0.3", linewidth=0.8)
    panel.scatter(x, y, s=7, alpha=0.35, linewidths=0, color="#1f5f99", rasterized=True)
    figures = compare(ours, theirs)
    varies = min(np.ptp(x), np.ptp(y)) > 0
    correlation = np.corrcoef(x, y)[0, 1] if varies else math.nan  # of halos alone no crystalline share does
    panel.text(
        0.05,
        0.95,
        f"r = {correlation:.3f}\nslope {figures['slope']:.3f}\nMAE {figures['mae']:.3f} Å$^{{-1}}$\nn = {figures['n']}",
        transform=panel.transAxes,
        verticalalignment="top",
        fontsize=9,
    )
    panel.set(xlim=limits, ylim=limits, aspect="equal")


def _read(path: Path) -> tuple[Axis, Spectra, Figures]:
    """q, the intensities and the published peaks: NaN where there is none, or no film (`cleaned` false)."""
    data = read_dataset(path)
    q = q_axis(data.axis_name, data.axis, data.wavelength)
    if q is None:
        raise DatasetError(
            f"{path}: peaks are measured in q, got an axis in {data.axis_name}. Give diffraction spectra."
        )
    film = data.coordinates.get("cleaned", np.ones(len(data), dtype=bool))
    none = np.full(len(data), np.nan)
    published = {f.name: data.coordinates.get(f"{f.name}_reported", none) for f in FIGURES}
    reported = {name: np.where(film, values, np.nan) for name, values in published.items()}
    return q, data.intensities.astype(np.float64), reported


def _as_arrays(peaks: Peaks) -> Figures:
    return {name: values.numpy() for name, values in peaks.figures.items()}
