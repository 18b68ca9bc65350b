"""Features of CT learned on CT itself, for a perceptual loss: no network trained on photographs is at hand, or needed.

An encoder of three levels and a small decoder repair slices in which squares are missing. What it must know for that is
what is where, not the grain of the noise; the distance between features of two images is then one of content.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.networks.ct_generator import compress


def _level(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1), nn.LeakyReLU(0.1, inplace=True),
        nn.Conv2d(after, after, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True),
    )


class CtFeatures(nn.Module):
    """Images [B, H, W] in half windows -> features at 1/1, 1/2 and 1/4 of the resolution."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.levels = nn.ModuleList([_level(1, width, 1), _level(width, 2 * width, 2), _level(2 * width, 4 * width, 2)])
        self.repair = nn.Sequential(
            nn.Conv2d(4 * width, 4 * width, 3, 1, 1), nn.LeakyReLU(0.1, inplace=True), nn.Conv2d(4 * width, 16, 1), nn.PixelShuffle(4)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        features, found = compress(images)[:, None], []
        for level in self.levels:
            features = level(features)
            found.append(features)
        return found

    def repaired(self, images: Tensor) -> Tensor:
        """What it takes the whole image for, [B, H, W], compressed; the coarse features decide."""
        return self.repair(self(images)[-1])[:, 0]


def feature_distance(one: list[Tensor], other: list[Tensor]) -> Tensor:
    """mean over levels of mean | a - b |, features of each level divided by their own mean size."""
    parts = []
    for a, b in zip(one[1:], other[1:]):
        parts.append((a - b).abs().mean() / b.detach().abs().mean().clamp(min=1e-3))
    return torch.stack(parts).mean()
