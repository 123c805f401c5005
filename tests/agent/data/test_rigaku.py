"""Rigaku's .ras and .rasx, each written by the test: one scan or many, with their stage, times and attenuators."""

import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.errors import DatasetError
from tests.support.instrument_files import ras, rasx

ANGLES = 20 + 0.02 * np.arange(101)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 21) / 0.3) ** 2)))
MEAN = (1.540593 + 0.5 * 1.544414) / 1.5


def scan_of(**said) -> dict:
    return {"start": 20.0, "step": 0.02, "counts": COUNTS, **said}


WRITERS: dict[str, Callable[[list[dict]], bytes]] = {
    ".ras": lambda ranges: ras(ranges).encode(),
    ".rasx": rasx,
    ".txt": lambda ranges: ras(ranges).encode(),
}


def read(tmp_path: Path, suffix: str, *ranges: dict) -> list[RawScan]:
    (tmp_path / f"scan{suffix}").write_bytes(WRITERS[suffix](list(ranges)))
    return read_scans(tmp_path / f"scan{suffix}")


@pytest.fixture(params=WRITERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_scan_gives_2theta_counts_sample_and_the_mean_wavelength(suffix: str, tmp_path: Path):
    [scan] = read(tmp_path, suffix, scan_of())
    np.testing.assert_allclose(scan.axis, ANGLES, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert scan.axis_name == "two_theta" and scan.wavelength == pytest.approx(MEAN, abs=1e-9)
    assert scan.notes == (f"Wavelength {MEAN:.5f} Å, mean of Kα.",)
    assert (scan.sample, scan.x, scan.y) == ("r001-01", None, None)


@pytest.mark.parametrize(
    ("keys", "wavelength", "note"),
    [
        ({"HW_I_MONOCHRO_NAME": "Ge(220)x2"}, 1.540593, "Ge(220)x2 stands before the sample."),
        ({"MEAS_COND_XG_WAVE_TYPE": "Ka"}, MEAN, "mean of Kα"),
        ({"MEAS_COND_XG_WAVE_TYPE": "Kb"}, 1.392246, "Kβ"),
        ({"HW_XG_WAVE_LENGTH_ALPHA1": "", "HW_XG_TARGET_NAME": "Co"}, 1.7903, "Co: the file names the anode alone"),
    ],
)
def test_the_line_is_kalpha1_only_behind_a_crystal(
    suffix: str, keys: dict, wavelength: float, note: str, tmp_path: Path
):
    [scan] = read(tmp_path, suffix, scan_of(keys=keys))
    assert scan.wavelength == pytest.approx(wavelength, abs=1e-4) and note in " ".join(scan.notes)


def test_each_point_is_multiplied_by_its_attenuation_once(suffix: str, tmp_path: Path):
    factors = np.where(np.abs(ANGLES - 21) < 0.2, 10.5, 1.0)
    [scan] = read(tmp_path, suffix, scan_of(counts=COUNTS / factors, factors=factors))
    np.testing.assert_allclose(scan.intensity, COUNTS, rtol=1e-9)
    assert scan.notes[-1] == "Multiplied by the factors of its attenuator, 1 to 10.5."
    with pytest.raises(DatasetError, match="factor of the attenuator is 0"):
        read(tmp_path, suffix, scan_of(factors=0 * factors))


def test_a_map_of_441_places_becomes_441_scans_in_a_second(suffix: str, tmp_path: Path):
    places = [(float(x), float(y)) for x in range(-50, 55, 5) for y in range(-50, 55, 5)]
    scans = [scan_of(x=x, y=y, counts=COUNTS + k) for k, (x, y) in enumerate(places)]
    (tmp_path / f"map{suffix}").write_bytes(WRITERS[suffix](scans))
    start = time.process_time()
    found = read_scans(tmp_path / f"map{suffix}")
    assert time.process_time() - start < 3  # alone on a core it takes a sixth of that
    assert [(scan.x, scan.y) for scan in found] == places
    assert [scan.name for scan in found] == [str(number) for number in range(1, 442)]
    np.testing.assert_array_equal([scan.intensity for scan in found], COUNTS + np.arange(441)[:, None])


def test_samples_of_a_changer_are_scans_of_their_own(suffix: str, tmp_path: Path):
    found = read(tmp_path, suffix, *(scan_of(keys={"FILE_SAMPLE": name}) for name in ("W1/3", "W1/4")))
    assert [(scan.name, scan.sample) for scan in found] == [("W1/3", "W1/3"), ("W1/4", "W1/4")]


def test_repeats_are_summed_and_what_follows_on_is_joined_by_its_times(suffix: str, tmp_path: Path):
    [scan] = read(tmp_path, suffix, scan_of(), scan_of())
    np.testing.assert_array_equal(scan.intensity, 2 * COUNTS)
    slow = {"MEAS_SCAN_SPEED": "0.6"}  # 2 s a point, not 1 s
    [scan] = read(tmp_path, suffix, scan_of(), scan_of(start=22.02, counts=2 * COUNTS, keys=slow))
    np.testing.assert_allclose(scan.intensity, np.tile(COUNTS, 2))
    steps = {"MEAS_SCAN_MODE": "STEP", "MEAS_SCAN_SPEED": "4.0", "MEAS_SCAN_SPEED_UNIT": "sec"}
    [scan] = read(tmp_path, suffix, scan_of(), scan_of(start=22.02, counts=4 * COUNTS, keys=steps))
    np.testing.assert_allclose(scan.intensity, np.tile(COUNTS, 2))


def test_what_follows_the_scan_or_tells_how_the_instrument_is_may_differ(suffix: str, tmp_path: Path):
    drifts = [{"ThetaS": (at, "deg"), "RE_EnclosureTemp": (at, "degree"), "Beta": (at, "deg")} for at in ("5.0", "6.0")]
    [scan] = read(tmp_path, suffix, *(scan_of(axes=axes) for axes in drifts))
    np.testing.assert_array_equal(scan.intensity, 2 * COUNTS)


def test_repeated_rates_are_averaged(suffix: str, tmp_path: Path):
    [scan] = read(tmp_path, suffix, *(scan_of(counts=k * COUNTS, keys={"MEAS_SCAN_UNIT_Y": "cps"}) for k in (1, 3)))
    np.testing.assert_allclose(scan.intensity, 2 * COUNTS)


@pytest.mark.parametrize(
    ("axis", "values", "unit", "named"),
    [
        ("Chi", ("0.000", "5.000"), "deg", r"Chi \(°\): 0, 5"),
        ("Z", ("1.5", "1.6"), "mm", r"Z \(mm\): 1.5, 1.6"),
        ("Temperature", ("25", "300"), "C", r"temperature \(K\): 298.15, 573.15"),
        ("SampleX", ("0.0", "5.0"), "mm", r"SampleX \(mm\): 0, 5"),
        ("Filter", ("None", "Cu_K-beta"), "", "Filter: None, Cu_K-beta"),
    ],
)
def test_scans_of_one_place_that_differ_are_refused(
    suffix: str, axis: str, values: tuple[str, str], unit: str, named: str, tmp_path: Path
):
    with pytest.raises(DatasetError, match=named):
        read(tmp_path, suffix, *(scan_of(axes={axis: (value, unit)}) for value in values))


def test_omega_is_compared_where_it_stands_and_by_its_offset_where_it_follows(suffix: str, tmp_path: Path):
    def at(scanned: str, omega: float, start: float) -> dict:
        axes = {"Omega": (f"{omega}", "deg"), "TwoTheta": (f"{start}", "deg")}
        return scan_of(start=start, axes=axes, keys={"MEAS_SCAN_AXIS_X_INTERNAL": scanned, "MEAS_SCAN_AXIS_X": scanned})

    grazing = [at("TwoTheta", 1.0, 20.0), at("TwoTheta", 1.0, 22.02)]
    assert read(tmp_path, suffix, *grazing)[0].axis.size == 202
    with pytest.raises(DatasetError, match=r"differ in Omega \(°\): 1, 2"):
        read(tmp_path, suffix, grazing[0], at("TwoTheta", 2.0, 22.02))
    tilted = [at("TwoThetaOmega", 8.0, 20.0), at("TwoThetaOmega", 9.01, 22.02)]
    assert read(tmp_path, suffix, *tilted)[0].axis.size == 202
    with pytest.raises(DatasetError, match=r"differ in offset of Omega \(°\): -2, 0"):
        read(tmp_path, suffix, tilted[0], at("TwoThetaOmega", 11.01, 22.02))


@pytest.mark.parametrize("scanned", ["Omega", "Phi", "OmegaTwoTheta", ""])
def test_a_scan_over_another_axis_is_refused_by_its_name(suffix: str, scanned: str, tmp_path: Path):
    keys = {"MEAS_SCAN_AXIS_X_INTERNAL": scanned, "MEAS_SCAN_AXIS_X": scanned}
    with pytest.raises(DatasetError, match=f"scanned over {scanned or 'an axis that it does not name'}, not over 2θ"):
        read(tmp_path, suffix, scan_of(keys=keys))


@pytest.mark.parametrize("scanned", ["2θ/θ", "Theta/2-Theta", "2-Theta", "TwoThetaOmega", "2Θ/Ω"])
def test_2theta_has_many_names(suffix: str, scanned: str, tmp_path: Path):
    keys = {"MEAS_SCAN_AXIS_X_INTERNAL": scanned, "MEAS_SCAN_AXIS_X": scanned}
    [scan] = read(tmp_path, suffix, scan_of(keys=keys))
    np.testing.assert_allclose(scan.axis, ANGLES)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"MEAS_DATA_COUNT": "102"}, "announces 102 points and holds 101"),
        ({"MEAS_SCAN_UNIT_X": "mm"}, "2θ is in 'mm'"),
        ({"HW_XG_WAVE_LENGTH_ALPHA1": "copper"}, "HW_XG_WAVE_LENGTH_ALPHA1 is 'copper'"),
        ({"HW_XG_WAVE_LENGTH_UNIT": "nm"}, "wavelengths are in 'nm'"),
    ],
)
def test_a_header_that_contradicts_its_scan_is_refused(suffix: str, keys: dict, message: str, tmp_path: Path):
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, suffix, scan_of(keys=keys))


def test_a_place_in_another_unit_is_refused(suffix: str, tmp_path: Path):
    with pytest.raises(DatasetError, match="The stage's X is in 'inch'; mm is expected"):
        read(tmp_path, suffix, scan_of(axes={"X": ("1.0", "inch")}))


@pytest.mark.parametrize("position", ["-", "None", ""])
def test_a_stage_that_is_not_mounted_is_nowhere(suffix: str, position: str, tmp_path: Path):
    [scan] = read(tmp_path, suffix, scan_of(axes={"X": (position, "-"), "Y": (position, "-")}))
    assert (scan.x, scan.y) == (None, None)


def test_a_text_that_is_not_written_whole_is_refused(tmp_path: Path):
    whole = ras([scan_of(x=0.0, y=0.0), scan_of(x=5.0, y=0.0)])
    for end in ("*RAS_DATA_END", "*RAS_INT_END", "*RAS_INT_START", "20.5000"):
        (tmp_path / "scan.ras").write_text(whole[: whole.rindex(end)])
        with pytest.raises(DatasetError, match="lacks its end"):
            read_scans(tmp_path / "scan.ras")


@pytest.mark.parametrize("line", ["20.5000 1o0 1", "20.5000 100", "20.5000 100 1 1", "20,5000 100 1"])
def test_a_line_that_is_no_point_is_refused_by_its_number(line: str, tmp_path: Path):
    content = ras([scan_of(), scan_of(start=22.02)])
    number = 1 + content.splitlines().index("20.5000 156 1.0000")
    (tmp_path / "scan.ras").write_text(content.replace("20.5000 156 1.0000", line))
    with pytest.raises(DatasetError, match=f"Scan 1 of 2: Line {number}: "):
        read_scans(tmp_path / "scan.ras")


def test_letters_of_any_encoding_are_read(tmp_path: Path):
    content = ras([scan_of(keys={"FILE_SAMPLE": "Probe ä"})]).replace("2θ/θ", "TwoThetaTheta")
    for encoding in ("utf-8", "utf-8-sig", "latin-1", "utf-16"):
        (tmp_path / "scan.ras").write_bytes(content.encode(encoding))
        assert read_scans(tmp_path / "scan.ras")[0].sample == "Probe ä"


def test_pictures_of_a_detector_beside_a_profile_are_left_aside(tmp_path: Path):
    path = tmp_path / "scan.rasx"
    path.write_bytes(rasx([scan_of()], **{"Data0/Image0.bin": bytes(100), "Data0/ImageInfo0.xml": "<Image/>"}))
    np.testing.assert_array_equal(read_scans(path)[0].intensity, COUNTS)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Data0/Image0.bin", bytes(100))
    with pytest.raises(DatasetError, match="holds no profile"):
        read_scans(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("Data0/Profile0.txt", "20 1 1\n21 2 1\n")
    with pytest.raises(DatasetError, match="No list of its conditions"):
        read_scans(path)
