"""Settings of the models."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import ValidationError

from glassmap.agent.models.config import ARCHITECTURES, PRESETS, RETIRED, TrainingConfig
from glassmap.agent.models.networks import Architecture, architecture_of


def test_settings_are_read_without_torch_or_numpy():
    program = "import sys, glassmap.agent.models.config; print({'torch', 'numpy', 'scipy'} & sys.modules.keys())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_of_the_registry_is_there(name: str):
    assert isinstance(architecture_of(TrainingConfig(architecture=name)), Architecture)


def test_an_unknown_architecture_is_refused_with_those_that_there_are():
    with pytest.raises(ValidationError, match=f"must be one of auto, {', '.join(ARCHITECTURES)}, got 'wide'"):
        TrainingConfig(architecture="wide")


def test_settings_that_are_gone_are_none_of_todays():
    assert not RETIRED.keys() & TrainingConfig.model_fields.keys()


def test_the_networks_are_compact_on_a_cpu_and_large_on_a_gpu_each_with_its_own_terms():
    assert PRESETS["default"] == TrainingConfig() and TrainingConfig().architecture == "auto"
    assert TrainingConfig().on(gpu=False) == PRESETS["compact"]
    assert TrainingConfig().on(gpu=True) == PRESETS["large"]
    assert PRESETS["paper"].on(gpu=True) == PRESETS["paper"].on(gpu=False) == PRESETS["paper"]


def test_a_setting_that_was_chosen_holds_whatever_the_architecture_becomes():
    chosen: dict[str, Any] = {"members": 3, "steps": 7}
    for gpu, preset in ((False, "compact"), (True, "large")):
        assert TrainingConfig(**chosen).on(gpu=gpu) == PRESETS[preset].model_copy(update=chosen)


def test_the_paper_learns_from_its_discriminator():
    assert PRESETS["paper"].adversarial > 0 and PRESETS["paper"].gradient_penalty > 0


def test_only_terms_that_reward_a_spread_give_the_networks_noise():
    for terms, noise in (({"energy": 1}, 8), ({"adversarial": 1, "fidelity": 0}, 8), ({"composition": 1}, 0), ({}, 0)):
        settings: dict[str, Any] = {"energy": 0, "adversarial": 0, "fidelity": 1} | terms
        config = TrainingConfig(**settings, architecture="compact")
        assert architecture_of(config).widths.noise == noise
