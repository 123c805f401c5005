"""Taking in what a laboratory drops: every file once, what is wrong is set aside with its reason."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import retract
from glassmap.flows.provenance import trace
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.measure import receive
from tests.support.campaigns import TINY, rows, run
from tests.support.lab_campaigns import LAB, drop_scan, drop_table, files, measure_all, order, states, write_campaign
from tests.support.laboratory import scan_text


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
        "To look at with `glassmap ledger`: 1 quarantined file, 1 scan without a composition."
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
    (lab / "drop" / "r001-01.xy").unlink()
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


@pytest.mark.parametrize("named", [False, True])
def test_shares_of_other_elements_are_left_out_where_the_campaign_says_so_and_that_is_kept(tmp_path: Path, named: bool):
    columns = {"columns": {e: f"{e} (at.%)" for e in ("Co", "V", "Zr", "O")}, "unit": "at.%"} if named else {}
    folder = write_campaign(tmp_path / "lab")
    run(folder)
    drop_scan(folder, order(folder)[0])
    (folder / "drop" / "edx.csv").write_text(
        "sample,O (at.%),Co (at.%),V (at.%),Zr (at.%)\nr001-01,6,47,28.2,18.8\nother,6,47,28.2,18.8\n"
    )
    run(folder)
    state, reason = files(folder)["edx.csv"]
    assert state == "quarantined" and 'say there `others = "leave out"`' in reason
    write_campaign(folder, table={"others": "leave out", **columns})
    run(folder)
    with CampaignStore.read_only(folder) as store:
        measured = store.measurement("r001-01")
        (said,) = [line.detail for line in store.log_lines() if line.event == "table"]
    assert measured is not None and measured.composition == pytest.approx((0.5, 0.3, 0.2))
    note = "Shares of O 6.00 at.% were left out, and those of Co, V, Zr closed to 100."
    assert note in files(folder)["edx.csv"][1] and note in said


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
        *most, with_a_sharp_line = np.sort(store.spectra_of([m.id for m in found]).max(axis=1))
        assert most == pytest.approx([100] * 55, abs=2) and with_a_sharp_line > 120  # narrower than the smoothing
    matched = [m for m in found if m.suggestion]
    assert len(found) == 56 and 3 < len(matched) < 20
    for m in matched:
        off = np.abs(np.array(m.composition) - np.array(asked[str(m.suggestion)])).max()
        assert off <= 0.04 + 1e-9, "matched by composition, within the tolerance"


def test_a_file_that_the_instrument_calls_as_another_sample_goes_by_its_own_name_and_that_is_said(lab: Path):
    one, other = order(lab)[:2]
    found = drop_scan(lab, one)
    text = scan_text(found, np.random.default_rng(1), ".xrdml", sample=other["sample"])
    (lab / "drop" / f"{one['sample']}.xy").unlink()
    (lab / "drop" / f"{one['sample']}.xrdml").write_text(text)
    drop_table(lab, {one["sample"]: found, other["sample"]: found})
    run(lab)
    assert (states(lab)[one["sample"]], states(lab)[other["sample"]]) == ("measured", "missing")
    with CampaignStore.read_only(lab) as store:
        (line,) = [line for line in store.log_lines(subject=one["sample"]) if line.event == "measured"]
        said = f"The instrument calls it {other['sample']}, which is another sample; the name of the file counts."
        assert line.detail.endswith(said)
        assert f"  {said}" in list(trace(store, one["sample"]))
