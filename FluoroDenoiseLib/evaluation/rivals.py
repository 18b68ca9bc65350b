"""What a person would use instead: classical filters, each given the same noise and its best setting.

Each has a list of settings, and the evaluation reports the one with the best PSNR against the truth: a favour that a user in
the clinic could not do them, so that ours is not compared with a straw man. For noise that is correlated, BM3D's best sigma
lies above the true one.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from FluoroDenoiseLib.evaluation.metrics import psnr
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene
from FluoroDenoiseLib.evaluation.spatial_filters import bm3d, gaussian, non_local_means, total_variation, wavelet
from FluoroDenoiseLib.evaluation.temporal_filters import (
    REACH, bm4d, causal_recursion, multi_frame_nlm, recursion_both_ways, recursive_filter, variance_conditioned_average,
)  # fmt: skip
from FluoroDenoiseLib.noise import NoiseEstimate

Filter = Callable[[np.ndarray, NoiseEstimate, float], np.ndarray]

FEW = 2
"""A costly rival is judged on so many frames of a run."""
TRIAL_PX = 128
"""A costly rival that needs the whole run is tried on the middle of its frames, so many pixels a side."""


@dataclass(frozen=True)
class Rival:
    """A method with its settings. run(noisy [T, H, W], noise, setting) -> [T, H, W], stored values.

    frame_by_frame: no frame sees another, so that a few frames can be denoised alone. needs: the package it needs. reach:
    frames on either side that a frame sees; None for all of them. costly: seconds or minutes a frame, so that the search
    for its best setting climbs from the middle one instead of trying all. licence: a sentence where it is not free.
    """

    name: str
    settings: tuple[float, ...]
    unit: str
    run: Filter
    frame_by_frame: bool = True
    needs: str | None = None
    reach: int | None = None
    costly: bool = False
    licence: str = ""

    @property
    def missing(self) -> str | None:
        """A sentence if the rival cannot run here."""
        if self.needs is None or importlib.util.find_spec(self.needs) is not None:
            return None
        return f"{self.name} is left out: the Python package {self.needs} is not installed."

    def judged(self, scene: EvaluationScene) -> np.ndarray:
        """The indices of the frames on which it is judged: those of the scene, FEW in the middle if each costs much."""
        frames = np.arange(len(scene.noisy))[scene.judged]
        if not (self.costly and self.frame_by_frame):
            return frames
        middle = len(frames) // 2
        return frames[max(0, middle - FEW + 1) : middle + 1]


@dataclass(frozen=True)
class Timed:
    """estimate: [T, H, W], stored values; cpu_s: processor seconds a frame, over all cores; wall_s: by the clock."""

    estimate: np.ndarray
    cpu_s: float
    wall_s: float


def timed(rival: Rival, noisy: np.ndarray, noise: NoiseEstimate, setting: float) -> Timed:
    """Run a rival with one setting and count its time."""
    begin, clock = time.process_time(), time.perf_counter()
    estimate = rival.run(noisy, noise, setting)
    return Timed(estimate, (time.process_time() - begin) / len(noisy), (time.perf_counter() - clock) / len(noisy))


def best_setting(rival: Rival, scene: EvaluationScene, noise: NoiseEstimate) -> float:
    """The setting with the best PSNR: on the middle frame, or on the whole run if the rival has a memory of it.

    A rival that sees a few frames at once is tried on those round the middle, on the inner half of them both ways.
    A costly rival climbs from its middle setting and stops at the first that is worse; if it needs the whole run, it
    does so on the middle of the frames. The middle setting where the truth is not known.
    """
    settings = rival.settings
    if len(settings) == 1 or scene.clean is None:
        return settings[len(settings) // 2]
    seen, shown = _trial(rival, scene)
    noisy, clean = scene.noisy[seen], scene.clean[seen][shown]

    def quality(setting: float) -> float:
        return psnr(rival.run(noisy, noise, setting)[shown], clean, scene.span)

    return climb(settings, quality) if rival.costly else max(settings, key=quality)


def climb(settings: tuple[float, ...], quality: Callable[[float], float]) -> float:
    """The setting of best quality, reached uphill from the middle one: the best of all where there is one hill."""
    at = len(settings) // 2
    known = {at: quality(settings[at])}
    while True:
        for near in (at + 1, at - 1):
            if 0 <= near < len(settings) and near not in known:
                known[near] = quality(settings[near])
                if known[near] > known[at]:
                    break
        best = max(known, key=known.__getitem__)
        if best == at:
            return settings[at]
        at = best


def _trial(rival: Rival, scene: EvaluationScene) -> tuple[tuple[slice, ...], slice]:
    """(what of the run a rival is tried on, which frames of that are looked at)."""
    middle = len(scene.noisy) // 2
    if rival.frame_by_frame:
        return (slice(middle, middle + 1),), slice(None)
    if rival.reach is not None:
        halves = (slice(side // 4, side - side // 4) for side in scene.noisy.shape[1:])
        return (slice(max(0, middle - rival.reach), middle + rival.reach + 1), *halves), slice(None)
    if not rival.costly:
        return (slice(None),), scene.judged
    inner = (slice(max(0, (side - TRIAL_PX) // 2), (side + TRIAL_PX) // 2) for side in scene.noisy.shape[1:])
    return (slice(None), *inner), scene.judged


NOT_FREE = "its licence allows non-commercial use only, so it is no dependency of FluoroDenoise; it ran here because it is installed."
RIVALS = (
    Rival("noisy", (0.0,), "", lambda noisy, noise, setting: noisy.astype(np.float32)),
    Rival("recursive filter 0.2", (0.2,), "weight", recursive_filter, frame_by_frame=False),
    Rival("recursive filter, best", (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), "weight", recursive_filter, frame_by_frame=False),
    Rival("NVCA", (1.5, 2.0, 2.5, 3.0, 4.0, 6.0), "sigma", variance_conditioned_average, frame_by_frame=False, reach=REACH),
    Rival("Gaussian", (0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3.0, 4.0), "px", gaussian),
    Rival("wavelet", (0.7, 1.0, 1.4, 2.0, 2.8, 4.0), "sigma", wavelet, needs="skimage"),
    Rival("total variation", (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.5), "weight", total_variation, needs="skimage"),
    Rival("non-local means", (0.6, 0.8, 1.0, 1.3, 1.7, 2.2), "h", non_local_means, needs="skimage"),
    Rival("multi-frame NLM", (0.45, 0.6, 0.8, 1.1, 1.5, 2.0), "h", multi_frame_nlm, frame_by_frame=False, needs="cv2", reach=REACH),
    Rival("BM3D", (1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3), "sigma", bm3d, needs="bm3d", costly=True, licence=NOT_FREE),
    Rival("BM4D", (1.0, 1.5, 2.0, 2.7, 3.5), "sigma", bm4d, frame_by_frame=False, needs="bm4d", costly=True, licence=NOT_FREE),
    Rival("our recursion, causal", (0.0,), "", causal_recursion, frame_by_frame=False),
    Rival("our recursion, both ways", (0.0,), "", recursion_both_ways, frame_by_frame=False),
)
