"""A new rule is one entry of `RULES`: it is checked, planned with and shown without another file knowing of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.composition import CompositionSpace
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.errors import CampaignError, CompositionError
from glassmap.agent.planning.acquisition import (
    RULES,
    WEIGHTS,
    AcquisitionRule,
    Pool,
    has_room,
    plan_batch,
    rule_of,
    spread_evenly,
)
from glassmap.agent.shapes import Compositions, Weights
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import write_campaign
from tests.support.pages import look, words

SPACE = CompositionSpace(("Co", "V", "Zr"), step_at_pct=5)
NOTHING = np.empty((0, 3))


def choose_rich(pool: Pool):
    """The alloys richest in the first element."""
    return pool.pick(lambda _k, _nearest: -pool.points[:, 0])


def choose_upper_bound(pool: Pool):
    """The alloys that may have the widest peaks, by an upper confidence bound."""
    assert pool.forecast is not None
    figures = pool.forecast.figures(pool.points)
    bound = np.nan_to_num(figures["delta_q"]) + 2 * np.nan_to_num(figures["delta_q_std"])
    return pool.pick(lambda _k, _nearest: -bound)


RICH = AcquisitionRule("rich", "Chosen as the alloys that are richest in the first element", choose_rich)
UPPER_BOUND = AcquisitionRule(
    "upper-bound", "Chosen as the alloys whose Δq may be largest", choose_upper_bound, needs_model=True
)


def shown_on_the_batch_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return words(look(monkeypatch, folder, "batch"))


@pytest.mark.parametrize("rule", [RICH, UPPER_BOUND], ids=lambda rule: rule.name)
def test_a_new_rule_runs_a_campaign_and_says_on_the_dashboard_why_it_chose(
    rule: AcquisitionRule, tmp_path: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(RULES, rule.name, rule)
    write_campaign(tmp_path, small_dataset, planning={"method": rule.name}, stop={"max_rounds": 2})
    with open_campaign(tmp_path) as campaign:
        assert advance(campaign).state == "exhausted"
        pool = compositions_of(campaign.backend.candidates())
        assert isinstance(pool, np.ndarray)
    with CampaignStore.read_only(tmp_path) as store:
        batches = [np.array([s.composition for s in store.suggestions(round_=k)]) for k in (1, 2)]
    uniform = plan_batch(pool, 8, taken=NOTHING, seed=np.random.default_rng([0, 1])).compositions
    assert np.array_equal(batches[0], uniform) == rule.needs_model, "without a model, as `uniform` plans"
    column = 0 if rule is RICH else 1  # of the small data set, the widest peaks are those of V
    assert batches[1][:, column].mean() > pool[:, column].mean()
    assert rule.sentence in shown_on_the_batch_page(tmp_path, monkeypatch)


def test_a_rule_that_asks_no_model_gets_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, small_dataset: Path):
    def load(*_: object) -> None:
        raise AssertionError("the model was loaded")

    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 2})
    monkeypatch.setattr("glassmap.flows.rounds.leaning._last_model", load)
    with open_campaign(tmp_path) as campaign:
        assert advance(campaign).state == "exhausted"


def test_a_rule_that_asks_a_model_is_refused_without_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(RULES, "upper-bound", UPPER_BOUND)
    with pytest.raises(CompositionError, match="asks a model, and none was given; plan the first batch with 'uniform'"):
        plan_batch(SPACE, 3, taken=NOTHING, seed=0, method="upper-bound")
    assert rule_of("upper-bound", has_model=True) is UPPER_BOUND
    assert rule_of("upper-bound", has_model=False) is RULES["uniform"]


def test_a_campaign_file_may_name_any_rule_and_no_other(monkeypatch: pytest.MonkeyPatch):
    settings = {
        "name": "small",
        "space": {"elements": ["Co", "V", "Zr"]},
        "backend": {"dataset": "x.nc"},
        "planning": {"method": "rich"},
    }
    *others, last = map(repr, RULES)
    with pytest.raises(CampaignError, match=f"must be {', '.join(others)} or {last}, got 'rich'"):
        CampaignConfig.of(settings, source="test")
    monkeypatch.setitem(RULES, "rich", RICH)
    assert CampaignConfig.of(settings, source="test").planning.method == "rich"
    leaning = settings | {"planning": {"method": "rich", "weights": "disagreement"}}
    with pytest.raises(CampaignError, match=r"weights = 'disagreement' needs planning.method = 'uniform'"):
        CampaignConfig.of(leaning, source="test")


def test_what_is_held_out_lies_evenly_in_the_batch_and_leaves_one_to_learn_from():
    batch = SPACE.compositions(np.arange(0, len(SPACE), 17))
    assert len(spread_evenly(batch, 0.2)) == round(0.2 * len(batch))
    assert [len(spread_evenly(batch[:n], 0.9)) for n in (1, 2, 3)] == [0, 1, 2]
    assert len(spread_evenly(batch[:3], 0.01)) == 1


def test_there_is_room_until_every_alloy_is_taken():
    every = SPACE.compositions(np.arange(len(SPACE)))
    assert has_room(SPACE, taken=every[1:])
    assert not has_room(SPACE, taken=every)


@dataclass(frozen=True)
class Doubtful:
    """A model that is unsure where there is much of the first element, and says nothing where there is none."""

    p_glass: float

    def figures(self, compositions: Compositions) -> dict[str, Weights]:
        share = compositions[:, 0]
        return {
            "delta_q_std": np.where(share == 0, np.nan, share**4),
            "p_glass": np.where(share > 0.5, self.p_glass, 0.0),
        }

    def disagreement(self, compositions: Compositions) -> Weights:
        return compositions[:, 0] ** 4


@pytest.mark.parametrize("name", [name for name in WEIGHTS if name != "even"])
def test_a_batch_leans_to_what_is_in_doubt_and_to_nothing_where_nothing_is(name: str):
    space, taken = CompositionSpace(("Co", "V", "Zr"), step_at_pct=5), np.empty((0, 3))

    def share_of_cobalt(p_glass: float) -> float:
        weigh = WEIGHTS[name].by(Doubtful(p_glass))
        return float(plan_batch(space, 9, taken=taken, seed=0, weights=weigh).compositions[:, 0].mean())

    even = float(plan_batch(space, 9, taken=taken, seed=0).compositions[:, 0].mean())
    assert share_of_cobalt(0.5) > even + 0.05
    if name == "glass":
        assert share_of_cobalt(1.0) == even, "all is decided"
    assert WEIGHTS["even"].by(Doubtful(0.5)) is None


@dataclass(frozen=True)
class Edge:
    """A model by which glass begins at four tenths of the first element, and whose P(glass) is `nothing` or rises."""

    nothing: float | None = None

    def figures(self, compositions: Compositions) -> dict[str, Weights]:
        rising = 1 / (1 + np.exp((0.4 - compositions[:, 0]) / 0.03))
        return {"p_glass": rising if self.nothing is None else np.full(len(rising), self.nothing)}

    def disagreement(self, compositions: Compositions) -> Weights:
        raise AssertionError("the boundary is nothing that spectra disagree about")


def test_the_rule_boundary_plans_most_where_glass_and_no_glass_meet_and_spreads_them_along_it():
    space = CompositionSpace(("Co", "V", "Zr"), step_at_pct=2)
    batch = plan_batch(space, 20, taken=NOTHING, seed=0, method="boundary", forecast=Edge())
    even = plan_batch(space, 20, taken=NOTHING, seed=0)
    near, near_of_even = (np.abs(one.compositions[:, 0] - 0.4) < 0.11 for one in (batch, even))
    assert near.sum() >= 13 and near_of_even.sum() <= 7
    along = np.sort(100 * batch.compositions[near][:, 1])
    assert along[0] < 8 and along[-1] > 46 and np.diff(along).max() < 12, "from one end of the line to the other"
    assert batch.coverage.separation > 2.83, "no two lie side by side"
    assert batch.coverage.worst < 35, "some lie elsewhere, where a model may be wrong"


@pytest.mark.parametrize("nothing", [np.nan, 0.0, 1.0], ids=["not said", "no glass", "all glass"])
def test_the_rule_boundary_plans_as_uniform_does_where_there_is_none(nothing: float):
    found = plan_batch(SPACE, 6, taken=NOTHING, seed=0, method="boundary", forecast=Edge(nothing))
    assert np.array_equal(found.rows, plan_batch(SPACE, 6, taken=NOTHING, seed=0).rows)


def test_the_rule_boundary_is_refused_where_no_model_says_what_is_a_glass():
    settings: dict[str, Any] = {
        "name": "small",
        "space": {"elements": ["Co", "V", "Zr"]},
        "backend": {"dataset": "x.nc"},
        "planning": {"method": "boundary"},
        "model": {"stacked": False},
    }
    with pytest.raises(CampaignError, match=r"method = 'boundary' goes by P\(glass\): it needs model.stacked = true"):
        CampaignConfig.of(settings, source="test")
    settings["planning"] = {"batch": 4, "confirm": 4}
    with pytest.raises(CampaignError, match="confirm = 4 leaves none of a batch of 4 to the rule"):
        CampaignConfig.of(settings, source="test")
