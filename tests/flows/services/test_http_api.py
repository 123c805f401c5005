"""A campaign over HTTP: a real server on loopback, and a client that has neither glassmap nor torch."""

import re
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from typer.testing import CliRunner

from glassmap import Campaign
from glassmap.agent.errors import CampaignError
from glassmap.flows.cli.app import app
from glassmap.flows.cli.exit_codes import ExitCode
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.services import http_api
from glassmap.flows.services.http_api import AGAIN, create_app, token_in
from tests.support.campaigns import rows
from tests.support.lab_campaigns import edit, write_campaign
from tests.support.services import free_port

TOKEN = "a token of the test's own"
(LABORATORY,) = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[3] / "docs" / "http.md").read_text(), re.DOTALL
)


@contextmanager
def serving(*folders: Path) -> Iterator[httpx.Client]:
    """Serve campaigns on a free port of loopback, to a client that knows the token."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(folders, token=TOKEN), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def ask_until_ready(client: httpx.Client, name: str, n: int = 1) -> dict:
    while (told := client.post(f"/campaigns/{name}/suggest", params={"n": n}).raise_for_status().json())[
        "state"
    ] == "learning":
        time.sleep(0.02)
    return told


def point(alloy: dict) -> dict:
    q = [1.0 + 0.02 * k for k in range(201)]
    width = 0.3 + alloy["V"] / 200
    return {"_id": alloy["_id"], "q": q, "intensity": [20 + 80 / (1 + 4 * ((x - 2.5) / width) ** 2) for x in q]}


def test_a_computer_without_torch_runs_a_campaign_to_its_stop_by_the_page_s_thirty_lines(tmp_path: Path):
    folder = write_campaign(tmp_path / "mine", columns="q")
    edit(folder, "max_rounds = 10", "max_rounds = 2")
    with serving(folder) as client:
        (tmp_path / ".glassmap").mkdir()
        (tmp_path / ".glassmap" / "api-token").write_text(TOKEN)
        program = LABORATORY.replace("http://127.0.0.1:8710", str(client.base_url).rstrip("/"))
        program = program.replace("time.sleep(5)", "time.sleep(0.02)") + "\nimport sys\nprint(*sys.modules)"
        command = [sys.executable, "-I", "-S", "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        reason, loaded = done.stdout.splitlines()
        assert reason.startswith("The campaign has stopped: Budget spent, not converged")
        assert not {"torch", "numpy", "glassmap", "httpx"} & set(loaded.split())
        found = Campaign(folder)
        assert client.get("/campaigns/mine/status").json()["state"] == "exhausted" == found.status().state
        table, alloys = client.get("/campaigns/mine/map").json(), found.map()
        assert table["rows"] == len(alloys) == len(table["columns"]["delta_q"]) == 171
        known = [width for width in table["columns"]["delta_q"] if width is not None]
        assert sum(known) == pytest.approx(np.nansum(alloys["delta_q"].to_numpy()), rel=1e-6) and known
        predicted = client.get("/campaigns/mine/predict", params={"alloy": ["Co40V35Zr25", "Co20V60Zr20"]}).json()[
            "columns"
        ]
        assert predicted["V"] == pytest.approx([35.0, 60.0]) and None not in predicted["delta_q"]
        assert client.get("/campaigns/mine/curve").json()["columns"]["round"] == [1, 2]
        assert client.get("/campaigns/mine/measurements").json()["rows"] == 16
        assert client.get("/campaigns/mine/map.parquet").content[:4] == b"PAR1"
    with open_campaign(folder):
        pass  # given free by the server that ended


def test_nobody_asks_without_the_token(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    with serving(folder) as client:
        for headers in ({"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            for answer in (
                client.get("/campaigns", headers=headers),
                client.post("/campaigns/lab/suggest", headers=headers),
            ):
                assert answer.status_code == 401 and "Authorization: Bearer" in answer.json()["detail"]
        assert client.get("/campaigns").json() == ["lab"]
        assert client.get("/campaigns/other/status").status_code == 404
    assert not (folder / "campaign.db").exists(), "whoever may not ask begins nothing"


def test_points_are_taken_whole_or_refused_in_words_and_a_busy_campaign_is_asked_again(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", columns="q")
    with serving(folder) as client:
        with open_campaign(folder):
            busy = client.post("/campaigns/lab/suggest")
        assert busy.status_code == 503 and busy.headers["Retry-After"] == AGAIN["Retry-After"]
        first, second = (point(one) for one in ask_until_ready(client, "lab", 2)["alloys"])
        cut = second | {"q": second["q"][:50], "intensity": second["intensity"][:50]}
        answer = client.post("/campaigns/lab/ingest", json=[first, cut])
        assert answer.status_code == 422 and "1.5 to 4.5" in answer.json()["detail"]
        assert rows(folder, "SELECT count(*) FROM spectra") == [(0,)], "all or none"
        assert (
            client.post("/campaigns/lab/ingest", json=[{"_id": "r009-01", **first} | {"_id": "r009-01"}]).status_code
            == 409
        )
        assert client.post("/campaigns/lab/ingest", json=[{"_id": first["_id"]}]).status_code == 422, "no intensity"
        answer = client.post("/campaigns/lab/ingest", json=[first | {"Co": "much", "V": 30, "Zr": 30}])
        assert answer.status_code == 422 and "the share of Co is no number ('much')" in answer.json()["detail"]
        stand = client.post("/campaigns/lab/ingest", json=[first, second]).raise_for_status().json()
        assert stand["spectra"] == 2 and stand["folder"] == "lab", "no path of this computer"
        left = [one["_id"] for one in ask_until_ready(client, "lab", 50)["alloys"]]
        assert len(left) == 6 and not {first["_id"], second["_id"]} & set(left)
        client.post("/campaigns/lab/failures", json=[{"_id": left[0]}]).raise_for_status()
        assert rows(folder, "SELECT suggestion FROM failures") == [(left[0],)]
        waits = ask_until_ready(client, "lab")
        assert waits["state"] == "waiting" and "5 of 8" in waits["reason"]


def test_who_asks_while_a_campaign_is_opened_is_told_to_ask_again_and_a_lost_answer_can_be_had_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http_api, "SOON_S", 0.0)
    folder = write_campaign(tmp_path / "lab", columns="q")
    with serving(folder) as client:
        first = client.post("/campaigns/lab/suggest").raise_for_status().json()
        assert first["state"] == "learning" and first["reason"]
        told = ask_until_ready(client, "lab", 3)["alloys"]
        again = client.get("/campaigns/lab/suggested").raise_for_status().json()
        assert told and sorted(one["_id"] for one in again) == sorted(one["_id"] for one in told)
        client.post("/campaigns/lab/ingest", json=[point(one) for one in told]).raise_for_status()
        assert client.get("/campaigns/lab/suggested").json() == []


def test_any_campaign_can_be_read_and_only_a_laboratory_s_is_told(finished: Path):
    with serving(finished) as client:
        name = finished.name
        answer = client.post(f"/campaigns/{name}/suggest")
        assert answer.status_code == 409 and "backend.kind must be 'lab'" in answer.json()["detail"]
        assert client.get(f"/campaigns/{name}/status").json()["state"] == "exhausted"
        table = client.get(f"/campaigns/{name}/map").json()
        known = Campaign(finished).map()["p_glass"].notna().to_numpy()
        assert [value is not None for value in table["columns"]["p_glass"]] == known.tolist(), (
            "null, as JSON has no NaN"
        )


def test_a_map_that_is_gone_is_refused_in_words(finished: Path, tmp_path: Path):
    folder = shutil.copytree(finished, tmp_path / "copy")
    for path in (folder / "maps").glob("*.parquet"):
        path.unlink()
    with serving(folder) as client:
        for route in ("map", "map.parquet"):
            answer = client.get(f"/campaigns/copy/{route}")
            assert answer.status_code == 409 and "`glassmap map` makes it again" in answer.json()["detail"]


def test_a_port_that_is_taken_is_refused_in_words(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = ["serve-api", str(folder), "--port", str(port), "--token-file", str(tmp_path / "token")]
        done = CliRunner().invoke(app, command)
    assert done.exit_code == ExitCode.REFUSED and "Serving on" not in done.output
    assert f"port {port}: Address already in use" in " ".join(done.output.split())


def test_a_token_is_made_once_and_its_owner_s_alone(tmp_path: Path):
    path = tmp_path / "home" / "token"
    token = token_in(path)
    assert len(token) >= 40 and token_in(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("\n")
    with pytest.raises(CampaignError, match="holds no token"):
        token_in(path)


def test_a_request_that_would_fill_the_memory_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("glassmap.flows.services.http_api.MOST_BYTES", 1000)
    with serving(write_campaign(tmp_path / "lab")) as client:
        large = client.post("/campaigns/lab/ingest", content=b"[" * 1001, headers={"Authorization": ""})
        assert large.status_code == 413 and "1,000 bytes, got 1,001" in large.json()["detail"]
        without = client.post("/campaigns/lab/ingest", content=iter([b"[]"]))
        assert without.status_code == 411, "in pieces of which nobody knows how many come"


def test_the_page_names_every_route():
    page = (Path(__file__).parents[3] / "docs" / "http.md").read_text()
    for route, methods in create_app([], token=TOKEN).openapi()["paths"].items():
        called = route.replace("{name}", "NAME")
        for method in methods:
            is_read_alike = method == "get" and f"`{called.removeprefix('/campaigns/NAME')}`" in page
            assert f"`{method.upper()} {called}" in page or is_read_alike, route
