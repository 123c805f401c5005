"""Laboratories that plan wafers: those of a table, or those that a chamber could make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from tests.support.campaigns import TINY
from tests.support.lab_campaigns import LAB

THREE = {"W1": (0.6, 0.2, 0.2), "W2": (0.2, 0.6, 0.2), "W3": (0.2, 0.2, 0.6)}
GUNS = [
    {
        "target": element,
        "azimuth": 120.0 * k,
        "tilt": 30.0,
        "distance": 120.0,
        "rate": 4.0,
        "power": 100.0,
        "powers": [20.0, 200.0],
    }
    for k, element in enumerate(("Co", "V", "Zr"))
]
CHAMBER: dict[str, Any] = {"diameter": 60.0, "edge": 5.0, "pitch": 10.0, "thickness": 200.0, "guns": GUNS}


def write_table(path: Path, wafers: Mapping[str, tuple[float, float, float]], side: int = 5) -> Path:
    """A table of wafers: side x side points each, log-ratios linear over the wafer."""
    y, x = (axis.ravel() for axis in np.mgrid[:side, :side].astype(float))
    lines = ["sample,wafer,x (mm),y (mm),Co (at.%),V (at.%),Zr (at.%)"]
    for name, centre in wafers.items():
        shares = np.exp(np.log(centre) + np.column_stack([x, y, -x - y]) / 4)
        shares *= 100 / shares.sum(axis=1, keepdims=True)
        each = zip(x, y, shares, strict=True)
        lines += [
            f"{k + 1},{name},{10 * a:g},{10 * b:g},{','.join(f'{s:.3f}' for s in row)}"
            for k, (a, b, row) in enumerate(each)
        ]
    path.write_text("\n".join([*lines, ""]))
    return path


def write_lab(folder: Path, **tables: Any) -> Path:
    """A laboratory that plans wafers: those of a table by default."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = TINY | {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB,
        "planning": {"batch": 8, "unit": "wafer"},
        "candidates": {"table": [write_table(folder / "edx.csv", THREE)]},
    }
    settings = {name: value for name, value in (settings | tables).items() if value is not None}
    CampaignConfig.of(settings, source="test").to_toml(folder / FILE_NAME)
    return folder
