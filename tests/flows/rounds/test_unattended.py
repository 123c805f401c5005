"""What a campaign does while nobody watches, without any server: budgets, notices, retraining, how long stages take."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.status import Status
from glassmap.flows import notify as notices
from glassmap.flows.actions import abandon, extend, retract
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance, advance_unattended
from glassmap.flows.rounds.retrain import retrain
from tests.support.campaigns import rows, write_campaign
from tests.support.lab_campaigns import drop_scan, drop_table, edit, measure_all, order, run
from tests.support.lab_campaigns import write_campaign as write_lab


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A laboratory's campaign whose first batch is ordered."""
    folder = write_lab(tmp_path / "lab", minimum_share=1.0)
    assert run(folder).state == "waiting"
    return folder


def run_unattended(folder: Path) -> Status:
    with open_campaign(folder) as campaign:
        return advance_unattended(campaign)


def test_a_status_that_is_watched_is_shown_again_and_again_until_interrupted(lab: Path):
    command = [sys.executable, "-m", "glassmap.flows.cli", "status", str(lab), "--watch"]
    heeds = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where these tests run unheeding
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heeds)
    assert watching.stdout is not None
    first, second = watching.stdout.readline(), ""
    while not second.startswith("waiting"):
        second = watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    assert first == second and first.startswith("waiting: Waiting for 8 of 8 measurements of round 1")
    watching.communicate()
    assert watching.returncode == 0


# --- budgets


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


def test_a_budget_of_hours_ends_the_wait_for_a_laboratory(tmp_path: Path):
    folder = write_lab(tmp_path / "lab", minimum_share=1.0, patience_hours=1000.0)
    run(folder)
    measure_all(folder, skip=2)
    assert run(folder).state == "waiting"
    edit(folder, "max_rounds = 10", "max_rounds = 10\nmax_hours = 0.000001")
    status = run(folder)
    assert status.state == "exhausted" and "the budget of 1e-06 hours is spent" in status.reason
    with CampaignStore.amend(folder, person="ada") as store:
        extend(store, "", hours=5.0)
    assert run(folder).reason.startswith("Waiting for 8 of 8 measurements of round 2")


# --- what fails again and again


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


# --- retraining


def test_a_model_is_retrained_between_rounds_once_for_what_is_new(lab: Path):
    with open_campaign(lab) as campaign:
        assert retrain(campaign) == "There is nothing to learn from yet."
    measure_all(lab, skip=2)
    with open_campaign(lab) as campaign:
        assert retrain(campaign).startswith("Retrained on 4 spectra, hold-out MSE")
        assert retrain(campaign).startswith("Nothing came since the last training")
    assert rows(lab, "SELECT round, kind FROM artefacts ORDER BY 2") == [(1, "archive"), (1, "checkpoint"), (1, "map")]
    first = rows(lab, "SELECT path FROM artefacts WHERE kind <> 'archive'")
    assert rows(lab, "SELECT count(*) FROM curve") == [(0,)], "the learning curve is of whole rounds"
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, [store.spectra(hold_out=False)[0][0]], "wrong wafer")
    with open_campaign(lab) as campaign:
        assert retrain(campaign).startswith("Retrained on")
    second = rows(lab, "SELECT path FROM artefacts WHERE kind <> 'archive'")
    assert not set(first) & set(second)
    assert not any((lab / path).exists() for (path,) in first) and all((lab / path).exists() for (path,) in second)


def test_retraining_changes_nothing_of_what_the_campaign_finds(tmp_path: Path, small_dataset: Path):
    for name in ("plain", "retrained"):
        write_campaign(tmp_path / name, small_dataset, planning={"weights": "disagreement"}, stop={"max_rounds": 2})
    run(tmp_path / "plain")
    with open_campaign(tmp_path / "retrained") as campaign:
        for round_ in (1, 2):
            for name, stage in STAGES.items():
                campaign.store.start_stage(round_, name)
                stage(campaign, round_)
                retrain(campaign)
    tables = (
        "id, composition FROM suggestions",
        "* FROM curve",
        "* FROM decisions",
        "* FROM artefacts WHERE round < 3 AND kind <> 'archive'",
    )
    for what in tables:
        statement = f"SELECT {what} ORDER BY 1, 2"
        assert rows(tmp_path / "plain", statement) == rows(tmp_path / "retrained", statement)


# --- how long a stage takes


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


# --- notices


class Chat(HTTPServer):
    """A webhook that refuses some requests at first."""

    def __init__(self, refuses: int) -> None:
        self.refuses, self.told = refuses, []
        self.told: list[dict[str, Any]]
        super().__init__(("127.0.0.1", 0), Answer)


class Answer(BaseHTTPRequestHandler):
    server: Chat  # type: ignore[assignment]

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.refuses:
            self.server.refuses -= 1
            self.send_response(503)
        else:
            self.server.told.append(content)
            self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def chat() -> Iterator[Chat]:
    server = Chat(refuses=1)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def finish_telling() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("notices"):
            thread.join()


def test_people_are_told_of_each_change_of_state_once(lab: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notices, "PAUSE_SECONDS", 0.01)
    edit(lab, "[notify]", f'[notify]\nurl = "http://127.0.0.1:{chat.server_port}/hook"')
    for _ in range(3):
        run(lab)
        finish_telling()
    assert [(said["state"], said["rounds"]) for said in chat.told] == [("waiting", 0)], "after one refusal, and once"
    measure_all(lab)
    run(lab)
    finish_telling()
    assert chat.told[1]["text"].startswith("small is waiting. Waiting for 8 of 8 measurements of round 2")
    drop_scan(lab, order(lab, 2)[0], "stray")
    run(lab)
    finish_telling()
    assert "1 scan without a composition" in chat.told[2]["reason"]


def test_what_cannot_be_told_now_is_told_later_and_holds_nobody_up(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notices, "PAUSE_SECONDS", 0.01)
    edit(lab, "[notify]", '[notify]\nurl = "http://127.0.0.1:1/nobody"')
    assert run(lab).state == "waiting"
    finish_telling()
    assert rows(lab, "SELECT tries, told FROM notices") == [(1, None)]
    assert rows(lab, "SELECT count(*) FROM log WHERE event = 'not told'") == [(1,)]
    file = tmp_path / "told.json"
    writer = f"{sys.executable} -c \"import sys; open('{file}', 'a').write(sys.stdin.read())\""
    edit(lab, 'url = "http://127.0.0.1:1/nobody"', f"command = {json.dumps(writer)}")
    run(lab)
    finish_telling()
    assert json.loads(file.read_text())["state"] == "waiting"


def test_a_failure_is_told(tmp_path: Path, small_dataset: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notices, "PAUSE_SECONDS", 0.01)
    write_campaign(tmp_path, small_dataset, notify={"url": f"http://127.0.0.1:{chat.server_port}/hook"})
    with open_campaign(tmp_path) as campaign, pytest.raises(ZeroDivisionError):
        advance(campaign, stages={**STAGES, "train": failing})
    finish_telling()
    assert chat.told[0]["state"] == "failed" and "ZeroDivisionError" in chat.told[0]["reason"]
