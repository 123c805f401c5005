"""The networks: their shapes, the published layers, how they are initialised."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from glassmap.agent.errors import ModelError
from glassmap.agent.models.config import ARCHITECTURES, TrainingConfig
from glassmap.agent.models.layers import MemberLinear, Sizes, build
from glassmap.agent.models.networks import (
    COMPACT,
    PAPER,
    Architecture,
    ConvGenerator,
    DenseGenerator,
    Discriminator,
    architecture_of,
)
from tests.support.models import NOISY


def streams(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize("name", ARCHITECTURES)
@given(points=st.integers(64, 1200), elements=st.integers(2, 5))
def test_any_length_is_generated_and_judged(name: str, points: int, elements: int):
    architecture = architecture_of(TrainingConfig(architecture=name, energy=1))
    sizes = Sizes(1, elements, points)
    with torch.device("meta"):  # shapes alone
        generator = architecture.generator(sizes, architecture.widths)
        spectra = generator(torch.empty(3, 1, generator.noise), torch.empty(3, 1, elements))
        score, composition = Discriminator(sizes, architecture.critic)(spectra, torch.empty(3, 1, elements))
    assert (spectra.shape, score.shape, composition.shape) == ((3, 1, points), (3, 1), (3, 1, elements))


def test_the_published_network_is_the_papers_layer_for_layer():
    sizes = Sizes(1, 3, 3743)
    with torch.device("meta"):
        generator = ConvGenerator(sizes, PAPER.widths)
        critic = Discriminator(sizes, PAPER.critic)
    layers, convolutions = list(generator.layers), list(critic.convolutions)
    assert [layer.out_channels for layer in layers] == [384, 384, 256, 96, 1]
    assert [layer.kernel_size for layer in layers] == [(5,), (5,), (5,), (7,), (15,)]
    assert [layer.stride for layer in layers] == [(3,), (3,), (3,), (5,), (1,)]
    assert all(isinstance(layer, nn.ConvTranspose1d) for layer in layers) and len(layers) == 5
    assert all(isinstance(norm, nn.BatchNorm1d) for norm in generator.norms) and len(generator.norms) == 4
    assert generator.stem.weight.shape == (1, 8 + 3, 384 * generator.start)
    assert [layer.out_channels for layer in convolutions] == [96, 256, 384, 384, 256]
    assert [layer.kernel_size for layer in convolutions] == [(11,), (5,), (3,), (3,), (3,)]
    assert [layer.stride for layer in convolutions] == [(4,), (2,), (1,), (1,), (1,)]
    assert (critic.score.weight.shape[2], critic.composition.weight.shape[2]) == (1, 3)


def test_the_network_for_a_cpu_is_dense():
    generator = build(lambda: DenseGenerator(Sizes(1, 3, 70), COMPACT.widths))
    shapes = [tuple(value.shape[1:]) for name, value in generator.named_parameters() if name.endswith("weight")]
    assert shapes == [(8 + 3, 128), *[(128, 128)] * 3, (128, 35)]


@pytest.mark.parametrize("architecture", [COMPACT, PAPER, NOISY])
def test_no_member_touches_another(architecture: Architecture):
    sizes = Sizes(2, 3, 70)
    generator = build(lambda: architecture.generator(sizes, architecture.widths), streams(1, 2))
    generator.start_from(torch.full((2, 70), 40.0))
    noise, x = torch.randn(5, 2, generator.noise), torch.rand(5, 2, 3)
    generator(noise, x)[:, 0].sum().backward()
    for parameter in generator.parameters():
        assert parameter.grad is not None
        mine, other = parameter.grad.chunk(2)
        assert not other.any()
        assert mine.shape == other.shape


@pytest.mark.parametrize("architecture", [COMPACT, PAPER])
def test_a_members_first_weights_hang_on_its_own_stream_alone(architecture: Architecture):
    def first(*seeds: int) -> dict[str, torch.Tensor]:
        sizes = Sizes(len(seeds), 3, 70)
        return build(lambda: architecture.generator(sizes, architecture.widths), streams(*seeds)).state_dict()

    state = torch.get_rng_state()
    together, alone = first(7, 8, 9), first(9)
    assert torch.equal(torch.get_rng_state(), state), "nothing comes from the global stream"
    for name, value in alone.items():
        if value.dim():
            torch.testing.assert_close(together[name].chunk(3)[2], value, rtol=0, atol=0)


def test_weights_have_the_variance_that_keeps_a_signals_size():
    generator = build(lambda: DenseGenerator(Sizes(2, 3, 70), COMPACT.widths), streams(1, 2))
    for layer in list(generator.layers)[1:]:
        assert isinstance(layer, MemberLinear)
        assert layer.weight.var().item() == pytest.approx(1 / 128, rel=0.05)
        assert not layer.bias.any()


class Normalised(DenseGenerator):
    """An edit that anybody makes first: one more layer, of a kind that nobody initialises."""

    def __init__(self, sizes: Sizes, widths) -> None:
        super().__init__(sizes, widths)
        self.norm = nn.LayerNorm(sizes.points)


def test_a_layer_that_nobody_initialises_is_refused_by_name():
    with pytest.raises(ModelError, match=r"Normalised leaves norm\.weight, norm\.bias as they are"):
        build(lambda: Normalised(Sizes(1, 3, 70), COMPACT.widths), streams(1))


def test_a_layer_that_the_network_initialises_itself_is_taken():
    class Careful(Normalised):
        def initialise(self, streams) -> None:
            super().initialise(streams)
            self.norm.reset_parameters()

    generator = build(lambda: Careful(Sizes(1, 3, 70), COMPACT.widths), streams(1))
    assert all(parameter.isfinite().all() for parameter in generator.parameters())


def test_another_kind_of_network_is_its_class_and_a_line_of_the_registry(monkeypatch: pytest.MonkeyPatch):
    from glassmap.agent.models.ensemble import Ensemble
    from tests.support.models import peaks

    monkeypatch.setitem(ARCHITECTURES, "shifted", f"{__name__}:SHIFTED")
    x, _, y = peaks(12)
    config = TrainingConfig(architecture="shifted", members=2, steps=5, stacked=False)
    assert np.isfinite(Ensemble(config, device="cpu").fit(x, y).predict(x).mean).all()


class Shifted(DenseGenerator):
    def __init__(self, sizes: Sizes, widths) -> None:
        super().__init__(sizes, widths)
        self.shift = nn.Parameter(torch.empty(sizes.members, 1))

    def initialise(self, streams) -> None:
        super().initialise(streams)
        nn.init.zeros_(self.shift)

    def forward(self, noise, compositions):
        return super().forward(noise, compositions) + self.shift[None]


SHIFTED = replace(COMPACT, generator=Shifted)
