"""Another instrument is one file, `tests/support/furnace.py`, and one line: the project runs it and knows it not."""

from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.backends import BACKENDS
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.data.samples import name_of_wafer
from glassmap.agent.errors import CampaignError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.planner import Planner
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.measure import receive
from tests.support.campaigns import TINY, run


@pytest.fixture(autouse=True)
def furnace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKENDS, "furnace", "tests.support.furnace")


def write(folder: Path, **changes: Any) -> CampaignConfig:
    settings = TINY | {"backend": {"kind": "furnace"} | changes.pop("backend", {}), "stop": {"max_rounds": 2}} | changes
    config = CampaignConfig.of(settings, source="test.toml")
    config.to_toml(folder / FILE_NAME)
    return config


def test_a_made_up_instrument_runs_a_whole_campaign(tmp_path: Path):
    write(tmp_path, backend={"breaks": "r001-03"})
    assert run(tmp_path).state == "exhausted"
    with CampaignStore.read_only(tmp_path) as store:
        assert len(store.curve()) == 2 and store.artefact("map", 2) is not None
        assert {m.backend for m in store.measurements()} == {"furnace"} and store.n_spectra() == 15
        assert set(store.failures()) == {"r001-03"} and "crucible" in store.failures()["r001-03"]
        events = [line.event for line in store.log_lines()]
        assert events.count("failed") == 1 and events.count("measured") == 2, "a round each; no line an alloy"
        assert store.source == "a furnace" and store.progress() == []


def test_what_an_asynchronous_instrument_has_not_done_yet_is_waited_for(tmp_path: Path):
    write(tmp_path, backend={"at_once": 3})
    seen = [run(tmp_path) for _ in range(5)]
    assert [status.state for status in seen] == ["waiting"] * 4 + ["exhausted"]
    assert [status.spectra for status in seen] == [3, 6, 11, 14, 16], "with the last of a round, the next is asked for"


def test_the_settings_of_an_instrument_stand_in_its_file(tmp_path: Path):
    config = write(tmp_path, backend={"gain": 2.0})
    assert CampaignConfig.from_toml(tmp_path / FILE_NAME) == config
    run(tmp_path)
    for changes, words in [
        (
            {"backend": {"kind": "furnace", "gian": 1}},
            "unknown setting 'backend.gian'; allowed here: kind, gain",
        ),
        ({"backend": {"kind": "furnace", "at_once": 0}}, "backend.at_once: .*greater than 0, got 0"),
        ({"space": {"elements": ["Hg", "V", "Zr"]}}, "test.toml: a furnace melts no Hg"),
        ({"backend": {"kind": "oven"}}, f"kind must be one of {', '.join(map(repr, BACKENDS))}, got 'oven'"),
        ({"planning": {"batch": 1}}, "a backend without a test set of its own"),
    ]:
        with pytest.raises(CampaignError, match=words):
            CampaignConfig.of(TINY | {"backend": {"kind": "furnace"}} | changes, source="test.toml")
    before = config.model_dump(mode="json")
    write(tmp_path, backend={"gain": 2.0, "at_once": 5}).check_continues(before)
    said = r"began: backend\.gain: 2\.0 -> 3\.0\. .*spectrum\.substrate, backend\.at_once"
    with pytest.raises(CampaignError, match=said):
        write(tmp_path, backend={"gain": 3.0}).check_continues(before)


def test_an_instrument_may_be_a_guide(tmp_path: Path):
    lab = {"kind": "lab", "columns": "two_theta"}
    spectrum = {"low": 1.5, "high": 4.5, "points": 96}
    write(tmp_path, backend=lab, spectrum=spectrum, guide={"rounds": 1, "backend": {"kind": "furnace"}})
    assert run(tmp_path).state == "waiting"
    with CampaignStore.read_only(tmp_path) as store:
        assert {(m.round, m.backend) for m in store.measurements()} == {(1, "furnace")}


def test_what_only_a_laboratory_does_is_refused_in_words(tmp_path: Path):
    config = write(tmp_path)
    with pytest.raises(CampaignError, match=r"A planner is told, so backend.kind must be 'lab'; got 'furnace'"):
        Planner(tmp_path, config)
    with open_campaign(tmp_path) as campaign:
        assert receive(campaign) == []
        with pytest.raises(CampaignError, match="Only a laboratory takes in files"):
            receive(campaign, files=[tmp_path / "scan.xy"])


def test_a_wafer_that_a_table_leaves_empty_has_no_name():
    assert [name_of_wafer(said) for said in (None, float("nan"), "", 0, "w3")] == ["", "", "", "0", "w3"]
    assert [name_of_wafer(said) for said in (7.0, 7.5)] == ["7", "7.5"], "as numbers are read beside an empty cell"
