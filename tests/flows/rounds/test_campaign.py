"""Opening a campaign: what may have changed since it began, and what is refused."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.data.dataset import read_dataset, write_dataset
from glassmap.agent.errors import CampaignError
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import STAGES
from tests.support.campaigns import fingerprint, rows, run, write_campaign


def test_a_replay_of_too_few_wafers_is_refused(tmp_path: Path, small_dataset: Path):
    one = tmp_path / "one.nc"
    write_dataset(read_dataset(small_dataset).where("wafer=east"), one)
    write_campaign(tmp_path, one, backend={"hold_out": "wafer"})
    with pytest.raises(CampaignError, match="two or more wafers, got 1"), open_campaign(tmp_path):
        pass


def test_other_elements_than_the_data_sets_are_refused(tmp_path: Path, small_dataset: Path):
    write_campaign(tmp_path, small_dataset, space={"elements": ["Co", "Zr", "V"]})
    with pytest.raises(CampaignError, match="Co, V, Zr; got Co, Zr, V"), open_campaign(tmp_path):
        pass


def test_a_set_that_was_simulated_is_not_screened_as_it_shows_no_substrate(tmp_path: Path, small_dataset: Path):
    simulated = tmp_path / "simulated.nc"
    write_dataset(replace(read_dataset(small_dataset), attributes={"potential": "Zhou"}), simulated)
    for dataset, needs_screening in ((small_dataset, True), (simulated, False)):
        write_campaign(tmp_path / dataset.stem, dataset)
        with open_campaign(tmp_path / dataset.stem) as campaign:
            assert campaign.backend.needs_screening is needs_screening


def test_a_setting_that_the_rounds_depend_on_is_refused_once_the_campaign_began(continued: Path, small_dataset: Path):
    before = fingerprint(continued)
    write_campaign(continued, small_dataset, model={"steps": 9}, stop={"max_rounds": 9})
    with pytest.raises(CampaignError, match=f"glassmap change {continued} model.steps=20`"), open_campaign(continued):
        pass
    assert fingerprint(continued) == before


@pytest.mark.parametrize("change", ["order", "axis", "intensity", "more"])
def test_a_data_set_that_changed_under_a_campaign_is_refused(tmp_path: Path, small_dataset: Path, change: str):
    data = tmp_path / "data.nc"
    shutil.copy(small_dataset, data)
    write_campaign(tmp_path, data)
    with open_campaign(tmp_path) as campaign:
        STAGES["plan"](campaign, 1)
    spectra = read_dataset(data)
    changed = {
        "order": spectra.select(np.arange(150)[::-1]),
        "axis": spectra.prepared(high=4.0),
        "intensity": replace(spectra, intensities=spectra.intensities[:, ::-1].copy()),
        "more": spectra.select(np.arange(149)),
    }
    write_dataset(changed[change], data)
    with (
        pytest.raises(CampaignError, match="or potential changed since the campaign"),
        open_campaign(tmp_path),
    ):
        pass
    assert rows(tmp_path, "SELECT count(*) FROM spectra") == [(0,)]


def test_a_campaign_and_its_data_may_move(tmp_path: Path, small_dataset: Path, finished: Path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(small_dataset, tmp_path / "elsewhere" / "data.nc")
    moved = Path(shutil.copytree(finished, tmp_path / "moved"))
    write_campaign(moved, Path("../elsewhere/data.nc"), stop={"max_rounds": 4})
    assert run(moved).rounds == 4


def test_partial_files_of_a_killed_process_are_cleared_away(continued: Path):
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    strays = [
        continued / folder / f".partial-{platform.node()}-{int(ended.stdout)}-x"
        for folder in ("", "checkpoints", "maps")
    ]
    name = f".partial-{platform.node()}-{os.getpid()}-x"
    being_written = continued / "orders" / name  # by a person's command beside the driver
    for stray in (*strays, being_written):
        stray.parent.mkdir(exist_ok=True)
        stray.write_bytes(b"half")
    with open_campaign(continued):
        assert not any(stray.exists() for stray in strays) and being_written.exists()
    assert (continued / FILE_NAME).exists()
