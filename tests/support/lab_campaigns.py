"""Campaigns in a laboratory, and a hand that measures for them."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.campaigns import TINY
from tests.support.laboratory import deliver, scan_text

ROUNDS = 10

LAB: dict[str, Any] = {
    "kind": "lab",
    "columns": "two_theta",
    "wavelength": 1.540598,
    "minimum_share": 0.4,
    "patience_hours": 0.0,
    "quiet_seconds": 0.0,
}


def write_campaign(folder: Path, **backend: Any) -> Path:
    settings = TINY | {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": LAB | backend,
        "stop": {"max_rounds": ROUNDS, "patience": ROUNDS},
    }
    CampaignConfig.of(settings, source="test").to_toml(folder / FILE_NAME)
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    """Change a setting in the campaign file."""
    text = (folder / FILE_NAME).read_text()
    assert old in text
    (folder / FILE_NAME).write_text(text.replace(old, new))


def deliver_all(folder: Path) -> bool:
    return deliver(folder, folder / "drop", folder.with_name(f"{folder.name}.json"), seed=3)


def order(folder: Path, round_: int = 1) -> list[dict[str, str]]:
    with (folder / "orders" / f"round-{round_:03d}.csv").open() as file:
        return list(csv.DictReader(file))


def drop_scan(folder: Path, sample: dict[str, str], name: str | None = None, shift: float = 0.0) -> np.ndarray:
    """Measure one sample of an order, `shift` (atomic fraction) off its target; returns its composition."""
    composition = np.array([float(sample[f"{e} (at.%)"]) for e in ("Co", "V", "Zr")]) / 100
    composition = composition + np.array([shift, -shift, 0])
    stem = name or sample["sample"]
    text = scan_text(composition, np.random.default_rng(len(stem)), ".xy")
    (folder / "drop" / f"{stem}.xy").write_text(text)
    return composition


def drop_table(folder: Path, compositions: dict[str, np.ndarray], name: str = "edx.csv") -> None:
    lines = [f"{name},{100 * c[0]:.4f},{100 * c[1]:.4f},{100 * c[2]:.4f}" for name, c in compositions.items()]
    (folder / "drop" / name).write_text("\n".join(["sample,Co (at.%),V (at.%),Zr (at.%)", *lines, ""]))


def measure_all(folder: Path, round_: int = 1, skip: int = 0) -> list[str]:
    """Measure a whole order but its first `skip` samples."""
    wanted = [sample for sample in order(folder, round_) if sample["state"] == "missing"][skip:]
    drop_table(folder, {s["sample"]: drop_scan(folder, s) for s in wanted}, f"edx-{round_}.csv")
    return [s["sample"] for s in wanted]


def states(folder: Path) -> dict[str, str]:
    with CampaignStore.read_only(folder) as store:
        return {one.suggestion.id: one.state for r in range(1, 20) for one in store.suggestion_statuses(r)}


def files(folder: Path) -> dict[str, tuple[str, str]]:
    with CampaignStore.read_only(folder) as store:
        return {Path(file.path).name: (file.state, file.reason) for file in store.files()}


def account(folder: Path, journal: Path) -> Counter[str]:
    """Hold the ledger against what the laboratory knows; returns how often each thing went wrong."""
    told = json.loads(journal.read_text())
    with CampaignStore.read_only(folder) as store:
        seen = {str(folder / file.path): file for file in store.files()}
        found, asked = {m.id: m for m in store.measurements()}, store.suggestions()
        status = {
            one.suggestion.id: one.state for r in {s.round for s in asked} for one in store.suggestion_statuses(r)
        }
    assert set(seen) == set(told["files"]), "every file that was dropped, and none besides"
    by_content: dict[str, list[str]] = {}
    for path in sorted(seen):
        by_content.setdefault(seen[path].hash, []).append(path)
    for paths in by_content.values():  # of two names of one content, either may count
        assert sorted(seen[path].state for path in paths) == sorted(told["files"][path] for path in paths), paths
    assert all(file.reason for file in seen.values() if file.state != "used")
    for file in seen.values():
        content = (folder / file.path).read_bytes()
        place = "scans" if file.state in ("used", "waiting") else "quarantine"
        if file.state != "duplicate" and not file.path.endswith(".pdf"):
            kept = [path.read_bytes() for path in (folder / place).iterdir()]
            assert content in kept, f"{file.path} is kept byte for byte"
    used = [file.measurement for file in seen.values() if file.kind == "scan" and file.state == "used"]
    assert sorted(map(str, used)) == sorted(found), "a file for each measurement"
    late = {name.partition(".")[0] for name, _ in told["late"]}
    for id_, fault in told["fates"].items():
        missing = fault in ("never", "no table") or id_ in late
        assert status[id_] == ("missing" if missing else "measured"), (id_, fault)
    assert {s.id for s in asked} == set(told["fates"])
    unsolicited = [m for m in found.values() if m.suggestion is None]
    assert len(unsolicited) >= len(told["rounds"]) - 1
    repeated = [m for m in found.values() if m.suggestion not in (None, m.id)]
    assert len(repeated) == sum(fault == "repeated" for fault in told["fates"].values())
    off = [m for m in found.values() if m.facts.get("off_target_at_pct", 0) > 2]
    assert {told["fates"][str(m.suggestion)] for m in off} <= {"wrong composition"}
    return Counter(told["fates"].values())
