"""A laboratory with the chamber of the page, whose first wafer is ordered."""

import tomllib
from pathlib import Path

from tests.docs.blocks import PAGES, Page, blocks_of, edit
from tests.support import lab_campaigns
from tests.support.campaigns import run


def prepare(folder: Path) -> None:
    campaign = lab_campaigns.write_campaign(folder / "campaigns" / "co-v-zr")
    chamber = next(block.text for block in blocks_of(PAGES["wafers.md"].read_text()) if block.language == "toml")
    edit(campaign, tomllib.loads(chamber))
    run(campaign)


PAGE = Page(prepare)
