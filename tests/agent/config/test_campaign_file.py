"""A campaign file that is written has a line for every setting, says what each means, and takes changes in place."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.campaign import FILE_NAME, FREE_SETTINGS, CampaignConfig
from glassmap.agent.config.toml_file import edited
from glassmap.agent.errors import CampaignError

BACKENDS: dict[str, dict[str, Any]] = {
    "replay": {"kind": "replay", "dataset": "set.nc"},
    "simulation": {"kind": "simulation", "potential": "zhou"},
    "lab": {"kind": "lab", "columns": "q"},
}
GUN = {"target": "Co", "azimuth": 0, "tilt": 30, "distance": 120, "rate": 5, "power": 100, "powers": [20, 200]}
COMMENTED = re.compile(r"^# (\[|\w+ = )", re.MULTILINE)


def config_of(kind: str, **tables: Any) -> CampaignConfig:
    spectrum = {"low": 1.5, "high": 4.5, "points": 96}
    settings = {"name": "x", "space": {"elements": ["Co", "V", "Zr"]}, "spectrum": spectrum, "backend": BACKENDS[kind]}
    return CampaignConfig.of(settings | tables, source="test")


def written(folder: Path, config: CampaignConfig) -> str:
    config.to_toml(folder / FILE_NAME)
    return (folder / FILE_NAME).read_text()


@pytest.mark.parametrize("kind", BACKENDS)
def test_what_is_written_is_what_is_read(kind: str, tmp_path: Path):
    config = config_of(
        kind,
        space={"elements": ["Co", "V", "Zr"], "bounds_at_pct": {"V": [5, 60.5]}, "limits": ["V + Zr >= 20"]},
        wafer={"guns": [GUN, {**GUN, "target": "V"}, {**GUN, "target": "Zr"}], "minutes": 30},
        notify={"command": 'say "it\'s C:\\done"'},
        wish={"prices": {"Co": 31.0}},
    )
    text = written(tmp_path, config)
    assert CampaignConfig.of(tomllib.loads(text), source="test") == config
    assert text.count("\n[[wafer.guns]]\n") == 3 and "bounds_at_pct = {V = [5.0, 60.5]}" in text
    assert max(map(len, text.splitlines()[:5])) <= 120


def test_every_setting_has_a_line_that_says_what_it_means(tmp_path: Path):
    text = written(tmp_path, config_of("lab"))
    lines = [line for line in text.splitlines() if re.match(r"(# )?\w+ = ", line)]
    assert len(lines) > 100 and all(re.search(r"  # (\* )?\S.{9,}$", line) for line in lines)
    for table in ("space", "spectrum.corrections", "backend.table", "guide", "candidates", "dask", "notify", "wish"):
        assert re.search(rf"^# .*\n(# )?\[{re.escape(table)}\]\n(# )?\w+ = ", text, re.MULTILINE), f"{table} is empty"
    free = re.findall(r"^# \* .*\n(?:# )?\[(\w+)\]", text, re.MULTILINE)
    assert {*free} <= {*FREE_SETTINGS} and {"planning", "stop", "dask", "wafer"} <= {*free}
    assert re.search(r"^step_at_pct = 1 .*  # \* ", text, re.MULTILINE), "it may change, its table may not"
    assert re.search(r"^seed = 0 .*  # The", text, re.MULTILINE)


@pytest.mark.parametrize("kind", BACKENDS)
def test_each_commented_line_of_a_table_that_is_there_can_be_set_as_it_stands(kind: str, tmp_path: Path):
    lines = written(tmp_path, config_of(kind)).splitlines()
    is_there, refused, tried = True, set[str](), 0
    for number, line in enumerate(lines):
        if line.startswith(("[", "# [")):
            is_there = line.startswith("[")
        if is_there and COMMENTED.match(line):
            text = "\n".join([*lines[:number], line[2:], *lines[number + 1 :]])
            try:
                CampaignConfig.of(tomllib.loads(text), source="test")
            except CampaignError:
                refused.add(line.split(" ")[1])
            tried += 1
    assert tried > 20
    assert refused <= {"max_elements", "columns", "context"}, "which need edges, a unit, samples that have some"


def test_a_change_sets_a_line_where_it_stands_and_keeps_what_it_means(tmp_path: Path):
    text = written(tmp_path, config_of("lab"))
    changes = {("planning", "batch"): 10, ("stop", "max_hours"): 5.5, ("wish", "prices"): {"Co": 3.0}, ("name",): "y"}
    changed = edited(text, changes)
    differing = [(old, new) for old, new in zip(text.splitlines(), changed.splitlines(), strict=True) if old != new]
    assert [new.split("  #")[0].strip() for _, new in differing] == [
        'name = "y"', "batch = 10", "max_hours = 5.5", "prices = {Co = 3.0}",
    ]  # fmt: skip
    assert all(old.partition("  # ")[2] == new.partition("  # ")[2] for old, new in differing)
    assert edited(changed, {("stop", "max_hours"): 6.5}).count("max_hours") == 1
    assert tomllib.loads(edited(changed, {("stop", "max_hours"): None}))["stop"].get("max_hours") is None


def test_a_table_that_is_commented_out_is_set_where_it_stands(tmp_path: Path):
    text = written(tmp_path, config_of("lab"))
    changed = edited(text, {("candidates", "table"): ["edx.csv"]})
    assert tomllib.loads(changed)["candidates"] == {"table": ["edx.csv"]}
    assert len(changed.splitlines()) == len(text.splitlines()) and "\n[candidates]\n# sample = " in changed


def test_a_setting_that_has_a_table_of_its_own_is_set_there(tmp_path: Path):
    text = edited(written(tmp_path, config_of("simulation")), {("backend", "protocol", "atoms"): 500})
    for changes in ({("backend", "protocol", "atoms"): 600}, {("backend", "protocol"): {"atoms": 600}}):
        assert tomllib.loads(edited(text, changes))["backend"]["protocol"] == {"atoms": 600}


def test_a_remark_that_only_looks_like_a_setting_stays_one():
    text = "[planning]\n# batch = 20 was too many\n\n[stop]\n# batch = 3\n"
    assert edited(text, {("planning", "batch"): 10}).startswith("[planning]\n# batch = 20 was too many\n")
    assert tomllib.loads(edited(text, {("planning", "batch"): 10})) == {"planning": {"batch": 10}, "stop": {}}


def test_a_setting_that_is_a_table_of_its_own_is_changed_there_and_its_commented_line_stays():
    text = "[backend]\n# protocol = {atoms = 2000}\n\n[backend.protocol]\natoms = 500\n"
    changed = edited(text, {("backend", "protocol"): {"atoms": 400}})
    assert changed.startswith("[backend]\n# protocol = {atoms = 2000}\n")
    assert tomllib.loads(changed) == {"backend": {"protocol": {"atoms": 400}}}
