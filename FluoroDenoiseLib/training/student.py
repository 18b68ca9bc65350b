"""Step 2 of Jeon et al.: a student that sees one frame learns from a frozen teacher and from a recursive target.

    loss = r mean |S - R|_(1-A) + d mean |S - T|_A + e mean |M H(S) - M H*| + f fourier(S, T)

S student, T teacher, R recursive target, H the high wavelet bands; |.|_w weighted by w. By the recipe's matrix:
    "confidence"   A the motion confidence: the filter where it is still, the teacher where something moves;
                   M = 1/4 + A to mean 1, H* = (1 - A) H(R) + A H(T)
    "ldl"          both weights 1, M the artefact map of S, R and T, H* = H(R): the released code
    "none"         both weights 1, M = 1, H* = H(R)
With r or d 0 there is nothing to choose between, and the other of the two has weight 1 everywhere. The frame's noise is
neither in R nor in T, so a student cannot learn it. A and M depend on the frame, but carry no gradient. H(R) goes in without
a soft threshold: that would shrink the edges that the student is to keep, and noise independent of its input needs none.

Checkpoints are judged by Stein's estimate of the squared error (risk.py) on runs that are not trained on. It holds for any
network of one frame, whatever its targets. The distance to R or T would not do: a student that learns their blur would win.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.detector import blur, noise_gain
from FluoroDenoiseLib.losses import absolute, band_distance, fourier_amplitude
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import StudentRecipe
from FluoroDenoiseLib.training.cross_fusion import artefact_map, edge_matrix
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.preparation import NoisyRun
from FluoroDenoiseLib.training.risk import stein
from FluoroDenoiseLib.training.student_bank import StudentBank, StudentClips
from FluoroDenoiseLib.wavelet import high_bands

PROBE_STEP = 0.1  # of the noise's deviation: small against the bends of the network, large against rounding


class StudentLosses(NamedTuple):
    recursion: Tensor
    distillation: Tensor
    edge: Tensor
    fourier: Tensor


def student_losses(estimate: Tensor, clips: StudentClips, recipe: StudentRecipe) -> StudentLosses:
    """The four weighted terms of step 2 for estimates [B, P, P] of the clips' frames."""
    noisy, taught, recursive, moving = clips
    filter_trust = teacher_trust = matrix = torch.ones_like(moving)
    bands = high_bands(recursive, recipe.wavelet)
    if recipe.matrix == "confidence":
        matrix = edge_matrix(moving)
        bands = (1 - moving[:, None]) * bands + moving[:, None] * high_bands(taught, recipe.wavelet)
        if recipe.recursion and recipe.distillation:
            filter_trust, teacher_trust = 1 - moving, moving
    elif recipe.matrix == "ldl":
        matrix = artefact_map(noisy, estimate, recursive, taught)
    none = estimate.new_zeros(())
    return StudentLosses(
        recipe.recursion * absolute(estimate, recursive, filter_trust) if recipe.recursion else none,
        recipe.distillation * absolute(estimate, taught, teacher_trust) if recipe.distillation else none,
        recipe.edge * band_distance(high_bands(estimate, recipe.wavelet), bands, matrix) if recipe.edge else none,
        recipe.fourier * fourier_amplitude(estimate, taught) if recipe.fourier else none,
    )


class StudentObjective:
    """What step 2 minimises on a bank, and the risk by which its checkpoints are judged."""

    def __init__(self, recipe: StudentRecipe, bank: StudentBank, compute: Compute):
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.manifest, self.facts = bank.manifest, bank.facts
        self.description = f"{len(bank)} noisy runs, no clean images; {bank.held_out} of them only judge the checkpoints"

    def losses(self, network: nn.Module, step: int, clips: range) -> StudentLosses:
        drawn = self.bank.draw(self.recipe.seed, step, clips, self.recipe.patch)
        drawn = StudentClips(*(part.to(self.compute.torch_device) for part in drawn))
        return student_losses(network(drawn.noisy[:, None]), drawn, self.recipe)

    def risk(self, network: nn.Module) -> float:
        """Stein's estimate of the mean squared error in units of the noise, on frames of the runs held out."""
        risks = []
        for index, (frame, correlation) in enumerate(self.bank.judging_frames()):
            probe = unit_noise(frame.shape, correlation, seed=index)
            frame, probe = (part[None].to(self.compute.torch_device) for part in (frame, probe))
            below, above = (network((frame + sign * PROBE_STEP * probe)[None]) for sign in (-1, 1))
            risks.append(float(sum(stein(below, above, frame, probe, PROBE_STEP)).mean()))
        return sum(risks) / len(risks)

    def previews(self, network: nn.Module) -> list[Tensor]:
        """A frame that is not trained on: noisy, R, T, and the student's estimate."""
        clips = self.bank.shown()
        estimate = network(clips.noisy[:, None].to(self.compute.torch_device))
        return [clips.noisy[0], clips.recursive[0], clips.taught[0], estimate[0]]


def unit_noise(shape: torch.Size, correlation: float, seed: int) -> Tensor:
    """Noise [H, W] of variance 1 whose neighbouring pixels correlate as a detector's do."""
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))
    return blur(noise, correlation)[0] / noise_gain(correlation) ** 0.5


def train_student(
    recipe: StudentRecipe, runs: Iterable[NoisyRun], teacher: Model, folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train a student of `teacher` on noisy runs [T][H, W] of stored values. See run_training for what it leaves.

    Raises ModelError where `teacher` cannot teach, see check_teacher; warns of one that is not blind.
    """
    if not teacher.card["recipe"].get("blind", True):
        warnings.warn(f"Teacher {teacher.name} sees its centre frame, so the student learns from that frame's own noise; train a blind "
                      "one.", stacklevel=2)
    bank = StudentBank(runs, folder / "clips", teacher, recipe, compute)
    yield from run_training(recipe, folder, compute, StudentObjective(recipe, bank, compute), start)
