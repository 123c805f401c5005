"""Which alloys of a map are a glass, and how many change sides."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.sides import common_alloys, shares_that_change, sides_of
from glassmap.agent.maps.spectra_archive import read_map

NAN = float("nan")


def write_map(path: Path, delta_q: list[float], co: list[int] | None = None) -> Path:
    """A map of Co-Zr alloys, by default with 0, 1, 2, … at.% Co."""
    shares = np.arange(len(delta_q)) if co is None else np.array(co)
    alloys = {"Co": shares.astype(np.uint8), "Zr": (100 - shares).astype(np.uint8)}
    table = pa.table(alloys | {"delta_q": np.array(delta_q, dtype=np.float32)})
    pq.write_table(table.replace_schema_metadata({"glassmap": json.dumps({"round": 1})}), path)
    return path


def test_losing_or_gaining_a_peak_changes_sides_as_crossing_the_boundary_does(tmp_path: Path):
    assert sides_of(np.array([0.3, 0.57, NAN]), GlassRule()).tolist() == [0, 1, 2]
    rounds = ([0.5, 0.6, 0.6, NAN], [0.56, 0.58, NAN, NAN], [0.6, 0.4, 0.6, 0.3])
    maps = [write_map(tmp_path / f"{k}.parquet", widths) for k, widths in enumerate(rounds)]
    assert shares_that_change(maps, GlassRule()) == [0.25, 1.0]
    assert shares_that_change(maps, GlassRule(0.55)) == [0.5, 0.75], "the boundary is the campaign's"
    assert np.isnan(shares_that_change([maps[0], None, maps[2]], GlassRule())).all(), "one is lost"


def test_of_two_spaces_the_alloys_count_that_both_maps_hold(tmp_path: Path):
    wide = write_map(tmp_path / "wide.parquet", [0.3, 0.4, 0.5, 0.6, 0.7, 0.8], [0, 10, 20, 30, 40, 50])
    narrow = write_map(tmp_path / "narrow.parquet", [0.6, 0.6, 0.3, 0.9], [20, 25, 30, 40])
    elsewhere = write_map(tmp_path / "elsewhere.parquet", [0.6], [99])
    rows = common_alloys(read_map(wide)[0], read_map(narrow)[0])
    assert [row.tolist() for row in rows] == [[2, 3, 4], [0, 2, 3]]
    assert shares_that_change([wide, narrow, wide], GlassRule()) == [2 / 3, 2 / 3], "20 and 30 at.% of 20, 30 and 40"
    assert np.isnan(shares_that_change([narrow, elsewhere], GlassRule())).all(), "none in common"
