"""Campaigns in a laboratory, for the tests that need one under way."""

from pathlib import Path

import pytest

from tests.support.campaigns import run
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
