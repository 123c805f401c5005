"""A Bluesky plan that measures an order's scan list, wafer by wafer: copy it to your beamline's startup.

RE(measure_stage_list("orders/round-001-stage.csv", [detector], stage.x, stage.y, wafer="W3"))
"""

import csv
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.plans as bp


def measure_stage_list(
    path: str | Path, detectors: Sequence[Any], x: Any, y: Any, *, wafer: str = ""
) -> Generator[Any, Any, None]:
    """Drive to each point of a scan list, in its order, and count there.

    Args:
        path: The list, `orders/round-001-stage.csv`: columns sample, x, y (mm) and wafer.
        detectors: That count.
        x: The stage's motor.
        y: The stage's motor.
        wafer: That is mounted; by default all of the list.
    """
    with Path(path).open(newline="") as file:
        points = [point for point in csv.DictReader(file) if wafer in ("", point["wafer"])]
    for point in points:
        yield from bps.mv(x, float(point["x"]), y, float(point["y"]))
        # the campaign finds a scan by its sample: have your files called so
        yield from bp.count(detectors, md={"sample_name": point["sample"], "wafer": point["wafer"]})
