"""MSR2AU-Net: the multi-scale recurrent residual attention U-Net of Jeon et al. (arXiv 2411.00830), step 1.

    m = mean of the input frames [B, H, W],   l = mean of m over the frame (a number per sample)
    output = m + conv1x1(conv1x1(U(front(frames - l))))
    front: each frame through its own 3x3, 5x5, 7x7 convolutions, 32 maps each
    U:     encoder  e1 = RR(front), ek = RR(maxpool e(k-1)),                  widths b, 2b, 4b, 8b
           decoder  g = f(upsample d(k+1)), dk = RR([gate(g, ek), g])        d(levels) = e(levels)
    RR:    z = conv1x1(x); z + r(r(z)), r: y = f(z), then t times y <- f(z + y)

Blind, the centre frame is in neither the convolutions nor m: the output cannot hold its noise, so that the noisy centre
is a valid target (Noise2Noise). The authors' line that means to perturb the centre replaces it by noise; we leave it out.
Taking l away is ours: the padding zeros of the convolutions then are the frame's own level, and adding a constant to the
input adds it to the output. Group norm for one batch norm shared by three recurrent passes is an option, `norm="group"`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.networks.blocks import AttentionGate, MultiScaleFront, RecurrentResidual, Upsample


class MSR2AUNet(nn.Module):
    """Clean centre frames [B, H, W] from windows of `frames` noisy ones [B, frames, H, W], stabilised domain.

    H and W are multiples of `stride`; Tiled pads for it. Parameters with four levels, widths 16 / 32 / 64: blind
    633,026 / 2,479,162 / 9,844,010, seeing all five frames 637,314 / 2,484,986 / 9,852,906.
    """

    guides = "none"

    def __init__(self, width: int = 32, levels: int = 4, recurrences: int = 2, norm: str = "batch", frames: int = 5,
                 blind: bool = True) -> None:
        super().__init__()
        if frames % 2 == 0 or frames < (3 if blind else 1):
            raise ValueError(f"A window of {frames} frames has no centre with neighbours; give an odd number, 3 or more.")
        self.radius = frames // 2
        self.blind = blind
        self.stride = 2 ** (levels - 1)
        self.receptive_radius = _receptive_radius(levels, recurrences)
        widths = [width * 2**level for level in range(levels)]
        inputs = frames - 1 if blind else frames
        self.front = MultiScaleFront(inputs)
        self.encoder = nn.ModuleList(
            RecurrentResidual(channels_in, channels_out, recurrences, norm)
            for channels_in, channels_out in zip([96 * inputs, *widths], widths)
        )
        self.pool = nn.MaxPool2d(2)
        self.upsamples = nn.ModuleList(Upsample(2 * channels, channels, norm) for channels in widths[:-1])
        self.gates = nn.ModuleList(AttentionGate(channels, norm) for channels in widths[:-1])
        self.decoder = nn.ModuleList(
            RecurrentResidual(2 * channels, channels, recurrences, norm) for channels in widths[:-1]
        )
        self.tail = nn.Sequential(nn.Conv2d(width, 32, 1), nn.Conv2d(32, 1, 1))

    def forward(self, windows: Tensor, guides: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """level: [B, 1, 1, 1], the grey level taken for zero; by default that of these windows."""
        level = self.level(windows) if level is None else level
        frames = self._inputs(windows)
        features, skips = self.front(frames - level), []
        for block in self.encoder:
            features = block(self.pool(features) if skips else features)
            skips.append(features)
        for upsample, gate, block, skip in reversed([*zip(self.upsamples, self.gates, self.decoder, skips)]):
            features = upsample(features)
            features = block(torch.cat([gate(features, skip), features], dim=1))
        return self.tail(features)[:, 0] + frames.mean(dim=1)

    def level(self, windows: Tensor) -> Tensor:
        """The mean grey level of the frames that the network sees, [B, 1, 1, 1]."""
        return self._inputs(windows).mean(dim=(1, 2, 3), keepdim=True)

    def _inputs(self, windows: Tensor) -> Tensor:
        if windows.shape[1] != 2 * self.radius + 1:
            raise ValueError(f"Windows of {windows.shape[1]} frames do not suit a network of {2 * self.radius + 1}.")
        if not self.blind:
            return windows
        return torch.cat([windows[:, : self.radius], windows[:, self.radius + 1 :]], dim=1)


def _receptive_radius(levels: int, recurrences: int) -> int:
    """How far away, in pixels, an input pixel can be and still matter; batch norm in evaluation, group norm apart."""
    block = 2 * (recurrences + 1)
    encoder = sum(block * 2**level for level in range(levels))
    decoder = sum((block + 1) * 2**level for level in range(levels - 1))
    pooling = 2 ** (levels - 1) - 1
    return 3 + encoder + decoder + pooling
