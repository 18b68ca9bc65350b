"""The student of step 2: a plain U-Net that sees one frame, so that it runs alone and fast at inference.

    output = x + conv1x1(U(x - l)),   l = mean of x over the frame (a number per sample)
    U: encoder  e1 = ff(x), ek = ff(maxpool e(k-1)),   widths b, 2b, 4b, ...
       decoder  g = f(upsample d(k+1)), dk = ff([ek, g]),   ff two 3x3 convolutions with ReLU

Without a norm (Ronneberger et al., arXiv 1505.04597, has none), a tile of a frame gives exactly what the frame gives.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.networks.blocks import ConvPair, Upsample


class StudentUNet(nn.Module):
    """Clean frames [B, H, W] from single noisy ones [B, 1, H, W], stabilised domain.

    H and W are multiples of `stride`; Tiled pads for it. The last convolution predicts the noise, taken in the frame's
    own precision.
    """

    radius = 0
    guides = "none"

    def __init__(self, width: int = 32, levels: int = 4, norm: str = "none") -> None:
        super().__init__()
        self.stride = 2 ** (levels - 1)
        self.receptive_radius = sum(2 * 2**level for level in range(levels)) + (3 + 1) * (2 ** (levels - 1) - 1)
        widths = [width * 2**level for level in range(levels)]
        self.encoder = nn.ModuleList(
            ConvPair(channels_in, channels_out, norm) for channels_in, channels_out in zip([1, *widths], widths)
        )
        self.pool = nn.MaxPool2d(2)
        self.upsamples = nn.ModuleList(Upsample(2 * channels, channels, norm) for channels in widths[:-1])
        self.decoder = nn.ModuleList(ConvPair(2 * channels, channels, norm) for channels in widths[:-1])
        self.tail = nn.Conv2d(width, 1, 1)

    def forward(self, windows: Tensor, guides: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """level: [B, 1, 1, 1], the grey level taken for zero; by default that of these frames."""
        if windows.shape[1] != 1:
            raise ValueError(f"The student sees one frame at a time, not windows of {windows.shape[1]}.")
        features, skips = windows - (self.level(windows) if level is None else level), []
        for block in self.encoder:
            features = block(self.pool(features) if skips else features)
            skips.append(features)
        for upsample, block, skip in reversed([*zip(self.upsamples, self.decoder, skips)]):
            features = block(torch.cat([skip, upsample(features)], dim=1))
        return self.tail(features)[:, 0] + windows[:, 0]

    def level(self, windows: Tensor) -> Tensor:
        """The mean grey level of each frame, [B, 1, 1, 1]."""
        return windows.mean(dim=(1, 2, 3), keepdim=True)
