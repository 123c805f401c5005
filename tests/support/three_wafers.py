"""A laboratory whose alloys exist already: three wafers with 441 points each, numbered alike on all of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from tests.support.campaigns import TINY
from tests.support.lab_campaigns import LAB
from tests.support.laboratory import scan_text

WAFERS = ("W1", "W2", "W3")
HEADER = "sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)"


def rows_of(wafer: str) -> list[tuple[str, str, float, float, np.ndarray]]:
    """The 441 points of a wafer: number, wafer, place, composition."""
    tilt = WAFERS.index(wafer)
    rows = []
    for k in range(441):
        x, y = 3.0 * (k % 21 - 10), 3.0 * (k // 21 - 10)
        shares = np.exp([x / 25, (y - 12 * tilt) / 25, 0.4 * tilt - x / 60])
        rows.append((str(k + 1), wafer, x, y, np.round(shares / shares.sum(), 5)))
    return rows


def write_table(path: Path, wafers: Sequence[str] = WAFERS, other: Mapping[str, np.ndarray] = {}) -> None:
    """An EDX table; `other` says the composition of points by wafer and number, such as W1-7."""
    lines = [HEADER]
    for number, wafer, x, y, shares in (row for one in wafers for row in rows_of(one)):
        found = other.get(f"{wafer}-{number}", shares)
        lines.append(f"{number},{wafer},{x},{y}," + ",".join(f"{100 * s:.3f}" for s in found / found.sum()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*lines, ""]))


def write_lab(folder: Path, *, rounds: int = 3, **changes: Any) -> Path:
    write_table(folder / "edx.csv")
    settings = TINY | {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB,
        "candidates": {"table": "edx.csv"},
        "stop": {"max_rounds": rounds, "patience": rounds},
    }
    settings = {name: value for name, value in (settings | changes).items() if value is not None}
    CampaignConfig.of(settings, source="test").to_toml(folder / FILE_NAME)
    (folder / "drop").mkdir(exist_ok=True)
    return folder


def composition(wafer: str, number: str) -> np.ndarray:
    return rows_of(wafer)[int(number) - 1][4]


def drop(folder: Path, name: str, shares: np.ndarray, seed: int = 0) -> None:
    path = folder / "drop" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(scan_text(shares, np.random.default_rng(seed), ".xy"))


def deliver(folder: Path, told: dict[str, tuple[str, str]], *, spared: int = 5) -> bool:
    """Measure what was ordered since, but for some; False where nothing new was ordered.

    Args:
        folder: The campaign's.
        told: Wafer and number of all that was ordered so far, by its id; what is new is added.
        spared: One of so many isn't measured; 1 for none.
    """
    new = False
    for path in sorted((folder / "orders").glob("round-???.json")):
        for k, one in enumerate(json.loads(path.read_text())["samples"]):
            if one["sample"] in told:
                continue
            new = True
            told[one["sample"]] = one["wafer"], one["point"]
            if k % spared == spared - 1 > 0:
                continue
            name = one["sample"] if k % 2 else f"{one['wafer']}-{one['point']}"
            drop(folder, f"{name}.xy", composition(one["wafer"], one["point"]), seed=len(told))
    return new
