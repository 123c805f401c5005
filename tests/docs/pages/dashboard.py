"""Finished campaigns."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page


def prepare(folder: Path) -> None:
    places.finished_campaign(folder / "campaigns" / "co-v-zr")


PAGE = Page(prepare)
