"""With which code a command ends, and what it prints for programs; docs/exit-codes.md is held to it."""

import math
import re
from datetime import datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from glassmap import __version__
from glassmap.flows.cli.app import app
from glassmap.flows.cli.exit_codes import OF_ALL, ExitCode
from glassmap.flows.cli.options import folders_like
from glassmap.flows.cli.terminal import print_json
from tests.support.command_line import glassmap, told
from tests.support.lab_campaigns import edit, measure_all, write_campaign

PAGE = (Path(__file__).parents[3] / "docs" / "exit-codes.md").read_text()


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "lab", minimum_share=1.0)


def test_the_page_has_a_row_for_every_code():
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == [*ExitCode]


@pytest.mark.parametrize(("command", "codes"), [("run", {0, 2, 3, 4, 5}), ("verify", {0, 2, 3, 6}), ("log", {*OF_ALL})])
def test_help_names_the_codes_of_a_command(command: str, codes: set[int]):
    (said,) = re.findall(r"Exit codes: ([^.]+)\.", " ".join(glassmap(command, "-h").output.split()))
    assert {int(code) for code in re.findall(r"\d+", said)} == codes


def test_a_campaign_that_waits_for_its_laboratory_ends_commands_with_4(lab: Path):
    assert glassmap("run", lab).exit_code == glassmap("retrain", lab).exit_code == ExitCode.WAITS
    assert glassmap("status", lab).exit_code == glassmap("orders", lab).exit_code == ExitCode.DONE
    assert glassmap("pause", lab, "--reason", "lunch").exit_code == ExitCode.DONE
    measure_all(lab)
    paused = glassmap("ingest", lab, *sorted((lab / "drop").iterdir()))
    assert paused.exit_code == ExitCode.WAITS and paused.output.count(": measured, r001-") == 8


@pytest.mark.parametrize("words", ["nonsense", "status", "run {lab} --no-such", "candidates {lab} --level 2"])
def test_what_can_not_be_understood_ends_with_2(words: str, lab: Path):
    assert glassmap(*words.format(lab=lab).split()).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt(), ExitCode.INTERRUPTED), (RuntimeError("a bug"), ExitCode.FAULT)]
)
def test_ctrl_c_ends_with_130_and_a_bug_with_1(
    error: BaseException, code: ExitCode, lab: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("glassmap.flows.rounds.loop.advance", fails)
    assert glassmap("run", lab).exit_code == code


def test_status_refuses_a_campaign_file_that_run_refuses_once_it_has_said_what_stands(lab: Path):
    glassmap("run", lab)
    edit(lab, "seed = 0", "seed = 1")
    done = glassmap("status", lab)
    assert done.exit_code == glassmap("run", lab).exit_code == ExitCode.REFUSED
    assert "Waiting for 8 of 8" in done.output and "Changed since the campaign began: seed: " in done.output


def test_run_says_where_the_order_is_and_what_it_left_for_later(lab: Path):
    said = glassmap("run", lab).output
    assert f"The order: {lab / 'orders' / 'round-001.csv'}. Results go into {lab / 'drop'}." in said
    edit(lab, "quiet_seconds = 0.0", "quiet_seconds = 60.0")
    measure_all(lab)
    said = glassmap("run", lab).output
    assert "9 files there are younger than 60 s" in said and "Waiting for 8 of 8" in said
    assert glassmap("log", lab).output.count(f"{datetime.now().astimezone():%Z}") > 2, "times have a zone"


def test_quiet_prints_errors_only(lab: Path):
    done = glassmap("run", lab, "--quiet")
    assert (done.exit_code, done.output) == (ExitCode.WAITS, "")
    assert glassmap("orders", lab).output.count("r001-") == 8, "the next command speaks again"
    refused = glassmap("orders", lab / "nowhere", "-q")
    assert refused.exit_code == ExitCode.REFUSED and refused.output.startswith("Error: No campaign")


def test_json_is_all_that_is_printed(lab: Path):
    assert told("run", lab)["waiting_for"] == "measurements"
    assert len(told("orders", lab, "--quiet")) == 8 and told("log", lab)
    assert "takes no --json" in glassmap("status", lab, "--watch", "--json").output


def test_what_is_no_number_is_null(capfd: pytest.CaptureFixture[str]):
    print_json(True, {"mse": math.nan, "path": Path("Δq")})
    print_json(False, "nothing")
    assert capfd.readouterr().out == '{\n "mse": null,\n "path": "Δq"\n}\n'


def test_version_and_short_help():
    assert glassmap("--version").output == f"glassmap {__version__}\n"
    for words in ([], ["status"], ["plan-wafers"]):
        assert glassmap(*words, "-h").output == glassmap(*words, "--help").output != ""


def test_a_shell_completes_folders_of_campaigns(lab: Path, monkeypatch: pytest.MonkeyPatch):
    (lab.parent / "other").mkdir()
    monkeypatch.chdir(lab.parent)
    assert folders_like("") == folders_like("l") == ["lab"] and folders_like("./") == ["./lab"]
    assert str(lab) in folders_like(f"{lab.parent.parent}/") and folders_like("x") == []
    asked = {"_GLASSMAP_COMPLETE": "complete_bash", "COMP_WORDS": "glassmap status ", "COMP_CWORD": "2"}
    done = CliRunner().invoke(app, [], env=asked, prog_name="glassmap")
    assert done.output.split() == ["lab"]
