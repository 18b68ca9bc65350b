"""One level of the stationary wavelet transform: every band as large as the image, so that a shift only shifts it.

    A = lo_y lo_x x,  H = hi_y lo_x x,  V = lo_y hi_x x,  D = hi_y hi_x x
    (f x)[n] = sum_j f[j] x[n + L/2 - j],   f the L taps of one of the wavelet's decomposition filters

The filters are pywavelets' orthonormal ones, sum of squares 1: white noise has in every band the deviation it has in the
image. Equal to pywt.swt2(x, wavelet, level=1, norm=False), which continues the image periodically.
"""

from __future__ import annotations

from typing import Sequence

import pywt
import torch
from torch import Tensor
from torch.nn.functional import pad

BOUNDARIES = {"periodic": "circular", "reflect": "reflect"}


def stationary_wavelet(images: Tensor, wavelet: str = "haar", boundary: str = "reflect") -> Tensor:
    """The bands A, H, V, D of images [B, H, W], as [B, 4, H, W]; H answers to horizontal edges, V to vertical ones.

    boundary: "reflect" or "periodic". ValueError for another one, or a wavelet that pywavelets does not know.
    """
    if boundary not in BOUNDARIES:
        raise ValueError(f"Boundary '{boundary}' is not known; use one of {', '.join(BOUNDARIES)}.")
    mode = BOUNDARIES[boundary]
    low, high = pywt.Wavelet(wavelet).filter_bank[:2]
    along_x = {name: _filter(images, taps, mode) for name, taps in (("low", low), ("high", high))}
    bands = [(low, "low"), (high, "low"), (low, "high"), (high, "high")]
    return torch.stack([_filter(along_x[x].mT, along_y, mode).mT for along_y, x in bands], dim=1)


def high_bands(images: Tensor, wavelet: str = "haar", boundary: str = "reflect") -> Tensor:
    """The bands that hold the edges, H, V and D, as [B, 3, H, W]; zero for a constant."""
    return stationary_wavelet(images, wavelet, boundary)[:, 1:]


def _filter(images: Tensor, taps: Sequence[float], mode: str) -> Tensor:
    """Filter along x. A sum of shifted images, not a convolution, which autocast would compute in half precision."""
    half, width = len(taps) // 2, images.shape[-1]
    padded = pad(images, (half - 1, half, 0, 0), mode)
    return sum(tap * padded[..., start : start + width] for start, tap in enumerate(reversed(taps)))
