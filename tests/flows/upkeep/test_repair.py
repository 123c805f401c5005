"""What is harmed is put together again or said to be lost, and the campaign goes on to the same end."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from glassmap.agent.config.campaign import FILE_NAME as CAMPAIGN_FILE
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.schema import FILE_NAME as STORE
from glassmap.agent.store.trouble import COPY_NAME
from glassmap.flows.upkeep import repair as module
from glassmap.flows.upkeep.repair import Told, repair
from glassmap.flows.upkeep.verify import verify
from tests.support.campaigns import fingerprint, rows, run
from tests.support.command_line import glassmap
from tests.support.harm import flip, place_of, spectrum_in, suggestion_in
from tests.support.lab_campaigns import drop_scan, measure_all, order

PAGE = 4096


def repaired(folder: Path) -> list[Told]:
    """Repair a campaign; a second time there is nothing to do."""
    told = list(repair(folder, person="me"))
    assert not list(repair(folder, person="me"))
    assert not [one for one in verify(folder) if one.wrong]
    return told


def lost(told: list[Told]) -> list[str]:
    return [one.text for one in told if one.is_lost]


LAST_MIGRATIONS = (b"steady_clock", b"row_checksums")  # a time follows


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: flip(folder / STORE, at=spectrum_in(folder, "r002-03") + 7),
        lambda folder: flip(folder / STORE, at=spectrum_in(folder, "r002-03") // PAGE * PAGE, count=64),
        lambda folder: flip(folder / STORE, at=0, count=100),  # SQLite refuses the file
        lambda folder: flip(folder / STORE, at=100, count=64),  # and here its schema
        lambda folder: (folder / STORE).write_bytes((folder / STORE).read_bytes()[: 20 * PAGE]),
        lambda folder: [flip(folder / STORE, at=place_of(folder, b"%s20" % name)) for name in LAST_MIGRATIONS],
    ],
    ids=["a spectrum", "a page's head", "the file's head", "the schema", "cut off", "its version"],
)
def test_a_damaged_store_comes_back_row_by_row(harm: Callable[[Path], None], continued: Path):
    before, whole = fingerprint(continued), (continued / STORE).read_bytes()
    harm(continued)
    harmed = (continued / STORE).read_bytes()
    assert harmed != whole
    assert not lost(repaired(continued)) and fingerprint(continued) == before
    assert (continued / f"{STORE}.damaged-1").read_bytes() == harmed


def test_without_a_copy_a_spectrum_is_asked_of_who_measured_it(continued: Path):
    before = fingerprint(continued)
    (continued / COPY_NAME).unlink()
    flip(continued / STORE, at=spectrum_in(continued, "r002-03") + 7, count=64)
    told = repaired(continued)
    assert [one.text for one in told][1:] == ["spectra r002-03: put together again, as its checksum proves."]
    assert fingerprint(continued) == before


def test_a_round_that_lost_what_it_asks_for_is_begun_again_to_the_same_end(continued: Path):
    before = fingerprint(continued)
    (continued / COPY_NAME).unlink()
    flip(continued / STORE, at=suggestion_in(continued, "r003-05"), count=40)
    said = [one.text for one in repaired(continued)]
    assert any("Round 3 is begun again" in text for text in said), said
    run(continued)
    assert fingerprint(continued) == before


def test_a_missing_store_comes_from_its_copy_without_a_stranger_s_log_of_writes(continued: Path):
    last = fingerprint(continued)
    (continued / STORE).unlink()
    (continued / f"{STORE}-wal").write_bytes(b"of a store that is gone")
    assert "was missing" in repaired(continued)[0].text
    assert fingerprint(continued) == last


def test_a_repair_that_was_killed_is_taken_up_again(continued: Path, monkeypatch: pytest.MonkeyPatch):
    before = fingerprint(continued)
    flip(continued / STORE, at=spectrum_in(continued, "r001-02"))
    harmed = (continued / STORE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, "salvage", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(repair(continued, person="me"))
    (continued / STORE).write_bytes(b"")  # as if it had been at the next step
    assert not lost(repaired(continued))
    assert fingerprint(continued) == before and (continued / f"{STORE}.damaged-1").read_bytes() == harmed


def test_what_came_after_a_repair_that_was_killed_at_its_end_stays(continued: Path, monkeypatch: pytest.MonkeyPatch):
    flip(continued / STORE, at=spectrum_in(continued, "r001-02"))
    harmed = (continued / STORE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_keep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            list(repair(continued, person="me"))
    with CampaignStore.amend(continued, person="me") as store, store.transaction():
        store.log("note", "said since")
    assert not lost(repaired(continued))
    with CampaignStore.read_only(continued) as store:
        assert [line for line in store.log_lines() if line.detail == "said since"]
    assert (continued / f"{STORE}.damaged-1").read_bytes() == harmed


def test_models_maps_and_the_campaign_file_are_made_again(continued: Path):
    before = fingerprint(continued)
    for pattern in ("checkpoints/*.json", "maps/*.parquet", "maps/*.h5"):
        flip(sorted(continued.glob(pattern))[-1])
    flip(continued / CAMPAIGN_FILE)
    settings = (continued / CAMPAIGN_FILE).read_bytes()
    result = glassmap("repair", continued)
    assert result.exit_code == 0, result.output
    assert fingerprint(continued) == before
    assert (continued / f"{CAMPAIGN_FILE}.damaged").read_bytes() == settings
    assert "Nothing to repair" in glassmap("repair", continued).output


def test_what_a_laboratory_s_round_asks_for_is_read_from_its_order(lab: Path):
    measure_all(lab, skip=2)
    run(lab)
    before = fingerprint(lab)
    flip(lab / STORE, at=suggestion_in(lab, "r001-05"), count=40)
    said = [one.text for one in repaired(lab)]
    assert "What round 1 asks for was read from round-001.json." in said
    after = fingerprint(lab)
    assert {key: after[key] for key in ("suggestions", "spectra")} == {
        key: before[key] for key in ("suggestions", "spectra")
    }
    assert run(lab).missing == 2


def test_a_laboratory_s_spectrum_is_read_from_the_kept_scan_again_or_waited_for(lab: Path):
    measure_all(lab, skip=2)
    run(lab)
    before = fingerprint(lab)["spectra"]
    flip(lab / STORE, at=spectrum_in(lab, "r001-03"))
    assert not lost(repaired(lab)) and fingerprint(lab)["spectra"] == before
    flip(lab / STORE, at=spectrum_in(lab, "r001-03"))
    shutil.rmtree(lab / "scans")
    for path in (lab / "drop").iterdir():
        path.unlink()
    said = lost(list(repair(lab, person="me")))  # and the scans' copies, which is said each time
    assert any(text.startswith("spectra r001-03: lost. It is waited for again.") for text in said)
    missing = [sample["sample"] for sample in order(lab) if sample["state"] == "missing"]
    assert "r001-03" in missing and len(missing) == 3
    assert json.loads((lab / "orders" / "round-001.json").read_text())["samples"][2]["state"] == "missing"


def test_a_scan_whose_entry_in_the_ledger_is_lost_is_not_taken_twice(lab: Path):
    measure_all(lab, skip=5)
    run(lab)
    before = fingerprint(lab)["spectra"]
    ((path, hash_),) = rows(lab, "SELECT path, hash FROM files WHERE measurement = 'r001-07'")
    flip(lab / STORE, at=place_of(lab, path.encode(), before=hash_.encode()) - 10, count=30)
    told = repaired(lab)
    assert not lost(told) and "1 of the ledger's entries" in " ".join(one.text for one in told)
    assert run(lab).missing == 5 and fingerprint(lab)["spectra"] == before


def test_nothing_to_make_a_store_of_is_said(continued: Path):
    (continued / STORE).unlink()
    (continued / COPY_NAME).unlink()
    result = glassmap("repair", continued)
    assert result.exit_code == 3 and "Unpack a backup" in result.output
    assert "No campaign has been started" in glassmap("repair", continued / "mistyped").output


@pytest.mark.parametrize("state", ["used", "waiting"])
def test_a_scan_whose_state_is_lost_is_neither_taken_twice_nor_forgotten(lab: Path, state: str):
    measure_all(lab, skip=5)
    drop_scan(lab, order(lab)[0])
    run(lab)
    before = fingerprint(lab)["spectra"]
    ((hash_,),) = rows(lab, f"SELECT hash FROM scans WHERE state = '{state}' ORDER BY rowid LIMIT 1")
    flip(lab / STORE, at=place_of(lab, f"{hash_}{state}".encode()) + len(hash_) - 20, count=20 + len(state))
    assert not lost(repaired(lab))
    run(lab)
    assert fingerprint(lab)["spectra"] == before
    assert rows(lab, "SELECT state, count(*) FROM scans GROUP BY state ORDER BY state") == [("used", 3), ("waiting", 1)]
