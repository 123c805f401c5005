"""What people wait for at the dashboard: first view, map, slice; what it costs the server and who writes; many people.

Campaigns are made up in a moment: their stores, maps and archives are real, the spectra an analytic halo.
"""

import asyncio
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np

from glassmap.agent.errors import CampaignError
from glassmap.agent.progress import Report, ignore
from glassmap.dashboard.app import PAGES
from tests.support.browser import FLAGS, find_browser, served
from tests.support.made_up import make_campaign, measure_more
from tests.support.sessions import Seen, look_around

WRITTEN_ROUNDS, WRITERS = 60, 3  # by the writer that the dashboard must not slow, each way
WRITE_SECONDS = 2.6  # between two measurements of a campaign at work
BATCH = 1000  # alloys, of a campaign of very many measurements


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


def run_many(
    *, measurements: int = 100_000, writes: int = 30, people: int = 20, port: int = 8599, report: Report = ignore
) -> list[dict[str, Any]]:
    """A record for each of what a campaign of very many measurements costs, while more come in and many people look.

    Args:
        measurements: Of the campaign.
        writes: Measurements that come in while one page is open, and as many while many people look around.
        people: Sessions at once, which open one page after the other.
        port: Of the dashboard, on loopback.
        report: Is told what is measured.
    """
    records: list[dict[str, Any]] = []

    def record(what: str, value: float, unit: str, goal: str) -> None:
        records.append({"what": what, "value": value, "unit": unit, "goal": goal})

    pages = ["", *(page for page in PAGES if page != "campaigns")]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "campaigns" / "many"
        report("make a campaign up", 0, 3)
        rounds = max(1, round(measurements / BATCH))
        make_campaign(folder, elements=("Zr", "Cu", "Al", "Ti"), rounds=rounds, batch=BATCH, end="planned")
        with served([folder], home=Path(place) / "home", port=port) as (url, process):

            def looked_at(people: int, pages: list[str]) -> tuple[list[Seen], list[float]]:
                """What they saw while measurements came in, and the server's memory after each."""
                memory: list[float] = []
                is_over = Event()

                def write() -> None:
                    for _ in range(writes):
                        is_over.wait(WRITE_SECONDS)
                        measure_more(folder)
                        memory.append(_memory_mib(process))
                    is_over.set()

                writer = Thread(target=write)
                writer.start()
                looking = look_around(
                    url, people=people, campaign=folder.name, pages=pages, pause=2 * WRITE_SECONDS, until=is_over.is_set
                )
                try:
                    return asyncio.run(looking), memory
                finally:
                    is_over.set()
                    writer.join()

            report("one page, and a writer", 1, 3)
            left = iter(pages)
            once = look_around(
                url, people=1, campaign=folder.name, pages=pages, pause=0, until=lambda: next(left, None) is None
            )
            asyncio.run(once)  # every page is shown once, and all programs are loaded
            seen, memory = looked_at(1, [""])
            record(f"memory with {measurements} measurements, every page shown", memory[0], "MiB", "")
            for share in (1, 2, 3):
                count = share * writes // 3
                record(f"memory after {count} measurements more, seen", memory[count - 1], "MiB", "flat")
            report("many people, and a writer", 2, 3)
            seen, memory = looked_at(people, pages)
            seconds = [one.seconds for one in seen if one.is_click]
            record(f"a page, {people} people at once: median of {len(seconds)}", float(np.median(seconds)), "s", "")
            record(f"a page, {people} people at once: p95", float(np.percentile(seconds, 95)), "s", "< 10")
            if again := [one.seconds for one in seen if not one.is_click]:
                what = f"drawn again as something came in: p95 of {len(again)}"
                record(what, float(np.percentile(again, 95)), "s", "")
            record("pages with an error", sum(one.errors > 0 for one in seen), "", "0")
            record("memory meanwhile, at most", max(memory), "MiB", "")
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
