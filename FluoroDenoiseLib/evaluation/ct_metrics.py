"""What CT images are judged by: nearness to the truth, Hounsfield units, and the noise that is left; all in HU.

PSNR, SSIM and VIF refer to the soft-tissue window, -160 to 240 HU, to which both images are clipped.
"""

from __future__ import annotations

import numpy as np
import torch

from FluoroDenoiseLib.ct_noise import blur
from FluoroDenoiseLib.evaluation.metrics import psnr, ssim

WINDOW_HU = (-160.0, 240.0)
SPAN_HU = WINDOW_HU[1] - WINDOW_HU[0]
VISUAL_NOISE = 2.0  # variance of what is lost in seeing, of images with range 255 (Sheikh & Bovik)
SCALES = 4


def in_window(hu: np.ndarray) -> np.ndarray:
    return np.clip(np.asarray(hu, np.float64), *WINDOW_HU)


def window_psnr(estimate: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """dB in the soft-tissue window, over the pixels of `mask` [H, W] in slices [Z, H, W]."""
    return psnr(in_window(estimate), in_window(truth), SPAN_HU, np.broadcast_to(mask, truth.shape))


def window_ssim(estimate: np.ndarray, truth: np.ndarray) -> float:
    return ssim(in_window(estimate), in_window(truth), SPAN_HU)


def vif(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Visual information fidelity in the pixel domain, four scales, mean over slices [Z, H, W]; 1 for the truth itself.

    Sheikh & Bovik 2006 (doi 10.1109/TIP.2005.859378), the multi-scale pixel form of their code: Gaussian windows of
    17, 9, 5, 3 pixels, sigma a fifth of that.
    """
    scaled = [255 * (torch.from_numpy(in_window(image)) - WINDOW_HU[0]) / SPAN_HU for image in (truth, estimate)]
    real, seen = (image.float()[:, None] for image in scaled)
    kept, whole = torch.zeros(len(real)), torch.zeros(len(real))
    for scale in range(SCALES):
        sigma = (2 ** (SCALES - scale) + 1) / 5
        if scale:
            real, seen = blur(real, sigma)[..., ::2, ::2], blur(seen, sigma)[..., ::2, ::2]
        mean_r, mean_s = blur(real, sigma), blur(seen, sigma)
        var_r = (blur(real**2, sigma) - mean_r**2).clamp(min=0)
        var_s = (blur(seen**2, sigma) - mean_s**2).clamp(min=0)
        both = blur(real * seen, sigma) - mean_r * mean_s
        gain = (both / (var_r + 1e-10)).clamp(min=0)
        rest = (var_s - gain * both).clamp(min=1e-10)
        rest = torch.where(gain > 0, rest, var_s + 1e-10)
        kept += torch.log2(1 + gain**2 * var_r / (rest + VISUAL_NOISE)).sum((1, 2, 3))
        whole += torch.log2(1 + var_r / VISUAL_NOISE).sum((1, 2, 3))
    return float((kept / whole.clamp(min=1e-10)).mean())


def hu_bias(estimate: np.ndarray, reference: np.ndarray, regions: list[np.ndarray]) -> float:
    """The largest of the regions' mean shifts, by size; regions: masks [H, W], slices [Z, H, W]."""
    return max(abs(float((estimate - reference)[:, region].mean())) for region in regions)


def noise_left(slices: np.ndarray, regions: list[np.ndarray]) -> float:
    """The deviation of the pixels of uniform regions about a slice's own plane, root mean square over regions and slices."""
    squares = []
    for region in regions:
        rows, columns = np.nonzero(region)
        plane = np.stack([np.ones(len(rows)), rows - rows.mean(), columns - columns.mean()], 1)
        values = np.asarray(slices, np.float64)[:, region].T
        rest = values - plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
        squares.append((rest**2).sum() / (rest.shape[1] * (len(rows) - 3)))
    return float(np.sqrt(np.mean(squares)))


def noise_power(noise: np.ndarray, pixel_mm: float, rings: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies in cycles/mm [rings], power in HU^2 mm^2 [rings]) of square noise images [N, P, P], Hann window."""
    side = noise.shape[-1]
    window = np.hanning(side + 2)[1:-1]
    window = window[:, None] * window[None]
    rest = noise - noise.mean((-2, -1), keepdims=True)
    power = (np.abs(np.fft.fft2(rest * window)) ** 2).mean(0) * pixel_mm**2 / (window**2).sum()
    frequency = np.fft.fftfreq(side, pixel_mm)
    radius = np.hypot(frequency[:, None], frequency[None])
    edges = np.linspace(0, 0.5 / pixel_mm, rings + 1)
    ring = np.digitize(radius, edges) - 1
    means = [float(power[ring == k].mean()) if (ring == k).any() else np.nan for k in range(rings)]
    return 0.5 * (edges[1:] + edges[:-1]), np.array(means)


def mean_frequency(frequencies: np.ndarray, power: np.ndarray) -> float:
    """The mean spatial frequency of the noise, weighed by power and by how many directions a ring has."""
    weight = np.nan_to_num(power) * frequencies
    return float((weight * frequencies).sum() / max(weight.sum(), 1e-12))
