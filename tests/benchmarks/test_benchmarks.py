"""What the benchmarks compute, on small material."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from glassmap.agent.data.dataset import SpectraSet, read_dataset, write_dataset
from glassmap.agent.errors import DatasetError
from glassmap.agent.maps import peak_map
from glassmap.agent.models.config import PRESETS, TrainingConfig
from glassmap.agent.models.ensemble import Ensemble
from glassmap.agent.peaks.figures import FIGURES
from glassmap.dashboard.plots.for_print import MODEL_LABELS
from glassmap.simulation.sweep import RDF, write_sweep
from tests.benchmarks import curve, noise, peaks, runner, scaling, spectra, speed
from tests.benchmarks.__main__ import app
from tests.support.glasses import TINY
from tests.support.pictures import shows_something
from tests.support.sweeps import structures, sweep


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
        seeds=(0,),
        config=PRESETS["default"].model_copy(update={"members": 2, "steps": 20}),
        on_record=told.append,
    )
    assert records == told and len(records) == 2 * 8
    medians = {n: np.median([r["mse"] for r in records if r["n"] == n and r["model"] == "pca-gp"]) for n in (5, 60)}
    assert medians[60] < medians[5]
    assert set(MODEL_LABELS) - {"published"} == {record["model"] for record in records}
    picture = tmp_path / "new" / "curve.png"
    curve.draw(records, picture, floor=0.1, published=0.2, title="small")
    assert shows_something(picture)


def test_scaling_says_what_few_counts_do_to_the_scale_by_each_rule(
    small_dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(scaling, "RULES", {name: scaling.RULES[name] for name in ("maximum", "everything")})
    highest, mean = scaling.run([small_dataset], seeds=(0,), counts=(135,))
    assert (highest["rule"], mean["rule"]) == ("maximum", "everything")
    assert highest["shift"] < -0.02 and highest["wander"] > 0.005 and abs(mean["shift"]) + mean["wander"] < 1e-9
    assert highest["left_over"] > 0 and 0 <= highest["by_factor"] < 1
    assert all(highest[name] > 0 for name in scaling.FIGURES)


def test_scans_are_counted_anew_each_with_its_own_number_at_the_top():
    scans = np.array([[1.0, 2.0, 4.0]] * 2000)
    means = scaling.count_again(scans, 100, np.random.default_rng(0)).mean(axis=0)
    np.testing.assert_allclose(means, [25, 50, 100], rtol=0.02)
    np.testing.assert_array_equal(scaling.count_again(scans, 0, np.random.default_rng(0)), scans)
    tops = scaling.count_again(scans, -1, np.random.default_rng(0))[:, 2]
    assert tops.min() < 300 and tops.max() > 10_000


def test_the_noise_floor_is_half_of_what_two_seeds_differ_by(tmp_path: Path, small_dataset: Path):
    plan, path = sweep(), tmp_path / "set.nc"
    write_sweep(path, plan, structures(plan, 4), earlier={}, lammps="x")
    g = read_dataset(path, variable=RDF)
    twice = [row for row, id_ in enumerate(g.ids) if id_.startswith(g.ids[3].rpartition("-")[0])]
    expected = np.mean((g.intensities[twice[0]] - g.intensities[twice[1]]) ** 2) / 2
    assert curve.noise_floor(path, variable=RDF) == pytest.approx(expected)
    assert curve.noise_floor(small_dataset, variable="intensity") is None


def test_noise_is_told_apart_within_wafers_and_between_them(tmp_path: Path):
    rng = np.random.default_rng(0)
    alloys = rng.dirichlet(np.ones(3), 40)
    q = np.linspace(1, 5, 200)
    halos = 10 + 80 * np.exp(-(((q - 2.5 - 0.3 * alloys[:, :1]) / 0.3) ** 2))
    compositions = np.tile(alloys, (4, 1))  # each twice on both wafers
    wafers = np.repeat(["a", "a", "b", "b"], 40)
    spectra_ = np.tile(halos, (4, 1)) + rng.normal(0, 0.1, (160, 200)) + 4 * (wafers == "b")[:, None]
    spectra_ = 100 * spectra_ / spectra_.max(axis=1, keepdims=True)
    path = tmp_path / "two.nc"
    two = SpectraSet(
        elements=("Co", "V", "Zr"),
        ids=tuple(f"s{k}" for k in range(160)),
        compositions=compositions,
        axis=q,
        axis_name="q",
        intensities=spectra_.astype(np.float32),
        coordinates={"wafer": wafers},
    )
    write_dataset(two, path)
    same, other = spectra.measure_noise([path])
    assert (same["pairs"], same["n"], other["pairs"], other["n"]) == ("of one wafer", 80, "of two wafers", 160)
    assert same["mse"] == pytest.approx(0.0125, rel=0.5) and other["mse"] > 50 * same["mse"]
    assert 0 < same["q1"] < 0.01


def test_every_model_is_judged_on_every_split(small_dataset: Path, tmp_path: Path):
    config = PRESETS["default"].model_copy(update={"members": 2, "steps": 20})
    records = spectra.run(
        [small_dataset], n=20, splits=("random", "planned", "wafer", "edge"), seeds=(0,), config=config
    )
    models = ["mean", "nearest", "rbf", "pca-gp", "extra-trees", "without-networks", "sample", "ensemble"]
    assert [record["model"] for record in records] == 4 * models
    assert [record["n"] for record in records[::8]] == [20, 10, 20, 20], "half as many where they are planned"
    spectra.draw(records, tmp_path / "errors.png")
    assert shows_something(tmp_path / "errors.png")
    for record, nearest in zip(records[7::8], records[1::8], strict=True):
        assert 0.02 < record["mse"] < 1.5 * nearest["mse"], "no better than the noise of the set, no worse than a copy"
        assert 0 <= record["networks"] <= 1
        assert -1 <= record["rank"] <= 1 and 0 < record["inside"] <= 1
        assert record["expected_mse"] > 0 and -1 <= record["expected_rank"] <= 1 and 0 <= record["known"] <= 1


def test_the_edge_is_learned_from_and_the_inside_is_tested(small_dataset: Path):
    data = read_dataset(small_dataset).prepared()
    learn, test = spectra.draw_split(data, "edge", n=10, seed=0)
    assert learn.compositions.min(axis=1).max() < test.compositions.min(axis=1).min()
    planned, held = spectra.draw_split(data, "planned", n=40, seed=0)
    drawn, same = spectra.draw_split(data, "random", n=40, seed=0)
    assert held.ids == same.ids and not set(planned.ids) & set(held.ids)
    assert (len(planned), len(set(planned.ids)), len(drawn)) == (20, 20, 40)


def test_the_protocols_test_on_quaternaries_and_learn_from_ternaries_from_quaternaries_or_from_both():
    rng = np.random.default_rng(0)
    faces = [np.insert(face, k % 4, 0) for k, face in enumerate(rng.dirichlet(np.ones(3), 40))]
    compositions = np.concatenate([rng.dirichlet(np.ones(4), 20), faces, np.eye(4)])
    data = SpectraSet(
        ids=tuple(f"s{k}" for k in range(64)),
        elements=("Zr", "Cu", "Ni", "Al"),
        compositions=compositions,
        axis_name="q",
        axis=np.linspace(1, 5, 8),
        intensities=np.ones((64, 8)),
    )
    drawn = {kind: spectra.draw_split(data, kind, n=99, seed=3) for kind in ("p1", "p2", "p3")}
    (tested,) = {test.ids for _, test in drawn.values()}
    assert len(tested) == 6 and drawn["p1"][1].compositions.min() > 0
    whole = {kind: learn.compositions.min(axis=1) > 0 for kind, (learn, _) in drawn.items()}
    assert [len(rows) for rows in whole.values()] == [40, 14, 54], "a single element is no ternary"
    assert not whole["p1"].any() and whole["p2"].all() and whole["p3"].sum() == 14
    assert not {id_ for learn, _ in drawn.values() for id_ in learn.ids} & set(tested)
    with pytest.raises(DatasetError, match="needs alloys of all 4 elements and such as lack one, got 20 and 0"):
        spectra.draw_split(data.select(np.arange(20)), "p1", n=9, seed=0)


def test_the_study_sees_one_half_of_the_samples_only(small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    seen: set[str] = set()

    def draw(data, kind, *, n, seed):
        seen.update(data.ids)
        return data.select(np.arange(10)), data.select(np.arange(10, 20))

    monkeypatch.setattr(spectra, "draw_split", draw)
    quick = {"members": 2, "steps": 5}
    changes = {"default": quick, "networks alone": quick | {"stacked": False}}
    records = spectra.ablate([small_dataset], seeds=(100, 101), changes=changes)
    assert [record["change"] for record in records] == ["default", "networks alone"] * 2
    assert 0.3 < len(seen) / len(read_dataset(small_dataset)) < 0.7
    for change in spectra.ABLATIONS.values():
        TrainingConfig(**PRESETS["compact"].model_dump() | dict(change))


def test_peaks_of_generated_spectra_are_held_against_measured_ones(
    small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    quick = PRESETS["default"].model_copy(update={"members": 2, "steps": 60})
    monkeypatch.setattr(peaks, "Ensemble", lambda seed: Ensemble(quick, seed=seed))
    records = peaks.judge_generated([small_dataset], seeds=(0,), picture=tmp_path / "peaks.png")
    assert shows_something(tmp_path / "peaks.png")
    assert [record["quantity"] for record in records] == [figure.name for figure in FIGURES]
    q1, delta_q = (next(r for r in records if r["quantity"] == name) for name in ("q1", "delta_q"))
    assert q1["r2_origin"] > 0.99 and q1["mae"] < 0.2
    assert delta_q["n"] == sum(delta_q[name] for name in ("both", "missed", "false", "neither"))


def test_speed_is_measured_beside_the_limits_of_the_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    monkeypatch.setattr(speed, "FIT_STEPS", 5)
    for module in (speed, peak_map):
        monkeypatch.setattr(module, "SHARD", 256)
    config = PRESETS["default"].model_copy(update={"members": 2})
    records = speed.run(
        config=config, samples=20, points=128, members=(1, 2), elements=(2, 3), device="cpu", longest_map=0.0
    )
    by_case = {(record["what"], record["case"]): record for record in records}
    training = by_case["training steps", "2 members together"]
    assert training["per_second"] > 0 and training["times_faster_than_in_turn"] > 0
    assert 0 < training["arithmetic"] < 2
    binary, ternary = (by_case["map", f"{n} elements"] for n in (2, 3))
    assert (binary["alloys"], ternary["alloys"]) == (99, 4851)
    assert binary["done"] == 1 and ternary["done"] < 0.1, "a large one is scaled up from its first shards"


def test_a_cluster_is_timed_beside_this_process(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("distributed", reason="needs Dask: pip install 'glassmap[dask]'")
    monkeypatch.setattr(runner, "EMPTY_TASKS", 10)
    monkeypatch.setattr(runner, "PRESETS", {"quick": TINY})
    few = partial(speed.made_up_spectra, 20)
    monkeypatch.setattr(runner, "made_up_spectra", lambda _, *, points, elements: few(points=128, elements=elements))
    config = PRESETS["default"].model_copy(update={"members": 2, "steps": 5})
    here, there, faster = runner.run(config=config, workers=(1,), alloys=1, atoms=200, elements=3, step_at_pct=10)
    assert here["runner"].startswith("local") and there["runner"] == "dask, 1 worker"
    assert there["start"] > 0 and there["task_ms"] > 0
    for what in ("simulations", "training", "map"):
        assert here[what] > 0 and there[what] > 0 and faster[what] == 1


def test_benchmarks_refuse_options_that_they_would_ignore(small_dataset: Path):
    result = CliRunner().invoke(app, ["spectra", str(small_dataset), "--ablate", "--steps", "5", "--members", "2"])
    assert result.exit_code == 3 and "--ablate takes no --members, --steps" in result.output
    result = CliRunner().invoke(app, ["peaks", str(small_dataset), "--where", "cleaned"])
    assert result.exit_code == 3 and "without --generated takes no --where" in result.output


@pytest.mark.parametrize("name", [command.name for command in app.registered_commands])
def test_the_help_of_every_benchmark_has_an_example(name: str):
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: python -m tests.benchmarks {name}" in " ".join(result.output.replace("│", " ").split())
