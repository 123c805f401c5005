"""Mixed campaigns: a guide goes first, and what it found is never taken for what was measured."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.space import SpectrumConfig
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CampaignError
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.actions import retract, retry
from glassmap.flows.planner import Planner
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from tests.support.campaigns import TINY, run

RANGE = {"low": 1.5, "high": 4.5, "points": 96}


@pytest.fixture
def simulated(small_dataset: Path, tmp_path: Path) -> Path:
    """The same alloys by a simulation that is off: its peaks lie lower."""
    spectra = read_dataset(small_dataset)
    path = tmp_path / "simulated.nc"
    write_dataset(replace(spectra, axis=spectra.axis - 0.1), path)
    return path


def write(folder: Path, measured: Path, simulated: Path, **guide: Any) -> Path:
    settings = TINY | {
        "spectrum": RANGE,
        "backend": {"kind": "replay", "dataset": measured},
        "guide": {"rounds": 2, "backend": {"kind": "replay", "dataset": simulated, "hold_out": "batch"}} | guide,
        "stop": {"max_rounds": 2},
    }
    CampaignConfig.of(settings, source="test").to_toml(folder / FILE_NAME)
    return folder


def trained_on(store: CampaignStore, round_: int) -> list[str]:
    found = store.artefact("checkpoint", round_)
    assert found is not None
    return json.loads(found[1].read_text())["record"]["training_ids"]


def test_a_guide_goes_first_and_its_spectra_are_learned_from_and_judged_apart(
    small_dataset: Path, simulated: Path, tmp_path: Path
):
    folder = write(tmp_path / "mixed", small_dataset, simulated)
    status = run(folder)
    assert status.state == "exhausted" and "after 16 spectra in 2 rounds" in status.reason, "its own rounds count"
    with CampaignStore.read_only(folder) as store:
        assert len(store.curve()) == 4
        assert {id_[:4] for id_ in trained_on(store, 2)} == {"r001", "r002"}
        assert {id_[:4] for id_ in trained_on(store, 3)} == {"r003"}
        assert {id_[:4] for id_ in trained_on(store, 4)} == {"r003", "r004"}
        assert [line.detail for line in store.log_lines() if line.event == "decided"][1].startswith(
            "Go on after round 2 of 2 by the guide"
        )
        curve = store.curve()
        assert curve[2].next_batch_mse is None and curve[3].next_batch_mse is not None
        _, compositions, spectra = store.spectra(hold_out=False, since=3)
    pool = read_dataset(small_dataset).prepared(**SpectrumConfig(**RANGE).read())
    rows = [int(np.abs(pool.compositions - composition).sum(axis=1).argmin()) for composition in compositions]
    np.testing.assert_allclose(spectra, pool.intensities[rows], rtol=1e-5, atol=1e-4)


def test_an_alloy_that_was_only_simulated_may_still_be_measured(small_dataset: Path, simulated: Path, tmp_path: Path):
    folder = write(tmp_path / "mixed", small_dataset, simulated)
    with open_campaign(folder) as campaign:
        advance(campaign)
        assert len(campaign.store.taken()) > len(campaign.store.taken(since=3)) == 16


def test_a_guide_on_another_axis_is_refused(small_dataset: Path, simulated: Path, tmp_path: Path):
    folder = write(tmp_path / "mixed", small_dataset, simulated)
    spectra = read_dataset(simulated)
    write_dataset(replace(spectra, axis_name="two_theta", axis=spectra.axis, wavelength=1.5406), simulated)
    with pytest.raises(CampaignError, match=r"A guide's spectra must be on the campaign's axis|cover"):
        run(folder)


def test_a_guides_alloys_are_neither_ordered_nor_matched_nor_suggested(simulated: Path, tmp_path: Path):
    settings = TINY | {
        "spectrum": RANGE,
        "backend": {"kind": "lab", "columns": "q", "quiet_seconds": 0.0},
        "guide": {"rounds": 1, "backend": {"kind": "replay", "dataset": simulated, "hold_out": "batch"}},
    }
    folder = tmp_path / "mixed"
    with Planner(folder, CampaignConfig.of(settings, source="test")) as planner:
        assert planner.suggest()[0]["_id"] == "r002-01" and planner.get_best_points() == []
    assert sorted(path.name for path in (folder / "orders").iterdir()) == ["round-002.csv", "round-002.json"]
    with CampaignStore.amend(folder, person="ada") as store:
        retract(store, ["r001-01"], "off")
        with pytest.raises(CampaignError, match="asked for by the guide"):
            retry(store, ["r001-01"], "")
    assert len(list((folder / "orders").iterdir())) == 2


def test_a_lab_is_no_guide_and_a_wrong_setting_of_a_guide_is_named(small_dataset: Path):
    settings = TINY | {"backend": {"dataset": small_dataset}}
    lab = {"kind": "lab", "columns": "q"}
    with pytest.raises(CampaignError, match="a guide goes first by itself"):
        CampaignConfig.of(settings | {"guide": {"backend": lab}}, source="test")
    guide = {"backend": {"kind": "simulation", "potential": "zhou", "atms": 3}}
    with pytest.raises(CampaignError, match=r"unknown setting 'guide\.backend\.atms'; allowed here: kind, potential"):
        CampaignConfig.of(settings | {"guide": guide}, source="test")
