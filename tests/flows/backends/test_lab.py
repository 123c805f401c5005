"""A campaign in a laboratory: slow, partial, wrong and late, and still nothing lost."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import CampaignError, MeasurementError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import abandon, accept, approve, extend, go_on, pause, reject, resume, retract, retry
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from glassmap.flows.rounds.measure import receive
from tests.support.campaigns import TINY, fingerprint, processes, rows, run_and_tell
from tests.support.lab_campaigns import (
    LAB,
    ROUNDS,
    account,
    deliver_all,
    drop_scan,
    drop_table,
    edit,
    files,
    measure_all,
    order,
    run,
    states,
    write_campaign,
)
from tests.support.laboratory import scan_text, work


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A campaign whose first batch is ordered."""
    folder = write_campaign(tmp_path / "lab", minimum_share=1.0)
    assert run(folder).state == "waiting"
    return folder


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A campaign that stopped after its one round."""
    folder = write_campaign(tmp_path / "lab")
    edit(folder, "max_rounds = 10", "max_rounds = 1")
    run(folder)
    measure_all(folder)
    assert run(folder).state == "exhausted"
    return folder


# --- a whole campaign


def test_a_campaign_of_ten_rounds_accounts_for_everything_that_a_laboratory_dropped(tmp_path: Path):
    folder, journal = write_campaign(tmp_path / "lab"), tmp_path / "lab.json"
    (folder / "drop").mkdir()
    process = processes().Process(target=work, args=(folder, folder / "drop", journal, 3))
    process.start()
    try:
        end = time.monotonic() + 300
        while (status := run(folder)).state == "waiting":
            assert time.monotonic() < end, status.reason
            time.sleep(0.02)
    finally:
        process.kill()
        process.join()
    assert status.state == "exhausted" and status.rounds == ROUNDS
    run(folder)  # what was dropped after the last look
    faults = account(folder, journal)
    assert len(faults) == 9, f"every fault was met: {faults}"
    for sample in order(folder, 3):
        assert sample["state"] == states(folder)[sample["sample"]], "the order says what is missing"


def lab_fingerprint(folder: Path) -> dict[str, Any]:
    """All that a campaign found out, without times."""
    orders = {path.name: path.read_text() for path in (folder / "orders").glob("*.csv")}
    kept = {p.relative_to(folder).as_posix() for part in ("scans", "quarantine") for p in (folder / part).iterdir()}
    return fingerprint(folder) | {
        "files": rows(folder, "SELECT path, hash, kind, state, reason, measurement FROM files ORDER BY path, hash"),
        "samples": rows(folder, "SELECT name, composition FROM samples ORDER BY 1, 2"),
        "facts": rows(folder, "SELECT id, facts FROM spectra ORDER BY 1"),
        "orders": orders,
        "kept": kept,
    }


def test_fifty_kills_lose_nothing_and_order_nothing_twice(tmp_path: Path):
    def lives(folder: Path, kills: int, rng: np.random.Generator) -> int:
        """Run to the end, delivering between two lives; returns how often it was killed."""
        killed = 0
        while True:
            listening, told = processes().Pipe(duplex=False)
            child = processes().Process(target=run_and_tell, args=(folder, told))
            child.start()
            told.close()
            if killed < kills:
                listening.recv()  # a stage begins
                time.sleep(rng.uniform(0, 0.12))
                child.kill()
            child.join()
            assert child.exitcode in (0, -9)
            killed += child.exitcode == -9
            if child.exitcode == 0 and not deliver_all(folder):
                return killed

    expected = write_campaign(tmp_path / "untouched")
    (expected / "drop").mkdir()
    lives(expected, 0, np.random.default_rng(0))
    total = 0
    while total < 50:
        folder = write_campaign(tmp_path / "killed")
        (folder / "drop").mkdir()
        total += lives(folder, 50 - total, np.random.default_rng(total))
        assert lab_fingerprint(folder) == lab_fingerprint(expected)
        assert rows(folder, "PRAGMA integrity_check") == [("ok",)]
        account(folder, tmp_path / "killed.json")
        shutil.rmtree(folder)
        (tmp_path / "killed.json").unlink()
    assert total == 50


# --- taking in


def test_what_is_measured_is_learned_from_as_found_and_not_as_asked_for(lab: Path):
    samples = order(lab)
    table = {s["sample"]: drop_scan(lab, s, shift=0.03 if k == 0 else 0) for k, s in enumerate(samples)}
    drop_table(lab, table)
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    with CampaignStore.read_only(lab) as store:
        first = store.measurement("r001-01")
    assert first is not None
    np.testing.assert_allclose(first.composition, table["r001-01"], atol=1e-6)
    assert first.facts["off_target_at_pct"] == pytest.approx(3.0)


def test_a_round_waits_until_enough_is_in_and_time_is_over(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=0.75, patience_hours=1.0)
    run(folder)
    measure_all(folder, skip=2)
    assert run(folder).reason.startswith("Waiting for 2 of 8 measurements of round 1 since")
    ago = "2020-01-01T00:00:00+00:00"
    with CampaignStore.amend(folder, person="clock") as store, store.transaction():
        store._db.execute("UPDATE batches SET ordered = ?", [ago])
    assert run(folder).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    late = order(folder, 1)[0]
    drop_table(folder, {late["sample"]: drop_scan(folder, late)}, "late.csv")
    run(folder)
    assert states(folder)[late["sample"]] == "measured", "what comes late is taken all the same"
    assert order(folder, 1)[0]["state"] == "measured"


def test_a_person_may_have_a_round_go_on(lab: Path):
    measure_all(lab, skip=3)
    assert run(lab).state == "waiting"
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "the furnace is down")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_nothing_is_asked_for_twice_while_it_is_pending(lab: Path):
    measure_all(lab, skip=3)
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        asked = [s.composition for s in store.suggestions()]
    assert len(asked) == 16 == len(set(asked))


def test_a_scan_waits_for_its_row_or_takes_the_target_where_the_campaign_says_so(lab: Path, tmp_path: Path):
    sample = order(lab)[0]
    found = drop_scan(lab, sample)
    run(lab)
    assert files(lab)["r001-01.xy"] == ("waiting", "No composition table names r001-01.")
    drop_table(lab, {"r001-01": found})
    run(lab)
    assert states(lab)["r001-01"] == "measured"
    other = write_campaign(tmp_path / "other", composition="target")
    run(other)
    drop_scan(other, order(other)[0])
    run(other)
    assert states(other)["r001-01"] == "measured"


def test_a_file_that_is_still_being_written_is_left_until_it_is_quiet(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", quiet_seconds=1000.0)
    run(folder)
    measure_all(folder)
    (folder / "drop" / ".hidden.xy").write_text("half")
    (folder / "drop" / "r001-01.xy.part").write_text("half")
    run(folder)
    assert not files(folder)
    for path in (folder / "drop").iterdir():
        os.utime(path, (1e9, 1e9))
    run(folder)
    assert len(files(folder)) == 9 and {state for state, _ in files(folder).values()} == {"used"}


def test_a_file_is_taken_once_however_often_it_is_dropped(lab: Path):
    found = drop_scan(lab, order(lab)[0])
    drop_table(lab, {"r001-01": found})
    run(lab)
    shutil.copy(lab / "drop" / "r001-01.xy", lab / "drop" / "copy.xy")
    os.utime(lab / "drop" / "r001-01.xy")
    run(lab)
    assert files(lab)["copy.xy"] == ("duplicate", "the same as drop/r001-01.xy")
    with CampaignStore.read_only(lab) as store:
        assert store.n_spectra() == 1
        assert sum(file.path.endswith("r001-01.xy") for file in store.files()) == 2, "touched, but no duplicate"


def test_of_two_names_of_one_scan_the_known_one_counts(lab: Path):
    found = drop_scan(lab, order(lab)[0])
    shutil.copy(lab / "drop" / "r001-01.xy", lab / "drop" / "a copy.xy")
    run(lab)
    assert sorted(state for state, _ in files(lab).values()) == ["duplicate", "waiting"]
    drop_table(lab, {"r001-01": found})
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_what_cannot_be_read_is_set_aside_and_taken_once_it_is_whole(lab: Path):
    sample = order(lab)[0]
    drop_table(lab, {"r001-01": drop_scan(lab, sample)})
    path = lab / "drop" / "r001-01.xy"
    whole = path.read_text()
    path.write_text("\n".join(whole.splitlines()[:200]))
    run(lab)
    state, reason = files(lab)["r001-01.xy"]
    assert state == "quarantined" and "must cover the range 1.5 to 4.5" in reason
    kept = [p for p in (lab / "quarantine").iterdir() if p.suffix == ".xy"]
    assert kept[0].read_text() == path.read_text()
    assert reason in kept[0].with_name(f"{kept[0].name}.txt").read_text()
    path.write_text(whole)
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_status_tells_what_a_person_should_see_to(lab: Path):
    drop_scan(lab, order(lab)[0])
    (lab / "drop" / "junk.xrdml").write_text("<")
    assert run(lab).reason.endswith(
        "To look at with `glassmap ledger`: 1 quarantined files, 1 scans without a composition."
    )


def test_links_and_devices_are_not_followed(lab: Path, tmp_path: Path):
    (tmp_path / "secret.xy").write_text(scan_text(np.array([0.3, 0.3, 0.4]), np.random.default_rng(0), ".xy"))
    (lab / "drop" / "link.xy").symlink_to(tmp_path / "secret.xy")
    (lab / "drop" / "folder").symlink_to(tmp_path)
    os.mkfifo(lab / "drop" / "pipe.xy")
    run(lab)
    assert {name: state for name, (state, _) in files(lab).items()} == {
        "link.xy": "quarantined",
        "pipe.xy": "quarantined",
    }
    assert not (lab / "quarantine").exists()


def test_an_alloy_that_nobody_asked_for_is_used_and_held_out_beside_one_that_is(lab: Path):
    with CampaignStore.read_only(lab) as store:
        held = next(s for s in store.suggestions() if s.hold_out)
    beside = np.array(held.composition)
    table = {s["sample"]: drop_scan(lab, s) for s in order(lab)}
    drop_table(lab, table)
    run(lab)
    text = scan_text(beside, np.random.default_rng(9), ".xy")
    (lab / "drop" / "beside.xy").write_text(text)
    (lab / "drop" / "far.xy").write_text(scan_text(np.array([0.02, 0.01, 0.97]), np.random.default_rng(9), ".xy"))
    drop_table(lab, {"beside": beside + np.array([0.004, -0.004, 0]), "far": np.array([0.02, 0.01, 0.97])}, "more.csv")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        extra = {m.facts["file"]: m for m in store.measurements() if m.suggestion is None}
    assert extra["drop/beside.xy"].hold_out and not extra["drop/far.xy"].hold_out


def test_a_table_with_a_wrong_row_is_refused_whole(lab: Path):
    header = "sample,Co (at.%),V (at.%),Zr (at.%)"
    (lab / "drop" / "sums.csv").write_text(f"{header}\nr001-01,20,30,50\nr001-02,20,30,40\n")
    (lab / "drop" / "twice.csv").write_text(f"{header}\nr001-01,20,30,50\nr001-01,21,30,49\n")
    (lab / "drop" / "others.csv").write_text("sample,Co (at.%),Ti (at.%),Zr (at.%)\nr001-01,20,30,50\n")
    run(lab)
    found = files(lab)
    assert "got 90" in found["sums.csv"][1] and "more than once" in found["twice.csv"][1]
    assert "must be those of Co, V, Zr" in found["others.csv"][1]
    assert rows(lab, "SELECT count(*) FROM samples") == [(0,)]


def test_a_table_that_is_put_back_counts_again(lab: Path):
    one, two = np.array([0.2, 0.3, 0.5]), np.array([0.3, 0.3, 0.4])
    for composition in (one, two, one):
        drop_table(lab, {"r001-01": composition})
        run(lab)
    drop_scan(lab, order(lab)[0])
    run(lab)
    with CampaignStore.read_only(lab) as store:
        measured = store.measurement("r001-01")
    assert measured is not None
    np.testing.assert_allclose(measured.composition, one)


@pytest.mark.parametrize("way", ["moved back", "by hand", "under another name"])
def test_an_old_table_counts_again_however_it_is_put_back(lab: Path, tmp_path: Path, way: str):
    old, table = tmp_path / "old.csv", lab / "drop" / "edx.csv"
    drop_table(lab, {"r001-01": np.array([0.2, 0.3, 0.5])})
    run(lab)
    table.rename(old)
    drop_table(lab, {"r001-01": np.array([0.3, 0.3, 0.4])})
    run(lab)
    old.rename(table if way == "moved back" else lab / "drop" / "restored.csv" if "name" in way else old)
    if way == "by hand":
        old.rename(table)
        with open_campaign(lab) as campaign:
            receive(campaign, files=[table])
    drop_scan(lab, order(lab)[0])
    run(lab)
    with CampaignStore.read_only(lab) as store:
        measured = store.measurement("r001-01")
    assert measured is not None
    np.testing.assert_allclose(measured.composition, [0.2, 0.3, 0.5])


def test_a_name_that_comes_with_every_wafer_is_that_of_the_table_beside_it(lab: Path):
    first, second = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.3, 0.2])
    for wafer, composition in {"w1": first, "w2": second}.items():
        (lab / "drop" / wafer).mkdir()
        drop_table(lab, {"1": composition}, f"{wafer}/edx.csv")
        (lab / "drop" / wafer / "1.xy").write_text(scan_text(composition, np.random.default_rng(len(wafer)), ".xy"))
    (lab / "drop" / "1.xy").write_text(scan_text(first, np.random.default_rng(5), ".xy"))
    run(lab)
    with CampaignStore.read_only(lab) as store:
        found = {m.facts["file"]: m.composition for m in store.measurements()}
        told = {file.path: file.reason for file in store.files(state="waiting")}
        assert not any("measured with another" in file.reason for file in store.files())
    assert found == {"drop/w1/1.xy": tuple(first), "drop/w2/1.xy": tuple(second)}
    assert told == {
        "drop/1.xy": "drop/w1/edx.csv and drop/w2/edx.csv differ in what they say of 1. Copy the right one beside the "
        "scan."
    }
    shutil.copy(lab / "drop" / "w1" / "edx.csv", lab / "drop")
    drop_table(lab, {"1": np.array([0.3, 0.3, 0.4])}, "late.csv")
    (lab / "drop" / "late.csv").rename(lab / "drop" / "w2" / "late.csv")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.composition for m in store.measurements() if m.facts["file"] == "drop/1.xy"] == [tuple(first)]
    reason = files(lab)["late.csv"][1]
    assert "u0002 was measured with another composition; retract it" in reason
    assert "Of drop/w1/1.xy counts what a table beside it says, which is another" in reason


def test_a_waiting_scan_goes_by_its_last_name(lab: Path):
    found = drop_scan(lab, order(lab)[0], "r001-02")
    run(lab)
    (lab / "drop" / "r001-02.xy").rename(lab / "drop" / "r001-01.xy")
    run(lab)
    drop_table(lab, {"r001-01": found, "r001-02": np.array([0.3, 0.3, 0.4])})
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [(m.id, m.composition) for m in store.measurements()] == [("r001-01", pytest.approx(found))]
    assert files(lab)["r001-02.xy"] == ("duplicate", "the same as drop/r001-01.xy")


def test_a_waiting_scan_that_is_overwritten_is_set_aside(lab: Path):
    first, second = order(lab)[:2]
    drop_scan(lab, first, "r001-01")
    before = (lab / "drop" / "r001-01.xy").read_bytes()
    run(lab)
    found = drop_scan(lab, second, "r001-01")
    drop_table(lab, {"r001-01": found})
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.id for m in store.measurements()] == ["r001-01"]
        assert [file.state for file in store.files() if file.path.endswith("01.xy")] == ["quarantined", "used"]
    kept = next(path for path in (lab / "quarantine").iterdir() if path.suffix == ".xy")
    assert kept.read_bytes() == before


def test_a_waiting_scan_whose_copy_is_lost_does_not_stop_the_others(lab: Path):
    found = drop_scan(lab, order(lab)[0])
    run(lab)
    next((lab / "scans").iterdir()).unlink()
    drop_table(lab, {"r001-01": found, "r001-02": drop_scan(lab, order(lab)[1])})
    run(lab)
    assert files(lab)["r001-01.xy"][0] == "quarantined" and states(lab)["r001-02"] == "measured"


def test_an_unreadable_file_is_said_and_taken_by_hand_once_it_can_be(lab: Path, monkeypatch: pytest.MonkeyPatch):
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "r001-01.xy":
            raise PermissionError(13, "Permission denied")
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        run(lab)
    assert "`glassmap ingest` takes it" in files(lab)["r001-01.xy"][1]
    with open_campaign(lab) as campaign:
        receive(campaign, files=[lab / "drop" / "r001-01.xy"])
    assert states(lab)["r001-01"] == "measured"


def test_a_retracted_measurement_does_not_come_back_with_a_touch_or_a_copy(lab: Path):
    measure_all(lab)
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, ["r001-01"], "wrong wafer")
    os.utime(lab / "drop" / "r001-01.xy")
    shutil.copy(lab / "drop" / "r001-01.xy", lab / "drop" / "copy.xy")
    run(lab)
    assert states(lab)["r001-01"] == "retracted" and files(lab)["copy.xy"][0] == "duplicate"


def test_a_retracted_scan_is_ingested_again_once(lab: Path):
    measure_all(lab)
    run(lab)
    for expected in ("repeated, r001-01-2", "a duplicate of|as before"):
        if expected.startswith("repeated"):
            with CampaignStore.amend(lab, person="ada") as store:
                retract(store, ["r001-01"], "wrong wafer")
        with open_campaign(lab) as campaign:
            told = receive(campaign, files=[lab / "drop" / "r001-01.xy"])
        assert any(words in told[0] for words in expected.split("|"))


@pytest.mark.parametrize("of", ["all learned", "held out"])
def test_a_round_whose_data_were_retracted_before_training_is_measured_on(lab: Path, of: str):
    measure_all(lab)
    with open_campaign(lab) as campaign:
        assert STAGES["measure"](campaign, 1) == "done"
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, store.spectra(hold_out=of == "held out")[0], "wrong wafer")
    assert run(lab).reason.startswith("What round 1 would learn from or be judged by was retracted; `glassmap run")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2"), "others are shared out"
    with CampaignStore.read_only(lab) as store:
        assert store.curve()[0].spectra == len(store.spectra(hold_out=False)[0]) > 0


def test_going_on_is_over_once_it_is_refused_or_something_is_tried_again(lab: Path):
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        go_on(store, "")
    with pytest.raises(MeasurementError, match=r"1 of 8, .* Have some measured again with `glassmap retry`"):
        run(lab)
    drop_table(lab, {"r001-02": drop_scan(lab, order(lab)[1])}, "two.csv")
    assert run(lab).reason.startswith("Waiting for 6 of 8")
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, ["r001-03"], "")
        go_on(store, "")
        retry(store, ["r001-03"], "")
    assert run(lab).reason.startswith("Waiting for 6 of 8")


def test_a_round_that_is_not_ordered_does_not_go_on(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    edit(folder, 'approval = "auto"', 'approval = "required"')
    run(folder)
    with CampaignStore.amend(folder, person="ada") as store, pytest.raises(CampaignError, match="isn't ordered yet"):
        go_on(store, "")


def test_a_scan_that_waits_is_used_once_however_often_it_was_touched(lab: Path):
    found = drop_scan(lab, order(lab)[0])
    run(lab)
    os.utime(lab / "drop" / "r001-01.xy")
    run(lab)
    drop_table(lab, {"r001-01": found})
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.id for m in store.measurements()] == ["r001-01"]


def test_a_name_that_is_no_text_does_not_stop_the_others(lab: Path):
    Path(os.fsdecode(os.fsencode(lab / "drop") + b"/messung\xe4.xy")).write_text("junk")
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    run(lab)
    assert states(lab)["r001-01"] == "measured" and files(lab)["messung\\xe4.xy"][0] == "quarantined"


def test_what_was_refused_is_read_again_once_the_campaign_file_is_corrected(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", wavelength=None)
    run(folder)
    drop_table(folder, {"r001-01": drop_scan(folder, order(folder)[0])})
    run(folder)
    assert "Set backend.wavelength" in files(folder)["r001-01.xy"][1]
    write_campaign(folder)
    run(folder)
    assert states(folder)["r001-01"] == "measured"


def test_a_substrate_may_not_change_under_a_campaign(lab: Path, tmp_path: Path):
    (tmp_path / "bare.xy").write_text("".join(f"{x} 1\n" for x in np.linspace(1, 5, 200)))
    edit(lab, "low = 1.5", f'substrate = "{tmp_path / "bare.xy"}"\nlow = 1.5')
    with pytest.raises(CampaignError, match="substrate or potential changed"):
        run(lab)


def test_only_what_was_measured_counts_as_in(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=0.75)
    run(folder)
    with CampaignStore.amend(folder, person="ada") as store:
        abandon(store, [f"r001-0{k}" for k in range(1, 8)], "the wafer broke")
    assert run(folder).reason.startswith("Waiting for 1 of 8 measurements of round 1")


def test_columns_are_named_in_the_campaign_file(tmp_path: Path):
    table = {"sample": "Spectrum", "columns": {"Co": "Co K", "V": "V K", "Zr": "Zr L"}, "unit": "wt.%"}
    folder = write_campaign(tmp_path / "lab", table=table)
    run(folder)
    drop_scan(folder, order(folder)[0])
    (folder / "drop" / "edx.csv").write_text("Spectrum,O K,Co K,V K,Zr L\nr001-01,3,28.5,24.6,46.9\n")
    run(folder)
    with CampaignStore.read_only(folder) as store:
        measured = store.measurement("r001-01")
    assert measured is not None
    np.testing.assert_allclose(measured.composition, [0.3266, 0.3262, 0.3472], atol=5e-4)


def test_an_excel_table_is_read(lab: Path):
    from openpyxl import Workbook

    sample = order(lab)[0]
    found = drop_scan(lab, sample)
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.append(["sample", "Co (at.%)", "V (at.%)", "Zr (at.%)"])
    sheet.append(["r001-01", *(float(100 * share) for share in found)])
    book.save(lab / "drop" / "edx.xlsx")
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_a_scan_without_a_wavelength_is_refused_where_the_campaign_says_none(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", wavelength=None)
    run(folder)
    drop_table(folder, {"r001-01": drop_scan(folder, order(folder)[0])})
    run(folder)
    assert "Set backend.wavelength" in files(folder)["r001-01.xy"][1]


# --- flagged measurements


def drop_with_a_line(folder: Path, sample: dict[str, str]) -> np.ndarray:
    """Measure a sample whose substrate shines through."""
    composition = drop_scan(folder, sample)
    path = folder / "drop" / f"{sample['sample']}.xy"
    x, y = np.loadtxt(path).T
    y[np.abs(x - 40).argmin()] += 3000
    path.write_text("".join(f"{a:.5f} {b:.0f}\n" for a, b in zip(x, y, strict=True)))
    return composition


def test_a_flagged_measurement_is_held_out_of_training_until_a_person_decides(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab", minimum_share=1.0)
    edit(folder, "points = 96", "points = 400")
    edit(folder, "batch = 8", "batch = 14")
    run(folder)
    samples = order(folder)
    with CampaignStore.read_only(folder) as store:
        chosen = next(k for k, s in enumerate(store.suggestions()) if not s.hold_out)
    scans = (drop_with_a_line if k == chosen else drop_scan for k in range(len(samples)))
    drop_table(folder, {s["sample"]: scan(folder, s) for s, scan in zip(samples, scans, strict=True)})
    assert run(folder).reason.startswith("Waiting for 14 of 14 measurements of round 2")
    doubted = samples[chosen]["sample"]
    with CampaignStore.read_only(folder) as store:
        measured = store.measurement(doubted)
        assert measured is not None and measured.state == "flagged" and "A sharp line at" in measured.reason
        assert sorted(states(folder).values()).count("flagged") == 1
        assert doubted not in store.spectra(hold_out=False)[0]
        assert [line.event for line in store.log_lines(subject=doubted)] == ["measured", "flagged"]
    assert (folder / "pictures" / f"flagged-{doubted}.png").exists()
    with CampaignStore.amend(folder, person="ada") as store:
        accept(store, [doubted], "the line is real")
    measure_all(folder, 2)
    run(folder)
    with CampaignStore.read_only(folder) as store:
        assert doubted in store.spectra(hold_out=False)[0], "a person's word counts from then on"


def test_where_all_are_flagged_they_can_be_accepted(lab: Path):
    table = {}
    for sample in order(lab):
        table[sample["sample"]] = drop_scan(lab, sample)
        path = lab / "drop" / f"{sample['sample']}.xy"
        x, y = np.loadtxt(path).T
        path.write_text("".join(f"{a:.5f} {b:.0f}\n" for a, b in zip(x, np.minimum(y, 300), strict=True)))
    drop_table(lab, table)
    with pytest.raises(MeasurementError, match=r"r001-08 are flagged\. Look at their pictures"):
        run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        accept(store, list(table), "the detector is set so")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_what_comes_after_the_stop_is_screened_before_it_is_learned_from(stopped: Path):
    flat = scan_text(np.array([0.3, 0.3, 0.4]), np.random.default_rng(0), ".xy").splitlines()
    cut = [f"{line.split()[0]} {min(300, int(line.split()[1]))}" for line in flat]
    (stopped / "drop" / "late.xy").write_text("\n".join(cut))
    drop_table(stopped, {"late": np.array([0.3, 0.3, 0.4])}, "late.csv")
    run(stopped)
    with CampaignStore.amend(stopped, person="ada") as store:
        extend(store, "", rounds=1)
    run(stopped)
    measure_all(stopped, 2)
    run(stopped)
    with CampaignStore.read_only(stopped) as store:
        late = store.measurement("u0001")
        assert late is not None and late.state == "flagged" and "Saturated" in late.reason


# --- people


def test_a_batch_waits_for_approval_before_it_is_ordered(tmp_path: Path):
    folder = write_campaign(tmp_path / "lab")
    edit(folder, 'approval = "auto"', 'approval = "required"')
    status = run(folder)
    assert status.state == "waiting" and "waits for approval" in status.reason
    assert not (folder / "orders").exists()
    (folder / "drop" / "junk.xrdml").write_text("<")
    assert "waits for approval" in run(folder).reason and "junk.xrdml" in files(folder), "the drop folder is looked at"
    with CampaignStore.amend(folder, person="ada") as store:
        approve(store)
        assert "is approved: `glassmap run" in store.status().reason
        with pytest.raises(CampaignError, match="approved already"):
            approve(store)
    assert run(folder).reason.startswith("Waiting for 8 of 8")
    assert len(order(folder)) == 8


def test_rejected_alloys_are_replaced_at_once_and_never_come_back(lab: Path):
    before = order(lab)
    with open_campaign(lab, person="ada") as campaign:
        reject(campaign, ["r001-02", "r001-05"], "too brittle")
    after = order(lab)
    assert [s["state"] for s in after] == ["missing", "rejected", *["missing"] * 2, "rejected", *["missing"] * 5]
    assert [s["sample"] for s in after[8:]] == ["r001-09", "r001-10"] and after[1]["remark"] == "too brittle"
    with CampaignStore.read_only(lab) as store:
        asked = store.suggestions()
        assert [line.person for line in store.log_lines(subject="r001-02")] == ["ada"]
    assert sum(s.hold_out for s in asked if s.id not in ("r001-02", "r001-05")) == sum(s.hold_out for s in asked[:8])
    measure_all(lab)
    run(lab)
    gone = [[float(before[k][f"{e} (at.%)"]) for e in ("Co", "V", "Zr")] for k in (1, 4)]
    with CampaignStore.read_only(lab) as store:
        later = [np.round(100 * np.array(s.composition), 4).tolist() for s in store.suggestions()[10:]]
    assert len(later) == 8 and not any(alloy in later for alloy in gone)
    with open_campaign(lab) as campaign, pytest.raises(CampaignError, match="r001-01 is measured"):
        reject(campaign, ["r001-01"], "")
    with CampaignStore.amend(lab, person="ada") as store, pytest.raises(CampaignError, match="r001-02 is rejected"):
        retry(store, ["r001-02"], "")


def test_an_abandoned_alloy_is_not_waited_for_until_somebody_wants_it_again(lab: Path):
    measure_all(lab, skip=1)
    with CampaignStore.amend(lab, person="ada") as store:
        abandon(store, ["r001-01"], "the wafer broke")
        assert store.suggestion_statuses(1)[0][1:3] == ("abandoned", "the wafer broke")
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    with CampaignStore.amend(lab, person="ada") as store:
        retry(store, ["r001-01"], "")
    drop_table(lab, {"r001-01": drop_scan(lab, order(lab)[0])})
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_a_retracted_measurement_is_kept_and_left_out_of_the_next_training(lab: Path):
    measure_all(lab)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        wrong = store.spectra(hold_out=False)[0][0]
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, [wrong], "wrong wafer")
        with pytest.raises(CampaignError, match="retracted already: wrong wafer"):
            retract(store, [wrong], "")
    measure_all(lab, 2)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        kept, found = store.measurement(wrong), store.artefact("checkpoint", 2)
        assert kept is not None and kept.state == "retracted" and store.spectra_of([wrong]).max() == pytest.approx(100)
        assert found is not None
        trained = json.loads(found[1].read_text())["record"]["training_ids"]
        assert wrong not in trained and len(trained) == len(store.spectra(hold_out=False)[0])
    assert states(lab)[wrong] == "retracted"
    with CampaignStore.amend(lab, person="ada") as store:
        accept(store, [wrong], "it was the right one")
    assert states(lab)[wrong] == "measured"


def test_a_retracted_alloy_is_measured_again_where_somebody_wants_it(lab: Path):
    measure_all(lab)
    run(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        retract(store, ["r001-01"], "wrong composition")
        retry(store, ["r001-01"], "")
    assert order(lab)[0]["state"] == "missing"
    with open_campaign(lab) as campaign:  # the same scan, by hand, with a better composition
        drop_table(lab, {"r001-01": np.array([0.3, 0.3, 0.4])}, "corrected.csv")
        told = receive(campaign, files=[lab / "drop" / "corrected.csv", lab / "drop" / "r001-01.xy"])
    assert told[1].startswith("drop/r001-01.xy: repeated, r001-01-2, Co30V30Zr40")
    assert states(lab)["r001-01"] == "measured"


def test_a_corrected_composition_of_what_was_measured_is_pointed_out(lab: Path):
    measure_all(lab)
    run(lab)
    drop_table(lab, {"r001-01": np.array([0.3, 0.3, 0.4])}, "corrected.csv")
    run(lab)
    assert "r001-01 was measured with another composition; retract it" in files(lab)["corrected.csv"][1]


def test_a_paused_campaign_does_nothing_until_it_is_resumed(lab: Path):
    measure_all(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        pause(store, "the beam is off")
    status = run(lab)
    assert status.state == "paused" and "by ada: the beam is off" in status.reason and not files(lab)
    with CampaignStore.amend(lab, person="ada") as store:
        resume(store)
        with pytest.raises(CampaignError, match="isn't paused"):
            resume(store)
    assert run(lab).reason.startswith("Waiting for 8 of 8 measurements of round 2")


def test_a_campaign_that_has_stopped_is_extended(stopped: Path):
    with CampaignStore.amend(stopped, person="ada") as store:
        extend(store, "", rounds=1)
    assert run(stopped).reason.startswith("Waiting for 8 of 8 measurements of round 2")
    measure_all(stopped, 2)
    assert run(stopped).state == "exhausted"
    with CampaignStore.read_only(stopped) as store:
        assert len(store.curve()) == 2


def test_decisions_are_refused_where_there_is_nothing_to_decide(lab: Path):
    with CampaignStore.amend(lab, person="ada") as store:
        with pytest.raises(CampaignError, match="No alloy was asked for as 'r009-01'"):
            abandon(store, ["r009-01"], "")
        with pytest.raises(CampaignError, match="no measurement 'u0001'"):
            retract(store, ["u0001"], "")
        with pytest.raises(CampaignError, match="r001-01 is missing; only what failed"):
            retry(store, ["r001-01"], "")


def test_a_real_wafer_is_taken_in(tmp_path: Path, shared_data: Path):
    folder = tmp_path / "lab"
    settings = TINY | {
        "space": {"elements": ["Co", "Ti", "Zr"], "step_at_pct": 5},
        "spectrum": {"low": 1.0, "high": 5.0, "points": 400},
        "backend": LAB | {"columns": "q", "wavelength": None, "tolerance_at_pct": 4.0},
        "planning": {"batch": 20},
    }
    CampaignConfig.of(settings, source="test").to_toml(folder / FILE_NAME)
    run(folder)
    shutil.copytree(shared_data / "raw-scans", folder / "drop" / "wafer")
    run(folder)
    with CampaignStore.read_only(folder) as store:
        found, asked = store.measurements(), {s.id: s.composition for s in store.suggestions()}
        assert {(file.kind, file.state) for file in store.files()} == {("scan", "used"), ("table", "used")}
        assert store.spectra_of([m.id for m in found]).max(axis=1).tolist() == pytest.approx([100] * 56)
    matched = [m for m in found if m.suggestion]
    assert len(found) == 56 and 3 < len(matched) < 20
    for m in matched:
        off = np.abs(np.array(m.composition) - np.array(asked[str(m.suggestion)])).max()
        assert off <= 0.04 + 1e-9, "matched by composition, within the tolerance"
