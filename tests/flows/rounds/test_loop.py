"""The loop: campaigns run through to their own stop, go on where they were, and are left alone when they should be."""

import sqlite3
from contextlib import closing
from errno import ENOSPC
from pathlib import Path

import pytest

from glassmap.agent.errors import MeasurementError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.status import Status
from glassmap.flows.actions import abandon, pause
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance, advance_unattended, run_round
from tests.support.campaigns import fingerprint, rows, run, write_campaign
from tests.support.lab_campaigns import drop_scan, drop_table, order
from tests.support.lab_campaigns import write_campaign as write_lab


def test_a_replay_runs_through_to_its_own_stop(finished: Path):
    with CampaignStore.read_only(finished) as store:
        status, curve, suggestions, coverage = store.status(), store.curve(), store.suggestions(), store.coverage()
    assert status.state == "exhausted" and "the budget of 3 rounds is spent" in status.reason
    assert (status.rounds, status.spectra, status.hold_out_mse) == (3, 24, curve[-1].mse)
    assert [point.spectra for point in curve] == [8, 16, 24]
    assert curve[0].next_batch_mse is None and curve[1].next_batch_mse is not None
    assert len({s.row for s in suggestions}) == 24, "no alloy is asked for twice"
    assert coverage[0].mean > coverage[1].mean > coverage[2].mean
    assert rows(finished, "SELECT DISTINCT status, attempts FROM stages") == [("done", 1)]


def test_a_campaign_that_has_stopped_does_nothing_more(continued: Path):
    before = fingerprint(continued)
    assert run(continued).state == "exhausted"
    assert fingerprint(continued) == before


def test_another_seed_gives_another_campaign(finished: Path, tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, seed=1, stop={"max_rounds": 1})
    run(tmp_path)
    ours, theirs = fingerprint(tmp_path), fingerprint(finished)
    assert not {row[4] for row in ours["suggestions"]} <= {row[4] for row in theirs["suggestions"]}
    assert ours["curve"][0] != theirs["curve"][0]


def test_a_stage_that_fails_is_tried_again_and_the_same_seed_gives_the_same_campaign_to_the_last_byte(
    tmp_path: Path, small_dataset: Path, finished: Path
):
    write_campaign(tmp_path, small_dataset)

    def broken(campaign: OpenCampaign, round_: int) -> str:
        raise MeasurementError("The furnace is cold.")

    with open_campaign(tmp_path) as campaign, pytest.raises(MeasurementError, match="furnace"):
        advance(campaign, stages={**STAGES, "map": broken})
    with CampaignStore.read_only(tmp_path) as store:
        status = store.status()
    assert (status.state, status.reason) == ("failed", "Round 1, map: MeasurementError: The furnace is cold.")
    assert run(tmp_path).state == "exhausted"
    assert rows(tmp_path, "SELECT name, status, attempts, error FROM stages WHERE round = 1 AND attempts > 1") == [
        ("map", "done", 2, None)
    ]
    assert fingerprint(tmp_path) == fingerprint(finished), "the failure left no trace in the results"


def test_a_full_disk_is_recorded_as_such_and_the_copy_of_the_store_lacks_nothing_afterwards(
    tmp_path: Path, small_dataset: Path
):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 1})

    def full(campaign: OpenCampaign, round_: int) -> str:
        raise RuntimeError("Can't write data (errno = 28, error message = 'No space left on device')")  # h5py's

    with open_campaign(tmp_path) as campaign, pytest.raises(RuntimeError, match="28"):
        advance(campaign, stages={**STAGES, "plan": full})
    with CampaignStore.read_only(tmp_path) as store:
        assert store.status().reason.startswith("Round 1, plan: The disk is full")
    run(tmp_path)
    ended = "SELECT round, name, finished FROM stages"
    with closing(sqlite3.connect(tmp_path / "campaign.db.bak")) as copy:
        assert copy.execute(ended).fetchall() == rows(tmp_path, ended)


def test_what_can_not_even_be_recorded_hides_no_error(
    tmp_path: Path, small_dataset: Path, monkeypatch: pytest.MonkeyPatch
):
    write_campaign(tmp_path, small_dataset)

    def full(*_: object, **__: object) -> str:
        raise OSError(ENOSPC, "No space left on device")

    def broken(campaign: OpenCampaign, round_: int) -> str:
        monkeypatch.setattr(CampaignStore, "end_stage", full)
        monkeypatch.setattr("glassmap.flows.rounds.loop.announce", full)
        raise MeasurementError("The furnace is cold.")

    with open_campaign(tmp_path) as campaign, pytest.raises(MeasurementError, match="furnace"):
        advance(campaign, stages={**STAGES, "plan": broken})


def run_unattended(folder: Path) -> Status:
    with open_campaign(folder) as campaign:
        return advance_unattended(campaign)


def test_what_failed_three_times_is_left_alone_until_something_happens(lab: Path):
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, [s["sample"] for s in order(lab)], "the wafer broke")
    for _ in range(2):
        with pytest.raises(MeasurementError, match="Too few of round 1"):
            run_unattended(lab)
    for _ in range(5):
        assert run_unattended(lab).state == "failed"
    assert rows(lab, "SELECT attempts FROM stages WHERE name = 'measure'") == [(3,)]
    drop_table(lab, {s["sample"]: drop_scan(lab, s) for s in order(lab)})
    assert run_unattended(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_scans_alone_let_go_on_what_failed(tmp_path: Path):
    lab = write_lab(tmp_path / "lab", composition="target", minimum_share=1.0)
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, [s["sample"] for s in order(lab)], "the wafer broke")
    for _ in range(2):
        with pytest.raises(MeasurementError, match="Too few of round 1"):
            run_unattended(lab)
    assert run_unattended(lab).state == "failed"
    for sample in order(lab):
        drop_scan(lab, sample)
    assert run_unattended(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_nothing_is_trained_while_a_campaign_is_paused(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 2, "patience": 9})
    with open_campaign(tmp_path) as campaign:
        run_round(campaign, 1)
    with CampaignStore.amend(tmp_path, person="ada") as store:
        pause(store, "the beam is off")
        found = store.artefact("checkpoint")
    assert found is not None
    found[1].write_text("harmed")
    told: list[str] = []

    def report(stage: str, done: int, total: int, text: str = "", *, round_: int | None = None) -> None:
        told.append(stage)

    with open_campaign(tmp_path, report=report) as campaign:
        assert advance(campaign).state == "paused"
    assert not told and found[1].read_text() == "harmed"


def failing(campaign: OpenCampaign, round_: int) -> str:
    return str(1 / 0)


def test_of_every_stage_attempts_and_seconds_are_recorded(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, stop={"max_rounds": 1})
    with open_campaign(tmp_path) as campaign, pytest.raises(ZeroDivisionError):
        advance(campaign, stages={**STAGES, "map": failing})
    with CampaignStore.read_only(tmp_path) as store:
        failed = store.stages()
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as store:
        ended = store.stages()
    assert [(stage.name, stage.status, stage.attempts) for stage in failed] == [
        *((name, "done", 1) for name in ("plan", "measure", "train")),
        ("map", "failed", 1),
    ]
    assert "ZeroDivisionError" in (failed[3].error or "")
    assert [(stage.name, stage.status, stage.attempts) for stage in ended] == [
        *((name, "done", 1) for name in ("plan", "measure", "train")),
        *(("map", "done", 2), ("decide", "done", 1)),
    ]
    assert all(stage.seconds >= 0 and stage.round == 1 for stage in ended)
    assert ended[3].seconds > failed[3].seconds and ended[2].seconds > 0
