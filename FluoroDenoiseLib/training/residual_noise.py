"""The noise of a run, measured once more by what a network that never saw it takes away.

What is left when its estimate is taken from the frame is nearly all noise. In any band of frequencies, with noise of
variance v of which the network lets the share h through, and an error e of its estimate,

    E |o - f|^2  =  v - 2 h v + e,      and e = h v for the best estimate there is:     v = E |o - f|^2 / (1 - h)

so that an error of a tenth in h v costs a hundredth in v. h is seen by adding noise to the window. Differences between
frames, by which noise is measured first, take motion for noise and cannot see the noise that is coarser than their blocks;
those tell the network, these tell the risk. Not for weights trained on the risk of the same run: they agree with any v.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.detector import blur, noise_gain, transfer_function
from FluoroDenoiseLib.training.run_noise import LARGEST_CORRELATION, RunNoise
from FluoroDenoiseLib.windows import window_indices

SIDE = 64
RING_EDGES = (1.5, 2.5, 3.5, 5, 7, 10, 14, 19, 25, 32.5)  # in cycles a tile; below the first lies what drifts
FRAMES = 8
PROBE_STEP = 0.15
TRUSTED_SCALES = (0.6, 1.15)  # of the variance; beyond, the network and not the first measurement is taken to be wrong
MOST_COUNTED = 60  # coefficients of a ring from which on it is known well enough


def measured_by(
    network: nn.Module, noise: RunNoise, planes: np.ndarray, radius: int, guides: str, compute: Compute, trained: bool
) -> RunNoise:
    """The noise with its correlation and, by a trained network, its variance corrected.

    planes: [T, 5 or more, H, W], relative frames, then the recursion's guides. Frames smaller than a tile, and those of a
    vendor's recursive filter, whose lag would count as noise, stay as they were measured first.
    """
    if noise.recursion > 0 or min(planes.shape[-2:]) < SIDE:
        return noise
    left, through = _bands(network, noise, planes, radius, guides, compute)
    correlation, scale = _fitted(left / (1 - through.clamp(0, 0.9)))
    scale = min(max(scale, TRUSTED_SCALES[0]), TRUSTED_SCALES[1]) if trained else 1.0
    return replace(noise, correlation=correlation, variances=tuple(scale * variance for variance in noise.variances))


@torch.no_grad()
def _bands(network: nn.Module, noise: RunNoise, planes: np.ndarray, radius: int, guides: str, compute: Compute) -> tuple[Tensor, Tensor]:
    """Of each ring: the power of what is left, median over tiles, in units of the noise's variance; and the share let through."""
    generator = torch.Generator().manual_seed(0)
    left, sent, passed = [], [], []
    first, last = min(2, len(planes) - 1), max(0, len(planes) - 3)
    for frame in sorted({round(place) for place in np.linspace(first, last, FRAMES)}):
        window = torch.from_numpy(planes[window_indices(frame, radius, len(planes)), 0].astype(np.float32))
        guide = torch.from_numpy(planes[frame, 1 : 3 if guides == "causal" else 5].astype(np.float32))
        sigma = noise.sigma(window[radius])
        probe = blur(torch.randn(window.shape, generator=generator), noise.correlation) / noise_gain(noise.correlation) ** 0.5
        height, width = (length // 16 * 16 for length in sigma.shape)
        both = torch.stack([window, window + PROBE_STEP * sigma * probe])[..., :height, :width]
        same = torch.stack([guide, guide])[..., :height, :width]
        with compute.autocast():
            estimate, moved = network(both.to(compute.torch_device), same.to(compute.torch_device)).float().cpu()
        sigma, probe = sigma[:height, :width], probe[radius, :height, :width]
        left.append(_rings(_spectra((both[0, radius] - estimate) / sigma).abs().square()))
        spectrum = _spectra(probe)
        sent.append(_rings(spectrum.abs().square()).sum(0))
        passed.append(_rings((spectrum.conj() * _spectra((moved - estimate) / sigma / PROBE_STEP)).real).sum(0))
    freedom = _counts() / 2.25  # the taper's 1.5 an axis
    median_over_mean = (1 - 2 / (9 * freedom)) ** 3
    return torch.cat(left).median(0).values / median_over_mean, sum(passed) / sum(sent)


def _fitted(power: Tensor) -> tuple[float, float]:
    """The correlation whose detector has a spectrum of this shape, and the variance in all."""
    weight = _counts().clamp(max=MOST_COUNTED)
    best = (float("inf"), 0.0, 1.0)
    for correlation in np.arange(0, LARGEST_CORRELATION + 0.005, 0.01):
        spectrum = transfer_function(SIDE, SIDE, float(correlation)).square() / noise_gain(float(correlation))
        apart = (power / _rings(spectrum[None])[0]).log()
        mean = (weight * apart).sum() / weight.sum()
        misfit = float((weight * (apart - mean).square()).sum())
        best = min(best, (misfit, float(correlation), float(mean.exp())))
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
