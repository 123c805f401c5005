"""A scan finds its row by its name or its place, and never by its order."""

import numpy as np
import pytest

from glassmap.agent.data.raw_scan import RawScan
from glassmap.agent.data.scan_matching import Place, match_scans

AXIS = np.array([1.0, 2.0])


def scan(name="1", *, sample: str | None = None, x: float | None = None, y: float | None = None) -> RawScan:
    return RawScan("q", AXIS, AXIS, None, sample, (), x, y, name)


@pytest.mark.parametrize(
    ("stem", "sample", "row"),
    [
        ("r001-02", None, "R001-02"),
        ("any", "r001-02", "r001-02"),
        ("probe-a\u0308", None, "probe-\u00e4"),
        ("any", "W1/3", "W1/3"),
    ],
)
def test_the_only_scan_of_a_file_goes_by_the_file_s_name_or_its_sample_s(stem: str, sample: str | None, row: str):
    assert match_scans([scan(sample=sample)], [stem], [True], [Place("other"), Place(row)]) == [1]


def test_a_slash_is_part_of_a_name():
    (said,) = match_scans([scan()], ["3"], [True], [Place("W1/3")])
    assert isinstance(said, str) and "No row is called 3" in said


@pytest.mark.parametrize("row", ["W3-2", "W3_2", "w3/2", "W3#2", "W3-002"])
def test_one_of_several_scans_goes_by_its_file_and_number(row: str):
    assert match_scans([scan("2")], ["W3"], [False], [Place("2"), Place(row)]) == [1]


def test_a_bare_number_is_no_name():
    (said,) = match_scans([scan("2")], ["W3"], [False], [Place("1"), Place("2")])
    assert isinstance(said, str) and "only numbered" in said and "x and y" in said


def test_one_of_several_scans_goes_by_its_own_sample():
    assert match_scans([scan("P7", sample="P7")], ["map"], [False], [Place("P7")]) == [0]


def test_a_place_finds_its_row_whatever_the_order():
    rows = [Place(f"p{k}", "", float(k), -3.0) for k in range(441)]
    scans = [scan(str(k), sample="W3", x=440.0 - k, y=-3.0 + 0.1) for k in range(441)]
    assert match_scans(scans, ["map"] * 441, [False] * 441, rows) == list(range(440, -1, -1))


def test_places_come_again_on_every_wafer_so_that_the_file_has_to_name_its_own():
    rows = [Place("a", "W1", 1.0, 2.0), Place("b", "W2", 1.0, 2.0)]
    here = scan("1", x=1.0, y=2.0)
    assert match_scans([here, here], ["W2", "other"], [False, False], rows)[0] == 1
    assert isinstance(match_scans([here], ["other"], [False], rows)[0], str)
    assert match_scans([here._replace(sample="W1")], ["other"], [False], rows) == [0]


def test_two_rows_at_one_place_are_none():
    rows = [Place("a", "", 1.0, 2.0), Place("b", "", 1.1, 2.0)]
    assert isinstance(match_scans([scan("1", x=1.05, y=2.0)], ["map"], [False], rows)[0], str)


@pytest.mark.parametrize(
    ("wafers", "x", "says"),
    [
        (("", ""), 1.05, "2 rows lie at its place, 1.05, 2 mm, such as a and b: keep one."),
        (("W1", "W2"), 1.05, r"on other wafers (W1, W2): call the file or its sample as its wafer."),
        (("", ""), 3.0, "No row is called map-1 or map-01, and none lies within 0.25 mm of its place, 3, 2 mm."),
    ],
)
def test_why_no_row_is_at_a_place_is_said(wafers: tuple[str, str], x: float, says: str):
    rows = [Place("a", wafers[0], 1.0, 2.0), Place("b", wafers[1], 1.1, 2.0)]
    (said,) = match_scans([scan("1", x=x, y=2.0)], ["map"], [False], rows)
    assert isinstance(said, str) and says in said and "only numbered" not in said


def test_a_name_and_a_place_that_disagree_are_told_both():
    (said,) = match_scans([scan(x=4.0, y=0.0)], ["a"], [True], [Place("a", "", 1.0, 2.0)])
    assert isinstance(said, str) and "lies at 1, 2 mm" in said and "the scan at 4, 0 mm" in said
