"""Parallel-beam tomography in torch: the line integrals of a slice, and filtered back-projection.

    p(theta, t) = integral of the slice along the ray  x cos(theta) + y sin(theta) = t
    slice(x, y) = pi / A * sum_theta q(theta, x cos(theta) + y sin(theta)),    q = p * ramp * window

Kak & Slaney, Principles of Computerized Tomographic Imaging, 1988, chapter 3. The window of the ramp decides the texture of
the noise, as a scanner's kernel does: w(f) = 1 - softness * (1 - cos(pi f / f_max)) / 2, so softness 0 is Ram-Lak and 1 Hann.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 16  # angles at once
Area = tuple[slice, slice]


def angles_of(count: int) -> Tensor:
    """Angles over half a turn, radians."""
    return torch.arange(count) * (math.pi / count)


def bins_of(height: int, width: int) -> int:
    """The detector bins that a slice's diagonal needs, an odd number."""
    return 2 * math.ceil(math.hypot(height, width) / 2) + 1


def project(slice_: Tensor, angles: Tensor) -> Tensor:
    """Line integrals [A, N] of a slice [H, W] in units of its value times pixels, N = bins_of(H, W), one bin a pixel."""
    height, width = slice_.shape
    bins = bins_of(height, width)
    along = torch.arange(bins, dtype=torch.float32, device=slice_.device) - bins // 2
    image = slice_[None, None]
    parts = []
    for theta in angles.to(slice_.device).split(CHUNK):
        cosine, sine = theta.cos()[:, None, None], theta.sin()[:, None, None]
        x = along[None, None, :] * cosine - along[None, :, None] * sine
        y = along[None, None, :] * sine + along[None, :, None] * cosine
        grid = torch.stack([x * (2 / width), y * (2 / height)], -1)
        rotated = functional.grid_sample(image.expand(len(theta), -1, -1, -1), grid, align_corners=False)
        parts.append(rotated[:, 0].sum(1))
    return torch.cat(parts)


def back_project(sinogram: Tensor, angles: Tensor, shape: tuple[int, int], softness: float = 0.5, area: Area | None = None) -> Tensor:
    """The slices [C, H, W] whose line integrals [C, A, N] these are (per pixel length), by filtered back-projection.

    softness: of the kernel, see above. area: (rows, columns) of the slices to make, by default all of it.
    """
    filtered = _ramp_filtered(sinogram, softness)
    bins = sinogram.shape[-1]
    rows, columns = area or (slice(None), slice(None))
    y = (torch.arange(shape[0], dtype=torch.float32, device=sinogram.device) - (shape[0] - 1) / 2)[rows, None]
    x = (torch.arange(shape[1], dtype=torch.float32, device=sinogram.device) - (shape[1] - 1) / 2)[None, columns]
    total = torch.zeros(len(sinogram), len(y), x.shape[1], device=sinogram.device)
    for row, theta in zip(filtered.unbind(1), angles.tolist()):
        place = x * math.cos(theta) + y * math.sin(theta) + bins // 2
        left = place.floor().clamp_(0, bins - 2)
        share = (place - left).clamp_(0, 1)
        index = left.long()
        total += torch.lerp(row[:, index], row[:, index + 1], share)
    return total * (math.pi / len(angles))


def _ramp_filtered(sinogram: Tensor, softness: float) -> Tensor:
    """Each row convolved with the band-limited ramp (its exact samples, so that the level is right) and the window."""
    bins = sinogram.shape[-1]
    size = 2 ** math.ceil(math.log2(2 * bins))
    n = torch.arange(size, device=sinogram.device)
    n = torch.minimum(n, size - n).float()
    ramp = torch.where(n % 2 == 1, -1 / (math.pi * n.clamp(min=1)) ** 2, torch.zeros(()))
    ramp[0] = 0.25
    frequency = torch.fft.rfftfreq(size, device=sinogram.device)
    window = 1 - softness * (1 - torch.cos(2 * math.pi * frequency)) / 2
    spectrum = torch.fft.rfft(sinogram, size) * torch.fft.rfft(ramp).real * window
    return torch.fft.irfft(spectrum, size)[..., :bins]
