"""Which alloy a scan is of, by its name, by tables, by what is waited for."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.campaigns import run
from tests.support.lab_campaigns import drop_scan, drop_table, files, measure_all, order, states, write_campaign
from tests.support.laboratory import scan_text


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


def test_of_two_names_of_one_scan_the_known_one_counts(lab: Path):
    found = drop_scan(lab, order(lab)[0])
    shutil.copy(lab / "drop" / "r001-01.xy", lab / "drop" / "a copy.xy")
    run(lab)
    assert sorted(state for state, _ in files(lab).values()) == ["duplicate", "waiting"]
    drop_table(lab, {"r001-01": found})
    run(lab)
    assert states(lab)["r001-01"] == "measured"


def test_an_alloy_that_nobody_asked_for_is_used_and_held_out_beside_one_that_is(lab: Path):
    with CampaignStore.read_only(lab) as store:
        held = next(s for s in store.suggestions() if s.hold_out)
    near = np.array(held.composition)
    table = {s["sample"]: drop_scan(lab, s) for s in order(lab)}
    drop_table(lab, table)
    run(lab)
    text = scan_text(near, np.random.default_rng(9), ".xy")
    (lab / "drop" / "beside.xy").write_text(text)
    (lab / "drop" / "far.xy").write_text(scan_text(np.array([0.02, 0.01, 0.97]), np.random.default_rng(9), ".xy"))
    drop_table(lab, {"beside": near + np.array([0.004, -0.004, 0]), "far": np.array([0.02, 0.01, 0.97])}, "more.csv")
    run(lab)
    with CampaignStore.read_only(lab) as store:
        extra = {m.facts["file"]: m for m in store.measurements() if m.suggestion is None}
    assert extra["drop/beside.xy"].hold_out and not extra["drop/far.xy"].hold_out


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


def test_a_corrected_composition_of_what_was_measured_is_pointed_out(lab: Path):
    measure_all(lab)
    run(lab)
    drop_table(lab, {"r001-01": np.array([0.3, 0.3, 0.4])}, "corrected.csv")
    run(lab)
    assert "r001-01 was measured with another composition; retract it" in files(lab)["corrected.csv"][1]


def test_the_wafer_that_a_table_says_goes_with_the_measurement_and_its_error(lab: Path):
    """Spectra of one wafer err alike, so what they say together is less sure."""
    found = {sample["sample"]: drop_scan(lab, sample) for sample in order(lab)}
    rows = [f"{name},{k % 2},{','.join(f'{100 * x:.4f}' for x in c)}" for k, (name, c) in enumerate(found.items())]
    table = "\n".join(["sample,wafer,Co (at.%),V (at.%),Zr (at.%)", *rows, ""])
    (lab / "drop" / "edx.csv").write_text(table)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert {m.id: m.facts["wafer"] for m in store.measurements()} == {n: str(k % 2) for k, n in enumerate(found)}
        (judged,) = store.judged("held out", since=1).values()
        assert judged.wafers == tuple(str(m.facts["wafer"]) for m in store.measurements() if m.hold_out)


def test_a_slash_is_part_of_a_sample_s_name(lab: Path):
    """What lies in `w2` as 3.xy is no scan of sample W1/3."""
    for folder in ("w1", "w2"):
        (lab / "drop" / folder).mkdir()
    drop_table(lab, {"W1/3": np.array([0.7, 0.2, 0.1])}, "w1/edx.csv")
    (lab / "drop" / "w2" / "3.xy").write_text(scan_text(np.full(3, 1 / 3), np.random.default_rng(3), ".xy"))
    run(lab)
    assert files(lab)["3.xy"] == ("waiting", "No composition table names 3.")
    with CampaignStore.read_only(lab) as store:
        assert not store.n_spectra() and store.samples("w1/3")[0].composition == pytest.approx((0.7, 0.2, 0.1))


@pytest.mark.parametrize(
    ("in_table", "of_file"), [("Probe-\u00e4", "PROBE-A\u0308"), ("probe-a\u0308", "PROBE-\u00c4")]
)
def test_a_name_is_the_same_in_whatever_form_of_unicode_it_is_written(lab: Path, in_table: str, of_file: str):
    """Macs write `ä` into the names of files as two characters, spreadsheets as one."""
    drop_table(lab, {in_table: np.array([0.4, 0.3, 0.3])})
    scan = scan_text(np.array([0.4, 0.3, 0.3]), np.random.default_rng(3), ".xy")
    (lab / "drop" / f"{of_file}.xy").write_text(scan)
    run(lab)
    with CampaignStore.read_only(lab) as store:
        assert [m.composition for m in store.measurements()] == [pytest.approx((0.4, 0.3, 0.3))]
