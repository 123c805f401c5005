"""A laboratory's first days: three made-up wafers that exist, then alloys of the whole space."""

import shutil
from pathlib import Path

import numpy as np

from tests.docs import places
from tests.docs.blocks import Page, Reader, edit
from tests.support import lab_campaigns
from tests.support.laboratory import true_spectrum

WAFERS, ALLOYS = Path("campaigns/wafers"), Path("campaigns/co-v-zr")
AT_ONCE = {"backend": {"quiet_seconds": 0.0}, "space": {"step_at_pct": 5}}


def prepare(folder: Path) -> None:
    places.example("made_up_scans").make(folder / "mine")


def deliver(folder: Path, points: slice) -> None:
    """Measure some of the points that the first order asks for."""
    for row in (WAFERS / "orders" / "round-001.csv").read_text().splitlines()[1:][points]:
        shutil.copy(folder / "mine" / "scans" / f"{row.split(',')[2]}.xy", WAFERS / "drop")


def measure(alloy: dict) -> tuple[np.ndarray, np.ndarray]:
    """Stands for a diffractometer."""
    q = np.linspace(1.2, 4.8, 300)
    return q, true_spectrum(np.array([alloy[element] for element in ("Co", "V", "Zr")]) / 100, q)


def check(reader: Reader) -> None:
    stages = (WAFERS / "orders" / "round-001-stage.csv").read_text()
    assert stages.startswith("sample,x,y,wafer\n")
    printed = dict(reader.printed)
    orders = printed[f"glassmap orders {WAFERS}"]
    assert any(f" {wafer}-" in orders for wafer in ("W1", "W2", "W3")), "which point of which wafer"
    assert "Waiting for 12 of 12 measurements of round 2" in printed[f"glassmap status {WAFERS}"].replace("\n", " ")
    assert [*(WAFERS / "maps").iterdir()]


PAGE = Page(
    prepare,
    after=[
        (f"glassmap init {WAFERS}", lambda _: edit(WAFERS, AT_ONCE)),
        (f"glassmap orders {WAFERS}", lambda folder: deliver(folder, slice(1, None))),
        ("cp mine/scans/W2", lambda folder: deliver(folder, slice(1))),
        (
            f"glassmap init {ALLOYS}",
            lambda _: edit(ALLOYS, {**AT_ONCE, "planning": {"batch": 8}, "stop": {"max_rounds": 2}}),
        ),
        (f"glassmap run {ALLOYS}", lambda _: None),
        (f"glassmap run {ALLOYS}", lambda _: lab_campaigns.measure_all(ALLOYS, skip=2)),
    ],
    names={"measure": measure},
    check=check,
)
