"""Checkpoints of version 0.1, read as those of today."""

from typing import Any

import torch
from torch import Tensor

from glassmap.agent.models.config import RETIRED
from glassmap.agent.models.gaussian_process import NOISES
from glassmap.agent.models.protocol import stream_seed

DRAWS = 4  # of noise, which a member's mean was taken over

Facts = dict[str, Any]
Tensors = dict[str, Tensor]


def upgrade(facts: Facts, tensors: Tensors) -> tuple[Facts, Tensors]:
    """Return JSON half and weights of a checkpoint of format 3 in the words of format 4; they predict the same.

    Raises:
        ValueError: If its networks are of a kind that is gone.
        KeyError: If something is missing.
    """
    old, config = facts["architecture"], facts["config"]
    is_dense = not old["channels"]
    if not is_dense and old["stem"]:
        raise ValueError("convolutions after hidden layers")
    names = ("noise", "channels", "kernels", "strides")
    widths = {"noise": old["noise"], "hidden": old["stem"]} if is_dense else {name: old[name] for name in names}
    times = DRAWS if old["noise"] else 1
    stream = torch.Generator().manual_seed(stream_seed(facts["seed"], "noise"))
    new = {
        "axis": tensors["axis"],
        "oof_rmse": 2 * tensors["usual"],
        "networks.noise": torch.randn(times, 1, config["members"], old["noise"], generator=stream),
        "known.compositions": torch.zeros(0, facts["elements"], dtype=torch.float64),
        "known.spectra": torch.zeros(0, facts["points"]),
    }
    models: Facts = {"networks": {"widths": widths}}
    stem = (
        ("generator.stem.", "networks.generator.layers.")
        if is_dense
        else ("generator.stem.0.", "networks.generator.stem.")
    )
    for name, tensor in tensors.items():
        if name.startswith(stem[0]):
            new[name.replace(*stem)] = tensor
        elif name.startswith("generator."):
            new[f"networks.{name}"] = tensor
        elif name.startswith("beside.forest."):
            new[name.replace("beside.forest.", "trees.").replace("member", "sample_to_alloy")] = tensor
    if "beside.spectra" in tensors:
        inverse = tensors["beside.smoother.inverse"]
        noise = torch.inverse(inverse).diagonal().mean().item() - 1  # the kernel is 1 at distance 0
        length = tensors["beside.smoother.length"].item()
        models |= {
            "trees": {},
            "gaussian_process": {"length": length, "noise": min(NOISES, key=lambda n: abs(n - noise))},
        }
        new |= {
            "gaussian_process.inverse": inverse.T,
            "known.compositions": tensors["beside.smoother.compositions"],
            "known.spectra": tensors["beside.spectra"],
        }
    weights = dict(zip(("networks", "gaussian_process", "trees"), facts["votes"], strict=True))
    return {
        **{name: facts[name] for name in ("seed", "floor", "scale", "record")},
        "config": {name: value for name, value in config.items() if name not in RETIRED},
        "weights": {name: weight for name, weight in weights.items() if name in models},
        "oof_mse": facts["unseen_mse"],
        "conformal_quantile": facts["quantile"],
        "models": models,
    }, new
