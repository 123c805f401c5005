"""No number of a campaign file is without a most, and no file that a person didn't write ends in a traceback."""

from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError, create_model

from glassmap.agent.config.backends import BACKENDS, settings_of
from glassmap.agent.config.campaign import FILE_NAME, CampaignConfig
from glassmap.agent.errors import CampaignError, SimulationError
from glassmap.simulation.melt_quench import PRESETS, MeltQuench

BEYOND = (10**18, -(10**18), 1e300, -1e300, float("inf"), float("nan"))
START = 'space.elements = ["Co", "V"]\nbackend.dataset = "x.nc"\n'


def tables(table: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A class of settings and all those within it."""
    yield table
    for field in table.model_fields.values():
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from tables(part)


SETTINGS = [
    pytest.param(field.annotation, field, id=f"{table.__module__}.{table.__name__}.{name}")
    for table in dict.fromkeys(found for one in (CampaignConfig, *map(settings_of, BACKENDS)) for found in tables(one))
    for name, field in table.model_fields.items()
]


@pytest.mark.parametrize(("annotation", "field"), SETTINGS)
def test_no_setting_takes_a_number_beyond_all_measure(annotation: Any, field: Any):
    """Whatever shape it has: alone, in a list, by name, or a range by name."""
    table = create_model("Table", setting=(annotation, field))
    for number in BEYOND:
        for value in (number, [number], {"Co": number}, {"Co": [number, number]}):
            with pytest.raises(ValidationError):
                table.model_validate({"setting": value})


def test_there_are_settings_of_every_table():
    assert len(SETTINGS) > 60 and {"steps", "batch", "max_hours", "advance_minutes", "protocol"} <= {
        str(param.id).rpartition(".")[2] for param in SETTINGS
    }


@pytest.mark.parametrize("name", [field.name for field in fields(MeltQuench)])
def test_no_number_of_a_protocol_is_without_a_most(name: str):
    for number in BEYOND[2:] if isinstance(getattr(PRESETS["quick"], name), float) else BEYOND[:2]:
        with pytest.raises(SimulationError, match=r"must be|steps at most"):
            replace(PRESETS["quick"], **{name: number})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (START + "name = " + "[" * 5000, "line 3: tables and lists may lie 20 deep in each other at most"),
        (START + "name = " + "[" * 30 + "]" * 30, "line 3: tables and lists may lie 20 deep"),
        (START + ".".join("a" * 5000) + " = 1", "line 3: tables and lists may lie 20 deep"),
        (START + "\nseed = " + "9" * 5000, "line 4: a number has thousands of digits"),
        (START + "seed = 0x" + "f" * 5000, "seed: .*less than .*, got a number of thousands of digits"),
        (START + f"seed = {10**30}", "seed: .*less than .*, got 10{30}"),
        (START + 'device = "' + "x" * 5000 + '"', "device: .*, got 'x{99}…"),
        (START + "#" * 1_000_000, "has 10000.. bytes, a campaign file at most 1000000"),
        (START + "stop.max_hours = inf", "stop.max_hours: .*less than or equal to 1000000, got inf"),
        (START.replace("x.nc", "\\u0000"), "a path in it names no file"),
        (START.replace("x.nc", "~nobody-at-all/x.nc"), "a path in it names no file"),
        (START + "model.hidden = 2026-01-01", 'model.hidden is no longer a setting.*"2026-01-01"'),
    ],
    ids=str,
)
def test_what_no_person_wrote_is_refused_in_words(tmp_path: Path, text: str, words: str):
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(CampaignError, match=words) as refused:
        CampaignConfig.from_toml(tmp_path / FILE_NAME)
    assert str(refused.value).startswith(str(tmp_path / FILE_NAME)) and len(str(refused.value)) < 700


@given(st.text("[]{}=.,\"'\n \t#0123456789eE+-_:TZaéinfnaxo\0\x1b", max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_file_is_read_or_refused_whatever_is_in_it(tmp_path_factory: pytest.TempPathFactory, text: str):
    path = tmp_path_factory.getbasetemp() / FILE_NAME
    path.write_text(START + text)
    try:
        CampaignConfig.from_toml(path)
    except CampaignError as error:
        assert str(path) in str(error)
