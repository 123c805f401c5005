"""The figures of the pages that explain: what Δq is and when it lies, one round, what an ensemble says of an alloy.

They are made of measured spectra, and of a finished replay of the first set. The numbers in them are the records, as
are what the models of the results' first table cost.
"""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from glassmap.agent.data.composition import CompositionSpace, label
from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.maps.glass import GLASS_DELTA_Q, P_GLASS
from glassmap.agent.maps.peak_map import map_block
from glassmap.agent.maps.spectra_archive import SpectraArchive, read_archive, read_map
from glassmap.agent.models.baselines import BASELINES
from glassmap.agent.models.config import PRESETS
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.peaks.batched import fitted_profiles, measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q, Q1
from glassmap.agent.shapes import Axis, PerSample, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.plots.ternary import CHANCES, CORNERS, VIRIDIS, colours_of, paint, positions
from glassmap.flows.compare import OURS, draw_split, read_prepared
from tests.benchmarks.spectra import learning_size
from tests.benchmarks.states import STATES, read_labels
from tests.benchmarks.widths import SHARE, profile

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#767676"  # Okabe and Ito
SET_INKS = (BLUE, ORANGE, GREEN)
SCHERRER = 0.9  # its constant for grains of no particular shape
# Δq in 1/Å from which on somebody calls a film a glass, or up to which a crystal (docs/delta-q.md)
THRESHOLDS = {0.16: "crystals (Ren)", 0.32: "by eye", 0.42: "Joress", GLASS_DELTA_Q: "Ren"}
FCC = {1.0: 1.0, 1.155: 0.46, 1.633: 0.27, 1.915: 0.3}  # places of an fcc crystal's lines over the first's, and heights
SHOWN = {"glass": 0.6, "both": 0.38, "crystalline": 0.08}  # label, and Δq (1/Å) near that of the spectrum shown
SAID = 0.8  # P(glass), near that of the held-out alloy shown
DRAWS = 400  # of that alloy; 25 are shown
BIN = 0.02  # 1/Å, of their widths
SEEDS = range(10)

Q_MADE_UP: Axis = np.arange(0.9, 5.05, 0.005)


def run(campaign: Path, datasets: Sequence[Path], *, where: str | None, pictures: Path) -> dict[str, Any]:
    """Draw all figures and return the numbers behind them.

    Args:
        campaign: A replay of the first set that has learned two rounds or more.
        datasets: Ternary sets of which samples are labelled (`tests/benchmarks/labels`).
        where: Keeps the samples for which this coordinate holds.
        pictures: Folder of the PNG files.

    Returns:
        `lies`: what is read off made-up spectra that mislead, `widths`: how wide the first peaks of each set are,
        `alloy`: what is said of the alloy shown, `cost`: seconds to fit a model on the paper's number of spectra and to
        map the first set's system, `nearest`: the Brier score of calling alloys as their nearest neighbour is.
    """
    pictures.mkdir(parents=True, exist_ok=True)
    sets = {path.stem: read_prepared(path, where=where) for path in datasets}
    read = {name: _figures(spectra.axis, spectra.intensities) for name, spectra in sets.items()}
    draw_widths(sets, read, pictures / "delta-q.png")
    lies = made_up_lies()
    draw_lies(lies, pictures / "delta-q-lies.png")
    draw_thresholds(sets, read, pictures / "delta-q-thresholds.png")
    with CampaignStore.read_only(campaign) as store:
        draw_round(store, pictures / "method-round.png")
        alloy = draw_ensemble(store, pictures / "method-ensemble.png")
    first = datasets[0]
    return {
        "lies": lies,
        "widths": [{"dataset": name} | _shares(figures[DELTA_Q.name]) for name, figures in read.items()],
        "alloy": alloy,
        "cost": costs(sets[first.stem], n=learning_size(first)),
        "nearest": [
            {"dataset": path.stem, "brier": brier_of_nearest(sets[path.stem], n=learning_size(path))}
            for path in datasets
        ],
    }


def costs(spectra: SpectraSet, *, n: int) -> list[dict[str, Any]]:
    """Return seconds that models take to learn `n` spectra, and to say and read those of all alloys at 1 at.%."""
    learn, _ = draw_split(spectra, "random", n=n, seed=0)
    known = learn.compositions, learn.intensities.astype(np.float64)
    space = CompositionSpace(spectra.elements)
    alloys = space.compositions(np.arange(len(space)))
    found: list[dict[str, Any]] = []
    for name in ("nearest", "pca-gp"):
        start = time.perf_counter()
        model = BASELINES[name]().fit(*known, seed=0)
        fitted = time.perf_counter()
        _figures(spectra.axis, model.predict(alloys).mean)
        found.append({"model": name, "fit": fitted - start, "map": time.perf_counter() - fitted})
    start = time.perf_counter()
    ensemble = Ensemble(PRESETS["default"], seed=0).fit(*known, q=spectra.axis)
    fitted = time.perf_counter()
    map_block(ensemble, alloys, q=spectra.axis)
    return [*found, {"model": OURS, "fit": fitted - start, "map": time.perf_counter() - fitted}]


def brier_of_nearest(spectra: SpectraSet, *, n: int) -> float:
    """Return the Brier score of calling each test alloy a glass, or none, as the nearest learned from was measured."""
    scores: list[float] = []
    for seed in SEEDS:
        learn, test = draw_split(spectra, "random", n=n, seed=seed)
        said = BASELINES["nearest"]().fit(learn.compositions, learn.intensities, seed=0).predict(test.compositions).mean
        ours, theirs = (_figures(spectra.axis, one)[DELTA_Q.name] for one in (said, test.intensities))
        both = np.isfinite(ours) & np.isfinite(theirs)
        scores.append(float(np.mean((ours[both] >= GLASS_DELTA_Q) != (theirs[both] >= GLASS_DELTA_Q))))
    return float(np.mean(scores))


def made_up_lies() -> dict[str, list[dict[str, float]]]:
    """Return what is read off spectra that mislead: small grains, two halos that are one peak, a line on a halo.

    Grains are of an fcc crystal; each line is as wide as Scherrer's formula says, Δq = 2π K / D. Widths in 1/Å, grains
    in nm, the line's height in that of the halo.
    """
    grains = np.geomspace(0.8, 30, 40)
    widths = scherrer(grains)
    apart = np.linspace(0, 0.6, 25)
    heights = np.linspace(0, 1.5, 16)

    def halo(at: ArrayLike, wide: ArrayLike, height: ArrayLike = 1.0) -> Spectra:
        at, half, height = (np.reshape(np.asarray(one, dtype=np.float64), (-1, 1)) for one in (at, wide, height))
        return height * profile(Q_MADE_UP, at, half / 2, half / 2, 0.3)

    crystals = sum((halo(2.7 * place, widths, height) for place, height in FCC.items()), start=np.zeros((1, 1)))
    pairs = halo(2.7, 0.35) + halo(2.7 + apart, 0.35, 0.7)
    lines = halo(2.7, 0.6) + halo(2.62, 0.05, heights)
    of_crystals, of_pairs, of_lines = (_figures(Q_MADE_UP, 0.4 + one) for one in (crystals, pairs, lines))
    return {
        "grains": [
            {"nm": size, "scherrer": width, "read": read}
            for size, width, read in zip(grains, widths, of_crystals[DELTA_Q.name], strict=True)
        ],
        "two halos": [
            {"apart": between, "read": read} for between, read in zip(apart, of_pairs[DELTA_Q.name], strict=True)
        ],
        "line": [
            {"height": height, "read": read, "share": share}
            for height, read, share in zip(heights, of_lines[DELTA_Q.name], of_lines[SHARE], strict=True)
        ],
    }


def scherrer(nm: PerSample) -> PerSample:
    """Return Δq (1/Å) of grains of a size in nm.

    Source: P. Scherrer, Nachr. Ges. Wiss. Göttingen, 98 (1918); in q it is the same at any angle.
    """
    return 2 * math.pi * SCHERRER / (10 * nm)


def draw_widths(sets: Mapping[str, SpectraSet], read: Mapping[str, Mapping[str, PerSample]], picture: Path) -> None:
    """Draw what Δq is: a glass, lines on a halo and a crystal, each with its fit and its width."""
    figure = Figure(figsize=(9.5, 3.5), layout="constrained")
    for axes, (state, near) in zip(figure.subplots(1, 3), SHOWN.items(), strict=True):
        away = {
            (name, row): abs(read[name][DELTA_Q.name][row] - near)
            for name, spectra in sets.items()
            for row in _labelled(name, spectra, state)
            if np.isfinite(read[name][DELTA_Q.name][row])
        }
        name, row = min(away, key=lambda one: away[one])
        spectra = sets[name]
        q, intensity = spectra.axis, spectra.intensities[row]
        fit = fitted_profiles(q, torch.as_tensor(intensity, dtype=torch.float32)[None])[0].numpy()
        place, width, lean = (float(read[name][key][row]) for key in (Q1.name, DELTA_Q.name, "asymmetry"))
        left = width / (1 + lean)
        ends = np.array([place - left, place - left + width])
        inside = np.isfinite(fit)
        heights = np.interp(ends, q[inside], fit[inside])
        axes.plot(q, intensity, color=GREY, linewidth=1, label="measured")
        axes.plot(q, fit, color=BLUE, linewidth=1.8, label="fit of the first peak")
        axes.plot(ends, heights, "|-", color=ORANGE, linewidth=2, markersize=9, markeredgewidth=2, label="Δq")
        axes.axvline(place, color=GREY, linestyle=":", linewidth=1)
        axes.set_title(f"{state}: {label(spectra.compositions[row], spectra.elements)}", fontsize=10)
        said = f"q₁ = {place:.2f}, Δq = {width:.2f} Å⁻¹"
        axes.text(0.98, 0.97, said, transform=axes.transAxes, ha="right", va="top", fontsize=9)
        axes.set(xlabel="q (Å⁻¹)", ylim=(0, 118))
    figure.axes[0].set_ylabel("intensity (0-100)")
    figure.axes[0].legend(frameon=False, fontsize=8, loc="lower left")
    figure.savefig(picture, dpi=130)


def draw_thresholds(sets: Mapping[str, SpectraSet], read: Mapping[str, Mapping[str, PerSample]], picture: Path) -> None:
    """Draw how wide first peaks are, what they look like to the eye, and where people drew a line."""
    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    counts, eye = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    bins = np.arange(0, 1.3, 0.02).tolist()
    names = {name: "-".join(sets[name].elements) for name in sets}
    values = [read[name][DELTA_Q.name] for name in sets]
    counts.hist(values, bins, stacked=True, color=list(SET_INKS[: len(sets)]), label=list(names.values()))
    counts.set_ylabel("measured spectra")
    rng = np.random.default_rng(0)
    for name, ink in zip(sets, SET_INKS, strict=False):
        for line, state in enumerate(STATES):
            rows = _labelled(name, sets[name], state)
            eye.scatter(
                read[name][DELTA_Q.name][rows], line + rng.uniform(-0.28, 0.28, len(rows)), s=9, color=ink, linewidths=0
            )
    eye.set_yticks(range(len(STATES)), STATES)
    eye.set(xlabel="Δq (Å⁻¹)", xlim=(0, 1.3), ylim=(len(STATES) - 0.5, -0.5), title="labelled by eye")
    eye.title.set_fontsize(9)
    for threshold, whose in THRESHOLDS.items():
        for axes in (counts, eye):
            axes.axvline(threshold, color="black", linewidth=1, linestyle="--")
        counts.text(
            threshold, 1.01, f"{threshold:g}\n{whose}", transform=counts.get_xaxis_transform(), ha="center", fontsize=8
        )
    counts.legend(frameon=False)
    figure.savefig(picture, dpi=130)


def draw_lies(lies: Mapping[str, Sequence[Mapping[str, float]]], picture: Path) -> None:
    """Draw what is read off small grains, two halos that are one peak, and a line on a halo."""
    figure = Figure(figsize=(9.5, 3.6), layout="constrained")
    grains, pairs, lines = figure.subplots(1, 3)
    nm, read = _columns(lies["grains"], "nm", "read")
    grains.loglog(nm, scherrer(nm), color=GREY, label="Scherrer, one line")
    grains.loglog(nm, read, "o", color=BLUE, markersize=4, label="read, fcc crystal")
    for threshold, ink in ((GLASS_DELTA_Q, ORANGE), (0.42, GREEN)):
        grains.axhline(threshold, color=ink, linestyle="--", linewidth=1, label=f"glass from {threshold:g}")
    grains.set(xlabel="size of the grains (nm)", ylabel="Δq (Å⁻¹)", title="small grains")
    grains.set_xticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    grains.set_yticks([0.03, 0.1, 0.3, 1], ["0.03", "0.1", "0.3", "1"])
    grains.legend(frameon=False, fontsize=8)
    apart, read = _columns(lies["two halos"], "apart", "read")
    pairs.plot(apart, read, "o-", color=BLUE, markersize=4)
    pairs.axhline(0.35, color=GREY, linewidth=1)
    pairs.axhline(GLASS_DELTA_Q, color=ORANGE, linestyle="--", linewidth=1)
    pairs.set(xlabel="distance of the second halo (Å⁻¹)", title="two halos of 0.35 read as one", ylim=(0.3, 0.8))
    height, read, share = _columns(lies["line"], "height", "read", "share")
    lines.plot(height, read, "o-", color=BLUE, markersize=4, label="Δq (Å⁻¹)")
    lines.plot(height, share, "s-", color=GREEN, markersize=4, label="crystalline share")
    lines.axhline(0.6, color=GREY, linewidth=1)
    lines.axhline(GLASS_DELTA_Q, color=ORANGE, linestyle="--", linewidth=1)
    lines.set(xlabel="height of a line, in the halo's", title="a line on a halo of 0.6", ylim=(0, 0.8))
    lines.legend(frameon=False, fontsize=8)
    for axes in figure.axes:
        axes.title.set_fontsize(10)
    figure.savefig(picture, dpi=130)


def draw_round(store: CampaignStore, picture: Path) -> None:
    """Draw the last round of a campaign: what was planned, measured, generated, mapped and decided."""
    round_, path = _artefact(store, "map")
    archive = read_archive(_artefact(store, "archive")[1])
    columns, _ = read_map(path)
    elements = tuple(store.elements)
    figure = Figure(figsize=(9.5, 5.6), layout="constrained")
    plan, measure, train, map_, decide, said = figure.subplots(2, 3).ravel()

    asked = store.suggestions()
    shares = np.array([one.composition for one in asked])
    is_new = np.array([one.round == round_ for one in asked])
    _triangle(plan, elements)
    plan.scatter(*positions(shares[~is_new]).T, s=9, color=GREY, linewidths=0, label="rounds before")
    plan.scatter(*positions(shares[is_new]).T, s=16, color=ORANGE, linewidths=0, label="the new batch")
    plan.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=2, handletextpad=0)

    new = {one.id for one in asked if one.round == round_}
    rows = [row for row, id_ in enumerate(archive.measured.ids) if id_ in new]
    measured = archive.measured_spectra()[rows]
    scale = LinearSegmentedColormap.from_list("widths", VIRIDIS)
    lines = LineCollection(
        [np.column_stack([archive.axis, spectrum]) for spectrum in measured], cmap=scale, linewidths=0.8
    )
    lines.set_array(archive.measured.figures[DELTA_Q.name][rows])
    measure.add_collection(lines)
    measure.set(xlim=(archive.axis[0], archive.axis[-1]), ylim=(0, 105), xlabel="q (Å⁻¹)", ylabel="intensity (0-100)")
    figure.colorbar(lines, ax=measure, label="Δq (Å⁻¹)")

    held = np.flatnonzero(archive.measured.hold_out)
    row = int(held[np.argsort(archive.mse[held])[len(held) // 2]])
    view = archive.view(archive.row_of_measured(row))
    train.fill_between(archive.axis, view.mean - view.band, view.mean + view.band, color=BLUE, alpha=0.25, linewidth=0)
    train.plot(archive.axis, view.mean, color=BLUE, linewidth=1.4, label="generated, 90 % band")
    train.plot(
        archive.axis, archive.measured_spectrum(row).intensity, color="black", linewidth=0.8, label="measured, held out"
    )
    train.set(xlabel="q (Å⁻¹)", ylim=(0, None))
    train.legend(frameon=False, fontsize=7)

    alloys = np.column_stack([columns[element] for element in elements]) / 100
    cells = paint(alloys, colours_of(columns[P_GLASS], (0, 1), CHANCES), columns["known"] == 0)
    _triangle(map_, elements)
    map_.imshow(cells.image, extent=(0, 1, 0, CORNERS[0, 1]), interpolation="antialiased")
    chances = ScalarMappable(Normalize(0, 1), LinearSegmentedColormap.from_list("chances", CHANCES))
    figure.colorbar(chances, ax=map_, label="P(glass)", shrink=0.7)

    curve = store.curve()
    spectra, errors = [one.spectra for one in curve], [one.hold_out["mse"] for one in curve]
    decide.errorbar(
        spectra, [one.value for one in errors], [one.standard_error for one in errors], fmt="o-", color=BLUE, capsize=2
    )
    decide.set(xlabel="spectra learned from", ylabel="MSE of held-out spectra", xlim=(0, None), ylim=(0, None))
    decision = store.decision()
    said.text(0, 0.95, "" if decision is None else fill(decision[1].reason, 34), va="top", fontsize=10)
    said.set_axis_off()
    for axes, stage in zip(
        (plan, measure, train, map_, decide), ("plan", "measure", "train", "map", "decide"), strict=True
    ):
        axes.set_title(stage, fontsize=12)
    figure.savefig(picture, dpi=130)


def draw_ensemble(store: CampaignStore, picture: Path) -> dict[str, Any]:
    """Draw what the ensemble of the last round says of a held-out alloy, and return it in numbers.

    The alloy is the one of which a chance nearest to `SAID` is said.
    """
    archive = read_archive(_artefact(store, "archive")[1])
    ensemble = TrainedEnsemble.load(_artefact(store, "checkpoint")[1], device="cpu")
    row = _alloy_shown(archive)
    alloy = archive.measured.compositions[row][None]
    q, measured = archive.axis, archive.measured_spectrum(row).intensity
    (block,) = ensemble.stack.predict_blocks(alloy)
    predicted, draws = ensemble.predict(alloy), ensemble.draws(alloy, DRAWS, seed=0)[:, 0]
    said = {name: float(values[0]) for name, values in map_block(ensemble, alloy, q=q).items()}
    widths = _figures(q, draws)[DELTA_Q.name]
    widths = widths[np.isfinite(widths)]
    was = float(archive.measured.figures[DELTA_Q.name][row])
    elements = tuple(store.elements)

    figure = Figure(figsize=(9.5, 3.7), layout="constrained")
    models, band, chance = figure.subplots(1, 3)
    looks = ((BLUE, 2.6), (GREEN, 1.2), (ORANGE, 1.2))  # networks and process may be one line
    for (name, part), (ink, wide) in zip(block.predictions.items(), looks, strict=False):
        said_name = f"{name.replace('gaussian_process', 'Gaussian process')}, {ensemble.weights[name]:.2f}"
        models.plot(q, part.mean[0].numpy(), color=ink, linewidth=wide, label=said_name)
    models.set_title(f"base models: {label(alloy[0], elements)}", fontsize=10)
    for draw in draws[:25]:
        band.plot(q, draw, color=ORANGE, linewidth=0.4, alpha=0.5)
    band.fill_between(
        q,
        predicted.mean[0] - predicted.band[0],
        predicted.mean[0] + predicted.band[0],
        color=BLUE,
        alpha=0.25,
        linewidth=0,
        label="90 % band",
    )
    band.plot(q, predicted.mean[0], color=BLUE, linewidth=1.6, label="mean, which the map is read off")
    band.plot([], [], color=ORANGE, linewidth=0.8, label="25 draws")
    band.set_title("mean, band and draws", fontsize=10)
    for axes in (models, band):
        axes.plot(q, measured, color="black", linewidth=0.8, label="measured, held out")
        axes.set(xlabel="q (Å⁻¹)", ylim=(0, None))
        axes.legend(frameon=False, fontsize=8)
    models.set_ylabel("intensity (0-100)")
    most = math.ceil(np.abs(widths - GLASS_DELTA_Q).max() / BIN)
    counts, edges = np.histogram(widths, GLASS_DELTA_Q + BIN * np.arange(-most, most + 1))
    inks = [GREY] * most + [ORANGE] * most
    chance.bar(edges[:-1], counts / len(widths), BIN, align="edge", color=inks)
    chance.axvline(GLASS_DELTA_Q, color="black", linestyle="--", linewidth=1, label=f"threshold, {GLASS_DELTA_Q:g}")
    chance.axvline(was, color="black", linewidth=1.4, label=f"measured, {was:.2f}")
    expected, std = said[DELTA_Q.expected_name], said[DELTA_Q.predictive_std_name]
    top = 1.12 * counts.max() / len(widths)
    chance.errorbar(
        expected, top, xerr=std, fmt="o", color=BLUE, capsize=3, label=f"expected, {expected:.2f} ± {std:.2f}"
    )
    low, high = np.quantile(widths, (0.005, 0.995))
    chance.set(xlabel="Δq (Å⁻¹)", ylabel="share of the draws", xlim=(low - BIN, high + BIN), ylim=(0, 1.6 * top))
    chance.set_title(f"P(glass) = {said[P_GLASS]:.2f}", fontsize=10)
    chance.legend(frameon=False, fontsize=8, loc="upper right")
    figure.savefig(picture, dpi=130)
    return {
        "alloy": label(alloy[0], elements),
        "measured": was,
        "generated": said[DELTA_Q.name],
        "expected": expected,
        "std": std,
        "p_glass": said[P_GLASS],
        "share_of_draws": float(np.mean(widths >= GLASS_DELTA_Q)),
        "weights": dict(ensemble.weights),
    }


def _alloy_shown(archive: SpectraArchive) -> int:
    """Return the row of the held-out alloy of which a chance nearest to `SAID` is said."""
    chances = np.where(archive.measured.hold_out, archive.measured.generated[P_GLASS], np.nan)
    return int(np.nanargmin(np.abs(chances - SAID)))


def _artefact(store: CampaignStore, kind: str) -> tuple[int, Path]:
    found = store.artefact(kind)
    assert found is not None, f"a finished replay has a {kind}"
    return found


def _figures(q: Axis, spectra: Spectra) -> dict[str, PerSample]:
    peaks = measure_peaks(q, torch.as_tensor(np.asarray(spectra, dtype=np.float32)))
    return {name: values.numpy().astype(np.float64) for name, values in peaks.figures.items()}


def _labelled(name: str, spectra: SpectraSet, state: str) -> list[int]:
    """Return the rows of a set that a person labelled so."""
    labels = read_labels(name)
    return [row for row, id_ in enumerate(spectra.ids) if labels.get(id_) == state]


def _shares(widths: PerSample) -> dict[str, float]:
    """Return how many first peaks there are, and which share is wider than each threshold."""
    there = widths[np.isfinite(widths)]
    return {"spectra": len(there)} | {f"from {one:g}": float(np.mean(there >= one)) for one in THRESHOLDS}


def _columns(records: Sequence[Mapping[str, float]], *names: str) -> list[PerSample]:
    return [np.array([record[name] for record in records]) for name in names]


def _triangle(axes: Axes, elements: Sequence[str]) -> None:
    """Draw the edges of a ternary and name its corners: top, left, right."""
    axes.plot(*CORNERS[[0, 1, 2, 0]].T, color="black", linewidth=0.8)
    for element, at, side in zip(elements, CORNERS, ("center", "right", "left"), strict=True):
        axes.text(at[0], at[1], f" {element} ", ha=side, va="bottom" if side == "center" else "center")
    axes.set(xlim=(-0.12, 1.12), ylim=(-0.06, 1.0), aspect="equal")
    axes.set_axis_off()
