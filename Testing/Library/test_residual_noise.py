from dataclasses import replace

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.noise import PoissonGaussian
from FluoroDenoiseLib.training.residual_noise import Pair, measured_by
from FluoroDenoiseLib.training.run_noise import RunNoise, grey_step

CPU = choose("cpu", "float32")
TRUE = RunNoise(PoissonGaussian(0.0, 0.0, 1.0), 0.2, 0.0, 0.35, 0.0, 0.0, levels=(0.0, 10.0), variances=(0.5, 0.9))
TOLD = replace(TRUE, correlation=0.2, variances=(0.6, 1.08))
SHARE = 0.1  # error variance of the guide, of that of the noise


def pair_of(noise, frames=8, side=128, step=0.1):
    """A ramp with noise, and as its guide the ramp with a tenth of such noise."""
    ramp = torch.linspace(0, 10, side).expand(frames, side, side)
    noisy = ramp + torch.stack(list(noise.more(ramp, seed=1)))
    guide = ramp + SHARE**0.5 * torch.stack(list(noise.more(ramp, seed=2)))
    probe = torch.stack(list(TOLD.more(ramp, seed=3)))
    blind = torch.full_like(guide, 3.0)
    sides = (torch.stack([noisy + by * probe, guide, blind, guide, blind], 1).numpy() for by in (-step, step))
    return Pair(*sides, noisy.numpy(), probe.numpy(), step)


def optimal(windows, guides):
    """The best weighted mean of frame and guide."""
    weight = SHARE / (1 + SHARE)
    return weight * windows[:, windows.shape[1] // 2] + (1 - weight) * guides[:, 0]


@pytest.mark.parametrize("guides", ["both", "causal"])
def test_noise_is_found_as_it_is_by_what_a_good_estimate_leaves(guides):
    found = measured_by(optimal, TOLD, pair_of(TRUE), 1, guides, CPU, trained=True)
    assert found.correlation == pytest.approx(TRUE.correlation, abs=0.04)
    np.testing.assert_allclose(found.variances, TRUE.variances, rtol=0.06)


def test_a_share_of_white_noise_is_told_from_a_weaker_blur():
    mixed = replace(TRUE, white=0.2)
    found = measured_by(optimal, TOLD, pair_of(mixed), 1, "both", CPU, trained=True)
    assert found.correlation == pytest.approx(mixed.correlation, abs=0.06) and found.white == pytest.approx(0.2, abs=0.1)


def test_a_network_that_learned_nothing_corrects_the_correlation_alone():
    found = measured_by(optimal, TOLD, pair_of(TRUE), 1, "both", CPU, trained=False)
    assert found.correlation == pytest.approx(TRUE.correlation, abs=0.04) and found.variances == TOLD.variances


def test_under_a_vendors_filter_and_in_tiny_frames_nothing_is_corrected():
    recursed = replace(TOLD, recursion=0.4, persistence=0.4)
    assert measured_by(optimal, recursed, pair_of(TRUE), 1, "both", CPU, True) is recursed
    assert measured_by(optimal, TOLD, pair_of(TRUE, side=48), 1, "both", CPU, True) is TOLD


def test_steps_of_grey_are_found():
    rng = np.random.default_rng(0)
    counts = rng.poisson(40, (64, 64))
    assert grey_step(counts.astype(np.uint8)) == 1
    assert grey_step((70 * counts).astype(np.uint16)) == 70
    assert grey_step((counts / 255).astype(np.float32)) == pytest.approx(1 / 255, rel=1e-3)
    assert grey_step(rng.standard_normal((64, 64))) == 0
