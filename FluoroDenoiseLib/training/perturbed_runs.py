"""Noisy runs prepared twice, with a little more of their own noise and with the same taken off, for risks that need no
clean image.

The recursion's predictions do not depend on the network's weights, so what they make of the added noise can be kept; a
training then only runs its network on both. See risk.py for the use of it.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.motion import smooth
from FluoroDenoiseLib.recursion import BothWays, Recursion, variance_of_mean
from FluoroDenoiseLib.training.preparation import NoisyRun, frames_of
from FluoroDenoiseLib.training.residual_noise import Pair
from FluoroDenoiseLib.training.run_noise import RunNoise

POINTS_PER_RUN = 4_000
POINTS_PER_FRAME = 500
STANDS_OUT = 16.0  # squared averaged innovation, in its own variances, from which on a pixel is no chance of the noise
REMEASURED = 10  # frames by which the noise is measured once more
LARGEST_IN_HALF = 64.0  # above this float16 steps are no longer small beside a perturbation


class Perturbed:
    """Where each plane stands in a perturbed run [T, 12, H, W]: five with the noise taken off, the same five with it added,
    the target and the noise itself as it would be in the target."""

    noisy, forward, forward_deviation, backward, backward_deviation = range(5)
    guides = slice(1, 5)
    half = 5
    target, probe = 10, 11
    count = 12


class Understood(NamedTuple):
    """A noisy run with its noise."""

    run: NoisyRun
    noise: RunNoise


Remeasure = Callable[[RunNoise, Pair], RunNoise]


def write_perturbed(
    understood: Understood, folder: Path, perturbation: float, remeasure: Remeasure = lambda noise, pair: noise
) -> dict:
    """Put planes.npy (see Perturbed), points.npy and learnable.npy into `folder`, a frame at a time; returns the facts.

    remeasure(noise, pair) may correct the noise by some of the frames, before the run is perturbed with it. Steps
    of grey are spread over their width: by them a network would know the added noise from the
    run's own.

    All is relative to the run's mean level. The target is the noisy frame, or, where a vendor's recursive filter is on,
    what went into that filter. points: [N, 3], frame, row, column where a frame stands out against both predictions:
    things that the recursion does not follow. learnable: the frames whose noise is that of the run.
    """
    frames, noise = frames_of(understood.run), understood.noise
    height, width = np.shape(frames[0])
    level = float(noise.law.stabilise(torch.tensor(float(np.mean([np.mean(frame, dtype=np.float64) for frame in frames])))))
    largest = max(abs(float(noise.law.stabilise(torch.tensor(float(end)))) - level) for end in (np.min(frames[0]), np.max(frames[0])))
    kind = np.float16 if largest < LARGEST_IN_HALF else np.float32
    planes = np.lib.format.open_memmap(folder / "planes.npy", "w+", kind, (len(frames), Perturbed.count, height, width))
    def stabilised() -> Iterator[Tensor]:
        spread = np.random.default_rng(0)
        for frame in frames:
            stored = np.array(frame, np.float32)
            stored += noise.grey_step * (spread.random(stored.shape, np.float32) - 0.5)
            yield noise.law.stabilise(torch.from_numpy(stored)) - level

    recursion = Recursion(noise_correlation=noise.found_correlation)
    relative = replace(noise, levels=tuple(one - level for one in noise.levels))
    first = max(0, (len(frames) - REMEASURED) // 2)
    some = list(islice(stabilised(), first, first + REMEASURED))
    more = list(relative.more(some, seed=1))

    def with_more(by: float) -> np.ndarray:
        return np.stack([_planes_of(step) for step in recursion.both_ways(one + by * extra for one, extra in zip(some, more))])

    below, above = with_more(-perturbation), with_more(perturbation)
    relative = remeasure(relative, Pair(below, above, torch.stack(some).numpy(), torch.stack(more).numpy(), perturbation))
    del some, more, below, above

    def perturbed(by: float) -> Iterator[Tensor]:
        for frame, extra in zip(stabilised(), relative.more(stabilised(), seed=0)):
            yield frame + by * extra

    learnable, before = [], (None, None)
    for index, (frame, more) in enumerate(zip(stabilised(), relative.more(stabilised(), seed=0))):
        planes[index, Perturbed.target] = noise.undone(frame, before[0]).numpy()
        planes[index, Perturbed.probe] = noise.undone(more, before[1]).numpy()
        before = frame, more
        if noise.describes(frame, index):
            learnable.append(index)
    points = []
    for start, by in ((0, -perturbation), (Perturbed.half, perturbation)):
        for index, step in enumerate(recursion.both_ways(perturbed(by))):
            planes[index, start : start + Perturbed.half] = _planes_of(step)
            points += [(index, row, column) for row, column in _standing_out(step, noise.found_correlation, index)]
    planes.flush()
    chosen = np.random.default_rng(0).permutation(len(points))[:POINTS_PER_RUN]
    np.save(folder / "points.npy", np.array(points, np.int32).reshape(-1, 3)[chosen])
    np.save(folder / "learnable.npy", np.array(learnable, np.int32))
    return _facts(understood._replace(noise=relative), height, width)


def _planes_of(step: BothWays) -> np.ndarray:
    """[5, H, W]: the frame, then prediction and deviation from the past and from the future."""
    planes = (step.frame, step.forward, step.forward_variance.sqrt(), step.backward, step.backward_variance.sqrt())
    return torch.stack(planes).numpy()


def _standing_out(step: BothWays, correlation: float, index: int) -> np.ndarray:
    """[N, 2] rows and columns where the averaged frame departs from what the past and the future both predict."""
    departures = torch.stack([smooth(step.frame - one, 1.0).square() for one in (step.forward, step.backward)])
    unlikely = departures.amin(0) / variance_of_mean(1.0, correlation) > STANDS_OUT
    found = np.argwhere(unlikely.numpy())
    return found[np.random.default_rng(index).permutation(len(found))[:POINTS_PER_FRAME]]


def _facts(understood: Understood, height: int, width: int) -> dict:
    run, noise = understood
    frames = frames_of(run)
    facts = {"frames": len(frames), "height": height, "width": width, "noise_correlation": noise.correlation,
             "temporal_correlation": noise.persistence}
    if noise.law.gain > 0:
        mean = float(np.mean(frames[len(frames) // 2]))
        facts["quanta"] = (mean - noise.law.pedestal) / noise.law.gain
    if isinstance(run, FluoroRun):
        facts |= {"bits": run.bits_stored, "frame_rate_hz": 1 / run.frame_time_s, "domain": run.intensity_relationship}
    return facts
