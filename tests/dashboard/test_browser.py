"""The real server in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from matplotlib.image import imread

from glassmap.agent.errors import CampaignError
from glassmap.agent.peaks.figures import DELTA_Q
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.app import PAGES
from glassmap.dashboard.plots import for_print
from glassmap.dashboard.plots.maps import draw_ternary
from glassmap.dashboard.plots.quantities import QUANTITIES
from glassmap.dashboard.plots.ternary import Boundary, positions
from glassmap.dashboard.report import write_report
from tests.support.browser import FLAGS, find_browser

TRIANGLE = """() => {
    const plot = document.querySelector(".js-plotly-plot"), {xaxis: x, yaxis: y} = plot._fullLayout;
    const from = plot.getBoundingClientRect(), origin = [from.x + x._offset + x.l2p(0), from.y + y._offset + y.l2p(0)];
    const notes = [...plot.querySelectorAll(".annotation")].map((note, k) => {
        const box = note.querySelector(".annotation-text-g").getBoundingClientRect();
        const said = plot._fullLayout.annotations[k];
        return {text: note.querySelector("text").textContent, colour: said.font.color, angle: said.textangle,
                middle: [box.x + box.width / 2, box.y + box.height / 2]};
    });
    return {origin, edge: x.l2p(1) - x.l2p(0), notes};
}"""  # of a page with one ternary: where its left corner is, how long an edge is, and what stands around it
ALLOYS = ".st-key-ternary .scatterlayer path.point"  # of the map, first those that nobody sees


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
def test_a_browser_shows_every_page_without_an_error_for_all_who_read_it(server: str, page, path: str):
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.goto(f"{server}/{'' if path == 'campaigns' else path}?campaign=waiting")
    page.wait_for_selector("[data-testid=stMain] [data-testid=stMarkdown]")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    assert page.query_selector_all("[data-testid=stException]") == []
    assert len(page.screenshot()) > 10_000, "something is on it"
    assert _barriers(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    page.get_by_test_id("stExpandSidebarButton").wait_for()
    assert _barriers(page) == [], "on a phone at night"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"


def _barriers(page) -> list[str]:
    """What keeps people from reading a page, such as too little contrast or a picture without words; by axe-core."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:300]} {node['failureSummary'][:300]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def test_a_click_on_the_map_shows_that_alloy_s_spectrum(server: str, page):
    page.goto(f"{server}/map?campaign=converged")
    page.wait_for_selector(ALLOYS, state="attached")
    page.get_by_text("The best candidate; click another").wait_for()
    points = page.query_selector_all(ALLOYS)
    page.wait_for_timeout(1000)  # until the picture has its final size
    box = points[len(points) // 2].bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector(".hoverlayer .hovertext")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.get_by_text("The best candidate; click another").wait_for(state="detached")
    page.get_by_text("These curves as CSV").wait_for()
    assert re.search(r"Zr\d+Cu\d+Al\d+", page.inner_text("[data-testid=stMain]"))
    assert page.get_by_text("fitted first peak, generated").count() == 1


def test_the_ternaries_of_print_and_browser_laid_over_each_other_agree(browser, tmp_path: Path):
    n = 20
    grid = np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)]) / n
    widths = np.where(grid[:, 2] > 0.8, np.nan, 0.3 + 0.5 * grid[:, 0])
    known, elements, limits = (grid[:, 1] < 0.5).astype(float), ("Co", "V", "Zr"), (0.3, 0.8)
    boundary = Boundary(widths, (0.57, 0.4), "widths")
    printed = for_print.draw_peak_maps(
        (grid, widths),
        (grid, widths),
        (grid[:0], widths[:0]),
        quantity=QUANTITIES[DELTA_Q.name],
        elements=elements,
        limits=limits,
        known=known,
        extrapolated="much of the map is extrapolated",
        flagged=grid[:0],
        title="map",
        failure="",
        boundary=boundary,
    )
    for_print.save(printed, tmp_path / "map.png")
    in_print, axes = imread(tmp_path / "map.png")[..., :3], printed.axes[0]
    figure = draw_ternary(
        grid, widths, quantity="delta_q", elements=elements, limits=limits, known=known, boundary=boundary
    )
    (tmp_path / "map.html").write_text(figure.to_html())
    page = browser.new_page(viewport={"width": 700, "height": 700})
    page.goto((tmp_path / "map.html").as_uri())
    page.wait_for_selector(".annotation-text")
    page.screenshot(path=tmp_path / "browser.png")
    on_screen, triangle = imread(tmp_path / "browser.png")[..., :3], page.evaluate(TRIANGLE)
    page.close()

    def to_screen(points: np.ndarray) -> np.ndarray:
        return np.array(triangle["origin"]) + points * np.array([triangle["edge"], -triangle["edge"]])

    def to_print(points: np.ndarray) -> np.ndarray:
        x, y = axes.transData.transform(points).T * len(in_print) / printed.bbox.height
        return np.stack([x, len(in_print) - y], axis=1)

    def mean_colour(picture: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
        return np.array(
            [
                picture[int(y) - reach : int(y) + reach + 1, int(x) - reach : int(x) + reach + 1].mean((0, 1))
                for x, y in at
            ]
        )

    away = ~np.isclose(widths, 0.57, atol=0.03) & ~np.isclose(widths, 0.4, atol=0.03)  # from the lines
    inner = positions(grid[(grid > 0.04).all(axis=1) & (known == 1) & away])
    apart = mean_colour(in_print, to_print(inner), 2) - mean_colour(on_screen, to_screen(inner), 1)
    assert len(inner) > 70 and np.abs(apart).max() < 0.03, "each alloy has the same colour in the same place"
    hatched = positions(grid[(grid > 0.04).all(axis=1) & (known == 0) & away])
    apart = mean_colour(in_print, to_print(hatched), 10) - mean_colour(on_screen, to_screen(hatched), 7)
    assert np.abs(apart).mean() < 0.03, "what is extrapolated is as pale in both"
    printed_texts = {
        (text.get_text(), text.get_color(), text.get_rotation() % 180): axes.transData.inverted().transform(
            text.get_window_extent().get_points().mean(axis=0)
        )
        for text in axes.texts
    }
    shown_texts = {
        (note["text"], note["colour"], -note["angle"] % 180): (np.array(note["middle"]) - triangle["origin"])
        / (triangle["edge"], -triangle["edge"])
        for note in triangle["notes"]
    }
    assert len(printed_texts) == 18 and printed_texts.keys() <= shown_texts.keys(), "texts, inks and slants"
    for key, middle in printed_texts.items():
        assert np.abs(middle - shown_texts[key]).max() < 0.025, f"{key} stands in another place"


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("alloy\nZr50Cu40Al10\nZr60Cu30Al10\n", "known glass formers"),
        ("Zr,Cu\n50,50\n", "Al is missing"),
    ],
)
def test_known_glass_formers_of_the_user_s_are_overlaid_or_refused_in_words(server: str, page, table: str, says: str):
    page.goto(f"{server}/map?campaign=converged")
    page.wait_for_selector(ALLOYS, state="attached")
    page.get_by_text("Known glass formers").first.click()
    file = {"name": "known.csv", "mimeType": "text/csv", "buffer": table.encode()}
    page.locator("input[type=file]").set_input_files(file)
    page.get_by_text(says).first.wait_for()


def test_what_is_committed_shows_without_a_reload(server: str, page, campaigns: Path):
    page.goto(f"{server}/?campaign=waiting")
    page.get_by_text("Waiting for 3 of 5 measurements of round 4").first.wait_for()
    with CampaignStore.amend(campaigns / "waiting", person="somebody") as store, store.transaction():
        store.record_pause("the beam is off")
    page.get_by_text("by somebody: the beam is off").first.wait_for()
    with CampaignStore.amend(campaigns / "waiting", person="somebody") as store, store.transaction():
        store.end_pause()
    page.get_by_text("by somebody: the beam is off").first.wait_for(state="detached")


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


def test_a_report_on_a_phone_cuts_no_table(browser, replayed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glassmap.dashboard.report.draw_pictures", lambda *_: [])
    report, *_ = write_report(replayed, tmp_path / "r.html")
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = "cell => cell.scrollWidth > cell.clientWidth || cell.getBoundingClientRect().right > 390"
    assert page.evaluate(f"[...document.querySelectorAll('td')].filter({cut}).length") == 0
    assert page.get_by_text("Best candidates").count() == 1
    context.close()
