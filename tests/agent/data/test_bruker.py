"""Bruker's .raw of versions 1 to 4 and .uxd, each written by the test where the public descriptions say."""

import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_raw_scan, read_scans
from glassmap.agent.errors import DatasetError, GlassmapError
from tests.support.instrument_files import RAW_VERSIONS, raw_1, raw_2, raw_3, raw_4, raw_4_text, uxd

ANGLES = 20 + 0.02 * np.arange(101)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 21) / 0.3) ** 2)))
MEAN = (1.5406 + 0.5 * 1.54439) / 1.5


def read(tmp_path: Path, content: bytes, name: str = "scan.raw") -> list[RawScan]:
    (tmp_path / name).write_bytes(content)
    return read_scans(tmp_path / name)


def scan_of(**said) -> dict:
    return {"start": 20.0, "step": 0.02, "counts": COUNTS, "seconds": 2.0, "theta": 10.0, **said}


@pytest.mark.parametrize("version", RAW_VERSIONS)
def test_every_version_of_raw_gives_2theta_counts_and_the_mean_wavelength(version: int, tmp_path: Path):
    [scan] = read(tmp_path, RAW_VERSIONS[version]([scan_of()], sample="r001-01"))
    np.testing.assert_allclose(scan.axis, ANGLES, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert scan.axis_name == "two_theta" and scan.wavelength == pytest.approx(MEAN, abs=1e-6)
    assert "mean of Kα" in scan.notes[0]
    assert scan.sample == "r001-01"
    assert (scan.x, scan.y) == (None, None)


@pytest.mark.parametrize("version", RAW_VERSIONS)
def test_ranges_that_follow_on_are_joined_as_rates_where_their_times_differ(version: int, tmp_path: Path):
    after = scan_of(start=22.02, seconds=4.0, counts=2 * COUNTS, theta=11.01)
    [scan] = read(tmp_path, RAW_VERSIONS[version]([scan_of(), after]))
    assert scan.axis.size == 202 and scan.axis[-1] == pytest.approx(24.02)
    np.testing.assert_allclose(scan.intensity, np.tile(COUNTS / 2, 2))
    assert "counts per second" in scan.notes[0]


@pytest.mark.parametrize("version", RAW_VERSIONS)
def test_repeats_of_one_range_are_summed(version: int, tmp_path: Path):
    [scan] = read(tmp_path, RAW_VERSIONS[version]([scan_of(), scan_of(), scan_of()]))
    np.testing.assert_array_equal(scan.intensity, 3 * COUNTS)
    assert scan.notes[0] == "3 scans of one range were summed."


@pytest.mark.parametrize("version", RAW_VERSIONS)
def test_a_raw_that_is_cut_off_or_goes_on_is_refused(version: int, tmp_path: Path):
    content = RAW_VERSIONS[version]([scan_of()])
    for length in (8, 60, len(content) // 3, len(content) - 3):
        with pytest.raises(DatasetError, match=r"cut off|holds no"):
            read(tmp_path, content[:length])
    with pytest.raises(DatasetError, match=r"bytes follow|cut off"):
        read(tmp_path, content + b"\x07\x01\x02" * 20)
    [scan] = read(tmp_path, content + bytes(40))  # programs fill the last block of a disk with zeros
    np.testing.assert_array_equal(scan.intensity, COUNTS)


@pytest.mark.parametrize("version", RAW_VERSIONS)
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"start": -5.0}, r"from -5° to"),
        ({"start": 179.0}, "to 181°"),
        ({"step": 0.0}, "steps of 0°"),
        ({"step": 8.6e-43}, "steps of 8.*e-43°"),
        ({"counts": -COUNTS}, "holds -100 as its counts"),
        ({"counts": COUNTS * 1e-42}, "as its counts, which can't be"),
        ({"counts": COUNTS * 1e20}, "as its counts, which can't be"),
        ({"counts": np.full(101, np.nan)}, "holds nan as its counts"),
    ],
)
def test_what_no_goniometer_and_no_detector_writes_is_refused(version: int, said: dict, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, RAW_VERSIONS[version]([scan_of(**said)]))


MAP = [scan_of(x=float(5 * k), y=2.5, counts=(k + 1) * COUNTS) for k in range(3)]


@pytest.mark.parametrize("write", [raw_3, raw_4, lambda ranges: uxd(ranges).encode()])
def test_ranges_of_other_places_are_scans_of_their_own(write: Callable[[list[dict]], bytes], tmp_path: Path):
    scans = read(tmp_path, write(MAP), "map.uxd" if not write(MAP).startswith(b"RAW") else "map.raw")
    assert [(scan.x, scan.y, scan.name) for scan in scans] == [(0, 2.5, "1"), (5, 2.5, "2"), (10, 2.5, "3")]
    for number, scan in enumerate(scans, start=1):
        np.testing.assert_array_equal(scan.intensity, number * COUNTS)


@pytest.mark.parametrize("write", [raw_3, raw_4, lambda ranges: uxd(ranges).encode()])
def test_a_map_of_441_places_takes_a_second(write: Callable[[list[dict]], bytes], tmp_path: Path):
    content = write([scan_of(x=float(k % 21), y=float(k // 21)) for k in range(441)])
    start = time.process_time()
    scans = read(tmp_path, content, "map.raw" if content.startswith(b"RAW") else "map.uxd")
    assert time.process_time() - start < 3  # alone on a core it takes a fifth of that
    assert [(scan.x, scan.y) for scan in scans] == [(k % 21, k // 21) for k in range(441)]


@pytest.mark.parametrize("write", [raw_3, raw_4, lambda ranges: uxd(ranges).encode()])
@pytest.mark.parametrize(
    ("setting", "values", "named"),
    [
        ("chi", (0.0, 5.0), r"Chi \(°\): 0, 5"),
        ("phi", (0.0, 90.0), r"Phi \(°\): 0, 90"),
        ("theta", (10.0, 9.0), "Theta"),
    ],
)
def test_ranges_of_one_place_that_differ_are_refused(write, setting: str, values: tuple, named: str, tmp_path: Path):
    content = write([scan_of(**{setting: value}) for value in values])
    with pytest.raises(DatasetError, match=named):
        read(tmp_path, content, "scan.raw" if content.startswith(b"RAW") else "scan.uxd")


def test_ranges_whose_auxiliary_drives_differ_are_refused(tmp_path: Path):
    with pytest.raises(DatasetError, match="auxiliary drive 2: 0, 4"):
        read(tmp_path, raw_3([scan_of(), scan_of(auxiliary=4.0)]))


@pytest.mark.parametrize(("scan", "named"), [(3, "rocking curve over Theta"), (5, "scan over Phi"), (8, "scan over Z")])
def test_version_3_over_another_drive_is_refused_by_its_name(scan: int, named: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=named):
        read(tmp_path, raw_3([scan_of(scan=scan)]))


def test_a_detector_scan_of_version_3_keeps_theta_and_says_where_it_stood(tmp_path: Path):
    ranges = [scan_of(scan=2, theta=1.0), scan_of(scan=2, theta=1.0, start=22.02)]
    assert read(tmp_path, raw_3(ranges))[0].axis.size == 202
    with pytest.raises(DatasetError, match=r"differ in Theta \(°\): 1, 2"):
        read(tmp_path, raw_3([ranges[0], ranges[1] | {"theta": 2.0}]))


@pytest.mark.parametrize(("status", "named"), [(2, "still running"), (3, "aborted"), (4, "interrupted")])
def test_a_measurement_that_did_not_end_is_refused(status: int, named: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=named):
        read(tmp_path, raw_3([scan_of()], status=status))


def test_2theta_that_was_recorded_at_each_point_goes_before_its_start_and_step(tmp_path: Path):
    measured = ANGLES + 0.003
    [scan] = read(tmp_path, raw_3([scan_of(measured=measured)]))
    np.testing.assert_array_equal(scan.axis, measured)
    np.testing.assert_array_equal(scan.intensity, COUNTS)


def test_ranges_at_two_temperatures_are_refused(tmp_path: Path):
    for write in (raw_2, raw_3):
        with pytest.raises(DatasetError, match=r"temperature \(K\): 300, 500"):
            read(tmp_path, write([scan_of(kelvin=300), scan_of(kelvin=500)]))


def test_ranges_of_version_2_whose_other_drives_moved_are_not_summed(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"Range 2 is over the 2θ of one before.*Export it as \.uxd"):
        read(tmp_path, raw_2([scan_of(chi=0.0), scan_of(chi=5.0)]))


def test_records_of_version_4_are_as_long_as_it_says(tmp_path: Path):
    for record in (4, 8, 12):
        [scan] = read(tmp_path, raw_4([scan_of(record=record)]))
        np.testing.assert_array_equal(scan.intensity, COUNTS)
    with pytest.raises(DatasetError, match="6 bytes; a count has 4"):
        read(tmp_path, raw_4([scan_of(record=6)]))


@pytest.mark.parametrize(
    ("scan", "moved", "named"),
    [
        ("Rocking Curve", "Theta", "Rocking Curve over Theta"),
        ("Phi Scan", "", "is Phi Scan"),
        ("Locked Coupled", "Phi", ""),
    ],
)
def test_version_4_over_another_drive_is_refused_by_its_name(scan: str, moved: str, named: str, tmp_path: Path):
    said = {"scan": scan, "moved": moved, "theta": 20.0 if moved == "Theta" else 10.0}
    with pytest.raises(DatasetError, match=f"{named}.*no scan over 2θ"):
        read(tmp_path, raw_4([scan_of(**said, phi=20.0 if moved == "Phi" else 0.0)]))


def test_a_scan_of_unknown_name_is_read_if_its_drive_was_2theta(tmp_path: Path):
    [scan] = read(tmp_path, raw_4([scan_of(scan="Continuous HRXRD", moved="2Theta")]))
    np.testing.assert_allclose(scan.axis, ANGLES)


@pytest.mark.parametrize(
    ("tube", "wavelength", "note"),
    [
        ({"ratio": 0.0}, 1.5406, "Kα1"),
        ({"used": 1.5406}, MEAN, "mean of Kα"),
        ({"used": 1.39222}, 1.39222, "Kβ"),
        ({"alpha1": 0.0, "alpha2": 0.0}, 1.5406 + (1.54439 - 1.5406) / 3, "names the anode alone"),
        ({"alpha1": 0.0, "alpha2": 0.0, "anode": "", "used": 0.7093}, 0.7093, ""),
    ],
)
def test_the_line_is_told_by_what_the_tube_and_the_range_say(tube: dict, wavelength: float, note: str, tmp_path: Path):
    for write in (raw_3, raw_4):
        [scan] = read(tmp_path, write([scan_of()], **tube))
        assert scan.wavelength == pytest.approx(wavelength, abs=1e-4) and note in "".join(scan.notes)


def test_a_range_of_another_wavelength_than_its_tube_is_refused(tmp_path: Path):
    for write in (raw_3, raw_4):
        with pytest.raises(DatasetError, match=r"0\.7093 Å, and its tube has Kα1 of 1\.5406 Å"):
            read(tmp_path, write([scan_of()], used=0.7093))


MARKS = ("_COUNTS", "_2THETACOUNTS", "_CPS", "_2THETACPS")


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("suffix", [".uxd", ".txt"])
def test_a_uxd_is_read_whatever_its_numbers_are(mark: str, suffix: str, tmp_path: Path):
    [scan] = read(tmp_path, uxd([scan_of()], mark=mark, sample="r001-01").encode(), f"scan{suffix}")
    np.testing.assert_allclose(scan.axis, ANGLES, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert scan.sample == "r001-01" and scan.wavelength == pytest.approx(MEAN, abs=1e-6)


def test_repeated_rates_of_a_uxd_are_averaged_and_counts_summed(tmp_path: Path):
    ranges = [scan_of(), scan_of(seconds=6.0, counts=3 * COUNTS)]
    [counts] = read(tmp_path, uxd(ranges, mark="_COUNTS").encode(), "scan.uxd")
    np.testing.assert_array_equal(counts.intensity, 4 * COUNTS)
    [rates] = read(tmp_path, uxd(ranges, mark="_CPS").encode(), "scan.uxd")
    np.testing.assert_allclose(rates.intensity, 2.5 * COUNTS)


def test_a_uxd_with_a_time_at_each_point_becomes_counts_per_second(tmp_path: Path):
    times = np.where(ANGLES < 21, 1.0, 4.0)
    [scan] = read(
        tmp_path, uxd([scan_of(counts=COUNTS * times, times=times)], mark="_2THETACOUNTSTIME").encode(), "a.uxd"
    )
    np.testing.assert_allclose(scan.intensity, COUNTS)
    assert "1 to 4 s" in " ".join(scan.notes)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("_DRIVE='COUPLED'", "_DRIVE='THETA'", "scan over THETA, no scan over 2θ"),
        ("_START=20.0\n", "_START=30.0\n", "begins at 2θ = 20°.*says 30"),
        ("   21.0000 1000", "   21.0000 1o00", r"Line \d+: a number is expected, got '1o00'"),
        ("   21.0000 1000", "   21.0000", "holds 201 numbers behind _2THETACOUNTS, 2 a point"),
        ("_WL1=1.5406", "_WL1=copper", "WL1 is 'copper'; a number is expected"),
        ("_2THETACOUNTS\n", "", "Line .*stands before the mark"),
        ("_2THETACOUNTS\n", "_STEPCOUNT=150\n_2THETACOUNTS\n", "announces 150 points and holds 101; it is cut off"),
        (
            "_2THETACOUNTS\n",
            "_ANODE='Co'\n_2THETACOUNTS\n",
            "anode Co, whose Kα is 1.7903 Å, and a wavelength of 1.5406",
        ),
    ],
)
def test_a_uxd_that_contradicts_itself_is_refused(before: str, after: str, message: str, tmp_path: Path):
    content = uxd([scan_of()], mark="_2THETACOUNTS")
    assert before in content
    with pytest.raises(GlassmapError, match=message):
        read(tmp_path, content.replace(before, after).encode(), "scan.uxd")


def test_a_uxd_of_counts_alone_needs_its_start_and_step_in_each_range(tmp_path: Path):
    content = uxd([scan_of(), scan_of(start=22.02, theta=11.01)], mark="_COUNTS")
    for line in ("_START=22.02\n", "_2THETA=22.02\n"):
        content = content.replace(line, "")
    with pytest.raises(DatasetError, match="Range 2 doesn't say where 2θ begins"):
        read(tmp_path, content.encode(), "scan.uxd")


def test_a_uxd_in_german_letters_keeps_its_samples_name(tmp_path: Path):
    for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        [scan] = read(tmp_path, uxd([scan_of()], sample="Träger 5°").encode(encoding), "scan.uxd")
        assert scan.sample == "Träger 5°"


def test_another_binary_raw_is_refused_by_its_name(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"binary \.raw of Rigaku.*\.ras"):
        read(tmp_path, b"FI\0\0" + bytes(4000))
    with pytest.raises(DatasetError, match="begins like no"):
        read(tmp_path, b"RAW_1.06Powdat" + bytes(4000))


def test_the_first_version_repeats_its_letters_or_does_not(tmp_path: Path):
    content = raw_1([scan_of(), scan_of(start=22.02, theta=11.01)])
    again = content.index(b"RAW ", 4)
    for written in (content, content[:again] + content[again + 4 :]):
        (tmp_path / "scan.raw").write_bytes(written)
        assert read_raw_scan(tmp_path / "scan.raw").axis[-1] == pytest.approx(24.02)


def test_a_raw_that_says_another_length_of_its_header_is_refused(tmp_path: Path):
    content = bytearray(raw_3([scan_of()]))
    struct.pack_into("<I", content, 712, 100)
    with pytest.raises(DatasetError, match="range 1 has 100 bytes"):
        read(tmp_path, bytes(content))
    struct.pack_into("<I", content, 712, 304)
    struct.pack_into("<I", content, 712 + 252, 12)
    with pytest.raises(DatasetError, match="has 12 bytes, and should have 4"):
        read(tmp_path, bytes(content))


def test_points_that_were_not_measured_are_counted_and_refused(tmp_path: Path):
    counts = np.where(ANGLES > 21.5, -9999, COUNTS)
    for name, content in (
        ("a.raw", raw_4([scan_of(counts=counts)])),
        ("a.txt", raw_4_text([scan_of(counts=counts)]).encode()),
    ):
        with pytest.raises(DatasetError, match="25 of the 101 points of range 1 weren't measured"):
            read(tmp_path, content, name)


def test_the_text_of_version_4_is_read_with_its_sample_and_wavelength(tmp_path: Path):
    [scan] = read(tmp_path, raw_4_text([scan_of()]).encode(), "scan.txt")
    np.testing.assert_allclose(scan.axis, ANGLES, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert scan.sample == "r001-01" and scan.wavelength == pytest.approx(MEAN, abs=1e-6)
    after = scan_of(start=22.02, seconds=4.0, counts=2 * COUNTS)
    [scan] = read(tmp_path, raw_4_text([scan_of(), after]).encode(), "scan.txt")
    np.testing.assert_allclose(scan.intensity, np.tile(COUNTS / 2, 2))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("Steps=101", "Steps=102", "announces 102 points and holds 101"),
        ("ScanType=Locked Coupled", "ScanType=Rocking Curve", "Range 1 is Rocking Curve, no scan over 2θ"),
        ("Angle,       PSD,", "Angle,       Det1, Det2,", "columns of range 1 are 'Angle', 'Det1', 'Det2'"),
        ("  21.00000,      1000,", "  21.00000,      1o00,", r"Line \d+: a number is expected, got '1o00'"),
        ("ActuallyUsedLambda=1.5418", "ActuallyUsedLambda=0.7093", "0.7093 Å, and its tube has Kα1 of 1.5406"),
        ("[Data]", "[Date]", "holds no range"),
    ],
)
def test_a_text_of_version_4_that_contradicts_itself_is_refused(before: str, after: str, message: str, tmp_path: Path):
    content = raw_4_text([scan_of()])
    assert before in content
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, content.replace(before, after).encode(), "scan.txt")
