"""A line of the substrate in a data set: whoever replays it is told, what it costs can be undone, and it is."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from glassmap.agent.config.campaign import FILE_NAME
from glassmap.agent.data.dataset import SpectraSet, write_dataset
from glassmap.agent.maps.spectra_archive import read_archive
from glassmap.agent.store.campaign_store import CampaignStore
from tests.support.campaigns import write_campaign
from tests.support.command_line import does
from tests.support.lab_campaigns import edit

LINE = 2.61  # 1/Å


@pytest.fixture(scope="module")
def with_a_line(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 alloys of one broad peak each; one of them shows the substrate."""
    step = np.array([(a, b, 5 - a - b) for a in range(6) for b in range(6 - a)]) / 5
    q = np.linspace(1.8, 3.8, 200)
    spectra = 20 + 70 / (1 + 4 * ((q - 2.7 - 0.2 * step[:, :1]) / 0.5) ** 2)
    inside = int(np.flatnonzero(step.min(axis=1) > 0)[2])
    spectra += np.random.default_rng(0).normal(scale=0.2, size=spectra.shape)
    spectra[inside, np.abs(q - LINE).argmin()] += 60
    path = tmp_path_factory.mktemp("data") / "line.nc"
    ids = tuple(f"s{k:02d}" for k in range(len(step)))
    write_dataset(
        SpectraSet(ids=ids, elements=("Co", "V", "Zr"), compositions=step, axis_name="q", axis=q, intensities=spectra),
        path,
    )
    return path


def replay(folder: Path, dataset: Path, flagged: str | None = None) -> str:
    """Replay the whole set in a round; returns what `run` says."""
    backend = {"dataset": dataset, "hold_out": "batch"} | ({"flagged": flagged} if flagged else {})
    write_campaign(folder, dataset, backend=backend, planning={"batch": 21, "hold_out_share": 0.1})
    return " ".join(does("run", folder).split())


@pytest.fixture(scope="module")
def used(with_a_line: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A campaign that learned from the line, as older ones do, and what was said; only to be looked at."""
    folder = tmp_path_factory.mktemp("used") / "campaign"
    return folder, replay(folder, with_a_line, "use")


def flagged_in(folder: Path) -> str:
    with CampaignStore.read_only(folder) as store:
        return next(line.subject for line in store.log_lines() if line.event == "flagged")


def test_who_learned_from_it_is_told_by_every_command(used: tuple[Path, str]):
    folder, said = used
    number = flagged_in(folder)
    sentence = (
        f"1 flagged measurement is used ({number}: a sharp line at 2.61 1/Å); look at "
        f"`pictures/flagged-{number}.png`, then `glassmap retract {folder} {number} --reason …` and `retrain`"
    )
    assert sentence in said and sentence in " ".join(does("status", folder).split())
    assert "flagged, used: A sharp" in " ".join(does("orders", folder).split())
    ledger = does("ledger", folder)
    assert "To look at" in ledger and number in ledger and "flagged, used" in ledger


def test_retracted_it_is_gone_from_the_map_with_the_next_run(used: tuple[Path, str], tmp_path: Path):
    folder = Path(shutil.copytree(used[0], tmp_path / "campaign"))
    number = flagged_in(folder)
    assert line_in(folder, number) > 5
    assert "`glassmap retrain" in does("retract", folder, number, "--reason", "the substrate")
    said = " ".join(does("status", folder).split())
    assert f"What is used has changed since the last training ({number})" in said and "flagged measurement" not in said
    said = " ".join(does("run", folder).split())
    assert said.count("not converged") == said.count("Budget spent, not converged, after") == 1
    assert "What is used has changed" not in said and line_in(folder, number) < 1


def test_a_new_replay_leaves_it_out_until_a_person_decides(with_a_line: Path, tmp_path: Path):
    folder = tmp_path / "held"
    said = replay(folder, with_a_line)
    number = flagged_in(folder)
    assert f"1 flagged measurement is left out ({number}: a sharp line at 2.61 1/Å); look at" in said
    assert line_in(folder, number) < 1
    with CampaignStore.read_only(folder) as store:
        assert number not in (store.training_ids(1) or [number])
    does("accept", folder, number, "--reason", "the line is the alloy's")
    assert "What is used has changed" in " ".join(does("status", folder).split())
    does("retrain", folder)
    with CampaignStore.read_only(folder) as store:
        assert number in (store.training_ids(1) or []) and store.status().use_changed == ()


def test_what_is_used_though_flagged_is_accepted_once(used: tuple[Path, str], tmp_path: Path):
    folder = Path(shutil.copytree(used[0], tmp_path / "campaign"))
    number = flagged_in(folder)
    assert "stays in use" in does("accept", folder, number, "--reason", "the line is the alloy's")
    with CampaignStore.read_only(folder) as store:
        assert not any(store.to_look_at()) and store.status().use_changed == ()
    edit(folder, 'flagged = "use"', 'flagged = "hold"')
    assert (folder / FILE_NAME).exists() and "flagged measurement" not in does("run", folder)


def line_in(folder: Path, number: str) -> float:
    """How far the spectrum generated for the alloy of a measurement sticks out at the line, of 100."""
    with CampaignStore.read_only(folder) as store:
        one, found, (_, q, _) = store.measurement(number), store.artefact("archive"), store.axis()
    assert one is not None and found is not None
    archive, at = read_archive(found[1]), int(np.abs(q - LINE).argmin())
    row = archive.row_of(np.array(one.composition))
    assert row is not None
    mean = archive.view(row).mean
    return float(mean[at] - (mean[at - 3] + mean[at + 3]) / 2)
