"""`glassmap up` as a user starts it, and how to wait for what it does."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.services.supervisor import settings_of

QUICK = {  # Prefect looks more often than it needs to outside of a test
    "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
    "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    "OMP_NUM_THREADS": "1",
}


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


@contextmanager
def running(services: Services) -> Iterator[Services]:
    services.start()
    try:
        yield services
        services.stop()
    finally:
        if services.process is not None and services.process.poll() is None:
            services.process.kill()
