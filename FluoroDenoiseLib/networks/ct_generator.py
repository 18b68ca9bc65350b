"""The generator of the unpaired training: U-Net features, attention that fuses them, residual blocks that transform them.

After Pu et al. (arXiv 2605.00793), of which only the abstract is known to us; widths and places are ours.

    v = compress(x), and the noise asked for where there is one          x in units of half the soft-tissue window
    e0 = f(conv 7x7 v) [w], e1 = f(down e0) [2w], e2 = f(down e1) [4w]   f: norm and leaky ReLU
    t  = residual blocks (e2)
    d1 = f(conv(fuse(up t, e1))), d0 = f(conv(fuse(up d1, e0)))
    fuse(g, s) = conv 1x1 ( spatial( channel( [g, s] ) ) )
    output = keep_level(x, x + tanh(conv 7x7 d0)),  or x + asked + tanh(conv 7x7 d0)

channel: squeeze and excitation over means (arXiv 1709.01507), spatial: a 7x7 map from the mean and the largest of the
channels (CBAM, arXiv 1807.06521). What the network adds is at most half a window; what it takes away has no local mean (level.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.networks.level import LEVEL_REACH, keep_level

SOFT = 3.0  # half windows beyond which values are compressed: bone and air are seen, but do not dominate
CHANNEL_RATIO = 16
LEAK = 0.01  # enough to wake a silent unit
SPATIAL_SIZE = 7


def compress(values: Tensor) -> Tensor:
    """Linear in the soft-tissue window, logarithmic far outside of it."""
    return SOFT * torch.asinh(values / SOFT)


def _norm(norm: str, channels: int) -> nn.Module:
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=True)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"Norm '{norm}' is not known; use instance or none.")


class ConvNormLeaky(nn.Sequential):
    """Leaky, since without a norm plain units die: after 1,700 steps all of the last layer's had, and the output was the input."""

    def __init__(self, channels_in: int, channels_out: int, size: int, norm: str, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, size, stride, (size - 1) // 2, padding_mode="reflect"),
            _norm(norm, channels_out), nn.LeakyReLU(LEAK, inplace=True),
        )


class TransformBlock(nn.Module):
    """y = x + norm(conv(f(x)))."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first = ConvNormLeaky(channels, channels, 3, norm)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect"), _norm(norm, channels))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.second(self.first(features))


class ChannelAttention(nn.Module):
    """Each channel times a number between 0 and 1 that all channels' means decide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(4, channels // CHANNEL_RATIO)
        self.weigh = nn.Sequential(nn.Conv2d(channels, inner, 1), nn.ReLU(inplace=True), nn.Conv2d(inner, channels, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        return features * self.weigh(features.mean((-2, -1), keepdim=True))


class SpatialAttention(nn.Module):
    """Each pixel times a number between 0 and 1 that its neighbourhood decides."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(2, 1, SPATIAL_SIZE, padding=SPATIAL_SIZE // 2, padding_mode="reflect")

    def forward(self, features: Tensor) -> Tensor:
        seen = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        return features * torch.sigmoid(self.weigh(seen))


class AttentionFusion(nn.Module):
    """The decoder's features and the encoder's skip, [B, C, H, W] each, weighed and brought to one [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelAttention(2 * channels)
        self.spatial = SpatialAttention()
        self.join = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, decoder: Tensor, skip: Tensor) -> Tensor:
        return self.join(self.spatial(self.channel(torch.cat([decoder, skip], 1))))


class CtGenerator(nn.Module):
    """Slices [B, 1, H, W] -> [B, H, W], both in half soft-tissue windows from its centre; H and W multiples of `stride`.

    asks: whether it takes a second image [B, H, W], the noise to put in. It begins as the identity (plus that noise).
    """

    radius = 0
    guides = "none"
    stride = 4

    def __init__(self, width: int = 64, blocks: int = 6, norm: str = "instance", asks: bool = False) -> None:
        super().__init__()
        self.asks = asks
        self.receptive_radius = 3 + 2 + 4 + 4 * 2 * blocks + 2 + 2 + 3 + 1 + 3 + 3 + 2 * LEVEL_REACH
        self.stem = ConvNormLeaky(1 + asks, width, 7, norm)
        self.down1 = ConvNormLeaky(width, 2 * width, 4, norm, stride=2)
        self.down2 = ConvNormLeaky(2 * width, 4 * width, 4, norm, stride=2)
        self.transform = nn.Sequential(*(TransformBlock(4 * width, norm) for _ in range(blocks)))
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up1 = ConvNormLeaky(4 * width, 2 * width, 3, norm)
        self.up0 = ConvNormLeaky(2 * width, width, 3, norm)
        self.fuse1, self.fuse0 = AttentionFusion(2 * width), AttentionFusion(width)
        self.join1, self.join0 = ConvNormLeaky(2 * width, 2 * width, 3, norm), ConvNormLeaky(width, width, 3, norm)
        self.tail = nn.Conv2d(width, 1, 7, padding=3, padding_mode="reflect")
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, windows: Tensor, guides: Tensor | None = None) -> Tensor:
        """guides: [B, 1, H, W], the noise asked for, of a generator that asks."""
        seen, given = compress(windows), windows[:, 0]
        if self.asks:
            seen, given = torch.cat([seen, guides], 1), given + guides[:, 0]
        e0 = self.stem(seen)
        e1 = self.down1(e0)
        features = self.transform(self.down2(e1))
        features = self.join1(self.fuse1(self.up1(self.up(features)), e1))
        features = self.join0(self.fuse0(self.up0(self.up(features)), e0))
        made = given + torch.tanh(self.tail(features)[:, 0].float())
        return made if self.asks else keep_level(given, made)
