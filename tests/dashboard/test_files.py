"""The page of files: what came of each, and why."""

import json
import re
from base64 import b64decode
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import DroppedScan, SampleRow
from glassmap.dashboard.data import first_lines
from tests.support.made_up import make_campaign
from tests.support.pages import look, words

REFUSED = b"1.0 3\n1.1 4\nabc\x1b\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with a table, a file of two scans (one refused), a quarantined file, and flagged measurements."""
    folder = tmp_path_factory.mktemp("files") / "lab"
    make_campaign(folder, step_at_pct=10, rounds=1, batch=4, on_wafers=True)
    hash_ = sha256(REFUSED).hexdigest()
    (folder / "quarantine").mkdir()
    (folder / "quarantine" / f"broken-{hash_[:8]}.xy").write_bytes(REFUSED)
    (folder / "pictures").mkdir()
    icon = Path(__file__).parents[2] / "dashboard" / "icon.png"
    (folder / "pictures" / "flagged-r001-02.png").write_bytes(icon.read_bytes())
    with CampaignStore.amend(folder, person="ada") as store, store.transaction():
        drop = partial(store.record_file, size=1, modified=1)
        drop("drop/edx.csv", hash_="c", kind="table", state="used", reason="1 sample.")
        drop("drop/both.xrdml", hash_="b", kind="scan", state="used", measurement="r001-01")
        drop("drop/broken.xy", hash_=hash_, kind="scan", state="quarantined", reason="Line 3: no numbers.")
        store.record_scan(DroppedScan("b", "first", state="used", measurement="r001-01"))
        store.record_scan(DroppedScan("b", "second", state="quarantined", reason="Too short."))
        row = SampleRow("drop/edx.csv", "s1", (0.2, 0.3, 0.5), "W1", {"rate": "high"}, 1.0, 2.0)
        store.record_sample(row, file=store.files()[0].id)
        store.set_measurement_state("r001-02", "flagged", "A sharp line at 2.61 1/Å: substrate?")
        store.set_measurement_state("r001-03", "used", "Too bright: saturated?")
        store.record_note("ask Jo about the holder", measurement="r001-02")
    return folder


def test_what_a_person_may_have_to_see_to_comes_first_with_its_picture_and_its_command(
    monkeypatch: pytest.MonkeyPatch, lab: Path
):
    test = look(monkeypatch, lab, "files")
    said = words(test)
    assert test.segmented_control(key="what").value == "to look at"
    assert "flagged, not learned from until a person decides: A sharp line at 2.61 1/Å" in said
    assert "flagged, learned from nevertheless: Too bright" in said and "ask Jo about the holder" in said
    assert f"glassmap accept {lab} r001-02" in said
    assert len(test.get("image")) == 1 and len(test.get("plotly_chart")) == 1, "of the one without a picture, its curve"
    table = test.dataframe[0].value
    assert list(zip(table["file"], table["state"], table["reason"], strict=True)) == [
        ("drop/broken.xy", "quarantined", "Line 3: no numbers."),
        ("drop/both.xrdml", "refused", "Too short."),
    ]


def test_every_file_scan_measurement_table_and_candidate_is_accounted_for(monkeypatch: pytest.MonkeyPatch, lab: Path):
    test = look(monkeypatch, lab, "files")
    seen = {}
    for what in ("files", "measurements", "composition tables", "candidates"):
        test.segmented_control(key="what").set_value(what).run()
        assert not test.exception
        seen[what] = test.dataframe[0].value
    assert [*zip(seen["files"]["file"], seen["files"]["scan"], strict=True)] == [
        ("drop/broken.xy", ""),
        ("drop/both.xrdml", "first"),
        ("drop/both.xrdml", "second"),
        ("drop/edx.csv", ""),
    ]
    assert seen["measurements"]["state"].tolist() == ["used", "flagged, used", "flagged", "used"], "the last first"
    assert seen["composition tables"].iloc[0][["Zr (at.%)", "x (mm)", "rate"]].tolist() == [20.0, 1.0, "high"]
    states = seen["candidates"]["state"]
    assert len(states) == 75 and (states == "wafer left out").sum() == 25
    assert (states == "asked for or measured").sum() == 4


def test_a_table_is_filtered_by_state_and_by_text(monkeypatch: pytest.MonkeyPatch, lab: Path):
    test = look(monkeypatch, lab, "files")
    test.segmented_control(key="what").set_value("files").run()
    test.multiselect(key="files states").set_value(["quarantined", "refused"]).run()
    test.text_input(key="files contains").set_value("BROKEN").run()
    assert test.dataframe[0].value["file"].tolist() == ["drop/broken.xy"] and "1 of 4." in words(test)


def test_a_quarantined_text_shows_how_it_begins_and_nothing_in_it_acts(tmp_path: Path):
    hash_, binary = sha256(REFUSED).hexdigest(), sha256(b"a\0b").hexdigest()
    (tmp_path / "quarantine").mkdir()
    place = tmp_path / "quarantine" / f"broken-{hash_[:8]}.xy"
    place.write_bytes(REFUSED)
    assert first_lines(tmp_path, hash_, 2) == "1.0 3\n1.1 4"
    assert first_lines(tmp_path, hash_, 9) == "1.0 3\n1.1 4\nabc\\x1b"
    place.write_bytes(REFUSED + b"2")
    assert first_lines(tmp_path, hash_, 9) is None, "not what was set aside"
    (tmp_path / "quarantine" / f"x-{binary[:8]}.raw").write_bytes(b"a\0b")
    assert first_lines(tmp_path, binary, 9) is None, "no text"


def test_a_campaign_without_files_shows_what_was_measured(monkeypatch: pytest.MonkeyPatch, campaigns: Path):
    test = look(monkeypatch, campaigns, "files", campaign="converged")
    assert test.segmented_control(key="what").options == ["to look at (0)", "measurements (15)"]
    assert test.segmented_control(key="what").value == "measurements" and len(test.dataframe[0].value) == 15
    test.segmented_control(key="what").set_value("to look at").run()
    assert "Nothing: every file is used" in words(test)


def test_a_row_that_is_chosen_says_why_a_file_is_set_aside_and_draws_what_a_measurement_is(
    monkeypatch: pytest.MonkeyPatch, lab: Path
):
    monkeypatch.setattr("streamlit.dataframe", lambda table, **_: {"selection": {"rows": [0], "columns": []}})
    test = look(monkeypatch, lab, "files")
    assert "**drop/broken.xy** · quarantined. Line 3: no numbers." in words(test)
    assert test.code[0].value == "1.0 3\n1.1 4\nabc\\x1b"
    test.segmented_control(key="what").set_value("measurements").run()
    assert re.search(r"\*\*r001-04, Zr\S+\*\* · used\.", words(test)) and not test.exception
    drawn = json.loads(test.get("plotly_chart")[0].proto.spec)["data"]
    assert [one["name"] for one in drawn][-2:] == ["generated there", "measured"]
    assert np.allclose(decoded(drawn[-1]["y"]), decoded(drawn[-2]["y"]), atol=0.1), "the halo is both"


def decoded(values: dict[str, str]) -> np.ndarray:
    """Numbers as plotly sends them."""
    return np.frombuffer(b64decode(values["bdata"]), values["dtype"])
