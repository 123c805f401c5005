"""Campaigns made up in a moment: their stores, maps and archives are real, the spectra an analytic halo."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.context import WAFER
from glassmap.agent.data.samples import Samples
from glassmap.agent.maps.glass import P_GLASS, GlassRule, shares_of_map
from glassmap.agent.maps.spectra_archive import (
    KEPT_ALLOYS,
    ArchivedSpectra,
    MeasuredAlloys,
    PeakFigures,
    read_map,
    write_archive,
)
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Decision, Estimate
from glassmap.agent.shapes import Compositions, PerSample, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import now
from glassmap.agent.store.records import ExcludedWafer, JudgedSpectra, PlannedWafer, Suggestion
from glassmap.agent.store.results import SAMPLE

AXIS = np.round(np.arange(1.5, 5.0001, 0.01), 2)  # 1/Å
SURE_TO = 0.03  # 1/Å, std of a new measurement of any figure
KNOWN_WITHIN_AT_PCT = 10.0  # of an alloy learned from, on the maps made up here


def halo(compositions: Compositions) -> tuple[PerSample, PerSample]:
    """q1 and Δq (1/Å) that vary smoothly with composition; the middle of the system is the glass."""
    e = compositions.shape[1]
    middle = 1 - np.linalg.norm(compositions - 1 / e, axis=1)
    return 2.4 + 0.5 * compositions[:, 0], 0.25 + 0.45 * np.clip(middle, 0, 1) ** 2


def figures_of(compositions: Compositions) -> PeakFigures:
    """Every peak figure of alloys; what no halo has is its q1 once more."""
    q1, delta_q = halo(compositions)
    return {figure.name: delta_q if figure == DELTA_Q else q1 for figure in FIGURES}


def spectra_of(compositions: Compositions) -> Spectra:
    """One broad peak each, on a falling background; 100 at most."""
    q1, delta_q = halo(compositions)
    peak = 1 / (1 + 4 * ((AXIS - q1[:, None]) / delta_q[:, None]) ** 2)
    return 80 * peak + 20 * np.exp(-(AXIS - AXIS[0]))


def make_campaign(
    folder: Path,
    *,
    elements: tuple[str, ...] = ("Zr", "Cu", "Al"),
    step_at_pct: int = 1,
    rounds: int = 60,
    batch: int = 20,
    end: str = "converged",
    on_wafers: bool = False,
) -> None:
    """A campaign as a replay would have left it.

    Args:
        folder: Made where it doesn't exist.
        elements: Of the system.
        step_at_pct: Of its grid.
        rounds: That are judged.
        batch: Alloys of each.
        end: How it goes on: `converged`, `waiting` (half of the next batch is in), `failed` (in training the next) or
            `planned` (nothing of the next batch is in).
        on_wafers: Whether its alloys lie on wafers: those of the rounds on W1 and W2, the next batch on w001, which is
            to be made. W3 has failed.
    """
    config = CampaignConfig.of(
        {
            "name": folder.name,
            "space": {"elements": list(elements), "step_at_pct": step_at_pct},
            "backend": {"kind": "replay", "dataset": "made-up.nc", "hold_out": "batch"},
            "planning": {"batch": batch},
            "stop": {"max_rounds": rounds + 20},
        },
        source="made up",
    )
    config.to_toml(folder / FILE_NAME)
    space, rng = config.space.build(), np.random.default_rng(0)
    existing = samples_on_wafers(elements) if on_wafers else None
    n_free = len(space) if existing is None else len(existing) - len(existing.on("W3"))
    ranks = rng.permutation(n_free)[: (rounds + 1) * batch]
    with CampaignStore.open(folder) as store:
        with store.transaction():
            store.record_axis("q", AXIS, None)
            store.record_start(elements, config=config.model_dump(mode="json"))
            store.log("campaign started")
            if existing is not None:
                store.record_existing(existing)
                store.exclude_wafer(ExcludedWafer("W3", "failed", "the film has peeled off", "Ada", now()))
        for round_ in range(1, rounds + 1):
            _plan(store, space, round_, ranks[(round_ - 1) * batch : round_ * batch], existing)
            _write_round(store, space, round_, last=round_ == rounds)
        if end == "converged":
            with store.transaction():
                reason = f"Converged after {store.curve()[-1].spectra} spectra: less than 5 % each."
                store.record_decision(rounds + 1, Decision("converged", reason))
            return
        _plan(store, space, rounds + 1, ranks[rounds * batch :], existing, to_be_made="w001" if on_wafers else "")
        store.start_stage(rounds + 1, "measure")
        if end == "waiting":
            _measure(store, rounds + 1, share=0.5)
        with store.transaction():
            if end == "failed":
                error = "SimulationError: LAMMPS is not there. Install it."
                store.end_stage(rounds + 1, "measure", "failed", error=error)
            else:
                store.record_order(rounds + 1)
                store.end_stage(rounds + 1, "measure", "waiting", waiting_for="measurements")


def measure_more(folder: Path) -> None:
    """Have the first alloy that is waited for measured, as a laboratory does beside whoever looks."""
    with CampaignStore.amend(folder, person="a laboratory") as store:
        one = store.suggestions(round_=store.last_planned_round(), pending=True)[0]
        _record(store, [one])


def samples_on_wafers(elements: tuple[str, ...]) -> Samples:
    """25 samples on each of three wafers, 10 mm apart; each wafer is rich in one element, more so towards its right."""
    x, y = (places.ravel() for places in np.meshgrid(*2 * [np.arange(-20.0, 21.0, 10.0)]))
    names, wafers, compositions = list[str](), list[str](), list[Compositions]()
    for k in range(3):
        logs = np.zeros((len(x), len(elements)))
        logs[:, k] += 1 + x / 20
        logs[:, (k + 1) % len(elements)] += y / 20
        compositions.append(np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True))
        names += [str(number) for number in range(1, len(x) + 1)]
        wafers += [f"W{k + 1}"] * len(x)
    return Samples(tuple(names), tuple(wafers), np.concatenate(compositions), np.tile(x, 3), np.tile(y, 3))


def _plan(
    store: CampaignStore,
    space: CompositionSpace,
    round_: int,
    ranks: np.ndarray,
    existing: Samples | None,
    *,
    to_be_made: str = "",
) -> None:
    shares = space.compositions(ranks) if existing is None else existing.compositions[ranks]
    suggestions = [
        Suggestion(f"r{round_:03d}-{k + 1:02d}", round_, int(rank), tuple(map(float, shares[k])), k % 5 == 0)
        for k, rank in enumerate(ranks)
    ]
    if existing is not None:
        for k, row in enumerate(ranks):
            wafer, sample = existing.wafers[row], existing.names[row]
            if to_be_made:
                wafer, sample = to_be_made, f"{to_be_made}-{k + 1:03d}"
            x, y = float(existing.x[row]), float(existing.y[row])
            suggestions[k] = suggestions[k]._replace(sample=sample, wafer=wafer, x=x, y=y)
    store.start_stage(round_, "plan")
    with store.transaction():
        store.record_batch(round_, suggestions, Coverage(3.0, 20 / round_**0.5, 8 / round_**0.5))
        if to_be_made:
            powers = {element: 50.0 + 25 * k for k, element in enumerate(space.elements)}
            store.record_wafer(PlannedWafer(to_be_made, round_, powers, 12.5))
        store.log("planned", f"round {round_}: {len(suggestions)} alloys")
        store.end_stage(round_, "plan", "done")


def _measure(store: CampaignStore, round_: int, *, share: float = 1.0) -> None:
    asked = store.suggestions(round_=round_)
    _record(store, asked[: round(share * len(asked))])


def _record(store: CampaignStore, measured: Sequence[Suggestion]) -> None:
    compositions = np.array([one.composition for one in measured])
    with store.transaction():
        for one, composition, spectrum in zip(measured, compositions, spectra_of(compositions), strict=True):
            facts = {WAFER: one.wafer} if one.wafer else None
            store.record_spectrum(one, composition, spectrum, backend="replay", facts=facts)
            store.log("measured", f"{one.id}.xy", subject=one.id)


def _write_round(store: CampaignStore, space: CompositionSpace, round_: int, *, last: bool) -> None:
    store.start_stage(round_, "measure")
    _measure(store, round_)
    learned = store.used_alloys(check=False).learned
    with store.transaction():
        store.end_stage(round_, "measure", "done")
        error = 200 / len(learned) + 5
        errors = {"mse": Estimate(error, np.nan)} | {figure.name: Estimate(0.03, np.nan) for figure in FIGURES}
        store.record_curve_point(CurvePoint(round_, len(learned), 1.2 * error, 1.1 * error, 0, errors, {}))
        store.log("trained", f"round {round_}: {len(learned)} spectra, hold-out MSE {error:.3g}")
    if last:
        _judge(store)
    if last or len(space) <= KEPT_ALLOYS:
        path = _write_map(store.folder / "maps" / f"round-{round_:03d}.parquet", space, learned, round_)
        with store.transaction():
            store.record_artefact(round_, "map", path)
            columns = read_map(path)[0]
            store.record_glass(shares_of_map(columns[DELTA_Q.name], columns[P_GLASS], GlassRule()), GlassRule())
    if last:
        path = _write_archive(store, space, round_)
        with store.transaction():
            store.record_only_artefact(round_, "archive", path)
    with store.transaction():
        store.record_decision(round_, Decision("continue", f"Go on after {len(learned)} spectra."))
        store.log("decided", f"go on after round {round_}")


def _judge(store: CampaignStore) -> None:
    """Mark every round's model by what was held out of all batches."""
    held = tuple(m.id for m in store.measurements() if m.hold_out)
    wave = 1 + 0.5 * np.sin(np.arange(len(held)))
    wave /= wave.mean()
    with store.transaction():
        for point in store.curve():
            errors = {"mse": point.mse * wave, SAMPLE: point.mse_sample * wave}
            errors |= {figure.name: 0.03 * wave for figure in FIGURES}
            store.record_judged(point.round, "held out", JudgedSpectra(held, ("",) * len(held), errors), since=1)


def _write_map(path: Path, space: CompositionSpace, learned: Compositions, round_: int) -> Path:
    everything = np.arange(len(space))
    compositions = space.compositions(everything)
    figures = figures_of(compositions)
    wave = 0.05 / round_ * np.sin(20 * compositions[:, 0])
    distance = np.full(len(space), 5.0) if len(space) > KEPT_ALLOYS else _nearest(compositions, learned)
    figures |= {DELTA_Q.name: figures[DELTA_Q.name] + wave}
    figures |= {figure.std_name: np.abs(wave) if figure == DELTA_Q else np.full_like(wave, 0.01) for figure in FIGURES}
    figures |= _sure(figures)
    figures |= {"peak_share": np.ones_like(wave), "distance": distance, "expected_error": distance}
    columns = dict(zip(space.elements, (100 * compositions.T).round().astype(np.uint8), strict=True))
    columns |= {name: values.astype(np.float32) for name, values in figures.items()}
    table = pa.table(columns | {"known": (distance < KNOWN_WITHIN_AT_PCT).astype(np.uint8)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table.replace_schema_metadata({"glassmap": json.dumps({"round": round_, "known_below": KNOWN_WITHIN_AT_PCT})}),
        path,
    )
    return path


def _sure(figures: PeakFigures) -> PeakFigures:
    """How sure a new measurement of Δq and q1 is, and how likely a glass."""
    std = np.full_like(figures[DELTA_Q.name], SURE_TO)
    chance = GlassRule().probability(figures[DELTA_Q.name], std)
    return {figure.predictive_std_name: std for figure in (DELTA_Q, Q1)} | {P_GLASS: chance}


def _nearest(compositions: Compositions, learned: Compositions) -> PerSample:
    squares = (compositions**2).sum(1)[:, None] + (learned**2).sum(1) - 2 * compositions @ learned.T
    return 100 * np.sqrt(squares.clip(min=0).min(1))


def _write_archive(store: CampaignStore, space: CompositionSpace, round_: int) -> Path:
    used = [m for m in store.measurements() if m.state == "used"]
    known = np.array([m.composition for m in used])
    ranks = np.linspace(0, len(space) - 1, min(len(space), KEPT_ALLOYS)).astype(np.int64)
    shown = np.concatenate([space.compositions(ranks), known])
    mean = spectra_of(shown)
    spread = np.full_like(mean, 1.0)
    fit = np.where(np.abs(AXIS - halo(shown)[0][:, None]) < 0.3, mean, np.nan)
    hold_out = np.array([m.hold_out for m in used])
    figures = figures_of(known)
    off = 0.01 * np.sin(40 * known[:, 0])  # what is generated isn't quite what was measured
    generated = {name: values + off for name, values in figures.items()}
    generated |= {figure.std_name: np.full(len(known), 0.005) for figure in FIGURES}
    generated |= _sure(generated)
    measured = MeasuredAlloys(
        [m.id for m in used],
        known,
        hold_out,
        spectra_of(known),
        fit[-len(known) :],
        figures,
        generated,
        {name: np.where(hold_out, np.nan, values) for name, values in generated.items()},
        [""] * len(known),
    )
    path = store.folder / "maps" / f"round-{round_:03d}.h5"
    views = ArchivedSpectra(mean, spread, spread, 2 * spread, fit)
    write_archive(path, round_=round_, axis=AXIS, compositions=shown, views=views, measured=measured)
    return path
