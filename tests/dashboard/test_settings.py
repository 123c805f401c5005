"""What pages show of a campaign's settings."""

from pathlib import Path
from typing import Any

import pytest

from glassmap.agent.config.campaign import CampaignConfig
from glassmap.agent.models.config import PRESETS
from glassmap.dashboard.settings import Settings, read_settings


def shown(**settings: Any) -> Settings:
    """What is shown of a replay's settings, as a store holds them."""
    replay = {"kind": "replay", "dataset": "a/co-v-zr.nc"}
    config = {"name": "x", "space": {"elements": ["Co", "V", "Zr"]}, "backend": replay} | settings
    return read_settings(CampaignConfig.of(config, source="a test").model_dump(mode="json"))


def test_limits_are_read_by_name():
    stop = shown(stop={"tolerance": 0.1, "patience": 3, "max_rounds": 7, "max_hours": 5.5}).stop
    assert stop == ("mse", 0.1, 3, 7, None, 5.5, None) and "less than 10 %, said in 3 rounds" in stop.words


def test_the_ensemble_is_called_what_it_will_be_on_either_device():
    cpu, gpu = (PRESETS["default"].on(gpu=gpu) for gpu in (False, True))
    said = shown().model
    assert said.startswith(f"on a CPU {cpu.members} ") and f"({cpu.architecture}), on a GPU {gpu.members} " in said
    assert said.endswith("conditional GANs (large), stacked with a Gaussian process and trees; seed 0")
    fidelity = {"architecture": "compact", "energy": 0.0, "adversarial": 0.0, "members": 10}
    assert shown(model=fidelity).model.startswith("10 deterministic conditional generators (compact), stacked with")
    adversarial = {"adversarial": 1.0, "stacked": False, "members": 5, "architecture": "paper"}
    assert shown(model=adversarial).model == "5 conditional GANs (paper); seed 0"


@pytest.mark.parametrize(
    ("settings", "kelvin", "first_own_round"),
    [
        ({}, None, 1),
        ({"backend": {"kind": "simulation", "potential": "zhou"}}, 300.0, 1),
        (
            {
                "guide": {
                    "backend": {"kind": "simulation", "potential": "zhou", "protocol": {"cold": 250.0}},
                    "rounds": 2,
                }
            },
            250.0,
            3,
        ),
    ],
)
def test_simulated_alloys_have_a_temperature_to_reach(
    settings: dict[str, Any], kelvin: float | None, first_own_round: int
):
    found = shown(**settings)
    assert (found.quench_temperature, found.first_own_round) == (kelvin, first_own_round)


def test_what_the_hold_out_is_is_said(tmp_path: Path):
    assert shown().judged_by == "co-v-zr.nc, random"
    assert shown(backend={"kind": "simulation", "potential": "zhou"}).judged_by == "simulation, of each batch"


def test_a_kind_of_backend_that_this_version_does_not_know_is_shown():
    replay = {"kind": "replay", "dataset": "a/co-v-zr.nc"}
    config = CampaignConfig.of(
        {"name": "x", "space": {"elements": ["Co", "V", "Zr"]}, "backend": replay}, source="a test"
    )
    found = read_settings(config.model_dump(mode="json") | {"backend": {"kind": "beamline", "station": 3}})
    assert (found.backend, found.judged_by) == ("beamline", "beamline, of each batch")
    assert found.quench_temperature is None
