"""A folder of an instrument's scans and a table of their compositions."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page


def prepare(folder: Path) -> None:
    places.scans(folder / "scans", folder / "table.csv")


PAGE = Page(prepare)
