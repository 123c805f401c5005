"""Map: every alloy of the space, and what made it."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from glassmap.agent.maps.glass import GlassRule
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1
from glassmap.agent.store.campaign_store import CampaignStore


def test_the_map_holds_every_alloy_of_the_space_and_says_what_made_it(finished: Path):
    with CampaignStore.read_only(finished) as store:
        round_, path = store.artefact("map") or (0, Path())
        _, checkpoint = store.artefact("checkpoint") or (0, Path())
    columns, metadata = read_map(path)
    figures = [*(name for figure in FIGURES for name in (figure.name, figure.std_name)), "peak_share"]
    foretold = [name for f in (DELTA_Q, Q1) for name in (f.expected_name, f.predictive_std_name)]
    figures += ["expected_error", *foretold, "p_glass", "distance", "known"]
    assert list(columns) == ["Co", "V", "Zr", *figures]
    config = metadata.pop("config")
    assert config["space"]["elements"] == ["Co", "V", "Zr"] and config["model"]["members"] == 2
    assert not {"stop", "device", "name"} & set(config) and "dataset" not in config["backend"]
    below, rule = metadata.pop("known_below"), GlassRule.from_json(metadata.pop("glass"))
    assert rule == GlassRule(0.57)
    assert metadata == {"campaign": "small", "round": 3, "checkpoint": checkpoint.stem} and round_ == 3
    np.testing.assert_array_equal(columns["known"] == 1, columns["expected_error"] < below)
    assert columns["known"].dtype == np.uint8 and columns["expected_error"].min() > 0
    at_pct = np.stack([columns[element] for element in ("Co", "V", "Zr")], axis=1)
    assert at_pct.dtype == np.uint8 and len(np.unique(at_pct, axis=0)) == 171  # interior, 5 at.%: 19 · 18 / 2
    assert (at_pct.sum(axis=1) == 100).all() and (at_pct % 5 == 0).all() and at_pct.min() == 5
    assert pq.read_schema(path).field("delta_q").type == "float"
    found = np.isfinite(columns["delta_q"])
    np.testing.assert_array_equal(np.isfinite(columns["q1"]), found)
    predictions = np.rint(4 * columns["peak_share"])  # two networks, a Gaussian process, trees
    np.testing.assert_array_equal(np.isfinite(columns["q1_std"]), predictions > 1)
    assert ((columns["q1"][found] > 1) & (columns["q1"][found] < 5)).all()
