"""Campaigns with process variables: each spectrum is learned with its own, plans and maps are held at a value."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CampaignError, DatasetError, GlassmapError
from glassmap.agent.maps.spectra_archive import read_map
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.agent.store.records import SampleRow
from glassmap.dashboard.data import read_begun_campaign
from glassmap.flows.backends.lab.matching import context_of as said_of
from glassmap.flows.campaign import Campaign
from glassmap.flows.cli.app import app
from glassmap.flows.cli.options import context_of
from glassmap.flows.planner import Planner
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.upkeep.verify import verify
from tests.support.campaigns import SIMULATED, TINY, rows, run, write_campaign
from tests.support.lab_campaigns import LAB, drop_scan, drop_table, files, order, states
from tests.support.laboratory import true_spectrum

BOTH = {"rate": ["high", "low"]}


@pytest.fixture(scope="session")
def two_rates(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small data set, its peaks elsewhere where films were made fast; of one sample the rate isn't known."""
    spectra = read_dataset(small_dataset)
    fast = np.random.default_rng(0).random(len(spectra)) < 0.5
    rate = np.where(fast, "high", "low")
    rate[7] = ""
    intensities = np.where(fast[:, None], np.roll(spectra.intensities, 8, axis=1), spectra.intensities)
    path = tmp_path_factory.mktemp("rates") / "two-rates.nc"
    write_dataset(replace(spectra, intensities=intensities, coordinates={**spectra.coordinates, "rate": rate}), path)
    return path


def settings(dataset: Path, context: dict[str, Any]) -> dict[str, Any]:
    backend = {"kind": "replay", "dataset": str(dataset)}
    return TINY | {"space": TINY["space"] | {"context": context}, "backend": backend, "stop": {"max_rounds": 1}}


def test_a_replay_learns_each_spectrum_with_its_own_process_and_maps_every_value(two_rates: Path, tmp_path: Path):
    write_campaign(tmp_path, two_rates, space={"context": BOTH}, stop={"max_rounds": 1})
    run(tmp_path)
    with CampaignStore.read_only(tmp_path) as store:
        said = {m.facts["context"]["rate"] for m in store.measurements()}
        maps = {kind: store.artefacts(kind)[1] for kind in store.kinds_of_maps()}
        log = " ".join(line.detail for line in store.log_lines())
    assert said == {"high", "low"}
    assert "Left out 1 samples of which rate isn't known: Row 8 (s007)." in log
    assert set(maps) == {"map", "map at rate = low"}
    (fast, of_fast), (slow, of_slow) = (read_map(path) for path in maps.values())
    assert (of_fast["context"], of_slow["context"]) == ({"rate": "high"}, {"rate": "low"})
    assert np.nanmedian(fast["q1"] - slow["q1"]) > 0.1, "peaks of films that were made fast lie at larger q"
    shown = read_begun_campaign(tmp_path)
    assert shown.settings.held == "rate = high" and [*shown.other_maps] == ["rate = low"]
    assert "`rate`, which explains" not in shown.status.mixture, "it is told"
    campaign = Campaign(tmp_path)
    assert set(campaign.measurements()["rate"]) == {"high", "low"}
    asked, at_low = campaign.spectra().compositions, {"rate": "low"}
    slow_spectra = campaign.model(at_low).predict(asked).mean
    assert np.abs(slow_spectra - campaign.model().predict(asked).mean).max() > 5
    assert np.median(campaign.predict(asked, held=at_low)["q1"]) < np.median(campaign.predict(asked)["q1"])
    assert campaign.map(at_low)["q1"].equals(pd.Series(slow["q1"])) and campaign.map()["q1"].equals(
        pd.Series(fast["q1"])
    )
    assert "generated at rate = low" in campaign.plot_map("q1", held=at_low).get_suptitle()
    campaign.export(tmp_path / "export.nc")
    assert set(read_dataset(tmp_path / "export.nc").coordinates["rate"]) == {"high", "low"}
    assert {one.kind: (one.looked_at, one.wrong) for one in verify(tmp_path)}["maps"] == (2, ())
    maps["map at rate = low"].write_bytes(b"harmed")
    run(tmp_path)
    assert read_map(maps["map at rate = low"])[1] == of_slow, "what is harmed is made again, at its value"


def test_a_set_that_is_a_mixture_says_so_as_a_campaign_is_set_up(two_rates: Path, tmp_path: Path):
    """A few alloys measured often: at both rates, on wafers of their own."""
    spectra = read_dataset(two_rates)
    few = np.flatnonzero(spectra.coordinates["rate"] != "")[:40]
    rows = np.repeat(few, 4)
    fast = np.tile([True, True, False, False], len(few))
    intensities = np.where(fast[:, None], np.roll(spectra.intensities[rows], 8, axis=1), spectra.intensities[rows])
    often = replace(
        spectra,
        ids=tuple(map(str, range(len(rows)))),
        compositions=spectra.compositions[rows],
        intensities=intensities,
        coordinates={"rate": np.where(fast, "high", "low")},
    )
    write_dataset(often, tmp_path / "often.nc")
    words = ["init", str(tmp_path / "campaign"), "--dataset", str(tmp_path / "often.nc")]
    said = CliRunner().invoke(app, words, env={"COLUMNS": "1000"}).output
    assert "where they share `rate`, which explains" in said and "--context rate=…" in said
    (tmp_path / "campaign" / "campaign.toml").unlink()
    told = CliRunner().invoke(app, [*words, "--context", "rate=high,low"], env={"COLUMNS": "1000"}).output
    assert "explains" not in told
    assert CampaignConfig.from_toml(tmp_path / "campaign" / "campaign.toml").space.contexts == [
        {"rate": "high"},
        {"rate": "low"},
    ]


def test_options_say_a_context():
    assert context_of(["rate=high, low", "power=100"]) == {"rate": ["high", "low"], "power": 100.0}
    assert context_of(["wafer=3"], labels=["wafer"]) == {"wafer": "3"}
    with pytest.raises(GlassmapError, match="NAME=VALUE, such as rate=high; got 'rate'"):
        context_of(["rate"])


def test_a_campaign_is_held_only_at_what_its_data_set_has(two_rates: Path, tmp_path: Path):
    for context, reason in (
        ({"rate": "medium"}, r"No sample has rate = medium, .* the values are high, low"),
        ({"power": 100.0}, "no process variable 'power'; what it says of samples is rate, wafer"),
        ({"rate": 3.0}, "rate must be a number, as the campaign is held at rate = 3; got 'low'"),
    ):
        config = CampaignConfig.of(settings(two_rates, context), source="test")
        with pytest.raises((CampaignError, DatasetError), match=reason), open_campaign(tmp_path, config=config):
            pass


def test_what_is_asked_for_says_how_it_is_to_be_made_and_what_is_told_how_it_was(tmp_path: Path):
    q = np.linspace(1.2, 4.8, 300)
    config = settings(Path("none"), {"power": 100})
    config |= {"spectrum": {"low": 1.5, "high": 4.5, "points": 96}, "backend": {"kind": "lab", "columns": "q"}}
    with Planner(tmp_path, CampaignConfig.of(config, source="test")) as planner:
        alloy = planner.suggest(1)[0]
        assert alloy["power"] == 100.0
        composition = np.array([alloy[element] for element in ("Co", "V", "Zr")]) / 100
        point = {"_id": alloy["_id"], "q": q, "intensity": true_spectrum(composition, q)}
        with pytest.raises(CampaignError, match="r001-01 must say its power, as the campaign has it under space"):
            planner.ingest([point])
        with pytest.raises(DatasetError, match="power must be a number"):
            planner.ingest([point | {"power": "much"}])
        planner.ingest([point | {"power": 90}])
    with CampaignStore.read_only(tmp_path) as store:
        assert [m.facts["context"] for m in store.measurements()] == [{"power": 90.0}]
        assert store.status().unlearned.startswith("power = 100 is outside what was learned, 90: ")


def test_a_scan_whose_process_no_table_says_waits(tmp_path: Path):
    config = settings(Path("none"), {"rate": "high"})
    config |= {"spectrum": {"low": 1.5, "high": 4.5, "points": 96}, "backend": LAB | {"minimum_share": 1.0}}
    CampaignConfig.of(config, source="test").to_toml(tmp_path / "campaign.toml")
    run(tmp_path)
    samples = order(tmp_path)[:2]
    assert {sample["rate"] for sample in samples} == {"high"}
    found = {sample["sample"]: drop_scan(tmp_path, sample) for sample in samples}
    drop_table(tmp_path, found)
    run(tmp_path)
    assert files(tmp_path)["r001-01.xy"] == ("waiting", "No composition table says rate of r001-01.")
    lines = [f"{name},{','.join(f'{100 * x:.4f}' for x in c)}" for name, c in found.items()]
    text = "\n".join(["sample,Co (at.%),V (at.%),Zr (at.%),rate (nm/s)", f"{lines[0]},high", f"{lines[1]},"])
    (tmp_path / "drop" / "edx-2.csv").write_text(text)
    run(tmp_path)
    assert {id_: states(tmp_path)[id_] for id_ in found} == {"r001-01": "measured", "r001-02": "missing"}
    assert rows(tmp_path, "SELECT json_extract(facts, '$.context.rate') FROM spectra") == [("high",)]


def test_tables_say_each_process_variable_for_itself_and_what_they_differ_in(tmp_path: Path):
    alloy, here = (0.2, 0.3, 0.5), Path("drop")
    with CampaignStore.open(tmp_path) as store, store.transaction():
        for path, said in (
            ("drop/1.csv", {"rate": "high", "power": 80.0}),
            ("drop/2.csv", {"power": 90.0}),
            ("drop/3.csv", {}),
            ("other/4.csv", {"rate": "low", "power": 70.0, "gas": "Ar"}),
        ):
            file = store.record_file(path, size=1, modified=1, hash_=path, kind="table", state="used")
            store.record_sample(SampleRow(path, "s1", alloy, "", said, None, None), file=file)
        both = said_of(store, ["s1"], here, ["rate", "power", "gas"])
        assert both == ({"rate": "high", "power": 90.0, "gas": "Ar"}, ""), "the last that says it, beside the scan"
        assert said_of(store, ["s1"], Path("third"), ["gas", "rate"]) == (
            {"gas": "Ar"},
            "drop/1.csv and other/4.csv differ in what they say of the rate of s1. Copy the right one beside the scan.",
        )
        newest = {("", "s1"): SampleRow("drop/5.csv", "s1", alloy, "", {"power": 60.0}, None, None)}
        assert said_of(store, ["s1"], here, ["power", "rate"], newest=newest)[0] == {"power": 60.0, "rate": "high"}


def test_a_simulation_has_no_process(tmp_path: Path):
    with pytest.raises(CampaignError, match=r"must be 'replay' or 'lab'; take space\.context out"):
        CampaignConfig.of(SIMULATED | {"space": SIMULATED["space"] | {"context": BOTH}}, source="test")


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"Co": 1.0}, "can't be called 'Co'"),
        ({"state": 1.0}, "can't be called 'state'"),
        ({"facts": "a"}, "can't be called 'facts'"),
        ({"rate": []}, "rate must be held at one number or label"),
        ({"rate": ["high", 1.0]}, "at several different ones of a kind"),
        ({"rate": True}, "rate"),
    ],
)
def test_a_context_is_numbers_or_labels(tmp_path: Path, context: dict[str, Any], reason: str):
    with pytest.raises(CampaignError, match=reason):
        CampaignConfig.of(settings(tmp_path, context), source="test")
