"""What people take out of use, or into it, is applied to a campaign that has stopped: by `run`, and by `retrain`."""

import shutil
from pathlib import Path

import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import accept, extend, retract
from glassmap.flows.rounds.anew import learn_anew
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES, advance
from tests.support.campaigns import fingerprint, rows, run
from tests.support.command_line import does
from tests.support.lab_campaigns import drop_scan, drop_table, order

WRONG = "r002-03"


def take_out(folder: Path) -> str:
    """Retract a measurement; returns what is said."""
    with CampaignStore.amend(folder, person="ada") as store:
        return retract(store, [WRONG], "wrong wafer")


@pytest.fixture(scope="module")
def applied(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose retraction was applied by `run`; only to be looked at."""
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("applied") / "campaign"))
    take_out(folder)
    run(folder)
    return folder


def test_a_retraction_is_said_to_be_applied_by_retrain_as_long_as_it_is_not(continued: Path):
    assert f"The campaign has stopped: `glassmap retrain {continued}` trains, maps and decides" in take_out(continued)
    with CampaignStore.read_only(continued) as store:
        status = store.status()
    assert status.state == "exhausted" and status.use_changed == (WRONG,)
    words = f"What is used has changed since the last training ({WRONG}): `glassmap retrain {continued}` applies it"
    assert words in status.reason and WRONG in does("status", continued)


def test_run_learns_maps_judges_and_decides_again_without_what_was_retracted(applied: Path, finished: Path):
    with CampaignStore.read_only(applied) as store:
        status, point, learned = store.status(), store.curve()[-1], store.training_ids(3) or []
        events = [line.event for line in store.log_lines()]
    assert (status.state, status.use_changed) == ("exhausted", ()) and "What is used has changed" not in status.reason
    assert point.spectra == len(learned) == 23 and WRONG not in learned
    assert events[-5:] == ["retracted", "learns anew", "trained", "mapped", "decided"]
    assert len(rows(applied, "SELECT * FROM curve")) == 3 and len(rows(applied, "SELECT * FROM decisions")) == 3
    was, now = fingerprint(finished), fingerprint(applied)
    changed = [kind for (round_, kind, path) in now["artefacts"] if (round_, kind, path) not in was["artefacts"]]
    assert sorted(changed) == ["archive", "checkpoint", "map"], "of the last round alone"


def test_once_applied_it_is_applied(applied: Path):
    before = fingerprint(applied)
    run(applied)
    assert fingerprint(applied) == before


def test_retrain_does_the_same(continued: Path, applied: Path):
    take_out(continued)
    assert "Round 3 learned again. Budget spent, not converged, after 23 spectra" in " ".join(
        does("retrain", continued).split()
    )
    assert fingerprint(continued) == fingerprint(applied)


@pytest.mark.parametrize("after", ["taken back", "train", "map"])
def test_a_run_that_is_killed_meanwhile_is_gone_on_with(continued: Path, applied: Path, after: str):
    take_out(continued)

    def killed(campaign: object, round_: int) -> str:
        raise KeyboardInterrupt

    with open_campaign(continued) as campaign:
        if after == "taken back":
            learn_anew(campaign)
        else:
            following = {"train": "map", "map": "decide"}[after]
            with pytest.raises(KeyboardInterrupt):
                advance(campaign, stages={**STAGES, following: killed})
    run(continued)
    assert fingerprint(continued) == fingerprint(applied)


def test_a_campaign_that_is_extended_meanwhile_learns_without_it_before_it_goes_on(continued: Path, applied: Path):
    take_out(continued)
    with CampaignStore.amend(continued, person="ada") as store:
        extend(store, "", rounds=1)
    run(continued)
    with CampaignStore.read_only(continued) as store:
        assert store.status().use_changed == () and store.training_ids(3) and WRONG not in (store.training_ids(4) or [])
        assert len(store.curve()) == 4
    kept = "SELECT path FROM artefacts WHERE round = 3 AND kind = 'checkpoint'"
    assert rows(continued, kept) == rows(applied, kept)


def test_what_is_accepted_again_leads_back_to_the_bit(applied: Path, finished: Path, tmp_path: Path):
    folder = Path(shutil.copytree(applied, tmp_path / "again"))
    with CampaignStore.amend(folder, person="ada") as store:
        assert "will be used from the next training on. The campaign has stopped" in accept(store, [WRONG], "it was")
    run(folder)
    assert fingerprint(folder) == fingerprint(finished)


def test_what_is_retracted_and_accepted_before_a_training_changes_nothing(continued: Path, finished: Path):
    take_out(continued)
    with CampaignStore.amend(continued, person="ada") as store:
        accept(store, [WRONG], "a slip")
        assert store.status().use_changed == ()
    run(continued)
    assert fingerprint(continued) == fingerprint(finished)


def test_what_came_after_the_stop_and_was_retracted_asks_for_no_training(stopped: Path):
    composition = drop_scan(stopped, order(stopped)[0], "late", shift=0.05)
    drop_table(stopped, {"late": composition}, "late.csv")
    run(stopped)
    before = rows(stopped, "SELECT * FROM artefacts")
    with CampaignStore.amend(stopped, person="ada") as store:
        retract(store, ["u0001"], "wrong wafer")
    run(stopped)
    assert rows(stopped, "SELECT * FROM artefacts") == before
    with CampaignStore.read_only(stopped) as store:
        assert store.status().use_changed == ()
