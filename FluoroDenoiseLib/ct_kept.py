"""What may not be lost from CT slices, whatever a network took: a share of every small thing, and what clearly stood out.

    r = mean over slices of (noisy - restored), Gaussian weights w       l = blur(r)
    b = blur(r) - blur(r) twice as wide,   z = b / local deviation of b
    s = 0.4 / sqrt(sum w^2), at most 1;    g = 1 - (2.5 / z)^2 where |z| is above 2.5, else 0; spread over 5 mm about each place
    result = restored + (s + (1 - s) g) l,   with the local level of the noisy slice (networks/level.py)

A network that is trained on a mean error fades what is as faint as the noise. The share s alone does most of the good: it
is linear, so noise and lesions come back in the same proportion, and what stood out of the noise goes on standing out.
A thing of 5 mm is in several thin slices, whose noise is new in each: their mean has less of it, and s is as much more as
brings no more noise back than 0.4 of a slice alone. Slices too far apart for that stay alone.
A threshold alone must be so low that its own noise hides what it saves. g (Breiman's garrote) then gives almost whole what the
removed part shows by itself, so that a network that erases a thing cannot hide it. The noise of the removed part
is measured in the slice itself. l has no frequencies above those of such a lesion: fine noise, most of it, stays away.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from FluoroDenoiseLib.ct_noise import blur, local_deviation
from FluoroDenoiseLib.networks.level import keep_level

SHARE = 0.4  # of a slice alone
STANDS_OUT = 2.5  # deviations of the removed noise
THING_MM = 5.0
TEMPLATE = 0.35  # the deviation of a Gaussian that resembles a disc, in diameters
RETURNED = 0.5  # the blur of what comes back, in blurs of the template
SMALLEST_PX, LARGEST_PX = 1.4, 12.0  # the template's deviation: finer is single pixels, wider costs time
MOST_NEIGHBOURS = 4  # on each side


def neighbours(slice_mm: float) -> int:
    """How many slices on each side share in what comes back; slice_mm: from one to the next."""
    return min(int(2 * TEMPLATE * THING_MM / slice_mm), MOST_NEIGHBOURS)


def put_back(noisy: Tensor, restored: Tensor, centre: int, pixel_mm: float, slice_mm: float) -> Tensor:
    """The restored slice number `centre` [H, W] with what must not be lost of the noisy one.

    noisy, restored: [N, H, W] in HU, the slice among its neighbours. pixel_mm: spacing within the slices, slice_mm: from one
    to the next. What was not changed, in any of them, comes back as it is.
    """
    weights = torch.exp(-0.5 * ((torch.arange(len(noisy)) - centre) * slice_mm / (TEMPLATE * THING_MM)) ** 2)
    weights /= weights.sum()
    share = min(SHARE / float(weights.square().sum().sqrt()), 1.0)
    removed = torch.einsum("n,nhw->hw", weights.to(noisy), noisy - restored)[None]
    noisy, restored = noisy[centre : centre + 1], restored[centre : centre + 1]
    template_px = min(max(TEMPLATE * THING_MM / pixel_mm, SMALLEST_PX), LARGEST_PX)
    weight = share + (1 - share) * _standing_out(removed, noisy, template_px)
    return keep_level(noisy, restored + weight * _blurred(removed, RETURNED * template_px))[0]


def _standing_out(removed: Tensor, noisy: Tensor, template_px: float) -> Tensor:
    """How far the removed part shows something by itself, 0 to 1, [B, H, W]."""
    seen = _blurred(removed, template_px) - _blurred(removed, 2 * template_px)
    strength = seen.abs() / local_deviation(seen, noisy)
    shown = 1 - (STANDS_OUT / strength.clamp(min=STANDS_OUT)).square()
    reach = round(0.7 * template_px)
    spread = functional.max_pool2d(shown[:, None], 2 * reach + 1, 1, reach)
    return blur(spread, max(reach / 2, 0.5))[:, 0]


def _blurred(slices: Tensor, sigma_px: float) -> Tensor:
    return blur(slices[:, None], sigma_px)[:, 0]
