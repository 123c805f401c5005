"""An alloy that is far from all measurements is generated with its uncertainty and the words that it isn't known."""

import re
from pathlib import Path

import pytest

from tests.support.campaigns import run, write_campaign
from tests.support.command_line import glassmap
from tests.support.pictures import shows_something


@pytest.fixture(scope="module")
def of_one_wafer(tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Path:
    """A campaign whose alloys hold more than 33 at.% of Zr."""
    folder = tmp_path_factory.mktemp("known") / "west"
    stop, planning = {"max_rounds": 1}, {"batch": 30}
    folder.mkdir()
    write_campaign(folder, small_dataset, backend={"where": "wafer=west"}, stop=stop, planning=planning)
    run(folder)
    return folder


def test_an_alloy_far_from_all_measurements_is_said_not_to_be_known(of_one_wafer: Path):
    said = glassmap("generate", of_one_wafer, "Co50V50").output
    assert "Not known here" in said and "extrapolated" in said
    distance = re.search(r"The nearest alloy learned from is \S+, ([\d.]+) at\.% away", said)
    assert distance is not None and float(distance[1]) > 20
    assert shows_something(of_one_wafer / "generated" / "Co50V50.png", colours=1)


def test_an_alloy_amid_measurements_has_figures_with_their_uncertainty_and_is_known(of_one_wafer: Path):
    said = glassmap("generate", of_one_wafer, "Co20V20Zr60").output
    assert "Known here" in said and "Not known" not in said
    assert re.search(r"Δq 0\.\d{3} ± 0\.\d{3} Å⁻¹, q₁ 2\.\d{3} ± 0\.\d{3} Å⁻¹", said)
    assert "90 %" in said
