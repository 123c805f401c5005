"""All that an unattended laboratory needs in one command: Prefect's server, the served campaigns, the dashboard.

All listen on loopback. The server has a home, a secret and a database of its own, and like the dashboard it answers no
foreign web page. A service that ends is started again; all end together, however this process ends.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx

from glassmap.agent.errors import CampaignError
from glassmap.dashboard.serve import HOST, command_of, environment_of
from glassmap.simulation.supervised_process import start_supervised, stop_supervised

START_SECONDS = 180.0  # until the server answers
AGAIN_SECONDS = 5.0  # before a service that ended is started again
LOOK_SECONDS = 0.5


def run_services(
    folders: Sequence[Path],
    *,
    home: Path,
    port: int,
    dashboard_port: int,
    at_once: int,
    say: Callable[[str], None],
) -> None:
    """Start server, campaigns and dashboard, keep them running, and stop them together on Ctrl-C or SIGTERM.

    Args:
        folders: Of the campaigns.
        home: Of the server: its database, its secret, logs; made where it doesn't exist.
        port: Of the server, on loopback.
        dashboard_port: Of the dashboard, on loopback.
        at_once: Most runs at a time, of all campaigns together.
        say: Shows people a line about each service that starts or ends.

    Raises:
        CampaignError: If the server doesn't start.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    close_to_others(home)
    environment = os.environ | settings_of(home, port=port) | environment_of(folders)
    glassmap = [sys.executable, "-m", "glassmap.flows.cli"]
    commands = {
        "server": [sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(port)],
        "serve": [*glassmap, "serve", *(str(folder.resolve()) for folder in folders), "--at-once", str(at_once)],
        "dashboard": command_of(port=dashboard_port),
    }
    running: dict[str, subprocess.Popen[bytes]] = {}

    def start(name: str) -> None:
        with open_log(home / f"{name}.log") as log:
            running[name] = start_supervised(
                commands[name],
                folder=home,
                environment=environment,
                output=log,
                umask=0o077 if name == "server" else -1,  # whose files are all in the home; the others write for all
            )

    with _stopped_by_signals():
        try:
            start("server")
            say(f"Starting Prefect's server; its log is {home / 'server.log'}")
            _wait_until_it_answers(environment["PREFECT_API_URL"], running["server"], home)
            start("serve")
            say(f"Serving {len(folders)} campaign{'s' * (len(folders) != 1)}; the log is {home / 'serve.log'}")
            start("dashboard")
            say(f"Dashboard: http://{HOST}:{dashboard_port}; its log is {home / 'dashboard.log'}")
            say(f"Prefect: http://{HOST}:{port}, with the secret in {home / 'auth'}. Stop with Ctrl-C.")
            while True:
                time.sleep(LOOK_SECONDS)
                for name, process in list(running.items()):
                    if process.poll() is not None:
                        say(f"{name} ended with exit code {process.returncode}; starting it again.")
                        time.sleep(AGAIN_SECONDS)
                        start(name)
        except KeyboardInterrupt:
            say("Stopping.")
        finally:
            for process in reversed(running.values()):  # who asks ends before who answers
                stop_supervised(process)


def settings_of(home: Path, *, port: int) -> dict[str, str]:
    """Prefect's settings, for the server and for everybody who talks to it; the secret is made the first time."""
    file = home / "auth"
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as opened:
            opened.write(f"glassmap:{secrets.token_urlsafe(24)}")
    secret, origin = file.read_text(), f"http://{HOST}:{port}"
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"{origin}/api",
        "PREFECT_API_AUTH_STRING": secret,
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": origin,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def close_to_others(home: Path) -> None:
    """Have a home and all that is in it be the owner's alone: it holds the secret, runs and logs."""
    for path in (home, *home.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)


def open_log(path: Path) -> BinaryIO:
    """Open a log that is the owner's alone, to write on at its end."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def require_server(url: str) -> None:
    """Refuse to begin where no Prefect server answers.

    Raises:
        CampaignError: If nothing does.
    """
    try:
        httpx.get(f"{url}/health")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        parts = urlsplit(url)
        where = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()  # without a secret
        raise CampaignError(
            f"PREFECT_API_URL must name a Prefect server that runs, and {where} doesn't answer "
            f"({type(error).__name__}). Start it, or unset the variable: `glassmap run` needs no server, `glassmap up` "
            "brings its own."
        ) from error


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"{url}/health").is_success and server.poll() is None:
                return
        except httpx.HTTPError:
            pass
        time.sleep(LOOK_SECONDS)
    last = (home / "server.log").read_text(errors="replace").strip()[-500:]
    found = "doesn't" if (code := server.poll()) is None else f"ended with exit code {code}"
    raise CampaignError(
        f"Prefect's server must answer on {url} within {START_SECONDS:g} s and {found}. Is the port free? Its log, "
        f"{home / 'server.log'}, ends: {last}"
    )


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM, as of systemd, stops as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
