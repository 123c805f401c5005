"""Campaigns that nobody watches: a real Prefect server on loopback, served campaigns, kills, and strangers."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.services.supervisor import settings_of
from tests.flows.backends.test_lab import LAB, account
from tests.support.campaigns import TINY, fingerprint, rows, write_campaign
from tests.support.laboratory import deliver

QUICK = {  # Prefect looks more often than it needs to outside of a test
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "OMP_NUM_THREADS": "1",
}
KILLS_OF_EACH = 2


class Services:
    """`glassmap up` as a user starts it."""

    def __init__(
        self, home: Path, *folders: Path, options: Sequence[str] = (), settings: Mapping[str, str] | None = None
    ) -> None:
        self.port, self.dashboard = free_port(), free_port()
        self.home, self.folders, self.options = home, folders, options
        self.settings = {**QUICK, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["up", *map(str, self.folders), "--home", str(self.home), "--port", str(self.port)]
        command += ["--dashboard-port", str(self.dashboard), *self.options]
        self.home.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        with (self.home / "up.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "glassmap.flows.cli", *command],
                env=environment | self.settings,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(30) == 0
        assert not self.members(), "nothing is left behind"

    def members(self) -> dict[int, str]:
        """Numbers and commands of all processes that belong to these services, but for `up` itself."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
            except OSError:  # ended in the meantime
                continue
            if f"PREFECT_HOME={self.home}\0".encode() in environment and command:
                found[int(folder.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found

    def ask(self, path: str, content: Any = None) -> Any:
        """What Prefect's API says."""
        settings = settings_of(self.home, port=self.port)
        user, secret = settings["PREFECT_API_AUTH_STRING"].split(":")
        url = f"{settings['PREFECT_API_URL']}/{path}"

        def answer() -> httpx.Response | None:
            found = httpx.post(url, json=content or {}, auth=(user, secret), timeout=30)
            return None if found.status_code == 503 else found  # busy; Prefect's own clients try again as well

        found = wait_until(answer, seconds=60)
        found.raise_for_status()
        return found.json()

    def runs(self, flow: str) -> list[dict[str, Any]]:
        """The runs of a flow that have begun."""
        found = self.ask("flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return [run for run in found if run["start_time"] is not None]


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_until(condition: Callable[[], Any], *, seconds: float, doing: Callable[[], Any] = lambda: None) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it took too long"
        doing()
        time.sleep(0.5)
    return found


def state_of(folder: Path) -> str:
    if not (folder / "campaign.db").exists():
        return ""
    with CampaignStore.read_only(folder) as store:
        return store.status().state


def lab_campaign(folder: Path, **changes: Any) -> Path:
    settings = TINY | {
        "name": folder.name,
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB | {"quiet_seconds": 0.5},
        "stop": {"max_rounds": 3, "patience": 9},
    }
    CampaignConfig.of(settings | changes, source="test").to_toml(folder / FILE_NAME)
    (folder / "drop").mkdir()
    return folder


@contextmanager
def running(services: Services) -> Iterator[Services]:
    services.start()
    try:
        yield services
        services.stop()
    finally:
        if services.process is not None and services.process.poll() is None:
            services.process.kill()


def test_campaigns_reach_their_stop_while_nobody_watches(tmp_path: Path):
    """Cron and arrivals are seen firing; three trainings at once are one; strangers are refused."""
    lab = lab_campaign(tmp_path / "unattended", schedule={"advance_minutes": 0.2, "retrain": "* * * * *"})
    other = lab_campaign(
        tmp_path / "other",
        schedule={"advance_minutes": 60, "retrain": "0 0 1 1 *"},
        model=TINY["model"] | {"steps": 3000},
        backend=LAB | {"quiet_seconds": 0.5, "minimum_share": 1.0},
    )
    with running(Services(tmp_path / "home", lab, other)) as services:
        wait_until(lambda: state_of(lab) == state_of(other) == "waiting", seconds=120)
        secret = services.home / "auth"
        assert secret.stat().st_mode & 0o077 == 0, "the secret is the owner's alone"
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
        wait_until(lambda: rows(other, "SELECT count(*) FROM spectra")[0][0] > 3, seconds=60)
        wait_until(lambda: state_of(other) == "waiting", seconds=60)  # for the one that never comes
        assert any(run["created_by"] and run["created_by"]["type"] == "AUTOMATION" for run in services.runs("advance"))

        deployment = services.ask("deployments/filter", {"deployments": {"name": {"any_": ["other"]}}})
        number = next(d["id"] for d in deployment if "retrain" in d["entrypoint"])
        started = [services.ask(f"deployments/{number}/create_flow_run")["id"] for _ in range(3)]

        def ended() -> bool:
            found = services.ask("flow_runs/filter", {"flow_runs": {"id": {"any_": started}}})
            return all(run["state_type"] == "COMPLETED" for run in found)

        wait_until(ended, seconds=120)
        assert rows(other, "SELECT count(*) FROM log WHERE event = 'retrained'") == [(1,)], "exactly one trained"
        assert rows(other, "SELECT kind FROM artefacts ORDER BY 1") == [("atlas",), ("checkpoint",), ("map",)]

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

        def shown(key: str) -> dict[str, Any]:
            return next(one for one in services.ask("artifacts/latest/filter") if one["key"] == key)

        wait_until(lambda: "# unattended: exhausted" in shown("campaign-unattended")["data"], seconds=30)
        assert shown("progress-unattended")["type"] == "progress"
        wait_until(lambda: rows(lab, "SELECT count(*) FROM files WHERE path LIKE '%round-003%'")[0][0] > 5, seconds=60)
    account(lab, journal)


def test_kills_of_server_and_served_change_nothing(tmp_path: Path, small_dataset: Path):
    """`up` starts what was killed again; when it is killed itself, all end with it and the next goes on."""
    changes = {"stop": {"max_rounds": 6, "patience": 9}, "schedule": {"advance_minutes": 0.1}}
    for name in ("untouched", "killed"):
        write_campaign(tmp_path / name, small_dataset, **changes)
    subprocess.run([sys.executable, "-m", "glassmap.flows.cli", "run", str(tmp_path / "untouched")], check=True)
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
        for wanted in rng.permutation(["up", *commands] * KILLS_OF_EACH):
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
