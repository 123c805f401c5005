"""When enough of a wafer is measured: the orders, and what is recorded of each wafer."""

from pathlib import Path

import numpy as np

from glassmap.agent.data.dataset import SpectraSet, read_dataset, write_dataset
from tests.benchmarks.enough import CASES, ORDERS, coarse_to_fine, over_wafers, run


def write_grid(path: Path) -> Path:
    """A wafer of 9 x 9 points whose peak moves along one edge and widens along the other."""
    x, y = (part.ravel() for part in np.meshgrid(*[np.arange(-12.0, 13, 3)] * 2))
    shares = np.stack([33 + 1.3 * x, 33 + 1.2 * y], axis=1) / 100
    compositions = np.column_stack([shares, 1 - shares.sum(1)])
    q = np.linspace(1.5, 4.5, 90)
    peaks = 1 / (1 + 4 * ((q - 2.4 - compositions[:, :1]) / (0.3 + compositions[:, 1:2])) ** 2)
    noise = np.random.default_rng(0).normal(scale=0.5, size=(81, 90))
    coordinates = {"wafer": np.full(81, "W1"), "plate_xy": np.stack([x, y], axis=1)}
    names, elements = tuple(f"p{k}" for k in range(81)), ("Co", "V", "Zr")
    spectra = SpectraSet(names, elements, compositions, "q", q, 10 + 90 * peaks + noise, coordinates=coordinates)
    write_dataset(spectra, path)
    return path


def test_a_wafer_is_followed_to_its_end_in_every_order_and_points_are_saved_where_they_are_planned(tmp_path: Path):
    records = run([write_grid(tmp_path / "grid.nc")], seeds=[0], every=30)
    assert {(one["order"], one["by"]) for one in records} == {(order, case[0]) for order in ORDERS for case in CASES}
    for one in records:
        assert one["counts"][-1] == one["points"] == 61 and len(one["errors"]) == len(one["counts"])
        assert (
            one["saved"] == 1 - one["stopped_at"] / 61
            and one["error"] == one["errors"][one["counts"].index(one["stopped_at"])]
        )
        assert one["seconds"] < 5
    saved = {(line["order"], line["by"]): line["saved (%)"] for line in over_wafers(records)}
    campaign = CASES[1][0]
    assert saved["as scanned", campaign] < 2 < 30 < saved["as planned", campaign]


def test_from_coarse_to_fine_the_corners_of_large_squares_come_first(tmp_path: Path):
    spectra = read_dataset(write_grid(tmp_path / "grid.nc"))
    places = spectra.coordinates["plate_xy"][coarse_to_fine(spectra, np.arange(81), 0)]
    assert set(np.unique(places[:9])) == {-12, 0, 12} and set(np.unique(places[:25])) == {-12, -6, 0, 6, 12}
