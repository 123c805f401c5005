"""What pages show of a campaign's settings, read once from what its store holds.

The store may be of another version, with rules and backends that this one doesn't know, or without what came later; so
settings are read as they are and not checked again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from glassmap.agent.config.campaign import first_own_round, held_of
from glassmap.agent.config.glass import is_glass_given
from glassmap.agent.config.planning import TOLERANCES, describe_rule
from glassmap.agent.data.context import say_held
from glassmap.agent.models.config import AUTO, TrainingConfig
from glassmap.agent.models.description import kind_of, terms_on
from glassmap.agent.outside_text import visible
from glassmap.agent.planning.convergence import On

COLD = 300.0  # K, that a melt is quenched to where the protocol doesn't say


class StopRule(NamedTuple):
    """When a campaign has enough."""

    on: On  # what has to settle
    tolerance: float  # gain of two more batches that isn't worth them, in its unit
    patience: int  # rounds in a row that say so
    max_rounds: int
    max_spectra: int | None
    max_hours: float | None
    max_cpu_hours: float | None

    @property
    def words(self) -> str:
        """When it has converged, in words that begin small and have no full stop."""
        return describe_rule(self.on, self.tolerance, self.patience)


class Settings(NamedTuple):
    """What pages show of a campaign's settings."""

    step_at_pct: int
    held: str  # the process variables at which plans and maps are held, in words; empty without any
    batch: int  # alloys
    method: str  # the planning rule's name
    weights: str
    stop: StopRule
    model: str  # in words
    backend: str  # its kind
    judged_by: str  # what the hold-out is, in words
    hold_out: str | None  # of a replay: `random`, `wafer` or `batch`
    scale: str  # what of a spectrum becomes 100
    first_own_round: int  # after the guide's; 1 without one
    is_glass_given: bool  # whether a person said what a glass is
    quench_temperature: float | None  # K, that simulated alloys are to have; None where nothing is simulated
    retrain: str | None  # minute, hour, day, month and weekday at which it is trained anew; None where it isn't


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Return what pages show of the settings that a store holds."""
    planning, backend = config["planning"], config["backend"]
    backends = [backend, *([config["guide"]["backend"]] if config.get("guide") else [])]
    protocol = next((one.get("protocol") or {} for one in backends if "potential" in one), None)  # of who simulates
    return Settings(
        step_at_pct=config["space"]["step_at_pct"],
        held=visible(say_held(held_of(config))),
        batch=planning["batch"],
        method=planning["method"],
        weights=planning["weights"],
        stop=_read_stop(config["stop"]),
        model=_describe_model(config["model"], seed=config["seed"]),
        backend=backend["kind"],
        judged_by=_describe_hold_out(backend, planning),
        hold_out=backend.get("hold_out"),
        scale=config["spectrum"].get("scale", "maximum"),
        first_own_round=first_own_round(config),
        is_glass_given=is_glass_given(config),
        quench_temperature=None if protocol is None else protocol.get("cold", COLD),
        retrain=config.get("schedule", {}).get("retrain"),
    )


def _read_stop(stop: Mapping[str, Any]) -> StopRule:
    """Return the rule; before there was a choice, the MSE had to settle."""
    on: On = stop.get("on", "mse")
    tolerance = stop.get("tolerance")
    limits: list[Any] = [stop.get(name) for name in StopRule._fields[2:]]
    return StopRule(on, TOLERANCES[on] if tolerance is None else tolerance, *limits)


def _describe_model(model: Mapping[str, Any], *, seed: int) -> str:
    """Return what the ensemble is to be; what it became stands in its checkpoint."""
    stacked = ", stacked with a Gaussian process and trees" if model.get("stacked") else ""
    if model["architecture"] != AUTO:
        return f"{_describe_networks(model)}{stacked}; seed {seed}"
    asked = TrainingConfig.model_construct(**{k: v for k, v in model.items() if k in TrainingConfig.model_fields})
    cpu, gpu = (_describe_networks(asked.on(gpu=gpu).model_dump()) for gpu in (False, True))
    return f"on a CPU {cpu}, on a GPU {gpu}{stacked}; seed {seed}"


def _describe_networks(model: Mapping[str, Any]) -> str:
    terms = terms_on(model)
    return f"{model['members']} {kind_of(terms, is_generative='energy' in terms)} ({model['architecture']})"


def _describe_hold_out(backend: Mapping[str, Any], planning: Mapping[str, Any]) -> str:
    """Return what the model is judged by; a backend whose settings hold nothing out takes some of each batch."""
    source = Path(backend["dataset"]).name if "dataset" in backend else backend["kind"]
    of_batch = "of each batch" if planning["hold_out_share"] else "spectra learned from, left out in turn"
    return f"{source}, {backend.get('hold_out', of_batch)}"
