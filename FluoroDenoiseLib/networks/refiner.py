"""The refiner: a U-Net that is told how sure the recursion is, and decides pixel by pixel whom to trust.

    c_i        the candidates for the centre frame: the noisy frame x itself (variance 1), the recursion's
               prediction from the past (variance v_f) and, when guides are "both", from the future (v_b)
    M          = softmax_i( log(1 / v_i) + g_i )         pixel-wise cross-fusion matrix
    output     = sum_i M_i c_i + r                       g, r = U-Net(window, candidates, their deviations)

With g = r = 0 this is the inverse-variance average, the optimum for still anatomy; the network starts there and
learns where it fails: one flow a pixel cannot follow a wire that crosses the anatomy, the current frame can.
The matrix takes the place of the cross-fusion matrix of Jeon et al. 2025, learned instead of computed.

Everything that enters the U-Net is relative to the inverse-variance average, so an offset of the input is an offset of
the output. Large values (anatomy at high dose, misaligned edges) are compressed as 3 asinh(x / 3): linear within
the noise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

UNKNOWN_SIGMA = 3.0  # a prediction that is no surer than this says nothing
SPAN_PX = 31  # over which the local mean is taken that the structure is relative to


def compress(values: Tensor) -> Tensor:
    return 3.0 * torch.asinh(values / 3.0)


def local_mean(image: Tensor, span: int = SPAN_PX) -> Tensor:
    """The mean over a span x span square, [B, 1, H, W]; at the border over the part inside the image."""
    rows = functional.avg_pool2d(image, (span, 1), 1, (span // 2, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, span), 1, (0, span // 2), count_include_pad=False)


class ResidualBlock(nn.Module):
    """y = x + conv(relu(conv(x)))."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(functional.relu(self.first(x)))


class Level(nn.Sequential):
    def __init__(self, channels: int, blocks: int):
        super().__init__(*(ResidualBlock(channels) for _ in range(blocks)))


class RefinerUNet(nn.Module):
    """Restorer with guides: [B, 2r+1, H, W] and [B, 2 or 4, H, W] -> [B, H, W], stabilised domain.

    guides are (prediction, standard deviation) from the past and, for "both", the same from the future.
    H and W must be multiples of `stride`; Tiled pads them. turned: in use, not in training, the picture is also restored
    a quarter turn round and, with guides from both sides, in reversed time, and the mean of both is given: for twice the
    time, errors that depend on the direction halve (the self-ensemble of Lim et al. 2017 with two of its turns).
    """

    def __init__(self, radius: int, guides: str, widths: tuple[int, ...], blocks: int, turned: bool = False):
        super().__init__()
        if guides not in ("causal", "both"):
            raise ValueError(f'Refiner guides are {guides!r} but must be "causal" or "both".')
        self.radius = radius
        self.guides = guides
        self.turned = turned
        self.stride = 2 ** len(widths)
        self.receptive_radius = self.stride * (4 * blocks + 4) + SPAN_PX // 2 + 1
        directions = 1 if guides == "causal" else 2
        candidates = 1 + directions
        inputs = (2 * radius + 1) + 2 * directions + 1
        self.stem = nn.Conv2d(inputs * 4, widths[0], 3, padding=1)
        self.encoders = nn.ModuleList(Level(width, blocks) for width in widths[:-1])
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:]))
        self.bottom = Level(widths[-1], blocks)
        self.ups = nn.ModuleList(nn.Conv2d(b, a * 4, 1) for a, b in zip(widths, widths[1:]))
        self.decoders = nn.ModuleList(Level(width, blocks) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], (candidates + 1) * 4, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, windows: Tensor, guides: Tensor) -> Tensor:
        upright = self._restored(windows, guides)
        if self.training or not self.turned:
            return upright
        if self.guides == "both":
            windows, guides = windows.flip(1), guides.roll(2, 1)
        turned = self._restored(*(torch.rot90(part, 1, (-2, -1)).contiguous() for part in (windows, guides)))
        return (upright + torch.rot90(turned, -1, (-2, -1))) / 2

    def _restored(self, windows: Tensor, guides: Tensor) -> Tensor:
        centre = windows[:, self.radius]
        predictions, deviations = guides[:, 0::2], guides[:, 1::2]
        candidates = torch.cat([centre[:, None], predictions], 1)
        log_precision = torch.cat([torch.zeros_like(centre[:, None]), -2 * torch.log(deviations.clamp(min=1e-2))], 1)
        average = (log_precision.softmax(1) * candidates).sum(1, keepdim=True)

        relative = torch.cat([windows - average, predictions - average, average - local_mean(average)], 1)
        features = self._unet(torch.cat([compress(relative), deviations.clamp(max=UNKNOWN_SIGMA)], 1))

        gates, residual = features[:, :-1].float(), features[:, -1].float()
        matrix = (log_precision + gates).softmax(1)
        return (matrix * candidates).sum(1) + residual

    def _unet(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.stem(functional.pixel_unshuffle(x, 2))
        skips = []
        for encoder, down in zip(self.encoders, self.downs):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.bottom(x)
        for up, decoder, skip in zip(reversed(self.ups), reversed(self.decoders), reversed(skips)):
            x = decoder(functional.pixel_shuffle(up(x), 2) + skip)
        return functional.pixel_shuffle(self.head(functional.relu(x)), 2)
