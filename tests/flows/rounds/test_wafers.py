"""Rounds that plan wafer by wafer: of what lies there, of what could be made, and what people decide about wafers."""

from pathlib import Path

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import run, write_campaign

BY_WAFER = {"unit": "wafer"}


def test_a_replay_plans_a_wafer_and_then_its_points(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning=BY_WAFER, stop={"max_rounds": 2}, cost={"wafer": 1e-3})
    assert run(tmp_path).state == "exhausted"
    with CampaignStore.read_only(tmp_path) as store:
        first, second = ([s.wafer for s in store.suggestions(round_=k)] for k in (1, 2))
        assert len(first) == len(second) == 8 and {*first} | {*second} == {"east", "west"}
        assert len({*first}) == 1 and {*first}.isdisjoint(second), "a wafer that costs next to nothing is begun at once"
        [line] = [line.detail for line in store.log_lines() if line.event == "planned" and "round 2" in line.detail]
    assert f"8 alloys of {second[0]}, mean distance" in line


def test_a_wafer_that_costs_much_is_used_up_before_another_is_begun(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, planning=BY_WAFER | {"batch": 30}, cost={"wafer": 1e5, "point": 1.0})
    with open_campaign(tmp_path) as campaign:
        for round_ in (1, 2, 3, 4):
            STAGES["plan"](campaign, round_)
        asked = campaign.store.suggestions()
    assert len({(s.wafer, s.sample) for s in asked}) == len(asked), "nothing is asked for twice"
    begun = [*dict.fromkeys(s.wafer for s in asked)]
    left = {name: [s.round for s in asked if s.wafer == name] for name in begun}
    assert max(left[begun[0]]) <= min(left[begun[1]], default=9), begun
