"""Full disks: a campaign runs on a disk that has no room for all of it; then there is room, and it goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.benchmarks.crash.power import require_root
from tests.benchmarks.crash.prepared import Prepared
from tests.benchmarks.crash.trials import (
    Ending,
    Outcome,
    Trial,
    apart,
    command,
    commands,
    each,
    end_of,
    go_on,
    harms_of_sqlite,
    judge,
    left_behind,
    spread,
    watch_events,
)
from tests.support.campaigns import fingerprint

SIZES = 20  # in each stage
PAGE = os.sysconf("SC_PAGE_SIZE")
ROOM = "256m"
WORDS = ("no space left", "disk is full", "disk full")  # one of which says it
COMMANDS = (("run",), ("pause", "--reason", "the disk is full"), ("status",), ("log",))
WRONG = ("damaged", "Restore", "from a copy")  # which have somebody put an old copy over a good store


def full(prepared: Prepared, *, most: int | None, workers: int) -> Iterator[Trial]:
    """Have a replay run out of room in each stage, at disks of many sizes.

    Raises:
        CampaignError: Without root.
    """
    require_root("Full disks")
    with _disk(prepared, "full-counted", ROOM) as folder:
        sizes, expected = end_of(apart(partial(_sizes_and_end, folder)))
    cases = [(stage, size) for stage, found in sizes.items() for size in spread(found, most or SIZES)]
    yield from each(partial(_fill, prepared, expected), cases, workers=workers)


def _sizes_and_end(folder: Path) -> tuple[dict[str, list[int]], dict[str, Any]]:
    """Return the sizes of disks, in pages, that are full within each stage, and the end of a campaign that has room."""
    at, most, sizes = "open", 0, dict[str, list[int]]()

    def look(number: int, event: str) -> None:
        nonlocal most
        status = os.statvfs(folder)
        used = status.f_blocks - status.f_bfree
        sizes.setdefault(at, []).extend(range(most, used))
        most = max(most, used)

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        nonlocal at
        at = stage

    look(0, "")
    sizes.clear()
    watch_events(folder, look)
    with open_campaign(folder, report=report) as campaign:
        advance(campaign)
    return sizes, fingerprint(folder)


def _fill(prepared: Prepared, expected: dict[str, Any], case: tuple[str, int]) -> Trial:
    stage, pages = case
    with _disk(prepared, f"full-{pages}", str(pages * PAGE)) as folder:
        endings = commands([(words[0], folder, *words[1:]) for words in COMMANDS])
        asked = {words[0]: ending for words, ending in zip(COMMANDS, endings, strict=True)}
        outcome, detail = _judge_words(asked)
        subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(folder.parent)], check=True, capture_output=True)
        command("resume", folder)
        ended, how = judge(go_on(folder), expected)
        if ended == "survived" and (harms := left_behind(folder) or harms_of_sqlite(folder)):
            ended, how = "lost", str(harms)
        if outcome == "survived" or ended != "survived":
            outcome, detail = ended, f"{how} {detail}".strip()
    return Trial("full", stage, f"{pages * PAGE // 1024} KiB", outcome, detail)


def _judge_words(asked: dict[str, Ending]) -> tuple[Outcome, str]:
    """Return whether each command did what it should or said that the disk is full."""
    for name, ending in asked.items():
        if ending.how in ("traceback", "stuck", "killed"):
            return "stuck" if ending.how == "stuck" else "traceback", f"{name}: {ending.text}"
        is_said = any(word in ending.text.lower() for word in WORDS) and not any(word in ending.text for word in WRONG)
        if ending.how == "said" and not is_said:
            return "unnoticed", f"{name}: {ending.text}"
    return "survived", ""


@contextmanager
def _disk(prepared: Prepared, name: str, size: str) -> Iterator[Path]:
    """Mount a disk of some size, with a campaign that has yet to begin."""
    place = prepared.home / "trials" / name
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True, capture_output=True)
    try:
        yield Path(shutil.copytree(prepared.begun, place / "replay"))
    finally:
        subprocess.run(["umount", str(place)], check=True, capture_output=True)
        place.rmdir()
