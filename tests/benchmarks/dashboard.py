"""What people wait for at the dashboard: first view, map, slice, and what it costs the server and who writes.

Campaigns are made up in a moment: their stores, maps and archives are real, the spectra an analytic halo.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.errors import CampaignError
from glassmap.agent.progress import Report, ignore
from tests.support.browser import FLAGS, find_browser, served
from tests.support.made_up import make_campaign

WRITTEN_ROUNDS, WRITERS = 60, 3  # by the writer that the dashboard must not slow, each way


def run(*, refreshes: int = 1000, port: int = 8599, report: Report = ignore) -> list[dict[str, Any]]:
    """A record for each of what people wait for, in seconds, and for what it costs, each beside its goal.

    Args:
        refreshes: Of the map page, over which the server's memory is watched.
        port: Of the dashboard, on loopback.
        report: Is told what is measured.

    Raises:
        CampaignError: If Chromium or Playwright is missing.
    """
    browser = find_browser()
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise CampaignError("This drives a browser with Playwright: `pip install 'glassmap[dev]'`.") from error
    records: list[dict[str, Any]] = []

    def record(what: str, value: float, unit: str, goal: str) -> None:
        records.append({"what": what, "value": value, "unit": unit, "goal": goal})

    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        root = Path(place)
        report("make campaigns up", 0, 4)
        make_campaign(root / "campaigns" / "ternary")
        make_campaign(root / "campaigns" / "quaternary", elements=("Zr", "Cu", "Al", "Ti"), rounds=3)
        with served([root / "campaigns"], home=root / "home", port=port) as (url, process):
            chromium = playwright.chromium.launch(executable_path=browser, args=list(FLAGS))
            page = chromium.new_page(viewport={"width": 1280, "height": 900})

            def seconds_to(path: str, selector: str, count: int = 1) -> float:
                began = time.monotonic()
                page.goto(f"{url}/{path}")
                page.wait_for_function(f"() => document.querySelectorAll('{selector}').length >= {count}")
                return time.monotonic() - began

            report("first views", 1, 4)
            cards, points = "[data-testid=stMetric]", ".ternarylayer path.point"
            first = seconds_to("", cards)  # of a server that was just started: imports and all
            record("first view, server just started", first, "s", "")
            for what, path, selector, count, goal in (
                ("first view", "", cards, 4, 2),
                ("map of a ternary, 60 rounds", "map?campaign=ternary", points, 4851, 3),
                ("slice of a quaternary", "map?campaign=quaternary", points, 1000, 2),
            ):
                seconds_to(path, selector, count)  # the first reads the files
                times = [seconds_to(path, selector, count) for _ in range(5)]
                record(what, float(np.median(times)), "s", f"< {goal}")
            report("refreshes", 2, 4)
            seconds_to("map?campaign=ternary", points, 4851)
            memory = [_memory_mib(process)]
            for _ in range(4):
                for _ in range(refreshes // 4):
                    page.keyboard.press("r")
                    page.wait_for_timeout(20)
                    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
                memory.append(_memory_mib(process))
            record("memory before refreshes", memory[0], "MiB", "")
            for quarter, value in enumerate(memory[1:], start=1):
                record(f"memory after {quarter * refreshes // 4} refreshes", value, "MiB", "flat")
            report("a writer at the same time", 3, 4)
            written: dict[str, list[float]] = {"alone": [], "read as a page does": [], "watched in this browser": []}
            for k in range(WRITERS):
                for how, times in written.items():
                    folder = root / "elsewhere" / f"{how} {k}"
                    if how == "watched in this browser":
                        folder = root / "campaigns" / f"written-{k}"
                        page.goto(f"{url}/?campaign={folder.name}")
                    with _reader(folder) if how == "read as a page does" else nullcontext():
                        began = time.monotonic()
                        make_campaign(folder, rounds=WRITTEN_ROUNDS)
                        times.append(time.monotonic() - began)
                    shutil.rmtree(folder)
            chromium.close()
        alone = float(np.median(written["alone"]))
        record(f"a campaign of {WRITTEN_ROUNDS} rounds written at once, alone", alone, "s", "")
        for how in ("read as a page does", "watched in this browser"):
            record(f"{how}: slower by", 100 * (float(np.median(written[how])) / alone - 1), "%", "< 5")
    return records


@contextmanager
def _reader(folder: Path) -> Iterator[None]:
    """Another process that reads a campaign whenever it changed, every other second, as the server does for a page."""
    code = """
import sys, time
from pathlib import Path
from glassmap.dashboard.data import marker, read_campaign
folder, seen = Path(sys.argv[1]), None
while True:
    if marker(folder) != seen:
        seen = marker(folder)
        read_campaign(folder)
    time.sleep(2)
"""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)])
    time.sleep(4)  # until it has loaded what it needs
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _memory_mib(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of a process and its children."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(fields["PPid"]) == process.pid or int(fields["Pid"]) == process.pid:
            total += float(fields.get("VmRSS", "0").split()[0]) / 1024
    return total
