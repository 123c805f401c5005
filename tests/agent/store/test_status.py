import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from glassmap.agent.maps.failure import PeaksFound
from glassmap.agent.maps.glass import GlassRule, GlassShares
from glassmap.agent.planning.convergence import Decision
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import FileState, Flag, Running, ToLookAt, WaferGain, WaitingFor
from glassmap.agent.store.status import Status
from tests.support.stores import ALLOYS, BATCH, SPECTRUM, record_all


def test_status_tells_a_campaign_at_work_from_one_that_was_cut(tmp_path: Path):
    with CampaignStore.open(tmp_path) as store:
        with store.transaction():
            store.record_start(["Co", "V", "Zr"])
        store.start_stage(1, "plan")
        assert store.status().reason == "Round 1, plan: running."
    with CampaignStore.read_only(tmp_path) as store:
        assert store.status().reason.endswith("No process is at it: `glassmap run " + str(tmp_path) + "` goes on.")


def test_status_follows_the_stages(store: CampaignStore):
    status = store.status()
    assert (status.state, status.reason) == ("running", "Not started yet.")
    assert (status.rounds, status.spectra, status.hold_out_mse, status.round, status.stage) == (0, 0, None, None, None)
    store.start_stage(1, "plan")
    assert (store.status().state, store.status().reason) == ("running", "Round 1, plan: running.")
    store.start_stage(1, "measure")
    with store.transaction():
        store.record_spectrum(BATCH[0], np.array(ALLOYS[0]), SPECTRUM, backend="replay")
        store.end_stage(1, "measure", "waiting", waiting_for="measurements")
    status = store.status()
    assert (status.state, status.reason) == ("waiting", "Waiting for 2 of 3 measurements of round 1.")
    assert (status.waiting_for, status.missing, status.asked) == ("measurements", 2, 3)
    store.start_stage(1, "train")
    with store.transaction():
        store.end_stage(1, "train", "failed", error="ModelError: no.")
    assert (store.status().state, store.status().reason) == ("failed", "Round 1, train: ModelError: no.")
    store.start_stage(1, "train")
    assert store.status().state == "running", "a second attempt is no failure"
    with store.transaction():
        store.record_decision(1, Decision("converged", "Enough."))
    assert (store.status().state, store.status().reason) == ("converged", "Enough.")
    with store.transaction():
        store.reopen_decision()
    assert store.status().state == "running" and store.decision() is None


def waits(store: CampaignStore, waiting_for: WaitingFor) -> Status:
    """Have the first round wait for something; returns where the campaign stands."""
    store.start_stage(1, "measure")
    with store.transaction():
        store.end_stage(1, "measure", "waiting", waiting_for=waiting_for)
    return store.status()


def test_status_says_of_which_wafers_enough_is_measured_and_what_goes_on_without_the_rest(store: CampaignStore):
    asked = [one._replace(id=f"r002-0{k}", round=2, wafer="W3") for k, one in enumerate(BATCH[:2], start=1)]
    few = WaferGain("W1", 7, 441, None, None, 0.05, "mse", is_enough=False, model=1, next=())
    less = WaferGain("W2", 300, 441, 0.2, 3.0, 0.05, "mse", is_enough=False, model=1, next=("p9",))
    far = less._replace(wafer="W4", gain=0.01, farthest_at_pct=12.0)
    enough = less._replace(wafer="W3", measured=120, gain=0.012, is_enough=True)
    done = enough._replace(wafer="W5", measured=441, gain=0.0, next=())
    with store.transaction():
        store.add_to_batch(asked)
        for one in (few, less, far):
            store.record_gain(one)
    store.start_stage(2, "measure")
    assert store.status().reason == "Round 2, measure: running. 0 of 2 done."
    with store.transaction():
        store.record_gain(enough)
        store.record_gain(done)
        store.end_stage(2, "measure", "waiting", waiting_for="measurements")
    status = store.status()
    assert status.reason == (
        "Waiting for 2 of 2 measurements of round 2. Enough of W3, 120 of 441 measured: the others would lower the MSE "
        f"by 1.2 % (tolerance 5 %). `glassmap go-on {store.folder}` goes on without what is missing."
    )
    assert [one.say() for one in status.wafers] == [
        "too little is known of W1, 7 of 441 measured, to say what the others would bring",
        "not enough of W2, 300 of 441 measured: the others would lower the MSE by 20.0 % (tolerance 5 %)",
        "not enough of W4, 300 of 441 measured: the others would lower the MSE by 1.0 % (tolerance 5 %), but one lies "
        "12 at.% from every one that is measured",
        "enough of W3, 120 of 441 measured: the others would lower the MSE by 1.2 % (tolerance 5 %)",
        "all 441 points of W5 are measured",
    ]
    told = json.loads(json.dumps(status.to_json()))["wafers"][3]
    assert (told["wafer"], told["measured"], told["points"], told["is_enough"]) == ("W3", 120, 441, True)
    with store.transaction():
        store.record_gain(enough._replace(wafer="W6", measured=90))
    assert "Enough of W6, 90 of 441 measured" in store.status().reason
    assert "Enough of W3 (120 of 441) as well." in store.status().reason


def test_a_batch_waits_for_approval_then_for_the_run_that_orders_it(store: CampaignStore):
    status = waits(store, "approval")
    assert (status.waiting_for, status.needs_person) == ("approval", True)
    assert status.reason == f"Round 1 waits for approval: `glassmap approve {store.folder}`, or `reject` some first."
    with store.transaction():
        store.record_approval(1)
    status = store.status()
    assert (status.state, status.waiting_for, status.needs_person) == ("waiting", "order", False)
    assert status.reason == f"Round 1 is approved: `glassmap run {store.folder}` orders it."


def test_what_was_retracted_is_waited_for_in_other_spectra(store: CampaignStore):
    store.start_stage(1, "measure")
    store.start_stage(1, "train")
    with store.transaction():
        store.reopen_measuring(1)
    status = store.status()
    assert (status.stage, status.waiting_for) == ("measure", "other spectra")
    assert status.reason == (
        f"What round 1 would learn from or be judged by was retracted; `glassmap run {store.folder}` looks for other."
    )


def test_the_alloys_that_are_measured_right_now_are_named_with_how_far_they_are(store: CampaignStore):
    store.start_stage(1, "measure")
    with store.transaction():
        store.record_progress(BATCH[1], 0.415)
    status = store.status()
    assert status.running == (Running("r001-02", "Co40V40Zr20", 0.415),)
    assert status.reason == "Round 1, measure: running. 0 of 3 done, Co40V40Zr20 42%."


def test_what_is_to_be_looked_at_is_counted_and_said(store: CampaignStore):
    record_all(store)
    states: dict[str, FileState] = {"a.xy": "quarantined", "b.xy": "waiting", "c.xy": "used"}
    file: dict[str, Any] = {"size": 1, "hash_": "a", "kind": "scan"}
    with store.transaction():
        store.set_measurement_state("r001-01", "flagged", "no film")
        for name, state in states.items():
            store.record_file(name, modified=1, state=state, **file)
    status = store.status()
    assert status.to_look_at == ToLookAt(1, 1, 1, 0) and status.needs_person
    assert status.reason.endswith(
        "To look at with `glassmap ledger`: 1 quarantined file, 1 scan without a composition. 1 flagged measurement is "
        f"left out (r001-01: no film); look at `pictures/flagged-r001-01.png`, then `glassmap accept {store.folder} "
        "r001-01` or `retract` it."
    )
    with store.transaction():  # the same file, mended
        store.record_file("a.xy", modified=2, state="used", **file)
        store._db.execute("UPDATE files SET time = '9' WHERE path = 'a.xy' AND modified = 2")
    assert store.status().to_look_at.quarantined == 0


def test_what_is_flagged_and_used_is_named_with_the_reason_and_the_remedy(store: CampaignStore):
    record_all(store)
    line = "A sharp line at 2.61 1/Å, 55 of 100 high and narrower than 0.05 1/Å, that no neighbour has: substrate?"
    with store.transaction():
        store.set_measurement_state("r001-02", "used", line)
    status, folder = store.status(), store.folder
    assert status.to_look_at == ToLookAt(0, 0, 0, 1) and status.needs_person
    assert status.flags == (Flag("r001-02", line, is_used=True),)
    assert status.reason.endswith(
        "1 flagged measurement is used (r001-02: a sharp line at 2.61 1/Å); look at `pictures/flagged-r001-02.png`, "
        f"then `glassmap retract {folder} r001-02 --reason …` and `retrain`, or `accept` it."
    )
    assert json.loads(json.dumps(status.to_json()))["flags"][0]["is_used"] is True
    with store.transaction():
        for id_ in ("r001-01", "r001-02", "r001-03"):
            store.set_measurement_state(id_, "used", "Saturated: 9 points in a row are at the maximum.")
        store._db.execute(
            "INSERT INTO spectra SELECT id || '-2', suggestion, round, hold_out, composition, intensity, backend, "
            "taken, facts, state, reason, screened FROM spectra"
        )
    assert "6 flagged measurements are used (r001-01: saturated; " in store.status().reason
    assert "r001-03: saturated; and 3 more); look" in store.status().reason


def test_a_pause_is_said_before_what_is_paused(store: CampaignStore):
    waits(store, "measurements")
    with store.transaction():
        store.record_pause("the beam is off")
    status = store.status()
    assert (status.state, status.waiting_for) == ("paused", "measurements")
    assert re.fullmatch(
        r"Paused since \d{4}-\d\d-\d\d \d\d:\d\d \S+ by glassmap: the beam is off\. "
        r"Waiting for 3 of 3 measurements of round 1\.",
        status.reason,
    )


def test_a_status_as_json_has_every_field_and_the_sentence(store: CampaignStore):
    waits(store, "measurements")
    with store.transaction():
        store.record_order(1)
        store.record_pause("the beam is off")
        store.record_decision(1, Decision("continue", "Go on."))
    status = store.status()
    written = json.loads(json.dumps(status.to_json()))
    assert set(written) == {*Status._fields, "reason", "failure", "headline", "needs_person"}
    assert (written["reason"], written["state"], written["missing"]) == (status.reason, "paused", 3)
    assert written["paused"]["by"] == "glassmap" and written["decision"]["state"] == "continue"
    assert datetime.fromisoformat(written["ordered"]) == status.ordered


def test_the_headline_of_the_last_map_stands_in_every_sentence_but_where_the_map_says_nothing(store: CampaignStore):
    waits(store, "measurements")
    assert (store.status().glass, store.status().headline) == (None, "")
    with store.transaction():
        store.record_glass(GlassShares(0.31, 0.08, 0.42, 0.0), GlassRule(0.55, 0.02, note="learnt from 43 labels"))
    status = store.status()
    headline = "Glass: 31 % of the space (8 % surely, 42 % possibly) by Δq ≥ 0.550 ± 0.020 Å⁻¹, learnt from 43 labels."
    assert status.headline == headline and headline in status.reason
    assert json.loads(json.dumps(status.to_json()))["glass"]["surely"] == 0.08
    with store.transaction():
        store.record_peaks_found(PeaksFound(1, 100, 10, 20, 2, "It is noise.", None, is_simulated=False))
    assert store.status().failure and not store.status().headline
