"""The scans of one file: summed, joined, apart or refused."""

import time

import numpy as np
import pytest

from glassmap.agent.data.formats.parts import Part, as_scans, combine
from glassmap.agent.errors import DatasetError

RANGE = np.arange(20.0, 30.0)
COUNTS = np.arange(1.0, 11.0)


def part(**said) -> Part:
    return Part(**{"axis": RANGE, "intensity": COUNTS, "seconds": 1.0, **said})


def test_repeats_are_summed_and_their_time_with_them():
    [scan] = combine([part(), part(seconds=3.0)])
    np.testing.assert_array_equal(scan.intensity, 2 * COUNTS)
    assert scan.seconds == 4 and not scan.is_rate
    assert scan.notes == ("2 scans of one range were summed.",)


def test_repeated_rates_are_averaged_by_their_times():
    [scan] = combine([part(is_rate=True), part(is_rate=True, intensity=5 * COUNTS, seconds=3.0)])
    np.testing.assert_allclose(scan.intensity, 4 * COUNTS)
    assert scan.is_rate and "averaged" in scan.notes[0]


def test_counts_and_rates_of_one_range_are_averaged_as_rates():
    [scan] = combine([part(intensity=8 * COUNTS, seconds=4.0), part(is_rate=True, intensity=4 * COUNTS, seconds=4.0)])
    np.testing.assert_allclose(scan.intensity, 3 * COUNTS)
    assert scan.is_rate and "Counts became counts per second." in scan.notes
    with pytest.raises(DatasetError, match="doesn't say how long the counts were counted"):
        combine([part(seconds=None), part(is_rate=True)])


@pytest.mark.parametrize("first_is_rate", [True, False])
def test_a_rate_and_counts_that_follow_on_are_joined_as_rates(first_is_rate: bool):
    after = part(axis=RANGE + 10, intensity=6 * COUNTS, seconds=2.0, is_rate=not first_is_rate)
    [scan] = combine([part(is_rate=first_is_rate, seconds=2.0, intensity=6 * COUNTS), after])
    factors = (6, 3) if first_is_rate else (3, 6)
    np.testing.assert_allclose(scan.intensity, np.concatenate([factor * COUNTS for factor in factors]))
    assert scan.is_rate


def test_parts_that_follow_on_need_their_times_where_some_have_one():
    with pytest.raises(DatasetError, match="says of some alone how long"):
        combine([part(), part(axis=RANGE + 10, seconds=None)])
    [scan] = combine([part(seconds=None), part(axis=RANGE + 10, seconds=None)])
    np.testing.assert_array_equal(scan.intensity, [*COUNTS, *COUNTS])


def test_ranges_between_which_nothing_was_measured_are_not_joined():
    with pytest.raises(DatasetError, match="leave a gap, from 29 to 32"):
        combine([part(), part(axis=RANGE + 12)])
    [scan] = combine([part(), part(axis=RANGE + 11)])  # a point alone lacks
    assert scan.axis.size == 20


def test_the_point_where_one_range_ends_and_the_next_begins_is_averaged_by_its_times():
    low, high = part(seconds=1.0), part(axis=RANGE + 9, intensity=4 * (COUNTS + 20), seconds=4.0)
    for parts in ([low, high], [high, low]):
        [scan] = combine(parts)
        np.testing.assert_array_equal(scan.axis, np.arange(20.0, 39.0))
        np.testing.assert_allclose(scan.intensity, [*COUNTS[:-1], (10 * 1 + 21 * 4) / 5, *(COUNTS[1:] + 20)])
        assert scan.notes[0].endswith("in counts per second, and averaged where one ends and the next begins.")
    with pytest.raises(DatasetError, match="neither of one range nor follow on"):
        combine([low, part(axis=RANGE + 8)])


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"settings": {"Omega (°)": 18.0}}, {"settings": {"Omega (°)": 20.0}}, r"differ in Omega \(°\): 18, 20"),
        ({"settings": {"Chi (°)": 0.0}}, {"settings": {}}, r"differ in Chi \(°\): 0, not said"),
        ({"wavelength": 1.540598}, {"wavelength": 1.541874}, r"differ in wavelength \(Å\): 1.5406, 1.54187"),
        ({"settings": {"temperature (K)": 300.0}}, {"settings": {"temperature (K)": 305.0}}, "temperature"),
    ],
)
def test_scans_of_one_place_that_differ_are_refused_by_name_and_value(one: dict, other: dict, said: str):
    with pytest.raises(DatasetError, match=said):
        combine([part(**one), part(**other)])


def test_what_instruments_scatter_by_is_no_difference():
    settings = [{"temperature (K)": at, "Chi (°)": tilt} for at, tilt in ((300.0, 0.0), (301.4, 0.0004))]
    assert len(combine([part(settings=each, x=5.0004 * (k + 1) - 5 * k) for k, each in enumerate(settings)])) == 1


def test_scans_of_other_places_or_samples_are_scans_of_their_own_whatever_was_set():
    found = combine(
        [part(x=x, y=2.0, sample=sample, settings={"Z (mm)": x}) for sample in ("a", "b") for x in (0.0, 5.0, 0.0004)]
    )
    assert [(scan.sample, scan.x) for scan in found] == [("a", 0), ("a", 5), ("b", 0), ("b", 5)]
    np.testing.assert_array_equal(found[0].intensity, 2 * COUNTS)


def test_a_place_beside_the_edge_of_a_cell_is_the_same_place():
    places = [1.0, 1.0009, 0.9996]
    assert [len(combine([part(x=one, y=0.0), part(x=other, y=0.0)])) for one in places for other in places] == [
        1, 1, 1, 1, 1, 2, 1, 2, 1
    ]  # fmt: skip


def test_scans_are_called_by_their_samples_where_each_has_one_or_else_counted():
    assert [scan.name for scan in as_scans([part(sample="P1"), part(sample="P2")], "q")] == ["P1", "P2"]
    assert [scan.name for scan in as_scans([part(sample="P1", x=0.0), part(sample="P1", x=5.0)], "q")] == ["1", "2"]


def test_a_file_of_many_places_takes_no_time_by_their_square():
    parts = [part(x=float(k // 100), y=float(k % 100)) for k in range(5000)]
    start = time.process_time()
    assert len(combine(parts)) == 5000
    assert time.process_time() - start < 2  # 12 million pairs would take ten
