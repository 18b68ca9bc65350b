"""Visual information fidelity: the share of the truth's information that is still in an estimate.

H. R. Sheikh and A. C. Bovik, Image information and visual quality, IEEE Trans. Image Processing 15(2), 2006; their form in
the pixel domain at four scales:

    estimate = g truth + v locally,   VIF = sum log(1 + g^2 s / (var v + n)) / sum log(1 + s / n)

s: variance of the truth in a Gaussian window, n = 2: variance of the eye's own noise, for grey values of 0 to 255. 1 for
the truth itself, above 1 where contrast is raised without noise, towards 0 where blur or noise takes the detail away.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

EYE_NOISE = 2.0
SCALES = (17, 9, 5, 3)  # width of the Gaussian window, sigma a fifth of it
LEAST_PX = 41  # of a side, so that the coarsest window still fits
_TINY = 1e-10


def vif(estimate: np.ndarray, clean: np.ndarray, span: float) -> float:
    """The mean over the frames of [T, H, W]; span: the grey range that is shown as 0 to 255.

    nan where a side has fewer than LEAST_PX pixels.
    """
    if min(clean.shape[-2:]) < LEAST_PX:
        return float("nan")
    pairs = zip(np.asarray(estimate, np.float64), np.asarray(clean, np.float64), strict=True)
    return float(np.mean([_frame_vif(torch.from_numpy(one * 255 / span), torch.from_numpy(truth * 255 / span)) for one, truth in pairs]))


def _frame_vif(estimate: Tensor, truth: Tensor) -> float:
    images = torch.stack([truth - truth.mean(), estimate - truth.mean()])
    kept = whole = 0.0
    for index, width in enumerate(SCALES):
        if index:
            images = _smooth(images, width)[:, ::2, ::2]
        seen, had = _information(images, width)
        kept, whole = kept + seen, whole + had
    return (kept + _TINY) / (whole + _TINY)


def _information(images: Tensor, width: int) -> tuple[float, float]:
    """What the estimate still tells of the truth, and what there was to tell, at one scale, in bits but for a factor."""
    truth, estimate = images
    mean_t, mean_e, square_t, square_e, product = _smooth(
        torch.stack([truth, estimate, truth * truth, estimate * estimate, truth * estimate]), width
    )
    variance_t = (square_t - mean_t * mean_t).clamp(min=0)
    variance_e = (square_e - mean_e * mean_e).clamp(min=0)
    gain = (product - mean_t * mean_e) / (variance_t + _TINY)
    noise = variance_e - gain * (product - mean_t * mean_e)
    flat = variance_t < _TINY
    gain, noise, variance_t = (torch.where(flat, other, one) for one, other in (
        (gain, torch.zeros_like(gain)), (noise, variance_e), (variance_t, torch.zeros_like(gain))))  # fmt: skip
    lost = (variance_e < _TINY) | (gain < 0)  # nothing of the truth is left, or its negative
    noise = torch.where(gain < 0, variance_e, noise).clamp(min=_TINY)
    gain = torch.where(lost, torch.zeros_like(gain), gain)
    seen = torch.log10(1 + gain * gain * variance_t / (noise + EYE_NOISE)).sum()
    return float(seen), float(torch.log10(1 + variance_t / EYE_NOISE).sum())


def _smooth(images: Tensor, width: int) -> Tensor:
    """Gaussian means of images [N, H, W], only where the window fits."""
    return _means(images.shape[1], width) @ images @ _means(images.shape[2], width).T


@cache
def _means(length: int, width: int) -> Tensor:
    """The matrix [length - width + 1, length] that takes a line of pixels to its Gaussian means."""
    at = torch.arange(width, dtype=torch.float64) - width // 2
    kernel = torch.exp(-0.5 * (at / (width / 5)) ** 2)
    matrix = torch.zeros(length - width + 1, length, dtype=torch.float64)
    for offset, weight in enumerate(kernel / kernel.sum()):
        matrix.diagonal(offset).fill_(float(weight))
    return matrix
