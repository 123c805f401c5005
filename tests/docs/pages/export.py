"""A finished campaign, whose results are taken elsewhere."""

from pathlib import Path

from tests.docs import places
from tests.docs.blocks import Page
from tests.support.command_line import does


def prepare(folder: Path) -> None:
    campaign = folder / "campaigns" / "co-v-zr"
    places.finished_campaign(campaign)
    for kind in ("parquet", "json"):
        does("export", campaign, "-o", folder / f"co-v-zr.{kind}")


PAGE = Page(prepare)
