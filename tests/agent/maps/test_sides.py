"""Which alloys of a map are a glass, and how many change sides."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.sides import shares_that_change, sides_of

NAN = float("nan")


def write_map(path: Path, delta_q: list[float]) -> Path:
    table = pa.table({"delta_q": np.array(delta_q, dtype=np.float32)})
    pq.write_table(table.replace_schema_metadata({"glassmap": json.dumps({"round": 1})}), path)
    return path


def test_losing_or_gaining_a_peak_changes_sides_as_crossing_the_boundary_does(tmp_path: Path):
    assert sides_of(np.array([0.3, 0.57, NAN]), GlassRule()).tolist() == [0, 1, 2]
    rounds = ([0.5, 0.6, 0.6, NAN], [0.56, 0.58, NAN, NAN], [0.6, 0.4, 0.6, 0.3])
    maps = [write_map(tmp_path / f"{k}.parquet", widths) for k, widths in enumerate(rounds)]
    assert shares_that_change(maps, GlassRule()) == [0.25, 1.0]
    assert shares_that_change(maps, GlassRule(0.55)) == [0.5, 0.75], "the boundary is the campaign's"
    assert np.isnan(shares_that_change([maps[0], None, maps[2]], GlassRule())).all(), "one is lost"
