"""How far a new measurement's figure may lie from what is said of it: learned, kept, and right as often as it says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from glassmap.agent.maps.peak_map import left_out_block, map_block
from glassmap.agent.models.ensemble import Ensemble, TrainedEnsemble
from glassmap.agent.models.figure_forecast import (
    FigureForecast,
    LeftOutFigures,
    Said,
    _factor_of_distance,
    learn_forecast,
)
from glassmap.agent.peaks.figures import DELTA_Q
from tests.support.models import TINY, peaks

NOISE = 0.03  # 1/Å
CPU = torch.device("cpu")


def width(compositions: np.ndarray) -> np.ndarray:
    return 0.4 + 0.3 * np.sin(4 * compositions[:, 0])


def measured_width(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.dirichlet(np.ones(3), n)
    return x, width(x) + NOISE * rng.standard_normal(n)


def learned(x: np.ndarray, y: np.ndarray, *, unknown: np.ndarray | None = None, off: float = 0.0) -> FigureForecast:
    """What is learned where mean spectra say the true width, and `off` more where nothing is known."""
    far = np.zeros(len(x)) if unknown is None else unknown
    rows, spread = np.arange(len(x)), np.full(len(x), 0.01)
    folds = LeftOutFigures(rows, rows % 5, y, width(x) + off * far, spread, far)
    found = learn_forecast(x, y, [folds], context=0, device=CPU)
    assert found is not None
    return found


def foretold(found: FigureForecast, x: np.ndarray, figure: np.ndarray, unknown: float = 0.0) -> tuple[np.ndarray, ...]:
    b = torch.ones(len(x))
    expected, std = found.at(Said(torch.as_tensor(x), torch.as_tensor(figure), 0.01 * b, unknown * b))
    return expected.numpy(), std.numpy()


def test_the_interval_holds_nine_of_ten_new_measurements():
    found = learned(*measured_width(120, 0))
    x, y = measured_width(2000, 1)
    expected, std = foretold(found, x, width(x))
    low, high = np.quantile(found.atoms, [0.05, 0.95])
    assert 0.85 < ((y > expected + low * std) & (y < expected + high * std)).mean() < 0.95
    assert std.mean() == pytest.approx(NOISE, rel=0.25), "noise of measurements counts, though members agree"


def test_distance_costs_as_much_as_it_takes_to_hold_nine_of_ten_regions_that_were_left_out():
    causes = np.tile([1.0, 0.0, 1.0, 0.0, 0.0], (100, 1))
    costs = np.array([0.01, 0.0, 0.03, 0.0, 0.0])
    errors = np.linspace(0, 1, 100)
    factor = _factor_of_distance(errors, causes, costs, 1.6)
    held = np.abs(errors) <= 1.6 * np.sqrt(0.01 + factor * 0.03)
    assert held.mean() == pytest.approx(0.9, abs=0.01) and factor > 5
    assert _factor_of_distance(0.1 * errors, causes, costs, 1.6) == 1, "never narrower than it was"
    assert _factor_of_distance(errors[:5], causes[:5], costs, 1.6) == 1, "of five nothing is learned"


def test_what_errs_more_where_nothing_is_known_is_less_sure_there():
    rng = np.random.default_rng(0)
    x, y = measured_width(300, 0)
    found = learned(x, y, unknown=rng.choice([0.0, 1.0], 300), off=0.4)
    near, far = (foretold(found, x[:1], width(x[:1]), unknown)[1][0] for unknown in (0.0, 1.0))
    assert far > 3 * near


def test_two_opinions_meet_halfway_and_doubt_grows_with_what_is_between_them():
    x, y = measured_width(120, 0)
    rng = np.random.default_rng(1)
    rows, wrong = np.arange(120), np.where(rng.random(120) < 0.3, 0.4, 0.0)
    folds = LeftOutFigures(rows, rows % 5, y, width(x) + wrong, np.full(120, 0.01), np.zeros(120))
    found = learn_forecast(x, y, [folds], context=0, device=CPU)
    assert found is not None
    agreed, apart = (foretold(found, x[:40], width(x[:40]) + by) for by in (0.0, 0.4))
    assert (apart[0] - width(x[:40])).mean() == pytest.approx(0.2, abs=0.02)
    assert (apart[1] > 2 * agreed[1]).all()


def test_nothing_is_said_without_a_peak_or_of_too_few():
    x, y = measured_width(60, 0)
    expected, std = foretold(learned(x, y), x[:2], np.array([np.nan, 0.4]))
    assert np.isnan(expected).tolist() == np.isnan(std).tolist() == [True, False]
    nine = LeftOutFigures(np.arange(9), np.arange(9) % 5, y[:9], y[:9], np.zeros(9), np.zeros(9))
    assert learn_forecast(x[:9], y[:9], [nine], context=0, device=CPU) is None


@pytest.fixture(scope="module")
def trained() -> tuple[TrainedEnsemble, np.ndarray, np.ndarray]:
    x, q, y = peaks(40)
    wafers = [str(k % 4) for k in range(40)]
    return Ensemble(TINY.model_copy(update={"members": 5}), device="cpu").fit(x, y, q=q, wafers=wafers), x, q


def test_a_map_says_how_sure_it_is_also_from_a_checkpoint_and_from_one_older_than_that(trained, tmp_path: Path):
    ensemble, x, q = trained
    table = map_block(ensemble, x, q=q)
    there = np.isfinite(table[DELTA_Q.name])
    assert there.mean() > 0.8
    assert (np.isfinite(table["p_glass"]) == there).all() and (table[DELTA_Q.predictive_std_name][there] > 0).all()
    assert ((table["p_glass"][there] >= 0) & (table["p_glass"][there] <= 1)).all()
    path = ensemble.save(tmp_path, axis=q, record={})
    again = map_block(TrainedEnsemble.load(path, device="cpu"), x, q=q)
    for name, values in table.items():
        np.testing.assert_array_equal(values, again[name])
    older = replace(ensemble, stack=replace(ensemble.stack, forecasts=None))
    assert "forecasts" not in json.loads(older.save(tmp_path, axis=q, record={}).read_text())
    assert np.isnan(map_block(older, x, q=q)["p_glass"]).all()
    made_again = map_block(older.forecasting(q), x, q=q)
    assert (np.isfinite(made_again["p_glass"]) == there).all()


def test_what_is_said_of_spectra_that_were_left_out_is_kept(trained):
    ensemble, x, q = trained
    table = left_out_block(ensemble)
    assert np.isfinite(table["p_glass"]).mean() > 0.5
    fitted = map_block(ensemble, x, q=q)[DELTA_Q.name]
    assert np.nanmax(np.abs(table[DELTA_Q.name] - fitted)) > 0, "it had not seen them"
