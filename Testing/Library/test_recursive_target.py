"""The recursive target: its weights, what it leaves of noise, and that its centre is not in it."""

import pytest
import torch

from FluoroDenoiseLib.motion import smooth, warp
from FluoroDenoiseLib.recursion import Recursion
from FluoroDenoiseLib.training.recursive_target import recursive_filter, recursive_target, tracked_target, warp_gain

OFFSETS = (-2, -1, 1, 2)


def noise(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moving_run(frames=5, size=64, step=2.0):
    """Smooth anatomy that moves `step` pixels to the left with every frame, without noise, [T, size, size]."""
    wide = 8 * smooth(noise(0, size + 32, size + 32), 3.0) * 3.0
    flows = [torch.tensor([step * index, 0.0]).view(1, 2, 1, 1).expand(1, 2, *wide.shape) for index in range(frames)]
    return torch.stack([warp(wide, flow)[16:-16, 16:-16] for flow in flows])


def test_the_weights_sum_to_one_and_are_those_of_the_note():
    weights = [float(recursive_filter(one[:, None, None], OFFSETS, 0.2).target) for one in torch.eye(4)]
    assert weights == pytest.approx([0.2222, 0.2778, 0.2778, 0.2222], abs=1e-4)
    assert sum(weights) == pytest.approx(1)


@pytest.mark.parametrize("confidence", [None, noise(1, 4, 8, 8).abs().clamp(max=1), torch.zeros(4, 8, 8)])
def test_a_constant_stays_that_constant(confidence):
    result = recursive_filter(torch.full((4, 8, 8), 37.5), OFFSETS, 0.2, confidence)
    torch.testing.assert_close(result.target, torch.full((8, 8), 37.5))


@pytest.mark.parametrize("flow", [True, False])
def test_a_constant_run_gives_a_constant_target_with_and_without_flow(flow):
    frames = torch.full((5, 32, 32), -4.0)
    torch.testing.assert_close(recursive_target(frames, frames, 2, flow=flow).target, frames[2])


def test_the_variance_on_white_noise_is_the_sum_of_squared_weights():
    result = recursive_filter(noise(2, 4, 256, 256), OFFSETS, 0.2)
    assert result.variance.unique().item() == pytest.approx(0.253, abs=1e-3)
    assert result.target.var().item() == pytest.approx(0.253, rel=0.03)


def test_the_variance_counts_confidence_and_what_warping_takes():
    confidence = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(4, 1, 1).expand(4, 256, 256)
    flow = torch.full((4, 2, 256, 256), 0.3)
    frames = warp(noise(3, 4, 1, 256, 256), flow)[:, 0]
    result = recursive_filter(frames, OFFSETS, 0.2, confidence, warp_gain(flow))
    assert result.target.var().item() == pytest.approx(result.variance.mean().item(), rel=0.05)
    assert result.validity.mean().item() == pytest.approx(0.5)


def test_a_warp_by_whole_pixels_leaves_all_noise_and_half_a_pixel_least():
    gains = [warp_gain(torch.full((1, 2, 4, 4), shift)).mean().item() for shift in (0.0, -3.0, 0.25, 0.5)]
    assert gains[:2] == pytest.approx([1, 1]) and gains[2] > gains[3] == pytest.approx(0.57, abs=0.01)


def test_the_centre_frame_is_not_in_the_target():
    guides = moving_run()
    frames = guides + noise(4, *guides.shape)
    changed = frames.clone()
    changed[2] = float("nan")
    for flow in (True, False):
        assert torch.equal(recursive_target(frames, guides, 2, flow=flow).target,
                           recursive_target(changed, guides, 2, flow=flow).target)


def test_with_flow_the_target_is_the_centre_and_without_it_is_blurred():
    run = moving_run()
    inside = (slice(12, -12), slice(12, -12))
    errors = [(recursive_target(run, run, 2, flow=flow).target - run[2])[inside].square().mean().sqrt().item()
              for flow in (True, False)]
    assert errors[0] < 0.1 and errors[1] > 5 * errors[0]


def test_at_the_ends_the_other_neighbours_take_the_weight():
    frames = torch.arange(3.0)[:, None, None].expand(3, 16, 16)
    first = recursive_target(frames, frames, 0, flow=False)
    assert first.target.unique().item() == pytest.approx((0.8 * 1 + 0.64 * 2) / 1.44)
    mirrored = recursive_filter(frames[[2, 1, 1, 2]], OFFSETS, 0.2)
    torch.testing.assert_close(first.target, mirrored.target)


def test_what_has_no_neighbours_or_no_sense_is_refused():
    with pytest.raises(ValueError, match="A run of 1 frame has no neighbours"):
        recursive_target(torch.zeros(1, 16, 16), torch.zeros(1, 16, 16), 0)
    with pytest.raises(ValueError, match="weight is 1.5"):
        recursive_filter(torch.zeros(4, 8, 8), OFFSETS, 1.5)
    with pytest.raises(ValueError, match="centre frame is among"):
        recursive_filter(torch.zeros(3, 8, 8), (-1, 0, 1), 0.2)


def test_the_tracked_target_weighs_past_and_future_by_what_they_know():
    frames = list(moving_run(4) + 0.5 * noise(5, 4, 64, 64))
    steps = list(Recursion().both_ways(frames))
    first, middle = tracked_target(steps[0]), tracked_target(steps[2])
    known = first.validity > 0
    assert known.float().mean() > 0.9  # what comes in at the border has no future either
    torch.testing.assert_close(first.target[known], steps[0].backward[known])  # the past of the first frame is that frame
    both = torch.maximum(steps[2].forward_variance, steps[2].backward_variance) < Recursion.unknown_variance
    expected = 1 / (1 / steps[2].forward_variance + 1 / steps[2].backward_variance)
    torch.testing.assert_close(middle.variance[both], expected[both])
    alone = next(Recursion().both_ways(frames[:1]))
    assert tracked_target(alone).validity.max() == 0
