"""The cross-fusion matrix: where it trusts what, its scale, and that nothing is learned through it."""

import pytest
import torch

from FluoroDenoiseLib.training.cross_fusion import artefact_map, box_mean, edge_matrix, motion_confidence


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_a_step(where, height=4.0):
    image = torch.zeros(1, 64, 64)
    image[:, :, where:] = height
    return image


def test_still_noise_trusts_the_filter():
    target_noise = 0.5 * noise(1, 1, 128, 128)
    moving = motion_confidence(noise(0, 1, 128, 128), target_noise, torch.full((1, 128, 128), 0.25))
    assert moving.mean() < 0.1


def test_where_the_target_is_elsewhere_the_network_is_trusted():
    frames, target = with_a_step(24) + noise(2, 1, 64, 64), with_a_step(34)
    moving = motion_confidence(frames, target, torch.zeros(1, 64, 64))
    assert moving[..., 26:32].min() > 0.95 and moving[..., 42:].mean() < 0.2 and moving[..., :18].mean() < 0.2


def test_where_no_neighbour_was_valid_the_filter_is_not_trusted():
    validity = torch.ones(1, 32, 32)
    validity[..., :8] = 0
    moving = motion_confidence(torch.zeros(1, 32, 32), torch.zeros(1, 32, 32), torch.ones(1, 32, 32), validity)
    assert moving[..., :8].min() == 1 and moving[..., 8:].max() < 0.1


def test_the_edge_matrix_has_mean_one_and_is_nowhere_zero():
    weight = edge_matrix(torch.rand(3, 32, 32))
    torch.testing.assert_close(weight.mean((1, 2)), torch.ones(3))
    assert weight.min() > 0
    torch.testing.assert_close(edge_matrix(torch.zeros(1, 8, 8)), torch.ones(1, 8, 8))


@pytest.mark.parametrize("form", ["confidence", "ldl", "edge"])
def test_no_gradient_goes_through_the_matrix(form):
    images = [noise(seed, 1, 16, 16).requires_grad_() for seed in range(4)]
    if form == "edge":
        assert not edge_matrix(images[0].sigmoid()).requires_grad
    else:
        assert not (motion_confidence(*images[:2], images[2].detach().abs()) if form == "confidence" else artefact_map(*images)).requires_grad


def test_the_artefact_map_is_zero_where_the_estimate_is_nearer_than_the_teacher():
    frames, taught = noise(5, 1, 32, 32), torch.zeros(1, 32, 32)
    assert artefact_map(frames, 0.9 * frames, 0.9 * frames, taught).max() == 0
    assert artefact_map(frames, taught - 3, taught - 3, taught).max() > 0


def test_the_box_mean_at_the_border_is_over_what_is_inside():
    images = torch.zeros(1, 9, 9)
    images[0, 0, 0] = 16.0
    assert box_mean(images)[0, 0, 0].item() == pytest.approx(1.0)  # 4 x 4 pixels of the 7 x 7 are inside
    assert box_mean(images)[0, 3, 3].item() == pytest.approx(16 / 49)
