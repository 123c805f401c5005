"""Where and when a campaign runs, and who is told: nothing that it finds hangs on these."""

from datetime import datetime
from typing import Annotated

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from glassmap.agent.config.settings import Settings, Workers


class ScheduleConfig(Settings):
    """When `glassmap serve` looks after the campaign."""

    advance_minutes: Annotated[float, Field(ge=0.1, le=100_000)] = 5.0
    """Minutes between two looks at the campaign."""
    retrain: str | None = Field(default=None, examples=["0 3 * * *"])
    """When to train on what came since, such as "0 3 * * *": minute hour day month weekday, local time."""

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


class NotifyConfig(Settings):
    """Who is told when the campaign waits for a person, has stopped or failed; see `glassmap.flows.notify`."""

    url: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        default=None, examples=["https://example.org/hook"]
    )
    """An address that is sent JSON by POST."""
    command: str | None = Field(default=None, examples=["notify-send glassmap"])
    """A command that is given the same JSON on its standard input."""


class DaskConfig(Settings):
    """Where `runner = "dask"` finds its workers; see `glassmap.flows.compute.dask_cluster`."""

    scheduler: Annotated[str, Field(pattern=r"^(tcp|tls)://.+:\d+$")] | None = Field(
        default=None, examples=["tls://host:8786"]
    )
    """A scheduler's address, such as "tls://host:8786"; by default a cluster of this machine is started."""
    workers: Workers | None = Field(default=None, examples=[4])
    """Single-thread processes of a cluster of this machine; by default one a core."""

    @model_validator(mode="after")
    def _has_one_source_of_workers(self) -> "DaskConfig":
        if self.scheduler is not None and self.workers is not None:
            raise ValueError(
                "dask.workers are those of a cluster of this machine; leave it out where dask.scheduler is given"
            )
        return self
