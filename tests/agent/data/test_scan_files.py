"""Instrument files: read rightly or refused with a reason."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.formats.markup import MAX_PART
from glassmap.agent.data.scan_files import read_raw_scan
from glassmap.agent.errors import GlassmapError
from tests.support.laboratory import SCAN, XRDML

TEN = " ".join(map(str, range(1, 11)))


def xrdml(folder: Path, *scans: str, version="1.6", status="Completed", line="K-Alpha 1", sample="r001-03") -> Path:
    path = folder / "scan.xrdml"
    text = XRDML.format(version=version, status=status, line=line, sample=sample, scans="".join(scans))
    path.write_text(text, encoding="utf-8")
    return path


def one(values: str, *, start=20.0, end=29.0, time=1.0) -> str:
    return SCAN.format(start=start, end=end, time=time, values=values)


def intensities(numbers: str = TEN) -> str:
    return f'<intensities unit="counts">{numbers}</intensities>'


COUNTS = f'<counts unit="counts">{TEN}</counts>'
FACTORS = f"<beamAttenuationFactors>{'1 ' * 5}{'10 ' * 5}</beamAttenuationFactors>"


def test_counts_are_attenuated_and_intensities_are_not_again(tmp_path: Path):
    plain = read_raw_scan(xrdml(tmp_path, one(FACTORS + intensities())), axis="q")
    np.testing.assert_array_equal(plain.intensity, np.arange(1, 11))
    newer = read_raw_scan(xrdml(tmp_path, one(FACTORS + COUNTS), version="2.1"), axis="q")
    np.testing.assert_array_equal(newer.intensity, [1, 2, 3, 4, 5, 60, 70, 80, 90, 100])
    assert (plain.axis_name, plain.axis[0], plain.axis[-1], plain.sample) == ("two_theta", 20, 29, "r001-03")


@pytest.mark.parametrize(
    ("line", "wavelength"),
    [("K-Alpha 1", 1.540598), ("K-Alpha", (2 * 1.540598 + 1.544426) / 3), ("K-Beta", 1.39225), ("Unknown", None)],
)
def test_the_line_that_was_used_gives_the_wavelength(tmp_path: Path, line, wavelength):
    found = read_raw_scan(xrdml(tmp_path, one(intensities()), line=line), axis="q").wavelength
    assert found == (None if wavelength is None else pytest.approx(wavelength))


def test_repeats_are_summed_and_parts_are_joined(tmp_path: Path):
    twice = read_raw_scan(xrdml(tmp_path, one(intensities()), one(intensities())), axis="q")
    np.testing.assert_array_equal(twice.intensity, 2 * np.arange(1, 11))
    parts = xrdml(tmp_path, one(intensities()), one(intensities(), start=30, end=39, time=2))
    joined = read_raw_scan(parts, axis="q")
    np.testing.assert_allclose(joined.axis, np.arange(20, 40))
    np.testing.assert_allclose(joined.intensity, [*range(1, 11), *np.arange(1, 11) / 2])
    assert "joined" in joined.notes[0]
    with pytest.raises(GlassmapError, match="neither of one range nor follow on"):
        read_raw_scan(xrdml(tmp_path, one(intensities()), one(intensities(), start=25, end=34)), axis="q")


@pytest.mark.parametrize(
    ("scan", "settings", "message"),
    [
        (one(intensities()), {"status": "Aborted"}, "'Aborted', not Completed"),
        (one(intensities()).replace("Completed", "Aborted"), {}, "'Aborted', not Completed"),
        (one(intensities("1 2 x 4")), {}, "could not convert string"),
        (one(intensities("1 2 1_0 4")), {}, "'1_0' is no number"),
        (one(""), {}, "neither intensities nor counts"),
        (one("<beamAttenuationFactors>1 1</beamAttenuationFactors>" + COUNTS), {}, "2 attenuation factors for 10"),
        (one(intensities()).replace("2Theta", "Omega"), {}, "scanned over Omega, no scan over 2θ"),
        (one(intensities(), start=29, end=20), {}, "increase strictly"),
        (one(intensities("1 nan 3")), {}, "NaN or infinite"),
        ("", {}, "holds no scan"),
    ],
)
def test_what_is_no_whole_scan_is_refused(tmp_path: Path, scan, settings, message):
    with pytest.raises(GlassmapError, match=message):
        read_raw_scan(xrdml(tmp_path, scan, **settings), axis="q")


def test_a_cut_file_is_refused(tmp_path: Path):
    path = xrdml(tmp_path, one(intensities()))
    whole = path.read_bytes()
    for end in range(0, len(whole) - 5, 37):
        path.write_bytes(whole[:end])
        with pytest.raises(GlassmapError):
            read_raw_scan(path, axis="q")


def test_entities_are_not_expanded(tmp_path: Path):
    path = xrdml(tmp_path, one(intensities()))
    bomb = '<!DOCTYPE x [<!ENTITY a "1 1 1 1"><!ENTITY b "&a;&a;&a;">]>'
    path.write_text(path.read_text().replace("?>", f"?>{bomb}").replace(TEN, "&b;"))
    with pytest.raises(GlassmapError, match="entities"):
        read_raw_scan(path, axis="q")


def test_an_archive_that_would_fill_the_memory_is_refused_unopened(tmp_path: Path):
    path = tmp_path / "bomb.brml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Experiment0/RawData0.xml", b" " * (MAX_PART + 1))
    with pytest.raises(GlassmapError, match="unpacks to"):
        read_raw_scan(path, axis="q")


def test_other_files_are_refused(tmp_path: Path):
    (tmp_path / "scan.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(GlassmapError, match=r"scans end in .*\.xrdml"):
        read_raw_scan(tmp_path / "scan.pkl", axis="q")


REAL = {
    "XRD-918-16_10.xrdml": (5027, 4.00656514, 69.99936587, 1.540598),
    "m54313_om2th_10.xrdml": (1800, 26.025, 79.995, (2 * 1.540598 + 1.544426) / 3),
    "23-012-AG_2thomegascan_long.brml": (2001, 44.0, 48.0, (2 * 1.5406 + 1.54439) / 3),
    "TwoTheta_scan_powder.rasx": (2726, 10.0, 119.0, 1.540593),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_instruments_file_is_read(name: str, shared_data: Path):
    from fairmat_readers_xrd import read_file

    path = shared_data / "instrument-files" / name
    points, low, high, wavelength = REAL[name]
    scan = read_raw_scan(path, axis="q")
    assert (len(scan.axis), scan.wavelength) == (points, pytest.approx(wavelength))
    np.testing.assert_allclose(scan.axis[[0, -1]], [low, high])
    independent = read_file(str(path))
    np.testing.assert_array_equal(scan.intensity, independent["intensity"].magnitude)
    np.testing.assert_allclose(scan.axis, independent["2Theta"].to("degree").magnitude)


def test_a_rigaku_archive_applies_its_attenuation_and_needs_no_mark(tmp_path: Path, shared_data: Path):
    source = shared_data / "instrument-files" / "TwoTheta_scan_powder.rasx"
    before = read_raw_scan(source, axis="q").intensity

    def changed(profile: bytes) -> Path:
        path = tmp_path / "scan.rasx"
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w") as new:
            for member in old.infolist():
                new.writestr(member.filename, profile if "Profile" in member.filename else old.read(member.filename))
        return path

    with zipfile.ZipFile(source) as archive:
        profile = archive.read("Data0/Profile0.txt")

    lines = [line.split(b"\t") for line in profile.splitlines()]
    tenfold = b"\r\n".join(b"\t".join([*line[:2], b"10"]) for line in lines)
    np.testing.assert_allclose(read_raw_scan(changed(tenfold), axis="q").intensity, 10 * before)
    unmarked = changed(profile.removeprefix(b"\xef\xbb\xbf"))
    np.testing.assert_array_equal(read_raw_scan(unmarked, axis="q").intensity, before)


def test_an_archive_of_a_scan_that_it_does_not_list_is_refused(tmp_path: Path, shared_data: Path):
    source, path = shared_data / "instrument-files" / "23-012-AG_2thomegascan_long.brml", tmp_path / "two.brml"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member.filename))
        new.writestr("Experiment0/RawData1.xml", old.read("Experiment0/RawData0.xml"))
    with pytest.raises(GlassmapError, match=r"differ in Experiment0/RawData1\.xml"):
        read_raw_scan(path, axis="q")
    path.write_bytes(source.read_bytes()[:100_000])
    with pytest.raises(GlassmapError, match="no whole archive"):
        read_raw_scan(path, axis="q")
