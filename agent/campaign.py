"""A campaign's settings, from `campaign.toml`: one typed tree, unknown keys refused by name."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator

from agent.composition import CompositionSpace
from agent.errors import CampaignError, CompositionError
from agent.training import PRESETS, TrainingConfig

FILE_NAME = "campaign.toml"
# What may change between two rounds; anything else would make those before and after incomparable.
FREE_SETTINGS = ("name", "device", "stop")
Share = Annotated[float, Field(gt=0, lt=1)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SpaceConfig(_Settings):
    """The alloys that may be planned; see `agent.composition.CompositionSpace`."""

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
    background: float | None = None  # half-width of the SNIP background that is removed; see `agent.spectrum`


class ReplayConfig(_Settings):
    """Measure by looking up a data set, so that a campaign can be judged against what was really measured."""

    kind: Literal["replay"] = "replay"
    dataset: Path
    where: str | None = None  # only the samples that meet this, such as "cleaned"; see `SpectraSet.where`
    hold_out: Literal["random", "wafer", "batch"] = "random"
    test_share: Share = 0.3  # of the data set, for `random`; the paper's


class PlanningConfig(_Settings):
    """How the next batch is chosen; see `agent.acquisition.plan_batch`."""

    batch: PositiveInt = 20
    method: Literal["uniform", "farthest", "random"] = "uniform"
    weights: Literal["even", "disagreement"] = "even"  # the paper's rule, or more where the ensemble's members differ
    hold_out_share: Share = 0.2  # of each batch, never trained on, where the backend has no test set of its own

    @model_validator(mode="after")
    def _weights_count(self) -> "PlanningConfig":
        if self.weights != "even" and self.method != "uniform":
            raise ValueError(f"planning.weights = {self.weights!r} needs planning.method = 'uniform'")
        return self


class StopConfig(_Settings):
    """When enough is measured; see `agent.convergence.decide`."""

    tolerance: Share = 0.05
    patience: PositiveInt = 2
    max_rounds: PositiveInt = 12


class CampaignConfig(_Settings):
    """One campaign: a system, who measures, how it is planned, learnt and stopped."""

    name: str
    seed: int = Field(default=0, ge=0)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    space: SpaceConfig
    spectrum: SpectrumConfig = SpectrumConfig()
    backend: ReplayConfig
    planning: PlanningConfig = PlanningConfig()
    model: TrainingConfig = TrainingConfig()
    stop: StopConfig = StopConfig()

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
        if self.backend.hold_out == "batch" and self.planning.batch == 1:
            raise ValueError(
                "backend.hold_out = 'batch' needs planning.batch >= 2, or no spectrum is left to learn from"
            )
        if self.planning.weights == "disagreement" and self.model.members == 1:
            raise ValueError("planning.weights = 'disagreement' needs model.members >= 2; one agrees with itself")
        return self

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
        backend = config.backend.model_copy(
            update={"dataset": (folder / config.backend.dataset.expanduser()).resolve()}
        )
        spectrum = config.spectrum
        if spectrum.substrate is not None:
            spectrum = spectrum.model_copy(update={"substrate": (folder / spectrum.substrate.expanduser()).resolve()})
        return config.model_copy(update={"backend": backend, "spectrum": spectrum})

    def to_toml(self, path: Path) -> None:
        """Write the campaign file, every setting spelled out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
        partial.write_text(tomli_w.dumps(self.model_dump(mode="json", exclude_none=True)))
        partial.replace(path)

    def check_continues(self, earlier: Mapping[str, Any]) -> None:
        """Refuse to go on with settings that the rounds so far were not made with.

        Args:
            earlier: The settings as they were, `model_dump(mode="json")`.

        Raises:
            CampaignError: If another setting than those of `FREE_SETTINGS` differs.
        """
        now, before = (_without_paths(settings) for settings in (self.model_dump(mode="json"), earlier))
        if changed := [name for name in now if name not in FREE_SETTINGS and now[name] != before.get(name)]:
            raise CampaignError(
                f"Changed since the campaign began: {', '.join(changed)}; its rounds depend on that. Only "
                f"{', '.join(FREE_SETTINGS)} may change; put the old values back, or start another campaign."
            )


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Files may move; that what they hold is the same, the backend's fingerprint tells."""
    return {
        name: {key: item for key, item in value.items() if key not in ("dataset", "substrate")}
        if isinstance(value, dict)
        else value
        for name, value in settings.items()
    }


def _explain(item: Any) -> str:
    """One pydantic complaint as rule, value and remedy."""
    place = ".".join(str(part) for part in item["loc"])
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
    for part in loc:
        annotation = model.model_fields[part].annotation
        candidates = [annotation, *get_args(annotation)]
        model = next(c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel))
    return model
