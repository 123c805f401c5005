"""A comparison on a small set: fair, the same twice, and said no more strongly than the splits allow."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.spectrum import mean_squared_error
from glassmap.agent.errors import CampaignError, DatasetError
from glassmap.agent.models.baselines import BASELINES
from glassmap.agent.models.config import PRESETS
from glassmap.agent.peaks.measures import MEASURES
from glassmap.flows.compare import (
    CONTROL,
    OURS,
    Judged,
    compare_models,
    draw_split,
    fit_without_networks,
    mse_by_size,
    rank_models,
    read_prepared,
    say_what_holds,
)

QUICK = PRESETS["default"].model_copy(update={"members": 2, "steps": 20})


def judged(**mse: list[float]) -> list[Judged]:
    """Figures of models made up: three splits after 20 spectra, then three after 80."""
    places = [(n, seed) for n in (20, 80) for seed in range(3)]
    return [
        Judged(*place, model, {"mse": value, "delta_q": None})
        for model, values in mse.items()
        for place, value in zip(places, values, strict=True)
    ]


@pytest.fixture(scope="module")
def compared(small_dataset: Path) -> list[Judged]:
    spectra = read_prepared(small_dataset)
    return list(compare_models(spectra, sizes=(10, 40), seeds=(0, 1), config=QUICK))


def test_every_model_is_judged_after_every_size_on_every_split(compared: list[Judged]):
    assert [one.model for one in compared] == 4 * [*BASELINES, CONTROL, OURS]
    assert [(one.n, one.seed) for one in compared[:: len(BASELINES) + 2]] == [(10, 0), (40, 0), (10, 1), (40, 1)]
    for one in compared:
        assert list(one.errors) == [measure.name for measure in MEASURES] and one.errors["q1"] is not None


def test_the_same_question_has_the_same_answer(compared: list[Judged], small_dataset: Path):
    again = compare_models(read_prepared(small_dataset), sizes=(10,), seeds=(1,), config=QUICK)
    assert list(again) == [one for one in compared if (one.n, one.seed) == (10, 1)]


def test_models_are_fair_to_a_simple_spectrum(compared: list[Judged]):
    """One smooth peak: whoever interpolates is far below the spread of the spectra, and the better the more it saw."""
    spread = 100.0  # about the variance of the set's intensities
    by_size = mse_by_size(compared)
    for model in ("rbf", "pca-gp"):
        assert max(by_size[model][40]) < spread / 20 and np.median(by_size[model][40]) < np.median(by_size[model][10])
    assert np.median(by_size["nearest"][40]) > np.median(by_size["rbf"][40])


def test_the_control_is_the_stack_without_its_networks(compared: list[Judged], small_dataset: Path):
    learn, test = draw_split(read_prepared(small_dataset), "random", n=10, seed=0)
    control = fit_without_networks(learn, seed=0, config=QUICK)
    assert set(control.weights) == {"gaussian_process", "trees"} and sum(control.weights.values()) == pytest.approx(1)
    mse = mean_squared_error(control.predict(test.compositions).mean, test.intensities)
    assert mse == pytest.approx(mse_by_size(compared)[CONTROL][10][0], rel=1e-6)


def test_the_best_stands_first_with_median_and_range():
    first, second = rank_models(judged(a=[9, 9, 9, 4, 8, 5], b=[7, 8, 9, 2, 3, 4]))
    assert (first.model, second.model) == ("b", "a")
    assert first.mse == {20: (8, 7, 9), 80: (3, 2, 4)} and second.mse[80] == (5, 4, 8)
    assert first.errors == {"mse": 3, "delta_q": None}


def test_a_lead_on_every_split_is_said():
    words = " ".join(say_what_holds(judged(a=[9, 9, 9, 5, 8, 5], b=[7, 8, 9, 2, 3, 4])))
    assert (
        "After 80 spectra b has the lowest test MSE: 3 (2 to 4). It is ahead of every other on each of the 3" in words
    )


def test_a_lead_that_a_split_takes_back_is_no_lead():
    words = " ".join(say_what_holds(judged(a=[9, 9, 9, 1, 8, 5], b=[7, 8, 9, 2, 3, 4], c=[9, 9, 9, 9, 9, 3])))
    assert "a and c do better on some of the 3, so these data can't tell which is best" in words
    assert "ahead of every other" not in words


def test_one_split_tells_no_model_apart():
    words = " ".join(say_what_holds([Judged(20, 0, name, {"mse": mse}) for name, mse in (("a", 1.0), ("b", 9.0))]))
    assert "one split" in words and "ahead" not in words and "would do" not in words


def test_what_the_networks_are_worth_is_said_by_the_stack_without_them():
    without = {CONTROL: [9.0, 9.0, 9.0, 8.0, 8.0, 8.0]}
    words = " ".join(say_what_holds(judged(**{OURS: [9.0, 9.0, 9.0, 4.0, 4.0, 8.0]}, **without)))
    assert "Its networks make our ensemble's MSE 37% lower than without them (better on 2 of 3 splits)." in words
    words = " ".join(say_what_holds(judged(**{OURS: [9.0, 9.0, 9.0, 8.8, 8.8, 8.8]}, **without)))
    assert "Without its networks our ensemble does as well or better: they change its MSE by +10% (better on 0" in words


def test_how_many_spectra_would_do_is_said_with_what_more_would_bring():
    enough = say_what_holds(judged(a=[4.2, 4.3, 4.4, 4, 4, 4]))
    assert enough[-1] == "20 spectra would do for a: 80 make its MSE less than 10% lower (4.3 and 4)."
    more = say_what_holds(judged(a=[8, 8, 8, 4, 4, 4]))
    assert more[-1] == "More spectra would still help a: from 20 to 80 its MSE fell by 50%, from 8 to 4."


def test_sizes_beyond_the_data_are_cut_to_what_every_split_has(small_dataset: Path):
    spectra = read_dataset(small_dataset).prepared()
    east, west = (int((spectra.coordinates["wafer"] == name).sum()) for name in ("east", "west"))
    found = list(compare_models(spectra, sizes=(20, 1000, 2000), seeds=(0, 1), kind="wafer", config=QUICK))
    assert {one.n for one in found} == {20, min(east, west)}
    learn, test = draw_split(spectra, "wafer", n=20, seed=0)
    assert not {*learn.coordinates["wafer"]} & {*test.coordinates["wafer"]}


def test_a_smaller_draw_begins_a_larger_one_and_leaves_the_test_set_alone(small_dataset: Path):
    spectra = read_dataset(small_dataset).prepared()
    (few, same), (many, test) = (draw_split(spectra, "random", n=n, seed=3) for n in (10, 40))
    assert many.ids[:10] == few.ids and test.ids == same.ids and not {*many.ids} & {*test.ids}


def test_what_can_not_be_compared_is_refused(small_dataset: Path):
    spectra = read_dataset(small_dataset).prepared()
    with pytest.raises(DatasetError, match="at least one"):
        next(compare_models(spectra.select(np.arange(1)), config=QUICK))
    with pytest.raises(CampaignError, match="two or more wafers"):
        next(compare_models(spectra.where("wafer=east"), kind="wafer", config=QUICK))
