"""The grey level that a network for CT may not change: Hounsfield units are read off as means of regions.

    kept(x, y) = y - m(y - x),   m: the mean over 21 x 21 pixels, twice (a pyramid 41 pixels wide, nowhere negative)

What is taken away from a slice then has no mean over a few centimetres, whatever the network does. The price is the noise of
that size, which stays; filtered back-projection puts almost none there.
"""

from __future__ import annotations

from torch import Tensor

from FluoroDenoiseLib.networks.refiner import local_mean

LEVEL_SPAN = 21
LEVEL_REACH = LEVEL_SPAN - 1


def keep_level(given: Tensor, made: Tensor) -> Tensor:
    """`made` [B, H, W] with the local level of `given`."""
    change = (made - given)[:, None]
    return made - local_mean(local_mean(change, LEVEL_SPAN), LEVEL_SPAN)[:, 0]
