"""Train: a model for each round, which is trained again where its file can't be read, and says so."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.models.ensemble import TrainedEnsemble
from glassmap.agent.store.campaign_store import CampaignStore
from glassmap.flows.rounds.campaign import open_campaign
from glassmap.flows.rounds.loop import advance
from glassmap.flows.rounds.train import model_settings
from tests.support.campaigns import rows, write_campaign
from tests.support.command_line import does, glassmap

ALLOY = "Co30V40Zr30"


def test_the_last_checkpoint_reloads_and_knows_what_it_learned_from(finished: Path):
    with CampaignStore.read_only(finished) as store:
        _, path = store.artefact("checkpoint") or (0, Path())
        ids, compositions, _ = store.spectra(hold_out=False)
        _, axis, _ = store.axis()
    ensemble = TrainedEnsemble.load(path, device="cpu")
    assert ensemble.record == {
        "campaign": "small",
        "round": 3,
        "training_ids": ids,
        "elements": ["Co", "V", "Zr"],
    }
    np.testing.assert_array_equal(ensemble.axis, axis)
    assert ensemble.predict(compositions).mean.shape == (24, 96)


def test_what_the_networks_became_for_one_round_they_stay_for_the_next_on_whatever_device(continued: Path):
    with CampaignStore.read_only(continued) as store:
        for path in store.artefacts("checkpoint").values():
            path.write_text(path.read_text().replace('"architecture": "compact"', '"architecture": "large"'))
    with open_campaign(continued) as campaign:
        assert campaign.config.model.architecture == "auto"
        assert model_settings(campaign).architecture == "large"
        for path in campaign.store.artefacts("checkpoint").values():
            path.unlink()
        assert model_settings(campaign).architecture == "auto"


def harm(folder: Path, round_: int, how: str) -> None:
    """Make a round's model one that can't be read."""
    with CampaignStore.read_only(folder) as store:
        _, path = store.artefact("checkpoint", round_) or (0, Path())
    weights = path.with_suffix(".safetensors")
    match how:
        case "deleted":
            path.unlink()
            weights.unlink()
        case "weights deleted":
            weights.unlink()
        case "a byte flipped":
            content = bytearray(weights.read_bytes())
            content[len(content) // 2] ^= 1
            weights.write_bytes(content)
        case "of a later version":
            text = path.read_text()
            format_ = next(line for line in text.splitlines() if '"format"' in line)
            path.write_text(text.replace(format_, ' "format": 99,'))


HARMS = ["deleted", "weights deleted", "a byte flipped", "of a later version"]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that stopped after two rounds, and whose model is asked where to measure next."""
    folder = tmp_path_factory.mktemp("stopped") / "campaign"
    write_campaign(folder, small_dataset, planning={"weights": "disagreement"}, stop={"max_rounds": 2, "patience": 9})
    with open_campaign(folder) as campaign:
        advance(campaign)
    return folder


@pytest.fixture(scope="module")
def undisturbed(stopped: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, one round further."""
    folder = Path(shutil.copytree(stopped, tmp_path_factory.mktemp("undisturbed") / "campaign"))
    does("extend", folder, "--rounds", "1")
    does("run", folder)
    return folder


@pytest.mark.parametrize("how", HARMS)
def test_a_model_that_cannot_be_read_is_trained_again_and_the_campaign_ends_as_it_would_have(
    stopped: Path, undisturbed: Path, tmp_path: Path, how: str
):
    folder = Path(shutil.copytree(stopped, tmp_path / "campaign"))
    harm(folder, 2, how)
    refused = glassmap("generate", folder, ALLOY)
    assert refused.exit_code == 3 and "`glassmap run" in " ".join(refused.output.split())
    does("status", folder)
    does("trace", folder, "r001-01")
    does("extend", folder, "--rounds", "1")
    said = does("run", folder)
    assert "model of round 2 could not be read" in said and "trained again" in said
    assert "begun anew" not in said
    with CampaignStore.read_only(folder) as store, CampaignStore.read_only(undisturbed) as other:
        logged = next(line.detail for line in store.log_lines() if line.event == "trained again")
        assert logged.startswith("model of round 2 could not be read")
        ours, theirs = ([point.to_json() for point in one.curve()] for one in (store, other))
        assert ours == theirs and len(ours) == 3
        assert {round_: path.name for round_, path in store.artefacts("checkpoint").items()} == {
            round_: path.name for round_, path in other.artefacts("checkpoint").items()
        }
        assert store.suggestions() == other.suggestions()
    does("generate", folder, ALLOY)


def test_a_campaign_that_has_stopped_gets_its_last_model_back_by_running_it(stopped: Path, tmp_path: Path):
    folder = Path(shutil.copytree(stopped, tmp_path / "campaign"))
    harm(folder, 2, "deleted")
    assert "trained again" in does("run", folder)
    files = "SELECT round, kind, path FROM artefacts ORDER BY round, kind"
    assert rows(folder, files) == rows(stopped, files)
    does("generate", folder, ALLOY)
    assert "trained again" not in does("run", folder)
