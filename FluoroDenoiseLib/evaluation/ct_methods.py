"""The methods of the CT comparison: our models, and classical filters with their best settings."""

from __future__ import annotations

import importlib.util
import time
from dataclasses import dataclass
from typing import Callable, Iterator, Sequence

import numpy as np
import torch

from FluoroDenoiseLib.ct_noise import blur
from FluoroDenoiseLib.ct_restorer import CtRestorer
from FluoroDenoiseLib.evaluation.ct_metrics import noise_left
from FluoroDenoiseLib.evaluation.ct_scenes import CtScene, level_of
from FluoroDenoiseLib.windows import window_indices

Restore = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CtRival:
    """run(slice [H, W] HU, noise HU, setting) -> [H, W]; needs: the package without which it is left out."""

    name: str
    settings: tuple[float, ...]
    run: Callable[[np.ndarray, float, float], np.ndarray]
    needs: str | None = None

    @property
    def missing(self) -> bool:
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


def _gaussian(slice_: np.ndarray, noise: float, sigma_px: float) -> np.ndarray:
    return blur(torch.from_numpy(np.ascontiguousarray(slice_, np.float32))[None, None], sigma_px)[0, 0].numpy()


def _non_local_means(slice_: np.ndarray, noise: float, strength: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(slice_ / noise, patch_size=5, patch_distance=8, h=strength, sigma=1.0, fast_mode=True) * noise


def _bm3d(slice_: np.ndarray, noise: float, sigma: float) -> np.ndarray:
    from bm3d import bm3d

    width = float(np.ptp(slice_)) or 1.0
    return bm3d(slice_.astype(np.float64) / width, sigma * noise / width) * width


RIVALS = (
    CtRival("Gaussian", (0.8, 1.2, 1.7, 2.4), _gaussian),
    CtRival("non-local means", (0.8, 1.2, 1.7, 2.4), _non_local_means, needs="skimage"),
    CtRival("BM3D", (1.0, 1.5, 2.2), _bm3d, needs="bm3d"),
)


def of_model(restorer: CtRestorer, scene: CtScene, strength: float = 1.0) -> Restore:
    """Slices of a scene through a model; where they are repeats, each without neighbours. strength: as of `denoise`."""
    reach = 0 if scene.alone else restorer.reach(scene.slice_mm)

    def restore(slices: np.ndarray) -> np.ndarray:
        noisy, count = torch.from_numpy(np.ascontiguousarray(slices, np.float32)), len(slices)
        around = [[index] * (2 * restorer.radius + 1) if scene.alone else window_indices(index, restorer.radius, count) for index in range(count)]
        estimates = torch.cat([restorer(noisy[None, window]).float() for window in around]).cpu()
        made = []
        for index in range(count):
            near = np.s_[max(0, index - reach) : index + reach + 1]
            made.append(restorer.finish(noisy[near], estimates[near], index - near.start, scene.pixel_mm, scene.slice_mm).numpy())
        return slices + strength * (np.stack(made) - slices)

    return restore


def methods(scene: CtScene, restorers: list[CtRestorer], rivals: Sequence[CtRival], strength: float = 1.0) -> Iterator[tuple[str, Restore]]:
    """(name, restore) of each, the noisy slices first; models with this strength.

    A rival has the setting with the least squared error to the truth of a slice, a favour; without a truth the mildest that
    leaves half of the noise or less.
    """
    yield "noisy", lambda slices: np.asarray(slices, np.float32)
    for restorer in restorers:
        name = restorer.name if strength == 1 else f"{restorer.name}, strength {strength:g}"
        yield name, of_model(restorer, scene, strength)
    for rival in rivals:
        if not rival.missing:
            yield rival.name, _settled(rival, scene)


def _settled(rival: CtRival, scene: CtScene) -> Restore:
    noise, middle = level_of(scene.noisy), len(scene.noisy) // 2
    sample = scene.noisy[middle]

    def badness(setting: float) -> float:
        made = rival.run(sample, noise, setting)
        if scene.truth is not None:
            return float(((made - scene.truth[middle])[scene.body] ** 2).mean())
        left = noise_left(made[None], scene.uniform) / noise_left(sample[None], scene.uniform)
        return setting if left <= 0.5 else 1e6 * left

    setting = min(rival.settings, key=badness)
    return lambda slices: np.stack([rival.run(one, noise, setting) for one in slices]).astype(np.float32)


def timed(restore: Restore, slices: np.ndarray) -> tuple[np.ndarray, float]:
    """(what it makes, processor seconds a slice)."""
    begin = time.process_time()
    made = restore(slices)
    return made, (time.process_time() - begin) / len(slices)
