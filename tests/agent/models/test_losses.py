"""The terms of the losses, against values worked out by hand."""

import math

import pytest
import torch

from glassmap.agent.models.losses import energy_score, outranking, squared_error, squared_slope, variance_of_draws

MEASURED = torch.zeros(1, 2, 4)  # b m q
ONE, OTHER = torch.full_like(MEASURED, 2.0), torch.full_like(MEASURED, -1.0)


def test_the_squared_error_of_two_draws_is_their_means_and_not_lowered_by_pressing_them_together():
    assert squared_error(torch.stack([ONE, OTHER]), MEASURED).tolist() == [-2.0, -2.0]  # 2 times -1, not 4 or 1
    assert squared_error(ONE[None], MEASURED).tolist() == [4.0, 4.0]
    noise = torch.randn(2, 4000, 1, 8, generator=torch.Generator().manual_seed(0))
    assert squared_error(3 + noise, torch.zeros(4000, 1, 8)).item() == pytest.approx(9, abs=0.2)


def test_error_of_the_mean_and_variance_of_draws_are_the_error_of_a_draw():
    draws, measured = 3 + torch.randn(2, 500, 2, 8, generator=torch.Generator().manual_seed(0)), torch.zeros(500, 2, 8)
    of_each = (squared_error(draws[:1], measured) + squared_error(draws[1:], measured)) / 2
    torch.testing.assert_close(squared_error(draws, measured) + variance_of_draws(draws), of_each)


def test_the_energy_score_is_half_of_the_distances_less_half_of_that_between_the_draws():
    assert energy_score(torch.stack([ONE, OTHER]), MEASURED).tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
    assert energy_score(torch.stack([ONE, ONE]), MEASURED).tolist() == pytest.approx([2.0, 2.0], abs=1e-3)


def test_the_energy_score_is_least_for_draws_as_wide_as_what_was_measured():
    stream = torch.Generator().manual_seed(0)
    measured, *draws = torch.randn(3, 4000, 1, 1, generator=stream)
    scores = [energy_score(width * torch.stack(draws), measured).item() for width in (0.0, 0.5, 1.0, 2.0)]
    assert scores[2] == min(scores)


def test_two_draws_that_are_the_same_have_a_gradient():
    same = torch.zeros(2, 1, 1, 4, requires_grad=True)
    energy_score(same, torch.zeros(1, 1, 4)).sum().backward()
    assert same.grad is not None and same.grad.isfinite().all()


def test_outranking_counts_the_difference_of_a_pair_alone():
    high, low = torch.tensor([[3.0]]), torch.tensor([[1.0]])
    assert outranking(high, low).item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert outranking(low, high).item() == pytest.approx(math.log(1 + math.exp(2)))
    assert outranking(high + 100, low + 100).item() == pytest.approx(outranking(high, low).item(), rel=1e-4)


def test_the_slope_of_a_linear_score_is_its_weights_in_units_of_rms_intensity():
    weights = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))  # m q
    spectra = torch.rand(5, 3, 50, requires_grad=True)
    slope = squared_slope((spectra * weights).sum(2), spectra)
    torch.testing.assert_close(slope, 50 * weights.square().sum(1))
    steepest = weights[0] / weights[0].norm() * 50**0.5  # of RMS 1
    assert (steepest @ weights[0]).square().item() == pytest.approx(slope[0].item(), rel=1e-5)
