"""Columns of text: known by their names, in any encoding, several scans a file; what isn't said is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_files import read_scans
from glassmap.agent.errors import GlassmapError

TWO_THETA = np.arange(20.0, 81.0)
COUNTS = np.round(100 + 900 * np.exp(-(((TWO_THETA - 38) / 6) ** 2)))  # 1000 at 38°, sum 15668
Q = np.linspace(1, 5, 81)
BY_Q = np.round(100 + 900 * np.exp(-(((Q - 2.7) / 0.4) ** 2)))  # 1000 at 2.70 1/Å, sum 20862
ERRORS = np.sqrt(COUNTS)
K_ALPHA = (2 * 1.540598 + 1.544426) / 3


def columns(*values: np.ndarray, sep: str = ",", digits: str = "g") -> str:
    return "".join(sep.join(f"{value:{digits}}" for value in row) + "\n" for row in zip(*values, strict=True))


def read(folder: Path, text: str, suffix: str = ".txt", axis=None, wavelength=None, encoding="utf-8") -> list[RawScan]:
    path = folder / f"scan{suffix}"
    path.write_bytes(text.encode(encoding))
    return read_scans(path, axis=axis, wavelength=wavelength)


def sums(scans: Sequence[RawScan]) -> dict[str, float]:
    return {scan.name: float(scan.intensity.sum()) for scan in scans}


BY_TWO_THETA = columns(TWO_THETA, COUNTS)


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("Angle,TimePerStep,Intensity,ESD", (TWO_THETA, np.full(61, 48.195), COUNTS, ERRORS)),
        ("2theta,counts", (TWO_THETA, COUNTS)),
        ("Pos. [°2Th.],Iobs [cts],Icalc [cts],Iback [cts]", (TWO_THETA, COUNTS, 2 * COUNTS, ERRORS)),
        ("sample,2theta,I", (np.ones(61), TWO_THETA, COUNTS)),
        ("Nr,2Theta (deg),Counts", (np.arange(61), TWO_THETA, COUNTS)),
        (",2θ,I", (np.arange(61), TWO_THETA, COUNTS)),
        ("Unnamed: 0.1,Unnamed: 0,TwoTheta,Int.", (np.arange(61), np.arange(61), TWO_THETA, COUNTS)),
        ("Intensity,2theta", (COUNTS, TWO_THETA)),
        ("2theta,yobs,ycalc,bkg,diff", (TWO_THETA, COUNTS, ERRORS, ERRORS, -ERRORS)),
        ("2theta,omega,I_au,sigma", (TWO_THETA, TWO_THETA / 2, COUNTS, ERRORS)),
        ("#       2th_deg,           I", (TWO_THETA, COUNTS)),
        ("# 2th_rad,I", (np.radians(TWO_THETA), COUNTS)),
        ("2theta,Intensity\ndeg,counts", (TWO_THETA, COUNTS)),
        ("2theta,Intensity,\n(deg),(cps),", (TWO_THETA, COUNTS)),
        ("Winkel 2Theta (°),Intensität (a.u.)", (TWO_THETA, COUNTS)),
        ("! comment\n! 2theta,I", (TWO_THETA, COUNTS)),
        ("% 2theta,I", (TWO_THETA, COUNTS)),
        ("; 2theta,I", (TWO_THETA, COUNTS)),
        ("// 2theta,PSD", (TWO_THETA, COUNTS)),
        ("Beugungswinkel,Zählrate", (TWO_THETA, COUNTS)),
        ("2θ / °,I / cps", (TWO_THETA, COUNTS)),
    ],
)
def test_columns_of_2theta_are_known_by_their_names(tmp_path: Path, header, values):
    (scan,) = read(tmp_path, f"{header}\n{columns(*values, digits='.8g')}")
    assert (scan.axis_name, scan.sample, scan.intensity.sum()) == ("two_theta", None, 15668)
    np.testing.assert_allclose(scan.axis, TWO_THETA, atol=1e-5)


@pytest.mark.parametrize(
    ("header", "values"),
    [
        (",q,intensity", (np.arange(81), Q, BY_Q)),
        ("q_nm^-1,I,sigma", (10 * Q, BY_Q, BY_Q)),
        ("# q_A^-1,I", (Q, BY_Q)),
        ("q (nm⁻¹),I", (10 * Q, BY_Q)),
        ("q (nm-1),I", (10 * Q, BY_Q)),
        ("q [Å⁻¹],S(q)", (Q, BY_Q)),
        ("Q(1/A),I(Q),dI", (Q, BY_Q, BY_Q)),
        ("q(nm^{-1}),I", (10 * Q, BY_Q)),
        ("# unit: q_nm^-1\n# x,y", (10 * Q, BY_Q)),
        ("# q unit: 1/nm\nq,I", (10 * Q, BY_Q)),
        ("q I\n1/nm a.u.", (10 * Q, BY_Q)),
        ("q / nm-1,I / a.u.", (10 * Q, BY_Q)),
        ("Q/Å⁻¹,Intensity/cps", (Q, BY_Q)),
        ("Scattering vector q (1/nm),I", (10 * Q, BY_Q)),
        ("#L Q($\\AA^{-1}$),I", (Q, BY_Q)),
        ("q,Intensity\n1/nm,a.u.", (10 * Q, BY_Q)),
    ],
)
def test_columns_of_q_are_known_by_their_names_and_their_unit(tmp_path: Path, header, values):
    (scan,) = read(tmp_path, f"{header}\n{columns(*values, digits='.8g')}", axis="q")
    assert (scan.axis_name, scan.intensity.sum(), scan.intensity.max()) == ("q", 20862, 1000)
    np.testing.assert_allclose(scan.axis, Q)
    assert scan.axis[scan.intensity.argmax()] == pytest.approx(2.7)


@pytest.mark.parametrize(
    ("header", "unit"), [("#L r($\\AA$)  G($\\AA^{-2}$)", 1), ("#L r G(r)", 1), ("# r (nm)  G(r)", 10)]
)
def test_a_pair_distribution_is_over_r(tmp_path: Path, header: str, unit: int):
    r = np.linspace(0.01, 30, 100)
    text = f"[DEFAULT]\nversion = pdfgetx3\nwavelength = 0.1729\n#### start data\n#S 1\n{header}\n"
    (scan,) = read(tmp_path, text + columns(r / unit, np.sin(r), sep=" ", digits=".9g"), ".gr", axis="r")
    assert (scan.axis_name, scan.wavelength) == ("r", 0.1729)
    np.testing.assert_allclose(scan.axis, r)
    np.testing.assert_allclose(scan.intensity, np.sin(r), atol=1e-8)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("sep", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ","), ("  ", ","), (" ", ".")])
def test_any_usual_encoding_line_end_separator_and_decimal_sign(tmp_path: Path, encoding, end, sep, decimal):
    body = columns(TWO_THETA, COUNTS, sep=sep, digits=".2f").replace(".", decimal if decimal == "," else ".")
    text = (f"2theta_°{sep}Intensity\n" + body).replace("\n", end)
    (scan,) = read(tmp_path, text, encoding=encoding)
    np.testing.assert_array_equal(scan.axis, TWO_THETA)
    assert scan.intensity.sum() == 15668


@pytest.mark.parametrize(
    "text",
    [
        '"2theta","Intensity"\n' + "".join(f'"{x:g}","{y:g}"\n' for x, y in zip(TWO_THETA, COUNTS, strict=True)),
        '"2theta";"I"\n' + "".join(f'"{x:g},0";"{y:g},00"\n' for x, y in zip(TWO_THETA, COUNTS, strict=True)),
        "2theta,I,\n" + "".join(f"{x:g},{y:g},\n" for x, y in zip(TWO_THETA, COUNTS, strict=True)),
        f"2theta,I\n{BY_TWO_THETA}\n# measured by night\n\n",
        f"2theta,I\n{BY_TWO_THETA},\n,\n",
        "2theta,I,attenuation\n" + columns(TWO_THETA, COUNTS, np.full(61, 10)),
    ],
)
def test_quotes_and_separators_at_the_end_of_lines_are_no_hindrance(tmp_path: Path, text: str):
    assert read(tmp_path, text)[0].intensity.sum() == 15668


def test_three_columns_are_position_intensity_and_error_by_the_files_ending(tmp_path: Path):
    body = columns(TWO_THETA, COUNTS, ERRORS, sep=" ")
    assert read(tmp_path, body, ".xye", axis="two_theta")[0].intensity.sum() == 15668
    assert read(tmp_path, "X , Y , E\n1\n" + body.replace(" ", ","), ".dat", axis="two_theta")[0].intensity.size == 61
    with pytest.raises(GlassmapError, match="3 columns have no header"):
        read(tmp_path, body, ".xy", axis="two_theta")


def test_times_of_one_length_leave_counts_and_others_make_rates(tmp_path: Path):
    seconds = np.where(TWO_THETA < 40, 1, 4)
    (scan,) = read(tmp_path, "2theta,counts,time\n" + columns(TWO_THETA, COUNTS * seconds, seconds))
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert "divided by the time" in scan.notes[0]
    (scan,) = read(tmp_path, "2theta,counts,time\n" + columns(TWO_THETA, COUNTS, np.full(61, 3)))
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    (scan,) = read(tmp_path, "2theta,cps,time\n" + columns(TWO_THETA, COUNTS, seconds))
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    (scan,) = read(tmp_path, "2theta,counts,cps\n" + columns(TWO_THETA, COUNTS * seconds, COUNTS))
    np.testing.assert_array_equal(scan.intensity, COUNTS)


PANALYTICAL = """[Measurement conditions]
Sample identification,W1-3
Scan axis,Gonio
Anode material,Cu
K-Alpha1 wavelength,1.540598
K-Alpha2 wavelength,1.544426
Ratio K-Alpha2/K-Alpha1,0.5
[Scan points]
Angle,Intensity
"""


@pytest.mark.parametrize(
    ("header", "wavelength", "sample"),
    [
        (PANALYTICAL, K_ALPHA, "W1-3"),
        ("[Measurement conditions]\nAnode material,Cu\n[Scan points]\nAngle,Intensity\n", K_ALPHA, None),
        ('\'Id: "W1-3" Comment: "none" Anode: "Cu" Scantype: "Locked Coupled"\n', K_ALPHA, "W1-3"),
        ("# wavelength (nm): 0.07107\n# 2theta,I\n", 0.7107, None),
        ("# == pyFAI calibration ==\n# Wavelength: 1.0e-10 m\n# --> W1-3.dat\n# 2th_deg,I\n", 1.0, None),
        ("# Wellenlänge: 0,7107 Å\n# 2theta,I\n", 0.7107, None),
        ("# Radiation: Cu Ka\n2theta,I\n", K_ALPHA, None),
        ("# energy = 12.398420 keV\n# sample: W1-3\n# 2theta,I\n", 1.0, "W1-3"),
        ("# wavelength = 0.7107 A\n# 2theta,I\n", 0.7107, None),
    ],
)
def test_a_header_states_the_wavelength_and_the_sample(tmp_path: Path, header, wavelength, sample):
    (scan,) = read(tmp_path, header + BY_TWO_THETA)
    assert (scan.axis_name, scan.sample, scan.intensity.sum()) == ("two_theta", sample, 15668)
    assert scan.wavelength == pytest.approx(wavelength, rel=1e-5)
    with pytest.raises(GlassmapError, match=rf"a wavelength of {wavelength:.6g} Å, and 2 Å was asked for"):
        read(tmp_path, header + BY_TWO_THETA, wavelength=2.0)


def test_a_fit2d_chi_says_its_axis_in_words_and_how_many_points_it_holds(tmp_path: Path):
    text = "image.tif: azimuthal\n{}\nIntensity\n {}\n" + columns(10 * Q, BY_Q, sep="  ", digits=".7E")
    (scan,) = read(tmp_path, text.format("Q (Inverse Nanometres)", 81), ".chi", axis="q")
    np.testing.assert_allclose(scan.axis, Q)
    with pytest.raises(GlassmapError, match="announces 91 points and holds 81"):
        read(tmp_path, text.format("Q (Inverse Nanometres)", 91), ".chi", axis="q")
    with pytest.raises(GlassmapError, match="two_theta, and q was asked for"):
        read(tmp_path, text.format("2-Theta Angle (Degrees)", 81), ".chi", axis="q")


# --- several scans a file

TWICE = (TWO_THETA, COUNTS, TWO_THETA, 2 * COUNTS)
ENDED = "".join(
    f"{x:g},{y:g},{x:g},{2 * y:g}\n" if x < 60 else f",,{x:g},{2 * y:g}\n"
    for x, y in zip(TWO_THETA, COUNTS, strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        "a map,,,\nP1,,P2,\nx=1,,x=2,\n2theta,I,2theta,I\n" + columns(*TWICE),
        "P1,,P2,\n2theta,I,2theta,I\n" + columns(*TWICE),
        "P1\t\tP2\t\n2theta\tI\t2theta\tI\n" + columns(*TWICE, sep="\t"),
        "P1 2theta,P1 I,P2 2theta,P2 I\n" + columns(*TWICE),
        "2theta_P1,I_P1,2theta_P2,I_P2\n" + columns(*TWICE),
        "P1 P1 P2 P2\n2theta I 2theta I\n" + columns(*TWICE, sep=" "),
        "a map of two\nP1 P2\n2theta I 2theta I\n" + columns(*TWICE, sep=" "),
        "P1,,,P2,,\n2theta,I,esd,2theta,I,esd\n"
        + columns(TWO_THETA, COUNTS, ERRORS, TWO_THETA, 2 * COUNTS, ERRORS, digits=".8g"),
        "2theta,P1,P2\n" + columns(*TWICE[:2], 2 * COUNTS),
        ",2theta,P1,P1_err,P2,P2_err\n" + columns(np.arange(61), *TWICE[:2], ERRORS, 2 * COUNTS, ERRORS),
        f"# sample P1\n# 2theta I\n{BY_TWO_THETA}\n# sample P2\n# 2theta I\n{columns(*TWICE[2:])}",
        f'# "P1"\n# 2theta I\n{BY_TWO_THETA}\n\n# "P2"\n# 2theta I\n{columns(*TWICE[2:])}',
        f"P1\n2theta,I\n{BY_TWO_THETA}\nP2\n2theta,I\n{columns(*TWICE[2:])}",
    ],
)
def test_scans_side_by_side_or_below_one_another_are_scans_of_their_samples(tmp_path: Path, text: str):
    scans = read(tmp_path, text, axis="two_theta")
    assert sums(scans) == {"P1": 15668, "P2": 31336}
    assert [scan.sample for scan in scans] == ["P1", "P2"]
    for scan in scans:
        np.testing.assert_array_equal(scan.axis, TWO_THETA)


def test_a_scan_beside_a_longer_one_ends_where_its_cells_do(tmp_path: Path):
    first, second = read(tmp_path, "P1,,P2,\n2theta,I,2theta,I\n" + ENDED)
    assert (first.axis[-1], first.intensity.size, second.axis[-1]) == (59, 40, 80)
    assert second.intensity.sum() == 31336


def test_scans_of_other_samples_that_follow_on_stay_apart_and_parts_of_one_are_joined(tmp_path: Path):
    low, high = columns(TWO_THETA[:30], COUNTS[:30]), columns(TWO_THETA[30:], COUNTS[30:])
    apart = read(tmp_path, f"# sample P1\n# 2theta,I\n{low}# sample P2\n# 2theta,I\n{high}")
    assert {scan.name: scan.intensity.size for scan in apart} == {"P1": 30, "P2": 31}
    assert read(tmp_path, f"# 2theta,I\n{low}\n{high}")[0].intensity.sum() == 15668


@pytest.mark.parametrize("place", ["# x: {} mm\n# y: 2 mm", "# x = {} mm, y = 2 mm", "# x_mm: {}\n# Y (mm) = 2"])
def test_blocks_have_their_places_on_the_stage(tmp_path: Path, place: str):
    block = f"# sample W1\n{place}\n# 2theta I\n{BY_TWO_THETA}"
    assert [(scan.x, scan.y, scan.sample) for scan in read(tmp_path, block.format(1) + block.format(-3.5))] == [
        (1, 2, "W1"),
        (-3.5, 2, "W1"),
    ]


THRICE = columns(TWO_THETA, COUNTS, TWO_THETA, 2 * COUNTS, TWO_THETA, COUNTS)


@pytest.mark.parametrize(
    ("text", "axis", "message"),
    [
        (THRICE, "two_theta", "3 scans side by side"),
        ("2theta,I,2theta,I,2theta,I\n" + THRICE, None, "3 scans side by side"),
        ("2theta,I,2theta.1,I.1\n" + columns(*TWICE), None, "2 scans side by side"),
        ("q,I,I,I\n" + columns(Q, BY_Q, BY_Q, BY_Q), "q", "3 intensities over one axis"),
        ("q,I_raw,I_corr\n" + columns(Q, BY_Q, BY_Q), "q", "2 intensities over one axis"),
        (BY_TWO_THETA + "\n" + BY_TWO_THETA, "two_theta", "2 scans below one another"),
        (BY_TWO_THETA, None, "units are never guessed. Say `--axis q`"),
        ("2theta,I\n" + BY_TWO_THETA, "q", "says two_theta, and q was asked for"),
        ("# axis: q\n2theta,I\n" + BY_TWO_THETA, None, "says 'q', and calls a column '2theta'"),
        ("x,I\n" + BY_TWO_THETA, "q", "q ends at 30 1/Å; is it 2θ"),
        ("d-spacing,I\n" + columns(Q, BY_Q), "q", "over 'd-spacing'"),
        ("r_mm,I\n" + columns(Q, BY_Q), "r", "over 'r_mm'"),
        ("q (1/um),I\n" + columns(Q, BY_Q), "q", r"over 'q \(1/um\)'"),
        ("q (1/pm),I\n" + columns(Q, BY_Q), "q", r"over 'q \(1/pm\)'"),
        ("QNM-1,I\n" + columns(10 * Q, BY_Q), "q", "called 'QNM-1', which isn't known"),
        ("# unit: q_nm^-1\nq_A^-1,I\n" + columns(Q, BY_Q), "q", "says 'q_nm\\^-1', and calls a column 'q_A\\^-1'"),
        ("2theta,I,attenuation\n" + columns(TWO_THETA, COUNTS, COUNTS), None, "'attenuation' changes from 100 to 1000"),
        ("2theta,I\n20,\u22125\n21,2\n22,3\n", None, "Line 2"),
        ("sin(theta)/lambda,I\n" + columns(Q, BY_Q), "q", "over 'sin"),
        ("q,log(I)\n" + columns(Q, np.log(BY_Q)), "q", "called intensity or counts"),
        ("time,counts\n" + BY_TWO_THETA, "two_theta", "none is 2θ, q or r"),
        (PANALYTICAL.replace("Gonio", "Omega") + BY_TWO_THETA, "two_theta", "scanned over 'Omega', no scan over 2θ"),
        (
            PANALYTICAL.replace("Ratio", "K-Alpha1 wavelength,1.7889\nRatio") + BY_TWO_THETA,
            None,
            "several values of Kα1",
        ),
        ("a,b,c\n" + columns(TWO_THETA, COUNTS, ERRORS), "two_theta", "called 'a', 'b', 'c'; of more than two"),
        ("2theta,counts,time\n" + columns(TWO_THETA, COUNTS, 0 * COUNTS), None, "'time' must hold times above 0 s"),
        ("Spectrum,Co (at.%),Zr (at.%)\n" + columns(np.arange(61), COUNTS, COUNTS), "two_theta", "composition table"),
        ("2theta\tI\n20\t1,000\n21\t1,200\n22\t1,300\n", None, "'1,000' may have its comma between thousands"),
        ("2theta\tI\n20.0\t1,000\n21.0\t999\n22.0\t998\n", None, "Line 2: .* without signs between thousands"),
        ("2theta;I\n20;1 000\n21;999\n22;998\n", None, "Line 2: .* without signs between thousands"),
        ("2theta;I\n20;n/a\n21;999\n22;998\n", None, "Line 2: two numbers are expected"),
        ("2theta,I\n" + BY_TWO_THETA + "end of file\n", None, "Line 63: .*'end of file'"),
        ("2theta,I\n" + BY_TWO_THETA + "81,nan\n", None, "Line 63: NaN"),
        ("2theta,I\n" + BY_TWO_THETA + "81\n", None, "Line 63: two numbers are expected"),
        ("2theta,I\n" + BY_TWO_THETA + "81,\n82,5\n", None, "Line 63: two numbers are expected"),
        ("2theta,I\n" + BY_TWO_THETA + "80,5\n", None, "Line 63: the axis must increase strictly, but 80 follows 80"),
        ("2theta,I\n20,1_0\n21,2\n22,3\n", None, "Line 2"),
        ("2theta,I\n20,1O5\n21,2\n22,3\n", None, "Line 2"),
        ("0,1\n" + BY_TWO_THETA, "two_theta", "seems to count the columns"),
        ("", "q", "It is empty"),
        ("20 5\n", "q", "at least 2 are needed"),
    ],
)
def test_what_a_text_does_not_say_or_says_twice_is_refused_with_what_was_seen(tmp_path: Path, text, axis, message):
    with pytest.raises(GlassmapError, match=message):
        read(tmp_path, text, axis=axis)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Scan axis,Omega\nScan type,Continuous\nAngle,Intensity\n" + BY_TWO_THETA, "scanned over 'Omega'"),
        ("2theta,I\n" + columns(TWO_THETA, 0 * Q[:61], COUNTS, 0 * Q[:61]), "names 2 columns, .* lines hold 4 numbers"),
        ("2theta,Raw,Smoothed\n" + columns(TWO_THETA, COUNTS, COUNTS), "aren't of several samples"),
        (
            "2theta,Monitor,Detector\n" + columns(TWO_THETA, 1e5 + 1e3 * TWO_THETA, COUNTS),
            "changes from 120000 to 180000",
        ),
        ("Pos. [°2Th.],Height [cts],FWHM [°2Th.]\n" + columns(TWO_THETA, COUNTS, ERRORS), "list of peaks"),
        ("2theta,Intensity (log)\n" + BY_TWO_THETA, "'Intensity \\(log\\)' is called intensity"),
        ("2theta,I*q^2\n" + BY_TWO_THETA, "'I\\*q\\^2' is called intensity"),
        ("Anode material,Co\nK-Alpha1 wavelength,1.540598\nAngle,I\n" + BY_TWO_THETA, "anode Co, whose Kα is 1.7903 Å"),
        ("No. of points,80\nAngle,Intensity\n" + BY_TWO_THETA, "announces 80 points and holds 61"),
        ("q_pm^-1,I\n" + BY_TWO_THETA, "over 'q_pm\\^-1'"),
        ("azimuthal angle,I\n" + BY_TWO_THETA, "over 'azimuthal angle'"),
    ],
)
def test_a_header_that_says_that_its_numbers_are_no_scan_is_believed(tmp_path: Path, text: str, message: str):
    with pytest.raises(GlassmapError, match=message):
        read(tmp_path, text, axis="two_theta")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("# The X unit is: d-Spacing in Angstrom", "over 'd-Spacing in Angstrom'"),
        ("file\nRadial Distance (Pixels)\nIntensity", "over 'Radial Distance \\(Pixels\\)'"),
        ("# Q-range 5 to 50 nm^-1", "speaks of 1/nm"),
        ("<X> q nm-1 <Y> I", "speaks of 1/nm"),
    ],
)
def test_a_unit_of_another_axis_is_not_overruled_by_who_asks_for_q(tmp_path: Path, header: str, message: str):
    with pytest.raises(GlassmapError, match=message):
        read(tmp_path, f"{header}\n" + columns(Q, BY_Q, sep=" "), axis="q")


@pytest.mark.parametrize(
    ("label", "factor"), [("$2\\theta$ ($^{o}$)", 1.0), ("$2\\theta$ ($rad$)", np.pi / 180), ("angle_deg", 1.0)]
)
def test_labels_of_plots_name_an_axis(tmp_path: Path, label: str, factor: float):
    label = label if label == "angle_deg" else f"Scattering angle {label}"
    (scan,) = read(
        tmp_path, f"a.tif\n{label}\nIntensity\n 61\n" + columns(factor * TWO_THETA, COUNTS, sep=" ", digits=".10g")
    )
    assert scan.axis_name == "two_theta"
    assert scan.axis[np.argmax(scan.intensity)] == pytest.approx(38)


def test_an_axis_whose_unit_is_said_above_is_converted(tmp_path: Path):
    (scan,) = read(tmp_path, "# The X unit is: q in nm^-1\n" + columns(10 * Q, BY_Q, sep=" "), axis="q")
    assert scan.axis[np.argmax(scan.intensity)] == pytest.approx(2.7)


@pytest.mark.parametrize(
    ("line", "wavelength"),
    [
        ("# Wavelength: 1.540598, 1.544426", K_ALPHA),
        ("# Wavelength: 0.1540598 0.1544426 0.5 nm", K_ALPHA),
        ("# Wavelength: 154.0598 pm", 1.540598),
        ("# Wavelength: CuKa1 1.540598", 1.540598),
        ("# X-ray wavelength (Angstrom) 0.7093", 0.7093),
        ("# Radiation: Cu Ka1", 1.54059),
        ("# Radiation: Cu Kα", (2 * 1.54059 + 1.54443) / 3),
        ("# beam energy: 20000 eV", 0.619921),
    ],
)
def test_a_wavelength_is_understood_as_programs_write_it(tmp_path: Path, line: str, wavelength: float):
    (scan,) = read(tmp_path, f"{line}\n# 2theta I\n" + columns(TWO_THETA, COUNTS, sep=" "))
    assert scan.wavelength == pytest.approx(wavelength, abs=1e-6)


LATER = 1.0 + (TWO_THETA > 40)  # s, at each point


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("2theta,counts,dwell", (TWO_THETA, COUNTS * LATER, LATER)),
        ("2theta,counts,t (s)", (TWO_THETA, COUNTS * LATER, LATER)),
        ("2theta,counts,elapsed time (s)", (TWO_THETA, COUNTS, TWO_THETA)),
        ("2theta,counts,timestamp", (TWO_THETA, COUNTS, TWO_THETA)),
    ],
)
def test_counts_are_divided_by_the_time_they_were_counted_and_by_no_clock(tmp_path: Path, header: str, values):
    (scan,) = read(tmp_path, f"{header}\n" + columns(*values))
    assert scan.intensity.sum() == pytest.approx(15668)


@pytest.mark.parametrize(
    ("header", "values", "message"),
    [
        ("2theta,counts,Time", (TWO_THETA, COUNTS, TWO_THETA - 19), "grows with each point from 1 to 61, like a clock"),
        (
            "2theta,counts,Live time,Real time",
            (TWO_THETA, COUNTS, LATER, 1.1 * LATER),
            "in several columns, 'Live time'",
        ),
        ("2theta,counts,att. factor", (TWO_THETA, COUNTS, LATER), "'att. factor' changes from 1 to 2"),
        ("2theta,Intensity,Intensity.1", (TWO_THETA, COUNTS, COUNTS), "2 intensities over one axis"),
    ],
)
def test_columns_that_change_what_intensities_mean_are_refused(tmp_path: Path, header: str, values, message: str):
    with pytest.raises(GlassmapError, match=message):
        read(tmp_path, f"{header}\n" + columns(*values))


@pytest.mark.parametrize("above", ["wafer,W1\n", "x,5,0\ny,1,2\n"])
def test_a_line_above_that_is_of_the_file_names_no_samples(tmp_path: Path, above: str):
    scans = read(tmp_path, f"{above}2theta,P1,P2\n" + columns(TWO_THETA, COUNTS, 2 * COUNTS))
    assert sums(scans) == {"P1": 15668, "P2": 31336}
