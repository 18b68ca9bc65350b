"""PatchGAN: which patches of an image look real (Isola et al., arXiv 1611.07004); three stride-2 layers see 70 x 70 pixels.

Below it the pool of earlier fakes (Shrivastava et al., arXiv 1612.07828), kept as buffers so that a checkpoint holds it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Images [B, H, W] -> a score for each patch [B, h, w], trained towards 1 for real and 0 for made (least squares).

    Blind to the grey level of a patch as a whole, so that it judges texture and edges, and never asks for other HU.
    """

    def __init__(self, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        widths = [1] + [width * min(2**layer, 8) for layer in range(layers + 1)]
        parts: list[nn.Module] = []
        for layer, (before, after) in enumerate(zip(widths, widths[1:])):
            parts.append(nn.Conv2d(before, after, 4, stride=2 if layer < layers else 1, padding=1))
            if layer > 0:
                parts.append(nn.InstanceNorm2d(after))
            parts.append(nn.LeakyReLU(0.2, inplace=True))
        self.layers = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, padding=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers((images - images.mean((-2, -1), keepdim=True))[:, None])[:, 0]


class ImagePool(nn.Module):
    """The last `size` made images; a discriminator is shown half old ones, so that it does not forget them."""

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.zeros(size, side, side))
        self.register_buffer("filled", torch.zeros((), dtype=torch.long))

    def shown(self, made: Tensor, chances: Tensor, places: Tensor) -> Tensor:
        """[B, P, P] as they are, or old ones in their place, in which case they are kept instead.

        chances: [B], an old one below 0.5; places: [B] whole numbers, which.
        """
        result = []
        for image, chance, place in zip(made.detach(), chances.tolist(), places.tolist()):
            if self.filled < self.size:
                self.images[self.filled] = image
                self.filled += 1
            elif chance < 0.5:
                old = self.images[place].clone()
                self.images[place] = image
                image = old
            result.append(image)
        return torch.stack(result)
