"""The data set of a quaternary system that comes with the package."""

from pathlib import Path

from tests.docs.blocks import ROOT, Page, edit

CAMPAIGN = Path("campaigns/zr-cu-ni-al")


def prepare(folder: Path) -> None:
    (folder / "simulation").symlink_to(ROOT / "simulation")


def hurry(folder: Path) -> None:
    edit(CAMPAIGN, {"space": {"step_at_pct": 10}, "stop": {"max_rounds": 1}})


PAGE = Page(prepare, after=[(f"glassmap init {CAMPAIGN}", hurry)])
