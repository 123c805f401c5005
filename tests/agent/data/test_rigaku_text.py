"""The texts that Rigaku's programs export besides .ras, written by the test."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.errors import DatasetError
from tests.support.instrument_files import asc, rigaku_export

ANGLES = 20 + 0.02 * np.arange(101)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 21) / 0.3) ** 2)))


def scan_of(**said) -> dict:
    return {"start": 20.0, "step": 0.02, "counts": COUNTS, **said}


def read(tmp_path: Path, content: str, name: str = "scan.txt") -> list[RawScan]:
    (tmp_path / name).write_bytes(content.encode())
    return read_scans(tmp_path / name)


@pytest.mark.parametrize(("write", "name"), [(rigaku_export, "scan.txt"), (asc, "scan.asc"), (asc, "scan.txt")])
def test_a_scan_gives_2theta_counts_sample_and_wavelength(write: Callable[[list], str], name: str, tmp_path: Path):
    [scan] = read(tmp_path, write([scan_of()]) + "\x1a", name)  # as DOS ends a text
    np.testing.assert_allclose(scan.axis, ANGLES, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert scan.sample == "r001-01" and scan.wavelength == pytest.approx(1.54187, abs=1e-4)


def test_a_text_of_many_scans_has_a_place_for_each(tmp_path: Path):
    scans = read(tmp_path, rigaku_export([scan_of(x=float(k), y=2.5, counts=COUNTS + k) for k in range(5)]))
    assert [(scan.x, scan.y) for scan in scans] == [(k, 2.5) for k in range(5)]
    np.testing.assert_array_equal([scan.intensity for scan in scans], COUNTS + np.arange(5)[:, None])


def test_the_line_above_the_points_says_their_unit(tmp_path: Path):
    ranges = [scan_of(), scan_of(counts=3 * COUNTS)]
    np.testing.assert_array_equal(read(tmp_path, rigaku_export(ranges))[0].intensity, 4 * COUNTS)
    np.testing.assert_array_equal(read(tmp_path, rigaku_export(ranges, unit="cps"))[0].intensity, 2 * COUNTS)


def test_a_text_without_its_two_lines_goes_by_its_keys(tmp_path: Path):
    content = rigaku_export([scan_of(keys={"MEAS_SCAN_UNIT_Y": "cps"})] * 2)
    keys = "".join(line for line in content.splitlines(keepends=True) if not line.startswith("#"))
    np.testing.assert_array_equal(read(tmp_path, keys)[0].intensity, COUNTS)


def test_an_attenuator_in_the_beam_is_refused_where_nothing_says_whether_it_is_counted(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"attenuator's coefficient is 10.*Export the scan as \.ras"):
        read(tmp_path, rigaku_export([scan_of()], coefficient=10))


def test_groups_that_follow_on_are_joined_by_their_times_and_rates_averaged(tmp_path: Path):
    groups = [scan_of(), scan_of(start=22.02, seconds=2.0, counts=2 * COUNTS)]
    [scan] = read(tmp_path, asc(groups), "scan.asc")
    np.testing.assert_allclose(scan.intensity, np.tile(COUNTS, 2))
    rates = asc([scan_of(), scan_of(counts=3 * COUNTS)]).replace("=  counts", "=  cps")
    np.testing.assert_allclose(read(tmp_path, rates, "scan.asc")[0].intensity, 2 * COUNTS)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("*STOP\t\t=  22.0", "*STOP\t\t=  23.0", "ends at 22°, and its header says 23°"),
        ("*COUNT\t\t=  101", "*COUNT\t\t=  102", "announces 102 points and holds 101"),
        ("*GROUP_COUNT\t=  1", "*GROUP_COUNT\t=  2", "announces 2 groups and holds 1"),
        ("2theta/theta", "omega", "scanned over omega, not over 2θ"),
        ("=  deg.", "=  mm", "2θ is in 'mm'"),
        ("*END", "", "lacks the end"),
        ("*START", "*BEGINNING", "doesn't say where 2θ begins"),
        ("100, 100", "100, 1o0", r"Line \d+: a number is expected, got '1o0'"),
    ],
)
def test_an_asc_that_contradicts_itself_is_refused(before: str, after: str, message: str, tmp_path: Path):
    content = asc([scan_of()])
    assert before in content
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, content.replace(before, after, 1), "scan.asc")
