"""A campaign's settings, from `campaign.toml`: one typed tree, unknown keys refused by name."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from glassmap.agent.atomic_file import write_whole
from glassmap.agent.config.backends import BACKENDS, AnyBackend, GuideConfig, settings_of
from glassmap.agent.config.campaign_file import write_settings
from glassmap.agent.config.changes import Change, changes_between, say_changes, say_undoing
from glassmap.agent.config.glass import GlassConfig
from glassmap.agent.config.messages import explain
from glassmap.agent.config.planning import PlanningConfig, StopConfig
from glassmap.agent.config.retired import without_old_defaults, without_retired
from glassmap.agent.config.services import DaskConfig, NotifyConfig, ScheduleConfig
from glassmap.agent.config.settings import Settings
from glassmap.agent.config.space import SpaceConfig, SpectrumConfig
from glassmap.agent.config.toml_file import read_toml
from glassmap.agent.config.wafers import CandidatesConfig, CostConfig, WaferConfig
from glassmap.agent.config.wish import WishConfig
from glassmap.agent.data.context import Held, Value
from glassmap.agent.errors import CampaignError
from glassmap.agent.models.config import AUTO, PRESETS, TrainingConfig
from glassmap.agent.planning.acquisition import RULES, WEIGHTS

FILE_NAME = "campaign.toml"
# What may change while a campaign runs, and the `free` settings of each table; anything else would falsify what was
# found before. docs/operations.md says from when each counts.
FREE_SETTINGS = (
    *("name", "device", "runner", "dask", "candidates", "wafer", "cost", "planning", "glass", "stop"),
    *("schedule", "notify", "wish"),
)
FREE_THEN: dict[str, set[str]] = {"planning": {"approval"}, "space": set()}  # while stores didn't say what was given


class CampaignConfig(Settings):
    """One campaign: a system, who measures, how it is planned, learnt and stopped."""

    name: str
    """What the campaign is called; by default as its folder."""
    seed: int = Field(default=0, ge=0, lt=2**53)  # JSON has all of them exactly
    """The same seed gives the same campaign, to the bit on the same machine."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", examples=["auto", "cpu", "cuda", "cuda:1"])
    """Where networks are trained and maps are made; auto takes a GPU where there is one."""
    runner: Literal["local", "dask"] = "local"
    """Who simulates, trains and maps: this process, or a Dask cluster."""
    dask: DaskConfig = DaskConfig()
    """Where the Dask cluster is."""
    space: SpaceConfig
    """The alloys that may be planned."""
    spectrum: SpectrumConfig = SpectrumConfig()
    """The common axis of all spectra, and what is done to each."""
    backend: AnyBackend
    """Who measures."""
    guide: GuideConfig | None = None
    """Another backend that goes first, such as a simulation, to show where measuring is worth it."""
    candidates: CandidatesConfig | None = None
    """The alloys that exist, of which batches are chosen; without it any alloy of the space may be ordered."""
    wafer: WaferConfig | None = None
    """The sputter chamber that wafers are planned for."""
    cost: CostConfig = CostConfig()
    """What measuring costs, by which wafers are chosen."""
    planning: PlanningConfig = PlanningConfig()
    """How the next batch is chosen."""
    model: TrainingConfig = TrainingConfig()
    """How the ensemble is trained; preset = "default", "compact", "large" or "paper" stands for a set of values."""
    glass: GlassConfig = GlassConfig()
    """What is called a glass."""
    stop: StopConfig = StopConfig()
    """When enough is measured: what has to settle, and the budgets."""
    schedule: ScheduleConfig = ScheduleConfig()
    """When `glassmap serve` and `up` look after the campaign."""
    notify: NotifyConfig = NotifyConfig()
    """Who is told when the campaign waits for a person, has stopped or failed."""
    wish: WishConfig = WishConfig()
    """What is wished of a candidate beside being a glass; filters what is listed, and nothing that is learned."""

    @field_validator("model", mode="before")
    @classmethod
    def _with_preset(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "preset" not in value:
            return cast("Any", value)
        given = cast("dict[str, Any]", value)
        preset = str(given["preset"])
        if preset not in PRESETS:
            raise ValueError(f"model.preset must be one of {', '.join(PRESETS)}, got {preset!r}")
        own = {key: item for key, item in given.items() if key != "preset"}
        whole = TrainingConfig.model_validate(PRESETS[preset].model_dump() | own)
        # A preset stands for its architecture; its other values are defaults, which may differ between versions.
        return TrainingConfig.model_construct({"architecture", *own}, **dict(whole))

    @model_validator(mode="after")
    def _can_be_judged(self) -> "CampaignConfig":
        backends = [self.backend, *([self.guide.backend] if self.guide else [])]
        holds_out = self.planning.hold_out_share > 0 and not all(one.has_test_set for one in backends)
        if holds_out and self.planning.batch == 1:
            raise ValueError(
                "a backend without a test set of its own (backend.hold_out = 'batch', a simulation, a lab) needs "
                "planning.batch >= 2, or planning.hold_out_share = 0, or no spectrum is left to learn from"
            )
        if not all(one.can_guide for one in backends[1:]):
            guides = " or ".join(repr(kind) for kind in BACKENDS if settings_of(kind).can_guide)
            raise ValueError(f"a guide goes first by itself: guide.backend.kind must be {guides}")
        if self.space.context and not all(one.knows_context for one in backends):
            knowing = " or ".join(repr(kind) for kind in BACKENDS if settings_of(kind).knows_context)
            raise ValueError(
                f"space.context needs samples that have process variables: backend.kind and guide.backend.kind must be "
                f"{knowing}; take space.context out"
            )
        for one in backends:
            one.check(self.space, self.spectrum)
        if self.candidates is not None and any(one.has_own_samples for one in backends):
            raise ValueError("candidates are those of the data set that is replayed; take the table [candidates] out")
        if self.planning.unit == "wafer" and not (self.candidates or self.wafer or self.backend.has_own_samples):
            raise ValueError(
                'planning.unit = "wafer" needs wafers: name tables under [candidates], describe '
                'the chamber under [wafer], or replay a data set; or set planning.unit = "alloy"'
            )
        self.wish.check(self.space.elements)
        weights = self.planning.weights
        if weights != "even" and self.model.members == 1 and not self.model.stacked:
            raise ValueError(f"planning.weights = {weights!r} needs model.members >= 2 or model.stacked = true")
        method = self.planning.method
        if RULES[method].needs_stack and not self.model.stacked:
            raise ValueError(f"planning.method = {method!r} goes by P(glass): it needs model.stacked = true")
        return self

    @property
    def first_own_round(self) -> int:
        """The first round that is not the guide's."""
        return first_own_round(self.model_dump(include={"guide"}))

    @classmethod
    def of(cls, settings: Mapping[str, Any], *, source: str) -> "CampaignConfig":
        """Check settings from anywhere.

        Args:
            settings: As a campaign file holds them, of this version or an earlier one.
            source: Where they are from, for messages.

        Raises:
            CampaignError: If a setting is unknown or impossible; says which and what is allowed.
        """
        settings = without_retired(settings, source=source)
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise CampaignError(f"{source}: {explain(error, settings, cls)}.") from error

    @classmethod
    def recorded(cls, settings: Mapping[str, Any]) -> "CampaignConfig":
        """Read settings as a store of this version or an earlier one recorded them; what is gone is left out."""
        source = "the campaign's store"
        return cls.of(without_retired(settings, source=source, is_recorded=True), source=source)

    @classmethod
    def from_toml(cls, path: Path) -> "CampaignConfig":
        """Read and check a campaign file; without a name it is called as its folder.

        Paths in it are relative to the file's folder.

        Raises:
            CampaignError: If the file is missing or no TOML, or a setting is unknown or impossible; says which and
                what is allowed.
        """
        return cls.in_file(read_toml(path), path)

    @classmethod
    def in_file(cls, settings: Mapping[str, Any], path: Path) -> "CampaignConfig":
        """Check settings as if they stood in a campaign file; see `from_toml`."""
        folder = path.resolve().parent
        config = cls.of({"name": folder.name, **settings}, source=str(path))
        weights = config.planning.weights  # what earlier versions recorded may still be read
        if WEIGHTS[weights].needs_stack and not config.model.stacked:
            raise CampaignError(
                f'{path}: planning.weights = "{weights}" goes by P(glass), which the model says only with '
                'model.stacked = true. Set that, or another planning.weights, such as "even".'
            )
        try:
            resolved: dict[str, Any] = {
                "backend": config.backend.resolved(folder),
                "spectrum": config.spectrum.resolved(folder),
                "glass": config.glass.resolved(folder),
                "candidates": config.candidates and config.candidates.resolved(folder),
                "wafer": config.wafer and config.wafer.resolved(folder),
            }
            if config.guide is not None:
                guide = config.guide.model_copy(update={"backend": config.guide.backend.resolved(folder)})
                resolved["guide"] = guide
        except (ValueError, OSError, RuntimeError) as error:  # a NUL, a loop of links, the home of nobody
            raise CampaignError(f"{path}: a path in it names no file: {error}.") from error
        return config.model_copy(update=resolved)

    @property
    def given(self) -> dict[str, Any]:
        """What was given of the settings, as JSON; the others are left at their defaults."""
        return self.model_dump(mode="json", exclude_unset=True)

    def continuing(self, earlier: Mapping[str, Any], *, given: Mapping[str, Any] | None) -> "CampaignConfig":
        """Return the settings with which a campaign goes on: what is left out is what it was, whatever the default.

        So are the networks of versions that had compact ones alone, where today's would be chosen by the device.

        Args:
            earlier: The settings as they were, `model_dump(mode="json")` of this version or an earlier one.
            given: What was given of those. What was and is no longer has been taken out, and has its default again.
                None where nobody knows: all that might change then is taken for given, but what was a default of then.

        Raises:
            CampaignError: If what is given now doesn't go with what is left out.
        """
        then = self.recorded(earlier)
        known = given
        if known is None:
            known = without_old_defaults(then.model_dump(mode="json", include=then._free | FREE_THEN))
        whole = _completed(self, then, known)
        settings = whole.model_dump(mode="json")
        is_older = "energy" not in earlier.get("model", {})
        if is_older and (self.model.architecture, then.model.architecture) == (AUTO, "compact"):
            settings["model"]["architecture"] = "compact"
        return self.of(settings, source="the campaign's settings, with those of its store")

    def to_toml(self, path: Path) -> None:
        """Write the campaign file, every setting with what it means; see `campaign_file`."""
        write_whole(path, write_settings(self, self._free).encode())

    def binding(self) -> dict[str, Any]:
        """Return the settings that what a campaign finds depends on, as JSON: without those that may change."""
        return self.model_dump(mode="json", exclude=self._free)

    def check_continues(self, earlier: Mapping[str, Any], *, folder: Path = Path("FOLDER")) -> None:
        """Refuse to go on with settings that the rounds so far were not made with.

        Args:
            earlier: The settings as they were, `model_dump(mode="json")` of this version or an earlier one.
            folder: The campaign's, to name the command.

        Raises:
            CampaignError: If another setting differs than those of `FREE_SETTINGS` and the free ones of each table.
        """
        if changes := self.binding_changes(earlier):
            raise CampaignError(
                f"Changed since the campaign began: {say_changes(changes)}. What was measured and learned rests on "
                f"that: put it back {say_undoing(changes, folder)}, or begin another campaign with `glassmap init`. "
                f"{self.say_free()}"
            )

    def binding_changes(self, earlier: Mapping[str, Any]) -> list[Change]:
        """Return what differs from earlier settings of what may not; see `check_continues`."""
        return changes_between(self.recorded(earlier).binding(), self.binding())

    def say_free(self) -> str:
        """Return in a sentence what may change while a campaign runs."""
        within = [f"{table}.{name}" for table, names in self._free_within.items() for name in sorted(names)]
        return f"What may change is {', '.join(FREE_SETTINGS)}, and {', '.join(within)}."

    @property
    def _free(self) -> dict[str, Any]:
        """What may change between two rounds, as pydantic takes it in or leaves it out."""
        guide = {"guide": {"backend": {*self.guide.backend.free}}} if self.guide else {}
        return dict.fromkeys(FREE_SETTINGS, True) | self._free_within | guide

    @property
    def _free_within(self) -> dict[str, set[str]]:
        """What may change of the tables that may not as a whole."""
        tables: dict[str, Settings] = {"space": self.space, "spectrum": self.spectrum, "backend": self.backend}
        return {name: {*table.free} for name, table in tables.items()}


def _completed(settings: BaseModel, earlier: BaseModel, given: Mapping[str, Any]) -> BaseModel:
    """Return a table with what it leaves out as it was; see `CampaignConfig.continuing`."""
    if type(settings) is not type(earlier):  # another backend
        return settings
    as_it_was: dict[str, Any] = {}
    for name in type(settings).model_fields:
        now, before = getattr(settings, name), getattr(earlier, name)
        if isinstance(now, BaseModel) and isinstance(before, BaseModel):
            as_it_was[name] = _completed(now, before, given.get(name) or {})
        elif name not in settings.model_fields_set and name not in given:
            as_it_was[name] = before
    return settings.model_copy(update=as_it_was)


def slug(name: str) -> str:
    """Return a name as it may stand in a URL: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "campaign"


def held_of(settings: Mapping[str, Any]) -> Held:
    """Return the process variables at which a campaign is held; of settings as they are recorded."""
    space: Mapping[str, Any] = settings.get("space", {})
    context: Mapping[str, Value | Sequence[Value]] = space.get("context", {})  # came later
    return {name: value if isinstance(value, float | int | str) else value[0] for name, value in context.items()}


def first_own_round(settings: Mapping[str, Any]) -> int:
    """Return the first round of a campaign that is not its guide's; of settings as they are recorded."""
    return (settings["guide"]["rounds"] if settings.get("guide") else 0) + 1
