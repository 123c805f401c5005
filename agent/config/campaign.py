"""A campaign's settings, from `campaign.toml`: one typed tree, unknown keys refused by name."""

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from cronsim import CronSim, CronSimError
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.scan_files import read_scan
from glassmap.agent.data.spectrum import Substrate
from glassmap.agent.errors import CampaignError, CompositionError
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.planning.acquisition import RULES

FILE_NAME = "campaign.toml"
# What may change between two rounds; anything else would make those before and after incomparable.
FREE_SETTINGS = ("name", "device", "runner", "dask", "stop", "schedule", "notify")
# Within a table: files may move, their content is watched by the backend's fingerprint; and how LAMMPS is run is free.
FREE_WITHIN = (
    *("dataset", "substrate", "potential", "command", "workers", "timeout_hours"),
    *("approval", "doubtful", "drop", "table", "tolerance_at_pct", "minimum_share", "patience_hours", "quiet_seconds"),
)
Share = Annotated[float, Field(gt=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceConfig(_Settings):
    """The alloys that may be planned; see `glassmap.agent.data.composition.CompositionSpace`."""

    elements: tuple[str, ...]
    step_at_pct: int = 1
    bounds_at_pct: dict[str, tuple[float, float]] = {}
    edges: bool = False
    max_elements: int | None = None
    limits: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_a_space(self) -> "SpaceConfig":
        try:
            self.build()
        except CompositionError as error:
            raise ValueError(str(error)) from error
        return self

    def build(self) -> CompositionSpace:
        """The space itself."""
        return CompositionSpace(**self.model_dump())


class SpectrumConfig(_Settings):
    """The common axis of all spectra; what isn't set is the data set's own."""

    low: float | None = None
    high: float | None = None
    points: PositiveInt | None = None
    substrate: Path | None = None  # a two-column scan of the bare substrate, subtracted from every spectrum
    background: float | None = None  # half-width of the SNIP background that is removed; see `agent.data.spectrum`

    def read(self) -> dict[str, Any]:
        """The settings of `glassmap.agent.data.spectrum.Preprocessing`, with the scan of the bare substrate read."""
        given = self.model_dump()
        if self.substrate is not None:
            given["substrate"] = Substrate(*read_scan(self.substrate))
        return given


class ReplayConfig(_Settings):
    """Measure by looking up a data set, so that a campaign can be judged against what was really measured."""

    kind: Literal["replay"] = "replay"
    dataset: Path
    variable: str = "intensity"  # of the data set, where it holds several kinds of spectra; such as "rdf"
    where: str | None = None  # only the samples that meet this, such as "cleaned"; see `SpectraSet.where`
    hold_out: Literal["random", "wafer", "batch"] = "random"
    test_share: Share = 0.3  # of the data set, for `random`; the paper's
    doubtful: Literal["use", "hold"] = "use"  # as of a lab


class SimulationConfig(_Settings):
    """Measure by melt-quench molecular dynamics in LAMMPS; see `simulation`."""

    kind: Literal["simulation"]
    potential: Literal["zhou", "zhou-fitted"] | Path  # an eam/alloy or eam/fs file, or generated
    spectra: Literal["diffraction", "rdf"] = "diffraction"  # what is learned: intensity against q, or g(r)
    wavelength: Annotated[float, Field(gt=0, le=3)] | None = None  # Å; diffraction is then against 2θ
    preset: Literal["quick", "paper"] = "quick"
    protocol: dict[
        str, int | Annotated[float, Field(allow_inf_nan=False)]
    ] = {}  # what differs from the preset, such as atoms; see `glassmap.simulation.melt_quench`
    command: str | None = None  # such as "srun -n 8 lmp"; by default LAMMPS of this environment, or `lmp`
    workers: PositiveInt | None = None  # simulations at a time; by default one a core
    timeout_hours: PositiveFloat | None = None  # of one simulation; by default generous for its size

    @model_validator(mode="after")
    def _has_an_angle(self) -> "SimulationConfig":
        if self.wavelength is not None and self.spectra == "rdf":
            raise ValueError("a wavelength belongs to spectra = 'diffraction'; leave it out for g(r)")
        return self


class TableConfig(_Settings):
    """How composition tables are read; see `glassmap.agent.data.composition_table`."""

    sample: str | None = None  # the column of sample names; by default the first, called file, sample or id
    columns: dict[str, str] = {}  # the column of each element; by default those such as `Zr (at.%)`
    unit: Literal["at.%", "wt.%"] | None = None  # where the columns don't say it


class LabConfig(_Settings):
    """Measure in a laboratory: orders go out as files, scans and composition tables come back into drop folders."""

    kind: Literal["lab"]
    drop: tuple[Path, ...] = Field(default=(Path("drop"),), min_length=1)  # folders that results arrive in
    columns: Literal["q", "two_theta"]  # what the first column of a scan of text is; instrument files hold 2θ
    wavelength: Annotated[float, Field(ge=0.05, le=5)] | None = None  # Å, of scans over 2θ that don't say theirs
    composition: Literal["measured", "target"] = "measured"  # a scan waits for its row of a table, or takes the target
    table: TableConfig = TableConfig()
    tolerance_at_pct: Annotated[float, Field(gt=0, le=20)] = 1.0  # of each element, to match a scan by composition
    minimum_share: Annotated[float, Field(gt=0, le=1)] = 0.8  # of a batch, to go on without the rest
    patience_hours: Annotated[float, Field(ge=0)] = 72.0  # since the order, before it goes on without the rest
    quiet_seconds: Annotated[float, Field(ge=0)] = 10.0  # a file that changed since is still being written
    doubtful: Literal["use", "hold"] = "hold"  # whether doubtful measurements are learned from before a person decides

    @model_validator(mode="after")
    def _columns_have_a_unit(self) -> "LabConfig":
        if self.table.columns and self.table.unit is None:
            raise ValueError("table.columns need table.unit, 'at.%' or 'wt.%'; units are never guessed")
        return self


BACKENDS = {"replay": ReplayConfig, "simulation": SimulationConfig, "lab": LabConfig}


def _with_kind(backend: Any) -> Any:
    """A table without a kind is a replay's."""
    if not isinstance(backend, dict):
        return backend
    if (kind := backend.get("kind", "replay")) not in BACKENDS:
        raise ValueError(f"kind must be one of {', '.join(map(repr, BACKENDS))}, got {kind!r}")
    return backend | {"kind": kind}


AnyBackend = Annotated[
    ReplayConfig | SimulationConfig | LabConfig, Field(discriminator="kind"), BeforeValidator(_with_kind)
]


class GuideConfig(_Settings):
    """Another backend that goes first, such as a simulation, to show where measuring is worth it."""

    backend: AnyBackend
    rounds: PositiveInt = 3  # of the guide; then the campaign's own backend begins
    learn: bool = False  # whether models of the campaign's own rounds learn from the guide's spectra, too


class PlanningConfig(_Settings):
    """How the next batch is chosen; see `glassmap.agent.planning.acquisition.plan_batch`."""

    batch: PositiveInt = 20
    method: str = "uniform"  # a name of `glassmap.agent.planning.acquisition.RULES`
    weights: Literal["even", "disagreement"] = "even"  # the paper's rule, or more where the ensemble is unsure
    hold_out_share: Share = 0.2  # of each batch, never trained on, where the backend has no test set of its own
    approval: Literal["auto", "required"] = "auto"  # whether a person has to approve a batch before it is measured

    @field_validator("method")
    @classmethod
    def _is_a_rule(cls, value: str) -> str:
        if value not in RULES:
            *others, last = map(repr, RULES)
            raise ValueError(f"must be {', '.join(others)} or {last}, got {value!r}")
        return value

    @model_validator(mode="after")
    def _weights_count(self) -> "PlanningConfig":
        if self.weights != "even" and not RULES[self.method].takes_weights:
            takers = " or ".join(repr(rule.name) for rule in RULES.values() if rule.takes_weights)
            raise ValueError(f"planning.weights = {self.weights!r} needs planning.method = {takers}")
        return self


class StopConfig(_Settings):
    """When enough is measured; see `glassmap.agent.planning.convergence.decide`."""

    tolerance: Share = 0.05
    patience: PositiveInt = 2
    max_rounds: PositiveInt = 12
    max_spectra: PositiveInt | None = None  # measured, held out ones included
    max_hours: PositiveFloat | None = None  # since the campaign began
    max_cpu_hours: PositiveFloat | None = None  # of simulation


class ScheduleConfig(_Settings):
    """When `glassmap serve` looks after the campaign."""

    advance_minutes: Annotated[float, Field(ge=0.1)] = 5.0  # between two looks
    retrain: str | None = None  # when to train on what came since, such as "0 3 * * *": five fields, local time

    @field_validator("retrain")
    @classmethod
    def _is_cron(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                CronSim(value, datetime.now())
            except CronSimError as error:
                raise ValueError(
                    f"must be five fields, minute hour day month weekday, such as '0 3 * * *'; got {value!r} ({error})"
                ) from error
        return value


class NotifyConfig(_Settings):
    """Who is told when the campaign waits for a person, has stopped or failed; see `glassmap.flows.notify`."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = None  # is sent JSON by POST
    command: str | None = None  # is given the same JSON on its standard input


class DaskConfig(_Settings):
    """Where `runner = "dask"` finds its workers; see `glassmap.flows.compute.dask_cluster`."""

    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls)://.+:\d+$")] | None = None  # by default one of this machine
    workers: PositiveInt | None = None  # single-thread processes of this machine; by default one a core

    @model_validator(mode="after")
    def _has_one_source_of_workers(self) -> "DaskConfig":
        if self.scheduler is not None and self.workers is not None:
            raise ValueError(
                "dask.workers are those of a cluster of this machine; leave it out where dask.scheduler is given"
            )
        return self


class CampaignConfig(_Settings):
    """One campaign: a system, who measures, how it is planned, learnt and stopped."""

    name: str
    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    runner: Literal["local", "dask"] = "local"  # who simulates, trains and maps: this process, or a Dask cluster
    dask: DaskConfig = DaskConfig()
    space: SpaceConfig
    spectrum: SpectrumConfig = SpectrumConfig()
    backend: AnyBackend
    guide: GuideConfig | None = None
    planning: PlanningConfig = PlanningConfig()
    model: TrainingConfig = TrainingConfig()
    stop: StopConfig = StopConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    notify: NotifyConfig = NotifyConfig()

    @field_validator("model", mode="before")
    @classmethod
    def _with_preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "preset" not in value:
            return value
        preset = str(value["preset"])
        if preset not in PRESETS:
            raise ValueError(f"model.preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        return PRESETS[preset].model_dump() | {key: item for key, item in value.items() if key != "preset"}

    @model_validator(mode="after")
    def _can_be_judged(self) -> "CampaignConfig":
        backends = [self.backend, *([self.guide.backend] if self.guide else [])]
        with_test_set = [isinstance(one, ReplayConfig) and one.hold_out != "batch" for one in backends]
        if not all(with_test_set) and self.planning.batch == 1:
            raise ValueError(
                "a backend without a test set of its own (backend.hold_out = 'batch', a simulation, a lab) needs "
                "planning.batch >= 2, or no spectrum is left to learn from"
            )
        if any(isinstance(one, LabConfig) for one in backends[1:]):
            raise ValueError("a guide goes first by itself: guide.backend.kind must be 'simulation' or 'replay'")
        if isinstance(self.backend, LabConfig):
            given = self.spectrum.model_dump(include={"low", "high", "points"})
            if missing := [name for name, value in given.items() if value is None]:
                raise ValueError(
                    f"a lab's spectra need spectrum.{', spectrum.'.join(missing)}: the range in q (1/Å) that every "
                    "scan covers, and the number of points of the common axis"
                )
            if unknown := [element for element in self.backend.table.columns if element not in self.space.elements]:
                raise ValueError(f"backend.table.columns names {unknown[0]}, which is not among space.elements")
        if self.planning.weights == "disagreement" and self.model.members == 1 and not self.model.stacked:
            raise ValueError("planning.weights = 'disagreement' needs model.members >= 2 or model.stacked = true")
        return self

    @property
    def first_own_round(self) -> int:
        """The first round that is not the guide's."""
        return first_own_round(self.model_dump(include={"guide"}))

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, source: str) -> "CampaignConfig":
        """Check settings from anywhere.

        Args:
            settings: As a campaign file holds them.
            source: Where they are from, for messages.

        Raises:
            CampaignError: If a setting is unknown or impossible; says which and what is allowed.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise CampaignError(f"{source}: {'; '.join(_explain(item) for item in error.errors())}.") from error

    @classmethod
    def from_toml(cls, path: Path) -> "CampaignConfig":
        """Read and check a campaign file; without a name it is called as its folder.

        Paths in it are relative to the file's folder.

        Raises:
            CampaignError: If the file is missing or no TOML, or a setting is unknown or impossible; says which and
                what is allowed.
        """
        try:
            settings = tomllib.loads(path.read_text())
        except FileNotFoundError as error:
            raise CampaignError(f"No campaign file at {path}. Make one with `glassmap init {path.parent}`.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise CampaignError(f"{path} is not valid TOML: {error}.") from error
        config = cls.of({"name": path.resolve().parent.name} | settings, source=str(path))
        folder = path.resolve().parent
        resolved: dict[str, Any] = {name: _resolved(getattr(config, name), folder) for name in ("backend", "spectrum")}
        if config.guide is not None:
            resolved["guide"] = config.guide.model_copy(update={"backend": _resolved(config.guide.backend, folder)})
        return config.model_copy(update=resolved)

    def to_toml(self, path: Path) -> None:
        """Write the campaign file, every setting spelled out."""
        write_whole(path, tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)).encode())

    def check_continues(self, earlier: Mapping[str, Any]) -> None:
        """Refuse to go on with settings that the rounds so far were not made with.

        Args:
            earlier: The settings as they were, `model_dump(mode="json")`.

        Raises:
            CampaignError: If another setting than those of `FREE_SETTINGS` differs.
        """
        as_now = self.of(earlier, source="the campaign's store").model_dump(mode="json")  # newer settings at default
        now, before = (binding_settings(settings) for settings in (self.model_dump(mode="json"), as_now))
        if changed := [name for name in now if now[name] != before.get(name)]:
            raise CampaignError(
                f"Changed since the campaign began: {', '.join(changed)}; its rounds depend on that. Only "
                f"{', '.join(FREE_SETTINGS)} may change, and {', '.join(FREE_WITHIN)} within a table; put the old "
                "values back, or start another campaign."
            )


def _resolved(table: _Settings, folder: Path) -> _Settings:
    """A table with its paths taken from the campaign file's folder."""

    def resolved(path: Path) -> Path:
        return (folder / path.expanduser()).resolve()

    single = {name: resolved(value) for name, value in table if isinstance(value, Path)}
    several = {
        name: tuple(resolved(path) for path in value)
        for name, value in table
        if isinstance(value, tuple) and all(isinstance(path, Path) for path in value)
    }
    return table.model_copy(update=single | several)


def slug(name: str) -> str:
    """A name as it may stand in a URL: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "campaign"


def first_own_round(settings: Mapping[str, Any]) -> int:
    """The first round of a campaign that is not its guide's; of settings as they are recorded."""
    return (settings["guide"]["rounds"] if settings.get("guide") else 0) + 1


def binding_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, `model_dump(mode="json")`, that what a campaign finds depends on: without those that may change."""

    def without_free(table: Any) -> Any:
        if not isinstance(table, dict):
            return table
        free = (*FREE_WITHIN, "wavelength") if table.get("kind") == "lab" else FREE_WITHIN  # of files that lack theirs
        return {key: without_free(item) for key, item in table.items() if key not in free}

    return {name: without_free(value) for name, value in settings.items() if name not in FREE_SETTINGS}


def _explain(item: Any) -> str:
    """One pydantic complaint as rule, value and remedy."""
    loc = tuple(part for before, part in pairwise((None, *item["loc"])) if before != "backend" or part not in BACKENDS)
    place = ".".join(str(part) for part in loc)
    if item["type"] == "extra_forbidden":
        known = ", ".join(_model_at(item["loc"][:-1]).model_fields)
        return f"unknown setting {place!r}; allowed here: {known}"
    if item["type"] == "missing":
        return f"setting {place!r} is missing"
    message = item["msg"].removeprefix("Value error, ").rstrip(".")
    value = "" if item["type"] == "value_error" else f", got {item['input']!r}"
    return (f"{place}: " if place else "") + message + value


def _model_at(loc: tuple[Any, ...]) -> type[BaseModel]:
    """The table of settings at a place of the tree."""
    model: type[BaseModel] = CampaignConfig
    for before, part in pairwise(("", *loc)):
        if before == "backend" and part in BACKENDS:
            model = BACKENDS[part]
        if part == "backend" or before == "backend":
            continue
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return model
