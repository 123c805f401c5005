"""Decide: when a campaign has enough, and what has it go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CampaignError, SpaceExhausted
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.planner import Planner
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import TINY, fingerprint, rows, run, write_campaign


def test_an_exhausted_space_ends_the_campaign_with_its_last_alloy(tmp_path: Path, small_dataset: Path):
    few = tmp_path / "few.nc"
    write_dataset(read_dataset(small_dataset).select(np.arange(20)), few)
    write_campaign(tmp_path, few, stop={"max_rounds": 9, "patience": 9})
    status = run(tmp_path)
    assert status.state == "exhausted" and "no alloy is left to measure" in status.reason
    assert status.reason.startswith("Budget spent, not converged")
    assert status.spectra == 14, "all of the 70 % that may be planned"
    with open_campaign(tmp_path) as campaign, pytest.raises(SpaceExhausted):
        STAGES["plan"](campaign, 3)


def test_a_larger_budget_lets_an_exhausted_campaign_go_on(finished: Path, small_dataset: Path, tmp_path: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 2})
    assert run(tmp_path).rounds == 2
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 3})
    status = run(tmp_path)
    assert (status.state, status.rounds, status.spectra) == ("exhausted", 3, 24)
    assert fingerprint(tmp_path) == fingerprint(finished), "as if it had had it at once"


def test_a_laxer_rule_makes_a_campaign_that_has_stopped_decide_again(continued: Path, small_dataset: Path):
    write_campaign(continued, small_dataset, stop={"on": "glass", "tolerance": 0.9, "patience": 1})
    status = run(continued)
    assert status.state == "converged" and "of the map to the other side" in status.reason
    assert rows(continued, "SELECT round, state FROM decisions") == [
        (1, "continue"),
        (2, "continue"),
        (3, "converged"),
    ]


def test_errors_that_rise_are_said_to_rise_and_never_to_have_converged(continued: Path, small_dataset: Path):
    with CampaignStore.amend(continued, person="a test") as store, store.transaction():
        for round_, judged in store.judged("held out", since=1).items():
            worse = judged._replace(errors={name: (4 + round_) * np.ones(len(judged.ids)) for name in judged.errors})
            store.record_judged(round_, "held out", worse, since=1)
        store._execute("DELETE FROM marks WHERE kind = 'left out'")
    write_campaign(continued, small_dataset, stop={"patience": 2})  # decides again
    status = run(continued)
    assert (status.state, status.decision and status.decision.trend) == ("exhausted", "rising")
    assert "rising: the MSE rose by" in status.reason and "a wafer unlike the others" in status.reason
    assert "onverged after" not in status.reason


def test_a_campaign_of_g_of_r_has_no_peak_to_settle(tmp_path: Path, small_dataset: Path):
    write_dataset(replace(read_dataset(small_dataset), axis_name="r"), tmp_path / "rdf.nc")
    write_campaign(tmp_path / "rdf", tmp_path / "rdf.nc", stop={"on": "glass"})
    with pytest.raises(CampaignError, match=r"stop.on = 'glass' looks at the first peak in q, .* Set stop.on = 'mse'"):
        run(tmp_path / "rdf")


def test_few_real_spectra_of_a_laboratory_are_not_called_converged(tmp_path: Path, shared_data: Path):
    """Co-V-Zr, the nearest of six wafers to each alloy that is asked for; judged by 4, 8, then 12 of them."""
    known = read_dataset(shared_data / "synchrotron" / "co-v-zr.nc")
    settings = {
        "spectrum": {"low": 1.5, "high": 4.5, "points": 96},
        "backend": {"kind": "lab", "columns": "q"},
        "planning": {"batch": 20},
        "stop": {"patience": 1, "max_rounds": 3},
    }
    with Planner(tmp_path, CampaignConfig.of(TINY | settings, source="test")) as planner:
        free = np.ones(len(known), dtype=bool)
        while not planner.should_stop()[0]:
            for alloy in planner.suggest(20):
                target = np.array([alloy[element] for element in known.elements]) / 100
                row = int(np.argmin(np.where(free, np.abs(known.compositions - target).max(1), 9)))
                free[row] = False
                shares = dict(zip(known.elements, 100 * known.compositions[row], strict=True))
                measured = {
                    "q": known.axis,
                    "intensity": known.intensities[row],
                    "wafer": known.coordinates["wafer"][row],
                }
                planner.ingest([{"_id": alloy["_id"]} | shares | measured])
    with CampaignStore.read_only(tmp_path) as store:
        decisions, curve, status = store.decisions(), store.curve(), store.status()
    assert status.state == "exhausted" and [one.trend for one in decisions.values()] == [None, None, "unknown"]
    assert "not yet known" in decisions[3].reason and "±" in decisions[3].reason
    assert [point.judged_by for point in curve] == [12, 12, 12], "all models by the same"
    assert all(point.hold_out["mse"].standard_error > 0 for point in curve)
    assert "Budget spent, not converged" in status.reason
