"""Campaigns for the tests that look at one or go on with it: a replay that ran through, a laboratory's under way."""

import shutil
from pathlib import Path

import pytest

from tests.support.campaigns import run
from tests.support.campaigns import write_campaign as write_replay
from tests.support.lab_campaigns import edit, measure_all, write_campaign


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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that ran through; only to be looked at."""
    folder = tmp_path_factory.mktemp("finished")
    write_replay(folder, small_dataset)
    run(folder)
    return folder


@pytest.fixture
def continued(finished: Path, tmp_path: Path) -> Path:
    """The same, to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "continued"))
