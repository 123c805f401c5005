"""reading-the-map.md: a campaign that has stopped."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page, Reader


def prepare(folder: Path) -> None:
    """A finished campaign."""
    places.finished_campaign(folder / "campaigns" / "mine")


def check(reader: Reader) -> None:
    """An alloy is said with the four things that the page looks at."""
    (said,) = reader.printed
    assert all(words in said.output for words in ("±", "The nearest alloy learned from is", "known", "P(glass)"))


PAGE = Page(prepare=prepare, check=check)
