"""The figures that explain: what they say of made-up spectra is so, and a small campaign is enough to draw them."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset
from tests.benchmarks import explain
from tests.support.campaigns import run, write_campaign
from tests.support.pictures import shows_something


def test_small_grains_read_as_scherrer_says_and_the_smallest_as_a_glass():
    grains = explain.made_up_lies()["grains"]
    single = [one for one in grains if 2 < one["nm"] < 10]
    assert all(one["read"] == pytest.approx(one["scherrer"], rel=0.05) for one in single)
    assert grains[0]["read"] > explain.GLASS_DELTA_Q and grains[0]["read"] > 1.15 * grains[0]["scherrer"]


def test_two_halos_read_as_a_wider_one_until_they_part_and_a_line_leaves_the_halo_as_it_is():
    lies = explain.made_up_lies()
    widths = [one["read"] for one in lies["two halos"]]
    assert widths[0] == pytest.approx(0.35, abs=0.01) and max(widths) > 0.45 and widths[-1] < 0.4
    assert all(one["read"] == pytest.approx(0.6, rel=0.02) for one in lies["line"])
    assert lies["line"][0]["share"] < 0.01 < 0.05 < lies["line"][-1]["share"]


def test_a_small_replay_gives_every_figure(small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ids = read_dataset(small_dataset).ids
    states = dict(zip(ids, ("glass", "both", "crystalline") * len(ids), strict=False))
    monkeypatch.setattr(explain, "read_labels", lambda name: states)
    monkeypatch.setattr(explain, "costs", lambda spectra, n: [])
    monkeypatch.setattr(explain, "SEEDS", range(1))
    settings = {"space": {"step_at_pct": 10}, "planning": {"batch": 12}, "stop": {"max_rounds": 1}}
    write_campaign(tmp_path / "campaign", small_dataset, **settings)
    run(tmp_path / "campaign")
    found = explain.run(tmp_path / "campaign", [small_dataset], where=None, pictures=tmp_path / "pictures")
    assert found["widths"][0]["spectra"] == len(ids) and 0 <= found["nearest"][0]["brier"] <= 0.5
    assert sum(found["alloy"]["weights"].values()) == pytest.approx(1) and np.isfinite(found["alloy"]["p_glass"])
    names = {path.stem for path in (tmp_path / "pictures").iterdir() if shows_something(path)}
    assert names == {"delta-q", "delta-q-lies", "delta-q-thresholds", "method-round", "method-ensemble"}
