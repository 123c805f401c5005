import os
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.data.scan_folder import read_scan_folder
from glassmap.agent.errors import CompositionError, DatasetError, SpectrumError

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
    assert spectra.notes == ("Scans on different axes were interpolated onto 311 points from 1.5 to 4.6.",)


def test_scans_that_hardly_overlap_are_refused(folder):
    write_scan(folder / "b.xy", high=2.0)
    with pytest.raises(SpectrumError, match=r"a begins at 1 and b ends at 2|b begins at 1 and b ends at 2"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


def test_scans_and_table_must_match(folder):
    lines = [HEADER, *ROWS[:1], *(f"lost{row}.csv,20,30,50" for row in range(7))]
    with pytest.raises(DatasetError, match=r"lacks lost0, lost1, lost2, lost3, lost4 and 2 more; .*csv lacks b\."):
        read_scan_folder(folder, compositions=table(folder, *lines), axis="q")
    with pytest.raises(DatasetError, match="no folder"):
        read_scan_folder(folder / "absent", compositions=table(folder, *lines), axis="q")
    write_scan(folder / "a.txt")
    with pytest.raises(DatasetError, match=r"a\.csv and a\.txt"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="q")


@pytest.mark.parametrize(
    ("lines", "error", "message"),
    [
        ([HEADER], DatasetError, "a header and a row for each scan"),
        (["Co (at.%),V (at.%)", "20,80"], DatasetError, "first column is `file`, `sample` or `id`"),
        ([HEADER.replace(",", ";"), *ROWS], DatasetError, "separated by commas"),
        ([HEADER, "a.csv,20,30", ROWS[1]], DatasetError, "line 2: 3 cells where the header has 4"),
        ([HEADER, ROWS[0], "b.xy,25,5,35,39,5"], DatasetError, "line 3: 6 cells .*decimal point"),
        ([HEADER, *ROWS, ROWS[0]], DatasetError, "Rows 1 and 3 are both called 'a'"),
        (["file,wafer,rate", "a.csv,1,2", "b.xy,1,2"], DatasetError, "No column holds a share"),
        (["file,Co (at.%),V (wt.%),Zr (at.%)", *ROWS], DatasetError, r"all at\.% or all wt\.%"),
        (["file,Co (vol.%),V (vol.%),Zr (vol.%)", *ROWS], DatasetError, r"unit of the column 'Co \(vol\.%\)'"),
        (["file,Co (at.%),V (at.%),Zr", *ROWS], DatasetError, "unit of the column 'Zr'"),
        (["file,Co (at.%),Vv (at.%),Zr (at.%)", *ROWS], DatasetError, "'Vv' is no chemical symbol"),
        (["file,Co (at.%),Co (at.%),Zr (at.%)", *ROWS], DatasetError, "two columns have the same name"),
        (["file,Co (at.%),Co [at.%],Zr (at.%)", *ROWS], DatasetError, "Elements must differ"),
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
        ("", DatasetError, r"b\.xy: It holds 0 lines"),
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
    write_scan(folder / "a.csv")
    with pytest.raises(DatasetError, match="needs the wavelength"):
        read_scan_folder(folder, compositions=table(folder, HEADER, *ROWS), axis="two_theta")


def test_a_table_that_is_no_text_is_refused(folder):
    path = folder / "compositions.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="must be CSV in UTF-8"):
        read_scan_folder(folder, compositions=path, axis="q")
    with pytest.raises(DatasetError, match="can't be read"):
        read_scan_folder(folder, compositions=folder / "absent.csv", axis="q")
