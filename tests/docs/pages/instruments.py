"""Ten scans of an instrument, one of another kind, and their table."""

import shutil
from pathlib import Path

import numpy as np

from tests.docs import places
from tests.docs.blocks import Page


def prepare(folder: Path) -> None:
    places.scans(folder / "first", folder / "table.csv", number=10)
    shutil.copy(folder / "first" / "s001.xrdml", folder / "first.xrdml")
    kev = np.arange(20, 80, 0.1)
    np.savetxt(folder / "first.mca", np.stack([kev, 1000 + 50 * kev], axis=1), fmt="%.2f")


PAGE = Page(prepare)
