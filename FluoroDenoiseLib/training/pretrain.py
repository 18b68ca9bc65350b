"""Supervised training on simulated runs.

    loss = mean( w * charbonnier(estimate - truth) ),   w = 1 + tool_weight * visibility of the tool

in the stabilised domain. A plain mean is minimised by fading what may or may not be there: a wire 2 px wide covers a
thousandth of the picture, and half of its contrast costs nothing. The weight moves that balance.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.losses import charbonnier
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.simulate import SimulatedRun
from FluoroDenoiseLib.training.clips import SimulatedBank
from FluoroDenoiseLib.training.loop import Progress, run_training

EPSILON_SIGMA = 0.5  # below half the noise the loss is quadratic, so the mean is learned and not the median


class PretrainLosses(NamedTuple):
    restoration: Tensor


def pretrain(
    recipe: PretrainRecipe, runs: Iterable[SimulatedRun], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train a refiner on runs with known truth. See run_training for what it leaves in `folder`."""
    bank = SimulatedBank(runs, folder / "clips")

    def loss_of_step(network, step: int) -> PretrainLosses:
        clips = bank.draw(
            recipe.seed, step, recipe.batch, recipe.patch, recipe.radius, recipe.guides, recipe.tool_share
        )
        windows, guides, truth, tool = (part.to(compute.torch_device) for part in clips)
        return PretrainLosses(charbonnier(network(windows, guides), truth, 1 + recipe.tool_weight * tool, EPSILON_SIGMA))

    data = f"{len(bank.runs)} simulated runs with known truth; no patient data"
    yield from run_training(recipe, folder, compute, loss_of_step, data, start)
