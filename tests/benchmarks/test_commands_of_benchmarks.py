"""Every benchmark from the command line, with the smallest settings: it runs, prints its table, writes its records."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from glassmap.agent.data.dataset import SpectraSet, read_dataset, write_dataset
from glassmap.agent.models.config import PRESETS
from glassmap.agent.peaks.figures import DELTA_Q, FIGURES, Q1
from glassmap.flows.cli.demo import BUNDLED
from tests.benchmarks import (
    acquisition,
    controls,
    generative,
    hold_out,
    noise,
    peaks,
    screening,
    spectra,
    speed,
    widths,
)
from tests.benchmarks.__main__ import app
from tests.benchmarks.traces import Trace
from tests.support.glasses import TINY
from tests.support.pictures import shows_something

QUICK = {"members": 2, "steps": 5}


@pytest.fixture
def benchmark(tmp_path: Path):
    """Run a benchmark; return what it printed and its records."""

    def run(*words: object) -> tuple[str, list[dict]]:
        path = tmp_path / "records.json"
        result = CliRunner().invoke(app, [*map(str, words), "--json", str(path)], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        return result.output, json.loads(path.read_text())

    return run


def test_growth(benchmark):
    output, records = benchmark("growth", "--sizes", "0,20")
    assert [record["measurements"] for record in records] == [0, 20] and "megabytes" in output


def test_harmed(benchmark):
    output, records = benchmark("harmed", "--files", "100")
    assert all(record["read"] + record["refused"] == 100 // len(records) for record in records) and "longest" in output


def test_drop(benchmark):
    output, records = benchmark("drop", "--sizes", "3")
    assert records[0]["scans"] == 3 and {"taken", "look", "table"} <= records[0].keys() and "waiting" in output


def test_commands(benchmark, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.benchmarks.commands.LIGHT", ("status {folder}", "approve {folder}"))
    monkeypatch.setattr("tests.benchmarks.commands.REFUSED", ("simulate Xx50V50",))
    output, records = benchmark("commands", "--runs", 1)
    assert [record["command"] for record in records] == ["status", "approve", "simulate Xx50V50"]
    assert all(record["lowest"] <= record["seconds"] <= record["highest"] for record in records)
    assert "peak_mib" in output


def test_volumes(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.benchmarks.volumes.NEAREST", (30,))
    monkeypatch.setattr("tests.benchmarks.volumes.ZEROS", (2.0,))
    good = read_dataset(BUNDLED)
    write_dataset(good.select(np.arange(len(good)) % 30 == 0), tmp_path / "few.nc")
    output, records = benchmark("volumes", tmp_path / "few.nc", "--seeds", 1)
    assert "swapped" in output and records["laws"][0]["explained"] > 0.9
    wrong = [record for record in records["faults"] if record["fault"].startswith("none")]
    assert wrong and not any(record["said"] for record in wrong)


def test_corrections(benchmark, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tests.benchmarks.corrections.WIDTHS", (0.05,))
    output, records = benchmark("corrections", BUNDLED, "--n", 3)
    assert "Lorentz" in output and len(records) == 3 * 4 + 3
    wide = [record for record in records if (record["effect"], record["size"]) == ("instrument", 0.3)]
    assert len(wide) == 3 and all(abs(r["delta_q_after"]) < abs(r["delta_q_before"]) / 4 for r in wide)


def test_planning(benchmark):
    output, records = benchmark("planning", "--batch", 3, "--seeds", 1)
    assert {record["elements"] for record in records} == {3, 4, 5} and "uniform" in output


def test_acquisition(benchmark, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(acquisition, "BATCH", 10)
    monkeypatch.setattr(acquisition, "ROUNDS", 3)
    monkeypatch.setattr(acquisition, "COUNTED", (20, 30))
    weights = {name: weigh for name, weigh in acquisition.WEIGHTS.items() if name in ("even", "glass")}
    monkeypatch.setattr(acquisition, "WEIGHTS", weights)
    monkeypatch.setattr(acquisition, "DRAWN", {"glass": "#d55e00"})
    picture = tmp_path / "acquisition.png"
    output, found = benchmark("acquisition", small_dataset, "--seeds", 2, "--picture", picture)
    assert "small seed 0, glass @ 30: MSE" in output and shows_something(picture, colours=2)
    of_even = [row["both"] for row in found["summary"] if row["weights"] == "even"]
    assert len(of_even) >= 4 and set(of_even) == {1.0}
    first = [r for r in found["records"] if (r["seed"], r["n"]) == (0, 10)]
    assert len(first) == 2 and first[0]["mse"] == first[1]["mse"], "no model has an opinion yet"


def test_hold_out(benchmark, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hold_out, "ROUNDS", 5)
    monkeypatch.setattr(hold_out, "AT", (20, 40))
    output, found = benchmark("hold-out", small_dataset, "--batch", 10, "--seeds", 1, "--traces", tmp_path)
    assert "hold-out-small-1-10-0" in output
    held, nothing = found["summary"]
    assert held["mse, ratio @ 40"] == 1 and nothing["mse, ratio @ 40"] != 1
    kept = [Trace.read(path) for path in sorted(tmp_path.glob("*.npz"))]
    assert [trace.spectra[-1] for trace in kept] == [40, 50] and kept[1].hold_out["mse"].shape[1] == 0
    np.testing.assert_array_equal(kept[0].test["mse"].shape, kept[1].test["mse"].shape)


def test_known(benchmark, small_dataset: Path, tmp_path: Path):
    words = ["--sizes", 20, "--seeds", 1, "--no-networks", "--picture", tmp_path / "known.png"]
    output, records = benchmark("known", small_dataset, *words)
    assert "small disc @ 20 seed 0: expected error: " in output and len(records) == 5 * 3
    ours = [record for record in records if record["rule"] == "expected error"]
    assert all(record["known"] < record["extrapolated"] for record in ours if record["part"] in ("half", "disc"))
    assert all(len(record["expected"]) == len(record["actual"]) == 5 and record["rank"] > 0.3 for record in ours)
    assert shows_something(tmp_path / "known.png")


def test_widths(benchmark, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(widths, "CASES", [case for case in widths.CASES if case.family in ("profile", "noise")])
    output, records = benchmark("widths", "--n", 6, "--fitted", 1, "--picture", tmp_path / "widths.png")
    by_case = {(record["family"], record["level"]): record for record in records if record["way"] == "measure_peaks"}
    assert len(records) == 2 * len(by_case) == 14 and "covered" in output
    assert abs(by_case["profile", "Gaussian"]["bias"]) < 0.02
    assert shows_something(tmp_path / "widths.png", colours=3)


def test_curve(benchmark, small_dataset: Path, tmp_path: Path):
    words = ["--sizes", "10,20", "--seeds", 1, "--members", 2, "--steps", 5, "--picture", tmp_path / "curve.png"]
    output, records = benchmark("curve", small_dataset, *words)
    assert "20 spectra, seed 0: ensemble" in output and "Test MSE, over seeds" in output
    assert records["floor"] is None and len(records["records"]) == 2 * 8, "two sizes, eight models"
    assert shows_something(tmp_path / "curve.png")


def test_spectra(benchmark, small_dataset: Path, tmp_path: Path):
    words = ["--n", 10, "--split", "random", "--seeds", 1, "--members", 2, "--steps", 5]
    output, records = benchmark("spectra", small_dataset, *words, "--picture", tmp_path / "errors.png")
    assert "How far ours can be trusted" in output and "Noise: what samples of one alloy" in output
    assert [record["pairs"] for record in records["noise"]] == ["of one wafer", "of two wafers"]
    assert shows_something(tmp_path / "errors.png", colours=5)


def test_spectra_one_setting_changed_at_a_time(benchmark, small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    changes = {"default": QUICK, "networks alone": QUICK | {"stacked": False}}
    monkeypatch.setattr(spectra, "ablate", partial(spectra.ablate, changes=changes))
    output, records = benchmark("spectra", small_dataset, "--ablate", "--n", 10, "--seeds", 1)
    assert "networks alone" in output and [record["change"] for record in records] == list(changes)


def test_spectra_told_a_process_variable(benchmark, small_dataset: Path):
    words = ["--context", "wafer", "--no-networks", "--n", 12, "--split", "random", "--seeds", 1]
    output, records = benchmark("spectra", small_dataset, *words)
    assert "Told wafer" in output and {record["variable"] for record in records} == {"wafer"}
    names = ["composition alone", "told", "a model a value", "told labels drawn at random"]
    assert [record["model"] for record in records] == names and all(record["mse"] > 0 for record in records)


def test_peaks(benchmark, small_dataset: Path):
    _, records = benchmark("peaks", small_dataset)
    mae = {record["quantity"]: record["mae"] for record in records}
    assert set(mae) == {figure.name for figure in FIGURES}
    assert mae[Q1.name] < 0.01 and mae[DELTA_Q.name] < 0.01, "both find the one smooth peak"


def test_peaks_of_generated_spectra(benchmark, small_dataset: Path, monkeypatch: pytest.MonkeyPatch):
    config = PRESETS["default"].model_copy(update=QUICK)
    monkeypatch.setattr(peaks, "Ensemble", partial(peaks.Ensemble, config))
    output, records = benchmark("peaks", small_dataset, "--generated", "--seeds", 1)
    assert "Glass by Δq: medians" in output and len(records) == len(FIGURES)


def test_screening(benchmark, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = PRESETS["default"].model_copy(update=QUICK)
    monkeypatch.setattr(screening, "run", partial(screening.run, config=config))
    data = read_dataset(small_dataset)
    write_dataset(replace(data, coordinates={"cleaned": np.arange(len(data)) % 5 > 0}), tmp_path / "cleaned.nc")
    _, (record,) = benchmark("screening", tmp_path / "cleaned.nc", "--sizes", "20", "--seeds", 1)
    assert record["n"] == 20 and 0 <= record["found"] <= record["bad"] and record["mse_all"] > 0


def test_generative(benchmark, small_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fitted: dict[int, controls.ResidualForecast] = {}

    def fit_once(learn: SpectraSet, seed: int) -> controls.ResidualForecast:
        if seed not in fitted:
            fitted[seed] = controls.fit_residuals(learn, seed)
        return fitted[seed]

    models = {"a point": lambda *given: controls.PointForecast(fit_once(*given).ensemble), "residuals": fit_once}
    monkeypatch.setattr(generative, "run", partial(generative.run, models=models, count=8))
    once, rows = read_dataset(small_dataset), np.r_[0:90, 0:60]  # two thirds of the alloys on two wafers
    twice = replace(
        once,
        ids=tuple(f"s{row}" for row in range(150)),
        compositions=once.compositions[rows],
        intensities=once.intensities[rows] + np.random.default_rng(0).normal(0, 0.5, (150, 96)),
        coordinates={"wafer": np.where(np.arange(150) < 90, "first", "second")},
    )
    write_dataset(twice, tmp_path / "twice.nc")
    words = ["--n", 30, "--seeds", 1, "--picture", tmp_path / "draws.png"]
    output, records = benchmark("generative", tmp_path / "twice.nc", *words)
    assert "Draws of Δq, medians, over seeds" in output and "twice random @ 30 seed 0: gp on the figure" in output
    assert shows_something(tmp_path / "draws.png")
    assert [record["model"] for record in records] == [generative.MEASURED, *models, generative.FIGURE]
    again, point, residuals, figure = records
    assert again["pairs"] > 50 and again["energy"] < residuals["energy"]
    assert point["again_n"] > 5 and point["again_energy"] > 0 and figure["again_delta_q_crps"] > 0
    assert point["energy"] > residuals["energy"] and point["mse"] == residuals["mse"], "a spread is better than none"
    assert point["delta_q_inside_90"] is None and 0.5 < residuals["delta_q_inside_90"] <= 1
    assert residuals["delta_q_width_50"] < residuals["delta_q_width_90"] and 0 <= residuals["brier"] < 0.25
    assert residuals["mse_draw"] > residuals["mse"] and residuals["rough"] > point["rough"]
    assert figure["delta_q_crps"] < point["delta_q_crps"] and "energy" not in figure


def test_speed(benchmark, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    monkeypatch.setattr(speed, "FIT_STEPS", 5)
    words = [
        "--samples",
        10,
        "--points",
        64,
        "--members",
        "1,2",
        "--elements",
        "2",
        "--longest-map",
        0,
        "--device",
        "cpu",
    ]
    output, records = benchmark("speed", *words)
    assert {"training steps", "map"} <= {record["what"] for record in records} and "2 members together" in output


def test_noise(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(noise, "PRESETS", {"quick": TINY})
    output, records = benchmark("noise", "Zr50Cu40Al10", "--sizes", "200", "--folder", tmp_path / "runs")
    assert records[0]["atoms"] == 200 and "Between two seeds: medians" in output
