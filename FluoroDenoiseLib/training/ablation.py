"""The ablation of step 2: each of its terms off and each of its choices changed, all else equal, judged on other scenes.

Every student has the same noisy runs (simulated; their truth is never read), the same steps and the same seeds as the student
with everything on. Judged are scenes that no training has seen. Started again, it goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Iterator

import numpy as np
import torch

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.lag import lag, step_run
from FluoroDenoiseLib.evaluation.metrics import score
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene, simulated_scene
from FluoroDenoiseLib.model_folder import Model, load_model
from FluoroDenoiseLib.noise import NoiseEstimate
from FluoroDenoiseLib.recipe import StudentRecipe, TeacherRecipe
from FluoroDenoiseLib.simulate import load_simulated, save_simulated
from FluoroDenoiseLib.training.loop import run_training
from FluoroDenoiseLib.training.scenes import training_runs
from FluoroDenoiseLib.training.student import StudentObjective
from FluoroDenoiseLib.training.student_bank import StudentBank, recursive_targets, taught
from FluoroDenoiseLib.training.teacher import train_teacher

QUANTA = 30.0
TRAINING_SEED = 7
FULL = "everything on"


@dataclass(frozen=True)
class Variant:
    """What is changed of the full student, for a reader, and how. kept: what the full one has instead, which is on trial.

    seeing: its teacher sees its centre frame.
    """

    name: str
    kept: str = ""
    changes: dict = field(default_factory=dict)
    seeing: bool = False


VARIANTS = (
    Variant(FULL),
    Variant("no distillation", "distillation", {"distillation": 0.0}),
    Variant("no recursive target", "the recursive target", {"recursion": 0.0}),
    Variant("no edge term", "the edge term", {"edge": 0.0}),
    Variant("matrix of the released code", "motion confidence as the matrix", {"matrix": "ldl"}),
    Variant("no matrix", "the matrix", {"matrix": "none"}),
    Variant("Fourier term added", "leaving out a Fourier term", {"fourier": 0.2}),
    Variant("teacher sees its centre", "a blind teacher", seeing=True),
    Variant("recursion tracks its variance", "a recursion of fixed weights", {"recursion_form": "variance"}),
    Variant("no flow", "flow", {"flow": False}),
)


@dataclass(frozen=True)
class Size:
    """How large an ablation is. steps: of every student and teacher; seeds: trainings of each variant;
    scenes: other scenes to judge them on."""

    steps: int = 600
    runs: int = 24
    seeds: int = 3
    scenes: int = 3
    side: int = 192
    frames: int = 10

    def teacher(self, seeing: bool) -> TeacherRecipe:
        return TeacherRecipe(name="seeing" if seeing else "blind", width=8, levels=3, blind=not seeing, steps=self.steps, batch=4,
                             patch=64, learning_rate=1e-3, checkpoint_every=_often(self.steps), preview_every=0)

    def student(self, variant: Variant, seed: int) -> StudentRecipe:
        recipe = StudentRecipe(name=variant.name, width=24, levels=3, steps=self.steps, patch=64, learning_rate=1e-3,
                               checkpoint_every=_often(self.steps), preview_every=0, seed=seed)
        return replace(recipe, **variant.changes)


@dataclass(frozen=True)
class Row:
    """One training (or target, or the noisy frames themselves) on one scene; PSNR in dB, contrast and lag as shares."""

    method: str
    seed: int
    scene: int
    psnr: float
    ssim: float
    psnr_near: float
    contrast: float
    lag: float


def ablate(folder: Path, size: Size, compute: Compute, judging: Compute) -> Iterator[Row]:
    """Train every variant and yield its rows as they come: the noisy frames and the targets first, then the students.

    folder: runs, teachers, students and prepared clips are kept there. compute: for training and what it
    learns from; judging: for the scenes.
    """
    runs = list(noisy_runs(folder / "runs", size))
    scenes = [simulated_scene(f"q{QUANTA:g}", seed, size.side, size.frames) for seed in range(size.scenes)]
    teachers = {}
    for seeing in (False, True):
        place = folder / ("teacher_seeing" if seeing else "teacher_blind")
        for _ in train_teacher(size.teacher(seeing), runs, place, compute):
            pass
        teachers[seeing] = load_model(place, judging)
    for index, scene in enumerate(scenes):
        yield from rows_of_targets(index, scene, teachers[False], judging)
    for seed in range(size.seeds):
        for variant in VARIANTS:
            student = train_variant(folder, size.student(variant, seed), runs, teachers[variant.seeing], compute)
            for index, scene in enumerate(scenes):
                yield judge(variant.name, seed, index, scene, lambda frames, noise: denoise(frames, student, noise, judging))


def noisy_runs(folder: Path, size: Size) -> Iterator[np.ndarray]:
    """Noisy frames [T, H, W] of `size.runs` simulated runs, memory-mapped, made once; their truth stays unread."""
    name = lambda index: folder / f"run_{size.side}_{size.frames}_{index:04d}"
    for index in range(size.runs):
        if not name(index).exists():
            fixed = dict(size=(size.side, size.side), frames=size.frames, quanta=QUANTA, correlation=0.25, domain="LIN",
                         bits=12, lag=0.0, vendor_recursion=0.0, ramp_up=False)
            save_simulated(next(training_runs(1, TRAINING_SEED, first=index, **fixed)), name(index))
        yield load_simulated(name(index)).noisy


def train_variant(
    folder: Path, recipe: StudentRecipe, runs: list[np.ndarray], teacher: Model, compute: Compute
) -> Model:
    """The trained student of one recipe, from its folder if it is there already."""
    bank = StudentBank(runs, folder / "clips", teacher, recipe, compute)
    place = folder / f"{recipe.name.replace(' ', '_')}_{recipe.seed}"
    for _ in run_training(recipe, place, compute, StudentObjective(recipe, bank, compute)):
        pass
    return load_model(place, compute)


def rows_of_targets(index: int, scene: EvaluationScene, teacher: Model, compute: Compute) -> Iterator[Row]:
    """What students learn from, judged like them: the noisy frames, the teacher, and three forms of the recursive target."""
    yield judge("noisy frames", 0, index, scene, lambda frames, noise: np.asarray(frames, np.float32))
    yield judge("teacher", 0, index, scene, lambda frames, noise: denoise(frames, teacher, noise, compute))
    forms = {"fixed weights": {}, "fixed weights, no flow": {"flow": False}, "tracking its variance": {"recursion_form": "variance"}}
    for name, changes in forms.items():
        recipe = replace(StudentRecipe(), **changes)
        yield judge(f"recursive target, {name}", 0, index, scene,
                    lambda frames, noise: target_of(frames, noise, teacher, recipe, compute))


def target_of(frames: np.ndarray, noise: NoiseEstimate, teacher: Model, recipe: StudentRecipe, compute: Compute) -> np.ndarray:
    """The recursive target of every frame of a run, in stored values, [T, H, W]."""
    stabilised = noise.model.stabilise(torch.from_numpy(np.asarray(frames, np.float32))).numpy()
    guides = np.stack([taught(stabilised, index, teacher, compute).cpu() for index in range(len(stabilised))])
    targets = recursive_targets(stabilised, guides, recipe, noise.spatial_correlation, compute)
    return np.stack([noise.model.unstabilise(each.target).cpu().numpy() for each in targets])


def judge(method: str, seed: int, index: int, scene: EvaluationScene, restore) -> Row:
    """restore(frames, noise) gives what a method makes of frames [T, H, W] of stored values."""
    noise, judged, step = scene.noise("estimated"), scene.judged, step_run(scene)
    scored = score(restore(scene.noisy, noise)[judged], scene.clean[judged], scene.without_tools[judged], scene.near[judged], scene.span)
    left = lag(step, lambda frames: restore(frames, noise))
    return Row(method, seed, index, scored.psnr, scored.ssim, scored.psnr_near, scored.contrast, left)


def _often(steps: int) -> int:
    return max(1, steps // 4)
