"""Campaigns that nobody watches: a real Prefect server on loopback, served campaigns, kills, and strangers."""

import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from tests.support.campaigns import TINY, fingerprint, rows, run, write_campaign
from tests.support.lab_campaigns import LAB, account
from tests.support.laboratory import deliver
from tests.support.processes import listening
from tests.support.services import Services, answers, running, state_of, wait_until


def lab_campaign(folder: Path, **changes: Any) -> Path:
    settings = TINY | {
        "name": folder.name,
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB | {"quiet_seconds": 0.5},
        "stop": {"max_rounds": 2, "patience": 9},
    }
    CampaignConfig.of(settings | changes, source="test").to_toml(folder / FILE_NAME)
    (folder / "drop").mkdir()
    return folder


def test_campaigns_reach_their_stop_while_nobody_watches(tmp_path: Path):
    """Cron and arrivals are seen firing; two trainings at once are one; strangers are refused."""
    lab = lab_campaign(tmp_path / "unattended", schedule={"advance_minutes": 1, "retrain": "* * * * *"})
    other = lab_campaign(
        tmp_path / "other",
        schedule={"advance_minutes": 60, "retrain": "0 0 1 1 *"},
        model=TINY["model"] | {"steps": 1500},
        backend=LAB | {"quiet_seconds": 0.5, "minimum_share": 1.0},
    )
    with running(Services(tmp_path / "home", lab, other)) as services:
        wait_until(lambda: state_of(lab) == state_of(other) == "waiting", seconds=180)
        readable = [path for path in services.home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
        assert not readable, "all of it is the owner's alone"
        assert services.process is not None
        hosts = {host for host, _ in listening(services.process.pid)}
        assert hosts == {"127.0.0.1"}, "nothing can be reached from another computer"
        assert services.home.stat().st_mode & 0o077 == 0, "and nobody else looks into its home"
        assert {"auth", "prefect.db", "server.log"} <= {path.name for path in services.home.iterdir()}
        api = f"http://127.0.0.1:{services.port}/api"
        foreign = {"Origin": "http://evil.example"}
        dashboard = f"http://127.0.0.1:{services.dashboard}/_stcore/health"
        wait_until(lambda: answers(dashboard), seconds=60)
        for answer in (
            httpx.post(f"{api}/deployments/filter", json={}, headers=foreign),
            httpx.options(f"{api}/deployments/filter", headers=foreign | {"Access-Control-Request-Method": "POST"}),
        ):
            assert answer.status_code in (400, 401) and "access-control-allow-origin" not in answer.headers

        # a few measurements, with a schedule that is an hour away: the arrival is what has them taken
        deliver(other, other / "drop", tmp_path / "other.json", seed=3)
        wait_until(lambda: rows(other, "SELECT count(*) FROM spectra")[0][0] > 3, seconds=120)
        wait_until(lambda: state_of(other) == "waiting", seconds=120)  # for the one that never comes
        assert any(run["created_by"] and run["created_by"]["type"] == "AUTOMATION" for run in services.runs("advance"))

        deployment = services.ask("deployments/filter", {"deployments": {"name": {"any_": ["other"]}}})
        number = next(d["id"] for d in deployment if "retrain" in d["entrypoint"])
        started = [services.ask(f"deployments/{number}/create_flow_run")["id"] for _ in range(2)]

        def ended() -> bool:
            found = services.ask("flow_runs/filter", {"flow_runs": {"id": {"any_": started}}})
            return all(run["state_type"] == "COMPLETED" for run in found)

        wait_until(ended, seconds=180)
        assert rows(other, "SELECT count(*) FROM log WHERE event = 'retrained'") == [(1,)], "exactly one trained"
        assert rows(other, "SELECT kind FROM artefacts ORDER BY 1") == [("archive",), ("checkpoint",), ("map",)]

        journal = tmp_path / "unattended.json"
        wait_until(
            lambda: state_of(lab) == "exhausted",
            seconds=240,
            doing=lambda: deliver(lab, lab / "drop", journal, seed=3),
        )
        scheduled = [run for run in services.runs("advance") if run["auto_scheduled"]]
        assert scheduled and wait_until(
            lambda: [run for run in services.runs("retrain") if run["auto_scheduled"]], seconds=90
        )

        def said() -> list[str]:
            return [line["message"] for line in services.ask("logs/filter", {"sort": "TIMESTAMP_DESC"})]

        wait_until(lambda: any(line.startswith("Budget spent, not converged, after") for line in said()), seconds=60)
        wait_until(lambda: rows(lab, "SELECT count(*) FROM files WHERE path LIKE '%round-002%'")[0][0] > 5, seconds=60)
    account(lab, journal)


def test_kills_of_server_and_served_change_nothing(tmp_path: Path, small_dataset: Path):
    """`up` starts what was killed again; when it is killed itself, all end with it and the next goes on."""
    changes = {"stop": {"max_rounds": 5, "patience": 9}, "schedule": {"advance_minutes": 0.2}}
    for name in ("untouched", "killed"):
        write_campaign(tmp_path / name, small_dataset, **changes)
    run(tmp_path / "untouched")
    rng, killed = np.random.default_rng(0), tmp_path / "killed"
    commands = {"run": "prefect.engine", "serve": "glassmap.flows.cli serve", "server": "prefect server start"}
    commands["dashboard"] = "streamlit run"
    services = Services(tmp_path / "home", killed)
    services.start()

    def find(name: str) -> list[int]:
        assert services.process is not None
        if services.process.poll() is not None:  # its server was killed before it ever answered; as systemd does
            services.start()
        return [number for number, command in services.members().items() if commands[name] in command]

    def kill(name: str) -> bool:
        with suppress(ProcessLookupError):  # it ended by itself in this moment
            if victims := find(name):
                os.kill(victims[-1], signal.SIGKILL)
                return True
        return False

    def kill_up() -> None:
        assert services.process is not None
        services.process.kill()
        services.process.wait()
        wait_until(lambda: not services.members(), seconds=20)
        services.start()

    try:
        for wanted in rng.permutation(["up", *commands]):
            wait_until(partial(find, "run"), seconds=120)  # there is something to be cut
            time.sleep(rng.uniform(0, 9))  # from its first import to some rounds later
            if wanted == "up":
                kill_up()
            else:
                wait_until(partial(kill, wanted), seconds=90)
        wait_until(lambda: find("server") and state_of(killed) == "exhausted", seconds=180)
        services.stop()
    finally:
        assert services.process is not None
        services.process.kill()
    assert fingerprint(killed) == fingerprint(tmp_path / "untouched")
    assert rows(killed, "PRAGMA integrity_check") == [("ok",)]
