"""What people wait for at the dashboard: first view, map, slice, and what it costs the server and who writes.

Campaigns are made up in a moment: their stores, maps and atlases are real, the spectra an analytic halo.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.errors import CampaignError
from glassmap.agent.maps.spectra_archive import KEPT_ALLOYS, MeasuredAlloys, Views, write_atlas
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.planning.convergence import CurvePoint, Decision
from glassmap.agent.shapes import Compositions, PerSample, Spectra
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.dashboard.serve import HOST, command_of, environment_of
from glassmap.simulation.supervised_process import start_kept, stop_kept

AXIS = np.round(np.arange(1.5, 5.0001, 0.01), 2)  # 1/Å
BROWSER = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
FLAGS = ("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")  # no GPU, perhaps root
START_SECONDS = 60.0
WRITTEN_ROUNDS, WRITERS = 60, 3  # by the writer that the dashboard must not slow, each way


def halo(compositions: Compositions) -> tuple[PerSample, PerSample]:
    """q1 and Δq (1/Å) that vary smoothly with composition; the middle of the system is the glass."""
    e = compositions.shape[1]
    middle = 1 - np.linalg.norm(compositions - 1 / e, axis=1)
    return 2.4 + 0.5 * compositions[:, 0], 0.25 + 0.45 * np.clip(middle, 0, 1) ** 2


def spectra_of(compositions: Compositions) -> Spectra:
    """One broad peak each, on a falling background; 100 at most."""
    q1, delta_q = halo(compositions)
    peak = 1 / (1 + 4 * ((AXIS - q1[:, None]) / delta_q[:, None]) ** 2)
    return 80 * peak + 20 * np.exp(-(AXIS - AXIS[0]))


def make_campaign(
    folder: Path,
    *,
    elements: tuple[str, ...] = ("Zr", "Cu", "Al"),
    step_at_pct: int = 1,
    rounds: int = 60,
    batch: int = 20,
    end: str = "converged",
) -> None:
    """A campaign as a replay would have left it.

    Args:
        folder: Made where it doesn't exist.
        elements: Of the system.
        step_at_pct: Of its grid.
        rounds: That are judged.
        batch: Alloys of each.
        end: How it goes on: `converged`, `waiting` (half of the next batch is in), `failed` (in training the next) or
            `planned` (nothing of the next batch is in).
    """
    config = CampaignConfig.of(
        {
            "name": folder.name,
            "space": {"elements": list(elements), "step_at_pct": step_at_pct},
            "backend": {"kind": "replay", "dataset": "made-up.nc", "hold_out": "batch"},
            "planning": {"batch": batch},
            "stop": {"max_rounds": rounds + 20},
        },
        source="made up",
    )
    config.to_toml(folder / FILE_NAME)
    space, rng = config.space.build(), np.random.default_rng(0)
    ranks = rng.permutation(len(space))[: (rounds + 1) * batch]
    with CampaignStore.open(folder) as store:
        with store.transaction():
            store.record_axis("q", AXIS, None)
            store.record_setting("elements", list(elements))
            store.record_setting("source", "")
            store.record_setting("config", config.model_dump(mode="json"))
            store.log("campaign started")
        for round_ in range(1, rounds + 1):
            _write_round(store, space, round_, ranks[(round_ - 1) * batch : round_ * batch], last=round_ == rounds)
        if end == "converged":
            with store.transaction():
                reason = f"Converged after {store.curve()[-1].spectra} spectra: less than 5 % each."
                store.record_decision(rounds + 1, Decision("converged", reason, (0.02, 0.03)))
            return
        _plan(store, space, rounds + 1, ranks[rounds * batch :])
        store.start_stage(rounds + 1, "measure")
        if end == "waiting":
            _measure(store, rounds + 1, share=0.5)
        with store.transaction():
            if end == "failed":
                store.end_stage(rounds + 1, "measure", "failed", "SimulationError: LAMMPS is not there. Install it.")
            else:
                store.record_order(rounds + 1)
                store.end_stage(rounds + 1, "measure", "waiting")


def _plan(store: CampaignStore, space: CompositionSpace, round_: int, ranks: np.ndarray) -> None:
    shares = space.compositions(ranks)
    suggestions = [
        Suggestion(f"r{round_:03d}-{k + 1:02d}", round_, int(rank), tuple(map(float, shares[k])), k % 5 == 0)
        for k, rank in enumerate(ranks)
    ]
    store.start_stage(round_, "plan")
    with store.transaction():
        store.record_batch(round_, suggestions, Coverage(3.0, 20 / round_**0.5, 8 / round_**0.5))
        store.log("planned", f"round {round_}: {len(suggestions)} alloys")
        store.end_stage(round_, "plan", "done")


def _measure(store: CampaignStore, round_: int, *, share: float = 1.0) -> None:
    asked = store.suggestions(round_=round_)
    for one in asked[: round(share * len(asked))]:
        composition = np.array(one.composition)
        with store.transaction():
            store.record_spectrum(one, composition, spectra_of(composition[None])[0], backend="replay")


def _write_round(store: CampaignStore, space: CompositionSpace, round_: int, ranks: np.ndarray, *, last: bool) -> None:
    _plan(store, space, round_, ranks)
    store.start_stage(round_, "measure")
    _measure(store, round_)
    learned = store.spectra(hold_out=False)
    with store.transaction():
        store.end_stage(round_, "measure", "done")
        error = 200 / len(learned[0]) + 5
        store.record_curve_point(CurvePoint(round_, len(learned[0]), error, 1.2 * error, 0.02, 0.03, 1.1 * error))
        store.log("trained", f"round {round_}: {len(learned[0])} spectra, hold-out MSE {error:.3g}")
    if last or len(space) <= KEPT_ALLOYS:
        path = _write_map(store.folder / "maps" / f"{round_:016d}.parquet", space, learned[1], round_)
        with store.transaction():
            store.record_artefact(round_, "map", path)
    if last:
        path = _write_atlas(store, space, round_)
        with store.transaction():
            store.record_only_artefact(round_, "atlas", path)
    with store.transaction():
        store.record_decision(round_, Decision("continue", f"Go on after {len(learned[0])} spectra.", (0.1,)))
        store.log("decided", f"go on after round {round_}")


def _write_map(path: Path, space: CompositionSpace, learned: Compositions, round_: int) -> Path:
    everything = np.arange(len(space))
    compositions = space.compositions(everything)
    q1, delta_q = halo(compositions)
    wave = 0.05 / round_ * np.sin(20 * compositions[:, 0])
    distance = np.full(len(space), 5.0) if len(space) > KEPT_ALLOYS else _nearest(compositions, learned)
    figures = {"q1": q1, "q1_spread": np.full_like(q1, 0.01), "delta_q": delta_q + wave, "delta_q_spread": np.abs(wave)}
    figures |= {"peak_share": np.ones_like(q1), "distance": distance}
    columns = dict(zip(space.elements, (100 * compositions.T).round().astype(np.uint8), strict=True))
    table = pa.table(columns | {name: values.astype(np.float32) for name, values in figures.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"glassmap": json.dumps({"round": round_})}), path)
    return path


def _nearest(compositions: Compositions, learned: Compositions) -> PerSample:
    squares = (compositions**2).sum(1)[:, None] + (learned**2).sum(1) - 2 * compositions @ learned.T
    return 100 * np.sqrt(squares.clip(min=0).min(1))


def _write_atlas(store: CampaignStore, space: CompositionSpace, round_: int) -> Path:
    used = [m for m in store.measurements() if m.state == "used"]
    known = np.array([m.composition for m in used])
    ranks = np.linspace(0, len(space) - 1, min(len(space), KEPT_ALLOYS)).astype(np.int64)
    shown = np.concatenate([space.compositions(ranks), known])
    mean = spectra_of(shown)
    spread = np.full_like(mean, 1.0)
    fit = np.where(np.abs(AXIS - halo(shown)[0][:, None]) < 0.3, mean, np.nan)
    q1, delta_q = halo(known)
    hold_out = np.array([m.hold_out for m in used])
    measured = MeasuredAlloys([m.id for m in used], known, hold_out, spectra_of(known), fit[-len(known) :], q1, delta_q)
    path = store.folder / "maps" / f"round-{round_:03d}.h5"
    views = Views(mean, spread, spread, 2 * spread, fit)
    write_atlas(path, round_=round_, axis=AXIS, compositions=shown, views=views, measured=measured)
    return path


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
        process = start_kept(command_of(port=port), folder=home, environment=environment, output=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(url):
            if time.monotonic() > deadline or process.poll() is not None:
                raise CampaignError(f"The dashboard must answer on {url} and doesn't. Is the port free? See {home}.")
            time.sleep(0.1)
        yield url, process
    finally:
        stop_kept(process)


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


def run(
    *, refreshes: int = 1000, port: int = 8599, tell: Callable[[str], None] = lambda text: None
) -> list[dict[str, Any]]:
    """A record for each of what people wait for, in seconds, and for what it costs, each beside its goal.

    Args:
        refreshes: Of the map page, over which the server's memory is watched.
        port: Of the dashboard, on loopback.
        tell: Told what is measured.

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
        tell("making campaigns up")
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

            tell("first views")
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
            tell(f"{refreshes} refreshes")
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
            tell("a writer beside it")
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
