"""The real server in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from glassmap.agent.errors import CampaignError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.dashboard.app import PAGES
from tests.support.browser import FLAGS, find_browser

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
def test_a_browser_shows_every_page_without_an_error(server: str, page, path: str):
    page.goto(f"{server}/{'' if path == 'campaigns' else path}?campaign=waiting")
    page.wait_for_selector("[data-testid=stMain] [data-testid=stMarkdown]")
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    assert page.query_selector_all("[data-testid=stException]") == []
    assert len(page.screenshot()) > 10_000, "something is on it"


def test_a_click_on_the_map_shows_that_alloy_s_spectrum(server: str, page):
    page.goto(f"{server}/map?campaign=converged")
    page.wait_for_selector(ALLOYS, state="attached")
    assert page.get_by_text("Click an alloy on the map").is_visible()
    points = page.query_selector_all(ALLOYS)
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
