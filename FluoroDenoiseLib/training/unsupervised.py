"""Arm `default` of step 2: the refiner learns from noisy runs alone.

    sure   loss = mean ((f+ - y)^2 + (f- - y)^2) / 2  +  mean b (f+ - f-) / a      see risk.py
    r2r    loss = mean (f+ - (y - b / a))^2                                        half the work, more than half the noise
    both   + w mean_k | sqrt P_k(f+) - sqrt max(P_k(y) - P_k(b), 0) |              off by default

P_k: power in ring k of the spatial frequencies. The last term asks for as much detail of every size as the noisy frame
holds beyond its noise, where a squared error would rather have less; it costs error, and is there to be compared.

Whole runs (of few runs, frames) are held out, and the checkpoint is chosen by Stein's estimate of the error on them.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.errors import UnsupportedError
from FluoroDenoiseLib.model_folder import Model, build_network
from FluoroDenoiseLib.recipe import UnsupervisedRecipe
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.perturbed_clips import PerturbedBank, PerturbedClips
from FluoroDenoiseLib.training.perturbed_runs import Understood
from FluoroDenoiseLib.training.preparation import NoisyRun, frames_of
from FluoroDenoiseLib.training.residual_noise import Pair, measured_by
from FluoroDenoiseLib.training.risk import Stein, recorrupted, stein, tiled
from FluoroDenoiseLib.training.run_noise import RunNoise

RINGS = 16


class SureLosses(NamedTuple):
    fidelity: Tensor
    response: Tensor
    fourier: Tensor


class RecorruptedLosses(NamedTuple):
    recorrupted: Tensor
    fourier: Tensor


class UnsupervisedObjective:
    """The error as the noisy runs themselves tell it."""

    def __init__(self, recipe: UnsupervisedRecipe, bank: PerturbedBank, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = "1 noisy run, no clean images" if len(bank) == 1 else f"{len(bank)} noisy runs, no clean images"
        self.manifest, self.facts = bank.manifest, bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> SureLosses | RecorruptedLosses:
        recipe = self.recipe
        drawn = self.bank.draw(
            recipe.seed, step, clips, recipe.patch, recipe.radius, recipe.guides, recipe.outstanding_share
        ).to(self.compute.torch_device)
        if recipe.risk == "r2r":
            above = network(drawn.windows.chunk(2)[1], drawn.guides.chunk(2)[1])
            loss = recorrupted(above, drawn.target, drawn.probe, self.bank.perturbation).mean()
            return RecorruptedLosses(loss, self._fourier(above, drawn))
        below, above = network(drawn.windows, drawn.guides).chunk(2)
        parts = stein(below, above, drawn.target, drawn.probe, self.bank.perturbation)
        return SureLosses(parts.fidelity.mean(), parts.response.mean(), self._fourier(above, drawn))

    def risk(self, network: nn.Module) -> float:
        """Stein's estimate of the squared error on the held-out frames, in noise variances."""
        return float(self.tile_risks(network).mean())

    def tile_risks(self, network: nn.Module) -> Tensor:
        """That risk for every held-out tile, [N], always the same tiles."""
        return torch.cat([sum(tiled(part) for part in parts) for parts in self.parts(network, self.bank.held_out)])

    @torch.no_grad()
    def parts(self, network: nn.Module, frames: np.ndarray) -> Iterator[Stein]:
        """The parts of the risk for pieces of these frames [N, 2] of the bank."""
        for piece in self.bank.pieces(frames, self.recipe.radius, self.recipe.guides):
            piece = piece.to(self.compute.torch_device)
            with self.compute.autocast():
                below, above = network(piece.windows, piece.guides).float().chunk(2)
            yield stein(below, above, piece.target, piece.probe, self.bank.perturbation)

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Noisy, estimate."""
        piece = next(self.bank.pieces(self.bank.held_out, self.recipe.radius, self.recipe.guides))
        piece = piece.to(self.compute.torch_device)
        return [piece.windows[0, self.recipe.radius].cpu(), network(piece.windows[:1], piece.guides[:1])[0].float().cpu()]

    def _fourier(self, estimate: Tensor, drawn: PerturbedClips) -> Tensor:
        if self.recipe.fourier == 0:
            return estimate.new_zeros(())
        return self.recipe.fourier * detail_lost(estimate, drawn.target, drawn.probe)


def detail_lost(estimate: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    """mean_k | sqrt P_k(estimate) - sqrt max(P_k(target) - P_k(noise), 0) | over rings k of spatial frequency.

    All [B, H, W]; noise: of the kind that target holds, independent of it. In units of the noise.
    """
    height, width = estimate.shape[-2:]
    down, right = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    ring = (torch.hypot(down, right) * 2 * RINGS).long().clamp(max=RINGS - 1).to(estimate.device).flatten()
    count = torch.zeros(RINGS, device=estimate.device).index_add_(0, ring, torch.ones_like(ring, dtype=torch.float32))

    def power(images: Tensor) -> Tensor:
        spectrum = torch.fft.rfft2(images.float() - images.float().mean((-2, -1), keepdim=True), norm="ortho")
        each = spectrum.real.square() + spectrum.imag.square()
        return torch.zeros(len(images), RINGS, device=images.device).index_add(1, ring, each.flatten(1)) / count

    wanted = (power(target) - power(noise)).clamp(min=0).sqrt()
    return (power(estimate).clamp(min=1e-8).sqrt() - wanted.detach()).abs().mean()


def understood_runs(runs: Iterable[NoisyRun]) -> Iterator[Understood]:
    """The runs whose noise is understood; the others are left out, and the person is told why.

    UnsupportedError when none is left.
    """
    found = 0
    for index, run in enumerate(runs):
        noise = RunNoise.of(frames_of(run))
        if noise.doubt is None:
            found += 1
            yield Understood(run, noise)
        else:
            warnings.warn(f"Run {index} is left out: {noise.doubt}.", stacklevel=2)
    if not found:
        raise UnsupportedError(
            "Of no run is the noise understood, so a network cannot be told from its noise; train the frame-blind teacher."
        )


def remeasured(
    noise: RunNoise, pair: Pair, network: nn.Module, recipe: UnsupervisedRecipe, compute: Compute, trained: bool
) -> RunNoise:
    """A run's noise as `network` leaves it, see residual_noise.py; one that is not trained yet is the recursion's average."""
    return measured_by(network, noise, pair, recipe.radius, recipe.guides, compute, trained)


def train_unsupervised(
    recipe: UnsupervisedRecipe, runs: Iterable[NoisyRun], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train a refiner on noisy runs [T][H, W] of stored values. See run_training for what it leaves in `folder`."""
    untrained = build_network(recipe).to(compute.torch_device).eval()
    remeasure = partial(remeasured, network=untrained, recipe=recipe, compute=compute, trained=False)
    bank = PerturbedBank(understood_runs(runs), folder / "clips", recipe.perturbation, remeasure, f"_{recipe.guides}")
    yield from run_training(recipe, folder, compute, UnsupervisedObjective(recipe, bank, compute), start)
