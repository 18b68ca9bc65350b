"""Lag: how much of the picture before is still in the first picture after something vanished.

    L1 = < y_after - y_settled, before - after > / < before - after, before - after >

The step test of detectors, with a tool that is there in one frame and gone in the next, everything else at rest. 0 for a
method that looks at one frame only, (1 - a) for a recursive filter y_t = a x_t + (1 - a) y_(t-1). The step is shown twice,
with the same noise of opposite signs: where a method is linear, noise leaves the mean of both untouched.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from FluoroDenoiseLib.detector import blur, noise_gain
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene

FRAMES = 12
STEP = 5  # the first frame without the tool


@dataclass(frozen=True)
class StepRun:
    """noisy, opposite: [T, H, W] stored values with noise of opposite signs; before, after: [H, W], clean, round the step."""

    noisy: np.ndarray
    opposite: np.ndarray
    before: np.ndarray
    after: np.ndarray


def step_run(scene: EvaluationScene, seed: int = 0) -> StepRun:
    """The middle frame of a scene with its tools, from frame STEP on without them, with the scene's noise."""
    if scene.true_noise is None or np.array_equal(scene.clean, scene.without_tools):
        raise InputError(f'Scene "{scene.name}" has no tool or no known noise, so its lag cannot be measured; take q8, q30 or q120.')
    middle = len(scene.clean) // 2
    before, after = scene.clean[middle], scene.without_tools[middle]
    clean = np.stack([before] * STEP + [after] * (FRAMES - STEP))
    correlation = scene.true_noise.spatial_correlation
    white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    unit = (blur(white, correlation) / noise_gain(correlation) ** 0.5).numpy()
    noise = unit * np.sqrt(scene.true_noise.model.variance(clean))
    return StepRun(clean + noise, clean - noise, before, after)


def lag(run: StepRun, restore: Callable[[np.ndarray], np.ndarray]) -> float:
    """L1 of a method that makes frames [T, H, W] of noisy ones; settled is the last frame."""
    change = np.subtract(run.before, run.after, dtype=float)
    estimate = 0.5 * (np.asarray(restore(run.noisy), float) + restore(run.opposite))
    left = estimate[STEP] - estimate[-1]
    return float((left * change).sum() / (change * change).sum())
