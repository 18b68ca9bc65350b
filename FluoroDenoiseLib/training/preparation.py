"""What a training keeps of a run: stabilised frames, the recursion's guides, the truth where there is one, and its facts.

Written once as arrays, so that clips can be read from the disk a piece at a time. Facts are plain values for the model's
card: bits, dose, frame rate; never a name.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from FluoroDenoiseLib.detector import noise_gain
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.noise import PoissonGaussian, estimate_noise
from FluoroDenoiseLib.recursion import Recursion
from FluoroDenoiseLib.simulate import SimulatedRun, SimulationSettings

TOOL_POINTS_PER_RUN = 4_000
WELL_VISIBLE = 0.4
FULLY_VISIBLE_SIGMA = 2.0
REMEMBERED_FRAMES = 2  # to either side, for which the place of a tool still matters: a ghost of it is an error too
REMEMBERED_SHARE = 0.5  # of what the tool itself matters; as much as that, and a network that is unsure would fade it
MODEL_TOLERANCE = 1.6

NoisyRun = FluoroRun | Sequence[np.ndarray]


class Planes:
    """Where each plane stands in a prepared simulated run [T, 7, H, W]."""

    noisy, forward, forward_deviation, backward, backward_deviation, truth, tool = range(7)
    guides = slice(1, 5)


def frames_of(run: NoisyRun) -> Sequence[np.ndarray]:
    return run.frames if isinstance(run, FluoroRun) else run


def digest_of_simulated(run: SimulatedRun) -> str:
    """The SHA-256 of everything that a simulated run holds."""
    described = json.dumps([asdict(run.settings), None if run.noise is None else asdict(run.noise)])
    return _digest(described, run.noisy, run.clean, run.without_tools)


def digest_of_noisy(run: NoisyRun) -> str:
    """The SHA-256 of a run's pixels; frames are read one at a time."""
    return _digest("", frames_of(run))


def _digest(described: str, *series: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256(described.encode())
    for frames in series:
        for frame in frames:
            frame = np.ascontiguousarray(frame)
            digest.update(f"{frame.dtype.str}{frame.shape}".encode())
            digest.update(frame.data)
    return digest.hexdigest()


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
    truth = stabilised_truth(noise, torch.from_numpy(np.array(run.clean)))
    without = stabilised_truth(noise, torch.from_numpy(np.array(run.without_tools)))
    level = float(truth.mean())
    frames = noise.stabilise(torch.from_numpy(run.noisy.astype(np.float32)))
    planes = np.empty((len(frames), 7, *frames.shape[1:]), np.float16)
    planes[:, Planes.noisy] = (frames - level).numpy()
    for index, guides in enumerate(_guides(iter(frames), correlation, level)):
        planes[index, Planes.guides] = guides
    planes[:, Planes.truth] = (truth - level).numpy()
    planes[:, Planes.tool] = ((truth - without).abs() / FULLY_VISIBLE_SIGMA).clamp(0, 1).numpy()
    return planes


def where_tools_matter(planes: np.ndarray) -> np.ndarray:
    """[T, H, W]: the visibility of tools in planes [T, 7, H, W], or a share of that some frames before or after if it is larger."""
    tool = torch.from_numpy(planes[:, Planes.tool].astype(np.float32))
    span = 2 * REMEMBERED_FRAMES + 1
    reached = functional.max_pool3d(tool[None, None], (span, 1, 1), 1, (REMEMBERED_FRAMES, 0, 0))[0, 0]
    return torch.maximum(tool, REMEMBERED_SHARE * reached).numpy().astype(planes.dtype)


def _guides(frames: Iterator[Tensor], correlation: float, level: float) -> Iterator[np.ndarray]:
    """[4, H, W] for each frame: the recursion's prediction less `level` and its deviation, from the past, then the future."""
    for step in Recursion(noise_correlation=correlation).both_ways(frames):
        yield torch.stack([step.forward - level, step.forward_variance.sqrt(),
                           step.backward - level, step.backward_variance.sqrt()]).numpy()


def write_simulated(run: SimulatedRun, folder: Path) -> dict:
    """Put planes.npy and tool_points.npy ([N, 3]: frame, row, column where a tool is well visible) into `folder`.

    Returns the facts of the run.
    """
    planes = prepare_simulated(run)
    points = np.argwhere(planes[:, Planes.tool] > WELL_VISIBLE)
    chosen = np.random.default_rng(0).permutation(len(points))[:TOOL_POINTS_PER_RUN]
    planes[:, Planes.tool] = where_tools_matter(planes)
    np.save(folder / "planes.npy", planes)
    np.save(folder / "tool_points.npy", points[chosen].astype(np.int32))
    return facts_of(run.settings)


def facts_of(settings: SimulationSettings) -> dict:
    """The facts of a run simulated so."""
    height, width = settings.size
    return {"frames": settings.frames, "height": height, "width": width, "bits": settings.bits, "quanta": settings.quanta,
            "frame_rate_hz": 1 / settings.frame_time_s, "noise_correlation": settings.correlation, "domain": settings.domain}


def write_noisy(run: NoisyRun, folder: Path, with_guides: bool) -> dict:
    """Put frames.npy [T, H, W], stabilised, and if asked guides.npy [T, 4, H, W] into `folder`; a frame at a time.

    Both are relative to the run's mean level. Returns the facts of the run, quanta by the noise found. InputError where
    there is no noise to learn from.
    """
    frames = frames_of(run)
    estimate = estimate_noise(frames)
    noise = estimate.model
    if noise.is_noiseless:
        raise InputError("A training run holds no noise, so nothing can be learned from it; leave it out.")
    mean = float(np.mean([np.mean(frame, dtype=np.float64) for frame in frames]))
    level = float(noise.stabilise(torch.tensor(mean)))

    def stabilised() -> Iterator[Tensor]:
        for frame in frames:
            yield noise.stabilise(torch.from_numpy(np.array(frame, np.float32)))

    shape = len(frames), *np.shape(frames[0])
    kept = np.lib.format.open_memmap(folder / "frames.npy", "w+", np.float32, shape)
    for index, frame in enumerate(stabilised()):
        kept[index] = (frame - level).numpy()
    kept.flush()
    if with_guides:
        guides = np.lib.format.open_memmap(folder / "guides.npy", "w+", np.float16, (shape[0], 4, *shape[1:]))
        for index, planes in enumerate(_guides(stabilised(), estimate.spatial_correlation, level)):
            guides[index] = planes
        guides.flush()
    facts = {"frames": shape[0], "height": shape[1], "width": shape[2], "noise_correlation": estimate.spatial_correlation,
             "temporal_correlation": estimate.temporal_correlation}
    if noise.gain > 0:
        # A detector's blur takes variance from the noise, not quanta from the picture.
        facts["quanta"] = (mean - noise.pedestal) / noise.gain * noise_gain(estimate.spatial_correlation)
    if isinstance(run, FluoroRun) and run.source.kind == "dicom":  # other files leave it to be assumed
        facts |= {"bits": run.bits_stored, "frame_rate_hz": 1 / run.frame_time_s, "domain": run.intensity_relationship}
    return facts
