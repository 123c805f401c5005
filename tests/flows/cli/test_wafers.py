"""`glassmap plan-wafers` and the commands that take wafers, as people type them."""

import csv
from pathlib import Path

import pytest

from tests.support.campaigns import rows
from tests.support.command_line import does, glassmap, told
from tests.support.lab_campaigns import write_campaign
from tests.support.wafer_labs import CHAMBER, THREE, write_lab


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    folder = write_lab(tmp_path / "lab")
    does("run", folder)
    return folder


def flat(text: str) -> str:
    return " ".join(text.split())


def recorded(folder: Path) -> list[list[tuple]]:
    return [rows(folder, f"SELECT * FROM {table}") for table in ("log", "suggestions", "wafers", "existing")]


def test_the_next_wafers_are_shown_with_their_points_and_nothing_is_recorded(lab: Path, tmp_path: Path):
    before, points = recorded(lab), tmp_path / "points.csv"
    said = does("plan-wafers", lab, "--n", 2, "--points", 5, "-o", points)
    assert recorded(lab) == before
    content = told("plan-wafers", lab, "--n", 2, "--points", 5)
    assert {one["wafers"][0] for one in content["alternatives"]} == {*THREE}
    assert len(content["begin"]) == 2 and not any(one["is_begun"] for one in content["begin"])
    [begun] = [one for one in content["alternatives"] if one["is_begun"]]
    assert begun["hours"] == pytest.approx(5 * 0.05) and content["begin"][0]["hours"] == pytest.approx(8.25)
    assert content["after"]["mean_at_pct"] < content["before"]["mean_at_pct"]
    with points.open() as file:
        table = list(csv.DictReader(file))
    assert [row["sample"] for row in table] == [name for one in content["chosen"] for name in one["points"]]
    shares = [sum(float(row[f"{element} (at.%)"]) for element in ("Co", "V", "Zr")) for row in table]
    assert shares == pytest.approx([100] * len(table), abs=0.01)
    share = content["unreached"]["share"]
    assert f"No wafer comes near {100 * share:.0f} % of the space" in said and "(begun)" in said
    assert f"mean distance {content['before']['mean_at_pct']:.2f} at.%" in said


def test_powers_of_wafers_to_be_made_are_shown(tmp_path: Path):
    folder = write_lab(tmp_path / "lab", candidates=None, wafer=CHAMBER)
    assert f"has not begun yet; `glassmap run {folder}`" in flat(glassmap("plan-wafers", folder).output)
    assert "To be made: w001 with Co " in flat(does("run", folder))
    ordered = does("orders", folder)
    assert "w001 is made with Co " in ordered and "w001-0" in ordered and "w001 w001-" not in ordered
    assert "held out" in ordered and "held out." not in ordered
    said = does("plan-wafers", folder)
    [recipe] = told("plan-wafers", folder)["recipes"]
    assert recipe["wafer"] == "w002" and all(20 <= power <= 200 for power in recipe["powers"].values())
    assert f"w002 is made with Co {recipe['powers']['Co']:g} W" in said and "w002 (to be made)" in said


def test_a_wafer_is_rejected_given_up_and_tried_again(lab: Path):
    [(first,)] = rows(lab, "SELECT DISTINCT wafer FROM suggestions")
    assert "planned instead: 8 points of" in does("abandon", lab, first, "--reason", "it broke")
    assert "8 of its points are waited for again" in does("retry", lab, first)
    assert f"{first} is rejected: 8 of its points" in does("reject", lab, first.lower(), "--reason", "scratched")
    refused = glassmap("reject", lab, first, "--reason", "again")
    assert refused.exit_code == 3 and "glassmap retry" in refused.output
    assert "No alloy was asked for as 'W9'" in glassmap("abandon", lab, "W9", "--reason", "?").output


def test_plan_wafers_says_what_it_lacks(lab: Path, tmp_path: Path):
    assert "none is trained yet. Use even." in glassmap("plan-wafers", lab, "--weights", "glass").output
    assert "--weights must be one of even" in glassmap("plan-wafers", lab, "--weights", "odd").output
    plain = write_campaign(tmp_path / "plain")
    does("run", plain)
    assert "Nothing is known of wafers." in glassmap("plan-wafers", plain).output
