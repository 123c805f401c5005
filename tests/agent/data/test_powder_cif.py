"""Powder CIFs, written by the tests: which items are the scan, and what else they say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.data.scan_files import read_raw_scan, read_scans
from glassmap.agent.errors import DatasetError

ANGLES = np.arange(20.0, 61.0)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 40) / 5) ** 2)))
RANGE = "_pd_meas_2theta_range_min 20.0\n_pd_meas_2theta_range_max 60.0\n_pd_meas_2theta_range_inc 1.0\n"
TWO_LINES = "loop_\n_diffrn_radiation_wavelength\n_diffrn_radiation_wavelength_wt\n1.54060 1.0\n1.54443 0.5\n"


def loop(**columns: Any) -> str:
    """Write a loop of items."""
    rows = "\n".join(" ".join(map(str, row)) for row in zip(*columns.values(), strict=True))
    return "loop_\n" + "".join(f"_{name}\n" for name in columns) + rows + "\n"


def listed(**more: Any) -> str:
    return loop(pd_meas_2theta_scan=[f"{angle:.2f}" for angle in ANGLES], pd_meas_counts_total=COUNTS, **more)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scan.cif"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (listed(), "_pd_meas_2theta_scan"),
        (RANGE + loop(pd_meas_counts_total=COUNTS), "_pd_meas_2theta_range"),
        (RANGE + loop(pd_meas_counts_total=[f"{count:.0f}(12)" for count in COUNTS]), "_pd_meas_2theta_range"),
        (listed().replace("_pd_meas_", "_pd_meas."), "_pd_meas_2theta_scan"),
        (listed().replace("_pd_meas_2theta_scan", "_PD_MEAS_2Theta_Scan"), "_pd_meas_2theta_scan"),
        (listed(pd_calc_intensity_total=COUNTS * 2), "_pd_meas_2theta_scan"),
        (listed(pd_proc_2theta_corrected=ANGLES), "_pd_proc_2theta_corrected"),
        (RANGE.replace("meas", "proc") + loop(pd_proc_intensity_total=COUNTS), "_pd_proc_2theta_range"),
    ],
)
def test_what_was_measured_is_read(body: str, what: str, path: Path):
    path.write_text(f"data_W1\n_diffrn_radiation_wavelength 0.41\n{body}")
    scan = read_raw_scan(path)
    np.testing.assert_allclose(scan.axis, ANGLES)
    assert (scan.axis_name, scan.wavelength, scan.intensity.max(), scan.intensity.sum()) == (
        "two_theta",
        0.41,
        1000,
        12076,
    )
    assert scan.notes[0].endswith(f"the axis {what}.")


def test_a_single_block_is_the_sample_unless_it_is_called_as_none_is(path: Path):
    for name, sample in (("W1-3", "W1-3"), ("global", None)):
        path.write_text(f"data_{name}\n{listed()}")
        assert read_raw_scan(path).sample == sample


def test_an_item_without_values_isn_t_read(path: Path):
    unknown = loop(pd_meas_2theta_scan=ANGLES, pd_meas_counts_total=["?"] * 41, pd_proc_intensity_net=COUNTS)
    path.write_text(f"data_W1\n{unknown}")
    assert read_raw_scan(path).intensity.sum() == 12076


def test_q_is_read_as_q(path: Path):
    q = np.linspace(1, 5, 41)
    path.write_text("data_W1\n" + loop(pd_proc_recip_len_Q=q, pd_proc_intensity_net=COUNTS))
    scan = read_raw_scan(path)
    assert scan.axis_name == "q" and scan.axis[-1] == 5 and scan.intensity.sum() == 12076


def test_an_offset_that_was_not_added_is_said(path: Path):
    path.write_text("data_W1\n_pd_calib_2theta_offset 0.25\n" + listed())
    assert any("2θ is off by 0.25°" in note and "not added" in note for note in read_raw_scan(path).notes)


def test_counts_come_before_what_was_made_of_them(path: Path):
    path.write_text("data_W1\n" + listed(pd_proc_intensity_net=COUNTS - 100))
    assert read_raw_scan(path).intensity.min() == COUNTS.min()


@pytest.mark.parametrize(
    ("lines", "wavelength"),
    [
        (TWO_LINES, (1.5406 + 0.5 * 1.54443) / 1.5),
        ("loop_\n_diffrn_radiation_wavelength\n1.54060\n1.54443\n", (1.5406 + 0.5 * 1.54443) / 1.5),
        ("_diffrn_radiation_wavelength 1.54060(2)\n", 1.5406),
        ("_diffrn_radiation_wavelength.value 1.54060\n", 1.5406),
        ("_diffrn_radiation_wavelength ?\n_diffrn_source_target Cu\n", 1.5418),
        ("_diffrn_radiation_wavelength ?\n", None),
    ],
)
def test_the_wavelength_is_what_the_file_says(lines: str, wavelength: float | None, path: Path):
    path.write_text(f"data_W1\n{lines}{listed()}")
    found = read_raw_scan(path).wavelength
    assert found is None if wavelength is None else found == pytest.approx(wavelength, abs=2e-4)


def test_a_wavelength_may_stand_in_a_block_of_its_own(path: Path):
    path.write_text(f"data_global\n{TWO_LINES}\ndata_W1\n{listed()}")
    assert read_raw_scan(path).wavelength == pytest.approx(1.541877, abs=1e-6)


def test_wavelengths_that_are_no_doublet_are_refused(path: Path):
    path.write_text(f"data_W1\nloop_\n_diffrn_radiation_wavelength\n1.54060\n1.39222\n{listed()}")
    with pytest.raises(DatasetError, match=r"Block 'W1': It has several wavelengths, 1\.5406, 1\.39222 Å"):
        read_scans(path)


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ("pd_meas_step_count_time", "counted for 1 to 4 s"),
        ("pd_meas_counts_monitor", "divided by the monitor of each point"),
    ],
)
def test_counts_of_different_times_or_monitors_are_divided_once(items: str, words: str, path: Path):
    times = np.where(ANGLES < 40, 1.0, 4.0)
    columns = {"pd_meas_2theta_scan": ANGLES, "pd_meas_counts_total": COUNTS * times, items: times}
    path.write_text("data_W1\n" + loop(**columns))
    scan = read_raw_scan(path)
    scale = times.mean() if items.endswith("monitor") else 1
    np.testing.assert_allclose(scan.intensity, COUNTS * scale)
    assert words in " ".join(scan.notes)


def test_blocks_are_scans_by_their_names(path: Path):
    path.write_text("".join(f"data_{name}\n{listed()}" for name in ("W1-1", "W1-2")))
    assert [(scan.name, scan.sample) for scan in read_scans(path)] == [("W1-1", "W1-1"), ("W1-2", "W1-2")]


def test_points_without_a_value_are_left_out_at_the_ends_alone(path: Path):
    counts = [f"{count:.0f}" for count in COUNTS]
    path.write_text("data_W1\n" + loop(pd_meas_2theta_scan=ANGLES, pd_meas_counts_total=[".", *counts[1:-1], "?"]))
    scan = read_raw_scan(path)
    assert (scan.axis[0], scan.axis[-1]) == (21, 59) and "2 points at the ends" in scan.notes[1]
    path.write_text(
        "data_W1\n" + loop(pd_meas_2theta_scan=ANGLES, pd_meas_counts_total=[*counts[:9], ".", *counts[10:]])
    )
    with pytest.raises(DatasetError, match="Values are missing between its points"):
        read_scans(path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (loop(pd_proc_2theta_corrected=ANGLES, pd_calc_intensity_total=COUNTS), "a calculated pattern alone"),
        ("_cell_length_a 3.2\n_atom_site_fract_x 0\n", "a structure and no measured pattern"),
        ("_pd_char_colour grey\n", "No block holds measured intensities"),
        (loop(pd_meas_time_of_flight=ANGLES, pd_meas_counts_total=COUNTS), "over _pd_meas_time_of_flight"),
        (loop(pd_proc_d_spacing=ANGLES, pd_meas_counts_total=COUNTS), "over _pd_proc_d_spacing"),
        (loop(pd_meas_counts_total=COUNTS), "41 intensities have neither _pd_meas_2theta_scan nor"),
        (
            RANGE.replace("inc 1.0", "inc 0.5") + loop(pd_meas_counts_total=COUNTS),
            "from 20 to 60° by 0.5°",
        ),
        (listed().rpartition("\n6")[0] + "\n60.0\n", "It is no whole CIF: "),
        (listed().replace("1000.0", "10x0"), "10x0"),
    ],
)
def test_what_is_no_measured_scan_is_refused_in_words(body: str, words: str, path: Path):
    path.write_text(f"data_W1\n{body}")
    with pytest.raises(DatasetError, match=rf"scan\.cif: .*{words}"):
        read_scans(path)
