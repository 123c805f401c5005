"""What people decide about a campaign."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from glassmap.agent.errors import CampaignError
from glassmap.agent.planning.acquisition import RULES, AcquisitionRule, Pool
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import SuggestionState
from glassmap.flows import actions, change
from glassmap.flows.actions import abandon, accept, approve, extend, pause, reject, resume, retract, retry
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.measure import receive
from tests.support.campaigns import run
from tests.support.lab_campaigns import drop_scan, drop_table, edit, files, measure_all, order, states, write_campaign


def test_a_batch_waits_for_approval_before_it_is_ordered(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    edit(folder, 'approval = "auto"', 'approval = "required"')
    status = run(folder)
    assert status.state == "waiting" and "waits for approval" in status.reason
    assert not (folder / "orders").exists()
    (folder / "drop" / "junk.xrdml").write_text("<")
    assert "waits for approval" in run(folder).reason and "junk.xrdml" in files(folder), "the drop folder is looked at"
    with CampaignStore.amend(folder, person="ada") as store:
        approve(store)
        assert "is approved: `glassmap run" in store.status().reason
        with pytest.raises(CampaignError, match="approved already"):
            approve(store)
    assert run(folder).reason.startswith("Waiting for 8 of 8")
    assert len(order(folder)) == 8


def test_rejecting_plans_anew_and_loads_no_network(lab: Path):
    code = "import sys; from glassmap.flows.cli.app import app\ntry: app(sys.argv[1:])\n"
    code += "finally: print({'torch'} & set(sys.modules))"
    command = [sys.executable, "-c", code, "reject", str(lab), "r001-02", "--reason", "too brittle"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.startswith("Rejected r001-02; planned instead: r001-09 "), done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_rejected_alloys_are_replaced_at_once_and_never_come_back(lab: Path):
    before = order(lab)
    with open_campaign(lab, person="ada") as campaign:
        reject(campaign, ["r001-02", "r001-05"], "too brittle")
    after = order(lab)
    assert [s["state"] for s in after] == ["missing", "rejected", *["missing"] * 2, "rejected", *["missing"] * 5]
    assert [s["sample"] for s in after[8:]] == ["r001-09", "r001-10"] and after[1]["remark"] == "too brittle"
    with CampaignStore.read_only(lab) as store:
        asked = store.suggestions()
        assert [line.person for line in store.log_lines(subject="r001-02")] == ["ada"]
    assert sum(s.hold_out for s in asked if s.id not in ("r001-02", "r001-05")) == sum(s.hold_out for s in asked[:8])
    measure_all(lab)
    run(lab)
    gone = [[float(before[k][f"{e} (at.%)"]) for e in ("Co", "V", "Zr")] for k in (1, 4)]
    with CampaignStore.read_only(lab) as store:
        later = [np.round(100 * np.array(s.composition), 4).tolist() for s in store.suggestions()[10:]]
    assert len(later) == 8 and not any(alloy in later for alloy in gone)
    with open_campaign(lab) as campaign, pytest.raises(CampaignError, match="r001-01 is measured"):
        reject(campaign, ["r001-01"], "")
    with CampaignStore.amend(lab, person="ada") as store, pytest.raises(CampaignError, match="r001-02 is rejected"):
        retry(store, ["r001-02"], "")


def test_an_abandoned_alloy_is_not_waited_for_until_somebody_wants_it_again(lab: Path):
    measure_all(lab, skip=1)
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, ["r001-01"], "the wafer broke")
        assert store.suggestion_statuses(1)[0][1:3] == ("abandoned", "the wafer broke")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    with CampaignStore.amend(lab, person="ada") as store:
        retry(store, ["r001-01"], "")
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_a_retracted_measurement_is_kept_and_left_out_of_the_next_training(lab: Path):
    measure_all(lab)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        wrong = store.spectra(hold_out=False)[0][0]
    with CampaignStore.amend(lab, person="ada") as store:
        before = store.spectra_of([wrong])
        retract(store, [wrong], "wrong wafer")
        with pytest.raises(CampaignError, match="retracted already: wrong wafer"):
            retract(store, [wrong], "")
    measure_all(lab, 2)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        kept, found = store.measurement(wrong), store.artefact("checkpoint", 2)
        assert kept is not None and kept.state == "retracted"
        assert np.array_equal(store.spectra_of([wrong]), before) and before.max() > 99
        assert found is not None
        trained = json.loads(found[1].read_text())["record"]["training_ids"]
        assert wrong not in trained and len(trained) == len(store.spectra(hold_out=False)[0])
    assert states(lab)[wrong] == "retracted"
    with CampaignStore.amend(lab, person="ada") as store:
        accept(store, [wrong], "it was the right one")
    assert states(lab)[wrong] == "measured"


def test_a_retracted_alloy_is_measured_again_where_somebody_wants_it(lab: Path):
    measure_all(lab)
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, ["r001-01"], "wrong composition")
        retry(store, ["r001-01"], "")
    assert order(lab)[0]["state"] == "missing"
    with open_campaign(lab) as campaign:  # the same scan, by hand, with a better composition
        drop_table(lab, {"r001-01": np.array([0.3, 0.3, 0.4])}, "corrected.csv")
        told = receive(campaign, files=[lab / "drop" / "corrected.csv", lab / "drop" / "r001-01.xy"])
    assert told[1].startswith("drop/r001-01.xy: repeated, r001-01-2, Co30V30Zr40")
    assert states(lab)["r001-01"] == "measured"


def test_a_paused_campaign_does_nothing_until_it_is_resumed(lab: Path):
    measure_all(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        pause(store, "the beam is off")
    status = run(lab)
    assert status.state == "paused" and "by ada: the beam is off" in status.reason and not files(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        resume(store)
        with pytest.raises(CampaignError, match="isn't paused"):
            resume(store)
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_a_campaign_that_has_stopped_is_extended_once_also_where_it_is_said_again_after_a_kill(stopped: Path):
    for _ in range(2):
        with CampaignStore.amend(stopped, person="ada") as store:
            assert "to round 2" in extend(store, "", rounds=1)
            assert (store.extended_to, [line.event for line in store.log_lines()].count("extended")) == (2, 1)
    assert run(stopped).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    measure_all(stopped, 2)
    assert run(stopped).state == "exhausted"
    with CampaignStore.read_only(stopped) as store:
        assert len(store.curve()) == 2


def test_decisions_are_refused_where_there_is_nothing_to_decide(lab: Path):
    with CampaignStore.amend(lab, person="ada") as store:
        with pytest.raises(CampaignError, match="No alloy was asked for as 'r009-01'"):
            abandon(store, ["r009-01"], "")
        with pytest.raises(CampaignError, match="no measurement 'u0001'"):
            retract(store, ["u0001"], "")
        with pytest.raises(CampaignError, match="r001-01 is missing; only what failed"):
            retry(store, ["r001-01"], "")


@pytest.mark.parametrize("is_lost", [False, True], ids=["model there", "model lost"])
def test_alloys_are_rejected_also_where_the_rule_asks_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_lost: bool
):
    def choose_widest(pool: Pool):
        assert pool.forecast is not None
        widths = np.nan_to_num(pool.forecast.figures(pool.points)["delta_q"])
        return pool.pick(lambda _k, _nearest: -widths)

    rule = AcquisitionRule("widest", "Chosen as the widest", choose_widest, needs_model=True)
    monkeypatch.setitem(RULES, rule.name, rule)
    lab = write_campaign(tmp_path / "lab", composition="target", minimum_share=1.0)
    edit(lab, 'method = "uniform"', 'method = "widest"')
    run(lab)
    measure_all(lab)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        found = store.artefact("checkpoint")
    assert found is not None
    if is_lost:
        found[1].unlink()
    with open_campaign(lab, person="ada") as campaign:
        said = reject(campaign, ["r002-01"], "too brittle")
        statuses = {one.suggestion.id: one.state for one in campaign.store.suggestion_statuses(2)}
    assert said.startswith("Rejected r002-01; planned instead: r002-09 ")
    assert statuses["r002-01"] == "rejected" and statuses["r002-09"] == "missing"


def test_every_refusal_of_an_action_names_the_command_that_does_it_instead():
    for module in (actions, change):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                parts = [*ast.walk(node.exc)]
                said = " ".join(str(part.value) for part in parts if isinstance(part, ast.Constant))
                is_by_state = any(isinstance(part, ast.Name) and part.id == "INSTEAD" for part in parts)
                assert "`glassmap" in said or is_by_state, f"{module.__name__}:{node.lineno}: {said}"
    assert set(actions.INSTEAD) == set(get_args(SuggestionState))
    assert all("`glassmap " in said for said in actions.INSTEAD.values())
