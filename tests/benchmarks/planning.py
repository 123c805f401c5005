"""How well, how fast and in how much memory `plan_batch` plans a first batch; `python -m tests.benchmarks planning`.

Every run has a process of its own, so that none inherits the memory or the warm caches of another.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.planning.acquisition import RULES, plan_batch

ELEMENTS = ("Co", "V", "Zr", "Al", "Cu", "Ni", "Fe", "Ti")  # the planner sees numbers; any symbols would do


def run(
    elements_counts: Sequence[int] = (3, 4, 5),
    batch: int = 20,
    methods: Sequence[str] = tuple(rule.name for rule in RULES.values() if not rule.needs_model),
    seeds: Sequence[int] = (0, 1, 2),
) -> list[dict[str, Any]]:
    """Plan a first batch on interior 1 at.% grids, one record per run.

    Args:
        elements_counts: Numbers of elements, 2 to 8.
        batch: Alloys per batch.
        methods: Acquisition methods.
        seeds: Seeds of each.

    Returns:
        Records with `elements`, `method`, `batch`, `seconds` (building the space included), `peak_mib` (resident
        memory of the whole process), `separation`, `worst` and `mean` (at.%).
    """
    runs = [(n, batch, method, seed) for n in elements_counts for method in methods for seed in seeds]
    return [in_new_process(__name__, *settings) for settings in runs]


def in_new_process(module: str, *settings: int | str) -> dict[str, Any]:
    """Run a module with some words; returns the record that it prints."""
    command = [sys.executable, "-m", module, *map(str, settings)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _plan_once(n_elements: int, batch: int, method: str, seed: int) -> dict[str, Any]:
    start = time.perf_counter()
    space = CompositionSpace(ELEMENTS[:n_elements])
    plan = plan_batch(space, batch, taken=np.empty((0, n_elements)), method=method, seed=seed)
    seconds = time.perf_counter() - start
    return {
        "elements": n_elements,
        "method": method,
        "batch": batch,
        "seconds": seconds,
        "peak_mib": peak_mib(),
        **plan.coverage._asdict(),
    }


def peak_mib() -> float:
    """Peak resident memory of this process. On Linux `ru_maxrss` would count the parent's from before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


if __name__ == "__main__":
    n_elements, batch, method, seed = sys.argv[1:]
    print(json.dumps(_plan_once(int(n_elements), int(batch), method, int(seed))))  # pyright: ignore[reportArgumentType]
