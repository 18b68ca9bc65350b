"""Classical filters that look at several frames: recursive, variance-conditioned, multi-frame non-local means, BM4D; and our
own recursion without its network.

filter(noisy [T, H, W], noise, setting) -> [T, H, W], stored values.
"""

import numpy as np
import torch

from FluoroDenoiseLib.evaluation.spatial_filters import stabilised
from FluoroDenoiseLib.noise import NoiseEstimate
from FluoroDenoiseLib.recursion import Recursion

REACH = 2
"""Frames on either side that the two filters with a temporal window see: a window of five, the published one of NVCA."""
BLOCK = 8
"""Frames that BM4D needs at least."""


def recursive_filter(noisy: np.ndarray, noise: NoiseEstimate, weight: float) -> np.ndarray:
    """Average over time with no regard to motion: out_t = weight x_t + (1 - weight) out_(t-1). Vendors' filter."""
    filtered = noisy.astype(np.float32)
    for t in range(1, len(filtered)):
        filtered[t] = weight * filtered[t] + (1 - weight) * filtered[t - 1]
    return filtered


def variance_conditioned_average(noisy: np.ndarray, noise: NoiseEstimate, threshold: float) -> np.ndarray:
    """NVCA: the mean of those of 5 x 5 x 5 neighbours that differ from the pixel by no more than its noise explains.

    out = mean of { x_n : |x_n - x| <= threshold sigma(x) }, sigma(x) the noise at the pixel's own grey level. Published
    with a threshold of 2: Sarno et al., Real-time algorithm for Poissonian noise reduction in low-dose fluoroscopy,
    BioMedical Engineering OnLine 18:94, 2019; in hardware, Genovese et al., Integration 49, 2015. Our own code.
    """
    frames = torch.from_numpy(noisy.astype(np.float32))
    padded = torch.nn.functional.pad(frames[:, None], (REACH,) * 4, mode="reflect")[:, 0]
    height, width = frames.shape[1:]
    averaged = torch.empty_like(frames)
    for t, frame in enumerate(frames):
        allowed = threshold * noise.model.variance(frame).sqrt()
        total, count = torch.zeros_like(frame), torch.zeros_like(frame)
        for neighbour in padded[max(0, t - REACH) : t + REACH + 1]:
            for dy in range(2 * REACH + 1):
                for dx in range(2 * REACH + 1):
                    difference = neighbour[dy : dy + height, dx : dx + width] - frame
                    alike = difference.abs() <= allowed
                    total += difference * alike
                    count += alike
        averaged[t] = frame + total / count  # the pixel itself always counts
    return averaged.numpy()


def multi_frame_nlm(noisy: np.ndarray, noise: NoiseEstimate, strength: float) -> np.ndarray:
    """Average patches that look alike in five frames (Buades et al. 2005, OpenCV); strength: h in units of the noise.

    In the stabilised domain, spread over 16 bits, absolute differences; at the ends the run is mirrored.
    """
    import cv2

    frames = torch.stack(list(stabilised(noisy, noise.model))).numpy()
    low = float(frames.min())
    steps = 65535 / max(float(frames.max()) - low, 1e-6)
    whole = list(np.rint((frames - low) * steps).astype(np.uint16))
    at = np.pad(np.arange(len(whole)), REACH, mode="reflect" if len(whole) > REACH else "edge")
    around = [whole[t] for t in at]
    settings = dict(h=[strength * steps], templateWindowSize=5, searchWindowSize=13, normType=cv2.NORM_L1)
    found = [cv2.fastNlMeansDenoisingMulti(around, t + REACH, 2 * REACH + 1, **settings) for t in range(len(whole))]
    return noise.model.unstabilise(torch.from_numpy((np.stack(found) / steps + low).astype(np.float32))).numpy()


def bm4d(noisy: np.ndarray, noise: NoiseEstimate, sigma: float) -> np.ndarray:
    """Block matching in the whole run as a volume (Maggioni et al. 2013, the authors' package, not free for commerce).

    A run shorter than its blocks is mirrored in time.
    """
    from bm4d import bm4d as block_matching

    volume = torch.stack(list(stabilised(noisy, noise.model))).numpy().astype(np.float64)
    volume = np.pad(volume, ((0, max(0, BLOCK - len(noisy))), (0, 0), (0, 0)), mode="symmetric")
    width = float(np.ptp(volume)) or 1.0  # the package is made for images of range 1
    clean = block_matching(volume / width, sigma / width)[: len(noisy)] * width
    return noise.model.unstabilise(torch.from_numpy(clean.astype(np.float32))).numpy()


def causal_recursion(noisy: np.ndarray, noise: NoiseEstimate, _: float) -> np.ndarray:
    """Our own motion-compensated recursion without its network, from past frames only."""
    recursion, state, estimates = Recursion(noise_correlation=noise.spatial_correlation), None, []
    for frame in stabilised(noisy, noise.model):
        step, state = recursion.step(frame, state)
        estimates.append(step.estimate)
    return noise.model.unstabilise(torch.stack(estimates)).numpy()


def recursion_both_ways(noisy: np.ndarray, noise: NoiseEstimate, _: float) -> np.ndarray:
    """Our own motion-compensated recursion without its network, from past and future."""
    recursion = Recursion(noise_correlation=noise.spatial_correlation)
    estimates = [step.estimate for step in recursion.both_ways(stabilised(noisy, noise.model))]
    return noise.model.unstabilise(torch.stack(estimates)).numpy()
