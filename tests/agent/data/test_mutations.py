"""Harmed files of every format: each is read or refused with a reason, at once, and touches nothing else.

`GLASSMAP_HARMED_FILES=10000 pytest tests/agent/data/test_mutations.py` takes as many as that, `python -m
tests.benchmarks harmed` counts what became of them.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.harmed_files import check, files, hold

MADE = files()
TIMES = int(os.environ.get("GLASSMAP_HARMED_FILES", "2500")) // len(MADE)


@pytest.mark.parametrize("name", MADE)
def test_harmed_files_are_read_or_refused(name: str, tmp_path: Path):
    path, rng = tmp_path / name, np.random.default_rng(0)
    path.write_bytes(MADE[name])
    check(path)  # what is imported now is not the file's doing
    found = hold(path, MADE[name], TIMES, rng)
    assert found["read"] + found["refused"] == TIMES
    assert found["refused"] > TIMES / 20 and found["unforeseen"] <= TIMES / 50


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("XRD-918-16_10.xrdml", 60),
        ("m54313_om2th_10.xrdml", 60),
        ("TwoTheta_scan_powder.rasx", 40),
        ("23-012-AG_2thomegascan_long.brml", 10),
    ],
)
def test_harmed_files_of_real_instruments_are_read_or_refused(name: str, times: int, shared_data: Path, tmp_path: Path):
    content = (shared_data / "instrument-files" / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content)
    check(path)
    found = hold(path, content, times, np.random.default_rng(1))
    assert found["read"] + found["refused"] == times and found["refused"]
