"""What the networks are made of: layers of several members, how they are initialised, and how a network is built.

An ensemble is one network. Member k owns the k-th part of every weight along its first dimension, and no weight,
gradient or batch statistic crosses from one member to the next, so that all train in one program.

Convolutions have two ways to the same numbers. On a CPU every member is a group of channels, which oneDNN computes 1.4
to 3.3 times faster than products. On a GPU grouped convolutions are no faster than one member after the other, so
there each is one batched matrix product of all members, over windows of a hidden spectrum whose channels lie together.
Both take and return (b, m, c, l); how that lies in memory is each one's own affair.

Letters: b batch, m members, i and o inputs and outputs of a layer, k kernel, l and j points of a hidden spectrum before
and after, c channels, w channels of a window.
"""

import math
from collections import abc
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import ClassVar, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn
from torch.nn import functional

from glassmap.agent.errors import ModelError

VECTORS = 32  # numbers that PyTorch computes at once on a CPU, at most


class Sizes(NamedTuple):
    """What the layers of a network depend on besides its widths."""

    members: int
    elements: int
    points: int
    context: int = 0  # columns of numbers beside the composition; see `glassmap.agent.data.context`

    @property
    def inputs(self) -> int:
        """The numbers that a spectrum is generated from, noise aside."""
        return self.elements + self.context


@contextmanager
def tensor_cores(device: torch.device) -> abc.Generator[None]:
    """Let a GPU form products of single precision from ten bits of their factors (TF32) within the block.

    They come to sums of single precision, seven times faster than without; docs/results.md has what that changes.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if device.type == "cuda" else before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class MemberLinear(nn.Module):
    """A linear layer of each member's own: (b, m, inputs) -> (b, m, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, outputs))

    def forward(self, h: Float[Tensor, "b m i"]) -> Float[Tensor, "b m o"]:
        """Send each member's rows through its own weights."""
        return torch.baddbmm(self.bias[:, None], h.transpose(0, 1), self.weight).transpose(0, 1)


class MemberNorm(nn.BatchNorm1d):
    """Batch normalisation of each member's channels over its own batch: (b, m, c, l) -> the same."""

    def forward(self, h: Float[Tensor, "b m c l"]) -> Float[Tensor, "b m c l"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Normalise, and keep account of mean and variance while learning."""
        if not as_products(h):
            return super().forward(h.flatten(1, 2)).view(h.shape)
        if not self.training:
            scale, shift = self.scale_and_shift(h.shape[1])
            return torch.addcmul(shift[:, :, None], h, scale[:, :, None])
        variance, mean = torch.var_mean(h, (0, 3), correction=0)  # (m, c)
        mean_before, variance_before, batches = self._account()
        with torch.no_grad():
            n, share = len(h) * h.shape[3], self.momentum or 0.0
            mean_before.lerp_(mean.flatten(), share)
            variance_before.lerp_(variance.flatten() * (n / max(n - 1, 1)), share)
            batches += 1
        scale = self.weight.view_as(mean) * torch.rsqrt(variance + self.eps)
        shift = self.bias.view_as(mean) - mean * scale
        return torch.addcmul(shift[:, :, None], h, scale[:, :, None])

    def scale_and_shift(self, members: int) -> tuple[Float[Tensor, "m c"], Float[Tensor, "m c"]]:
        """Return by what it multiplies, and what it adds, once it has learned."""
        mean, variance, _ = self._account()
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return scale.view(members, -1), (self.bias - mean * scale).view(members, -1)

    def _account(self) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"], Integer[Tensor, ""]]:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        return self.running_mean, self.running_var, self.num_batches_tracked


class MemberConvolution(nn.Conv1d):
    """A convolution of each member's own, which shortens a hidden spectrum `stride` times, rounded up.

    Args:
        members: How many.
        inputs: Channels of each.
        outputs: Channels of each.
        kernel: Points of a window, an odd number.
        stride: Points from one window to the next.
    """

    def __init__(self, members: int, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            members * inputs, members * outputs, kernel, stride, kernel // 2, groups=members
        )
        self.kernel, self.every = kernel, stride

    def forward(self, h: Float[Tensor, "b m i l"]) -> Float[Tensor, "b m o j"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send each member's hidden spectra through its own weights."""
        if not as_products(h):
            out = super().forward(h.flatten(1, 2))
            return out.view(len(h), self.groups, -1, out.shape[2])
        assert self.bias is not None, "every layer has a bias"
        k, every, before, points, m = self.kernel, self.every, self.kernel // 2, h.shape[3], self.groups
        steps = -(-k // every)  # of so many points, which become the channels of one
        blocks = (points + 2 * before - k) // every + steps
        weight = functional.pad(self.weight.view(m, -1, h.shape[2], k), (0, steps * every - k))
        lying = functional.pad(h.permute(1, 0, 3, 2), (0, 0, before, blocks * every - points - before))
        lying = lying.reshape(m, len(h), blocks, every * h.shape[2])
        windows = _windows(lying, steps, before=0, after=0)
        out = _product(windows, weight.permute(0, 3, 2, 1).flatten(1, 2), self.bias.view(m, -1))
        return out.permute(1, 0, 3, 2)


class MemberTransposed(nn.ConvTranspose1d):
    """A transposed convolution of each member's own, which makes a hidden spectrum `stride` times as long.

    Args:
        members: How many.
        inputs: Channels of each.
        outputs: Channels of each.
        kernel: Points that one point is spread over, `stride` or more.
        stride: By how much longer.
    """

    def __init__(self, members: int, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        padding, extra = (kernel - stride + 1) // 2, (kernel - stride) % 2
        super().__init__(  # pyright: ignore[reportUnknownMemberType]
            members * inputs, members * outputs, kernel, stride, padding, extra, groups=members
        )
        self.kernel, self.every = kernel, stride

    def forward(self, h: Float[Tensor, "b m i l"]) -> Float[Tensor, "b m o j"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Send each member's hidden spectra through its own weights."""
        if not as_products(h):
            return super().forward(h.flatten(1, 2)).view(len(h), self.groups, -1, h.shape[3] * self.every)
        return self._as_products(h, *self._own(), activate=False)

    def activated(self, h: Float[Tensor, "b m i l"], norm: MemberNorm) -> Float[Tensor, "b m o j"]:
        """Do as `forward`, normalise, and let through what is positive.

        Once a normalisation has learned, it is but a factor and a shift of every channel, and goes into the weights.
        """
        if norm.training or not as_products(h):
            return functional.relu(norm(self(h)))
        weight, bias = self._own()
        scale, shift = norm.scale_and_shift(self.groups)
        return self._as_products(h, weight * scale[:, None, :, None], torch.addcmul(shift, bias, scale), activate=True)

    def _own(self) -> tuple[Float[Tensor, "m i o k"], Float[Tensor, "m o"]]:
        assert self.bias is not None, "every layer has a bias"
        return self.weight.view(self.groups, -1, *self.weight.shape[1:]), self.bias.view(self.groups, -1)

    def _as_products(
        self,
        h: Float[Tensor, "b m i l"],
        weight: Float[Tensor, "m i o k"],
        bias: Float[Tensor, "m o"],
        *,
        activate: bool,
    ) -> Float[Tensor, "b m o j"]:
        (m, i, o, k), every, points = weight.shape, self.every, h.shape[3]
        cut = (k - every + 1) // 2  # points in front that nobody asks for
        wanted = slice(cut, cut + points * every)
        lying = h.permute(1, 0, 3, 2)  # (m, b, l, i)
        if o * k < i:  # what a point adds to others is less than its channels: form it first, then add up
            assert not activate, "no norm follows"
            weight = functional.pad(weight, (0, -k % 8))  # products of whole vectors
            parts = torch.bmm(lying.flatten(1, 2), weight.flatten(2).to(h.dtype)).float()  # (m, b l, o k)
            parts = parts.view(m * len(h), points, -1).transpose(1, 2)
            whole = (points - 1) * every + weight.shape[3]
            added = functional.fold(parts, (whole, 1), (weight.shape[3], 1), stride=(every, 1)).squeeze(3)
            added = functional.pad(added, (0, max(0, wanted.stop - whole)))[:, :, wanted]
            return added.view(m, len(h), o, -1).transpose(0, 1) + bias[:, :, None]
        # Points that come out of one step see the same few points: as many times the channels, of a window of those.
        steps = -(-k // every)
        blocks = (wanted.stop - 1) // every + 1
        phases = torch.flip(functional.pad(weight, (0, steps * every - k)).view(m, i, o, steps, every), (3,))
        phases = phases.permute(0, 3, 1, 4, 2).reshape(m, steps * i, every * o)
        windows = _windows(lying, steps, before=steps - 1, after=blocks - points)
        out = _product(windows, phases, bias.repeat(1, every), activate=activate)
        return out.view(m, len(h), blocks * every, o)[:, :, wanted].permute(1, 0, 3, 2)


def as_products(h: Tensor) -> bool:
    """Whether convolutions of these are computed as batched matrix products."""
    return h.is_cuda


def _windows(h: Float[Tensor, "m b l c"], steps: int, *, before: int, after: int) -> Float[Tensor, "m b j w"]:
    """Return the channels of every so many points that follow each other side by side, zeros before and after them."""
    points, many = h.shape[2], h.shape[2] + before + after - steps + 1
    if torch.is_grad_enabled():
        h = functional.pad(h, (0, 0, before, after)) if before or after else h
        return torch.cat([h[:, :, step : step + many] for step in range(steps)], dim=3) if steps > 1 else h
    windows = h.new_empty(*h.shape[:2], many, steps * h.shape[3])
    for step, own in enumerate(windows.chunk(steps, dim=3)):  # one copy, where padding first makes two
        first, last = max(0, before - step), min(many, before - step + points)
        own[:, :, :first] = own[:, :, last:] = 0
        own[:, :, first:last] = h[:, :, first + step - before : last + step - before]
    return windows


def _product(
    h: Float[Tensor, "m b l i"], weight: Float[Tensor, "m i o"], bias: Float[Tensor, "m o"], *, activate: bool = False
) -> Float[Tensor, "m b l o"]:
    """Send every point through its member's weights, and let through what is positive where that is asked for.

    To learn, all members in one batched product. To generate, there are so many points that each member has enough for
    the device, and a product alone adds the bias and activates before anything is written.
    """
    points, weight, bias = h.flatten(1, 2), weight.to(h.dtype), bias.to(h.dtype)
    if not activate:
        return torch.baddbmm(bias[:, None], points, weight).view(*h.shape[:3], -1)
    out = points.new_empty(*points.shape[:2], weight.shape[2])
    for own, *factors in zip(out, bias, points, weight, strict=True):
        torch._addmm_activation(*factors, out=own)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    return out.view(*h.shape[:3], -1)


DRAWN_LAYERS = (MemberLinear, nn.Conv1d, nn.ConvTranspose1d)


class MemberNetwork(nn.Module):
    """A network of several members, which initialises itself."""

    gain: ClassVar[float] = 1.0
    """By how much its activation makes a signal smaller (He et al., 2015)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.members, self.elements, self.points, self.context = sizes

    def initialise(self, streams: Sequence[torch.Generator]) -> None:
        """Draw every layer's weights, each member's from its own stream; zeros without streams.

        Weights are uniform with variance gain² / inputs of the unit (LeCun et al., 1998), biases zero. A network with
        other parameters gives them values in its own `initialise`; `build` refuses it by their names otherwise.
        """
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm1d):
                layer.reset_parameters()
            elif isinstance(layer, DRAWN_LAYERS):
                linear = isinstance(layer, MemberLinear)
                inputs = layer.weight.shape[1] if linear else layer.in_channels // layer.groups * layer.kernel_size[0]
                assert layer.bias is not None, "every layer has a bias"
                limit = self.gain * (3 / inputs) ** 0.5
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
                for stream, share in zip(streams, layer.weight.data.chunk(self.members), strict=False):
                    share.uniform_(-limit, limit, generator=stream)


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
