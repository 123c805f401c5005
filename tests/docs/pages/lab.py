"""A laboratory's first days: three wafers that exist, then alloys of the whole space."""

from pathlib import Path

import numpy as np

from tests.docs.blocks import Page, Reader, edit
from tests.support import lab_campaigns
from tests.support.laboratory import true_spectrum
from tests.support.three_wafers import deliver, write_table

WAFERS, ALLOYS = Path("campaigns/wafers"), Path("campaigns/co-v-zr")
IN_A_HURRY = {"planning": {"batch": 8}, "backend": {"quiet_seconds": 0.0}, "space": {"step_at_pct": 5}}


def prepare(folder: Path) -> None:
    write_table(folder / "edx.csv")


def measure(alloy: dict) -> tuple[np.ndarray, np.ndarray]:
    """Stands for a diffractometer."""
    q = np.linspace(1.2, 4.8, 300)
    return q, true_spectrum(np.array([alloy[element] for element in ("Co", "V", "Zr")]) / 100, q)


def check(reader: Reader) -> None:
    stages = (WAFERS / "orders" / "round-001-stage.csv").read_text()
    assert stages.startswith("sample,x,y,wafer\n")
    printed = dict(reader.printed)
    orders = printed[f"glassmap orders {WAFERS}"]
    assert any(f" {wafer} " in orders for wafer in ("W1", "W2", "W3")), "which point of which wafer"
    assert "Waiting for 8 of 8 measurements of round 2" in printed[f"glassmap status {WAFERS}"].replace("\n", " ")
    assert [*(WAFERS / "maps").iterdir()]


PAGE = Page(
    prepare,
    after=[
        (f"glassmap init {WAFERS}", lambda _: edit(WAFERS, IN_A_HURRY)),
        (f"glassmap orders {WAFERS}", lambda _: deliver(WAFERS, {}, spared=1)),
        (f"glassmap init {ALLOYS}", lambda _: edit(ALLOYS, {**IN_A_HURRY, "stop": {"max_rounds": 2}})),
        (f"glassmap run {ALLOYS}", lambda _: None),
        (f"glassmap run {ALLOYS}", lambda _: lab_campaigns.measure_all(ALLOYS, skip=2)),
    ],
    edits={"[candidates]": str(WAFERS)},
    names={"measure": measure},
    check=check,
)
