"""The commands by which people steer a campaign, as they type them."""

from pathlib import Path

import numpy as np
import pytest

from glassmap.flows.cli.exit_codes import ExitCode
from tests.support.command_line import glassmap, told
from tests.support.lab_campaigns import drop_scan, drop_table, edit, measure_all, order, write_campaign
from tests.support.laboratory import scan_text


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = write_campaign(tmp_path / "lab", minimum_share=1.0)
    edit(folder, 'approval = "auto"', 'approval = "required"')
    assert "waiting: Round 1 waits for approval" in glassmap("run", folder).output
    return folder


def said(*words: object) -> str:
    result = glassmap(*words)
    assert result.exit_code in (ExitCode.DONE, ExitCode.WAITS), result.output
    return result.output


def test_a_first_day_in_a_laboratory(lab: Path):
    assert "r001-08" in said("orders", lab)
    assert "planned instead: r001-09" in said("reject", lab, "r001-02", "--reason", "too brittle")
    assert "Round 1 may be measured" in said("approve", lab)
    assert "Waiting for 8 of 9 measurements" in said("run", lab)
    names = measure_all(lab, skip=2)
    (lab / "drop" / "junk.xrdml").write_text("<")
    assert "Waiting for 2 of 9" in said("run", lab)
    accounted = said("ledger", lab)
    assert "9 alloys asked for: 6 measured, 2 missing, 1 rejected" in accounted and "junk.xrdml" in accounted
    assert set(told("ledger", lab)) == {"files", "alloys", "measurements", "scans"}
    assert "No longer waiting for r001-01" in said("abandon", lab, "r001-01", "--reason", "the wafer broke")
    assert "goes on without 1 measurements" in said("go-on", lab)
    assert "waits for approval" in said("run", lab)
    used = names[-1]
    assert f"Retracted {used}" in said("retract", lab, used, "--reason", "wrong wafer")
    assert f"Waiting for {used} again" in said("retry", lab, used)
    assert f"{used} will be used" in said("accept", lab, used)
    assert "The campaign stops before its next stage" in said("pause", lab, "--reason", "lunch")
    assert said("status", lab).startswith("Paused since")
    assert "No longer paused" in said("resume", lab)
    log = said("log", lab, "--about", used)
    assert all(word in log for word in ("measured", "retracted", "tried again", "accepted"))
    assert f"{used}: asked for in round 1" in said("trace", lab, used)
    alloy = said("trace", lab, "Co30V40Zr30")
    assert "q₁ 2." in alloy and "from drop/" in alloy and "trained on" in alloy
    assert "to round 3" in said("extend", lab, "--rounds", "2")


def test_what_people_note_is_shown_where_it_belongs(lab: Path):
    assert said("note", lab, "the beam is weak") == "Noted on the campaign.\n"
    assert "Noted on r001-02" in said("note", lab, "cracked [at] the rim", "--measurement", "r001-02")
    assert "Noted on Co30V40Zr30" in said("note", lab, "brittle", "--alloy", "V40Co30Zr30")
    assert "Noted on round 1" in said("note", lab, "a new target", "--round", 1)
    status = said("status", lab)
    notes = [line.split(", ", 2)[2] for line in status.splitlines() if line.startswith("Note, ")]
    assert [line.partition(" on ")[2] for line in notes] == [
        "r001-02: cracked [at] the rim",
        "Co30V40Zr30: brittle",
        "round 1: a new target",
    ], "the last three"
    assert told("status", lab)["notes"][0]["text"] == "the beam is weak"
    assert "cracked [at] the rim" in said("log", lab, "--about", "r001-02") and "noted" in said("trace", lab, "r001-02")


def test_a_note_on_nothing_or_on_several_things_is_refused(lab: Path):
    for words, message in (
        ([" "], "A note has a text; got none"),
        (["x", "--round", 2], "no round 2: it has planned rounds 1 to 1"),
        (["x", "--round", 0], "no round 0"),
        (["x", "--measurement", "r009-01"], "Nothing was asked for or measured as 'r009-01'"),
        (["x", "--alloy", "Fe50Ti50"], "Fe50Ti50"),
        (["x", "--alloy", "Co30V40Zr30", "--round", 1], "about one thing; got --alloy and --round"),
    ):
        result = glassmap("note", lab, *words)
        assert result.exit_code != 0 and message in " ".join(result.output.split()), result.output


def test_files_are_ingested_by_hand_from_anywhere(lab: Path, tmp_path: Path):
    said("approve", lab)
    said("run", lab)
    found = drop_scan(lab, order(lab)[0])
    drop_table(lab, {"r001-01": found})
    (lab / "drop" / "r001-01.xy").rename(tmp_path / "r001-01.xy")
    (lab / "drop" / "edx.csv").rename(tmp_path / "edx.csv")
    output = said("ingest", lab, tmp_path / "r001-01.xy", tmp_path / "edx.csv")
    assert "edx.csv: 1 sample." in output and "r001-01.xy: measured, r001-01, " in output


def test_what_cannot_be_done_is_said_and_changes_nothing(lab: Path, tmp_path: Path, small_dataset: Path):
    for words, message in (
        (("reject", lab, "r009-01", "--reason", "x"), "No alloy was asked for as 'r009-01'"),
        (("retract", lab, "r001-01", "--reason", "x"), "There is no measurement 'r001-01'"),
        (("resume", lab), "isn't paused"),
        (("trace", lab, "Co30V40Zr30"), "There is no map yet"),
        (("trace", lab, "nonsense"), "Can't read the composition"),
        (("approve", tmp_path / "nowhere"), "No campaign has been started"),
        (("init", tmp_path / "new", "--lab", "Co-V-Zr"), "Say the range in q"),
        (("init", tmp_path / "new", "--lab", "Co-V-Zr", "--dataset", small_dataset), "Say who measures"),
    ):
        result = glassmap(*words)
        assert result.exit_code == 3 and message in result.output.replace("\n", " "), result.output
    assert not (tmp_path / "nowhere").exists()


def test_a_laboratory_is_set_up_by_init(tmp_path: Path):
    folder = tmp_path / "lab"
    assert "Next: glassmap run" in said("init", folder, "--lab", "Co-V-Zr", "--range", 1.5, 4.5, "--wavelength", 1.5406)
    assert "Waiting for 20 of 20" in said("run", folder)
    text = scan_text(np.array([0.3, 0.3, 0.4]), np.random.default_rng(0), ".xrdml", "r001-01")
    (tmp_path / "scan.xrdml").write_text(text)
    assert "waits. No composition table names scan or r001-01" in said("ingest", folder, tmp_path / "scan.xrdml")


def test_a_replay_takes_in_no_files(tmp_path: Path, small_dataset: Path):
    said("init", tmp_path / "replay", "--dataset", small_dataset)
    result = glassmap("ingest", tmp_path / "replay", small_dataset)
    assert result.exit_code == 3 and "Only a laboratory takes in files" in result.output
