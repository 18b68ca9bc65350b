"""The refiner on the slices of a CT volume: neighbouring slices are its candidates, as predictions are in a run.

    c_below, c_above   the means of the neighbouring slices on either side
    deviation of one   sqrt(1 + max(q, 0)),  q = mean over 9x9 of (c - x)^2, less the noise of both
    alone (radius 0)   one candidate instead: the mean over 5x5 of the slice itself

A neighbour that looks like the centre is worth as much as another exposure; one of other anatomy is not believed. No motion
is compensated: anatomy does not move from slice to slice, it changes. The local level is kept, see level.py.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.networks.level import LEVEL_REACH, keep_level
from FluoroDenoiseLib.networks.refiner import RefinerUNet, local_mean

ALIKE_SPAN = 9
ALONE_SPAN = 5


class CtSlicesNet(nn.Module):
    """Slices [B, 2*radius+1, H, W] -> their centres [B, H, W], in units of the noise; H and W multiples of `stride`."""

    guides = "none"

    def __init__(self, radius: int, widths: tuple[int, ...], blocks: int) -> None:
        super().__init__()
        self.radius = radius
        self.refiner = RefinerUNet(radius, "both" if radius else "causal", widths, blocks)
        self.stride = self.refiner.stride
        self.receptive_radius = self.refiner.receptive_radius + max(ALIKE_SPAN, 2 * LEVEL_REACH)

    def forward(self, windows: Tensor, guides: Tensor | None = None) -> Tensor:
        centre = windows[:, self.radius]
        return keep_level(centre, self.refiner(windows, self._candidates(windows)))

    def _candidates(self, windows: Tensor) -> Tensor:
        """[B, 2 or 4, H, W]: candidate and its deviation, of one side or of both."""
        centre = windows[:, self.radius, None]
        if self.radius == 0:
            return torch.cat(self._with_deviation(local_mean(centre, ALONE_SPAN), centre, 1.0), 1)
        below = windows[:, : self.radius].mean(1, keepdim=True)
        above = windows[:, self.radius + 1 :].mean(1, keepdim=True)
        noise = 1 + 1 / self.radius
        return torch.cat([*self._with_deviation(below, centre, noise), *self._with_deviation(above, centre, noise)], 1)

    @staticmethod
    def _with_deviation(candidate: Tensor, centre: Tensor, noise: float) -> tuple[Tensor, Tensor]:
        unlike = local_mean((candidate - centre).square(), ALIKE_SPAN) - noise
        return candidate, (1 + unlike.clamp(min=0)).sqrt()
