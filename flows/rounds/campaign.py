"""What a stage works with: the open campaign, who measures in a round, and what its budget leaves."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.changes import Change, changes_between
from glassmap.agent.config.planning import PlanningConfig
from glassmap.agent.config.space import SpaceConfig
from glassmap.agent.data.composition import CompositionSpace, label
from glassmap.agent.data.glass_labels import read_labels
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import CampaignBusy, CampaignError
from glassmap.agent.planning.acquisition import FIRST_RULE, RULES, WEIGHTS
from glassmap.agent.planning.convergence import Budget
from glassmap.agent.progress import Report, ignore
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import DRIVER
from glassmap.agent.store.connection import FILE_NAME as STORE
from glassmap.agent.store.records import PlannedBy
from glassmap.flows.backends.protocol import Backend, open_backend
from glassmap.flows.rounds.leftovers import tidy

if TYPE_CHECKING:  # which measure, simulate and train: what only plans or records a decision need not load them
    from glassmap.flows.compute.dask_cluster import Cluster


class OpenCampaign:
    """What a stage works with: settings, memory, who measures, who is told.

    No dataclass on purpose: Prefect walks through those among a task's arguments, down to every array.
    """

    def __init__(
        self,
        config: CampaignConfig,
        store: CampaignStore,
        backend: Backend,
        report: Report = ignore,
        guide: Backend | None = None,
        cluster: "Cluster | None" = None,
        file: bytes | None = None,
    ) -> None:
        self.config, self.store, self.backend, self.report, self.guide = config, store, backend, report, guide
        self.cluster = cluster
        self._file = file  # what stood in the campaign file when it was read

    def at(self, round_: int) -> "RoundContext":
        """Return who measures in a round, and since which round they do."""
        if self.guide is not None and self.config.guide is not None and round_ < self.config.first_own_round:
            return RoundContext(round_, self.guide, self.config.guide.backend, 1, is_guide=True)
        return RoundContext(round_, self.backend, self.config.backend, self.config.first_own_round, is_guide=False)

    def space_of(self, round_: int) -> CompositionSpace:
        """Return the space that a round was planned in, and is mapped; of one to be planned, today's."""
        if round_ > self.store.last_planned_round():
            return self.config.space.build()
        return SpaceConfig.model_validate(self.store.space_of(round_)).build()

    def hold_out_share_of(self, round_: int) -> float:
        """Return the share of a batch that a round was planned to hold out; of one to be planned, today's."""
        planned = self.store.planned_by(round_) if round_ <= self.store.last_planned_round() else None
        planning = self.config.planning if planned is None else PlanningConfig.model_validate(planned.planning)
        return planning.hold_out_share

    def take_changes(self) -> None:
        """Go on with what a person changed in the campaign file since it was read.

        Raises:
            CampaignError: If the file is wrong now, or a setting changed that the recorded rounds depend on.
        """
        folder = self.store.folder
        if (content := _content(folder)) == self._file or content is None:
            return
        config, start = CampaignConfig.from_toml(folder / FILE_NAME), Start.of(self.store)
        given, config = config.given, continued(config, start, folder)
        if config != self.config:
            opened = open_backends(config, folder, start)
            for one in filter(None, opened):
                one.run_on(self.cluster)
            self.config, (self.backend, self.guide) = config, opened
        _take_settings(self.store, config, given, person=whoever_runs())
        self._file = content


class RoundContext(NamedTuple):
    """Who measures in a round; the rounds of a guide and the campaign's own are learned from and judged apart."""

    number: int
    backend: Backend
    settings: BackendSettings
    since: int  # their first round
    is_guide: bool

    @property
    def has_model(self) -> bool:
        """Whether the round before left a model of what they measure."""
        return self.number > self.since

    @property
    def follows_guide(self) -> bool:
        """Whether it is the first after a guide's, whose model says where the guide is unsure."""
        return 1 < self.since == self.number


@contextmanager
def open_campaign(
    folder: Path, *, config: CampaignConfig | None = None, report: Report = ignore, person: str = DRIVER
) -> Iterator[OpenCampaign]:
    """Open a campaign folder to advance it, and hold its lock until the block ends.

    Settings and data are held against what the store recorded before it is opened to write, so that a store of an
    earlier version is brought up to date only where the campaign goes on.

    Args:
        folder: Made where it doesn't exist.
        config: The campaign's settings; those of its campaign file by default. What is left out is what it was.
        report: Told how far each stage is.
        person: Who does it, for the log.

    Raises:
        CampaignError: If the campaign file is wrong, or a setting changed that the recorded rounds depend on.
        DatasetError: If the table of labels that the file names can't be read, or contradicts itself.
        StoreError: If another process advances the campaign.
    """
    file = _content(folder)
    config = config or CampaignConfig.from_toml(folder / FILE_NAME)
    given, start = config.given, Start.in_folder(folder)
    config = continued(config, start, folder)
    backend, guide = open_backends(config, folder, start)
    with CampaignStore.open(folder, person=person) as store, _open_cluster(config) as cluster:
        if Start.of(store) != start:
            raise CampaignBusy(f"Another process has just advanced the campaign in {folder}. Try again.")
        for one in filter(None, (backend, guide)):
            one.run_on(cluster)
        tidy(store)
        if store.has_begun:
            _take_settings(store, config, given, person=whoever_runs() if person == DRIVER else person)
        else:
            _begin(store, config, given, backend, guide)
        yield OpenCampaign(config, store, backend, report, guide, cluster, file)


def _content(folder: Path) -> bytes | None:
    """Return what stands in a campaign's file; None where there is none."""
    path = folder / FILE_NAME
    return path.read_bytes() if path.is_file() else None


def whoever_runs() -> str:
    """Return whose process this is: who has taken what stands in the campaign file, whoever wrote it there."""
    try:
        return getuser()
    except (OSError, KeyError):  # a container's user without a name
        return DRIVER


def _open_cluster(config: CampaignConfig) -> AbstractContextManager["Cluster | None"]:
    """Open the cluster that a campaign's file asks for, if it does."""
    if config.runner != "dask":
        return nullcontext()
    from glassmap.flows.compute.dask_cluster import open_cluster

    return open_cluster(config)


class Start(NamedTuple):
    """What a store recorded of how its campaign began and what people asked for; see `CampaignStore`."""

    config: dict[str, Any]
    given: dict[str, Any] | None  # of its settings; None where an earlier version recorded them
    space: Mapping[str, Any]  # that it began with
    requests: list[tuple[float, ...]]  # atomic fractions of what people asked for and no round has planned yet
    fingerprint: str
    guide_fingerprint: str | None

    @classmethod
    def of(cls, store: CampaignStore) -> "Start | None":
        """Read it; None of a campaign that has not begun."""
        if not store.has_begun:
            return None
        config, began = store.config, store.planned_by(0)
        space = config["space"] if began is None else began.space
        requests = [one.composition for one in store.requests if one.round is None]
        return cls(config, store.given_settings, space, requests, store.fingerprint, store.guide_fingerprint)

    @classmethod
    def in_folder(cls, folder: Path) -> "Start | None":
        """Read it from a store of any version, which stays as it is; None where there is none."""
        if not (folder / STORE).exists():
            return None
        with CampaignStore.read_only(folder) as store:
            return cls.of(store)


def continued(config: CampaignConfig, start: "Start | None", folder: Path) -> CampaignConfig:
    """Return the settings with which a campaign goes on; see `CampaignConfig.continuing`.

    Raises:
        CampaignError: If one changed that the recorded rounds depend on.
    """
    if start is None:
        return config
    config = config.continuing(start.config, given=start.given)
    config.check_continues(start.config, folder=folder)
    if start.requests and not (admitted := config.space.build().admits(np.array(start.requests))).all():
        asked = (one for one, is_in in zip(start.requests, admitted, strict=True) if not is_in)
        names = " ".join(label(np.array(one), config.space.elements) for one in asked)
        raise CampaignError(
            f"The bounds and limits of [space] leave out what was requested for the next batch: {names}. Widen them, "
            f"or withdraw it first: `glassmap request {folder} {names} --withdraw`."
        )
    return config


def refuse_settings(folder: Path) -> None:
    """Refuse a campaign file that a campaign can't go on with, as `open_campaign` does; reads only.

    Raises:
        CampaignError: If the file is wrong, or a setting changed that the recorded rounds depend on.
    """
    continued(CampaignConfig.from_toml(folder / FILE_NAME), Start.in_folder(folder), folder)


def open_backends(config: CampaignConfig, folder: Path, start: "Start | None") -> tuple[Backend, Backend | None]:
    """Open who measures, and the guide if there is one, by the space that the campaign began with.

    What may be planned of that by today's is said by `candidates.offered`; so a data set is split as it was.

    Raises:
        CampaignError: If settings and data don't fit each other, or the data changed since the campaign began.
        DatasetError: If the table of labels that the file names can't be read, or contradicts itself.
    """
    began = config if start is None else with_space(config, start.space)
    backend, guide = open_backend(config.backend, began, folder), None
    check_stop(config, backend)
    if config.glass.labels is not None:
        read_labels(config.glass.labels, config.space.elements)
    if config.guide is not None:
        guide = open_backend(config.guide.backend, began, folder)
        check_guide(backend, guide)
    if start is not None:
        check_data(folder, backend, recorded=start.fingerprint)
        if guide is not None:
            check_data(folder, guide, recorded=start.guide_fingerprint)
    return backend, guide


def _take_settings(store: CampaignStore, config: CampaignConfig, given: dict[str, Any], *, person: str) -> None:
    """Record and log what a person changed in the file of a campaign that has begun; see `record_settings`."""
    if config.model_dump(mode="json") != store.config or given != store.given_settings:
        with store.transaction():
            record_settings(store, config, given, person=person)


def with_space(config: CampaignConfig, space: Mapping[str, Any]) -> CampaignConfig:
    """Return settings with another space, such as the one that the campaign began with."""
    return config.model_copy(update={"space": SpaceConfig.model_validate(space)})


def record_settings(
    store: CampaignStore, config: CampaignConfig, given: dict[str, Any], *, person: str, reason: str = ""
) -> list[Change]:
    """Record and log settings of a campaign that has begun; call within a transaction.

    A campaign that has stopped decides again where that rests on what changed.

    Args:
        store: The campaign's.
        config: Its settings with what they leave out as it was; see `CampaignConfig.continuing`.
        given: What was given of them.
        person: Who changed them, or took what somebody wrote into the file.
        reason: Why, for the log.

    Returns:
        What changed.
    """
    then, new = CampaignConfig.recorded(store.config), config.model_dump(mode="json")
    old = then.model_dump(mode="json")
    changes = changes_between(old, new)
    if changes and store.planned_by(0) is None:  # an earlier version began it
        store.record_planned_by(PlannedBy(0, old["space"], old["planning"]))
    if changes and _decides_otherwise(then, config) and next_round(store) is None:
        store.reopen_decision()
    for one in changes:
        store.log("setting changed", f"{one}{f': {reason}' if reason else ''}", person=person)
    if new != store.config:
        store.record_config(new)
    store.record_given_settings(given)
    return changes


def _decides_otherwise(then: CampaignConfig, now: CampaignConfig) -> bool:
    """Return whether a campaign that has stopped may go on by other settings: by its rule, or what is left to plan."""

    def what_counts(config: CampaignConfig) -> list[object]:
        glass = config.glass if config.stop.on == "glass" else None
        planning = config.planning.batch, config.planning.hold_out_share
        return [config.stop, glass, planning, config.space, config.candidates, config.wafer]

    return what_counts(then) != what_counts(now)


def _begin(
    store: CampaignStore, config: CampaignConfig, given: dict[str, Any], backend: Backend, guide: Backend | None
) -> None:
    """Record what a campaign begins with."""
    settings = config.model_dump(mode="json")
    with store.transaction():
        record_start(store, config, given, backend, guide)
        store.record_planned_by(PlannedBy(0, settings["space"], settings["planning"]))
        store.log("campaign started")
        for note in backend.notes:
            store.log("set aside", note)
        store.record_mixture(backend.mixture())


def record_start(
    store: CampaignStore, config: CampaignConfig, given: dict[str, Any], backend: Backend, guide: Backend | None
) -> None:
    """Record what a campaign begins with; call within a transaction."""
    store.record_axis(backend.axis_name, backend.axis, backend.wavelength)
    store.record_start(
        config.space.elements,
        config=config.model_dump(mode="json"),
        given=given,
        source=backend.source,
        fingerprint=backend.fingerprint,
        guide_fingerprint=None if guide is None else guide.fingerprint,
    )


def check_stop(config: CampaignConfig, backend: Backend) -> None:
    """Refuse to plan by a peak's width, or to wait until it has settled, where there is no peak.

    Raises:
        CampaignError: If a rule asks for Δq or the glass boundary, and the spectra are on another axis than q.
    """
    stop, planning = config.stop, config.planning
    asked = (
        ("stop.on", "mse", stop.on != "mse", stop.on),
        ("planning.method", FIRST_RULE, RULES[planning.method].reads_peaks, planning.method),
        ("planning.weights", "even", WEIGHTS[planning.weights].reads_peaks, planning.weights),
        ("planning.confirm", 0, planning.confirm > 0, planning.confirm),
    )
    if q_axis(backend.axis_name, backend.axis, backend.wavelength) is not None:
        return
    for setting, allowed, reads_peaks, value in asked:
        if reads_peaks:
            raise CampaignError(
                f"{setting} = {value!r} looks at the first peak in q, and this campaign's spectra are g(r), on the "
                f"axis {backend.axis_name}. Set {setting} = {allowed!r}."
            )


def check_guide(backend: Backend, guide: Backend) -> None:
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


def check_data(folder: Path, backend: Backend, *, recorded: str | None) -> None:
    """Refuse to go on with other data than the campaign began with.

    Raises:
        CampaignError: If axis, compositions, spectra, hold-out or potential differ.
    """
    if recorded not in (backend.fingerprint, *backend.earlier_fingerprints):
        raise CampaignError(
            f"The data set, substrate or potential changed since the campaign in {folder} began: axis, "
            "compositions, spectra, split or the potential's file are others. Put the old file back, or begin another "
            "campaign with `glassmap init`."
        )


def next_round(store: CampaignStore) -> int | None:
    """The round to work on; None once the campaign has stopped."""
    last = store.decision()
    if last is None:
        return 1
    round_, decision = last
    return round_ + 1 if decision.state == "continue" else None


def round_of_arrivals(store: CampaignStore) -> int:
    """The round that what comes now is counted to: the one at work, or the last of a campaign that has stopped."""
    return next_round(store) or store.n_rounds()


def budget_of(store: CampaignStore, config: CampaignConfig) -> Budget:
    """What the campaign may use up: by its file, or more where a person extended it; but for the rounds."""
    stop, extended = config.stop, store.extended_limits
    limits = {"spectra": stop.max_spectra, "hours": stop.max_hours, "cpu_hours": stop.max_cpu_hours}
    allowed = {name: limit and max(limit, extended.get(name, 0)) for name, limit in limits.items()}
    spectra = allowed.pop("spectra")
    return Budget(stop.max_rounds, None if spectra is None else int(spectra), **allowed)


def holds_out(campaign: OpenCampaign, round_: int) -> bool:
    """Whether a part of a round's batch is held out: the backend has no test set, and the settings give it a share."""
    return not campaign.at(round_).backend.has_test_set and campaign.hold_out_share_of(round_) > 0


def least_batch(campaign: OpenCampaign, round_: int) -> int:
    """The smallest batch: one to learn from, and one to be judged by where a part of it is held out."""
    return 2 if holds_out(campaign, round_) else 1


def spectra_left(campaign: OpenCampaign) -> int | None:
    """How many may still be measured; None for no limit."""
    limit = budget_of(campaign.store, campaign.config).spectra
    return None if limit is None else limit - campaign.store.n_spectra()
