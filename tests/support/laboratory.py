"""A laboratory of a script: it reads orders and drops files, late, partly, twice, cut, renamed and wrong.

What goes wrong with each sample is drawn from the seed, so that two runs with the same orders drop the same files. The
journal tells of every file what should become of it. Each delivery appears in the drop folder at once, or a driver
that looks in the middle of it would see another world than one that looks later.
"""

import json
import shutil
import time
from pathlib import Path

import numpy as np

from glassmap.agent.data.spectrum import two_theta_from_q

CU = 1.540598  # Å
TRUTH_POINTS = 400
FAULTS = (
    *("none",) * 8,
    *("late", "never", "cut, then whole", "twice", "repeated", "renamed", "wrong composition", "no table"),
)
XRDML = """<?xml version="1.0" encoding="UTF-8"?>
<xrdMeasurements xmlns="http://www.xrdml.com/XRDMeasurement/{version}" status="{status}">
 <sample><id>{sample}</id><name></name></sample>
 <xrdMeasurement status="Completed">
  <usedWavelength intended="{line}"><kAlpha1 unit="Angstrom">1.540598</kAlpha1>
   <kAlpha2 unit="Angstrom">1.544426</kAlpha2><kBeta unit="Angstrom">1.39225</kBeta>
   <ratioKAlpha2KAlpha1>0.5</ratioKAlpha2KAlpha1></usedWavelength>
  {scans}
 </xrdMeasurement>
</xrdMeasurements>"""
SCAN = """<scan status="Completed"><dataPoints>
<positions axis="2Theta" unit="deg"><startPosition>{start}</startPosition>
<endPosition>{end}</endPosition></positions><commonCountingTime unit="seconds">{time}</commonCountingTime>{values}
</dataPoints></scan>"""


def true_spectrum(composition: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Counts of a glass whose first peak moves with the first element and widens with the second."""
    q1, delta_q = 2.4 + 0.6 * composition[0], 0.35 + 0.4 * composition[1]
    return 1000 * (0.2 + 1 / (1 + 4 * ((q - q1) / delta_q) ** 2))


def scan_text(composition: np.ndarray, rng: np.random.Generator, kind: str, sample: str = "") -> str:
    """A scan of an alloy over 2θ, as a file of that kind."""
    q = np.linspace(1.0, 5.0, TRUTH_POINTS)
    low, high = two_theta_from_q(q[[0, -1]], wavelength=CU)
    two_theta = np.linspace(low, high, TRUTH_POINTS)
    counts = rng.poisson(true_spectrum(composition, 4 * np.pi / CU * np.sin(np.radians(two_theta / 2))))
    if kind == ".xrdml":
        values = f'<intensities unit="counts">{" ".join(map(str, counts))}</intensities>'
        scan = SCAN.format(start=low, end=high, time=1, values=values)
        return XRDML.format(version="1.6", status="Completed", line="K-Alpha 1", sample=sample, scans=scan)
    separator = "," if kind == ".csv" else " "
    header = "2theta (deg),counts\n" if kind == ".csv" else ""
    return header + "".join(f"{x:.5f}{separator}{y}\n" for x, y in zip(two_theta, counts, strict=True))


def deliver(campaign: Path, drop: Path, journal: Path, *, seed: int) -> bool:
    """Deliver for each new order once; False where there was none."""
    told = json.loads(journal.read_text()) if journal.exists() else {"rounds": [], "files": {}, "late": [], "fates": {}}
    for path in sorted((campaign / "orders").glob("round-*.json")):
        order = json.loads(path.read_text())
        if order["round"] in told["rounds"]:
            continue
        staging = drop.parent / f"staging-{order['round']}"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        _make(order, staging, told, drop / path.stem, np.random.default_rng([seed, order["round"]]))
        told["rounds"].append(order["round"])
        staging.rename(drop / path.stem)
        partial = journal.with_suffix(".partial")
        partial.write_text(json.dumps(told))
        partial.replace(journal)
        return True
    return False


def _make(order: dict, staging: Path, told: dict, place: Path, rng: np.random.Generator) -> None:
    """Everything that is delivered for one order: what was late from the last one, this one's samples, and rubbish."""
    elements, table, own = order["elements"], [], []

    def drop(name: str, text: str | bytes, fate: str) -> None:
        (staging / name).write_bytes(text.encode() if isinstance(text, str) else text)
        told["files"][str(place / name)] = fate

    for name, text in told.pop("late", []):
        drop(name, text, "used")
    told["late"] = []
    for sample in order["samples"]:
        if sample["state"] != "missing":
            continue
        target = np.array([sample[f"{element} (at.%)"] for element in elements]) / 100
        fault = FAULTS[rng.integers(len(FAULTS))]
        told["fates"][sample["sample"]] = fault
        id_, kind = sample["sample"], (".xrdml", ".xy", ".csv")[rng.integers(3)]
        found = target + 0.04 * np.array([1, -1, 0]) if fault == "wrong composition" and target[1] > 0.05 else target
        found = (found + rng.normal(scale=0.001, size=3)).clip(0)
        found = found / found.sum()
        text = scan_text(found, rng, kind, sample=id_)
        row = ",".join([id_, *(f"{100 * share:.3f}" for share in found)])
        match fault:
            case "never":
                continue
            case "late":
                told["late"].append((f"{id_}{kind}", text))
            case "cut, then whole":
                drop(f"{id_}{kind}", text[: len(text) // 2], "quarantined")
                told["late"].append((f"{id_}{kind}", text))
            case "twice":
                drop(f"{id_}{kind}", text, "used")
                drop(f"{id_} - copy{kind}", text, "duplicate")
            case "repeated":
                drop(f"{id_}.xy", scan_text(found, rng, ".xy"), "used")
                drop(f"{id_}.txt", scan_text(found, rng, ".txt"), "used")
            case "renamed":
                name = f"wafer{order['round']}-{id_[-2:]}"
                drop(f"{name}.xy", scan_text(found, rng, ".xy"), "used")
                own.append(",".join([name, *row.split(",")[1:]]))
                continue
            case "no table":
                drop(f"{id_}{kind}", text, "waiting")
                continue
            case _:
                drop(f"{id_}{kind}", text, "used")
        table.append(row)
    extra = rng.dirichlet((2, 2, 2))
    drop(f"extra{order['round']}.xy", scan_text(extra, rng, ".xy"), "used")
    own.append(",".join([f"extra{order['round']}", *(f"{100 * share:.3f}" for share in extra)]))
    header = ",".join(["sample", *(f"{element} (at.%)" for element in elements)])
    drop("edx.csv", "\n".join([header, *table, ""]), "used")
    drop("own.csv", "\n".join([header, *own, ""]), "used")
    drop("notes.pdf", rng.bytes(300), "quarantined")
    drop("bad.csv", f"{header}\nx,10,20,30\n{order['round']},1,1,1\n", "quarantined")
    drop("bomb.xrdml", f'<!DOCTYPE a [<!ENTITY b "{order["round"]}">]><a>&b;</a>', "quarantined")


def work(campaign: Path, drop: Path, journal: Path, seed: int) -> None:
    """Deliver until killed; for a process of its own."""
    while True:
        if not deliver(campaign, drop, journal, seed=seed):
            time.sleep(0.02)
