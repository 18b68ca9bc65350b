"""The noise of CT slices: how strong it is where, and what texture it has.

Strength: in a band of spatial frequencies (a Gaussian of 1 pixel less one of 2) that holds much of the noise of filtered
back-projection with any kernel and little anatomy; in windows of 48 pixels the 30th percentile of its size, which edges do
not reach. In these units of "its own noise" a network sees every dose, scanner and part of the body alike.
Texture: the noise power spectrum of differences of neighbouring slices, from patches that other slices know to be flat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from FluoroDenoiseLib.errors import UnsupportedError

WINDOW, STRIDE = 48, 16
QUANTILE = 0.30
SIZE_AT_QUANTILE = 0.3853  # of a normal variable of deviation 1
BAND_SHARE = 0.30  # deviation in the band of noise of deviation 1 with a kernel of middling softness
SMALLEST_HU = 1.0
BODY_HU = -500.0
LOWEST_SHARE = 0.3  # of the body's noise, below which no place of the slice is taken to be
PATCH = 32
MOST_SLICES = 24
FLAT_SHARE = 0.3
SURE_SHARE = 0.9
LARGEST_CORRELATION = 0.6


def blur(images: Tensor, sigma: float) -> Tensor:
    """[B, 1, H, W] blurred by a Gaussian of `sigma` pixels, in float32 at any precision of the networks."""
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=images.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(images, (reach,) * 4, mode="replicate")
    with torch.autocast(images.device.type, enabled=False):
        return functional.conv2d(functional.conv2d(padded, kernel[None, None, :, None]), kernel[None, None, None])


def band(images: Tensor) -> Tensor:
    """[B, H, W] -> what lies between a blur of 1 and one of 2 pixels, [B, H, W]."""
    images = images[:, None]
    return (blur(images, 1.0) - blur(images, 2.0))[:, 0]


def noise_level(slices_hu: Tensor) -> Tensor:
    """The local deviation of the noise of slices [B, H, W] in HU, smooth over centimetres, [B, H, W], at least 1 HU."""
    slices_hu = slices_hu.float()
    return local_deviation(band(slices_hu) / BAND_SHARE, slices_hu)


def local_deviation(seen: Tensor, slices_hu: Tensor) -> Tensor:
    """The deviation of the noise in `seen` [B, H, W], of mean 0 and with few edges, smooth over centimetres, at least 1 HU.

    slices_hu: where it is from, which tell the body from the air. Returns [B, H, W].
    """
    height, width = slices_hu.shape[-2:]
    size = (min(WINDOW, height), min(WINDOW, width))
    windows = functional.unfold(seen.abs()[:, None], size, stride=STRIDE)
    order = int(QUANTILE * windows.shape[1])
    coarse = windows.kthvalue(order + 1, dim=1).values / SIZE_AT_QUANTILE
    body = functional.unfold(slices_hu[:, None], size, stride=STRIDE).mean(1) > BODY_HU
    floor = torch.stack([level[inside].median() if inside.any() else level.max() for level, inside in zip(coarse, body)])
    coarse = coarse.maximum(LOWEST_SHARE * floor[:, None]).clamp(min=SMALLEST_HU)
    grid = [(length - window) // STRIDE + 1 for length, window in zip((height, width), size)]
    coarse = coarse.unflatten(1, grid)[:, None]
    return _spread(_spread(coarse, height, size[0], -2), width, size[1], -1)[:, 0]


def _spread(coarse: Tensor, length: int, window: int, axis: int) -> Tensor:
    """Values at the middles of windows along an axis -> at every pixel, linear between and constant beyond."""
    place = ((torch.arange(length, device=coarse.device) - (window - 1) / 2) / STRIDE).clamp(0, coarse.shape[axis] - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=coarse.shape[axis] - 1)
    share = (place - before).reshape([-1, 1] if axis == -2 else [-1])
    return torch.lerp(coarse.index_select(axis, before), coarse.index_select(axis, after), share)


@dataclass(frozen=True)
class CtTexture:
    """Noise in units of noise_level. power: [32, 32], its spectrum, mean = variance. between_slices: the correlation of
    neighbouring slices' noise."""

    power: np.ndarray
    between_slices: float

    @property
    def variance(self) -> float:
        return float(self.power.mean())

    def drawn(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        """Noise [..., D, H, W] of this kind; D neighbouring slices."""
        white = torch.randn(shape, generator=generator)
        power = functional.interpolate(
            torch.from_numpy(np.fft.fftshift(self.power)).float()[None, None], shape[-2:], mode="bilinear", align_corners=False
        )[0, 0]
        power = torch.fft.ifftshift(power * (self.variance / float(power.mean())))
        noise = torch.fft.ifft2(torch.fft.fft2(white) * power.sqrt()).real
        return _correlated(noise, self.between_slices)


def _correlated(noise: Tensor, correlation: float) -> Tensor:
    """Neighbours along axis -3 correlated, each as strong as before: x_k' = r x_(k-1)' + sqrt(1 - r^2) x_k."""
    if correlation <= 0:
        return noise
    made = [noise[..., 0, :, :]]
    for k in range(1, noise.shape[-3]):
        made.append(correlation * made[-1] + math.sqrt(1 - correlation**2) * noise[..., k, :, :])
    return torch.stack(made, -3)


def measure_texture(slices_hu: Sequence[np.ndarray]) -> CtTexture:
    """The texture of the noise of a volume from its slices [H, W] in HU, at most 24 of them.

    UnsupportedError for fewer than four slices, or where no part of a body is flat.
    """
    if len(slices_hu) < 4:
        raise UnsupportedError(f"The volume has {len(slices_hu)} slices, but to learn from its own noise 4 are needed; use --preset ct.")
    first = max(0, (len(slices_hu) - MOST_SLICES) // 2)
    chosen = range(first, min(len(slices_hu), first + MOST_SLICES))
    volume = torch.stack([torch.as_tensor(np.asarray(slices_hu[k], np.float32)) for k in chosen])
    inside = (_patches(volume).amin((-2, -1)) > BODY_HU)[:-1]
    taken = volume / torch.cat([noise_level(one[None]) for one in volume])
    differences = (taken[1:] - taken[:-1]) / math.sqrt(2)
    patches, flat = _patches(differences), _flat(taken, differences, inside)
    if not flat.any():
        raise UnsupportedError("No part of the volume is even enough to show its noise; use --preset ct.")
    correlation = _between(taken, flat)
    window = torch.hann_window(PATCH, periodic=True)
    window = window[:, None] * window[None]
    found = patches[flat]
    found = found - found.mean((-2, -1), keepdim=True)
    power = torch.fft.fft2(found * window).abs().square().mean(0) / window.square().sum()
    power = 0.5 * (power + power.flip((-2, -1)).roll((1, 1), (-2, -1)))
    return CtTexture((power / (1 - correlation)).double().numpy(), correlation)


def cautious(texture: CtTexture) -> CtTexture:
    """Noise that the volume certainly has: at every frequency nine tenths of the least power there and next to it.

    Where a probe has more power than the noise, Stein's estimate asks for a response below zero, and a network finds every such
    frequency; where it has less, the share of the noise that is missing merely stays.
    """
    power = torch.from_numpy(texture.power)
    around = [power.roll((down, right), (-2, -1)) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return CtTexture((SURE_SHARE * torch.stack(around).amin(0)).numpy(), texture.between_slices)


def _flat(taken: Tensor, differences: Tensor, inside: Tensor) -> Tensor:
    """Which patches [Z - 1, N] to measure: those even in other slices, so that none is chosen for its own luck."""
    structure = _patches(taken).flatten(-2).std(-1)
    strength = _patches(differences).square().mean((-2, -1))
    count = len(differences)
    other = torch.tensor([k + 2 if k + 2 < count else max(k - 2, 0) for k in range(count)])
    known = strength[other] + structure[other].square()
    limit = known[inside].quantile(FLAT_SHARE) if inside.any() else 0.0
    return inside & (known <= limit)


def _between(taken: Tensor, flat: Tensor) -> float:
    """The correlation of neighbouring slices' noise over the flat patches, in the band.

    What the slices have in common besides noise raises the product of neighbours, and what they have not raises the
    differences of distant ones: of the two estimates the lower.
    """
    seen = _patches(band(taken))
    one, other = seen[:-1][flat], seen[1:][flat]
    product = float((one * other).mean() / (0.5 * (one.square() + other.square())).mean())
    distance = min(3, len(taken) - 1)
    far = (seen[distance:] - seen[:-distance])[flat[: len(taken) - distance]].square().mean()
    by_distance = 1 - float((one - other).square().mean() / far)
    return min(max(min(product, by_distance), 0.0), LARGEST_CORRELATION)


def _patches(images: Tensor) -> Tensor:
    """[Z, H, W] -> [Z, N, 32, 32], half overlapping."""
    return images.unfold(-2, PATCH, PATCH // 2).unfold(-2, PATCH, PATCH // 2).flatten(1, 2)
