"""Training clips: small pieces of runs in the stabilised domain, drawn at random and reproducibly.

A bank prepares every run once (stabilised frames, the recursion's guides, the truth where there is one) into
memory-mapped float16 files, and then only reads the pieces it draws: memory does not grow with the number of runs.
The draw of step n depends on the seed and n alone, so a resumed training sees what an uninterrupted one would.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.noise import PoissonGaussian, estimate_noise
from FluoroDenoiseLib.recursion import Recursion
from FluoroDenoiseLib.simulate import SimulatedRun
from FluoroDenoiseLib.windows import window_indices

TOOL_POINTS_PER_RUN = 4_000
FULLY_VISIBLE_SIGMA = 2.0
MODEL_TOLERANCE = 1.6


class SimulatedClips(NamedTuple):
    windows: Tensor  # [B, 2r+1, P, P]
    guides: Tensor  # [B, 4, P, P]: prediction and deviation from the past, the same from the future
    truth: Tensor  # [B, P, P]
    tool: Tensor  # [B, P, P], 0 where there is no tool, 1 where one stands out by 2 sigma or more


class Planes:
    """Where each plane stands in a prepared run [T, 7, H, W]."""

    noisy, forward, forward_deviation, backward, backward_deviation, truth, tool = range(7)
    guides = slice(1, 5)


def stabilised_truth(noise: PoissonGaussian, clean: Tensor) -> Tensor:
    """The value whose unbiased inverse is `clean`: what the mean of stabilised noisy frames converges to.

    Found by interpolating the inverse, which rises monotonically.
    """
    ends = noise.stabilise(torch.stack([clean.min(), clean.max()]))
    grid = torch.linspace(float(ends[0]) - 2, float(ends[1]) + 2, 4096)
    values = noise.unstabilise(grid)
    upper = torch.searchsorted(values, clean.contiguous()).clamp(1, len(grid) - 1)
    low, high = values[upper - 1], values[upper]
    share = ((clean - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
    return grid[upper - 1] + share * (grid[upper] - grid[upper - 1])


def noise_as_found(run: SimulatedRun) -> tuple[PoissonGaussian, float]:
    """The noise law and its spatial correlation as the denoiser would find them in this run.

    Where the true law is known and the estimate is far off, the true one: a network should learn the estimator's
    small errors, not its failures.
    """
    estimate = estimate_noise(run.noisy)
    found = estimate.model
    if run.noise is not None:
        middle = float(np.median(run.clean))
        ratio = float(found.variance(middle)) / float(run.noise.variance(middle))
        if not 1 / MODEL_TOLERANCE < ratio < MODEL_TOLERANCE:
            found = run.noise
    return found, estimate.spatial_correlation


def prepare_simulated(run: SimulatedRun) -> np.ndarray:
    """A run as [T, 7, H, W] float16, relative to its own mean level. See Planes for the order."""
    noise, correlation = noise_as_found(run)
    truth = stabilised_truth(noise, torch.from_numpy(np.ascontiguousarray(run.clean)))
    without = stabilised_truth(noise, torch.from_numpy(np.ascontiguousarray(run.without_tools)))
    level = float(truth.mean())
    frames = noise.stabilise(torch.from_numpy(run.noisy.astype(np.float32)))
    planes = np.empty((len(frames), 7, *frames.shape[1:]), np.float16)
    for index, step in enumerate(Recursion(noise_correlation=correlation).both_ways(frames)):
        planes[index, Planes.noisy] = (frames[index] - level).numpy()
        planes[index, Planes.forward] = (step.forward - level).numpy()
        planes[index, Planes.forward_deviation] = step.forward_variance.sqrt().numpy()
        planes[index, Planes.backward] = (step.backward - level).numpy()
        planes[index, Planes.backward_deviation] = step.backward_variance.sqrt().numpy()
    planes[:, Planes.truth] = (truth - level).numpy()
    planes[:, Planes.tool] = ((truth - without).abs() / FULLY_VISIBLE_SIGMA).clamp(0, 1).numpy()
    return planes


@dataclass(frozen=True)
class PreparedRun:
    planes: np.ndarray  # [T, 7, H, W], memory-mapped
    tool_points: np.ndarray  # [N, 3] frame, row, column where a tool is well visible


class SimulatedBank:
    """Clips of simulated runs with their truth, for supervised training."""

    def __init__(self, runs: Iterable[SimulatedRun], cache: Path):
        cache.mkdir(parents=True, exist_ok=True)
        self.runs = [self._prepared(run, cache / f"run_{index:04d}.npy") for index, run in enumerate(runs)]

    @staticmethod
    def _prepared(run: SimulatedRun, path: Path) -> PreparedRun:
        if not path.exists():
            temporary = path.with_suffix(".tmp.npy")
            np.save(temporary, prepare_simulated(run))
            temporary.replace(path)
        planes = np.load(path, mmap_mode="r")
        points = np.argwhere(planes[:, Planes.tool] > 0.4)
        chosen = np.random.default_rng(0).permutation(len(points))[:TOOL_POINTS_PER_RUN]
        return PreparedRun(planes, points[chosen])

    def draw(self, seed: int, step: int, batch: int, patch: int, radius: int, guides: str, tool_share: float) -> SimulatedClips:
        """`batch` clips, the same for the same seed and step. Flipped, transposed and, with guides from both sides,
        reversed in time at random."""
        rng = np.random.default_rng([seed, step])
        pieces = [self._piece(rng, patch, radius, guides, tool_share) for _ in range(batch)]
        windows, predictions, truth, tool = (torch.from_numpy(np.stack(part)).float() for part in zip(*pieces))
        return SimulatedClips(windows, predictions, truth, tool)

    def _piece(self, rng, patch: int, radius: int, guides: str, tool_share: float) -> tuple[np.ndarray, ...]:
        run = self.runs[rng.integers(len(self.runs))]
        count, _, height, width = run.planes.shape
        row, column = rng.integers(height), rng.integers(width)
        frame = rng.integers(count)
        if len(run.tool_points) and rng.random() < tool_share:
            frame, row, column = run.tool_points[rng.integers(len(run.tool_points))]
            row, column = (centre + rng.integers(-patch // 3, patch // 3 + 1) for centre in (row, column))
        top = int(np.clip(row - patch // 2, 0, height - patch))
        left = int(np.clip(column - patch // 2, 0, width - patch))
        area = (slice(top, top + patch), slice(left, left + patch))
        neighbours = window_indices(int(frame), radius, count)
        window = np.stack([run.planes[index, Planes.noisy][area] for index in neighbours])
        centre = run.planes[frame][(slice(None), *area)]
        prediction = centre[Planes.guides]
        if guides == "causal":
            prediction = prediction[:2]
        elif rng.random() < 0.5:
            window, prediction = window[::-1], prediction[[2, 3, 0, 1]]
        turn = _random_turn(rng)
        parts = window, prediction, centre[Planes.truth], centre[Planes.tool]
        return tuple(np.ascontiguousarray(turn(part)) for part in parts)


def _random_turn(rng):
    flip, quarter_turns = rng.random() < 0.5, int(rng.integers(4))

    def turn(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array, quarter_turns, axes=(-2, -1))
        return turned[..., ::-1] if flip else turned

    return turn


class NoisyBank:
    """Clips of noisy runs of any kind, for training without clean images: only stabilised frames, no truth."""

    def __init__(self, runs: Sequence[Sequence[np.ndarray]], cache: Path):
        cache.mkdir(parents=True, exist_ok=True)
        self.runs = [self._prepared(frames, cache / f"noisy_{index:04d}.npy") for index, frames in enumerate(runs)]

    @staticmethod
    def _prepared(frames: Sequence[np.ndarray], path: Path) -> np.ndarray:
        if not path.exists():
            noise = estimate_noise(frames).model
            temporary = path.with_suffix(".tmp.npy")
            shape = (len(frames), *np.asarray(frames[0]).shape)
            stabilised = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
            for index in range(len(frames)):
                stabilised[index] = noise.stabilise(torch.from_numpy(np.asarray(frames[index], np.float32))).numpy()
            stabilised.flush()
            temporary.replace(path)
        return np.load(path, mmap_mode="r")

    def draw(self, seed: int, step: int, batch: int, patch: int, radius: int) -> Tensor:
        """[B, 2r+1, P, P] windows of consecutive frames, mirrored at the ends of their run."""
        rng = np.random.default_rng([seed, step])
        windows = []
        for _ in range(batch):
            run = self.runs[rng.integers(len(self.runs))]
            count, height, width = run.shape
            side = min(patch, height, width)
            frame = int(rng.integers(count))
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            neighbours = window_indices(int(frame), radius, count)
            window = np.stack([run[index, top : top + side, left : left + side] for index in neighbours])
            windows.append(np.ascontiguousarray(_random_turn(rng)(window)))
        return torch.from_numpy(np.stack(windows))
