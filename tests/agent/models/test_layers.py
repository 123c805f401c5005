"""The layers of several members: convolutions as matrix products are the convolutions that they stand for."""

from typing import Any, TypeVar

import pytest
import torch
from torch import nn

from glassmap.agent.models import layers
from glassmap.agent.models.layers import MemberConvolution, MemberNorm, MemberTransposed

MEMBERS, BATCH = 3, 4
Layer = TypeVar("Layer", bound=nn.Module)


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as on a GPU."""
    monkeypatch.setattr(layers, "as_products", lambda h: True)


@pytest.fixture
def stream() -> torch.Generator:
    """Random numbers of a test's own."""
    return torch.Generator().manual_seed(0)


def drawn(layer: Layer, stream: torch.Generator) -> Layer:
    """Return a layer with weights and biases from a stream."""
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.2, 0.2, generator=stream)
    return layer


def same_and_slopes(layer: nn.Module, plain: nn.Module, h: torch.Tensor) -> None:
    """Hold a layer of members, its gradients and the gradients of those against PyTorch's grouped one."""
    plain.load_state_dict(layer.state_dict())
    mine, theirs = h.clone().requires_grad_(), h.flatten(1, 2).clone().requires_grad_()
    out, expected = layer(mine), plain(theirs)
    torch.testing.assert_close(out.flatten(1, 2), expected, rtol=0, atol=1e-5)
    for outcome, given in ((out, mine), (expected, theirs)):
        (slope,) = torch.autograd.grad(outcome.square().sum(), given, create_graph=True)
        slope.square().mean().backward()
    assert mine.grad is not None
    torch.testing.assert_close(mine.grad.flatten(1, 2), theirs.grad, rtol=1e-4, atol=1e-5)
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(5, 3), (7, 5), (15, 1), (4, 2), (6, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 4), (32, 1)])
def test_a_transposed_convolution_as_a_product_is_pytorchs(products, stream, kernel, stride, inputs, outputs):
    layer = drawn(MemberTransposed(MEMBERS, inputs, outputs, kernel, stride), stream)
    sizes: Any = (layer.in_channels, layer.out_channels, kernel, stride, layer.padding, layer.output_padding)
    plain = nn.ConvTranspose1d(*sizes, groups=MEMBERS)
    h = torch.randn(BATCH, MEMBERS, inputs, 9, generator=stream)
    assert layer(h).shape == (BATCH, MEMBERS, outputs, 9 * stride)
    same_and_slopes(layer, plain, h)


@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (5, 2), (3, 1), (15, 6)])
@pytest.mark.parametrize("points", [40, 41, 43])
def test_a_convolution_as_a_product_is_pytorchs(products, stream, kernel, stride, points):
    layer = drawn(MemberConvolution(MEMBERS, 2, 5, kernel, stride), stream)
    sizes: Any = (layer.in_channels, layer.out_channels, kernel, stride, layer.padding)
    plain = nn.Conv1d(*sizes, groups=MEMBERS)
    same_and_slopes(layer, plain, torch.randn(BATCH, MEMBERS, 2, points, generator=stream))


def test_a_normalisation_beside_products_is_pytorchs_and_goes_into_the_weights(products, stream):
    layer = drawn(MemberTransposed(MEMBERS, 5, 4, 5, 3), stream)
    norm, plain = MemberNorm(MEMBERS * 4), nn.BatchNorm1d(MEMBERS * 4)
    for _ in range(3):
        h = torch.randn(BATCH, MEMBERS, 5, 9, generator=stream)
        torch.testing.assert_close(norm(layer(h)).flatten(1, 2), plain(layer(h).flatten(1, 2)), rtol=0, atol=1e-5)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)
    norm.eval()
    plain.eval()
    h = torch.randn(BATCH, MEMBERS, 5, 9, generator=stream)
    expected = plain(layer(h).flatten(1, 2)).relu()
    torch.testing.assert_close(norm(layer(h)).flatten(1, 2).relu(), expected, rtol=0, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer.activated(h, norm).flatten(1, 2), expected, rtol=0, atol=1e-5)
        half = layer.activated(h.half(), norm).flatten(1, 2)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("inputs", "outputs"), [(5, 4), (32, 1)], ids=["more out than in", "more in than out"])
@pytest.mark.parametrize("kind", [MemberTransposed, MemberConvolution])
def test_layers_take_half_precision_whichever_way_they_form_their_products(products, stream, kind, inputs, outputs):
    layer = drawn(kind(MEMBERS, inputs, outputs, 5, 3), stream)
    h = torch.randn(BATCH, MEMBERS, inputs, 9, generator=stream)
    with torch.inference_mode():
        torch.testing.assert_close(layer(h.half()).float(), layer(h), rtol=0, atol=2e-2)
