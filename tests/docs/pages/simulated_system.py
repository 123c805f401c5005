"""Simulations of a few atoms for a moment: one round of four alloys."""

from pathlib import Path

from tests.docs.blocks import Page, Reader, edit
from tests.support.glasses import TINY_SETTINGS

CAMPAIGN = Path("campaigns/zr-cu-al")
FEW = {"planning": {"batch": 4}, "stop": {"max_rounds": 1}, "backend": {"protocol": TINY_SETTINGS}}


def check(reader: Reader) -> None:
    assert "round 1: MSE after n spectra: 3: " in dict(reader.printed)[f"glassmap run {CAMPAIGN}"]


PAGE = Page(
    lambda folder: None,
    after=[(f"glassmap change {CAMPAIGN}", lambda _: edit(CAMPAIGN, FEW))],
    check=check,
)
