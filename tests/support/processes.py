"""Which processes run, and how to wait for them."""

import time
from pathlib import Path

import psutil


def processes_in(folder: Path) -> list[int]:
    """Processes whose working folder lies within `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder) and (process / "stat").read_text().split()[2] != "Z":
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def listening(process: int) -> set[tuple[str, int]]:
    """Hosts and ports that a process and all that it has started listen on."""
    root = psutil.Process(process)
    found = [one for each in (root, *root.children(recursive=True)) for one in each.net_connections("inet")]
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}
