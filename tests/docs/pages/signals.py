"""Distribution functions as columns of text, and their table."""

from pathlib import Path

import numpy as np

from tests.docs.blocks import Page, Reader


def prepare(folder: Path) -> None:
    (folder / "pdf").mkdir()
    r, rng = np.linspace(1, 10, 91), np.random.default_rng(0)
    rows = ["sample,Zr (at.%),Cu (at.%),Al (at.%)"]
    for k, shares in enumerate(rng.dirichlet((2, 2, 2), size=24)):
        g = 1 + np.exp(-(((r - 2.5 - 0.5 * shares[0]) / 0.2) ** 2)) * (r > 2)
        np.savetxt(folder / "pdf" / f"s{k}.xy", np.stack([r, g], axis=1), fmt="%.4f")
        rows.append(f"s{k}," + ",".join(f"{100 * share:.3f}" for share in shares))
    (folder / "table.csv").write_text("\n".join(rows) + "\n")


def check(reader: Reader) -> None:
    assert reader.names["inside"].shape == (60, 301) and reader.names["spread"].min() > 0
    assert reader.names["errors"].mean() < 10, "of a band that moves by 40 cm⁻¹"


PAGE = Page(prepare, check=check)
