"""Where one would bet on a glass, on the terminal and from Python, and what a person wishes besides."""

import csv
from pathlib import Path

import pytest
import tomli_w

import glassmap
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.config.toml_file import read_toml
from glassmap.agent.errors import CampaignError
from tests.support.command_line import does, told
from tests.support.command_line import glassmap as command
from tests.support.made_up import make_campaign


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("candidates") / "made-up"
    make_campaign(folder, step_at_pct=2, rounds=3, batch=5)
    return folder


def wish(folder: Path, **limits: object) -> None:
    """Write what is wished for into the campaign file."""
    settings = read_toml(folder / FILE_NAME)
    (folder / FILE_NAME).write_text(tomli_w.dumps(settings | {"wish": limits}))


def test_the_terminal_says_a_row_a_place_and_writes_the_same_as_files(folder: Path, tmp_path: Path):
    said = does("candidates", folder, "--csv", tmp_path / "c.csv", "--extrapolated")
    with (tmp_path / "c.csv").open() as file:
        rows = list(csv.DictReader(file))
    records = told("candidates", folder, "--extrapolated")
    assert said.startswith("Glass: ") and 2 < len(rows) < 20 and len(records["places"]) == len(rows)
    assert all(f"{row['alloy']}: {row['confirm']}" in said.replace("\n", " ") for row in rows)
    table = glassmap.Campaign(folder).candidates(only_known=False)
    assert table["alloy"].tolist() == [row["alloy"] for row in rows]
    assert table["delta_q_expected"].tolist() == sorted(table["delta_q_expected"], reverse=True)
    assert all(row["Zr_low"] <= row["Zr"] <= row["Zr_high"] for row in records["places"])
    assert len(glassmap.Campaign(folder).candidates(only_known=False, most=2)) == 2


def test_a_wish_in_the_campaign_file_holds_at_once_and_may_change_at_any_time(folder: Path):
    free = glassmap.Campaign(folder).candidates(only_known=False)
    before = CampaignConfig.from_toml(folder / FILE_NAME)
    wish(folder, bounds_at_pct={"Zr": [0, 40]}, density=[0, 7.5], prices={"Zr": 1000.0})
    bounded = glassmap.Campaign(folder).candidates(only_known=False)
    assert max(bounded["Zr_high"]) <= 40 < max(free["Zr_high"])
    assert min(bounded["cost_per_kg"]) > 40 > max(free["cost_per_kg"])
    assert "Wished for: Zr 0 to 40 at.%, 0 to 7.5 g/cm³." in does("candidates", folder, "--extrapolated")
    CampaignConfig.from_toml(folder / FILE_NAME).check_continues(before.model_dump(mode="json"))
    wish(folder, max_cost_per_kg=0.1)
    assert "none of them is known and meets what is wished for" in does("candidates", folder)
    wish(folder)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"bounds_at_pct": {"Fe": [0, 40]}}, "wish.bounds_at_pct names 'Fe', which is not among"),
        ({"bounds_at_pct": {"Zr": [40, 10]}}, r"must be \[lowest, highest\], got \[40.0, 10.0\]; swap them"),
        ({"density": [8, 7]}, r"got \[8.0, 7.0\]; swap them"),
        ({"prices": {"Zirconium": 30}}, "'Zirconium' is no chemical symbol"),
        ({"cost": 30}, "unknown setting 'cost'; allowed here: bounds_at_pct, max_cost_per_kg, density, prices"),
    ],
)
def test_a_wish_that_says_nothing_of_the_system_is_refused(folder: Path, limits: dict[str, object], why: str):
    wish(folder, **limits)
    refused = command("candidates", folder)
    with pytest.raises(CampaignError, match=why.replace("'cost'", "'wish.cost'")):
        CampaignConfig.from_toml(folder / FILE_NAME)
    with pytest.raises(CampaignError, match=why):
        glassmap.Campaign(folder).candidates()
    wish(folder)
    assert refused.exit_code == 3 and str(folder / FILE_NAME) in refused.output.replace("\n", "")


def test_a_limit_on_the_price_needs_the_price_of_every_element():
    settings = {"name": "x", "space": {"elements": ["Zr", "Tc"]}, "backend": {"kind": "replay", "dataset": "x.nc"}}
    with pytest.raises(CampaignError, match=r"needs the price of Tc; say it under \[wish.prices\]"):
        CampaignConfig.of(settings | {"wish": {"max_cost_per_kg": 10}}, source="here")
    CampaignConfig.of(settings | {"wish": {"max_cost_per_kg": 10, "prices": {"Tc": 1e5}}}, source="here")
