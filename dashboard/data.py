"""What the dashboard knows of campaigns: the only file that opens a store, always read-only.

Where a campaign stands is read in one short transaction and then shown from memory; `marker` tells without opening
anything whether there is something new. What grows with the measurements is read by the pages that show it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from glassmap.agent.config.changes import changes_between, say_changes
from glassmap.agent.config.space import SpaceConfig
from glassmap.agent.config.wish import read_wish
from glassmap.agent.content_hash import harm_of
from glassmap.agent.data.samples import Samples
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import GlassmapError, ModelError, StoreError
from glassmap.agent.maps.glass import LIKELY, P_GLASS, POSSIBLY, SURELY, GlassRule, GlassShares, shares_of_map
from glassmap.agent.maps.knowledge import extrapolated_share
from glassmap.agent.maps.sides import common_alloys
from glassmap.agent.maps.spectra_archive import (
    PeakFigures,
    SpectraArchive,
    harm_of_archive,
    read_archive,
    read_map,
)
from glassmap.agent.maps.wish import Wish
from glassmap.agent.outside_text import plain_name, visible
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import Budget, CurvePoint, Decision
from glassmap.agent.shapes import Axis, Composition, Compositions, GridCompositions, Mask, PerAlloy, PerSample, Spectrum
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import FILE_NAME, is_advanced
from glassmap.agent.store.records import (
    DroppedFile,
    DroppedScan,
    ExcludedWafer,
    LogLine,
    Measurement,
    PlannedBy,
    PlannedWafer,
    Request,
    SampleRow,
    Suggestion,
    SuggestionStatus,
    UsedAlloys,
    WaferGain,
)
from glassmap.agent.store.status import Status
from glassmap.agent.store.trouble import refuse_lost
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import Boundary, colour_range
from glassmap.dashboard.settings import Settings, read_settings

CAMPAIGN_FILE = "campaign.toml"
BYTES_OF_LINES = 4000  # of a file, that its first lines are looked for in
MOST_OF_SPACE = 20_000  # alloys that a space is looked at by


class CampaignSnapshot(NamedTuple):
    """Where a campaign stands at one moment; as small with 100,000 measurements as with ten."""

    folder: Path
    name: str
    elements: tuple[str, ...]
    source: str  # where spectra come from if not from an instrument; empty else
    settings: Settings
    planned_elsewhere: (
        str  # how the space that is planned now differs from that of the last map; empty where it doesn't
    )
    axis_name: str
    axis: Axis
    wavelength: float | None
    status: Status
    last_activity: datetime
    curve: list[CurvePoint]
    coverage: list[Coverage]
    decisions: dict[int, Decision]
    round_at_work: int  # whose batch was planned last; 0 before the first
    awaited: list[Suggestion]  # of that round, those that a measurement is waited for
    n_failed: int  # alloys that could not be measured
    running: list[tuple[Suggestion, float]]
    used: Budget
    map: tuple[int, Path] | None
    other_maps: dict[str, tuple[int, Path]]  # the last at other values of the context, by these in words
    maps: dict[int, Path]  # of every round
    checkpoints: dict[int, Path]
    archive: tuple[int, Path] | None
    flagged_used: list[Measurement]  # learned from though they are flagged, and accepted by nobody
    has_wafers: bool  # whether it is known of samples on which wafer they lie, or where
    has_files: bool  # whether a laboratory dropped any, or anything is measured

    @property
    def q(self) -> Axis | None:
        """Return the axis in 1/Å; None for g(r)."""
        return q_axis(self.axis_name, self.axis, self.wavelength)

    @property
    def has_glass_boundary(self) -> bool:
        """Return whether it can be said what a glass is: of measured spectra, and of simulated ones by a given rule."""
        return self.settings.is_glass_given or not self.source

    @property
    def says_how_sure(self) -> bool:
        """Return whether its last map says how sure its Δq is, so that this can be judged."""
        glass = self.status.glass
        is_said = not self.has_glass_boundary if glass is None else glass.surely is not None
        return self.q is not None and self.archive is not None and is_said

    @property
    def state(self) -> str:
        """Return the status's state, but `idle` where no process is at a campaign that could go on."""
        return "idle" if self.status.state == "running" and not self.status.is_advanced else self.status.state


class Sources(NamedTuple):
    """What a campaign's figures were made of, to be known again."""

    seed: int
    dataset: str  # file name of what is replayed; empty where nothing is
    potential: str  # name or file name of what simulates; empty where nothing is simulated
    fingerprint: str  # SHA-256 of the data, substrate or potential; empty where there is none
    trained_by: Mapping[str, str]  # versions of `glassmap` and `torch` that the last model says; empty where it can't


class Unreadable(NamedTuple):
    """A campaign that has not begun, or can't be read."""

    folder: Path
    state: str  # `new` or `broken`
    reason: str

    @property
    def name(self) -> str:
        """Return its folder's name."""
        return visible(self.folder.name)


def find_campaigns(paths: list[Path]) -> list[Path]:
    """Return the folders of campaigns: those given, and where one is none, those directly in it; by name."""
    found = []
    for path in paths:
        inside = [path] if _is_campaign(path) else sorted(child for child in path.glob("*") if _is_campaign(child))
        found += [folder.resolve() for folder in inside]
    return list(dict.fromkeys(found))


def _is_campaign(folder: Path) -> bool:
    return (folder / FILE_NAME).exists() or (folder / CAMPAIGN_FILE).exists()


def marker(folder: Path) -> tuple[float | bool, ...]:
    """Return what changes whenever the store does, or a process begins or stops being at it; opens no database."""
    files = (folder / FILE_NAME, folder / f"{FILE_NAME}-wal")
    stats = [file.stat() for file in files if file.exists()]
    return (*(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size)), is_advanced(folder))


def read_campaign(folder: Path) -> CampaignSnapshot | Unreadable:
    """Return a campaign as it is now, in one read transaction."""
    try:
        refuse_lost(folder)
        if not (folder / FILE_NAME).exists():
            return Unreadable(folder, "new", f"Not started yet: `glassmap run {folder}` starts it.")
        with CampaignStore.read_only(folder) as store:
            if not store.has_begun:
                return Unreadable(folder, "new", "It is being started right now.")
            return _read(store)
    except GlassmapError as error:
        return Unreadable(folder, "broken", visible(str(error)))


def read_begun_campaign(folder: Path) -> CampaignSnapshot:
    """Return a campaign as it is now.

    Raises:
        StoreError: If it has not begun, or can't be read.
    """
    campaign = read_campaign(folder)
    if isinstance(campaign, Unreadable):
        raise StoreError(f"There is nothing to report of {folder}. {campaign.reason}")
    return campaign


def _read(store: CampaignStore) -> CampaignSnapshot:
    config, (axis_name, axis, wavelength) = store.config, store.axis()
    round_at_work, map_ = store.last_planned_round(), store.artefact("map")
    shown = config if map_ is None else config | {"space": store.space_of(map_[0])}
    return CampaignSnapshot(
        folder=store.folder,
        name=visible(config["name"]),
        elements=tuple(store.elements),
        source=visible(store.source),
        settings=read_settings(shown),
        planned_elsewhere=visible(say_changes(changes_between({"space": shown["space"]}, {"space": config["space"]}))),
        axis_name=axis_name,
        axis=axis,
        wavelength=wavelength,
        status=store.status(),
        last_activity=store.last_activity(),
        curve=store.curve(),
        coverage=store.coverage(),
        decisions=store.decisions(),
        round_at_work=round_at_work,
        awaited=store.suggestions(round_=round_at_work, pending=True),
        n_failed=sum(store.count_failures().values()),
        running=store.progress(),
        used=store.used(),
        map=map_,
        other_maps=_other_maps(store),
        maps=store.artefacts("map"),
        checkpoints=store.artefacts("checkpoint"),
        archive=store.artefact("archive"),
        flagged_used=store.flagged_used(),
        has_wafers=store.has_wafers,
        has_files=store.has_files or store.n_spectra() > 0,
    )


def _other_maps(store: CampaignStore) -> dict[str, tuple[int, Path]]:
    """Return the last maps that are held at other process variables than rounds go by."""
    kinds = ((kind, store.artefact(kind)) for kind in store.kinds_of_maps() if kind != "map")
    return {visible(kind.removeprefix("map at ")): found for kind, found in kinds if found is not None}


def read_used_alloys(folder: Path, *, check: bool) -> UsedAlloys:
    """Return the measurements that are used, held against their checksums or not."""
    with CampaignStore.read_only(folder) as store:
        return store.used_alloys(check=check)


def read_sources(folder: Path) -> Sources:
    """Return what a campaign's figures were made of."""
    with CampaignStore.read_only(folder) as store:
        config, fingerprint, newest = store.config, store.fingerprint, store.artefact("checkpoint")
    model: dict[str, Any] = {}
    if newest is not None and harm_of(newest[1]) is None:
        model = json.loads(newest[1].read_text())
    said = {"glassmap": model.get("code_version"), "torch": model.get("torch_version")}
    dataset, potential = (visible(Path(config["backend"].get(name) or "").name) for name in ("dataset", "potential"))
    trained_by = {name: found for name, found in said.items() if found}
    return Sources(config["seed"], dataset, potential, fingerprint, trained_by)


def read_wish_of(folder: Path) -> Wish:
    """Return what a campaign's file wishes of candidates.

    Raises:
        CampaignError: If that is wrong.
    """
    with CampaignStore.read_only(folder) as store:
        return read_wish(folder, store.config)


class Batch(NamedTuple):
    """What a round asks for, what became of it, and what was asked for before."""

    statuses: list[SuggestionStatus]
    found: dict[str, Composition]  # atomic fraction, by the id of the measurement that counts
    missing: list[str]  # ids of those that a measurement is waited for
    before: Compositions  # atomic fraction; the targets of all rounds before
    rounds_before: list[int]  # of each of them
    measured: UsedAlloys  # what came up to the round and is used: where it was found
    planned_by: PlannedBy | None  # the settings of then; None where they have never changed, as far as is known


def read_batch(folder: Path, round_: int) -> Batch:
    """Return the batch of a round."""
    with CampaignStore.read_only(folder) as store:
        statuses = [one._replace(reason=visible(one.reason)) for one in store.suggestion_statuses(round_)]
        counting = [store.measurement(one.measurement) for one in statuses if one.measurement is not None]
        rounds, before = store.targets_before(round_)
        missing = [one.id for one in store.suggestions(round_=round_, pending=True)]
        found = {m.id: np.array(m.composition) for m in counting if m}
        used = store.used_alloys(check=False, until=round_)
        return Batch(statuses, found, missing, before, rounds, used, store.planned_by(round_))


class Asking(NamedTuple):
    """What people may ask for, and did."""

    waiting: list[Request]  # that no batch holds yet
    free: Samples  # that exist and nobody asked for; none where any alloy may be planned


def read_asking(folder: Path) -> Asking:
    """Return what people may ask for, and did."""
    with CampaignStore.read_only(folder) as store:
        existing, taken = store.existing(), store.taken_samples()
        gone = store.given_up_wafers()
        each = enumerate(zip(existing.wafers, existing.names, strict=True))
        free = [
            k for k, (w, name) in each if plain_name(w) not in gone and (plain_name(w), plain_name(name)) not in taken
        ]
        waiting = [one for one in store.requests if one.round is None]
        return Asking(waiting, existing.select(np.array(free, dtype=np.intp)))


class WaferRecords(NamedTuple):
    """What is known of a campaign's wafers; `glassmap.dashboard.wafers` puts it together."""

    existing: Samples  # what could be planned when the last batch was
    tables: list[SampleRow]  # of composition tables, the last first
    asked: list[SuggestionStatus]
    measured: list[Measurement]
    planned: list[PlannedWafer]
    excluded: list[ExcludedWafer]
    gains: list[WaferGain]
    diameter: float | None  # mm, of wafers that are planned
    space: GridCompositions  # the alloys that may be planned now, of a large space many that are spread evenly


def read_wafers(folder: Path) -> WaferRecords:
    """Return what is known of a campaign's wafers."""
    with CampaignStore.read_only(folder) as store:
        space = SpaceConfig.model_validate(store.config["space"]).build()
        ranks = np.unique(np.linspace(0, len(space) - 1, min(len(space), MOST_OF_SPACE)).astype(np.int64))
        return WaferRecords(
            store.existing(),
            store.samples_on_wafers(),
            store.statuses_of_samples(),
            store.measurements_on_wafers(),
            store.wafers(),
            store.excluded_wafers(),
            store.wafer_gains(),
            (store.config.get("wafer") or {}).get("diameter"),
            space.compositions(ranks),
        )


class FileRecords(NamedTuple):
    """What was dropped and measured, and what exists to be measured."""

    files: list[DroppedFile]  # the last first
    scans: list[DroppedScan]
    measured: list[Measurement]  # the last first
    rows: list[SampleRow]  # of composition tables, the last first
    existing: Samples  # what could be planned when the last batch was
    taken: set[tuple[str, str]]  # of those, wafer and sample by their plain names: asked for or measured
    gone: set[str]  # wafers, by their plain names, of which nothing is planned any more


def read_files(folder: Path) -> FileRecords:
    """Return what was dropped and measured, and what exists to be measured."""
    with CampaignStore.read_only(folder) as store:
        return FileRecords(
            store.files()[::-1],
            store.scans(),
            store.measurements()[::-1],
            store.table_rows(),
            store.existing(),
            store.taken_samples(),
            store.given_up_wafers(),
        )


def read_spectrum(folder: Path, measurement: str) -> Spectrum:
    """Return the spectrum of a measurement, whatever its state, shape (q,)."""
    with CampaignStore.read_only(folder) as store:
        return store.spectra_of([measurement])[0]


def first_lines(folder: Path, hash_: str, most: int) -> str | None:
    """Return how a quarantined file begins; None where it isn't there, or is no text.

    Args:
        folder: Of the campaign.
        hash_: SHA-256 of its content.
        most: Lines.
    """
    for path in (folder / "quarantine").glob(f"*-{hash_[:8]}*"):
        content = path.read_bytes()[:BYTES_OF_LINES]
        if sha256(path.read_bytes()).hexdigest() == hash_ and b"\0" not in content:
            lines = content.decode("utf-8", errors="replace").splitlines()
            return "\n".join(visible(line, keep="\t") for line in lines[:most])
    return None


class RoundCounts(NamedTuple):
    """How many alloys each round asked for, and what came of them; by round, and 0 is left out."""

    asked: dict[int, int]
    came: dict[int, int]  # measurements in that round, whoever asked for them
    failed: dict[int, int]


def read_round_counts(folder: Path) -> RoundCounts:
    """Return how many alloys each round asked for, and what came of them."""
    with CampaignStore.read_only(folder) as store:
        return RoundCounts(store.count_asked(), store.count_measured(), store.count_failures())


def read_simulated(folder: Path) -> tuple[list[Measurement], dict[str, str]]:
    """Return the measurements that a simulation made, as its results alone say what they cost, and why others failed.

    The reasons are by the id of the suggestion.
    """
    with CampaignStore.read_only(folder) as store:
        failures = {id_: visible(reason) for id_, reason in store.failures().items()}
        return store.measurements(with_fact="cpu_seconds"), failures


class LogWords(NamedTuple):
    """What the lines of the audit log can be filtered by."""

    events: list[str]
    people: list[str]


def read_log_words(folder: Path) -> LogWords:
    """Return every event and everybody that the audit log names."""
    with CampaignStore.read_only(folder) as store:
        return LogWords(store.log_words("event"), store.log_words("person"))


def read_last_log_lines(
    folder: Path, most: int, *, events: Sequence[str], people: Sequence[str], text: str
) -> tuple[list[LogLine], int]:
    """Return the last lines of the audit log that fit, the last first, and how many fit in all."""
    with CampaignStore.read_only(folder) as store:
        lines, fitting = store.last_log_lines(most, events=events, people=people, text=text)
        return [LogLine(*map(visible, line)) for line in lines], fitting


def read_log(folder: Path) -> list[LogLine]:
    """Return the audit log, oldest first."""
    with CampaignStore.read_only(folder) as store:
        return [LogLine(*map(visible, line)) for line in store.log_lines()]


class Map(NamedTuple):
    """The figures of every alloy, as of the last round."""

    round: int
    compositions: Compositions  # atomic fraction, shape (g, e)
    figures: pd.DataFrame  # a row an alloy: the map's columns, without at.%
    known_below: float  # the expected error below which an alloy is known; NaN where that wasn't recorded
    rule: GlassRule  # by which P(glass) was made

    def values(self, column: str) -> PerAlloy:
        """Return a column."""
        return self.figures[column].to_numpy(dtype=np.float64)

    def measured(self, figures: PeakFigures, column: str) -> PerSample | None:
        """Return what was measured of a column, of P(glass) what the rule says of each; None where that is nothing.

        Args:
            figures: Of the measured spectra.
            column: Of the map.
        """
        if column != P_GLASS:
            return figures.get(column)
        return self.rule.chance(figures[DELTA_Q.name])

    @property
    def glass(self) -> GlassShares:
        """Return how much of it is a glass."""
        p_glass = self.values(P_GLASS) if P_GLASS in self.figures else None
        return shares_of_map(self.values(DELTA_Q.name), p_glass, self.rule)

    @property
    def boundary(self) -> Boundary:
        """Return the boundary of the glass: where P(glass) is even, and where it is sure; by Δq on older maps."""
        if P_GLASS in self.figures:
            name = f"P(glass) = {LIKELY:g}, thin: {POSSIBLY:g} and {SURELY:g}"
            return Boundary(self.values(P_GLASS), (LIKELY, POSSIBLY, SURELY), name)
        return Boundary(self.values(DELTA_Q.name), (self.rule.threshold,), f"boundary of the glass, {self.rule.say()}")

    @property
    def extrapolated(self) -> float | None:
        """Return the share of the alloys that isn't known; None where that wasn't recorded."""
        return extrapolated_share(self.values("known"))


NEAR_SLICE_AT_PCT = 2.0  # measured alloys this near a slice are marked on it


class Slice(NamedTuple):
    """A ternary cut through a map of more elements."""

    rows: Mask  # of the map
    corners: list[int]  # the three elements that vary
    held: str  # at what the others are, such as `20 at.% Al`


def read_last_map(campaign: CampaignSnapshot) -> Map | None:
    """Return the last map; None where there is none.

    Raises:
        ModelError: If its file is missing or damaged.
    """
    return None if campaign.map is None else read_map_of(campaign, *campaign.map)


def read_map_of(campaign: CampaignSnapshot, round_: int, path: Path, *, only: Sequence[str] | None = None) -> Map:
    """Return the map in a file of a campaign.

    Args:
        campaign: Whose.
        round_: Of the map.
        path: Of its file.
        only: The columns to read, those that the map has; by default all.

    Raises:
        ModelError: If its file is missing or damaged.
    """
    columns, metadata = read_map(path, None if only is None else [*campaign.elements, *only])
    compositions = np.stack([columns.pop(element) for element in campaign.elements], axis=1) / 100
    if not campaign.has_glass_boundary or np.isnan(columns.get(P_GLASS, np.nan)).all():
        columns.pop(P_GLASS, None)  # of simulated spectra without a rule; of what is learned from too few to be sure
    known_below = metadata.get("known_below")  # came later, and is None where the model could not say
    return Map(
        round_,
        compositions,
        pd.DataFrame(columns),
        math.nan if known_below is None else known_below,
        GlassRule.from_json(metadata.get("glass")),
    )


def read_last_archive(campaign: CampaignSnapshot) -> SpectraArchive | None:
    """Return the spectra kept of the last map, or of the next, where that has taken its place; None without any.

    Raises:
        ModelError: If its file is missing or harmed.
    """
    if campaign.archive is None:
        return None
    try:
        return read_archive(campaign.archive[1])
    except ModelError:
        with CampaignStore.read_only(campaign.folder) as store:
            now = store.artefact("archive")
        if now is None or now == campaign.archive:
            raise
        return read_archive(now[1])


def harm_of_map(campaign: CampaignSnapshot) -> str:
    """Return in words how the last map and the spectra kept of it aren't what was written; empty where they are."""
    harms: dict[str, str | None] = {}
    if campaign.map is not None:
        harms[campaign.map[1].name] = harm_of(campaign.map[1])
    if campaign.archive is not None:
        harms[campaign.archive[1].name] = harm_of_archive(campaign.archive[1])
    return ", ".join(f"{name} {harm}" for name, harm in harms.items() if harm)


def map_changes(campaign: CampaignSnapshot, rounds: list[int]) -> dict[int, tuple[float, float]]:
    """Return how far a round's map is from that of the round before: mean and largest change of Δq, 1/Å.

    Where the space changed between them, the alloys count that both hold.
    """
    changes: dict[int, tuple[float, float]] = {}
    before: tuple[int, dict[str, np.ndarray]] | None = None
    for round_ in sorted({*rounds, *(r - 1 for r in rounds)}):
        if (path := campaign.maps.get(round_)) is None:
            continue
        try:
            now = read_map(path)[0]
        except ModelError:  # `glassmap verify` says so
            continue
        if before is not None and before[0] == round_ - 1 and round_ in rounds:
            rows = common_alloys(before[1], now)
            change = np.abs(now[DELTA_Q.name][rows[1]] - before[1][DELTA_Q.name][rows[0]])
            if np.isfinite(change).any():
                changes[round_] = float(np.nanmean(change)), float(np.nanmax(change))
        before = round_, now
    return changes


def colour_limits(map_: Map, archive: SpectraArchive | None, column: str) -> tuple[float, float]:
    """Return where the colours of a map's column begin and end, in print and in the browser.

    Where alloys have a measured value of it, as of a peak figure, that counts, too. A probability goes from 0 to 1.
    """
    if column == P_GLASS:
        return 0.0, 1.0
    measured = None if archive is None else map_.measured(archive.known.figures, column)
    return colour_range(np.concatenate([map_.values(column), np.empty(0) if measured is None else measured]))


def measured_values(map_: Map, archive: SpectraArchive | None, ids: Sequence[str], column: str) -> PerSample | None:
    """Return what was measured of a column of the map, by the measurements' ids; None where nothing is.

    NaN where there is no peak, or where a measurement is newer than the archive.
    """
    values = None if archive is None else map_.measured(archive.measured.figures, column)
    if archive is None or values is None:
        return None
    found = dict(zip(archive.measured.ids, values.tolist(), strict=True))
    return np.array([found.get(id_, np.nan) for id_ in ids], dtype=np.float64)


def rule_of(campaign: CampaignSnapshot, map_: Map | None) -> GlassRule | None:
    """Return by what an alloy is called a glass; None where that can't be said of these spectra, or without a map."""
    return map_.rule if map_ is not None and campaign.has_glass_boundary else None


def boundary_over(campaign: CampaignSnapshot, map_: Map, column: str) -> Boundary | None:
    """Return the boundary of the glass as it is drawn over a column of the map; None where it isn't."""
    return map_.boundary if campaign.has_glass_boundary and QUANTITIES[column].has_boundary else None


def held_out_examples(archive: SpectraArchive) -> dict[str, int]:
    """Return the rows of the best, median and worst held-out measurement, by MSE; nothing where none is held out."""
    held = np.flatnonzero(archive.measured.hold_out)
    order = held[np.argsort(archive.mse[held], kind="stable")].tolist()
    return {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]} if order else {}
