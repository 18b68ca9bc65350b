"""The noise of a run, measured once more by what a network that never saw it takes away.

What is left when its estimate is taken from the frame is nearly all noise. In any band of frequencies, with noise of
variance v of which the network lets the share h through, and an error e of its estimate,

    E |o - f|^2  =  v - 2 h v + e,      and e = h v for the best estimate there is:     v = E |o - f|^2 / (1 - h)

so that an error of a tenth in h v costs a hundredth in v. h is seen by adding noise to the run, recursion and all: coarse
noise passes for motion, and goes through it. Differences between frames, by which noise is measured first, take motion for noise and cannot see the noise that is coarser than their blocks;
those tell the network, these tell the risk. Not for weights trained on the risk of the same run: they agree with any v.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.detector import noise_gain, transfer_function
from FluoroDenoiseLib.training.run_noise import LARGEST_CORRELATION, RunNoise
from FluoroDenoiseLib.windows import window_indices

SIDE = 64
RING_EDGES = (1.5, 2.5, 3.5, 5, 7, 10, 14, 19, 25, 32.5)  # in cycles a tile; below the first lies what drifts
ENDS = 2  # frames at either end where the recursion has no memory yet
WHITE_SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
TRUSTED_SCALES = (0.6, 1.15)  # of the variance; beyond, the network and not the first measurement is taken to be wrong


class Pair(NamedTuple):
    """Some frames of a run with noise taken off and with it added, each [T, 5, H, W]: frame, then the recursion's guides.

    target, probe: [T, H, W], the frames as acquired and that noise; step: how much of it.
    """

    below: np.ndarray
    above: np.ndarray
    target: np.ndarray
    probe: np.ndarray
    step: float


def measured_by(
    network: nn.Module, noise: RunNoise, pair: Pair, radius: int, guides: str, compute: Compute, trained: bool
) -> RunNoise:
    """The noise with its correlation and, by a trained network, its variance corrected.

    Frames smaller than a tile, and those of a vendor's recursive filter, whose lag would count as noise, stay as they were
    measured first.
    """
    if noise.recursion > 0 or min(pair.target.shape[-2:]) < SIDE:
        return noise
    left, through = _bands(network, noise, pair, radius, guides, compute)
    correlation, white, scale = _fitted(left / (1 - through.clamp(0, 0.9)))
    scale = min(max(scale, TRUSTED_SCALES[0]), TRUSTED_SCALES[1]) if trained else 1.0
    variances = tuple(scale * variance for variance in noise.variances)
    return replace(noise, correlation=correlation, white=white, variances=variances)


@torch.no_grad()
def _bands(network: nn.Module, noise: RunNoise, pair: Pair, radius: int, guides: str, compute: Compute) -> tuple[Tensor, Tensor]:
    """Of each ring: the power of what is left, median over tiles, in units of the noise's variance; and the share let through."""
    left, sent, passed = [], [], []
    count = len(pair.target)
    height, width = (length // 16 * 16 for length in pair.target.shape[-2:])
    for frame in range(count)[ENDS:-ENDS] if count > 2 * ENDS else range(count):
        sides = []
        for planes in (pair.below, pair.above):
            window = planes[window_indices(frame, radius, count), 0, :height, :width]
            guide = planes[frame, 1 : 3 if guides == "causal" else 5, :height, :width]
            inputs = (torch.from_numpy(np.array(part, np.float32))[None].to(compute.torch_device) for part in (window, guide))
            with compute.autocast():
                sides.append(network(*inputs)[0].float().cpu())
        target, probe = (torch.from_numpy(np.array(part[frame, :height, :width], np.float32)) for part in (pair.target, pair.probe))
        sigma = noise.sigma(target)
        left.append(_rings(_spectra((target - (sides[0] + sides[1]) / 2) / sigma).abs().square()))
        spectrum = _spectra(probe / sigma)
        sent.append(_rings(spectrum.abs().square()).sum(0))
        passed.append(_rings((spectrum.conj() * _spectra((sides[1] - sides[0]) / sigma / (2 * pair.step))).real).sum(0))
    freedom = _counts() / 2.25  # the taper's 1.5 an axis
    median_over_mean = (1 - 2 / (9 * freedom)) ** 3
    return torch.cat(left).median(0).values / median_over_mean, sum(passed) / sum(sent)


def _fitted(power: Tensor) -> tuple[float, float, float]:
    """The correlation of a detector and the share of white noise whose spectrum has this shape, and the variance in all."""
    best = (float("inf"), 0.0, 0.0, 1.0)
    for correlation in np.arange(0, LARGEST_CORRELATION + 0.005, 0.01):
        spectrum = transfer_function(SIDE, SIDE, float(correlation)).square() / noise_gain(float(correlation))
        blurred = _rings(spectrum[None])[0]
        for white in WHITE_SHARES if correlation > 0 else (0.0,):
            apart = (power / ((1 - white) * blurred + white)).log()
            misfit = float((apart - apart.mean()).square().sum())
            best = min(best, (misfit, float(correlation), white, float(apart.mean().exp())))
    return best[1:]


def _spectra(image: Tensor) -> Tensor:
    """Spectra [N, SIDE, SIDE // 2 + 1] of tiles that overlap by half, tapered; unit white noise has unit power."""
    hann = torch.hann_window(SIDE, periodic=False)
    taper = hann[:, None] * hann
    tiles = image.unfold(-2, SIDE, SIDE // 2).unfold(-2, SIDE, SIDE // 2).reshape(-1, SIDE, SIDE)
    tiles = tiles - tiles.mean((-2, -1), keepdim=True)
    return torch.fft.rfft2(tiles * taper, norm="ortho") / taper.square().mean().sqrt()


def _rings(power: Tensor) -> Tensor:
    """The mean of [N, SIDE, SIDE // 2 + 1] over every ring of frequencies, [N, rings]."""
    numbers, weights = _ring_numbers()
    inside = numbers >= 0
    sums = torch.zeros(len(power), len(RING_EDGES) - 1)
    sums = sums.index_add(1, numbers[inside], (power.flatten(1) * weights)[:, inside])
    return sums / _counts()


def _counts() -> Tensor:
    """How many coefficients a ring has."""
    numbers, weights = _ring_numbers()
    inside = numbers >= 0
    return torch.zeros(len(RING_EDGES) - 1).index_add(0, numbers[inside], weights[inside])


def _ring_numbers() -> tuple[Tensor, Tensor]:
    """The ring of every coefficient of a half plane, flat, -1 outside all; and how often the whole plane has it."""
    radius = SIDE * torch.hypot(torch.fft.fftfreq(SIDE)[:, None], torch.fft.rfftfreq(SIDE)[None]).flatten()
    numbers = torch.bucketize(radius, torch.tensor(RING_EDGES)) - 1
    weights = torch.full((SIDE, SIDE // 2 + 1), 2.0)
    weights[:, 0] = weights[:, -1] = 1.0
    return numbers.masked_fill(numbers == len(RING_EDGES) - 1, -1), weights.flatten()
