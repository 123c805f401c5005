"""The documentation as a site: `make docs`. Pages are plain Markdown; what only a site has is added here."""

import re
import sys
from pathlib import Path

from pydantic import BaseModel
from pygments.lexers.shell import BashLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import glassmap  # noqa: E402

MENU = {
    "Tutorials": ["own-scans", "simulated-system", "lab", "notebook"],
    "How to": [
        *("instruments", "signals", "reading-the-map", "dashboard", "export", "wafers", "quaternaries"),
        *("operations", "gpu", "cluster", "http", "extend"),
    ],
    "Reference": ["campaign-file", "commands", "python", "api", "formats", "store", "exit-codes", "licences"],
    "Explanation": ["method", "delta-q", "networks", "planning", "glossary", "architecture"],
    "Results": ["results"],
}

TITLES = {  # in the menu, of pages that are called by what they tell
    "export": "Results for other programs",
    "operations": "Schedules, budgets, backups",
    "cluster": "A cluster",
    "networks": "The model",
    "planning": "Planning and stopping",
    "architecture": "Architecture",
    "extend": "An own rule, model, backend",
    "wafers": "Sputtered wafers",
    "quaternaries": "Quaternary systems",
    "store": "The store",
    "delta-q": "Δq",
    "reading-the-map": "Reading the map, with doubt",
}

project, author, release = "glassmap", "the authors of glassmap", glassmap.__version__
project_copyright = ""
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["pictures", "records"]
myst_heading_anchors = 4
smartquotes_action = "D"  # dashes; quotes stay as they are, as what is quoted is often typed
default_role = "code"  # of docstrings, which are Markdown in this
autodoc_member_order = "bysource"
autodoc_typehints = "description"

html_theme = "furo"
html_static_path, html_css_files = ["style"], ["site.css"]
html_title = f"glassmap {release}"
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False


def add_what_a_site_has(app: Sphinx, name: str, source: list[str]) -> None:
    """Give the first page the menu, and the page of the API what docstrings say; the README is the first page here."""
    source[0] = re.sub(r"\]\(\.\./README\.md(#[^)]*)?\)", "](index.md)", source[0])
    if name == "index":
        for caption, pages in MENU.items():
            entries = [f"{TITLES[page]} <{page}>" if page in TITLES else page for page in pages]
            source[0] += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""])
    if name == "api":
        for one in glassmap.__all__:
            if one != "__version__":
                source[0] += "\n".join(["", "```{eval-rst}", *_documented(one), "```", ""])


def _documented(name: str) -> list[str]:
    """Return what has autodoc tell of a public name; fields of settings stand on the page of the campaign file."""
    value = getattr(glassmap, name)
    if isinstance(value, dict):
        return [f".. py:data:: glassmap.{name}", "", f"   By name: {', '.join(f'`{key}`' for key in value)}."]
    if not isinstance(value, type):
        return [f".. autofunction:: glassmap.{name}"]
    return [f".. autoclass:: glassmap.{name}", *([] if issubclass(value, BaseModel) else ["   :members:"])]


def keep_colons(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Have napoleon take no attribute's sentence up to its colon for a type, as it does of a first line."""
    if what in ("attribute", "property"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_lexer("console", BashLexer)
    app.add_lexer("csv", TextLexer)
    app.connect("source-read", add_what_a_site_has)
    app.connect("autodoc-process-docstring", keep_colons, priority=100)
