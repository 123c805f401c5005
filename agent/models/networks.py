"""The networks: noise + composition -> spectrum (generators), spectrum + composition -> real or fake (discriminator).

All members of an ensemble are one network (`layers`).

Letters: b batch, m members, e elements and columns of the context, z noise, c channels, l points of a hidden spectrum,
q points of the spectrum.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from itertools import accumulate, pairwise
from operator import mul
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from glassmap.agent.models.config import ARCHITECTURES, TrainingConfig
from glassmap.agent.models.layers import (
    VECTORS,
    MemberConvolution,
    MemberLinear,
    MemberNetwork,
    MemberNorm,
    MemberTransposed,
    Sizes,
    as_products,
)

LEAK = 0.2  # of the discriminator's leaky ReLUs
STRETCH = 2  # times that a dense generator lengthens what its last layer lays out


class Generator(MemberNetwork):
    """Noise and composition in, one spectrum (0-100) a member out, of any length: what another kind must be.

    Args:
        sizes: Members, elements, points.
        noise: Numbers drawn for a spectrum; 0 for a deterministic generator.
    """

    uses_one_thread: ClassVar[bool] = False
    """Whether it trains fastest in one CPU thread."""

    def __init__(self, sizes: Sizes, *, noise: int) -> None:
        super().__init__(sizes)
        self.noise = noise
        self.widest = sizes.points
        """Numbers of a spectrum's widest layer, which say how many are generated at once."""

    def forward(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b m e"]) -> Float[Tensor, "b m q"]:
        """Generate one spectrum a row and member, intensity 0-100."""
        raise NotImplementedError(f"{type(self).__name__} must say how it generates: define its `forward`.")

    def start_from(self, spectra: Float[Tensor, "m q"]) -> None:
        """Begin training with each member's mean spectrum (0-100), where the generator has a place for it."""

    def inputs(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b m e"]) -> Float[Tensor, "b m i"]:
        """Return noise and standardised compositions side by side."""
        return torch.cat([noise, standardised(compositions, self.elements)], dim=2)

    def cropped(self, h: Float[Tensor, "i j l"]) -> Float[Tensor, "i j q"]:
        """Return the middle of spectra that are somewhat too long."""
        excess = h.shape[2] - self.points
        return h[:, :, excess // 2 : excess // 2 + self.points]


def standardised(compositions: Float[Tensor, "b m e"], elements: int) -> Float[Tensor, "b m e"]:
    """Return compositions with mean 0 and variance 1 over the simplex.

    Columns of a context stand behind the shares, with variance 1/4 as `agent.data.context` encodes numbers.
    """
    e = elements
    shares, context = compositions[..., :e], compositions[..., e:]
    return torch.cat([(shares - 1 / e) * math.sqrt(e**2 * (e + 1) / (e - 1)), 2 * context], dim=2)


@dataclass(frozen=True)
class DenseWidths:
    """The widths of a `DenseGenerator`."""

    noise: int
    hidden: tuple[int, ...]


class DenseGenerator(Generator):
    """Dense layers that lay the spectrum out at half its length, stretched and added to a learned mean spectrum."""

    # Its layers are so small that threads wait for each other longer than they work: on two cores a step took 32 ms
    # with one thread, and up to 280 ms with two while anything else ran.
    uses_one_thread: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, widths: DenseWidths) -> None:
        super().__init__(sizes, noise=widths.noise)
        ends = (widths.noise + sizes.inputs, *widths.hidden, -(-sizes.points // STRETCH))
        self.layers = nn.ModuleList(MemberLinear(sizes.members, i, o) for i, o in pairwise(ends))
        self.mean = nn.Parameter(torch.empty(sizes.members, sizes.points))  # before the sigmoid

    def initialise(self, streams: Sequence[torch.Generator]) -> None:
        """Draw the layers; the mean spectrum is 50 everywhere until `start_from`."""
        super().initialise(streams)
        nn.init.zeros_(self.mean)

    def start_from(self, spectra: Float[Tensor, "m q"]) -> None:
        """Take each member's mean spectrum (0-100)."""
        with torch.no_grad():
            self.mean.copy_(torch.stack([torch.logit((own / 100).clamp(0.01, 0.99)) for own in spectra]))

    def forward(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b m e"]) -> Float[Tensor, "b m q"]:
        """Generate; members stand in front at the end: what is summed over the batch then is summed alike for each."""
        h = self.inputs(noise, compositions)
        for layer in self.layers[:-1]:
            h = self._of_each(functional.silu, layer(h).transpose(0, 1)).transpose(0, 1)  # (b, m, width)
        h = self.layers[-1](h).transpose(0, 1)  # (m, b, l)
        h = _stretched(h)  # (m, b, 2 l)
        return 100 * self._of_each(torch.sigmoid, self.cropped(h) + self.mean[:, None]).transpose(0, 1)

    def _of_each(self, function: Callable[[Tensor], Tensor], h: Float[Tensor, "m b i"]) -> Float[Tensor, "m b i"]:
        """Apply a function of single numbers; while learning it comes out the same whichever members there are.

        The numbers left over by the processor's vectors are computed by another program, which rounds otherwise.
        """
        if not self.training or h[0].numel() % VECTORS == 0:
            return function(h)
        return torch.stack([function(own) for own in h])


def _stretched(h: Float[Tensor, "m b l"]) -> Float[Tensor, "m b 2*l"]:
    """Return curves with twice as many points, linear between.

    The gradient of torch's own `interpolate` is summed on a GPU in the order in which its threads come, so that a seed
    gives another network each time.
    """
    before, after = h[..., :-1], h[..., 1:]
    between = torch.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], dim=-1).flatten(-2)
    return torch.cat([h[..., :1], between, h[..., -1:]], dim=-1)


@dataclass(frozen=True)
class ConvWidths:
    """The widths of a `ConvGenerator`, whose last transposed convolution has one channel."""

    noise: int
    channels: tuple[int, ...]  # of the linear layer's output, then of every transposed convolution but the last
    kernels: tuple[int, ...]
    strides: tuple[int, ...]


class ConvGenerator(Generator):
    """A linear layer and a chain of transposed convolutions, cropped at the centre.

    Source: Xie et al. 2025, Fig. 1b and Methods.
    """

    def __init__(self, sizes: Sizes, widths: ConvWidths) -> None:
        super().__init__(sizes, noise=widths.noise)
        m = sizes.members
        self.start = -(-sizes.points // math.prod(widths.strides))  # points at first, rounded up
        self.stem = MemberLinear(m, widths.noise + sizes.inputs, widths.channels[0] * self.start)
        outputs = (*widths.channels[1:], 1)
        convolutions = zip(widths.channels, outputs, widths.kernels, widths.strides, strict=True)
        self.layers = nn.ModuleList(MemberTransposed(m, i, o, kernel, by) for i, o, kernel, by in convolutions)
        self.norms = nn.ModuleList(MemberNorm(m * o) for o in outputs[:-1])
        lengths = accumulate(widths.strides, mul, initial=self.start)
        self.widest = max(length * channels for length, channels in zip(lengths, (*widths.channels, 1), strict=True))

    def start_from(self, spectra: Float[Tensor, "m q"]) -> None:
        """Take the mean intensity of each member's mean spectrum (0-100)."""
        with torch.no_grad():
            bias = self._chain[-1].bias
            assert bias is not None, "every layer has a bias"
            bias.copy_(torch.logit((spectra.mean(1) / 100).clamp(0.01, 0.99)))

    @property
    def _chain(self) -> list[MemberTransposed]:
        return cast(list[MemberTransposed], list(self.layers))

    def forward(self, noise: Float[Tensor, "b m z"], compositions: Float[Tensor, "b m e"]) -> Float[Tensor, "b m q"]:
        """Generate; what has learned does so in half precision on a GPU, where memory is what takes time."""
        h = self.stem(self.inputs(noise, compositions)).unflatten(2, (-1, self.start))  # (b, m, c, l)
        if as_products(h) and not self.training:
            h = h.half()
        *chain, last = self._chain
        for layer, norm in zip(chain, cast(list[MemberNorm], list(self.norms)), strict=True):
            h = layer.activated(h, norm)
        return 100 * torch.sigmoid(self.cropped(last(h).squeeze(2).float()))


@dataclass(frozen=True)
class CriticWidths:
    """The widths of a `Discriminator`."""

    channels: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    hidden: int
    """Of the layer that joins what the convolutions see, and of the embedded composition that it is held against."""


class Discriminator(MemberNetwork):
    """A spectrum and a composition in; out how real the one looks for the other, and the composition that it sees.

    A chain of convolutions and two heads, of Xie et al. 2025, Fig. 1b and Methods. The paper's score asks for no
    composition, and what it doesn't ask for the generator has no reason to heed; here it does by projection: the
    product with an embedded composition (Miyato and Koyama, ICLR 2018; embedded labels: Ding et al., TPAMI 2023).
    """

    gain: ClassVar[float] = nn.init.calculate_gain("leaky_relu", LEAK)

    def __init__(self, sizes: Sizes, widths: CriticWidths) -> None:
        super().__init__(sizes)
        m = sizes.members
        chain = zip((1, *widths.channels), widths.channels, widths.kernels, widths.strides, strict=False)
        self.convolutions = nn.ModuleList(MemberConvolution(m, i, o, kernel, stride) for i, o, kernel, stride in chain)
        length = sizes.points
        for stride in widths.strides:
            length = -(-length // stride)
        self.joined = MemberLinear(m, widths.channels[-1] * length, widths.hidden)
        self.score = MemberLinear(m, widths.hidden, 1)
        self.composition = MemberLinear(m, widths.hidden, sizes.inputs)
        ends = (sizes.inputs, widths.hidden, widths.hidden)
        self.embedding = nn.ModuleList(MemberLinear(m, i, o) for i, o in pairwise(ends))

    def forward(
        self, spectra: Float[Tensor, "b m q"], compositions: Float[Tensor, "b m e"]
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m e"]]:
        """Judge each spectrum by its own member: score (the higher, the more real) and the composition that it sees."""
        h = (spectra / 50 - 1)[:, :, None]  # 0-100 -> -1..1, one channel
        for layer in self.convolutions:
            h = functional.leaky_relu(layer(h), LEAK)
        h = h.flatten(2)  # (b, m, c * l)
        h = functional.leaky_relu(self.joined(h), LEAK)
        embedded = functional.leaky_relu(self.embedding[0](standardised(compositions, self.elements)), LEAK)
        fits = (h * self.embedding[1](embedded)).sum(2) / math.sqrt(h.shape[2])
        return self.score(h).squeeze(2) + fits, self.composition(h)


Widths = TypeVar("Widths")


@dataclass(frozen=True)
class Architecture(Generic[Widths]):
    """A kind of generator and its widths, and those of the discriminator that judges it."""

    generator: Callable[[Sizes, Widths], Generator]
    widths: Widths
    """A frozen dataclass of numbers, `noise` among them, and tuples of numbers, which a checkpoint keeps."""
    critic: CriticWidths
    draws: int = 4
    """Of noise, that a member's mean is taken over, where it takes noise; a map takes as many times longer."""


# Xie et al. 2025, Methods. The paper gives four strides for five layers: the last is 1. It gives neither the noise size
# nor the channels that its linear layer feeds: 8 and 384 here.
PAPER = Architecture(
    ConvGenerator,
    ConvWidths(noise=8, channels=(384, 384, 384, 256, 96), kernels=(5, 5, 5, 7, 15), strides=(3, 3, 3, 5, 1)),
    CriticWidths(channels=(96, 256, 384, 384, 256), kernels=(11, 5, 3, 3, 3), strides=(4, 2, 1, 1, 1), hidden=256),
    draws=3,  # so that a quinary's map takes minutes on a GPU: a draw of five members is 3.4 GFLOP an alloy
)
# Ours, for a GPU: the published chain with a quarter of its arithmetic.
LARGE = Architecture(
    ConvGenerator,
    ConvWidths(noise=8, channels=(192, 192, 192, 128, 48), kernels=(5, 5, 5, 7, 15), strides=(3, 3, 3, 5, 1)),
    CriticWidths(channels=(48, 128, 192, 192, 128), kernels=(11, 5, 3, 3, 3), strides=(4, 2, 1, 1, 1), hidden=256),
)
# Ours, for two CPU cores: dense layers alone. It learns tens of times faster than a deep chain of convolutions, and
# four hidden layers follow the sharp borders between phases, which two smear out.
COMPACT = Architecture(
    DenseGenerator,
    DenseWidths(noise=8, hidden=(128, 128, 128, 128)),
    CriticWidths(channels=(8, 16, 24), kernels=(15, 9, 5), strides=(6, 4, 3), hidden=64),
)


def architecture_of(config: TrainingConfig) -> Architecture[Any]:
    """Return the architecture that some settings name; without noise, where no term of theirs rewards it."""
    module, _, constant = ARCHITECTURES[config.architecture].partition(":")
    architecture: Architecture[Any] = getattr(import_module(module), constant)
    if config.is_generative:
        return architecture
    return replace(architecture, widths=replace(architecture.widths, noise=0))
