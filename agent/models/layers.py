"""What the networks are made of: layers of several members, how they are initialised, and how a network is built.

An ensemble is one network. Member k owns the k-th part of every weight along its first dimension, and no weight,
gradient or batch statistic crosses from one member to the next, so that all train in one program.

Letters: b batch, m members, i and o inputs and outputs of a layer.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassmap.agent.errors import ModelError

VECTORS = 32  # numbers that PyTorch computes at once on a CPU, at most


class Sizes(NamedTuple):
    """What the layers of a network depend on besides its widths."""

    members: int
    elements: int
    points: int


class MemberLinear(nn.Module):
    """A linear layer of each member's own: (b, m, inputs) -> (b, m, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, outputs))

    def forward(self, h: Float[Tensor, "b m i"]) -> Float[Tensor, "b m o"]:
        """Send each member's rows through its own weights."""
        return torch.baddbmm(self.bias[:, None], h.transpose(0, 1), self.weight).transpose(0, 1)


DRAWN_LAYERS = (MemberLinear, nn.Conv1d, nn.ConvTranspose1d)


class MemberNetwork(nn.Module):
    """A network of several members, which initialises itself."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.members, self.elements, self.points = sizes

    def initialise(self, streams: Sequence[torch.Generator]) -> None:
        """Draw every layer's weights, each member's from its own stream; zeros without streams.

        Weights are uniform with variance 1 / inputs of the unit (LeCun et al., 1998), biases are zero. A network with
        other parameters gives them values in its own `initialise`; `build` refuses it by their names otherwise.
        """
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.reset_parameters()
            elif isinstance(layer, DRAWN_LAYERS):
                linear = isinstance(layer, MemberLinear)
                inputs = layer.weight.shape[1] if linear else layer.in_channels // layer.groups * layer.kernel_size[0]
                assert layer.bias is not None, "every layer has a bias"
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
                for stream, share in zip(streams, layer.weight.data.chunk(self.members), strict=False):
                    share.uniform_(-((3 / inputs) ** 0.5), (3 / inputs) ** 0.5, generator=stream)


Network = TypeVar("Network", bound=MemberNetwork)


def build(network: Callable[[], Network], streams: Sequence[torch.Generator] = ()) -> Network:
    """Return a network with each member's weights drawn from its own stream, none from the global one.

    Args:
        network: Makes it.
        streams: One a member; without, weights are zeros, to be loaded.

    Raises:
        ModelError: If the network leaves parameters uninitialised.
    """
    with torch.device("meta"):
        module = network()
    module.to_empty(device="cpu")
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad():
        for tensor in tensors.values():
            tensor.fill_(math.nan if tensor.is_floating_point() else 0)
        module.initialise(streams)
    forgotten = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.isnan().any()]
    if forgotten:
        raise ModelError(
            f"Every parameter of a network must be initialised, but {type(module).__name__} leaves "
            f"{', '.join(forgotten)} as they are. Give them values in its method `initialise`."
        )
    return module


def skip(network: Callable[[], MemberNetwork], streams: Sequence[torch.Generator]) -> None:
    """Let streams go on as if the layers of a network were drawn from them."""
    with torch.device("meta"):
        module = network()
    drawn = [layer.weight for layer in module.modules() if isinstance(layer, DRAWN_LAYERS)]
    for stream in streams:
        torch.rand(sum(weight.numel() for weight in drawn) // module.members, generator=stream)
