"""The continuous conditional GAN: noise + composition -> spectrum, spectrum -> real or fake + composition.

An ensemble is one network. Member k owns the k-th group of every layer's channels, so grouped convolutions run all
members in one program, and no weight, gradient or batch statistic crosses from one member to the next.

Letters: b batch, m members, e elements, z noise, c channels, l points of a hidden spectrum, q points of the spectrum.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

VECTORS = 32  # numbers that PyTorch computes at once on a CPU, at most
STRETCH = 2  # times that a generator without convolutions lengthens what its stem lays out


@dataclass(frozen=True)
class Architecture:
    """The widths of one generator and its discriminator.

    The generator is a stem (hidden layers on noise + composition, then a linear layer) and a chain of transposed
    convolutions, the last of which has one channel; the discriminator a chain of convolutions and two linear heads.
    A generator without convolutions lays the spectrum out at half its length and stretches it.
    """

    noise: int
    stem: tuple[int, ...]  # widths of the hidden layers between the input and the first channels
    channels: tuple[int, ...]  # of the stem's output, then of every transposed convolution but the last
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    critic_channels: tuple[int, ...]
    critic_kernels: tuple[int, ...]
    critic_strides: tuple[int, ...]


ARCHITECTURES = {
    # Xie et al. 2025, Methods. The paper gives four strides for five layers: the last is 1. It gives neither the
    # noise size nor the channels that its linear layer feeds: 128 and 384 here.
    "paper": Architecture(
        noise=128,
        stem=(),
        channels=(384, 384, 384, 256, 96),
        kernels=(5, 5, 5, 7, 15),
        strides=(3, 3, 3, 5, 1),
        critic_channels=(96, 256, 384, 384, 256),
        critic_kernels=(11, 5, 3, 3, 3),
        critic_strides=(4, 2, 1, 1, 1),
    ),
    # Ours, for two CPU cores: dense layers alone. It learns tens of times faster than a deep chain of convolutions,
    # and four hidden layers follow the sharp borders between phases, which two smear out.
    "compact": Architecture(
        noise=0,
        stem=(128, 128, 128, 128),
        channels=(),
        kernels=(),
        strides=(),
        critic_channels=(8, 16, 24),
        critic_kernels=(15, 9, 5),
        critic_strides=(6, 4, 3),
    ),
}


class Generator(nn.Module):
    """Noise and composition in, one spectrum (0-100) a member out; any length, cropped at the centre.

    Source: Xie et al. 2025, Fig. 1b and Methods.
    """

    def __init__(self, architecture: Architecture, *, members: int, elements: int, points: int) -> None:
        super().__init__()
        a, m = architecture, members
        self.members, self.elements, self.noise, self.points = m, elements, a.noise, points
        self.start = -(-points // (math.prod(a.strides) if a.channels else STRETCH))  # points at first, rounded up
        widths = (a.noise + elements, *a.stem, (a.channels or (1,))[0] * self.start)
        self.stem = nn.ModuleList(MemberLinear(m, i, o) for i, o in pairwise(widths))
        outputs = (*a.channels[1:], 1) if a.channels else ()
        convolutions = zip(a.channels, outputs, a.kernels, a.strides, strict=True)
        self.layers = nn.ModuleList(
            _transposed(m * i, m * o, kernel, by, groups=m) for i, o, kernel, by in convolutions
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(m * o) for o in outputs[:-1])
        self.activation = nn.ReLU() if a.channels else nn.SiLU()
        self.mean = None if a.channels else nn.Parameter(torch.empty(m, points))  # before the sigmoid

    def forward(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b m e"]) -> Float[Tensor, "b m q"]:
        """One spectrum a row and member, intensity 0-100."""
        e = self.elements
        scaled = (compositions - 1 / e) * math.sqrt(e**2 * (e + 1) / (e - 1))  # mean 0, variance 1 over the simplex
        h = torch.cat([noise, scaled], dim=2)
        for layer in self.stem[:-1]:
            h = self._of_each(self.activation, layer(h).transpose(0, 1)).transpose(0, 1)  # (b, m, width)
        h = self.stem[-1](h)
        if self.mean is not None:  # members stay in front: what is summed over the batch is then summed alike for each
            h = functional.interpolate(h.transpose(0, 1), scale_factor=STRETCH, mode="linear")  # (m, b, 2 l)
            return 100 * self._of_each(torch.sigmoid, self._cropped(h) + self.mean[:, None]).transpose(0, 1)
        h = h.unflatten(2, (-1, self.start)).flatten(1, 2)  # (b, m * c, l)
        for layer, norm in zip(self.layers[:-1], self.norms, strict=True):
            h = self.activation(norm(layer(h)))
        return 100 * torch.sigmoid(self._cropped(self.layers[-1](h)))

    def _of_each(self, function: Callable[[Tensor], Tensor], h: Float[Tensor, "m b i"]) -> Float[Tensor, "m b i"]:
        """A function of single numbers; while learning it comes out the same whichever members there are.

        The numbers left over by the processor's vectors are computed by another program, which rounds otherwise.
        """
        if not self.training or h[0].numel() % VECTORS == 0:
            return function(h)
        return torch.stack([function(own) for own in h])

    def _cropped(self, h: Float[Tensor, "i j l"]) -> Float[Tensor, "i j q"]:
        """The middle of spectra that are somewhat too long."""
        excess = h.shape[2] - self.points
        return h[:, :, excess // 2 : excess // 2 + self.points]

    def start_from(self, spectra: Float[Tensor, "m q"]) -> None:
        """Let each member of a generator that has a learned mean spectrum begin with its own (0-100)."""
        if self.mean is not None:
            with torch.no_grad():
                self.mean.copy_(torch.stack([torch.logit((own / 100).clamp(0.01, 0.99)) for own in spectra]))


class MemberLinear(nn.Module):
    """A linear layer of each member's own: (b, m, inputs) -> (b, m, outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, outputs))

    def forward(self, h: Float[Tensor, "b m i"]) -> Float[Tensor, "b m o"]:
        """Each member's rows through its own weights."""
        return torch.baddbmm(self.bias[:, None], h.transpose(0, 1), self.weight).transpose(0, 1)


def _transposed(inputs: int, outputs: int, kernel: int, stride: int, *, groups: int) -> nn.Module:
    """Lengthen a hidden spectrum `stride` times by transposed convolution."""
    padding, extra = (kernel - stride + 1) // 2, (kernel - stride) % 2
    return nn.ConvTranspose1d(inputs, outputs, kernel, stride, padding, extra, groups=groups)


class Discriminator(nn.Module):
    """A spectrum in; out a real/fake score (a logit, > 0 is real) and the composition it believes to see.

    Source: Xie et al. 2025, Fig. 1b and Methods.
    """

    def __init__(self, architecture: Architecture, *, members: int, elements: int, points: int) -> None:
        super().__init__()
        a, m = architecture, members
        widths = (1, *a.critic_channels)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(m * i, m * o, kernel, stride, padding=kernel // 2, groups=m)
            for i, o, kernel, stride in zip(widths, a.critic_channels, a.critic_kernels, a.critic_strides, strict=False)
        )
        length = points
        for stride in a.critic_strides:
            length = -(-length // stride)
        self.members = m
        self.score = MemberLinear(m, a.critic_channels[-1] * length, 1)
        self.composition = MemberLinear(m, a.critic_channels[-1] * length, elements)
        self.activation = nn.LeakyReLU(0.2)

    def forward(self, spectra: Float[Tensor, "b m q"]) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m e"]]:
        """Score and composition of each spectrum, each judged by its own member."""
        h = spectra / 50 - 1  # 0-100 -> -1..1
        for layer in self.convolutions:
            h = self.activation(layer(h))
        h = h.unflatten(1, (self.members, -1)).flatten(2)  # (b, m, c * l)
        return self.score(h).squeeze(2), self.composition(h)
