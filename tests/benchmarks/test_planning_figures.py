from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.wafers import CostConfig, WaferConfig
from glassmap.agent.data.dataset import SpectraSet, write_dataset
from glassmap.agent.planning.sputtering import points_of
from tests.benchmarks.plan_wafers import plan_once
from tests.benchmarks.planning import run
from tests.benchmarks.sputtering import draw
from tests.benchmarks.sputtering import run as fit_wafers
from tests.benchmarks.wafer_costs import draw as draw_costs
from tests.benchmarks.wafer_costs import run as replay_by_cost
from tests.benchmarks.wafers import draw as draw_wafers
from tests.benchmarks.wafers import run as compare_wafers
from tests.support.pictures import shows_something
from tests.support.wafer_labs import CHAMBER


def test_a_first_ternary_batch_is_as_even_as_the_published_figure_says():
    (record,) = run(elements_counts=(3,), methods=("uniform",), seeds=(0,))
    assert " ".join(record) == "elements method batch seconds peak_mib separation worst mean"
    assert (record["elements"], record["method"], record["batch"]) == (3, "uniform", 20)
    assert record["mean"] <= 8.1  # at.%
    assert record["separation"] > 10
    assert 10 < record["peak_mib"] < 1024


def test_the_next_wafers_of_a_quaternary_cover_it_better_than_random_powers_do():
    record = plan_once(4, 2, 0, 0, draws=1)
    assert " ".join(record) == "elements wafers lying seconds peak_mib mean worst random unreached"
    assert record["mean"] < 0.9 * record["random"] and record["worst"] > 40
    assert record["unreached"] == pytest.approx(0.22, abs=0.03), "the corners"


def test_wafers_that_a_chamber_made_are_told_to_their_noise_alone_and_nearly_by_each_other(tmp_path: Path):
    elements = ("Co", "V", "Zr")
    chamber, (x, y) = WaferConfig.model_validate(CHAMBER).chamber(elements), points_of(100.0, 5.0, 15.0)
    powers = np.array([[100.0, 60.0, 40.0], [50.0, 100.0, 60.0], [60.0, 60.0, 120.0]])
    noise = np.random.default_rng(0).normal(0, 0.002, (3, len(x), 3))
    found = (chamber.compositions(powers, x, y) + noise).reshape(-1, 3)
    spectra = SpectraSet(
        ids=tuple(f"s{k}" for k in range(len(found))),
        elements=elements,
        compositions=found / found.sum(axis=1, keepdims=True),
        axis_name="q",
        axis=np.linspace(1, 5, 8),
        intensities=np.ones((len(found), 8)),
        coordinates={"wafer": np.repeat(["A", "B", "C"], len(x)), "x": np.tile(x, 3), "y": np.tile(y, 3)},
    )
    write_dataset(spectra, tmp_path / "made.nc")
    records = fit_wafers([tmp_path / "made.nc"])
    assert [record["wafer"] for record in records] == ["A", "B", "C"]
    assert all(record["own"] < 0.25 and record["together"] < 0.25 and record["others"] < 1.0 for record in records)
    assert all(record["spread"] > 5 and record["quadratic"] < 1 for record in records)
    draw(tmp_path / "model.png")
    assert shows_something(tmp_path / "model.png")


def test_wafers_are_chosen_beside_random_orders_and_every_set_of_them(small_dataset: Path, tmp_path: Path):
    records = compare_wafers([small_dataset], spectra=10, draws=2, seeds=[0])
    assert [record["wafers"] for record in records] == [1, 2] and records[1]["names"] in (
        ["east", "west"],
        ["west", "east"],
    )
    assert records[1]["chosen"] == records[1]["random"] == records[1]["best"] == records[1]["all"]
    assert records[0]["best"] <= records[0]["chosen"] <= records[0]["worst"]
    assert records[0]["hours"] == pytest.approx(8.5) and records[1]["hours"] == pytest.approx(16.5)
    draw_wafers(records, tmp_path / "wafers.png")
    assert shows_something(tmp_path / "wafers.png")


def test_rounds_by_wafers_begin_one_when_it_is_worth_its_hours(small_dataset: Path, tmp_path: Path):
    dear = replay_by_cost([small_dataset], rounds=2, seeds=[0], cost=CostConfig(wafer=1e5, point=0.05))
    assert [record["wafers"] for record in dear] == [1, 1, 2, 2]
    assert [record["spectra"] for record in dear] == [20, 40, 20, 40]
    assert dear[1]["hours"] == pytest.approx(1e5 + 2) and dear[3]["hours"] == pytest.approx(2e5 + 2)
    free = replay_by_cost([small_dataset], rounds=2, seeds=[0], cost=CostConfig(wafer=0, point=0.05))
    assert [record["wafers"] for record in free][:2] == [1, 2] and free[1]["mse"] < dear[1]["mse"]
    draw_costs(dear, tmp_path / "costs.png")
    assert shows_something(tmp_path / "costs.png")
