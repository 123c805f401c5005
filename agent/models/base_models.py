"""The one place that says which base models there are, and which of them an ensemble stacks.

Networks win where phases meet at sharp borders, the Gaussian process where spectra are noisy, few or hardly change, the
trees far from measurements. Another one is its file, which keeps `BaseModel`, and a line here.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from glassmap.agent.models.base_model import BaseModel
from glassmap.agent.models.config import TrainingConfig
from glassmap.agent.models.extra_trees import RandomisedTrees
from glassmap.agent.models.gaussian_process import GaussianProcess
from glassmap.agent.models.network_ensemble import NetworkEnsemble
from glassmap.agent.models.training import TrainFn


class Setup(NamedTuple):
    """What a base model may be made from."""

    config: TrainingConfig
    device: torch.device
    train_fn: TrainFn | None = None
    context: int = 0
    """How many columns of a context stand behind the compositions."""


BASE_MODELS: dict[str, Callable[[Setup], BaseModel]] = {
    "networks": lambda setup: NetworkEnsemble(*setup),
    "gaussian_process": lambda setup: GaussianProcess(setup.device, setup.context),
    "trees": lambda setup: RandomisedTrees(setup.device),
}
ALONE = ("networks",)  # where an ensemble isn't stacked


def base_models(setup: Setup) -> dict[str, BaseModel]:
    """Return the base models of an ensemble by their names, in the order in which they are stacked."""
    return {name: BASE_MODELS[name](setup) for name in (BASE_MODELS if setup.config.stacked else ALONE)}
