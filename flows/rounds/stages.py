"""The five stages of a round and `advance`: plain functions over the store. No Prefect, no arithmetic.

A stage looks at what is recorded, does the missing part and records it together with 'done' in one transaction. A
round can therefore stop anywhere, and the next `advance` goes on.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from scipy.spatial.distance import cdist

from glassmap.agent.atomic_file import sweep_partials, whole_file
from glassmap.agent.config.campaign import (
    FILE_NAME,
    AnyBackend,
    CampaignConfig,
    LabConfig,
    SimulationConfig,
    binding_settings,
)
from glassmap.agent.data.composition import CompositionSpace, label
from glassmap.agent.data.outliers import screen
from glassmap.agent.data.spectrum import mean_squared_error, q_axis
from glassmap.agent.errors import CampaignError, MeasurementError, SpaceExhausted
from glassmap.agent.maps.peak_map import GlassMap
from glassmap.agent.maps.spectra_archive import KEPT_ALLOYS, MeasuredAlloys, Views, read_map, write_atlas
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.models.training import Losses
from glassmap.agent.peaks.peak import fitted_profiles, mean_peak_errors, measure_peaks
from glassmap.agent.planning.acquisition import Batch, plan_batch
from glassmap.agent.planning.convergence import Budget, CurvePoint, Decision, decide
from glassmap.agent.shapes import Compositions, Ranks, Spectra
from glassmap.agent.store.campaign_store import DRIVER, CampaignStore, Status, Suggestion
from glassmap.dashboard.plots.static import draw_doubtful
from glassmap.flows.backends.backends import (
    BACKENDS,
    Failure,
    Measurement,
    MeasurementBackend,
    MolecularDynamics,
    Progress,
)
from glassmap.flows.backends.lab.laboratory import Laboratory, take_in, write_orders
from glassmap.flows.compute.dask_cluster import Cluster, open_cluster
from glassmap.flows.notify import announce
from glassmap.flows.rounds.journal import timed

ATTEMPTS = 3  # at a stage that fails while nobody watches
WITNESSES = 30  # nearest measurements that a new one is screened against
PARTS = ("checkpoints", "maps", "scans", "orders", "quarantine")  # folders of a campaign's files


class Reporter(Protocol):
    """Told how far a stage is; a terminal draws it, anything else may ignore it."""

    def __call__(self, stage: str, done: int, total: int, text: str = "") -> None:
        """`done` of `total` steps of a stage, with a few words."""
        ...


def ignore(stage: str, done: int, total: int, text: str = "") -> None:
    """Report to nobody."""


class Campaign:
    """What a stage works with: settings, memory, who measures, who is told.

    No dataclass on purpose: Prefect walks through those among a task's arguments, down to every array.
    """

    def __init__(
        self,
        config: CampaignConfig,
        store: CampaignStore,
        backend: MeasurementBackend,
        report: Reporter = ignore,
        guide: MeasurementBackend | None = None,
        cluster: Cluster | None = None,
    ) -> None:
        self.config, self.store, self.backend, self.report, self.guide = config, store, backend, report, guide
        self.cluster = cluster
        for one in (backend, guide):
            if isinstance(one, MolecularDynamics):
                one.cluster = cluster

    def at(self, round_: int) -> "At":
        """Who measures in a round, and since which round they do."""
        if self.config.guide is None or self.guide is None:
            return At(self.backend, self.config.backend, 1, is_guide=False)
        if round_ < self.config.first_own_round:
            return At(self.guide, self.config.guide.backend, 1, is_guide=True)
        return At(self.backend, self.config.backend, self.config.first_own_round, is_guide=False)


class At(NamedTuple):
    """Who measures in a round; the rounds of a guide and the campaign's own are learned from and judged apart."""

    backend: MeasurementBackend
    settings: AnyBackend
    since: int  # their first round
    is_guide: bool


Stage = Callable[[Campaign, int], str]  # does what is missing of a round; returns its status, `done` or `waiting`


@contextmanager
def open_campaign(
    folder: Path, *, config: CampaignConfig | None = None, report: Reporter = ignore, person: str = DRIVER
) -> Iterator[Campaign]:
    """Open a campaign folder to advance it, and hold its lock until the block ends.

    Args:
        folder: Made where it doesn't exist.
        config: The campaign's settings; those of its campaign file by default.
        report: Told how far each stage is.
        person: Who does it, for the log.

    Raises:
        CampaignError: If the campaign file is wrong, or a setting changed that the recorded rounds depend on.
        StoreError: If another process advances the campaign.
    """
    config = config or CampaignConfig.from_toml(folder / FILE_NAME)
    backend, guide = BACKENDS[config.backend.kind](config, folder), None
    if config.guide is not None:
        guided = config.model_copy(update={"backend": config.guide.backend})
        guide = BACKENDS[guided.backend.kind](guided, folder)
        check_guide(backend, guide)
    with CampaignStore.open(folder, person=person) as store, open_cluster(config) as cluster:
        for part in (folder, *(folder / name for name in PARTS)):
            sweep_partials(part)
        _record_settings(store, config, backend, guide)
        yield Campaign(config, store, backend, report, guide, cluster)


def _record_settings(
    store: CampaignStore, config: CampaignConfig, backend: MeasurementBackend, guide: MeasurementBackend | None
) -> None:
    """Record the settings; where the rule of a campaign that has stopped changed, have it decide again."""
    new, old = config.model_dump(mode="json"), store.setting("config")
    if old is None:
        with store.transaction():
            store.record_axis(backend.axis_name, backend.axis, backend.wavelength)
            store.record_setting("elements", config.space.elements)
            store.record_setting("fingerprint", backend.fingerprint)
            store.record_setting("guide_fingerprint", guide and guide.fingerprint)
            store.record_setting("source", backend.source)
            store.record_setting("config", new)
            store.log("campaign started")
        return
    config.check_continues(old)
    check_data(store, backend)
    if guide is not None:
        check_data(store, guide, of="guide_fingerprint")
    if new != old:
        with store.transaction():
            store.record_setting("read_again", True)
            if new["stop"] != old["stop"] and next_round(store) is None:
                store.reopen_decision()
            store.record_setting("config", new)
            store.log("settings changed")


def check_guide(backend: MeasurementBackend, guide: MeasurementBackend) -> None:
    """Refuse a guide whose spectra are on another axis.

    Raises:
        CampaignError: If axis or wavelength differ.
    """
    if (guide.axis_name, guide.wavelength) != (backend.axis_name, backend.wavelength) or not np.array_equal(
        guide.axis, backend.axis
    ):
        raise CampaignError(
            f"A guide's spectra must be on the campaign's axis, {backend.axis_name} {backend.axis[0]:g} to "
            f"{backend.axis[-1]:g} with {len(backend.axis)} points; got {guide.axis_name} {guide.axis[0]:g} to "
            f"{guide.axis[-1]:g} with {len(guide.axis)}. Set spectrum.low, high and points so that both cover them."
        )


def check_data(store: CampaignStore, backend: MeasurementBackend, *, of: str = "fingerprint") -> None:
    """Refuse to go on with other data than the campaign began with.

    Raises:
        CampaignError: If axis, compositions, spectra, hold-out or potential differ.
    """
    if backend.fingerprint != store.setting(of):
        raise CampaignError(
            f"The data set, substrate or potential changed since the campaign in {store.folder} began: axis, "
            "compositions, spectra, split or the potential's file are others. Put the old file back, or start another "
            "campaign."
        )


# --- the five stages


def plan(campaign: Campaign, round_: int) -> str:
    """Choose the round's batch, away from everything measured or pending, and what of it is held out."""
    config, store = campaign.config, campaign.store
    backend, _, since, _ = campaign.at(round_)
    after_guide = 1 < since == round_  # measure what the guide can't tell
    left = _spectra_left(campaign)
    size = config.planning.batch if left is None else min(config.planning.batch, max(left, _least(campaign, round_)))
    has_weights = (config.planning.weights == "disagreement" and round_ > since) or after_guide
    batch = plan_batch(
        backend.candidates(),
        size,
        taken=store.taken(since=since),
        method="uniform" if after_guide else config.planning.method,
        seed=np.random.default_rng([config.seed, round_]),
        weights=_last_ensemble(campaign, round_).disagreement if has_weights else None,
    )
    held = [] if backend.hold_out() else _spread_evenly(batch.compositions, config.planning.hold_out_share)
    suggestions = [_suggestion(round_, k, batch, k, k in held) for k in range(len(batch.rows))]
    with store.transaction():
        store.record_batch(round_, suggestions, batch.coverage)
        store.log("planned", f"round {round_}: {len(suggestions)} alloys, mean distance {batch.coverage.mean:.2f} at.%")
        store.end_stage(round_, "plan", "done")
    return "done"


def _least(campaign: Campaign, round_: int) -> int:
    """The smallest batch: one to learn from, and one to be judged by where the backend has no test set."""
    return 1 if campaign.at(round_).backend.hold_out() else 2


def _spectra_left(campaign: Campaign) -> int | None:
    """How many may still be measured; None for no limit."""
    limit = budget_of(campaign.store, campaign.config).spectra
    return None if limit is None else limit - campaign.store.n_spectra()


def budget_of(store: CampaignStore, config: CampaignConfig) -> Budget:
    """What the campaign may use up: by its file, or more where a person extended it; but for the rounds."""
    stop, extended = config.stop, store.setting("extended_limits") or {}
    limits = {"spectra": stop.max_spectra, "hours": stop.max_hours, "cpu_hours": stop.max_cpu_hours}
    allowed = {name: limit and max(limit, extended.get(name, 0)) for name, limit in limits.items()}
    return Budget(stop.max_rounds, **allowed)


def replace_suggestions(campaign: Campaign, round_: int, rejected: Sequence[Suggestion]) -> list[Suggestion]:
    """Plan as many other alloys as were rejected, each held out as the one that it replaces; call in a transaction."""
    config, store = campaign.config, campaign.store
    before = len(store.suggestions(round_=round_))
    batch = plan_batch(
        campaign.at(round_).backend.candidates(),
        len(rejected),
        taken=store.taken(since=campaign.at(round_).since),
        method=config.planning.method,
        seed=np.random.default_rng([config.seed, round_, before]),
    )
    found = zip(range(len(batch.rows)), rejected, strict=False)  # fewer where the space is nearly exhausted
    others = [_suggestion(round_, before + k, batch, k, one.hold_out) for k, one in found]
    store.add_to_batch(others)
    return others


def _suggestion(round_: int, place: int, batch: Batch, k: int, hold_out: bool) -> Suggestion:
    """Number `k` of a batch, at a place of the round."""
    composition = tuple(map(float, batch.compositions[k]))
    return Suggestion(f"r{round_:03d}-{place + 1:02d}", round_, int(batch.rows[k]), composition, hold_out)


def measure(campaign: Campaign, round_: int) -> str:
    """Ask the backend for what is still pending; each answer is recorded as it comes."""
    store, elements = campaign.store, campaign.config.space.elements
    is_ordered = _place_order(campaign, round_)
    receive(campaign)  # what was asked for before may come while this round waits
    if not is_ordered:
        return "waiting"
    asked = store.suggestions(round_=round_)
    with store.transaction():
        store.clear_progress()  # of a process that was killed
        tries_itself = not isinstance(campaign.at(round_).backend, Laboratory)
        if tries_itself and not store.suggestions(round_=round_, pending=True):  # somebody saw to why all failed
            store.forget_failures(round_)
    since = campaign.at(round_).since
    pending = [s for s in store.suggestions(pending=True) if s.round >= since]  # of earlier rounds those to try again
    total = len(asked) + sum(s.round != round_ for s in pending)
    done, running = total - len(pending), {}
    with closing(campaign.at(round_).backend.measure(pending)) as news:
        for found in news:
            alloy = label(np.array(found.suggestion.composition), elements)
            with store.transaction():
                match found:
                    case Progress():
                        store.record_progress(found.suggestion, found.share)
                    case Failure():
                        store.record_failure(found.suggestion, found.reason, cpu_seconds=found.cpu_seconds)
                        store.log("failed", f"round {round_}, {alloy}: {found.reason}")
                    case Measurement():
                        kind = campaign.at(round_).settings.kind
                        store.record_spectrum(
                            found.suggestion,
                            found.composition,
                            found.spectrum,
                            backend=kind,
                            facts=found.facts,
                            id_=store.new_measurement_id(found.suggestion),
                            round_=round_,
                        )
                        if found.facts.get("is_crystalline"):
                            store.log("crystallised", f"round {round_}, {alloy}: {found.facts['crystalline']:.0%}")
            if isinstance(found, Progress):
                running[alloy] = found.share
            else:
                running.pop(alloy, None)
                done += 1
            campaign.report(
                "measure", done, total, ", ".join(f"{alloy} {share:.0%}" for alloy, share in running.items())
            )
            if _is_cut(campaign, round_):
                break
    return _end_measuring(campaign, round_)


def _place_order(campaign: Campaign, round_: int) -> bool:
    """Have the batch count as ordered; False, and the stage waits, where a person has yet to approve it."""
    store = campaign.store
    needs_approval = campaign.config.planning.approval == "required" and not campaign.at(round_).is_guide
    is_held_up = needs_approval and store.batch_time(round_, "approved") is None
    with store.transaction():
        if is_held_up:
            reason = f"Round {round_} waits for approval: `glassmap approve {store.folder}`, or `reject` some first."
            store.end_stage(round_, "measure", "waiting", reason)
        elif store.batch_time(round_, "ordered") is None:
            store.record_order(round_)
            store.mark_order(round_)
    return not is_held_up


def receive(campaign: Campaign, *, files: Sequence[Path] | None = None) -> list[str]:
    """Take in what a laboratory has dropped, and say in the orders what is still missing; others drop nothing.

    Args:
        campaign: Open.
        files: Take in these instead, by hand.

    Returns:
        A sentence for each file.

    Raises:
        CampaignError: If files are given and the campaign has no laboratory.
    """
    store = campaign.store
    round_ = round_of_arrivals(store)
    lab = campaign.at(round_).backend
    if not isinstance(lab, Laboratory):
        if files:
            raise CampaignError(f"Only a laboratory takes in files; in round {round_} the campaign measures itself.")
        return []
    told = take_in(store, lab, round_, files)
    write_orders(store)
    return told


def _end_measuring(campaign: Campaign, round_: int) -> str:
    """Wait for what is missing, or go on with what was measured: something to learn from, something to judge by."""
    store = campaign.store
    missing, failures = store.suggestions(round_=round_, pending=True), store.failures(round_=round_)
    status = "waiting" if missing and not _goes_on_without(campaign, round_) else "done"
    if status == "done":
        _screen(campaign, round_)
    try:
        with store.transaction():
            if status == "done":
                _share_out(campaign, round_)
                store.log("measured", f"round {round_}: {len(missing)} still missing, {len(failures)} failed")
            store.end_stage(round_, "measure", status)
    except MeasurementError:
        with store.transaction():
            store.record_setting("go_on_with", None)  # it can't; what comes from here on is waited for
        raise
    return status


def _screen(campaign: Campaign, round_: int) -> None:
    """Record which of the measurements that nobody has looked at are doubtful, and why, with a picture of each."""
    store, at = campaign.store, campaign.at(round_)
    q = q_axis(*store.axis())
    used = [m for m in store.measurements() if m.state == "used" and m.round >= at.since]
    new = np.array([not m.screened for m in used], dtype=bool)
    if q is None or isinstance(at.settings, SimulationConfig) or not new.any():
        return  # g(r) and what was simulated have neither substrate nor saturation
    compositions = np.array([m.composition for m in used])
    near = np.argsort(cdist(compositions[new], compositions), axis=1)[:, :WITNESSES]
    rows = np.unique(near)  # of all there may be very many
    used, new, compositions = [used[row] for row in rows], new[rows], compositions[rows]
    spectra = store.spectra_of([m.id for m in used])
    reasons = screen(
        q,
        compositions,
        spectra,
        counts=np.array([m.facts.get("counts", np.nan) for m in used]),
        new=new,
        expected=_last_ensemble(campaign, round_).generate(compositions) if round_ > at.since else None,
    )
    doubts = {row: reason for row, reason in enumerate(reasons) if reason}
    for row, reason in doubts.items():
        beside = np.argsort(cdist(compositions[[row]], compositions)[0], kind="stable")[1:5]
        draw_doubtful(
            q,
            spectra[row],
            spectra[beside],
            store.folder / "pictures" / f"doubtful-{used[row].id}.png",
            title=f"{used[row].id}, {label(compositions[row], campaign.config.space.elements)}: {reason}",
        )
    with store.transaction():
        store.record_screening([m.id for m, is_new in zip(used, new, strict=True) if is_new])
        for row, reason in doubts.items():
            now = store.measurement(used[row].id)
            if now is None or now.state != "used":
                continue  # a person was faster
            if at.settings.doubtful == "hold":
                store.judge_measurement(now.id, "doubtful", reason)
            store.log("doubtful", reason, subject=now.id)


def _goes_on_without(campaign: Campaign, round_: int) -> bool:
    """Whether a round goes on though measurements are missing: a person said so, or enough came and time is over."""
    store, settings = campaign.store, campaign.at(round_).settings
    if store.setting("go_on_with") == round_:
        return True
    if not isinstance(settings, LabConfig):
        return _is_cut(campaign, round_)
    hours = budget_of(store, campaign.config).hours
    if hours is not None and (store.used().hours or 0) >= hours and (round_ > 1 or store.n_spectra()):
        return True
    states = [one.state for one in store.standings(round_) if one.state != "rejected"]
    found = sum(state in ("measured", "doubtful") for state in states)
    ordered = store.batch_time(round_, "ordered")
    assert ordered is not None, "what is measured was ordered"
    late = datetime.now(UTC) - ordered >= timedelta(hours=settings.patience_hours)
    return late and found >= settings.minimum_share * len(states)


def _is_cut(campaign: Campaign, round_: int) -> bool:
    """Whether a round of simulations ends early: its hours are spent, and as many are there as a batch needs."""
    store, at = campaign.store, campaign.at(round_)
    if not isinstance(at.settings, SimulationConfig) or at.is_guide:
        return False
    limit = budget_of(store, campaign.config)._replace(spectra=None)
    if limit.spent(store.used()._replace(rounds=0)) is None:
        return False
    return sum(one.state == "measured" for one in store.standings(round_)) >= _least(campaign, round_)


def _share_out(campaign: Campaign, round_: int) -> None:
    """Where too many failed, learn from one that was to be held out, or hold one out that was to be learned from.

    Raises:
        MeasurementError: If none of the batch was measured, or too few for both.
    """
    store, failures = campaign.store, campaign.store.failures(round_=round_)
    measured = [one.suggestion for one in store.standings(round_) if one.state == "measured"]
    learn, held = ([s for s in measured if s.hold_out == kind] for kind in (False, True))
    at = campaign.at(round_)
    needs_held = not (at.backend.hold_out() or store.spectra(hold_out=True, since=at.since)[0])
    if not learn and len(held) > 1:
        store.record_hold_out(held[0], hold_out=False)
    elif needs_held and len(learn) > 1:
        store.record_hold_out(learn[0], hold_out=True)
    elif needs_held or (not learn and (failures or not store.spectra(hold_out=False, since=at.since)[0])):
        asked, first = len(store.suggestions(round_=round_)), next(iter(failures.values()), "")
        doubtful = [one.suggestion.id for one in store.standings(round_) if one.state == "doubtful"]
        if doubtful:
            raise MeasurementError(
                f"Of round {round_}, {len(measured)} of {asked} can be used, too few to learn from and to judge by; "
                f"{', '.join(doubtful)} are doubtful. Look at their pictures, then `glassmap accept` or `retract` them."
            )
        few = f"Too few of round {round_} could be measured, {len(measured)} of {asked}, to learn from and to judge by"
        if isinstance(at.settings, LabConfig):
            raise MeasurementError(
                f"{few}. Have some measured again with `glassmap retry`, or measure others; then `glassmap run "
                f"{store.folder}` goes on."
            )
        raise MeasurementError(
            few
            + (f"; the first failed because: {first} Remove the cause, then" if first else ". Measure more, then")
            + f" `glassmap run {store.folder}` tries again."
        )


def train(campaign: Campaign, round_: int) -> str:
    """Retrain the ensemble on every spectrum so far and judge it by the held-out ones."""
    store = campaign.store
    learned, held = _learned(campaign, round_), _held_out(campaign, round_)
    if not learned[0] or not len(held[1]):
        with store.transaction():  # `measure` shares out what is left, or says that it is too little
            reason = f"What round {round_} would learn from or be judged by was retracted"
            store.reopen_measuring(round_, f"{reason}; `glassmap run {store.folder}` looks for other.")
        return "waiting"
    ensemble, checkpoint = _fit(campaign, round_, learned)
    point = _judge(campaign, round_, ensemble, len(learned[0]), held)
    with store.transaction():
        store.record_artefact(round_, "checkpoint", checkpoint)
        store.record_curve_point(point)
        store.log("trained", f"round {round_}: {point.spectra} spectra, hold-out MSE {point.mse:.3g}")
        store.end_stage(round_, "train", "done")
    return "done"


def _fit(campaign: Campaign, round_: int, learned: tuple[list[str], Compositions, Spectra]) -> tuple[Ensemble, Path]:
    """Train on what is `_learned`; returns the ensemble and its checkpoint."""
    config, store = campaign.config, campaign.store
    ids, compositions, spectra = learned

    def report(step: int, steps: int, losses: Losses) -> None:
        campaign.report("train", step, steps, f"MSE {losses.mse:.1f}")

    ensemble = Ensemble(config.model, seed=_seed(config, round_), device=config.device)
    ensemble.fit(compositions, spectra, report=report, teach=campaign.cluster and campaign.cluster.train)
    record = {"campaign": config.name, "round": round_, "training_ids": ids, "elements": config.space.elements}
    checkpoint = ensemble.save(store.folder / "checkpoints", axis=store.axis()[1], record=record)
    return ensemble, checkpoint


def map_alloys(campaign: Campaign, round_: int) -> str:
    """Generate every alloy's spectrum and record q1 and Δq of each; g(r) has no Δq, so no map."""
    store = campaign.store
    checkpoint = _checkpoint(store, round_)
    ensemble = Ensemble.load(checkpoint, device=campaign.config.device)
    path = _write_map(campaign, round_, ensemble, checkpoint)
    atlas = _write_atlas(campaign, round_, ensemble, path)
    with store.transaction():
        if path is not None:
            store.record_artefact(round_, "map", path)
        store.record_only_artefact(round_, "atlas", atlas)
        store.log("mapped", f"round {round_}")
        store.end_stage(round_, "map", "done")
    _drop_other_atlases(atlas)
    return "done"


def _write_map(campaign: Campaign, round_: int, ensemble: Ensemble, checkpoint: Path) -> Path | None:
    config, store = campaign.config, campaign.store
    q = q_axis(*store.axis())
    if q is None:
        return None
    glass_map = GlassMap(
        ensemble,
        config.space.build(),
        q,
        measured=_learned(campaign, round_)[1],
        metadata={
            "campaign": config.name,
            "round": round_,
            "checkpoint": checkpoint.stem,
            "config": binding_settings(store.setting("config")),
        },
    )
    folder = store.folder / "maps"

    def report(done: int, total: int) -> None:
        campaign.report("map", done, total)

    if campaign.cluster is not None:
        campaign.cluster.make_shards(glass_map, folder, checkpoint=checkpoint, report=report)
    path = glass_map.write(folder, report=report)
    for left in folder.glob(".shards-*"):  # of a map of other settings that was cut
        shutil.rmtree(left)
    return path


def _write_atlas(campaign: Campaign, round_: int, ensemble: Ensemble, map_: Path | None) -> Path:
    """Generate the spectra that people look at, and measure the peaks of those that there are."""
    store, space = campaign.store, campaign.config.space.build()
    ids, compositions, spectra = _learned(campaign, round_)
    held_compositions, held = _held_out(campaign, round_)
    known = np.concatenate([compositions, held_compositions])
    hold_out = np.arange(len(known)) >= len(ids)
    intensity = np.concatenate([spectra, held])
    names = [*ids, *(f"held out {k + 1}" for k in range(len(held)))]
    shown = np.concatenate([space.compositions(_ranks_to_show(space, map_)), known])
    generated = ensemble.describe(shown)
    fits, measured_fit = np.full_like(generated.mean, np.nan), np.full_like(intensity, np.nan)
    q1 = delta_q = np.full(len(known), np.nan)
    if (q := q_axis(*store.axis())) is not None:
        fits = fitted_profiles(q, torch.from_numpy(generated.mean)).numpy()
        measured_fit = fitted_profiles(q, torch.from_numpy(intensity)).numpy()
        q1, delta_q, _ = (part.numpy() for part in measure_peaks(q, torch.from_numpy(intensity)))
    views = Views(generated.mean, generated.between, generated.within, generated.band, fits)
    measured = MeasuredAlloys(names, known, hold_out, intensity, measured_fit, q1, delta_q)
    path = store.folder / "maps" / f"round-{round_:03d}.h5"
    with whole_file(path) as partial:
        write_atlas(partial, round_=round_, axis=store.axis()[1], compositions=shown, views=views, measured=measured)
    return path


def _ranks_to_show(space: CompositionSpace, map_: Path | None) -> Ranks:
    """Every alloy of a small space; of a large one those of largest Δq, and as many spread evenly over the ranks."""
    if len(space) <= KEPT_ALLOYS:
        return np.arange(len(space))
    evenly = np.linspace(0, len(space) - 1, KEPT_ALLOYS // 2).astype(np.int64)
    if map_ is None:
        return evenly
    widest = np.argsort(-np.nan_to_num(read_map(map_)[0]["delta_q"]), kind="stable")[: KEPT_ALLOYS // 2]
    return np.union1d(evenly, widest)


def _drop_other_atlases(atlas: Path) -> None:
    """Remove those of earlier rounds: they are large, and could be made again."""
    for other in atlas.parent.glob("round-*.h5"):
        if other != atlas:
            other.unlink()


def decide_round(campaign: Campaign, round_: int) -> str:
    """Go on or stop, by the learning curve."""
    store, at = campaign.store, campaign.at(round_)
    room_left = at.is_guide or _room_left(campaign, round_)
    with store.transaction():  # a person may extend the campaign right now
        if at.is_guide:
            assert campaign.config.guide is not None, "who is a guide is named"
            reason = f"Go on after round {round_} of {campaign.config.guide.rounds} by the guide ({at.settings.kind})."
            decision = Decision("continue", reason, ())
        else:
            curve, budget, used = store.curve()[at.since - 1 :], budget_of(store, campaign.config), store.used()
            if (left := _spectra_left(campaign)) is not None and left < _least(campaign, round_):
                used = used._replace(spectra=budget.spectra)  # what is left is no batch
            decision = decide(
                curve,
                tolerance=campaign.config.stop.tolerance,
                patience=campaign.config.stop.patience,
                budget=budget,
                used=used._replace(rounds=len(curve)),
                room_left=room_left,
                extended_to=(store.setting("extended_to") or 0) - at.since + 1,
            )
        store.record_decision(round_, decision)
        store.log("decided", decision.reason)
        store.end_stage(round_, "decide", "done")
    campaign.report("decide", 1, 1, describe_curve(store.curve()))
    return "done"


def describe_curve(curve: Sequence[CurvePoint]) -> str:
    """The learning curve in a line."""
    return "MSE after n spectra: " + ", ".join(f"{point.spectra}: {point.mse:.3g}" for point in curve)


STAGES: Mapping[str, Stage] = {
    "plan": plan,
    "measure": measure,
    "train": train,
    "map": map_alloys,
    "decide": decide_round,
}


# --- between rounds


def retrain(campaign: Campaign) -> str:
    """Train on all that is in now, and map, without waiting for the round's end; returns what was done, in words.

    The model and its map are those of the round at work until that trains its own, on the whole batch; neither planning
    nor the learning curve looks at them. Where nothing came or went since the last training nothing is done.
    """
    store = campaign.store
    round_ = next_round(store) or len(store.curve()) + 1
    receive(campaign)
    if store.stage_status(round_, "train") == "done":
        return f"Round {round_} is trained already."
    _screen(campaign, round_)
    learned = ids, *_ = _learned(campaign, round_)
    if not ids:
        return "There is nothing to learn from yet."
    before = {kind: store.artefact(kind, round_) for kind in ("checkpoint", "map")}
    last = store.artefact("checkpoint")
    if last is not None and json.loads(last[1].read_text())["record"]["training_ids"] == ids:
        return f"Nothing came since the last training on {len(ids)} spectra."
    with timed(store.folder, round=round_, stage="retrain") as line:
        ensemble, checkpoint = _fit(campaign, round_, learned)
        path = _write_map(campaign, round_, ensemble, checkpoint)
        atlas = _write_atlas(campaign, round_, ensemble, path)
        compositions, spectra = _held_out(campaign, round_)
        mse = mean_squared_error(ensemble.generate(compositions), spectra) if len(spectra) else None
        judged = "" if mse is None else f", hold-out MSE {mse:.3g}"
        with store.transaction():
            store.record_artefact(round_, "checkpoint", checkpoint)
            if path is not None:
                store.record_artefact(round_, "map", path)
            store.record_only_artefact(round_, "atlas", atlas)
            store.log("retrained", f"during round {round_}: {len(ids)} spectra{judged}")
        line |= {"status": "done", "spectra": store.n_spectra()}
    _drop_other_atlases(atlas)
    for found in filter(None, before.values()):  # of last night, that nothing refers to any more
        if found[1] not in (checkpoint, path):
            for file in found[1].parent.glob(f"{found[1].stem}.*"):
                file.unlink()
    return f"Retrained on {len(ids)} spectra{judged}."


# --- the loop


def advance(campaign: Campaign, *, stages: Mapping[str, Stage] = STAGES) -> Status:
    """Run stages until the campaign stops or waits for measurements; tell who is to be told.

    Args:
        campaign: Open.
        stages: The five, as they are or wrapped (as Prefect tasks).
    """
    try:
        if next_round(campaign.store) is None:  # what still comes is kept, for the case that it is extended
            receive(campaign)
        while (round_ := next_round(campaign.store)) is not None:
            if not run_round(campaign, round_, stages=stages):
                break
        return campaign.store.status()
    finally:
        announce(campaign.store, campaign.config.name, campaign.config.notify)


def advance_unattended(campaign: Campaign, *, stages: Mapping[str, Stage] = STAGES) -> Status:
    """As `advance`, but what failed several times is left alone until something happens: a person acts, a file comes.

    Otherwise a schedule would repeat it, simulations and all, for ever.
    """
    stage = campaign.store.last_stage()
    if stage is not None and stage["status"] == "failed" and stage["attempts"] >= ATTEMPTS:
        receive(campaign)
        if not campaign.store.has_happened(since=stage["finished"]):
            return campaign.store.status()
    return advance(campaign, stages=stages)


def next_round(store: CampaignStore) -> int | None:
    """The round to work on; None once the campaign has stopped."""
    last = store.decision()
    if last is None:
        return 1
    round_, decision = last
    return round_ + 1 if decision.state == "continue" else None


def round_of_arrivals(store: CampaignStore) -> int:
    """The round that what comes now is counted to: the one at work, or the last of a campaign that has stopped."""
    return next_round(store) or len(store.curve())


def run_round(campaign: Campaign, round_: int, *, stages: Mapping[str, Stage] = STAGES) -> bool:
    """Do what is missing of a round; False where it has to wait, or a person paused it."""
    for name, stage in stages.items():
        if campaign.store.setting("paused") is not None:
            return False
        if campaign.store.stage_status(round_, name) == "done":
            continue
        attempt = campaign.store.start_stage(round_, name)
        campaign.report(name, 0, 1, f"round {round_}")
        try:
            with timed(campaign.store.folder, round=round_, stage=name, attempt=attempt) as line:
                line["status"] = status = stage(campaign, round_)
                line["spectra"] = campaign.store.n_spectra()
        except Exception as error:
            with campaign.store.transaction():
                campaign.store.end_stage(round_, name, "failed", f"{type(error).__name__}: {error}")
                campaign.store.log("failed", f"round {round_}, {name}: {error}")
            raise
        if status != "done":
            return False
    return True


# --- parts of stages


def _judge(
    campaign: Campaign, round_: int, ensemble: Ensemble, n_spectra: int, held: tuple[Compositions, Spectra]
) -> CurvePoint:
    """The errors of a round's model on spectra that it never saw, and of the last round's model on this batch."""
    store = campaign.store
    at = campaign.at(round_)
    compositions, spectra = held
    generated = ensemble.describe(compositions)
    q = q_axis(*store.axis())
    q1_error, delta_q_error = (None, None) if q is None else mean_peak_errors(q, generated.mean, spectra)
    next_batch_mse = None
    if round_ > at.since:
        _, new_compositions, new_spectra = store.spectra(hold_out=False, round_=round_)
        if len(new_spectra):
            before = _last_ensemble(campaign, round_).generate(new_compositions)
            next_batch_mse = mean_squared_error(before, new_spectra)
    return CurvePoint(
        round_,
        n_spectra,
        mean_squared_error(generated.mean, spectra),
        mean_squared_error(generated.sample, spectra),
        q1_error,
        delta_q_error,
        next_batch_mse,
    )


def _spread_evenly(compositions: Compositions, share: float) -> list[int]:
    """Which of a batch to hold out: at least one, those that lie most evenly among it."""
    n = min(max(1, round(share * len(compositions))), len(compositions) - 1)  # leaves one to learn from
    none = np.empty((0, compositions.shape[1]))
    return plan_batch(compositions, n, taken=none, seed=0).rows.tolist() if n else []


def _learned(campaign: Campaign, round_: int) -> tuple[list[str], Compositions, Spectra]:
    """What a round's model learns from: spectra of who measures then; of the guide too where the campaign says so."""
    mixes = campaign.config.guide is not None and campaign.config.guide.learn
    return campaign.store.spectra(hold_out=False, since=0 if mixes else campaign.at(round_).since)


def _held_out(campaign: Campaign, round_: int) -> tuple[Compositions, Spectra]:
    """What a round's model is judged by: the backend's test set, or what was held out of each batch."""
    at = campaign.at(round_)
    return at.backend.hold_out() or campaign.store.spectra(hold_out=True, since=at.since)[1:]


def _room_left(campaign: Campaign, round_: int) -> bool:
    backend, _, since, _ = campaign.at(round_)
    try:
        plan_batch(backend.candidates(), 1, taken=campaign.store.taken(since=since), method="random", seed=0)
    except SpaceExhausted:
        return False
    return True


def _checkpoint(store: CampaignStore, round_: int) -> Path:
    artefact = store.artefact("checkpoint", round_)
    assert artefact is not None, "every round that was trained has its checkpoint"
    return artefact[1]


def _last_ensemble(campaign: Campaign, round_: int) -> Ensemble:
    """The model of the round before."""
    return Ensemble.load(_checkpoint(campaign.store, round_ - 1), device=campaign.config.device)


def _seed(config: CampaignConfig, round_: int) -> int:
    return int(np.random.SeedSequence([config.seed, round_]).generate_state(1)[0])
