"""GSAS powder data of each type, written by the tests in records of 80 columns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.scan_files import SUFFIXES, read_raw_scan, read_scans
from glassmap.agent.errors import DatasetError

ANGLES = np.arange(20.0, 61.0)
COUNTS = np.round(100 + 900 * np.exp(-(((ANGLES - 40) / 5) ** 2)))
TITLE = "Co70V20Zr10 on glass"


def records(fields: list[str]) -> str:
    """Put fields one after another into records of 80 columns."""
    text = "".join(fields)
    return "\n".join(text[k : k + 80].ljust(80) for k in range(0, len(text), 80))


def standard(counts: np.ndarray = COUNTS, start: float = 2000, step: float = 100, bank: int = 1) -> str:
    lines = -(-len(counts) // 10)
    head = f"BANK {bank} {len(counts)} {lines} CONST {start:.2f} {step:.2f} 0 0 STD"
    return f"{head:<80}\n{records([f'{1:2d}{value:6.0f}' for value in counts])}\n"


def with_deviations() -> str:
    lines = -(-len(COUNTS) // 5)
    head = f"BANK 1 {len(COUNTS)} {lines} CONST 2000.00 100.00 0 0 ESD"
    fields = [f"{value:8.2f}{np.sqrt(value):8.4f}" for value in COUNTS]
    return f"{head:<80}\n{records(fields)}\n"


def in_points(kind: str) -> str:
    tail = [f" {np.sqrt(value):.4f}" if kind == "FXYE" else "" for value in COUNTS]
    rows = "\n".join(f"{x * 100:.3f} {y:.2f}{e}" for x, y, e in zip(ANGLES, COUNTS, tail, strict=True))
    return f"BANK 1 {len(COUNTS)} {len(COUNTS)} CONS 2000.0 100.0 0 0 {kind}\n{rows}\n"


@pytest.mark.parametrize(
    ("suffix", "body"),
    [
        (".gsa", standard()),
        (".raw", standard()),
        (".xra", with_deviations()),
        (".gss", in_points("FXY")),
        (".fxye", in_points("FXYE")),
        (".dat", in_points("FXYE")),
        (".txt", standard().replace(" STD", "")),
    ],
)
def test_each_type_of_bank_holds_the_same_scan(suffix: str, body: str, tmp_path: Path):
    path = tmp_path / f"scan{suffix}"
    path.write_text(f"{TITLE:<80}\nInstrument parameter file:inst.prm\n# a comment\n{body}")
    scan = read_raw_scan(path)
    assert suffix in SUFFIXES and scan.axis_name == "two_theta" and scan.wavelength is None
    np.testing.assert_allclose(scan.axis, ANGLES)
    np.testing.assert_array_equal(scan.intensity, COUNTS)
    assert (scan.intensity.max(), scan.intensity.sum()) == (1000, 12076)


@pytest.mark.parametrize("change", [lambda text: text.replace("\n", "\r\n"), lambda text: text.replace("\n", "")])
def test_line_ends_are_those_of_any_system_or_none(change: Callable[[str], str], tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_bytes(change(f"{TITLE:<80}\n{standard()}").encode())
    assert read_raw_scan(path).intensity.sum() == 12076


def test_fields_that_touch_are_told_apart_by_their_columns(tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE}\n{standard(COUNTS + 100_000)}")
    assert read_raw_scan(path).intensity.max() == 101_000


def test_counts_between_blanks_are_read_as_they_stand(tmp_path: Path):
    rows = "\n".join(" ".join(f"{value:.0f}" for value in COUNTS[k : k + 10]) for k in range(0, 41, 10))
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE}\nBANK 1 41 5 CONST 2000 100\n{rows}\n")
    np.testing.assert_array_equal(read_raw_scan(path).intensity, COUNTS)


def test_comments_say_wavelength_and_sample(tmp_path: Path):
    path = tmp_path / "scan.fxye"
    path.write_text(f"{TITLE}\n# Calibrated wavelength = 0.412619\n# sample name = W1-3\n{in_points('FXYE')}")
    scan = read_raw_scan(path)
    assert (scan.wavelength, scan.sample) == (0.412619, "W1-3")


def test_banks_are_scans_of_their_own(tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_text(TITLE + "\n" + "".join(standard(COUNTS * k, bank=k) for k in (1, 2, 3)))
    scans = read_scans(path)
    assert [scan.name for scan in scans] == ["1", "2", "3"]
    assert [scan.intensity.sum() for scan in scans] == [12076, 24152, 36228]


@pytest.mark.parametrize(
    ("binning", "words"),
    [
        ("RALF 48008 64 64331 0.0010 FXYE", "RALF is over times of flight of neutrons"),
        ("SLOG 1000 20000 0.0004 0 FXYE", "SLOG is over times of flight"),
        ("TIME_MAP 1 STD", "TIME_MAP is over times of flight"),
        ("EDS 0.1 0.02 0 0 STD", "EDS is over energies"),
        ("CONST 2000 100 0 0 ALT", "CONST and ALT isn't known"),
        ("LPSD 2000 100 0 0 STD", "LPSD and STD isn't known"),
        ("CONST 2000 900 0 0 STD", "ends at 38000, which were 380° of 2θ. Are they times of flight"),
        ("CONST 20 1 0 0 STD", "ends at 60, which were 0.6° of 2θ: .*this looks like degrees"),
        ("CONST 2000", "Start and step must follow CONST"),
        ("CONST 2000 1_0 0 0 STD", "'1_0' is no number"),
    ],
)
def test_a_bank_over_something_else_is_refused_in_words(binning: str, words: str, tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE}\nBANK 1 41 5 {binning}\n{standard().partition(chr(10))[2]}")
    with pytest.raises(DatasetError, match=rf"scan\.gsa: Line 2: .*{words}"):
        read_scans(path)


def test_a_bank_that_begins_elsewhere_than_it_says_is_refused(tmp_path: Path):
    path = tmp_path / "scan.fxye"
    path.write_text(f"{TITLE}\n{in_points('FXYE').replace('CONS 2000.0', 'CONS 1000.0')}")
    with pytest.raises(DatasetError, match="begins at 1000, and its first point is at 2000"):
        read_scans(path)
    path.write_text(f"{TITLE}\n{in_points('FXYE').replace('CONS 2000.0 100.0', 'CONS 0 0')}")
    assert read_raw_scan(path).axis[0] == 20


@pytest.mark.parametrize(("said", "held"), [("BANK 1 40 5", 41), ("BANK 1 42 5", 41)])
def test_as_many_points_as_the_bank_says_are_needed(said: str, held: int, tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE}\n{standard().replace('BANK 1 41 5', said)}")
    with pytest.raises(DatasetError, match=f"says {said.split()[2]} points and holds {held}"):
        read_scans(path)


def test_a_line_that_breaks_off_is_refused(tmp_path: Path):
    path = tmp_path / "scan.fxye"
    path.write_text(f"{TITLE}\n{in_points('FXYE').rpartition(' ')[0]}")
    with pytest.raises(DatasetError, match=r"3 numbers a line are needed, got '6000\.000 10"):
        read_scans(path)


def test_a_bank_in_the_middle_of_a_line_is_refused(tmp_path: Path):
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE} {standard()}")
    with pytest.raises(DatasetError, match="No line of it begins with BANK"):
        read_scans(path)


@pytest.mark.parametrize("width", [1, 7, 8])
def test_one_count_a_line_isn_t_taken_for_columns(width: int, tmp_path: Path):
    counts = COUNTS.astype(int) + 10 ** (width - 1) * (width > 4)
    path = tmp_path / "scan.gsa"
    path.write_text(f"{TITLE}\nBANK 1 41 41 CONST 2000 100\n" + "\n".join(map(str, counts)) + "\n")
    np.testing.assert_array_equal(read_raw_scan(path).intensity, counts)
