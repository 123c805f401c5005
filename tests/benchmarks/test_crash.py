"""The crash matrix tells apart how a process ended, kills where it says, harms as much as it says, and counts."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from glassmap.agent.errors import CampaignError
from tests.benchmarks.__main__ import app
from tests.benchmarks.crash import matrix
from tests.benchmarks.crash.harm import harm_file
from tests.benchmarks.crash.trials import Ending, Trial, apart, events_of, judge, killed_at, spread

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def fails(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_how_a_process_ended_is_told_apart():
    assert apart(lambda: 7) == Ending("done", value=7)
    assert apart(fails(CampaignError("There is no campaign."))) == Ending("said", "There is no campaign.")
    assert apart(fails(OSError(28, "No space left on device"))).how == "said"
    assert "KeyError" in apart(fails(KeyError("a bug"))).text
    assert apart(lambda: os.kill(os.getpid(), signal.SIGKILL)).how == "killed"
    assert apart(lambda: os._exit(3)) == Ending("traceback", "ended with 3")
    assert apart(lambda: time.sleep(60), limit=0.1).how == "stuck"


def test_a_process_is_killed_just_before_the_event_that_is_named(tmp_path: Path):
    def work() -> None:
        (tmp_path / "first").write_text("1")
        with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as db:
            db.execute("CREATE TABLE numbers (n)")
            db.execute("SELECT * FROM numbers")
            db.execute("INSERT INTO numbers VALUES (1)")
        (tmp_path / "first").rename(tmp_path / "last")
        (tmp_path.parent / "elsewhere").write_text("of no concern")

    events, _ = events_of(tmp_path, work)
    assert events == ["open first", "SQL CREATE", "SQL INSERT", "rename first"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert apart(killed_at(tmp_path, work, 4)).how == "killed"
    assert not (tmp_path / "last").exists()
    with closing(sqlite3.connect(tmp_path / "store.db")) as db:
        assert db.execute("SELECT n FROM numbers").fetchall() == [(1,)]


def test_another_end_is_lost_and_a_refusal_is_said():
    expected = {"spectra": [1, 2], "curve": [3]}
    assert judge(Ending("done", value=expected), expected)[0] == "survived"
    outcome, detail = judge(Ending("done", value={"spectra": [1], "curve": [3]}), expected)
    assert outcome == "lost" and "spectra" in detail and "[2]" in detail
    assert judge(Ending("said", "it is damaged"), expected) == ("said", "it is damaged")
    assert judge(Ending("stuck"), expected)[0] == "stuck"


def test_a_harm_changes_up_to_64_bytes_in_a_row(tmp_path: Path):
    path, before = tmp_path / "file", bytes(1000)
    for seed in range(20):
        path.write_bytes(before)
        harm_file(path, np.random.default_rng(seed), whole=False)
        changed = np.flatnonzero(np.frombuffer(path.read_bytes(), np.uint8))
        assert 1 <= len(changed) <= 64 and changed[-1] - changed[0] == len(changed) - 1
        assert path.stat().st_size == 1000


def test_fewer_trials_are_spread_over_all_cases():
    assert spread(range(100), 3) == [0, 50, 99] and spread(range(3), 9) == [0, 1, 2] and spread([1, 2], None) == [1, 2]


def test_the_command_counts_what_became_of_each_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def part(prepared: object, *, most: int | None, workers: int):
        yield Trial("kill", "replay", "1", "survived")
        yield Trial("kill", "replay", "2", "lost", "a spectrum")

    monkeypatch.setattr(matrix, "PARTS", {"kill": part})
    monkeypatch.setattr(matrix, "Prepared", lambda home: None)
    done = CliRunner().invoke(app, ["crash", "--json", str(tmp_path / "crash.json")], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "kill, replay, 2: lost. a spectrum" in done.output
    records = json.loads((tmp_path / "crash.json").read_text())
    assert records["counts"][0] | {"trials": 2, "survived": 1, "lost": 1, "stuck": 0} == records["counts"][0]
    assert [trial["case"] for trial in records["told"]] == ["2"]
