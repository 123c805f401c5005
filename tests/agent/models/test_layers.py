"""The layers of several members: convolutions as matrix products are the convolutions that they stand for."""

import pytest
import torch
from torch import nn

from glassmap.agent.models import layers
from glassmap.agent.models.layers import MemberConvolution, MemberNorm, MemberTransposed

MEMBERS, BATCH = 3, 4


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions as on a GPU."""
    monkeypatch.setattr(layers, "as_products", lambda h: True)


def same_and_slopes(layer: nn.Module, plain: nn.Module, h: torch.Tensor) -> None:
    """Hold a layer of members, its gradients and the gradients of those against PyTorch's grouped one."""
    plain.load_state_dict(layer.state_dict())
    mine, theirs = h.clone().requires_grad_(), h.flatten(1, 2).clone().requires_grad_()
    out, expected = layer(mine), plain(theirs)
    torch.testing.assert_close(out.flatten(1, 2), expected, rtol=0, atol=1e-5)
    for outcome, given in ((out, mine), (expected, theirs)):
        (slope,) = torch.autograd.grad(outcome.square().sum(), given, create_graph=True)
        slope.square().mean().backward()
    torch.testing.assert_close(mine.grad.flatten(1, 2), theirs.grad, rtol=1e-4, atol=1e-5)
    for one, other in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(5, 3), (7, 5), (15, 1), (4, 2), (6, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 4), (32, 1)])
def test_a_transposed_convolution_as_a_product_is_pytorchs(products, kernel, stride, inputs, outputs):
    layer = MemberTransposed(MEMBERS, inputs, outputs, kernel, stride)
    plain = nn.ConvTranspose1d(
        layer.in_channels, layer.out_channels, kernel, stride, layer.padding, layer.output_padding, groups=MEMBERS
    )
    h = torch.randn(BATCH, MEMBERS, inputs, 9)
    assert layer(h).shape == (BATCH, MEMBERS, outputs, 9 * stride)
    same_and_slopes(layer, plain, h)


@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (5, 2), (3, 1), (15, 6)])
@pytest.mark.parametrize("points", [40, 41, 43])
def test_a_convolution_as_a_product_is_pytorchs(products, kernel, stride, points):
    layer = MemberConvolution(MEMBERS, 2, 5, kernel, stride)
    plain = nn.Conv1d(layer.in_channels, layer.out_channels, kernel, stride, layer.padding, groups=MEMBERS)
    same_and_slopes(layer, plain, torch.randn(BATCH, MEMBERS, 2, points))


def test_a_normalisation_beside_products_is_pytorchs_and_goes_into_the_weights(products):
    layer, norm, plain = MemberTransposed(MEMBERS, 5, 4, 5, 3), MemberNorm(MEMBERS * 4), nn.BatchNorm1d(MEMBERS * 4)
    for _ in range(3):
        h = torch.randn(BATCH, MEMBERS, 5, 9)
        torch.testing.assert_close(norm(layer(h)).flatten(1, 2), plain(layer(h).flatten(1, 2)), rtol=0, atol=1e-5)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(norm.state_dict()[name], value)
    norm.eval(), plain.eval()
    expected = plain(layer(h).flatten(1, 2)).relu()
    torch.testing.assert_close(norm(layer(h)).flatten(1, 2).relu(), expected, rtol=0, atol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer.activated(h, norm).flatten(1, 2), expected, rtol=0, atol=1e-5)
        half = layer.activated(h.half(), norm).flatten(1, 2)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=5e-3)
