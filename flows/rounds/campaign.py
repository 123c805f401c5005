"""What a stage works with: the open campaign, who measures in a round, and what its budget leaves."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glassmap.agent.config.backends import BackendSettings
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.glass_labels import read_labels
from glassmap.agent.data.spectrum import q_axis
from glassmap.agent.errors import CampaignBusy, CampaignError
from glassmap.agent.planning.acquisition import FIRST_RULE, RULES, WEIGHTS
from glassmap.agent.planning.convergence import Budget
from glassmap.agent.progress import Report, ignore
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.connection import DRIVER
from glassmap.agent.store.connection import FILE_NAME as STORE
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
    ) -> None:
        self.config, self.store, self.backend, self.report, self.guide = config, store, backend, report, guide
        self.cluster = cluster

    def at(self, round_: int) -> "RoundContext":
        """Return who measures in a round, and since which round they do."""
        if self.guide is not None and self.config.guide is not None and round_ < self.config.first_own_round:
            return RoundContext(round_, self.guide, self.config.guide.backend, 1, is_guide=True)
        return RoundContext(round_, self.backend, self.config.backend, self.config.first_own_round, is_guide=False)


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
    config = config or CampaignConfig.from_toml(folder / FILE_NAME)
    given, start = config.given, _Start.in_folder(folder)
    if start is not None:
        config = config.continuing(start.config, given=start.given)
        config.check_continues(start.config)
    backend, guide = open_backend(config.backend, config, folder), None
    check_stop(config, backend)
    if config.glass.labels is not None:
        read_labels(config.glass.labels, config.space.elements)
    if config.guide is not None:
        guide = open_backend(config.guide.backend, config, folder)
        check_guide(backend, guide)
    if start is not None:
        check_data(folder, backend, recorded=start.fingerprint)
        if guide is not None:
            check_data(folder, guide, recorded=start.guide_fingerprint)
    with CampaignStore.open(folder, person=person) as store, _open_cluster(config) as cluster:
        if _Start.of(store) != start:
            raise CampaignBusy(f"Another process has just advanced the campaign in {folder}. Try again.")
        for one in (backend, guide):
            if one is not None:
                one.run_on(cluster)
        tidy(store)
        _record_settings(store, config, given, backend, guide)
        yield OpenCampaign(config, store, backend, report, guide, cluster)


def _open_cluster(config: CampaignConfig) -> AbstractContextManager["Cluster | None"]:
    """Open the cluster that a campaign's file asks for, if it does."""
    if config.runner != "dask":
        return nullcontext()
    from glassmap.flows.compute.dask_cluster import open_cluster

    return open_cluster(config)


class _Start(NamedTuple):
    """What a store recorded of how its campaign began; see `CampaignStore`."""

    config: dict[str, Any]
    given: dict[str, Any] | None  # of its settings; None where an earlier version recorded them
    fingerprint: str
    guide_fingerprint: str | None

    @classmethod
    def of(cls, store: CampaignStore) -> "_Start | None":
        """Read it; None of a campaign that has not begun."""
        if not store.has_begun:
            return None
        return cls(store.config, store.given_settings, store.fingerprint, store.guide_fingerprint)

    @classmethod
    def in_folder(cls, folder: Path) -> "_Start | None":
        """Read it from a store of any version, which stays as it is; None where there is none."""
        if not (folder / STORE).exists():
            return None
        with CampaignStore.read_only(folder) as store:
            return cls.of(store)


def _record_settings(
    store: CampaignStore, config: CampaignConfig, given: dict[str, Any], backend: Backend, guide: Backend | None
) -> None:
    """Record the settings; where the rule of a campaign that has stopped changed, have it decide again."""
    if not store.has_begun:
        with store.transaction():
            record_start(store, config, given, backend, guide)
            store.log("campaign started")
            for note in backend.notes:
                store.log("set aside", note)
            store.record_mixture(backend.mixture())
        return
    new = config.model_dump(mode="json")
    old = store.config
    if new != old:
        with store.transaction():
            then = CampaignConfig.recorded(old)
            is_other_rule = config.stop != then.stop or (config.stop.on == "glass" and config.glass != then.glass)
            if is_other_rule and next_round(store) is None:
                store.reopen_decision()
            store.record_config(new)
            store.log("settings changed")
    if given != store.given_settings:
        with store.transaction():
            store.record_given_settings(given)


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
            "compositions, spectra, split or the potential's file are others. Put the old file back, or start another "
            "campaign."
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
    return not campaign.at(round_).backend.has_test_set and campaign.config.planning.hold_out_share > 0


def least_batch(campaign: OpenCampaign, round_: int) -> int:
    """The smallest batch: one to learn from, and one to be judged by where a part of it is held out."""
    return 2 if holds_out(campaign, round_) else 1


def spectra_left(campaign: OpenCampaign) -> int | None:
    """How many may still be measured; None for no limit."""
    limit = budget_of(campaign.store, campaign.config).spectra
    return None if limit is None else limit - campaign.store.n_spectra()
