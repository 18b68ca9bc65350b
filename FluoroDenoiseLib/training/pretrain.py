"""Supervised training on simulated runs.

    loss = mean( w * charbonnier(estimate - truth) ),   w = 1 + tool_weight * visibility of the tool

in the stabilised domain. A plain mean is minimised by fading what may or may not be there: a wire 2 px wide covers a
thousandth of the picture, and half of its contrast costs nothing. The weight moves that balance.

There a run at 300 quanta has several times the error of one at 8: more is seen, so more can be wrong. A recipe that is
`balanced` minimises mean( log( excess of a clip + floor ) ) instead, which is PSNR with these weights.

A recipe with a `contrast_weight` adds contrast_weight * mean( log( contrast error of a clip + floor ) ), of tools that are there
and, apart from them, of where they just were or soon will be: fading and ghosts, each measured as the safety report does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.losses import charbonnier, contrast_error, log_excess
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.simulate import SimulatedRun
from FluoroDenoiseLib.training.clips import SimulatedBank, SimulatedClips
from FluoroDenoiseLib.training.loop import Progress, run_training

EPSILON_SIGMA = 0.5  # below half the noise the loss is quadratic, so the mean is learned and not the median
CONTRAST_FLOOR = 0.05  # variances of the noise: about what the noise that is left puts into a contrast
THERE = 0.5  # a tool is there where it matters more than its memory can (preparation.REMEMBERED_SHARE)
FLANK_PX = 3
EDGE_FROM, EDGE_FULL = 0.5, 2.0  # noise deviations a pixel: what a slope of the truth must have to count as an edge, and in full


class PretrainLosses(NamedTuple):
    restoration: Tensor
    contrast: Tensor


class PretrainObjective:
    """The distance to the known truth of simulated runs. It knows no risk: a simulation's truth must not choose."""

    def __init__(self, recipe: PretrainRecipe, bank: SimulatedBank, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = f"{len(bank)} simulated runs with known truth; no patient data"
        self.manifest, self.facts = bank.manifest, bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> PretrainLosses:
        windows, guides, truth, tool = self._draw(step, clips)
        estimate = network(windows, guides)
        weight = importance(self.recipe, truth, tool)
        distance = log_excess if self.recipe.balanced else charbonnier
        contrast = torch.zeros_like(estimate[0, 0, 0])
        if self.recipe.contrast_weight:
            contrast = self.recipe.contrast_weight * log_contrast_error(estimate, truth, tool, self.recipe.ghost_share)
        return PretrainLosses(distance(estimate, truth, weight, EPSILON_SIGMA), contrast)

    def risk(self, network: nn.Module) -> None:
        return None

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Noisy, estimate, truth."""
        clips = self._draw(0, range(1))
        return [clips.windows[0, self.recipe.radius], network(clips.windows, clips.guides)[0], clips.truth[0]]

    def _draw(self, step: int, clips: range) -> SimulatedClips:
        recipe = self.recipe
        drawn = self.bank.draw(recipe.seed, step, clips, recipe.patch, recipe.radius, recipe.guides, recipe.tool_share)
        return SimulatedClips(*(part.to(self.compute.torch_device) for part in drawn))


def importance(recipe: PretrainRecipe, truth: Tensor, tool: Tensor) -> Tensor:
    """What an error at each pixel [B, H, W] costs, 1 where there is neither a tool [B, H, W], nor its flank, nor an edge."""
    near = functional.max_pool2d(tool, 2 * FLANK_PX + 1, 1, FLANK_PX)
    return 1 + recipe.tool_weight * torch.maximum(tool, recipe.flank_share * near) + recipe.edge_weight * edges(truth)


def edges(truth: Tensor) -> Tensor:
    """How much of an edge each pixel of truth [B, H, W] is, 0 to 1, by its slope."""
    padded = functional.pad(truth[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    along, down = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    return ((torch.hypot(along, down) / 2 - EDGE_FROM) / (EDGE_FULL - EDGE_FROM)).clamp(0, 1)


def log_contrast_error(estimate: Tensor, truth: Tensor, tool: Tensor, ghost_share: float = 0.5) -> Tensor:
    """Mean over clips of the logarithm of the contrast error of tools [B, H, W] that are there and, with this share, of those that are not."""
    there = ((tool - THERE) / (1 - THERE)).clamp_min(0)
    remembered = torch.where(tool > THERE, 0, tool / THERE)
    both = torch.stack([contrast_error(estimate, truth, place) for place in (there, remembered)])
    fading, ghosts = torch.log(both + CONTRAST_FLOOR).flatten(1).mean(1)
    return (1 - ghost_share) * fading + ghost_share * ghosts


def pretrain(
    recipe: PretrainRecipe, runs: Iterable[SimulatedRun], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train a refiner on runs with known truth. See run_training for what it leaves in `folder`."""
    objective = PretrainObjective(recipe, SimulatedBank(runs, folder / "clips"), compute)
    yield from run_training(recipe, folder, compute, objective, start)
