"""A campaign that nobody watches: it has spent its budget, and a colleague is to have it."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page


def prepare(folder: Path) -> None:
    places.usual(folder)
    (folder / "elsewhere").mkdir()
    (folder / "examples").mkdir()


PAGE = Page(prepare)
