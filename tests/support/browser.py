"""A dashboard of one's own on loopback, and the browser that looks at it."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from glassmap.agent.errors import CampaignError
from glassmap.dashboard.serve import HOST, command_of, environment_of
from glassmap.simulation.supervised_process import start_supervised, stop_supervised

BROWSER = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")

FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # no GPU, perhaps root

START_SECONDS = 60.0


@contextmanager
def served(folders: list[Path], *, home: Path, port: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A dashboard of its own on loopback, as `glassmap dashboard` starts it: address and process.

    Raises:
        CampaignError: If it doesn't answer in time.
    """
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{HOST}:{port}"
    with (home / "dashboard.log").open("ab") as log:
        environment = os.environ | environment_of(folders)
        process = start_supervised(command_of(port=port), folder=home, environment=environment, output=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if time.monotonic() > deadline or process.poll() is not None:
                raise CampaignError(f"The dashboard must answer on {url} and doesn't. Is the port free? See {home}.")
            time.sleep(0.1)
        yield url, process
    finally:
        stop_supervised(process)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_stcore/health").is_success
    except httpx.HTTPError:
        return False


def find_browser() -> str:
    """Where Chromium is.

    Raises:
        CampaignError: If it is nowhere to be found.
    """
    found = next((path for path in BROWSER if Path(path).exists()), None)
    if found is None:
        raise CampaignError("This needs Chromium, and there is none. Install it: `apt-get install chromium`.")
    return found
