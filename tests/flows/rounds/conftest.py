"""A replayed campaign that ran through, for the tests that look at one or go on with it."""

import shutil
from pathlib import Path

import pytest

from tests.support.campaigns import run, write_campaign


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign that ran through; only to be looked at."""
    folder = tmp_path_factory.mktemp("finished")
    write_campaign(folder, small_dataset)
    run(folder)
    return folder


@pytest.fixture
def continued(finished: Path, tmp_path: Path) -> Path:
    """The same, to go on with."""
    return Path(shutil.copytree(finished, tmp_path / "continued"))
