"""Every link of the Markdown pages leads somewhere, on a git host as well; `make docs` looks at those of the site."""

import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.docs.blocks import ROOT, script

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


@cache
def parsed(page: Path) -> list[Token]:
    """A page as blocks; those of text have what stands in them as children."""
    return MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text())


def inline(page: Path) -> list[Token]:
    """The tokens of a page that stand in text, those of links and pictures among them."""
    return [token for block in parsed(page) for token in block.children or ()]


@cache
def anchors(page: Path) -> set[str]:
    """What headings are called in an address: lower case, letters, digits and dashes."""
    tokens, found = parsed(page), list[str]()
    for k, token in enumerate(tokens):
        if token.type == "heading_open":
            parts = tokens[k + 1].children or ()
            text = "".join(part.content for part in parts if part.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.append(f"{slug}-{found.count(slug)}" if slug in found else slug)
    return set(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path):
    for token in inline(page):
        address = str(token.attrs.get("href") or token.attrs.get("src") or "")
        if not address or re.match(r"[a-z]+:", address):
            continue
        name, _, anchor = address.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.is_relative_to(ROOT) and target.exists(), f"{page.name}: {address}: no such file"
        assert not anchor or unquote(anchor) in anchors(target), f"{page.name}: {address}: no such heading"


def test_every_picture_says_what_it_shows():
    bare = [
        (page.name, token.attrs["src"])
        for page in PAGES
        for token in inline(page)
        if token.type == "image" and not token.content
    ]
    assert not bare


def test_every_page_stands_once_in_the_menu_and_on_the_first_page():
    menu = [name for names in script("conf").MENU.values() for name in names]
    first_page = {token.attrs.get("href") for token in inline(ROOT / "docs" / "index.md")}
    assert {f"{name}.md" for name in menu} <= first_page
    assert sorted(menu) == sorted({page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"})
