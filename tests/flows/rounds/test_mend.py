"""Mend: what was made of the spectra and is lost or harmed is said in words, and made again to the bit."""

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from glassmap.agent.atomic_file import PREFIX
from glassmap.agent.content_hash import parts_of
from glassmap.agent.maps.spectra_archive import read_archive
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.mend import mend_artefacts
from glassmap.flows.rounds.retrain import retrain
from tests.support.campaigns import fingerprint, rows
from tests.support.command_line import does, glassmap
from tests.support.lab_campaigns import measure_all

ALLOY = "Co30V40Zr30"


def artefact(folder: Path, kind: str, round_: int | None = None) -> Path:
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact(kind, round_) or (0, Path())
    return path


def harm(path: Path, how: str) -> None:
    content = bytearray(path.read_bytes())
    match how:
        case "deleted":
            path.unlink()
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[: len(content) // 2])


def events(folder: Path) -> list[str]:
    with CampaignStore.read_only(folder) as store:
        return [line.event for line in store.log_lines()]


def test_a_harmed_map_and_archive_are_refused_in_words_and_the_command_map_makes_them_again(
    continued: Path, finished: Path, tmp_path: Path
):
    report, trace = ("report", continued, "-o", tmp_path / "report.html"), ("trace", continued, ALLOY)
    for kind, how, harmed, commands in (
        ("archive", "deleted", "is missing", [report]),
        ("map", "flipped", "was changed or cut off", [report, trace]),
    ):
        harm(artefact(continued, kind), how)
        for words in commands:
            refused = glassmap(*words)
            assert refused.exit_code == 3 and isinstance(refused.exception, SystemExit), refused.output
            assert harmed in refused.output and "`glassmap map`" in refused.output
    said = does("map", continued)
    assert "The map of round 3" in said and "The archive of round 3" in said
    assert fingerprint(continued) == fingerprint(finished)
    assert events(continued)[-2:] == ["made again", "made again"]
    assert "Δq" in does("trace", continued, ALLOY)


@pytest.mark.parametrize(("command", "lost"), [("run", ("checkpoints", "maps")), ("retrain", ("maps",))])
def test_all_that_was_made_of_the_spectra_is_made_of_them_again(
    continued: Path, finished: Path, command: str, lost: tuple[str, ...]
):
    for name in lost:
        shutil.rmtree(continued / name)
    does(command, continued)
    assert fingerprint(continued) == fingerprint(finished)


def test_what_a_store_that_was_salvaged_records_no_more_is_made_again(continued: Path, finished: Path):
    with CampaignStore.open(continued) as store, store.transaction():
        store._execute("DELETE FROM artefacts WHERE round = 2 OR kind = 'archive'")
    with open_campaign(continued) as campaign:
        assert len(mend_artefacts(campaign)) == 3
    assert fingerprint(continued) == fingerprint(finished)


def test_models_are_made_again_in_the_order_in_which_spectra_came_whatever_the_clock_said(
    continued: Path, finished: Path
):
    for path in parts_of(artefact(continued, "checkpoint", 2)):
        path.unlink()
    with CampaignStore.open(continued) as store, store.transaction():
        store._execute("UPDATE spectra SET taken = '2301' || substr(taken, 5) WHERE round = 1")
        store._execute("UPDATE spectra SET taken = '1970' || substr(taken, 5) WHERE round = 3")
    does("run", continued)
    models = "SELECT * FROM artefacts WHERE kind = 'checkpoint' ORDER BY round"
    assert rows(continued, models) == rows(finished, models)


def test_a_model_is_made_again_of_all_that_it_learned_from_though_some_is_retracted_since(
    continued: Path, finished: Path
):
    harm(artefact(continued, "checkpoint", 2).with_suffix(".safetensors"), "flipped")
    does("retract", continued, "r001-01", "--reason", "wrong wafer")
    with open_campaign(continued) as campaign:
        (said,) = mend_artefacts(campaign)
    assert said.startswith("The model of round 2 was trained again")
    assert artefact(continued, "checkpoint", 2).name == artefact(finished, "checkpoint", 2).name


def test_what_a_harmed_checkpoint_says_of_its_spectra_is_not_believed(continued: Path, finished: Path):
    path = artefact(continued, "checkpoint", 1)
    path.write_text(path.read_text().replace('"r001-01"', '"r003-01"'))
    said = does("trace", continued, "r003-01")
    assert f"trained {path.name}" not in " ".join(said.split()) and "can't be told" in said
    does("run", continued)
    assert artefact(continued, "checkpoint", 1).name == artefact(finished, "checkpoint", 1).name


def test_a_map_is_not_made_again_while_another_process_is_at_the_campaign(continued: Path):
    harm(artefact(continued, "map"), "deleted")
    with CampaignStore.open(continued):
        refused = glassmap("map", continued)
    assert refused.exit_code == 5 and "is missing; another process is at the campaign" in refused.output


def test_an_archive_under_the_name_of_an_earlier_version_is_read_and_made_again_where_it_is_harmed(continued: Path):
    now = artefact(continued, "archive")
    before = now.rename(now.with_name("round-003.h5"))
    with CampaignStore.open(continued) as store, store.transaction():
        store.record_only_artefact(3, "archive", before)
    assert read_archive(before).round == 3
    with open_campaign(continued) as campaign:
        assert mend_artefacts(campaign) == []
        harm(before, "cut")
        (said,) = mend_artefacts(campaign)
    assert said.startswith("The archive of round 3 can't be read")
    assert artefact(continued, "archive") == now and not before.exists()


def dead_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


@pytest.mark.parametrize("kind", ["checkpoint", "weights", "both", "map", "archive"])
def test_what_a_power_cut_left_under_a_partial_name_is_put_back_before_partial_files_are_swept(
    continued: Path, finished: Path, kind: str
):
    node = platform.node()
    path = artefact(continued, "map" if kind == "map" else "archive" if kind == "archive" else "checkpoint")
    halves = {"weights": [".safetensors"], "both": [".safetensors", path.suffix]}.get(kind, [path.suffix])
    for k, suffix in enumerate(halves):
        path.with_suffix(suffix).rename(path.with_name(f"{PREFIX}-{node}-{dead_process()}-{k:08x}{suffix}"))
    path.with_name(f"{PREFIX}-{node}-{dead_process()}-ffffffff{halves[0]}").write_text("half a file")
    with open_campaign(continued) as campaign:
        assert mend_artefacts(campaign) == []
    assert fingerprint(continued) == fingerprint(finished)
    assert not list(continued.rglob(f"{PREFIX}*"))
    assert events(continued)[-1] == "put back"


def test_a_scan_that_a_power_cut_left_under_a_partial_name_is_put_back(lab: Path):
    measure_all(lab)
    with open_campaign(lab) as campaign:
        retrain(campaign)
    scan = next((lab / "scans").glob("*.xy"))
    content = scan.read_bytes()
    scan.rename(scan.with_name(f"{PREFIX}-elsewhere-1-00000000.xy"))
    with open_campaign(lab):
        assert scan.read_bytes() == content
