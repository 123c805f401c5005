"""Power cuts: a disk of its own is copied while a campaign runs on it, and the campaign goes on on the copy.

The disk is a file, mounted by a loop device. What the file system hasn't written to it yet is only in memory, and so
isn't on the copy: it is what a disk holds after the power was cut. The process is stopped just before something that it
does to the campaign's files, so that nothing is written while the disk is copied.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.errors import CampaignError
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import (
    FORK,
    Trial,
    each,
    end_of,
    events_of,
    go_on,
    harms_of_sqlite,
    judge,
    killed_at,
    left_behind,
)
from tests.support.campaigns import run

CUTS = 25  # of each
# How a file system is made, and the smallest disk that it can be made on.
FILE_SYSTEMS = {
    "ext4": (["mkfs.ext4", "-q", "-F"], 64),
    "xfs": (["mkfs.xfs", "-q", "-f"], 300),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], 120),
}


def power(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Cut the power of each kind of file system at random events of a replay, and go on.

    Raises:
        CampaignError: Without root, or the programs that make file systems.
    """
    require_root("Power cuts")
    if missing := [command[0] for command, _ in FILE_SYSTEMS.values() if shutil.which(command[0]) is None]:
        raise CampaignError(f"Power cuts need {missing[0]}. Install e2fsprogs, xfsprogs and btrfs-progs.")
    counted = prepared.copy(prepared.begun, "counted")
    events, _ = events_of(counted, partial(run, counted))
    expected = end_of(go_on(prepared.copy(prepared.begun, "undisturbed")))
    rng = np.random.default_rng(0)
    cases = [
        (kind, int(number), events[number - 1])
        for kind in FILE_SYSTEMS
        for number in np.sort(rng.choice(len(events), size=most or CUTS, replace=False)) + 1
    ]
    yield from each(partial(_cut, prepared, expected), cases, workers=workers)


def require_root(what: str) -> None:
    """Refuse what has to mount a file system.

    Raises:
        CampaignError: Without root.
    """
    if os.geteuid() != 0:
        raise CampaignError(f"{what} are tried on file systems of their own: run this as root, or other parts alone.")


def _cut(prepared: Prepared, expected: dict[str, Any], case: tuple[str, int, str]) -> Trial:
    kind, number, event = case
    place = prepared.home / "trials" / f"power-{kind}-{number}"
    place.mkdir(parents=True)
    command, megabytes = FILE_SYSTEMS[kind]
    disk, after = place / "disk.img", place / "after.img"
    with disk.open("wb") as file:
        file.truncate(megabytes * 2**20)
    subprocess.run([*command, str(disk)], check=True, capture_output=True)
    with mounted(disk, place / "mounted") as mount:
        folder = Path(shutil.copytree(prepared.begun, mount / "campaigns" / "replay"))
        os.sync()
        with _standing_still(folder, number):
            subprocess.run(["cp", "--sparse=always", str(disk), str(after)], check=True)
    disk.unlink()
    with mounted(after, place / "mounted") as mount:
        folder = mount / "campaigns" / "replay"
        outcome, detail = judge(go_on(folder), expected)
        if outcome == "survived" and (left := left_behind(folder)):
            outcome, detail = "lost", f"half written: {', '.join(left)[:200]}"
        if outcome == "survived" and (harms := harms_of_sqlite(folder)):
            outcome, detail = "lost", harms
    shutil.rmtree(place)
    return Trial("power", kind, f"{number}: {event}", outcome, detail)


@contextmanager
def mounted(disk: Path, place: Path) -> Iterator[Path]:
    """Mount a disk for a while."""
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", str(disk), str(place)], check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True, capture_output=True)


@contextmanager
def _standing_still(folder: Path, number: int) -> Iterator[None]:
    """Advance a campaign until just before an event, and have it stand still there for the while; then end it."""
    child = FORK.Process(target=killed_at(folder, partial(run, folder), number, by=signal.SIGSTOP))
    child.start()
    assert child.pid is not None, "it was started"
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    try:
        yield
    finally:
        child.kill()
        child.join()
