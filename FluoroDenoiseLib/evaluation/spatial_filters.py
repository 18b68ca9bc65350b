"""Classical filters that look at one frame alone: Gaussian, wavelet, total variation, non-local means, BM3D.

filter(noisy [T, H, W], noise, setting) -> [T, H, W], stored values. All but the Gaussian need noise of one strength, so they
work in the stabilised domain, where it is 1.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pywt
import torch

from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian


def gaussian(noisy: np.ndarray, noise: NoiseEstimate, sigma_px: float) -> np.ndarray:
    """Blur each frame."""
    reach = int(np.ceil(4 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel = torch.from_numpy(kernel / kernel.sum()).float()
    frames = torch.from_numpy(noisy.astype(np.float32))[:, None]
    frames = torch.nn.functional.pad(frames, (reach,) * 4, mode="reflect")
    rows = torch.nn.functional.conv2d(frames, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None])[:, 0].numpy()


def wavelet(noisy: np.ndarray, noise: NoiseEstimate, sigma: float) -> np.ndarray:
    """Shrink wavelet coefficients (BayesShrink, Chang et al. 2000, scikit-image); sigma: in units of the noise."""
    from skimage.restoration import denoise_wavelet

    levels = min(4, pywt.dwtn_max_level(noisy.shape[1:], "sym4"))  # scikit-image's own choice is one for small frames
    settings = dict(sigma=sigma, wavelet="sym4", wavelet_levels=levels, method="BayesShrink", mode="soft", rescale_sigma=False)
    return in_stabilised_domain(noisy, noise.model, lambda frame: denoise_wavelet(frame, **settings))


def total_variation(noisy: np.ndarray, noise: NoiseEstimate, weight: float) -> np.ndarray:
    """Least total variation near the frame (Rudin et al. 1992, Chambolle 2004, scikit-image); weight: in units of the noise."""
    from skimage.restoration import denoise_tv_chambolle

    return in_stabilised_domain(noisy, noise.model, lambda frame: denoise_tv_chambolle(frame, weight=weight))


def non_local_means(noisy: np.ndarray, noise: NoiseEstimate, strength: float) -> np.ndarray:
    """Average patches that look alike (Buades et al. 2005, scikit-image); strength: h in units of the noise."""
    from skimage.restoration import denoise_nl_means

    settings = dict(patch_size=5, patch_distance=6, h=strength, sigma=1.0, fast_mode=True)
    return in_stabilised_domain(noisy, noise.model, lambda frame: denoise_nl_means(frame, **settings))


def bm3d(noisy: np.ndarray, noise: NoiseEstimate, sigma: float) -> np.ndarray:
    """Block matching and collaborative filtering (Dabov et al. 2007, the authors' package, not free for commerce)."""
    from bm3d import bm3d as block_matching

    def one_frame(frame: np.ndarray) -> np.ndarray:
        width = float(np.ptp(frame)) or 1.0  # the package is made for images of range 1
        return block_matching(frame / width, sigma / width) * width

    return in_stabilised_domain(noisy, noise.model, one_frame)


def stabilised(noisy: np.ndarray, law: PoissonGaussian) -> Iterator[torch.Tensor]:
    """The frames one by one, with noise of 1."""
    return (law.stabilise(torch.from_numpy(frame.astype(np.float32))) for frame in noisy)


def in_stabilised_domain(
    noisy: np.ndarray, law: PoissonGaussian, denoise_frame: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """What denoise_frame makes of each stabilised frame, in stored values."""
    clean = [denoise_frame(frame.numpy().astype(np.float64)) for frame in stabilised(noisy, law)]
    return law.unstabilise(torch.from_numpy(np.stack(clean).astype(np.float32))).numpy()
