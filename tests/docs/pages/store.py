"""store.md: a campaign that has stopped, read without glassmap."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page, Reader


def prepare(folder: Path) -> None:
    """A finished campaign."""
    places.finished_campaign(folder / "campaigns" / "mine")


def check(reader: Reader) -> None:
    """At.% of each measurement sum to 100, and each used spectrum is as long as the axis."""
    names = reader.names
    assert names["measured"][["Co", "V", "Zr"]].sum(axis=1).sub(100).abs().max() < 1e-6
    assert {len(spectrum) for spectrum in names["spectra"]} == {len(names["axis"])} and len(names["curve"]) == 2


PAGE = Page(prepare=prepare, check=check)
