"""What a person would use instead: classical filters, each given the same noise and its best setting.

All but the recursive filter work frame by frame. Non-local means and BM3D need noise of one strength, so they work in
the stabilised domain. Each has a list of settings, and the evaluation reports the one with the best PSNR against the
truth: a favour that a user in the clinic could not do them, so that ours is not compared with a straw man. For noise that
is correlated, BM3D's best sigma lies above the true one.
"""

import importlib.util
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.recursion import Recursion

Filter = Callable[[np.ndarray, NoiseEstimate, float], np.ndarray]


@dataclass(frozen=True)
class Rival:
    """A method with its settings. run(noisy [T, H, W], noise, setting) -> [T, H, W], stored values.

    frame_by_frame: no frame sees another, so that a few frames can be denoised alone. needs: the package it needs.
    """

    name: str
    settings: tuple[float, ...]
    unit: str
    run: Filter
    frame_by_frame: bool = True
    needs: str | None = None

    @property
    def missing(self) -> str | None:
        """A sentence if the rival cannot run here."""
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        return f"{self.name} is left out: the Python package {self.needs} is not installed."


@dataclass(frozen=True)
class Timed:
    """estimate: [T, H, W], stored values; cpu_s: processor seconds a frame, over all cores."""

    estimate: np.ndarray
    cpu_s: float


def timed(rival: Rival, noisy: np.ndarray, noise: NoiseEstimate, setting: float) -> Timed:
    """Run a rival with one setting and count its processor time."""
    begin = time.process_time()
    estimate = rival.run(noisy, noise, setting)
    return Timed(estimate, (time.process_time() - begin) / len(noisy))


def recursive_filter(noisy: np.ndarray, noise: NoiseEstimate, weight: float) -> np.ndarray:
    """Average over time with no regard to motion: out_t = weight x_t + (1 - weight) out_(t-1). Vendors' filter."""
    filtered = noisy.astype(np.float32)
    for t in range(1, len(filtered)):
        filtered[t] = weight * filtered[t] + (1 - weight) * filtered[t - 1]
    return filtered


def gaussian(noisy: np.ndarray, noise: NoiseEstimate, sigma_px: float) -> np.ndarray:
    """Blur each frame."""
    reach = int(np.ceil(4 * sigma_px))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_px) ** 2)
    kernel = torch.from_numpy(kernel / kernel.sum()).float()
    frames = torch.from_numpy(noisy.astype(np.float32))[:, None]
    frames = torch.nn.functional.pad(frames, (reach,) * 4, mode="reflect")
    rows = torch.nn.functional.conv2d(frames, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None])[:, 0].numpy()


def non_local_means(noisy: np.ndarray, noise: NoiseEstimate, strength: float) -> np.ndarray:
    """Average patches that look alike (Buades et al. 2005, scikit-image); strength: h in units of the noise."""
    from skimage.restoration import denoise_nl_means

    settings = dict(patch_size=5, patch_distance=6, h=strength, sigma=1.0, fast_mode=True)
    return _in_stabilised_domain(noisy, noise.model, lambda frame: denoise_nl_means(frame, **settings))


def bm3d(noisy: np.ndarray, noise: NoiseEstimate, sigma: float) -> np.ndarray:
    """Block matching and collaborative filtering (Dabov et al. 2007, the authors' package, not free for commerce)."""
    from bm3d import bm3d as block_matching

    def one_frame(frame: np.ndarray) -> np.ndarray:
        width = float(np.ptp(frame)) or 1.0  # the package is made for images of range 1
        return block_matching(frame / width, sigma / width) * width

    return _in_stabilised_domain(noisy, noise.model, one_frame)


def causal_recursion(noisy: np.ndarray, noise: NoiseEstimate, _: float) -> np.ndarray:
    """Our own motion-compensated recursion without its network, from past frames only."""
    recursion, state, estimates = Recursion(noise_correlation=noise.spatial_correlation), None, []
    for frame in _stabilised(noisy, noise.model):
        step, state = recursion.step(frame, state)
        estimates.append(step.estimate)
    return noise.model.unstabilise(torch.stack(estimates)).numpy()


def recursion_both_ways(noisy: np.ndarray, noise: NoiseEstimate, _: float) -> np.ndarray:
    """Our own motion-compensated recursion without its network, from past and future."""
    recursion = Recursion(noise_correlation=noise.spatial_correlation)
    estimates = [step.estimate for step in recursion.both_ways(_stabilised(noisy, noise.model))]
    return noise.model.unstabilise(torch.stack(estimates)).numpy()


def _stabilised(noisy: np.ndarray, law: PoissonGaussian) -> Iterator[torch.Tensor]:
    return (law.stabilise(torch.from_numpy(frame.astype(np.float32))) for frame in noisy)


def _in_stabilised_domain(
    noisy: np.ndarray, law: PoissonGaussian, denoise_frame: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    clean = [denoise_frame(frame.numpy().astype(np.float64)) for frame in _stabilised(noisy, law)]
    return law.unstabilise(torch.from_numpy(np.stack(clean).astype(np.float32))).numpy()


RIVALS = (
    Rival("noisy", (0.0,), "", lambda noisy, noise, setting: noisy.astype(np.float32)),
    Rival("recursive filter 0.2", (0.2,), "weight", recursive_filter, frame_by_frame=False),
    Rival("recursive filter, best", (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "weight", recursive_filter, frame_by_frame=False),
    Rival("Gaussian", (0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0), "px", gaussian),
    Rival("non-local means", (0.6, 0.8, 1.0, 1.3, 1.7, 2.2), "h", non_local_means, needs="skimage"),
    Rival("BM3D", (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3), "sigma", bm3d, needs="bm3d"),
    Rival("our recursion, causal", (0.0,), "", causal_recursion, frame_by_frame=False),
    Rival("our recursion, both ways", (0.0,), "", recursion_both_ways, frame_by_frame=False),
)
