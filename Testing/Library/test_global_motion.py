"""The motion of the whole picture: exact where there is one, zero at rest, blind to a tool that moves otherwise."""

import pytest
import torch

from FluoroDenoiseLib.global_motion import affine_flow, global_motion
from FluoroDenoiseLib.motion import smooth, warp
from FluoroDenoiseLib.recursion import Recursion

SIZE = 96


def anatomy(seed=0):
    """A smooth random picture whose structures stand out of noise of deviation 1; [1, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    picture = smooth(torch.randn(1, SIZE, SIZE, generator=generator), 4.0)
    return 8 * picture / picture.std()


def noise(seed):
    return torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def error_px(found, true):
    inside = (slice(None), slice(None), slice(10, -10), slice(10, -10))
    return float((affine_flow(found, SIZE, SIZE) - affine_flow(true, SIZE, SIZE))[inside].norm(dim=1).max())


def moved(picture, parameters):
    """The target whose content lies at p + flow(p) in `picture`."""
    return warp(picture[None], affine_flow(parameters, SIZE, SIZE))[0]


@pytest.mark.parametrize(
    "parameters", [(0, 0, 0, 0, 0, 0), (1.6, 0, 0, -2.3, 0, 0), (7.4, 0, 0, 3.1, 0, 0), (0.5, 0.4, -0.6, 0.2, 0.6, 0.3)]
)
def test_a_motion_of_the_whole_picture_is_found_in_noise(parameters):
    true = torch.tensor(parameters, dtype=torch.float32)
    source = anatomy()
    target = moved(source, true)
    found = global_motion(smooth(target + noise(1), 1.0), smooth(source + noise(2), 1.0))
    assert error_px(found, true) < 0.1


def test_a_picture_at_rest_is_hardly_moved_by_its_noise():
    source = anatomy()
    found = global_motion(smooth(source + noise(1), 1.0), smooth(source + 0.2 * noise(2), 1.0))
    assert error_px(found, torch.zeros(6)) < 0.05


def test_flat_noise_does_not_move():
    assert error_px(global_motion(smooth(noise(1), 1.0), smooth(noise(2), 1.0)), torch.zeros(6)) == 0


def test_a_tool_that_moves_otherwise_does_not_pull_the_picture_along():
    source, true = anatomy(), torch.tensor([1.5, 0, 0, 0.5, 0, 0])
    target = moved(source, true)
    source[:, :, 40:44] -= 15
    target[:, :, 52:56] -= 15
    assert error_px(global_motion(smooth(target, 1.0), smooth(source, 1.0)), true) < 0.15


def test_the_recursion_of_a_still_noisy_scene_averages_almost_as_well_as_a_mean():
    clean = anatomy()[0]
    state = None
    for seed in range(12):
        step, state = Recursion().step(clean + noise(10 + seed)[0], state)
    error = (step.estimate - clean)[10:-10, 10:-10].square().mean()
    assert error < 2.0 / 12  # a mean of all twelve frames leaves 1/12
