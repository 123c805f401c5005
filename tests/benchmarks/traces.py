"""Replays of whole campaigns with cheap models, kept with all that a stop rule could look at, and the truth beside.

A replay plans its batches as the product does, from a random part of a data set, learns after each, and goes on well
past where anybody would stop. What a rule says at a round is then a function of what is kept here, and takes no time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.polynomial import chebyshev

from glassmap.agent.data.dataset import SpectraSet
from glassmap.agent.models.base_model import FOLDS
from glassmap.agent.models.extra_trees import RandomisedTrees, TrainedTrees
from glassmap.agent.models.gaussian_process import GaussianProcess, TrainedGaussianProcess
from glassmap.agent.models.stacking import assign_folds, fit_stacking_weights
from glassmap.agent.peaks.batched import measure_peaks
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.acquisition import plan_batch, spread_evenly
from glassmap.agent.shapes import Axis, Compositions, PerSample, Rows, Spectra
from glassmap.flows.compare import read_prepared

TEST_SHARE, MOST_TESTED = 0.35, 700  # of a replay's part of the set, never planned and never shown to a rule
MEASURES = ("mse", "delta_q")
BATCHES = {5: 30, 10: 26, 20: 20}  # and how many of each are replayed
PROCESS, TREES = GaussianProcess(torch.device("cpu")), RandomisedTrees(torch.device("cpu"))
COMPONENTS = 40  # principal ones, in which trees grow as in all points: they split by variance, which a rotation keeps
WAFERS = 8  # made-up ones, each about one region of the system
WAFER_SPREAD = 0.05  # atomic fraction, by which their regions run into each other
WAFER_FACTOR, WAFER_OFFSET = 0.06, 2.0  # their smooth factors' and offsets' standard deviation; of 100


@dataclass(frozen=True)
class Scenario:
    """How a laboratory works."""

    name: str
    hold_out: str  # "batch": a share of each batch; "random": a share of the set beforehand; "wafer": a whole wafer
    share: float
    wafer_effect: bool = False
    trees: bool = False  # whether trees are stacked with the Gaussian process


SCENARIOS = (
    Scenario("lab, 10 %", "batch", 0.1),
    Scenario("lab, 20 %", "batch", 0.2),
    Scenario("lab, 30 %", "batch", 0.3),
    Scenario("replay, 30 %", "random", 0.3),
    Scenario("lab, 20 %, wafers differ", "batch", 0.2, wafer_effect=True),
    Scenario("a wafer held out", "wafer", 0.0, wafer_effect=True),
    Scenario("lab, 20 %, trees as well", "batch", 0.2, trees=True),
)
NOTHING_HELD_OUT = Scenario("lab, nothing held out", "batch", 0.0)
"""As the laboratory that holds a fifth out: of the same seed it has the same alloys, and is tested on the same."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One replay: what a rule may see of every round's model, and what is true. k rounds, t tested, h held out, n."""

    name: str  # of the data set
    scenario: str
    batch: int
    seed: int
    spectra: np.ndarray  # (k,) learned from
    measured: np.ndarray  # (k,) learned from or held out of batches
    hold_out: dict[str, np.ndarray]  # by measure, (k, h)
    hold_out_since: np.ndarray  # (h,) round from which each is known, from 0
    hold_out_groups: np.ndarray  # (h,) wafers
    left_out: dict[str, np.ndarray]  # by measure, (k, n); NaN before each was learned from
    left_out_groups: np.ndarray  # (n,)
    test: dict[str, np.ndarray]  # by measure, (k, t)
    generated: np.ndarray  # (k, t), Δq generated at the tested alloys, 1/Å; NaN without a peak
    moved: np.ndarray  # (k, k), mean squared difference of two rounds' spectra at the tested alloys
    std: np.ndarray  # (k,) mean posterior standard deviation of the Gaussian process at the tested alloys

    def write(self, path: Path) -> None:
        """Keep it."""
        flat: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            flat |= (
                {f"{field.name}/{key}": part for key, part in value.items()}
                if isinstance(value, dict)
                else {field.name: value}
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.with_suffix(".part")).open("wb") as file:
            np.savez_compressed(file, **flat)
        path.with_suffix(".part").rename(path)

    @classmethod
    def read(cls, path: Path) -> "Trace":
        """Read one that was kept."""
        with np.load(path) as kept:
            values: dict[str, Any] = {}
            for key in kept:
                name, _, measure = key.partition("/")
                if measure:
                    values.setdefault(name, {})[measure] = kept[key]
                else:
                    values[name] = kept[key] if kept[key].ndim else kept[key].item()
        return cls(**values)


@dataclass(frozen=True, eq=False)
class _Material:
    """Spectra of a replay, and what is measured of each."""

    q: Axis
    compositions: Compositions
    spectra: Spectra
    scores: Spectra  # of the principal components
    delta_q: PerSample
    wafers: np.ndarray  # numbers

    def errors(self, rows: Rows, generated: Spectra) -> tuple[dict[str, PerSample], PerSample]:
        """Errors by measure of spectra generated for some rows, and the Δq generated."""
        delta_q = _delta_q(self.q, generated)
        return {
            "mse": np.square(generated - self.spectra[rows]).mean(1),
            "delta_q": np.abs(delta_q - self.delta_q[rows]),
        }, delta_q


@dataclass(frozen=True, eq=False)
class _Model:
    """What one round's models make of spectra: a blend of those learned from."""

    material: _Material
    rows: Rows  # learned from
    process: TrainedGaussianProcess
    trees: TrainedTrees | None
    share_of_trees: float

    @classmethod
    def fit(cls, material: _Material, rows: Rows, *, trees: bool, seed: int) -> "tuple[_Model, Spectra]":
        """Learn as the product does without its networks; and the spectra of `rows` as foreseen without their folds."""
        compositions, spectra = material.compositions[rows], material.spectra[rows]
        process = PROCESS.fit(compositions, spectra, seed=seed)
        folds = assign_folds(compositions, seed=seed)
        left = {True: np.full_like(spectra, np.nan), False: np.full_like(spectra, np.nan)}
        for fold in range(FOLDS):
            if (out := folds == fold).any():
                rest = rows[~out]
                without = PROCESS.condition(compositions[~out], spectra[~out], process.kernel)
                grown = TREES.fit(compositions[~out], material.scores[rest], seed=seed) if trees else None
                for kind in (True, False) if trees else (False,):
                    left[kind][out] = cls(material, rest, without, grown, float(kind)).predict(rows[out])
        if not trees:
            return cls(material, rows, process, None, 0.0), left[False]
        share = 0.5  # where there are too few to leave any out
        if (folds >= 0).all():
            share = fit_stacking_weights({str(kind): value for kind, value in left.items()}, spectra)["True"]
        grown = TREES.fit(compositions, material.scores[rows], seed=seed)
        return cls(material, rows, process, grown, share), share * left[True] + (1 - share) * left[False]

    def predict(self, rows: Rows) -> Spectra:
        """The spectra at the alloys of some rows; where the process knows nothing, the trees take over."""
        asked = torch.as_tensor(self.material.compositions[rows])
        blend, unknown = self.process.blend(asked)
        if self.trees is not None:
            known = (1 - self.share_of_trees) * (1 - unknown)[:, None]
            blend = known * blend + (1 - known) * self.trees.blend(asked)
        return (blend.numpy() @ self.material.spectra[self.rows]).clip(0, 100)

    def unknown(self, rows: Rows) -> float:
        """Mean posterior standard deviation at the alloys of some rows, in that of the spectra."""
        return float(self.process.blend(torch.as_tensor(self.material.compositions[rows]))[1].mean())


def replay_all(
    paths: Sequence[Path],
    folder: Path,
    *,
    where: str | None = None,
    replays: int,
    report: Callable[[str], None] = lambda line: None,
) -> Iterator[Trace]:
    """Yield as many replays of all scenarios, batches and sets in turn; those that `folder` keeps aren't made again.

    Args:
        paths: Data sets.
        folder: Where traces are kept.
        where: Keeps the samples for which this holds, such as `cleaned`.
        replays: How many in all.
        report: Is told of each that is made.
    """
    cells = list(product(range(-(-replays // len(SCENARIOS))), SCENARIOS, BATCHES, paths))
    sets: dict[Path, SpectraSet] = {}
    for number, (seed, scenario, batch, path) in enumerate(cells[:replays]):
        file = folder / f"{path.stem}-{SCENARIOS.index(scenario)}-{batch}-{seed}.npz"
        if not file.exists():
            if path not in sets:
                sets[path] = read_prepared(path, where=where)
            replay(sets[path], scenario, name=path.stem, batch=batch, seed=seed).write(file)
            report(f"{number + 1} of {replays}: {file.stem}")
        yield Trace.read(file)


def replay(spectra: SpectraSet, scenario: Scenario, *, name: str, batch: int, seed: int, rounds: int = 0) -> Trace:
    """Replay a random part of a data set, 60 to 100 % of it.

    Args:
        spectra: The data set, prepared.
        scenario: How it is held out.
        name: Of the data set.
        batch: Alloys a round.
        seed: Of all that is random.
        rounds: How many; of `BATCHES` by default.
    """
    rng = np.random.default_rng(
        [seed, batch, SCENARIOS.index(SCENARIOS[1] if scenario == NOTHING_HELD_OUT else scenario)]
    )
    part = rng.permutation(len(spectra))[: round(rng.uniform(0.6, 1) * len(spectra))]
    material = _material(spectra.select(part), scenario, rng)
    tested, held, pool = _parts(material, scenario, rng)
    learned, since, rows_held = list[int](), list[int](), list[int]()
    if scenario.hold_out != "batch":
        rows_held, since = held.tolist(), [0] * len(held)
    points: list[dict[str, Any]] = []
    predicted: list[_Model] = []
    maps: list[np.ndarray] = []
    for round_ in range(rounds or BATCHES[batch]):
        taken = [*learned, *(rows_held if scenario.hold_out == "batch" else [])]
        if len(taken) + batch > len(pool):
            break
        chosen = plan_batch(material.compositions[pool], batch, taken=material.compositions[taken], seed=rng)
        out = set(spread_evenly(chosen.compositions, scenario.share).tolist() if scenario.hold_out == "batch" else [])
        for k, row in enumerate(pool[chosen.rows].tolist()):
            if k in out:
                rows_held.append(row)
                since.append(round_)
            else:
                learned.append(row)
        rows = np.array(learned)
        model, left = _Model.fit(material, rows, trees=scenario.trees, seed=int(rng.integers(2**31)))
        spectra_of_tested = model.predict(tested)
        tests, generated = material.errors(tested, spectra_of_tested)
        points.append(
            {
                "n": len(learned),
                "measured": len(learned) + (len(rows_held) if scenario.hold_out == "batch" else 0),
                "left": _errors_left_out(material, rows, left),
                "test": tests,
                "generated": generated,
                "std": model.unknown(tested),
            }
        )
        predicted.append(model)
        maps.append(spectra_of_tested.astype(np.float32))
    rows_out = np.array(rows_held, dtype=np.intp)
    marks = [material.errors(rows_out, one.predict(rows_out))[0] for one in predicted]
    left_out = {measure: np.full((len(points), len(learned)), np.nan, np.float32) for measure in MEASURES}
    for k, point in enumerate(points):
        for measure in MEASURES:
            left_out[measure][k, : point["n"]] = point["left"][measure]
    return Trace(
        name,
        scenario.name,
        batch,
        seed,
        np.array([point["n"] for point in points]),
        np.array([point["measured"] for point in points]),
        {measure: np.array([mark[measure] for mark in marks], np.float32) for measure in MEASURES},
        np.array(since),
        material.wafers[rows_out],
        left_out,
        material.wafers[np.array(learned)],
        {measure: np.array([point["test"][measure] for point in points], np.float32) for measure in MEASURES},
        np.array([point["generated"] for point in points], np.float32),
        _moved(maps),
        np.array([point["std"] for point in points]),
    )


def _errors_left_out(material: _Material, rows: Rows, left: Spectra) -> dict[str, PerSample]:
    """Errors of the spectra learned from as foreseen without their folds; NaN where there are too few to leave out."""
    if np.isnan(left).any():
        return dict.fromkeys(MEASURES, np.full(len(rows), np.nan))
    return material.errors(rows, left)[0]


def _moved(maps: list[np.ndarray]) -> np.ndarray:
    """Mean squared difference of every two rounds' spectra."""
    flat = np.stack(maps).reshape(len(maps), -1)
    flat -= flat.mean(0)
    products = flat @ flat.T / flat.shape[1]
    return np.diag(products)[:, None] + np.diag(products) - 2 * products


def _material(spectra: SpectraSet, scenario: Scenario, rng: np.random.Generator) -> _Material:
    """The spectra of a scenario; on made-up wafers that each change what is measured on them, where it says so."""
    compositions, intensities, q = spectra.compositions, spectra.intensities.astype(float), spectra.axis
    wafers = np.unique(spectra.coordinates.get("wafer", np.arange(len(spectra))), return_inverse=True)[1]
    if scenario.wafer_effect:
        centres = compositions[rng.permutation(len(spectra))[:WAFERS]]
        shifted = compositions + rng.normal(0, WAFER_SPREAD, compositions.shape)
        wafers = np.linalg.norm(shifted[:, None] - centres, axis=2).argmin(1)
        x = np.linspace(-1, 1, len(q))
        smooth = chebyshev.chebval(x, rng.normal(0, 1, (4, 2 * WAFERS)) / 2)
        factors, offsets = 1 + WAFER_FACTOR * smooth[:WAFERS], WAFER_OFFSET * smooth[WAFERS:]
        intensities = (intensities * factors[wafers] + offsets[wafers]).clip(min=0)
        intensities *= 100 / intensities.max(1, keepdims=True)
    centred = intensities - intensities.mean(0)
    scores = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -COMPONENTS:]
    return _Material(q, compositions, intensities, scores, _delta_q(q, intensities), wafers)


def _parts(material: _Material, scenario: Scenario, rng: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    """Rows that test, that are held out beforehand, and that may be planned; where wafers are held out, two test."""
    n = len(material.spectra)
    if scenario.hold_out == "wafer":
        order = rng.permutation(WAFERS)
        sizes = np.bincount(material.wafers, minlength=WAFERS)[order]
        out, first, second = order[np.argsort(-sizes, kind="stable")[1:4]]
        tested, held = np.isin(material.wafers, (first, second)), material.wafers == out
        return np.flatnonzero(tested)[:MOST_TESTED], np.flatnonzero(held), np.flatnonzero(~tested & ~held)
    order = rng.permutation(n)
    tested, rest = order[: round(TEST_SHARE * n)], order[round(TEST_SHARE * n) :]
    held = rest[: round(scenario.share * len(rest))] if scenario.hold_out == "random" else rest[:0]
    return tested[:MOST_TESTED], held, rest[len(held) :]


def _delta_q(q: Axis, spectra: Spectra) -> PerSample:
    return measure_peaks(q, torch.as_tensor(spectra)).figures[DELTA_Q.name].numpy()
