"""The losses against values computed by hand, and their laws."""

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.losses import FLOOR, absolute, charbonnier, contrast_error, edge_preserving, fourier_amplitude, log_excess


def random(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_charbonnier_loss_by_hand():
    estimate, reference = torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 0.0]]])
    assert charbonnier(estimate, reference, epsilon=4.0).item() == pytest.approx((5 + 4) / 2)
    assert charbonnier(estimate, reference, torch.tensor([[[2.0, 1.0]]]), 4.0).item() == pytest.approx((2 * 5 + 4) / 2)


def test_the_charbonnier_loss_is_the_mean_absolute_error_far_from_zero():
    estimate = 100 * random(0, 2, 16, 16)
    assert charbonnier(estimate, torch.zeros(2, 16, 16)).item() == pytest.approx(estimate.abs().mean().item(), rel=1e-4)


def test_the_charbonnier_loss_has_a_finite_gradient_where_the_estimate_is_right():
    estimate = torch.zeros(1, 4, 4, requires_grad=True)
    charbonnier(estimate, torch.zeros(1, 4, 4)).backward()
    assert torch.equal(estimate.grad, torch.zeros(1, 4, 4))


def test_the_log_excess_by_hand_and_a_tenth_less_error_is_worth_the_same_everywhere():
    estimate, weight = torch.tensor([[[3.0, 0.0]], [[0.0, 0.0]]]), torch.tensor([[[2.0, 1.0]], [[1.0, 1.0]]])
    by_hand = (np.log(2 * (5 - 4) / 2 + FLOOR) + np.log(FLOOR)) / 2
    assert log_excess(estimate, torch.zeros(2, 1, 2), weight, 4.0).item() == pytest.approx(by_hand)
    faint, strong = (scale * random(7, 1, 16, 16) for scale in (0.3, 3.0))
    nothing, even = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    gains = [(log_excess(image, nothing, even, 100.0) - log_excess(0.9 * image, nothing, even, 100.0)).item() for image in (10 * faint, 10 * strong)]
    assert gains == pytest.approx([-2 * np.log(0.9)] * 2, rel=0.1)


def test_the_contrast_error_adds_up_what_is_wrong_alike_and_not_what_is_wrong_at_random():
    place = torch.zeros(3, 64, 64)
    place[:2, :, 8:10] = 1.0  # a wire 2 pixels wide: 64 pixels of it in each of two blocks
    estimate = torch.zeros(3, 64, 64)
    estimate[0] = 0.1 * place[0]
    estimate[1, ::2], estimate[1, 1::2] = 0.1, -0.1
    found = contrast_error(estimate, torch.zeros(3, 64, 64), place)
    assert found.tolist() == pytest.approx([0.1**2 * 64, 0.0, 0.0], abs=1e-6)


def test_equal_edges_cost_nothing_whatever_the_grey_level():
    image = random(1, 2, 16, 16)
    assert edge_preserving(image + 50, image, torch.ones(2, 16, 16)).item() == pytest.approx(0, abs=1e-5)


def test_the_edge_loss_of_one_pixel_by_hand():
    estimate = torch.zeros(1, 4, 4)
    estimate[0, 1, 1] = 2.0
    # Every Haar tap is +-1/2: four pixels of magnitude 1 in each of three bands, of 48 in all.
    assert edge_preserving(estimate, torch.zeros(1, 4, 4), torch.ones(1, 4, 4)).item() == pytest.approx(12 / 48)


def test_the_edge_loss_does_not_depend_on_the_scale_of_its_matrix():
    estimate, reference, matrix = random(2, 2, 16, 16), random(3, 2, 16, 16), random(4, 2, 16, 16).abs()
    scaled = matrix * torch.tensor([7.0, 0.01])[:, None, None]
    assert torch.allclose(edge_preserving(estimate, reference, scaled), edge_preserving(estimate, reference, matrix))


def test_the_matrix_moves_weight_to_where_it_is_large():
    estimate, matrix = torch.zeros(1, 16, 16), torch.full((1, 16, 16), 0.1)
    estimate[0, 4, 4] = 1.0
    matrix[0, 2:7, 2:7] = 1.0
    zero, even = torch.zeros(1, 16, 16), torch.ones(1, 16, 16)
    assert edge_preserving(estimate, zero, matrix) > 3 * edge_preserving(estimate, zero, even)


def test_no_gradient_flows_through_the_matrix():
    estimate = random(5, 1, 8, 8).requires_grad_()
    matrix = (estimate * 2).abs()
    edge_preserving(estimate, torch.zeros(1, 8, 8), matrix).backward()
    alone = estimate.detach().clone().requires_grad_()
    edge_preserving(alone, torch.zeros(1, 8, 8), matrix.detach()).backward()
    assert torch.equal(estimate.grad, alone.grad)


def test_a_matrix_of_zeros_costs_nothing_and_is_finite():
    assert edge_preserving(random(6, 1, 8, 8), random(7, 1, 8, 8), torch.zeros(1, 8, 8)).item() == 0


def test_the_absolute_loss_by_hand():
    estimate, reference = torch.tensor([[[3.0, -1.0]]]), torch.tensor([[[1.0, 1.0]]])
    assert absolute(estimate, reference).item() == pytest.approx(2)
    assert absolute(estimate, reference, torch.tensor([[[0.0, 3.0]]])).item() == pytest.approx(3)


def test_the_fourier_loss_does_not_see_where_things_are_but_how_strong_they_are():
    image = random(8, 1, 16, 16)
    assert fourier_amplitude(image.roll(3, -1), image).item() == pytest.approx(0, abs=1e-5)
    assert fourier_amplitude(1.5 * image, image) > 0.1
    assert fourier_amplitude(image + 2, image).item() == pytest.approx(2 * 16 / (16 * 9), rel=0.3)  # the mean alone
