"""Settings of the models."""

import subprocess
import sys

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
    assert isinstance(architecture_of(name), Architecture)


def test_an_unknown_architecture_is_refused_with_those_that_there_are():
    with pytest.raises(ValidationError, match=f"must be one of {', '.join(ARCHITECTURES)}, got 'wide'"):
        TrainingConfig(architecture="wide")


def test_settings_that_are_gone_are_none_of_todays():
    assert not RETIRED.keys() & TrainingConfig.model_fields.keys()


def test_the_default_is_deterministic_and_the_paper_adversarial():
    assert PRESETS["default"] == TrainingConfig()
    assert (PRESETS["default"].adversarial, PRESETS["default"].composition) == (0, 0)
    assert PRESETS["paper"].adversarial > 0 and PRESETS["paper"].composition > 0 and PRESETS["paper"].fidelity == 0
