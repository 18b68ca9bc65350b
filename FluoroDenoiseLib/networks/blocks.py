"""The blocks of the networks, in the order a frame meets them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NORMS = ("batch", "group", "none")


def norm_layer(norm: str, channels: int) -> nn.Module:
    """Batch norm, group norm with up to 8 groups, or nothing; two parameters a channel for both norms."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(8, channels), channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"Norm '{norm}' is not known; use one of {', '.join(NORMS)}.")


class MultiScaleFront(nn.Module):
    """Each frame through its own parallel 3x3, 5x5 and 7x7 convolutions, concatenated: [B, N, H, W] -> [B, 96 N, H, W].

    A grouped convolution is N separate ones; the channels are ordered by kernel, then by frame.
    """

    def __init__(self, frames: int, maps: int = 32) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Conv2d(frames, maps * frames, size, padding=size // 2, groups=frames) for size in (3, 5, 7)
        )

    def forward(self, frames: Tensor) -> Tensor:
        return torch.cat([scale(frames) for scale in self.scales], dim=1)


class ConvNormRelu(nn.Sequential):
    """f(x) = ReLU(norm(conv 3x3 (x)))."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels_out, 3, padding=1), norm_layer(norm, channels_out), nn.ReLU(inplace=True)
        )


class RecurrentConv(nn.Module):
    """y = f(z), then t times y <- f(z + y): t + 1 applications of one and the same convolution."""

    def __init__(self, channels: int, recurrences: int, norm: str) -> None:
        super().__init__()
        self.recurrences = recurrences
        self.layer = ConvNormRelu(channels, channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        result = self.layer(features)
        for _ in range(self.recurrences):
            result = self.layer(features + result)
        return result


class RecurrentResidual(nn.Module):
    """z = conv 1x1 (x); z + r2(r1(z)), r1 and r2 recurrent convolutions (R2U-Net, arXiv 1802.06955)."""

    def __init__(self, channels_in: int, channels_out: int, recurrences: int, norm: str) -> None:
        super().__init__()
        self.project = nn.Conv2d(channels_in, channels_out, 1)
        self.recurrent = nn.Sequential(*(RecurrentConv(channels_out, recurrences, norm) for _ in range(2)))

    def forward(self, features: Tensor) -> Tensor:
        projected = self.project(features)
        return projected + self.recurrent(projected)


class ConvPair(nn.Sequential):
    """f2(f1(x)): the double convolution of a plain U-Net."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__(ConvNormRelu(channels_in, channels_out, norm), ConvNormRelu(channels_out, channels_out, norm))


class Upsample(nn.Sequential):
    """g = f(every pixel repeated 2x2): [B, C, H, W] -> [B, C', 2H, 2W]; free of a transposed convolution's chequers."""

    def __init__(self, channels_in: int, channels_out: int, norm: str) -> None:
        super().__init__(nn.Upsample(scale_factor=2, mode="nearest"), ConvNormRelu(channels_in, channels_out, norm))


class AttentionGate(nn.Module):
    """s * sigmoid(norm(conv 1x1 (ReLU(norm(conv 1x1 (g)) + norm(conv 1x1 (s)))))) (Attention U-Net, arXiv 1804.03999).

    g, s: [B, C, H, W], the decoder's features and the encoder's skip; C/2 channels inside, one map out of the sigmoid.
    """

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        inner = max(1, channels // 2)
        self.of_decoder = nn.Sequential(nn.Conv2d(channels, inner, 1), norm_layer(norm, inner))
        self.of_skip = nn.Sequential(nn.Conv2d(channels, inner, 1), norm_layer(norm, inner))
        self.to_map = nn.Sequential(nn.Conv2d(inner, 1, 1), norm_layer(norm, 1), nn.Sigmoid())

    def forward(self, decoder: Tensor, skip: Tensor) -> Tensor:
        return skip * self.to_map(torch.relu(self.of_decoder(decoder) + self.of_skip(skip)))
