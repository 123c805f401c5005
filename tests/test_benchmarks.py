"""What the benchmarks of simulations and learning curves compute, on small material."""

from pathlib import Path

import numpy as np
import pytest

from agent.dataset import read_dataset
from agent.training import PRESETS
from flows.benchmarks import curve, noise
from simulation.sweep import RDF, write_sweep
from tests.glasses import TINY
from tests.test_sweep import structures, sweep


def test_the_noise_between_seeds_is_measured_once_for_each_alloy_and_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(noise, "PRESETS", {"quick": TINY})
    records = noise.run(
        ["Zr50Cu40Al10", "Zr50Cu40Al10"], potential="zhou", sizes=(200, 300), seeds=(0, 1), folder=tmp_path, workers=2
    )
    assert [(record["alloy"], record["atoms"], record["seeds"]) for record in records] == [
        ("Zr50Cu40Al10", 200, [0, 1]),
        ("Zr50Cu40Al10", 300, [0, 1]),
    ]
    for record in records:
        assert 0 < record["mse_merged"] <= record["mse"] < 0.1 and record["cpu_seconds"] > 0


def test_the_learning_curve_falls_and_is_drawn_with_its_floor(small_dataset: Path, tmp_path: Path):
    told: list[dict] = []
    records = curve.run(
        small_dataset,
        variable="intensity",
        where=None,
        sizes=(5, 60),
        seeds=(0, 1),
        config=PRESETS["default"].model_copy(update={"members": 2, "steps": 20}),
        tell=told.append,
    )
    assert records == told and len(records) == 2 * 2 * 6
    medians = {n: np.median([r["mse"] for r in records if r["n"] == n and r["model"] == "pca-gp"]) for n in (5, 60)}
    assert medians[60] < medians[5]
    assert set(curve.LABELS) == {record["model"] for record in records}
    picture = tmp_path / "new" / "curve.png"
    curve.draw(records, picture, floor=0.1, published=0.2, title="small")
    assert picture.stat().st_size > 20_000


def test_the_noise_floor_is_half_of_what_two_seeds_differ_by(tmp_path: Path, small_dataset: Path):
    plan, path = sweep(), tmp_path / "set.nc"
    write_sweep(path, plan, structures(plan, 4), earlier={}, lammps="x")
    g = read_dataset(path, variable=RDF)
    twice = [row for row, id_ in enumerate(g.ids) if id_.startswith(g.ids[3].rpartition("-")[0])]
    expected = np.mean((g.intensities[twice[0]] - g.intensities[twice[1]]) ** 2) / 2
    assert curve.noise_floor(path, variable=RDF) == pytest.approx(expected)
    assert curve.noise_floor(small_dataset, variable="intensity") is None
