"""Plan: what is asked for next, and what of it is held out."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.data.dataset import read_dataset
from glassmap.agent.data.samples import compositions_of
from glassmap.agent.errors import CampaignError
from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.planning.acquisition import Coverage
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import Suggestion
from glassmap.flows.actions import extend
from glassmap.flows.backends.protocol import open_backend
from glassmap.flows.change import change
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import rows, run, write_campaign


def test_batches_can_lean_to_where_the_members_disagree(finished: Path, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning={"weights": "disagreement"}, stop={"max_rounds": 2})
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as leaning, CampaignStore.read_only(finished) as even:
        assert leaning.suggestions(round_=1) == even.suggestions(round_=1), "no model has an opinion yet"
        drawn, plain = ([s.composition for s in store.suggestions(round_=2)] for store in (leaning, even))
        checkpoint = leaning.artefact("checkpoint", 1)
    assert checkpoint is not None
    model = TrainedEnsemble.load(checkpoint[1])
    assert model.disagreement(np.array(drawn)).mean() > model.disagreement(np.array(plain)).mean()


def test_batches_lean_to_what_may_be_a_glass_by_the_rule_of_the_campaign(tmp_path: Path, small_dataset: Path):
    def of(threshold: float) -> dict[str, Any]:
        return {
            "planning": {"weights": "glass", "batch": 16},
            "stop": {"max_rounds": 2},
            "glass": {"threshold": threshold},
        }

    write_campaign(tmp_path / "first", small_dataset, **of(0.57))
    with open_campaign(tmp_path / "first") as campaign:
        for stage in ("plan", "measure", "train"):
            STAGES[stage](campaign, 1)
    planned: dict[float, list[tuple[float, ...]]] = {}
    for threshold in (0.57, 0.3):
        folder = Path(shutil.copytree(tmp_path / "first", tmp_path / f"{threshold}"))
        write_campaign(folder, small_dataset, **of(threshold))
        with open_campaign(folder) as campaign:
            STAGES["plan"](campaign, 2)
            planned[threshold] = [s.composition for s in campaign.store.suggestions(round_=2)]
    assert planned[0.3] != planned[0.57]


def test_a_wafer_that_is_held_out_is_never_planned(tmp_path: Path, small_dataset: Path):
    config = write_campaign(tmp_path, small_dataset, backend={"hold_out": "wafer"}, stop={"max_rounds": 1})
    run(tmp_path)
    spectra = read_dataset(small_dataset)
    held = spectra.coordinates["wafer"] == "east"  # seed 0: the first by name
    with CampaignStore.read_only(tmp_path) as store:
        planned = np.array([s.composition for s in store.suggestions()])
    assert not (planned[:, None] == spectra.compositions[held]).all(axis=2).any()
    test = open_backend(config.backend, config, tmp_path).hold_out()
    assert test is not None
    compositions = test.compositions
    np.testing.assert_array_equal(compositions, spectra.compositions[held])


def test_a_share_of_each_batch_can_be_held_out(tmp_path: Path, small_dataset: Path):
    shares = {"backend": {"hold_out": "batch"}, "planning": {"hold_out_share": 0.25}}
    write_campaign(tmp_path, small_dataset, **shares, stop={"max_rounds": 2})
    run(tmp_path)
    assert rows(tmp_path, "SELECT round, sum(hold_out), count(*) FROM suggestions GROUP BY 1") == [
        (1, 2, 8),
        (2, 2, 8),
    ]
    with CampaignStore.read_only(tmp_path) as store:
        assert [point.spectra for point in store.curve()] == [6, 12]
        _, checkpoint = store.artefact("checkpoint") or (0, Path())
        held, _, _ = store.spectra(hold_out=True)
    assert set(TrainedEnsemble.load(checkpoint, device="cpu").record["training_ids"]).isdisjoint(held)


def test_where_nothing_is_held_out_all_is_learned_from_and_what_is_left_out_in_turn_judges(
    tmp_path: Path, small_dataset: Path
):
    write_campaign(tmp_path, small_dataset, backend={"hold_out": "batch"}, planning={"hold_out_share": 0})
    status = run(tmp_path)
    assert rows(tmp_path, "SELECT round, sum(hold_out), count(*) FROM suggestions GROUP BY 1") == [
        (round_, 0, 8) for round_ in (1, 2, 3)
    ]
    assert rows(tmp_path, "SELECT DISTINCT kind FROM marks") == [("left out",)]
    with CampaignStore.read_only(tmp_path) as store:
        first, *_, last = store.curve()
        said = store.decisions()[3].reason
    assert math.isnan(first.mse), "eight alloys are too few to leave some out"
    assert (last.spectra, last.judged_by, last.judged_on) == (24, 10, "left-out"), "two members leave out two fifths"
    assert last.hold_out == last.left_out and last.mse > 0 and status.hold_out_mse == pytest.approx(last.mse)
    assert f"left-out MSE {last.mse:.3g}" in said
    assert last.to_json()["mse_sample"] is None and first.to_json()["mse"] is None
    change(tmp_path, ["planning.hold_out_share=0.25", "stop.max_rounds=4"], "", person="ada")
    run(tmp_path)
    assert rows(tmp_path, "SELECT round, sum(hold_out) FROM suggestions GROUP BY 1") == [(1, 0), (2, 0), (3, 0), (4, 2)]
    with CampaignStore.read_only(tmp_path) as store:
        assert [(point.judged_on, point.judged_by) for point in store.curve()] == [("hold-out", 2)] * 4, (
            "all marked anew"
        )


def test_in_a_replay_an_alloy_that_was_found_elsewhere_is_not_planned_again_at_either_place(
    tmp_path: Path, small_dataset: Path
):
    config = write_campaign(tmp_path, small_dataset, planning={"batch": 105})
    replay = open_backend(config.backend, config, tmp_path)
    pool = compositions_of(replay.candidates())
    assert isinstance(pool, np.ndarray)
    first = Suggestion("r001-01", 1, 0, tuple(pool[0].tolist()), hold_out=False)
    with open_campaign(tmp_path) as campaign:
        STAGES["plan"](campaign, 2)
        free = {s.row for s in campaign.store.suggestions(round_=2)}
    assert {0, 1} <= free, "the whole pool"
    write_campaign(tmp_path / "again", small_dataset, planning={"batch": 105})
    with open_campaign(tmp_path / "again") as campaign:
        store = campaign.store
        with store.transaction():
            store.record_batch(1, [first], Coverage(1.0, 1.0, 1.0))
            store.record_spectrum(first, pool[1], np.ones(96), backend="replay")  # asked for alloy 0, found alloy 1
        STAGES["plan"](campaign, 2)
        assert {0, 1}.isdisjoint(s.row for s in store.suggestions(round_=2))


def test_bounds_and_limits_hold_in_a_replay(tmp_path: Path, small_dataset: Path):
    space = {"bounds_at_pct": {"Co": (20.0, 100.0)}, "limits": ("V <= 30",)}
    write_campaign(tmp_path, small_dataset, space=space, planning={"batch": 30}, stop={"max_rounds": 1})
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as store:
        compositions = np.array([s.composition for s in store.suggestions()])
    assert len(compositions) > 5
    assert compositions[:, 0].min() >= 0.2 and compositions[:, 1].max() <= 0.3
    write_campaign(tmp_path / "none", small_dataset, space={"limits": ("V >= 99",), "edges": True})
    with pytest.raises(CampaignError, match="None of the 150 alloys"), open_campaign(tmp_path / "none"):
        pass


def test_a_budget_of_spectra_makes_the_last_batch_smaller_and_stops_in_words(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 9, "patience": 9, "max_spectra": 20})
    status = run(tmp_path)
    assert status.state == "exhausted" and "the budget of 20 spectra is spent" in status.reason
    assert rows(tmp_path, "SELECT count(*) FROM suggestions GROUP BY round") == [(8,), (8,), (4,)]
    with CampaignStore.amend(tmp_path, person="ada") as store:
        assert "to 25 spectra" in extend(store, "more wafers", spectra=5)
        with pytest.raises(CampaignError, match=r"no limit stop\.max_cpu_hours"):
            extend(store, "", cpu_hours=1.0)
        with pytest.raises(CampaignError, match="Say what there is more of"):
            extend(store, "")
    status = run(tmp_path)
    assert status.state == "exhausted" and "the budget of 25 spectra is spent" in status.reason
    assert status.spectra == 25
