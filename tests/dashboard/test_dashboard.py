"""The dashboard: what each page says of campaigns in every state, in AppTest and in a real browser."""

import asyncio
import json
import re
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from glassmap.agent.errors import CampaignError, ModelError, StoreError
from glassmap.agent.maps.spectra_archive import read_archive, read_map
from glassmap.agent.planning.convergence import CurvePoint, expect
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.app import FOLDERS, PAGES
from glassmap.dashboard.data import (
    CampaignSnapshot,
    Unreadable,
    ago,
    best_alloys,
    find_campaigns,
    map_changes,
    marker,
    read_campaign,
    read_last_archive,
    read_last_map,
)
from glassmap.dashboard.live import plain
from glassmap.dashboard.plots.maps import QUANTITIES, colour_range, draw_ternary
from glassmap.dashboard.report import write_report
from glassmap.dashboard.serve import serve_dashboard
from glassmap.flows.cli.app import app
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.browser import FLAGS, find_browser, served
from tests.support.campaigns import write_campaign
from tests.support.made_up import make_campaign

APP = Path(__file__).parents[2] / "dashboard" / "app.py"
QUATERNARY, QUINARY = ("Zr", "Cu", "Al", "Ti"), ("Zr", "Cu", "Al", "Ti", "Ni")


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a campaign in every state, made up but for one that was really run."""
    root = tmp_path_factory.mktemp("campaigns")
    small = partial(make_campaign, step_at_pct=5, rounds=3, batch=5)
    small(root / "converged")
    small(root / "waiting", end="waiting")
    small(root / "failed", end="failed")
    small(root / "quaternary", elements=QUATERNARY)
    small(root / "quinary", elements=QUINARY, step_at_pct=10)
    small(root / "a_rather-long*name of [many] rounds", rounds=30, batch=3, step_at_pct=2)
    (root / "broken").mkdir()
    (root / "broken" / "campaign.db").write_bytes(b"no database" * 100)
    (root / "new").mkdir()
    (root / "new" / "campaign.toml").write_text("")
    return root


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that was really run, with a tiny network."""
    folder = tmp_path_factory.mktemp("replayed") / "small"
    write_campaign(folder, small_dataset, stop={"max_rounds": 2})
    with open_campaign(folder) as campaign:
        advance(campaign)
    return folder


def look(monkeypatch: pytest.MonkeyPatch, folder: Path, page: str, campaign: str | None = None) -> AppTest:
    """A page as somebody would see it."""
    monkeypatch.setenv(FOLDERS, str(folder))
    test = AppTest.from_file(str(APP), default_timeout=60)
    if campaign is not None:
        test.query_params["campaign"] = campaign
    test.run()
    if page != "campaigns":
        test.switch_page(f"views/{page}.py").run()
    assert not test.exception, test.exception
    return test


def words(test: AppTest) -> str:
    """All that is written on a page."""
    kinds = (test.markdown, test.caption, test.info, test.warning, test.error)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def known(folder: Path) -> CampaignSnapshot:
    """A campaign that can be read."""
    campaign = read_campaign(folder)
    assert isinstance(campaign, CampaignSnapshot)
    return campaign


# --- what is read


def test_campaigns_are_found_in_their_folder_and_in_its_parent(campaigns: Path):
    inside = find_campaigns([campaigns])
    assert {folder.name for folder in inside} >= {"converged", "waiting", "failed", "broken", "new"}
    assert find_campaigns([campaigns / "waiting", campaigns / "waiting"]) == [(campaigns / "waiting").resolve()]


@pytest.mark.parametrize(
    ("name", "state", "says"),
    [
        ("converged", "converged", "Converged after 12 spectra"),
        ("waiting", "waiting", "Waiting for 3 of 5 measurements of round 4 since"),
        ("failed", "failed", "LAMMPS is not there"),
    ],
)
def test_a_campaign_says_in_words_where_it_stands(campaigns: Path, name: str, state: str, says: str):
    campaign = known(campaigns / name)
    assert campaign.state == state and says in campaign.status.reason
    assert campaign.needs_person == (state == "failed")


@pytest.mark.parametrize(("name", "state", "says"), [("broken", "broken", "Restore"), ("new", "new", "glassmap run")])
def test_what_can_t_be_read_says_why_and_what_to_do(campaigns: Path, name: str, state: str, says: str):
    found = read_campaign(campaigns / name)
    assert isinstance(found, Unreadable) and found.state == state and says in found.reason


def test_nobody_at_a_campaign_that_could_go_on_is_told_from_running(small_dataset: Path, tmp_path: Path):
    write_campaign(tmp_path, small_dataset)
    with open_campaign(tmp_path) as campaign:
        campaign.store.start_stage(1, "plan")
        assert known(tmp_path).state == "running"
    assert known(tmp_path).state == "idle"


def test_the_marker_changes_with_every_commit_and_only_then(campaigns: Path):
    folder = campaigns / "converged"
    before = marker(folder)
    assert marker(folder) == before
    with CampaignStore.amend(folder, person="somebody") as store, store.transaction():
        store.log("looked")
    assert marker(folder) != before


def test_best_alloys_are_surely_wide_and_meet_the_filters(campaigns: Path):
    campaign = known(campaigns / "converged")
    map_ = read_last_map(campaign)
    assert map_ is not None
    table = best_alloys(
        campaign.elements, map_, ranges_at_pct={"Zr": (20, 50)}, most_spread=0.02, least_distance=3, most_distance=9
    )
    assert len(table) and table["at_least"].is_monotonic_decreasing
    assert table["Zr"].between(20, 50).all() and max(table["delta_q_spread"]) <= 0.02
    assert table["distance"].between(3, 9).all()
    np.testing.assert_allclose(table["at_least"], table["delta_q"] - 2 * table["delta_q_spread"], atol=1e-6)
    assert best_alloys(campaign.elements, map_, ranges_at_pct={"Zr": (99, 100)}).empty


def test_maps_of_consecutive_rounds_are_compared(campaigns: Path):
    changes = map_changes(known(campaigns / "converged"), [1, 2, 3])
    assert set(changes) == {2, 3}, "the first has none before it"
    assert all(0 < mean <= largest for mean, largest in changes.values())
    assert changes[3][0] < changes[2][0]


def test_times_are_said_as_people_do():
    now = datetime.now(UTC)
    assert [ago(now - timedelta(minutes=minutes)) for minutes in (0, 1, 125, 60 * 24 * 3)] == [
        "just now",
        "1 minute ago",
        "2 hours ago",
        "3 days ago",
    ]


# --- the archive, and what is expected


def test_the_archive_of_a_round_holds_what_its_model_says(replayed: Path):
    campaign = known(replayed)
    archive = read_last_archive(campaign)
    assert archive is not None and archive.round == 2
    assert len(archive.generated) == 171 + len(archive.measured.ids), "a small space is kept whole"
    row = archive.row_of(np.array([0.3, 0.4, 0.3]))
    assert row is not None and archive.row_of(np.array([0.301, 0.4, 0.299])) is None
    held = np.flatnonzero(archive.measured.hold_out).tolist()
    mse = [np.mean((archive.view(archive.row_beside(k)).mean - archive.measured.intensity[k]) ** 2) for k in held]
    np.testing.assert_allclose(mse, archive.mse[held], rtol=0.02, atol=0.01)  # of three digits
    np.testing.assert_allclose(np.mean(archive.mse[held]), campaign.curve[-1].mse, rtol=1e-2)
    assert [path.name for path in (replayed / "maps").glob("*.h5")] == ["round-002.h5"], "the one before is gone"


def test_the_fit_in_the_archive_is_a_peak_of_the_width_on_the_map(replayed: Path):
    campaign = known(replayed)
    archive = read_last_archive(campaign)
    assert archive is not None
    found = np.flatnonzero(np.isfinite(archive.measured.q1))
    assert len(found)
    for k in found[:20]:
        fit = archive.measured.fit[k]
        inside = np.isfinite(fit)
        top = campaign.axis[inside][np.argmax(fit[inside])]
        assert abs(top - archive.measured.q1[k]) < 0.5 * archive.measured.delta_q[k]
        assert np.abs(fit - archive.measured.intensity[k])[inside].mean() < 10


def test_no_archive_and_no_map_are_said_in_words(tmp_path: Path):
    (tmp_path / "x").write_bytes(b"no archive")
    with pytest.raises(ModelError, match="is no archive"):
        read_archive(tmp_path / "x")
    with pytest.raises(ModelError, match="is no map"):
        read_map(tmp_path / "x")


def test_another_batch_is_expected_to_bring_what_the_power_law_says():
    curve = [CurvePoint(k, 20 * k, 1000 / (20 * k), 0.0, None, None, None) for k in range(1, 6)]
    forecast = expect(curve, 200)
    assert forecast is not None
    np.testing.assert_allclose(forecast, 5.0, rtol=1e-6)
    assert expect(curve[:2], 60) is None
    worse = [point._replace(mse=point.spectra) for point in curve]
    forecast = expect(worse, 200)
    assert forecast is not None and forecast.mse < 200, "more spectra aren't expected to harm"


# --- the pages


def test_the_first_page_has_every_campaign_and_who_needs_a_person_first(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    test = look(monkeypatch, campaigns, "campaigns")
    said = words(test)
    titles = [element.value for element in test.markdown if element.value.startswith("#####")]
    assert len(titles) == 8 and "failed" in titles[0] and "converged" in titles[-1]
    assert "Waiting for 3 of 5 measurements of round 4 since" in said
    assert re.search(r"Δq is largest at\*\* Zr\d+Cu\d+Al\d+: 0\.\d+ ± 0\.\d+ Å⁻¹", said)
    assert re.search(r"Measured next:\*\* 3 of round 4: Zr", said)
    assert "glassmap run" in said and "Restore it from a copy" in said


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    "name",
    ["converged", "waiting", "failed", "quaternary", "quinary", "broken", "new", "a_rather-long*name of [many] rounds"],
)
def test_every_page_can_show_every_campaign(monkeypatch: pytest.MonkeyPatch, campaigns: Path, page: str, name: str):
    test = look(monkeypatch, campaigns, page, campaign=name)
    assert words(test)


def test_progress_says_what_it_cost_and_what_a_batch_would_bring(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "progress", campaign="waiting")
    metrics = {metric.label: metric.value for metric in test.metric}
    assert metrics["expected of 5 more"].endswith(" %") and metrics["spectra"] == "17"
    test.toggle(key="log").set_value(True).run()
    test.toggle(key="simpler").set_value(True).run()
    assert not test.exception


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_map_shows_each_quantity(monkeypatch: pytest.MonkeyPatch, campaigns: Path, quantity: str):
    test = look(monkeypatch, campaigns, "map", campaign="converged")
    test.selectbox(key="quantity").set_value(quantity).run()
    assert not test.exception and len(test.get("plotly_chart")) == 1


def test_a_quaternary_is_sliced_and_shown_as_a_cloud(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "map", campaign="quaternary")
    test.multiselect(key="fixed").set_value(["Cu"]).run()
    assert not test.exception and [slider.label for slider in test.select_slider] == ["Cu (at.%)"]
    test.segmented_control(key="view").set_value("cloud").run()
    assert not test.exception and "largest" in words(test)


def test_an_alloy_is_looked_at_by_name_and_by_rank_in_the_hold_out(monkeypatch: pytest.MonkeyPatch, replayed: Path):
    test = look(monkeypatch, replayed, "spectra")
    assert "Type an alloy" in words(test)
    test.text_input[0].set_value("Co30V40Zr30").run()
    assert "**Co30V40Zr30**" in words(test) and len(test.get("plotly_chart")) == 1
    test.text_input[0].set_value("Co30V40").run()
    assert test.error and not test.exception
    for way in ("best held out", "median held out", "worst held out"):
        test.segmented_control(key="way").set_value(way).run()
        assert not test.exception and test.metric[0].label == "MSE of its generated spectrum"
    test.segmented_control(key="axis").set_value("2θ").run()
    assert not test.exception and test.number_input[0].value == pytest.approx(1.5406)


def test_a_spectrum_that_isn_t_kept_names_the_command_that_makes_it(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "spectra", campaign="converged")
    test.text_input[0].set_value("Zr33Cu33Al34").run()
    assert f"glassmap generate {campaigns / 'converged'} Zr33Cu33Al34" in words(test)


def test_the_log_is_filtered(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "rounds", campaign="waiting")
    test.multiselect(key="events").set_value(["planned"]).run()
    assert "4 of " in words(test) and set(test.dataframe[1].value["what"]) == {"planned"}


def test_pages_show_text_as_it_is():
    assert plain("a_b *c* [d](e) `f_g` $x$") == r"a\_b \*c\* \[d\](e) `f_g` \$x\$"


def test_a_folder_without_campaigns_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert "There is no campaign in" in words(look(monkeypatch, tmp_path, "campaigns"))


def test_nobody_sees_a_page_before_logging_in_where_a_login_is_configured(
    monkeypatch: pytest.MonkeyPatch, campaigns: Path
):
    monkeypatch.setenv(FOLDERS, str(campaigns))
    test = AppTest.from_file(str(APP), default_timeout=60)
    test.secrets["auth"] = {"client_id": "x"}
    test.run()
    assert not test.exception and [button.label for button in test.button] == ["Log in"] and not test.markdown


def test_pages_change_nothing_in_a_campaign(monkeypatch: pytest.MonkeyPatch, replayed: Path):
    before = {path: path.read_bytes() for path in replayed.rglob("*") if path.is_file()}
    for page in PAGES:
        look(monkeypatch, replayed, page)
    for path, content in before.items():
        assert path.read_bytes() == content, path
    with CampaignStore.read_only(replayed) as store, pytest.raises(sqlite3.OperationalError, match="readonly"):
        store.log("looked")


def test_neither_torch_nor_prefect_is_loaded():
    modules = "glassmap.dashboard.alloy, glassmap.dashboard.live, glassmap.dashboard.report, glassmap.simulation.result"
    modules += ", glassmap.agent.models.baselines"
    code = f"import sys, {modules}; print(sorted({{'torch', 'prefect', 'dask', 'glassmap.flows'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_round_is_never_half_on_screen_while_a_campaign_runs(small_dataset: Path, tmp_path: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 4, "tolerance": 0.001})
    run = "import sys; from pathlib import Path; from glassmap.flows.rounds.loop import *\n"
    run += "from glassmap.flows.rounds.campaign import open_campaign\n"
    run += "with open_campaign(Path(sys.argv[1])) as campaign: advance(campaign)"
    process = subprocess.Popen([sys.executable, "-c", run, str(tmp_path)])
    seen = set()
    try:
        while process.poll() is None:
            campaign = read_campaign(tmp_path)
            if isinstance(campaign, Unreadable):
                assert campaign.state == "new", campaign.reason
                continue
            seen.add(len(campaign.curve))
            learned = [m for m in campaign.measured if not m.hold_out]
            assert len(campaign.coverage) == campaign.round_at_work
            assert all(point.spectra <= len(learned) for point in campaign.curve)
            assert set(campaign.decisions) <= {point.round for point in campaign.curve}
            assert set(campaign.maps) <= {point.round for point in campaign.curve}
    finally:
        process.kill()
    assert process.returncode == 0 and len(seen) > 2


# --- figures


def test_corners_of_a_ternary_go_counter_clockwise_from_the_top():
    corners = np.eye(3)
    figure = draw_ternary(
        corners, np.array([1.0, 2.0, np.nan]), quantity="q1", elements=("Zr", "Cu", "Al"), limits=(1, 2)
    )
    layout = json.loads(str(figure.to_json()))["layout"]["ternary"]
    titles = [layout[axis]["title"]["text"] for axis in ("aaxis", "baxis", "caxis")]
    assert titles == ["Zr (at.%)", "Cu (at.%)", "Al (at.%)"]
    assert list(figure["data"][0]["c"]) == [100], "an alloy without a peak is grey"
    assert list(figure["data"][1]["a"]) == [100, 0]


def test_a_slice_is_labelled_by_what_remains():
    figure = draw_ternary(
        0.8 * np.eye(3), np.ones(3), quantity="delta_q", elements=("Zr", "Cu", "Al"), limits=(0, 1), sum_at_pct=80
    )
    layout = json.loads(str(figure.to_json()))["layout"]
    assert layout["ternary"]["sum"] == 80 and "of the remaining 80 %" in layout["annotations"][0]["text"]
    assert layout["ternary"]["aaxis"]["tickvals"] == [16, 32, 48, 64]
    assert layout["ternary"]["aaxis"]["ticktext"] == ["20", "40", "60", "80"]


def test_a_colour_range_leaves_out_the_outermost_and_holds_for_a_constant():
    assert colour_range(np.array([np.nan, *range(101)])) == (1, 99)
    assert colour_range(np.array([np.nan, 2.0, 2.0])) == (1.5, 2.5)
    assert colour_range(np.array([np.nan])) == (0, 1)


def test_the_report_is_one_file_that_needs_nothing_else(replayed: Path, tmp_path: Path):
    done = CliRunner().invoke(app, ["report", str(replayed), "-o", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    page = (tmp_path / "r.html").read_text()
    assert "Best candidates" in page and "Generated against measured" in page and page.count("Plotly.newPlot") >= 9
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="?http', page)
    names = {path.name for path in (tmp_path / "r-figures").iterdir()}
    expected = {"learning-curve", "delta-q-map", "q1-map", "examples"}
    assert names == {f"{name}.{ending}" for name in expected for ending in ("png", "svg")}


@pytest.mark.parametrize("name", ["waiting", "failed", "quaternary", "quinary"])
def test_a_report_can_be_written_of_any_campaign_that_has_begun(campaigns: Path, tmp_path: Path, name: str):
    assert write_report(campaigns / name, tmp_path / "r.html")[0].exists()


def test_there_is_no_report_of_what_can_t_be_read(campaigns: Path, tmp_path: Path):
    with pytest.raises(StoreError, match="nothing to report"):
        write_report(campaigns / "new", tmp_path / "r.html")


# --- the real server, in a real browser


@pytest.fixture(scope="module")
def server(campaigns: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard of all campaigns on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with served([campaigns], home=tmp_path_factory.mktemp("server"), port=port) as (url, _):
        yield url


def test_a_port_that_is_taken_is_said(server: str, campaigns: Path):
    with pytest.raises(CampaignError, match="give another --port"):
        serve_dashboard([campaigns], port=int(server.rsplit(":", 1)[1]))


@pytest.mark.parametrize(
    ("host", "origin", "is_let_in"),
    [
        (None, None, True),
        ("evil.example", "http://evil.example", False),
        (None, "http://evil.example", False),
    ],
)
def test_foreign_pages_and_names_are_refused(server: str, host: str | None, origin: str | None, is_let_in: bool):
    address, port = server.removeprefix("http://").split(":")
    own = f"{address}:{port}"

    async def answer() -> str:
        reader, writer = await asyncio.open_connection(address, int(port))
        lines = [
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {host or own}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            f"Origin: {origin or server}",
        ]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await writer.drain()
        line = (await reader.readline()).decode()
        writer.close()
        return line

    assert ("101" in asyncio.run(answer())) == is_let_in


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, driven by Playwright."""
    try:
        path = find_browser()
    except CampaignError as error:
        pytest.skip(str(error))
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser) -> Iterator:
    """A page that notes what is asked of anybody but the dashboard, and every error of its scripts."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.foreign, page.errors = [], []
    page.on("request", lambda r: page.foreign.append(r.url) if re.match("http(?!://127.0.0.1:)", r.url) else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    yield page
    assert page.foreign == [] and page.errors == []
    context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_shows_every_page_without_an_error(server: str, page, path: str):
    page.goto(f"{server}/{'' if path == 'campaigns' else path}?campaign=waiting")
    page.wait_for_selector("[data-testid=stMain] [data-testid=stMarkdown]")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    assert page.query_selector_all("[data-testid=stException]") == []
    assert len(page.screenshot()) > 10_000, "something is on it"


def test_a_click_on_the_map_shows_that_alloy_s_spectrum(server: str, page):
    page.goto(f"{server}/map?campaign=converged")
    page.wait_for_selector(".ternarylayer path.point")
    assert page.get_by_text("Click an alloy on the map").is_visible()
    points = page.query_selector_all(".ternarylayer .scatterlayer > g:first-child path.point")
    page.wait_for_timeout(1000)  # until the picture has its final size
    box = points[len(points) // 2].bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_text("These curves as CSV").wait_for()
    assert re.search(r"Zr\d+Cu\d+Al\d+", page.inner_text("[data-testid=stMain]"))
    assert page.get_by_text("fitted first peak, generated").count() == 1


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("alloy\nZr50Cu40Al10\nZr60Cu30Al10\n", "known glass formers"),
        ("Zr,Cu\n50,50\n", "Al is missing"),
    ],
)
def test_known_glass_formers_of_the_user_s_are_overlaid_or_refused_in_words(server: str, page, table: str, says: str):
    page.goto(f"{server}/map?campaign=converged")
    page.wait_for_selector(".ternarylayer path.point")
    page.get_by_text("Known glass formers").first.click()
    file = {"name": "known.csv", "mimeType": "text/csv", "buffer": table.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text(says).first.wait_for()


def test_what_is_committed_shows_without_a_reload(server: str, page, campaigns: Path):
    page.goto(f"{server}/?campaign=waiting")
    page.get_by_text("Waiting for 3 of 5 measurements of round 4").first.wait_for()
    with CampaignStore.amend(campaigns / "waiting", person="somebody") as store, store.transaction():
        store.record_setting("paused", "by somebody")
    page.get_by_text("Paused by somebody").first.wait_for()
    with CampaignStore.amend(campaigns / "waiting", person="somebody") as store, store.transaction():
        store.record_setting("paused", None)
    page.get_by_text("Paused by somebody").first.wait_for(state="detached")


def test_a_phone_at_night_shows_state_and_what_is_next(server: str, browser):
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = context.new_page()
    page.goto(server)
    page.get_by_text("Measured next").first.wait_for(timeout=60_000)
    first = page.locator("[data-testid=stMain]").inner_text()
    assert "failed" in first and "needs you" in first
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390, "nothing sticks out"
    context.close()
