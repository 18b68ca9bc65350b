"""One frame of a run, clean, from its nearest neighbours alone: to be looked at before the whole run is denoised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import mixed
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.formats import kind_of, read_run, write_run
from FluoroDenoiseLib.jobs import DenoiseSettings, find_noise, provenance
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.noise import NoiseEstimate
from FluoroDenoiseLib.recursion import Recursion, Step
from FluoroDenoiseLib.targets import UsageError, check_targets
from FluoroDenoiseLib.tiling import Restorer
from FluoroDenoiseLib.windows import window_indices

SECONDS_FOR_NEIGHBOURS = 1.5
LEAST_REACH, MOST_REACH = 2, 8  # neighbours on each side; with fewer it would not look like the run, more add little
TRIAL_SIDE = 128


def preview_file(
    source: Path, target: Path, index: int, model: Model, compute: Compute, settings: DenoiseSettings,
    overwrite: bool = True, check: Callable[[], None] = lambda: None,
) -> dict:
    """Denoise frame `index` of a .npy or .tif file into another with this frame alone.

    Returns what a person should know: output, reach (neighbours used on each side), device, seconds. check() is called
    between the steps and may raise. Raises the errors of errors.py; the target is then as it was before.
    """
    begin = time.monotonic()
    if kind_of(source) not in ("npy", "tiff"):
        raise UsageError(f"A frame of {source.name} alone has no place in a file of its kind; give the run as .npy.")
    check_targets(source, target, overwrite=overwrite)
    run = read_run(source)
    if not 0 <= index < len(run):
        raise InputError(f"Frame {index} is asked for, but {source.name} has frames 0 to {len(run) - 1}.")
    noise = find_noise(run, settings.noise)
    check()
    reach = affordable_reach(run.frames[0].shape, model.restorer, compute)
    check()
    clean = denoise_one(run.frames, index, model.restorer, noise, compute, reach, settings.strength, check)
    alone = replace(run, frames=[run.frames[index]], frame_times_s=(0.0,), source=replace(run.source, header=None))
    write_run(target, [clean.cpu().numpy()], alone, provenance(model, settings, noise))
    return {"output": str(target), "reach": reach, "device": compute.device, "seconds": round(time.monotonic() - begin, 3)}


@torch.no_grad()
def denoise_one(
    frames: Sequence[np.ndarray], index: int, restorer: Restorer, noise: NoiseEstimate, compute: Compute,
    reach: int = MOST_REACH, strength: float = 1.0, check: Callable[[], None] = lambda: None,
) -> Tensor:
    """Frame `index`, float32 stored values [H, W]; the recursion sees `reach` frames before it and, if it looks ahead, after.

    With a reach over the whole of a run no longer than a block of the recursion it is the frame that `denoise` gives.
    """
    def stored(number: int) -> Tensor:
        return torch.as_tensor(np.asarray(frames[number], np.float32)).to(compute.torch_device)

    def stabilised(numbers: Iterable[int]) -> Iterable[Tensor]:
        for number in numbers:
            check()
            yield noise.model.stabilise(stored(number))

    noisy = stored(index)
    if noise.model.is_noiseless or strength == 0:
        return noisy
    recursion = Recursion(noise_correlation=noise.spatial_correlation)
    guides: list[Tensor] = []
    if restorer.guides != "none":
        guides += _guides(recursion, stabilised(range(max(0, index - reach), index + 1)))
    if restorer.guides == "both":
        guides += _guides(recursion, stabilised(range(min(len(frames) - 1, index + reach), index - 1, -1)))
    window = torch.stack(list(stabilised(window_indices(index, restorer.radius, len(frames)))))
    with compute.autocast():
        estimate = restorer(window[None], torch.stack(guides)[None] if guides else None).float()
    return mixed(noisy, noise.model.unstabilise(estimate)[0], strength)


def affordable_reach(shape: tuple[int, int], restorer: Restorer, compute: Compute) -> int:
    """How many neighbours on each side the recursion can follow in SECONDS_FOR_NEIGHBOURS, between LEAST and MOST_REACH."""
    if compute.is_gpu or restorer.guides == "none":
        return MOST_REACH
    trial = torch.randn(2, *(min(side, TRIAL_SIDE) for side in shape), generator=torch.Generator().manual_seed(0))
    begin = time.perf_counter()
    _walk(Recursion(), trial)
    seconds = (time.perf_counter() - begin) * shape[0] * shape[1] / trial[0].numel()
    steps = SECONDS_FOR_NEIGHBOURS / seconds
    return int(min(max(steps / (2 if restorer.guides == "both" else 1), LEAST_REACH), MOST_REACH))


def _guides(recursion: Recursion, stabilised: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """What the others predict for the last of these frames, and its standard deviation, [H, W]."""
    step = _walk(recursion, stabilised)
    return step.prediction, step.prediction_variance.sqrt()


@torch.no_grad()
def _walk(recursion: Recursion, stabilised: Iterable[Tensor]) -> Step:
    state = None
    for frame in stabilised:
        step, state = recursion.step(frame, state)
    return step
