"""Whether everything is as it was written: what was changed is found, and what wasn't isn't."""

from collections.abc import Callable
from pathlib import Path

import pytest

from glassmap.agent.config.campaign import FILE_NAME as CAMPAIGN_FILE
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.flows.upkeep import verify as module
from glassmap.flows.upkeep.verify import verify
from tests.support.command_line import does, glassmap, told
from tests.support.harm import flip, spectrum_in
from tests.support.lab_campaigns import measure_all


def wrong_in(folder: Path) -> dict[str, tuple[str, ...]]:
    return {one.kind: one.wrong for one in verify(folder) if one.wrong}


def the(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]


def test_a_finished_campaign_is_as_it_was_written_and_all_of_it_is_looked_at(finished: Path):
    said = does("verify", finished)
    counts = {one["kind"]: one["looked_at"] for one in told("verify", finished)}
    assert counts["spectra"] == 24 and counts["store"] > 100 and counts["copy of the store"] > 100
    assert (counts["checkpoints"], counts["maps"], counts["archives"], counts[CAMPAIGN_FILE]) == (3, 3, 1, 1)
    assert "spectra" in said and "repair" not in said


@pytest.mark.parametrize(
    ("kind", "harm", "words"),
    [
        ("spectra", lambda folder: flip(folder / STORE, at=spectrum_in(folder, "r002-03")), "spectra r002-03: changed"),
        ("store", lambda folder: (folder / STORE).unlink(), f"{STORE} is missing"),
        ("store", lambda folder: (folder / STORE).write_bytes(b""), "no table is in it"),
        ("store", lambda folder: flip(folder / STORE, at=0), "file is not a database"),
        ("copy of the store", lambda folder: flip(folder / f"{STORE}.bak", at=0), "file is not a database"),
        ("checkpoints", lambda folder: flip(the(folder, "checkpoints/*.safetensors")), "was changed"),
        ("checkpoints", lambda folder: the(folder, "checkpoints/*.json").unlink(), "is missing"),
        ("maps", lambda folder: flip(the(folder, "maps/*.parquet")), "was changed"),
        ("archives", lambda folder: flip(the(folder, "maps/*.h5")), "was changed"),
        (CAMPAIGN_FILE, lambda folder: (folder / CAMPAIGN_FILE).write_text("[["), "is not valid TOML"),
    ],
)
def test_what_was_changed_or_lost_is_found(kind: str, harm: Callable[[Path], object], words: str, continued: Path):
    harm(continued)
    before = {path: path.read_bytes() for path in continued.rglob("*") if path.is_file() and "-shm" not in path.name}
    result = glassmap("verify", continued)
    assert result.exit_code == 6 and words in result.output.replace("\n", " ")
    assert f"glassmap repair {continued}" in result.output.replace("\n", "")
    assert set(wrong_in(continued)) == {kind}
    assert all(path.read_bytes() == content for path, content in before.items()), "it only looks"


def test_a_laboratory_s_scans_and_orders_are_looked_at(lab: Path):
    measure_all(lab, skip=1)
    does("run", lab)
    assert not wrong_in(lab)
    the(lab, "scans/*.xy").unlink()
    flip(the(lab, "orders/*.csv"))
    wrong = wrong_in(lab)
    assert set(wrong) == {"scans", "orders"} and "is missing" in wrong["scans"][0]
    assert wrong["orders"] == ("round-001.csv doesn't say what the store says.",)


def test_what_a_driver_replaces_at_that_moment_is_not_wrong(continued: Path, monkeypatch: pytest.MonkeyPatch):
    archive = the(continued, "maps/*.h5")
    content, look = archive.read_bytes(), module._look
    archive.unlink()

    def looks_and_comes_back(folder: Path) -> list[module.Checked]:
        found = look(folder)
        archive.write_bytes(content)
        return found

    monkeypatch.setattr(module, "_look", looks_and_comes_back)
    assert not wrong_in(continued)


def test_a_folder_without_a_campaign_is_said_to_be_one(tmp_path: Path):
    result = glassmap("verify", tmp_path)
    assert result.exit_code == 3 and "No campaign has been started in" in result.output
