"""What pages find in the folder that a reader begins in: campaigns, data sets, scans. Each is made once and copied."""

import shutil
import tempfile
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np

from tests.support import lab_campaigns
from tests.support.campaigns import run, write_campaign
from tests.support.laboratory import scan_text
from tests.support.small_dataset import write_small_dataset

_MADE = tempfile.TemporaryDirectory(prefix="glassmap-pages-")


def usual(folder: Path) -> None:
    """What a page finds that says nothing else: a data set `data.nc`, and one finished campaign under two names."""
    dataset(folder / "data.nc")
    for name in ("mine", "co-v-zr"):
        finished_campaign(folder / "campaigns" / name)


def finished_campaign(folder: Path) -> None:
    """A replay of Co-V-Zr that spent its budget of two rounds, on a grid of 2 at.%."""
    _copy(_finished(), folder)


def waiting_lab(folder: Path) -> None:
    """A laboratory's campaign of Co-V-Zr that waits for the second of its rounds of eight."""
    _copy(_waiting(), folder)


def dataset(path: Path) -> None:
    """A data set of 150 samples of Co-V-Zr on two wafers, east and west."""
    _copy(_dataset(), path)


def scans(folder: Path, table: Path, *, number: int = 24, kind: str = ".xrdml") -> None:
    """Scans of Co-V-Zr over 2θ (Cu Kα), s001, s002, …, and a table of their compositions.

    As an instrument writes them (.xrdml), or as columns of text that don't say what they are (.xy).
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    lines = ["sample,wafer,Co (at.%),V (at.%),Zr (at.%)"]
    for k, shares in enumerate(rng.dirichlet((2, 2, 2), size=number), start=1):
        (folder / f"s{k:03d}{kind}").write_text(scan_text(shares, rng, kind))
        wafer = "west" if shares[2] > 1 / 3 else "east"
        lines.append(",".join([f"s{k:03d}", wafer, *(f"{100 * share:.3f}" for share in shares)]))
    table.write_text("\n".join([*lines, ""]))


def example(name: str) -> ModuleType:
    """A script of examples/, imported."""
    spec = spec_from_file_location(name, Path(__file__).parents[2] / "examples" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if source.is_dir() else shutil.copy)(source, to)


@cache
def _dataset() -> Path:
    return write_small_dataset(Path(_MADE.name, "small.nc"))


@cache
def _finished() -> Path:
    folder = Path(_MADE.name, "finished")
    write_campaign(folder, _dataset(), name="co-v-zr", space={"step_at_pct": 2}, stop={"max_rounds": 2})
    run(folder)
    return folder


@cache
def _waiting() -> Path:
    folder = lab_campaigns.write_campaign(Path(_MADE.name, "lab"), minimum_share=1.0)
    run(folder)
    lab_campaigns.measure_all(folder)
    run(folder)
    return folder
