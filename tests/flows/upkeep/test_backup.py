"""A campaign in one file, which goes on where it is unpacked."""

import tarfile
from pathlib import Path

import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.upkeep import backup as module
from glassmap.flows.upkeep.backup import back_up
from glassmap.flows.upkeep.verify import verify
from tests.support.campaigns import fingerprint, run
from tests.support.command_line import does, glassmap
from tests.support.lab_campaigns import measure_all


def unpacked(packed: Path, folder: Path) -> Path:
    with tarfile.open(packed) as tar:
        tar.extractall(folder, filter="data")
    (found,) = folder.iterdir()
    return found


def test_a_backup_unpacks_to_a_campaign_that_is_whole_and_refuses_to_take_the_place_of_another(
    continued: Path, tmp_path: Path
):
    packed = tmp_path / "packed.tar"
    said = does("backup", continued, "-o", packed)
    with tarfile.open(packed) as tar:
        assert f"Packed {len(tar.getnames())} files" in said
    content = packed.read_bytes()
    again = glassmap("backup", continued, "-o", packed)
    assert again.exit_code == 3 and "is there already" in again.output and packed.read_bytes() == content
    folder = unpacked(packed, tmp_path / "elsewhere")
    assert folder.name == continued.name and fingerprint(folder) == fingerprint(continued)
    assert not [one for one in verify(folder) if one.wrong]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["continued", "elsewhere", "packed.tar"]


def test_a_backup_is_of_one_moment_though_the_driver_goes_on(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    measure_all(lab, skip=2)
    run(lab)
    before, referred_to = fingerprint(lab), module._referred_to

    def goes_on(store: CampaignStore):
        measure_all(lab)
        run(lab)
        return referred_to(store)

    monkeypatch.setattr(module, "_referred_to", goes_on)
    back_up(lab, tmp_path / "packed.tar")
    folder = unpacked(tmp_path / "packed.tar", tmp_path / "elsewhere")
    assert fingerprint(folder) == before != fingerprint(lab)
    assert not [one for one in verify(folder) if one.wrong], "orders say what that store says"
    assert run(folder).missing == 2


def test_what_is_missing_is_named(continued: Path, tmp_path: Path):
    next(continued.glob("maps/*.parquet")).unlink()
    result = glassmap("backup", continued, "-o", tmp_path / "packed.tar")
    assert result.exit_code == 3 and ".parquet is missing" in result.output and not (tmp_path / "packed.tar").exists()


def test_a_scan_s_copy_that_is_lost_for_good_keeps_nothing_from_being_backed_up(lab: Path, tmp_path: Path):
    measure_all(lab, skip=2)
    run(lab)
    next((lab / "scans").glob("*.xy")).unlink()
    does("backup", lab, "-o", tmp_path / "packed.tar")
    assert fingerprint(unpacked(tmp_path / "packed.tar", tmp_path / "elsewhere")) == fingerprint(lab)
