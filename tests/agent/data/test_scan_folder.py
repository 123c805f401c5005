import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.data.scan_folder import read_scan_folder
from glassmap.agent.errors import CompositionError, DatasetError, SpectrumError
from tests.support.laboratory import SCAN, XRDML

RAW_SCANS = Path(os.environ.get("GLASSMAP_SHARED_DATA", Path(__file__).parents[3] / "../shared/data")) / "raw-scans"
HEADER = "file,Co (at.%),V (at.%),Zr (at.%)"
ROWS = ("a.csv,20,30,50", "b.xy,25,35,40")

needs_shared_data = pytest.mark.skipif(not RAW_SCANS.is_dir(), reason=f"no measured scans at {RAW_SCANS}")


def write_scan(path: Path, *, low=1.0, high=5.0, points=41, separator=",", header="", more="") -> None:
    """A straight line, intensity = 10 + axis, so that interpolation is exact."""
    lines = [f"{x}{separator}{10 + x}{more}" for x in np.linspace(low, high, points)]
    path.write_text(header + "\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two good scans; the tests put their tables beside them."""
    write_scan(tmp_path / "a.csv", header="q,counts\n")
    write_scan(tmp_path / "b.xy", separator=" ", header="# Co-V-Zr\n\n'Cu Ka'\n")
    return tmp_path


def table(folder: Path, *lines: str) -> Path:
    path = folder / "compositions.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@needs_shared_data
def test_the_measured_scans_become_a_data_set(tmp_path):
    spectra = read_scan_folder(RAW_SCANS, compositions=RAW_SCANS / "compositions.csv", axis="q")
    assert len(spectra) == 56
    assert spectra.elements == ("Co", "Ti", "Zr")
    assert spectra.ids[0] == "SampleB2_4_24x24_t30_0001_1D"
    assert spectra.intensities.shape == (56, 1000)
    np.testing.assert_allclose(spectra.axis[[0, -1]], [0.194486, 5.364362], atol=1e-6)
    assert spectra.intensities[0, 0] == 39.1694  # untouched: all scans are on one axis
    write_dataset(spectra, tmp_path / "scans.nc")
    again = read_dataset(tmp_path / "scans.nc")
    assert again.ids == spectra.ids
    np.testing.assert_array_equal(again.intensities, spectra.intensities)


def test_scans_are_read_below_any_header_and_by_comma_or_blanks(folder):
    write_scan(folder / "c.txt", separator="\t", header="2Theta Intensity\n41\n")
    write_scan(folder / "a.csv", header="angle,counts\n")
    write_scan(folder / "d.XYE", separator="   ", more=" 0.1")
    (folder / "._a.csv").write_text("what a Mac leaves behind")
    (folder / "image.png").write_bytes(b"\x89PNG")
    lines = (HEADER, *ROWS, "c,10,10,80", "d.XYE,30,30,40")
    spectra = read_scan_folder(folder, compositions=table(folder, *lines), axis="two_theta", wavelength=1.5406)
    assert spectra.ids == ("a", "b", "c", "d")
    assert (spectra.axis_name, spectra.wavelength, spectra.notes) == ("two_theta", 1.5406, ())
    np.testing.assert_array_equal(spectra.intensities, np.tile(10 + spectra.axis, (4, 1)))
    np.testing.assert_allclose(spectra.compositions[1], [0.25, 0.35, 0.4])


def test_other_columns_become_extras_with_their_units(folder):
    header = f"{HEADER},wafer,cleaned,rate (nm/s),scan"
    path = table(folder, header, f"{ROWS[0]},W1,true,0.5,7", "", f"{ROWS[1]},W2, False,,8")
    spectra = read_scan_folder(folder, compositions=path, axis="q")
    extras = spectra.coordinates
    assert extras["wafer"].tolist() == ["W1", "W2"]
    assert extras["cleaned"].tolist() == [True, False]
    np.testing.assert_array_equal(extras["rate"], [0.5, np.nan])
    assert extras["scan"].dtype == np.int64
    assert spectra.units == {"rate": "nm/s"}


@pytest.mark.parametrize("column", ["{} (at.%)", "{} [at%]", "{}_at.%", "{} at. %", "{}(At.%)"])
def test_the_unit_stands_in_the_column(folder, column):
    header = ",".join(["sample", *(column.format(element) for element in ("Co", "V", "Zr"))])
    spectra = read_scan_folder(folder, compositions=table(folder, header, *ROWS), axis="q")
    assert spectra.elements == ("Co", "V", "Zr")


def test_the_unit_may_be_given_instead(folder):
    path = table(folder, "id,Co,V,Zr", *ROWS)
    with pytest.raises(DatasetError, match=r"unit of the column 'Co' must be at\.% or wt\.%"):
        read_scan_folder(folder, compositions=path, axis="q")
    spectra = read_scan_folder(folder, compositions=path, axis="q", unit="at.%")
    np.testing.assert_allclose(spectra.compositions[0], [0.2, 0.3, 0.5])


def test_weight_percent_is_converted_and_it_is_said(folder):
    path = table(folder, "file,Cu (wt.%),Zr (wt.%)", "a.csv,41.06,58.94", "b.xy,41.14,59.06")
    spectra = read_scan_folder(folder, compositions=path, axis="q")
    np.testing.assert_allclose(spectra.compositions, 0.5, atol=2e-4)  # Cu 63.546 and Zr 91.224 g/mol
    assert "100.20" in spectra.notes[0] and "wt.%" in spectra.notes[0]
    assert spectra.notes[1] == "Compositions were converted from wt.% to at.%."


def test_scans_on_different_axes_are_interpolated_and_it_is_said(folder):
    write_scan(folder / "b.xy", low=1.5, high=4.6, points=311)  # steps of 0.01, finer than the 0.1 of a.csv
    spectra = read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")
    np.testing.assert_allclose(spectra.axis, np.linspace(1.5, 4.6, 311))
    np.testing.assert_allclose(spectra.intensities, np.tile(10 + spectra.axis, (2, 1)))
    assert spectra.notes == (
        "Scans on different axes were interpolated onto 311 points from 1.5 to 4.6. Look whether these are whole: "
        "b begins at 1.5, others at 1; b ends at 4.6, others at 5.",
    )


def test_scans_that_hardly_overlap_are_refused(folder):
    write_scan(folder / "b.xy", high=2.0)
    with pytest.raises(SpectrumError, match=r"common: b ends at 2, others at 5\. Complete"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


def test_scans_and_table_must_match(folder):
    lines = [HEADER, *ROWS[:1], *(f"lost{row}.csv,20,30,50" for row in range(7))]
    with pytest.raises(
        DatasetError,
        match=r"no scan of lost0, lost1, lost2, lost3, lost4 and 2 more; .*csv has no row of b .*--skip-unm",
    ):
        read_scan_folder(folder, compositions=table(folder, *lines), axis="q")
    with pytest.raises(DatasetError, match="no folder"):
        read_scan_folder(folder / "absent", compositions=table(folder, *lines), axis="q")
    write_scan(folder / "a.txt")
    with pytest.raises(DatasetError, match=r"a\.csv and a\.txt"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


def test_what_has_no_counterpart_is_left_out_where_asked_and_named(folder):
    write_scan(folder / "blank.xy", separator=" ")
    (folder / "notes.txt").write_text("sputtered on Monday")
    lines = (HEADER, *ROWS, "lost,20,30,50")
    spectra = read_scan_folder(folder, compositions=table(folder, *lines), axis="q", skip_unmatched=True)
    assert spectra.ids == ("a", "b")
    assert spectra.notes == (
        "Rows without a scan were left out (1): lost.",
        "Scans without a row were left out (2): notes.txt, blank.",
    )
    (folder / "b.xy").write_text("1 5\n2 nan\n5 6\n")
    with pytest.raises(SpectrumError, match=r"b\.xy: Line 2"):
        read_scan_folder(folder, compositions=table(folder, *lines), axis="q", skip_unmatched=True)


def test_all_files_that_cannot_be_read_are_named_at_once(folder):
    (folder / "a.csv").write_text("q,counts\n1,5\n2,6\n3,")
    (folder / "b.xy").write_text("1 5\n2 nan\n5 6\n")
    with pytest.raises(DatasetError, match=r"a\.csv: Line 4: .* 1 more can't be read: b\.xy\."):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


def test_nothing_is_left_of_a_table_of_other_scans(folder):
    with pytest.raises(DatasetError, match=r"Not one scan has a row in compositions\.csv: No row is called a"):
        lines = (HEADER, "c,20,30,50")
        read_scan_folder(folder, compositions=table(folder, *lines), axis="q", skip_unmatched=True)


def test_other_tables_and_folders_are_left_aside_and_named(folder):
    (folder / "edx-of-w2.csv").write_text(f"{HEADER}\nc,10,20,70\n")
    (folder / "w2").mkdir()
    spectra = read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")
    assert spectra.notes == (
        "Left aside, as they are tables: edx-of-w2.csv.",
        f"Folders within {folder.name} weren't looked into: w2.",
    )
    (folder / "above").mkdir()
    (folder / "above" / "w1").mkdir()
    with pytest.raises(DatasetError, match=r"holds no scan \(\.xrdml.*its folders w1 aren't looked into"):
        read_scan_folder(folder / "above", compositions=folder / "compositions.csv", axis="q")


def test_names_are_one_in_any_form_of_unicode_and_a_slash_is_part_of_one(folder):
    write_scan(folder / "probe-a\u0308.xy", separator=" ")
    spectra = read_scan_folder(
        folder, compositions=table(folder, HEADER, *ROWS, "Probe-\u00e4,40,30,30"), axis="q", skip_unmatched=True
    )
    assert spectra.ids[2] == "Probe-\u00e4"
    write_scan(folder / "3.xy", separator=" ")
    with pytest.raises(DatasetError, match=r"no scan of W1/3; .* has no row of 3, probe-"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS, "W1/3,40,30,30"), axis="q")
    with pytest.raises(DatasetError, match="Rows 1 and 3 are both called 'A'"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS, "A.xy,40,30,30"), axis="q")


def test_names_that_come_again_on_every_wafer_are_told_by_it(folder):
    rows = ["1,W1,40,30,30", "2,W1,50,20,30", "1,W2,30,30,40", "2,W2,20,40,40"]
    for name in ("a.csv", "b.xy"):
        (folder / name).unlink(missing_ok=True)
    for name in ("W1-1", "W2-1", "W1-2", "W2-2"):
        write_scan(folder / f"{name}.xy", separator=" ")
    path = table(folder, "sample,wafer,Co (at.%),V (at.%),Zr (at.%)", *rows)
    spectra = read_scan_folder(folder, compositions=path, axis="q")
    assert spectra.ids == ("W1-1", "W1-2", "W2-1", "W2-2")
    np.testing.assert_allclose(spectra.compositions[2], [0.3, 0.3, 0.4])
    path.write_text(path.read_text() + "2,w2,20,40,40\n")
    with pytest.raises(DatasetError, match="Rows 4 and 5 are both called '2' and lie on w2; give each"):
        read_scan_folder(folder, compositions=path, axis="q")


# --- several scans in one file


def map_of(path: Path, names: str = "W{}") -> None:
    """Three scans side by side, the k-th 10 + k + axis, k from 1."""
    head = ",".join(f"{names.format(k)} q (1/A),{names.format(k)} intensity" for k in (1, 2, 3))
    axis = np.linspace(1.0, 5.0, 41)
    path.write_text("\n".join([head, *(",".join(f"{x},{10 + k + x}" for k in (1, 2, 3)) for x in axis)]) + "\n")


def test_each_scan_of_a_file_finds_its_own_row(tmp_path):
    map_of(tmp_path / "wafer.csv")
    lines = ("sample,Co (at.%),Zr (at.%)", "W3,30,70", "W1,10,90", "W2,20,80")
    for source in (tmp_path, tmp_path / "wafer.csv"):
        spectra = read_scan_folder(source, compositions=table(tmp_path, *lines))
        assert spectra.ids == ("W3", "W1", "W2")
        np.testing.assert_allclose(spectra.intensities[:, 0], [14.0, 12.0, 13.0])
        np.testing.assert_allclose(spectra.compositions[:, 0], [0.3, 0.1, 0.2])
        assert spectra.attributes["source"] == "3 scans in 1 file, compositions of compositions.csv"


def angles(path: Path, *, wavelength: float | None = None, places: Sequence[tuple[float, float]] = ((0, 0),)) -> None:
    """An .xrdml with a scan at each place, 20 to 60° in 41 points; counts say which of them it is."""
    stage = [
        "".join(
            f'<positions axis="{axis}" unit="mm"><commonPosition>{at}</commonPosition></positions>'
            for axis, at in zip("XY", place, strict=True)
        )
        for place in places
    ]
    counts = [f'<intensities unit="counts">{" ".join([str(100 + k)] * 41)}</intensities>' for k in range(len(places))]
    scans = [SCAN.format(start=20, end=60, time=1, values=a + b) for a, b in zip(stage, counts, strict=True)]
    text = XRDML.format(version="1.6", status="Completed", line="K-Alpha 1", sample="", scans="".join(scans))
    path.write_text(text if wavelength is None else text.replace("1.540598", str(wavelength)))


def test_numbered_scans_of_a_wafer_find_their_rows_by_place_which_goes_into_the_set(tmp_path):
    places = [(float(x), float(y)) for x in range(-10, 11) for y in range(-10, 11)]
    angles(tmp_path / "map.xrdml", places=places)
    shares = [(10 + k % 80, 90 - k % 80) for k in range(441)]
    rows = [
        f"p{k},W7,{x + 0.1},{1000 * y},{a},{b}" for k, ((x, y), (a, b)) in enumerate(zip(places, shares, strict=True))
    ]
    path = table(tmp_path, "sample,wafer,x (mm),y (µm),Co (at.%),Zr (at.%)", *reversed(rows))
    spectra = read_scan_folder(tmp_path, compositions=path)
    assert (len(spectra), spectra.axis_name, spectra.wavelength) == (441, "two_theta", 1.540598)
    assert spectra.ids[0] == "p440" and spectra.ids[-1] == "p0"
    np.testing.assert_array_equal(spectra.intensities[:, 0], 100 + np.arange(441)[::-1])
    np.testing.assert_allclose(spectra.compositions[0], np.array(shares[440]) / 100)
    assert set(spectra.coordinates) == {"wafer", "x", "y"} and spectra.units == {"x": "mm", "y": "mm"}
    np.testing.assert_allclose([spectra.coordinates[at][-1] for at in "xy"], [-9.9, -10.0])


def test_a_scan_s_own_place_goes_into_the_set(folder):
    angles(folder / "a.xrdml", places=[(3.5, -2.0)])
    angles(folder / "b.xrdml", places=[(4.5, -2.0)])
    (folder / "a.csv").unlink()
    (folder / "b.xy").unlink()
    spectra = read_scan_folder(folder, compositions=table(folder, HEADER, "a,20,30,50", "b,25,35,40"))
    assert spectra.coordinates["x"].tolist() == [3.5, 4.5] and spectra.coordinates["y"].tolist() == [-2.0, -2.0]
    assert spectra.units["x"] == "mm"


def test_scans_of_several_wavelengths_or_beside_scans_over_q_are_converted_to_q(folder):
    angles(folder / "a.xrdml")
    angles(folder / "b.xrdml", wavelength=1.78901)
    (folder / "a.csv").unlink()
    write_scan(folder / "b.xy", low=1.3, high=3.7, separator=" ", header="# q (1/A) counts\n")
    (folder / "b.xy").rename(folder / "c.xy")
    path = table(folder, HEADER, "a,20,30,50", "b,25,35,40", "c,30,30,40")
    spectra = read_scan_folder(folder, compositions=path)
    assert (spectra.axis_name, spectra.wavelength) == ("q", None)
    low, high = (4 * np.pi / wavelength * np.sin(np.radians(at)) for wavelength, at in ((1.540598, 10), (1.78901, 30)))
    assert low <= spectra.axis[0] < low + 0.07 and high - 0.07 < spectra.axis[-1] <= high
    assert spectra.notes[2].startswith(
        "2 scans over 2θ were converted to q, as wavelengths differ (1.5406 Å in a.xrdml, 1.789"
    )
    with pytest.raises(DatasetError, match=r"c\.xy: Its header says q, and two_theta was asked for"):
        read_scan_folder(folder, compositions=path, axis="two_theta")
    (folder / "c.xy").unlink()
    angles(folder / "b.xrdml")
    spectra = read_scan_folder(folder, compositions=table(folder, HEADER, "a,20,30,50", "b,25,35,40"), axis="q")
    assert (spectra.axis_name, spectra.wavelength) == ("q", 1.540598)
    assert "2 scans over 2θ were converted to q, by 1.5406 Å." in spectra.notes


def test_a_file_that_is_called_as_another_row_than_its_sample_is_refused(folder):
    write_scan(folder / "b.xy", separator=" ", header="# sample a\n# q I\n")
    with pytest.raises(
        DatasetError, match=r"b\.xy: the file is called as row 2 \(b\), and the sample in it as row 1 \(a\)"
    ):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


def test_two_scans_of_one_row_are_refused(tmp_path):
    map_of(tmp_path / "wafer.csv")
    write_scan(tmp_path / "W2.csv", header="q,intensity\n")
    lines = ("sample,Co (at.%),Zr (at.%)", "W3,30,70", "W1,10,90", "W2,20,80")
    with pytest.raises(DatasetError, match=r"W2\.csv and scan W2 of wafer\.csv are both of row 3 \(W2\)"):
        read_scan_folder(tmp_path, compositions=table(tmp_path, *lines))


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ([HEADER], DatasetError, "a header and a row for each sample"),
        (["Co (at.%),V (at.%)", "20,80"], DatasetError, "No column is called `file`, `sample` or `id`"),
        ([HEADER.replace(",", ";"), *ROWS], DatasetError, "separated by comma, semicolon or tab"),
        ([HEADER, "a.csv,20,30", ROWS[1]], DatasetError, "line 2: 3 cells where the header has 4"),
        ([HEADER, ROWS[0], "b.xy,25,5,35,39,5"], DatasetError, "line 3: 6 cells .*decimal point"),
        ([HEADER, *ROWS, ROWS[0]], DatasetError, "Rows 1 and 3 are both called 'a'"),
        (["file,wafer,rate", "a.csv,1,2", "b.xy,1,2"], DatasetError, "No column holds a share"),
        (["file,Co (at.%),V (wt.%),Zr (at.%)", *ROWS], DatasetError, r"all at\.% or all wt\.%"),
        (["file,Co (vol.%),V (vol.%),Zr (vol.%)", *ROWS], DatasetError, r"unit of the column 'Co \(vol\.%\)'"),
        (["file,Co (at.%),V (at.%),Zr", *ROWS], DatasetError, "unit of the column 'Zr'"),
        (["file,Co (at.%),Vv (at.%),Zr (at.%)", *ROWS], DatasetError, "'Vv' is no chemical symbol"),
        (["file,Co (at.%),Co (at.%),Zr (at.%)", *ROWS], DatasetError, "Two columns have the same name"),
        (["file,Co (at.%),Co [at.%],Zr (at.%)", *ROWS], DatasetError, "hold shares of one element: .*--columns"),
        ([f"{HEADER},element", f"{ROWS[0]},1", f"{ROWS[1]},2"], DatasetError, "can't be called 'element'"),
        ([HEADER, ROWS[0], "b.xy,25,35,30"], CompositionError, r"Row 2 \(b.*got 90"),
        ([HEADER, ROWS[0], "b.xy,0.25,0.35,0.4"], CompositionError, r"Row 2 \(b.*multiply by 100"),
        ([HEADER, ROWS[0], "b.xy,-5,65,40"], CompositionError, r"Row 2 \(b.*Co is negative"),
        ([HEADER, ROWS[0], "b.xy,n.a.,60,40"], CompositionError, r"Row 2 \(b.*Co is no number"),
        ([HEADER, ROWS[0], "b.xy,,60,40"], CompositionError, r"Row 2 \(b.*Co is no number"),
    ],
)
def test_a_bad_table_is_refused_with_what_is_wrong(folder, lines, error, message):
    with pytest.raises(error, match=message):
        read_scan_folder(folder, compositions=table(folder, *lines), axis="q")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("1,5\n2,5\n3,\n4,5\n", DatasetError, r"b\.xy: Line 3: two numbers are expected.*got '3,'"),
        ("x y\n1 5\n2 5\n3\n", DatasetError, r"b\.xy: Line 4"),
        ("one two\nthree\n", DatasetError, r"b\.xy: It holds 0 lines of two numbers.*begins with 'one two'"),
        ("", DatasetError, r"b\.xy: It is empty"),
        ("1 5\n2 5\n2 6\n", SpectrumError, r"b\.xy: Line 3: the axis must increase strictly, but 2 follows 2"),
        ("3 5\n2 5\n1 6\n", SpectrumError, r"b\.xy: Line 2: .*sort the scan"),
        ("1 5\nnan 5\n3 6\n", SpectrumError, r"b\.xy: Line 2"),
        ("1 5\n2 nan\n5 6\n", SpectrumError, r"b\.xy: Line 2: NaN"),
        ("1 0\n2 0\n5 0\n", SpectrumError, r"Row 2 \(b\): the spectrum is zero everywhere"),
    ],
)
def test_a_bad_scan_is_refused_with_file_and_line(folder, content, error, message):
    (folder / "b.xy").write_text(content)
    with pytest.raises(error, match=message) as refused:
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")
    assert str(refused.value).startswith(str(folder))


def test_an_angle_needs_its_wavelength(folder):
    write_scan(folder / "a.csv", low=20, high=60)
    write_scan(folder / "b.xy", low=20, high=60)
    with pytest.raises(DatasetError, match=r"a\.csv and 1 more: over 2θ, and the wavelength.*--wavelength 1\.5406"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="two_theta")


def test_a_table_that_is_no_text_is_refused(folder):
    path = folder / "compositions.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="no whole UTF-16 text"):
        read_scan_folder(folder, compositions=path, axis="q")
    with pytest.raises(DatasetError, match="can't be read"):
        read_scan_folder(folder, compositions=folder / "absent.csv", axis="q")
