"""People are told of changes of state, once, and nobody is held up by it."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.services import NotifyConfig
from glassmap.agent.store.connection import FILE_NAME
from glassmap.flows import notify as notices
from glassmap.flows.rounds.campaign import OpenCampaign, open_campaign
from glassmap.flows.rounds.loop import STAGES, advance
from tests.support.campaigns import rows, run, write_campaign
from tests.support.lab_campaigns import drop_scan, edit, measure_all, order


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
    assert chat.told[1]["text"].startswith("small: Waiting for 8 of 8 measurements of round 2")
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


def failing(campaign: OpenCampaign, round_: int) -> str:
    return str(1 / 0)


def test_a_failure_is_told(tmp_path: Path, small_dataset: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(notices, "PAUSE_SECONDS", 0.01)
    write_campaign(tmp_path, small_dataset, notify={"url": f"http://127.0.0.1:{chat.server_port}/hook"})
    with open_campaign(tmp_path) as campaign, pytest.raises(ZeroDivisionError):
        advance(campaign, stages={**STAGES, "train": failing})
    finish_telling()
    assert chat.told[0]["state"] == "failed" and "ZeroDivisionError" in chat.told[0]["reason"]


def test_the_log_names_host_and_status_and_no_secret_of_an_address_or_a_command(
    lab: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(notices, "PAUSE_SECONDS", 0.0)
    chat.refuses = 99
    url = f"http://user:SECRET@127.0.0.1:{chat.server_port}/SECRET?token=SECRET"
    ways = {
        f'url = "{url}"': "the webhook at 127.0.0.1 answered 503",
        'url = "http://127.0.0.1:1/SECRET"': "the webhook at 127.0.0.1 can't be reached (ConnectError)",
        'url = "https://SECRET@[::1/SECRET"': "the webhook at None can't be reached (ValueError)",
        'command = "/bin/false --token SECRET"': "the command false ended with exit code 1",
        'command = "no-such-program SECRET"': "the command no-such-program could not be run (FileNotFoundError)",
    }
    before = "[notify]"
    for way, said in ways.items():
        edit(lab, before, before := f"[notify]\n{way}")
        run(lab)
        finish_telling()
        assert rows(lab, "SELECT detail FROM log WHERE event = 'not told' ORDER BY id DESC LIMIT 1") == [(said,)]
    assert not rows(lab, "SELECT * FROM log WHERE detail LIKE '%SECRET%'")


def test_a_store_that_takes_nothing_is_no_traceback_of_who_tells(tmp_path: Path):
    (tmp_path / FILE_NAME).write_text("no database")
    notices.tell_pending(tmp_path, NotifyConfig(command="true"))
    notices.tell_pending(tmp_path / "gone", NotifyConfig(command="true"))
