"""Small campaigns for tests, and what is compared of two of them."""

import hashlib
import multiprocessing
import sqlite3
from contextlib import closing
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.store.connection import FILE_NAME as STORE
from glassmap.agent.store.status import Status
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.glasses import TINY_SETTINGS

TINY: dict[str, Any] = {
    "name": "small",
    "device": "cpu",
    "space": {"elements": ["Co", "V", "Zr"], "step_at_pct": 5},
    "planning": {"batch": 8},
    "model": {"members": 2, "steps": 20, "batch_size": 4},
    "stop": {"max_rounds": 3},
}
SIMULATED: dict[str, Any] = {
    "name": "simulated",
    "device": "cpu",
    "space": {"elements": ["Zr", "Cu", "Al"], "step_at_pct": 10},
    "backend": {"kind": "simulation", "potential": "zhou", "protocol": TINY_SETTINGS, "workers": 2},
    "planning": {"batch": 4, "hold_out_share": 0.25},
    "model": {"members": 2, "steps": 20, "batch_size": 4},
    "stop": {"max_rounds": 3, "patience": 9},
}


def write_campaign(folder: Path, dataset: Path, **changes: Any) -> CampaignConfig:
    """A campaign with a network that learns in a moment; `changes` are merged table by table."""
    settings = TINY | {"backend": {"dataset": dataset}}
    for name, value in changes.items():
        settings[name] = settings.get(name, {}) | value if isinstance(value, dict) else value
    config = CampaignConfig.of(settings, source="test")
    config.to_toml(folder / FILE_NAME)
    return config


def run(folder: Path) -> Status:
    """Advance a campaign as far as it goes."""
    with open_campaign(folder) as campaign:
        return advance(campaign)


def processes() -> ForkServerContext:
    """For processes that will be killed; what every life would import anew is loaded once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.campaigns", "torch._dynamo"])
    return context


def run_and_tell(folder: Path, told: Connection) -> None:
    """Advance a campaign to its end and tell of every stage as it begins; for a process that will be killed."""
    at: tuple[int | None, str] | None = None

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        nonlocal at
        if (round_, stage) != at:
            at = round_, stage
            told.send(stage)

    with open_campaign(folder, report=report) as campaign:
        advance(campaign)
    told.send("end")


def rows(folder: Path, statement: str) -> list[tuple]:
    """What a statement finds in a campaign's store."""
    with closing(sqlite3.connect(folder / STORE)) as connection:
        return connection.execute(statement).fetchall()


def fingerprint(folder: Path) -> dict[str, Any]:
    """All that a campaign found out, without the times at which it did."""
    tables = {
        "suggestions": "id, round, position, row, composition, hold_out",
        "spectra": "id, suggestion, round, hold_out, composition, intensity, backend, state, reason",
        "batches": "round, separation, worst, mean",
        "curve": "*",
        "curve_errors": "*",
        "decisions": "*",
        "artefacts": "*",
        "stages": "round, name, status",
        "axes": "*",
    }
    found: dict[str, Any] = {
        name: rows(folder, f"SELECT {what} FROM {name} ORDER BY 1, 2") for name, what in tables.items()
    }
    for _, kind, path in found["artefacts"]:
        found[f"{kind} {path}"] = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    return found
