"""What a student learns from: a frame, what the teacher and its neighbours say of it, and whom to trust where.

None of it depends on the student, so it is computed once a run and read from a memory-mapped file afterwards, which is
named after the run's content, the teacher's, and every setting that goes in: another of them is another file.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import StudentRecipe
from FluoroDenoiseLib.recursion import Recursion
from FluoroDenoiseLib.training.clips import SIDE_MULTIPLE, Bank, NoisyBank, dice, random_turn
from FluoroDenoiseLib.training.cross_fusion import motion_confidence
from FluoroDenoiseLib.training.preparation import NoisyRun
from FluoroDenoiseLib.training.prepared_runs import PreparedRun, prepare_runs
from FluoroDenoiseLib.training.recursive_target import RecursiveTarget, recursive_target, tracked_target
from FluoroDenoiseLib.windows import window_indices

HELD_OUT = 8  # one run in so many, the last ones, is not trained on; none of fewer than four
JUDGING_FRAMES = 8
MAKING = 1  # raised whenever the same settings make other targets


class StudentClips(NamedTuple):
    """Frame x, teacher's T, recursive target R and motion A in 0..1, all [B, P, P], stabilised."""

    noisy: Tensor
    taught: Tensor
    recursive: Tensor
    moving: Tensor


class StudentBank(Bank):
    """Clips of noisy runs with the targets of step 2. The teacher is asked once, in evaluation mode, and never again.

    Raises ModelError where the teacher is a model of another kind.
    """

    def __init__(self, runs: Iterable[NoisyRun], cache: Path, teacher: Model, recipe: StudentRecipe, compute: Compute):
        check_teacher(teacher)
        noisy = NoisyBank(runs, cache)
        write = partial(write_targets, teacher=teacher, recipe=recipe, compute=compute)
        variant = "_" + _name_of_targets(teacher, recipe)
        super().__init__(noisy.runs)
        self.targets = prepare_runs(noisy.runs, cache, lambda run: run.sha256, write, variant)
        self.manifest["teacher"] = teacher.sha256
        self.held_out = max(1, len(self) // HELD_OUT) if len(self) >= 4 else 0

    def draw(self, seed: int, step: int, clips: range, patch: int) -> StudentClips:
        """These clips of a step, turned at random."""
        side = self.side(patch)
        pieces = [self._piece(dice(seed, step, clip), side) for clip in clips]
        return StudentClips(*torch.from_numpy(np.stack(pieces)).unbind(1))

    def judging_frames(self) -> Iterator[tuple[Tensor, float]]:
        """Whole frames [H, W] of the runs held out (of all, where none is), spread over them, with their noise's correlation.

        Cut at the lower and right edge to what every network takes.
        """
        runs = self.runs[-self.held_out :]
        for turn in range(JUDGING_FRAMES):
            run = runs[turn % len(runs)]
            frames = run.array("frames")
            frame = torch.from_numpy(frames[(2 * turn + 1) * len(frames) // (2 * JUDGING_FRAMES)].copy())
            height, width = (size // SIDE_MULTIPLE * SIDE_MULTIPLE for size in frame.shape)
            yield frame[:height, :width], run.facts["noise_correlation"]

    def shown(self) -> StudentClips:
        """The middle frame of the last run, whole but for what no network takes; [1, H, W] each."""
        frames, targets = self.runs[-1].array("frames"), self.targets[-1].array("targets")
        middle = len(frames) // 2
        height, width = (size // SIDE_MULTIPLE * SIDE_MULTIPLE for size in frames.shape[1:])
        planes = np.concatenate([frames[middle : middle + 1], targets[middle]])[:, None, :height, :width]
        return StudentClips(*torch.from_numpy(planes.astype(np.float32)))

    def _piece(self, rng, side: int) -> np.ndarray:
        index = int(rng.integers(len(self) - self.held_out))
        frames, targets = self.runs[index].array("frames"), self.targets[index].array("targets")
        count, height, width = frames.shape
        frame = int(rng.integers(count))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        area = (slice(top, top + side), slice(left, left + side))
        piece = np.concatenate([frames[(slice(frame, frame + 1), *area)], targets[(frame, slice(None), *area)]])
        return random_turn(rng)(piece.astype(np.float32))


def check_teacher(teacher: Model) -> None:
    """ModelError unless a student can be taught by it."""
    kind = teacher.card["recipe"].get("kind")
    if kind != "teacher":
        raise ModelError(f'Model {teacher.name} is of kind "{kind}" and no teacher; train one with docs/recipes/teacher_small.json.')


def write_targets(run: PreparedRun, folder: Path, teacher: Model, recipe: StudentRecipe, compute: Compute) -> dict:
    """Put targets.npy [T, 3, H, W] float16 (T, R and A of every frame) into `folder`; a few frames in memory at a time.

    run: frames.npy [T, H, W], stabilised. Returns the facts of the run, to which nothing is added.
    """
    frames = run.array("frames")
    targets = np.lib.format.open_memmap(folder / "targets.npy", "w+", np.float16, (len(frames), 3, *frames.shape[1:]))
    for index in range(len(frames)):
        said = taught(frames, index, teacher, compute).cpu()
        if not bool(said.half().isfinite().all()):
            raise ModelError(f"Teacher {teacher.name} gives numbers that are not finite; train it again with a lower learning_rate.")
        targets[index, 0] = said.numpy()
    correlation = run.facts["noise_correlation"]
    for index, recursive in enumerate(recursive_targets(frames, targets[:, 0], recipe, correlation, compute)):
        frame = torch.from_numpy(frames[index].copy()).to(compute.torch_device)
        moving = motion_confidence(*(plane[None] for plane in (frame, *recursive)))[0]
        targets[index, 1:] = torch.stack([recursive.target, moving]).cpu().numpy()
    targets.flush()
    return run.facts


@torch.no_grad()
def taught(frames: np.ndarray, index: int, teacher: Model, compute: Compute) -> Tensor:
    """What the teacher says of frame `index` of a stabilised run [T, H, W]; [H, W]."""
    window = frames[window_indices(index, teacher.restorer.radius, len(frames))]
    with compute.autocast():
        return teacher.restorer(torch.from_numpy(window)[None].to(compute.torch_device))[0].float()


def recursive_targets(
    frames: np.ndarray, guides: np.ndarray, recipe: StudentRecipe, correlation: float, compute: Compute
) -> Iterator[RecursiveTarget]:
    """R of every frame of a run, in order."""
    on_device = lambda array: torch.from_numpy(np.array(array, np.float32)).to(compute.torch_device)
    if recipe.recursion_form == "variance":
        yield from map(tracked_target, Recursion(noise_correlation=correlation).both_ways(map(on_device, frames)))
        return
    for index in range(len(frames)):
        first, last = max(0, index - recipe.neighbours), index + recipe.neighbours + 1
        near = on_device(frames[first:last]), on_device(guides[first:last])
        yield recursive_target(*near, index - first, recipe.neighbours, recipe.filter_weight, recipe.flow)


def _name_of_targets(teacher: Model, recipe: StudentRecipe) -> str:
    made_with = [MAKING, teacher.sha256, recipe.recursion_form]
    if recipe.recursion_form == "fixed":
        made_with += [recipe.filter_weight, recipe.neighbours, recipe.flow]
    return hashlib.sha256(json.dumps(made_with).encode()).hexdigest()[:12]
