"""What a laboratory waits for that drops a wafer: its scans and table taken in, and a look at scans that wait.

The files are made up, 1,000 points over 2θ each, and lie in the drop folder of a campaign of their own.
"""

import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.measure import receive

POINTS = 1000
ELEMENTS = ("Co", "V", "Zr")
SETTINGS: dict[str, Any] = {
    "name": "drop",
    "device": "cpu",
    "space": {"elements": ELEMENTS, "step_at_pct": 5},
    "spectrum": {"low": 1.5, "high": 4.5, "points": 400},
    "backend": {"kind": "lab", "columns": "two_theta", "wavelength": 1.540598, "quiet_seconds": 0.0},
}


def run(
    *,
    sizes: Sequence[int] = (200, 2000),
    on_record: Callable[[dict[str, Any]], None] = lambda record: None,
) -> list[dict[str, Any]]:
    """One record a number of scans: seconds, and of the first also of one core, that each look takes.

    `taken` is the scans with their table, `waiting` the scans before it came, `look` the look at all that wait, and
    `table` the table that names them.
    """
    records = []
    for n in sizes:
        record: dict[str, Any] = {"scans": n}
        with tempfile.TemporaryDirectory() as name, _campaign(Path(name) / "at-once") as campaign:
            make_wafer(campaign.store.folder / "drop", n)
            begun = time.process_time()
            record["taken"] = _time(campaign)
            record["taken_cpu"] = time.process_time() - begun
            assert campaign.store.n_spectra() == n
        with tempfile.TemporaryDirectory() as name, _campaign(Path(name) / "apart") as campaign:
            make_wafer(drop := campaign.store.folder / "drop", n)
            (drop / "edx.csv").rename(table := drop.parent / "edx.csv")
            record["waiting"], record["look"] = _time(campaign), _time(campaign)
            table.rename(drop / table.name)
            record["table"] = _time(campaign)
            assert campaign.store.n_spectra() == n
        record["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        records.append(record)
        on_record(record)
    return records


def make_wafer(folder: Path, n: int) -> None:
    """Write `n` scans over 2θ, `s0001.xy` and so on, and the table of what they are of."""
    rng = np.random.default_rng(0)
    two_theta = np.linspace(15, 80, POINTS)
    shares = rng.dirichlet((2, 2, 2), size=n).round(4)
    lines = ["sample,Co (at.%),V (at.%),Zr (at.%)"]
    for k, (cobalt, vanadium, _) in enumerate(shares, start=1):
        peak = 100 + 900 * np.exp(-(((two_theta - 36 - 6 * cobalt) / (4 + 2 * vanadium)) ** 2))
        pairs = zip(two_theta, rng.poisson(peak), strict=True)
        (folder / f"s{k:04d}.xy").write_text("".join(f"{x:.4f} {y}\n" for x, y in pairs))
        lines.append(f"s{k:04d},{100 * cobalt:.2f},{100 * vanadium:.2f},{100 - 100 * cobalt - 100 * vanadium:.2f}")
    (folder / "edx.csv").write_text("\n".join([*lines, ""]))


def _campaign(folder: Path) -> Any:
    CampaignConfig.of(SETTINGS, source="benchmark").to_toml(folder / FILE_NAME)
    return open_campaign(folder)


def _time(campaign: OpenCampaign) -> float:
    begun = time.perf_counter()
    receive(campaign)
    return time.perf_counter() - begun
