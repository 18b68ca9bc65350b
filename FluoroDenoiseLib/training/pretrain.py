"""Supervised training on simulated runs.

    loss = mean( w * charbonnier(estimate - truth) ),   w = 1 + tool_weight * visibility of the tool

in the stabilised domain. A plain mean is minimised by fading what may or may not be there: a wire 2 px wide covers a
thousandth of the picture, and half of its contrast costs nothing. The weight moves that balance.

There a run at 300 quanta has several times the error of one at 8: more is seen, so more can be wrong. A recipe that is
`balanced` minimises mean( log( excess of a clip + floor ) ) instead, which is PSNR with these weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.losses import charbonnier, log_excess
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import PretrainRecipe
from FluoroDenoiseLib.simulate import SimulatedRun
from FluoroDenoiseLib.training.clips import SimulatedBank, SimulatedClips
from FluoroDenoiseLib.training.loop import Progress, run_training

EPSILON_SIGMA = 0.5  # below half the noise the loss is quadratic, so the mean is learned and not the median


class PretrainLosses(NamedTuple):
    restoration: Tensor


class PretrainObjective:
    """The distance to the known truth of simulated runs. It knows no risk: a simulation's truth must not choose."""

    def __init__(self, recipe: PretrainRecipe, bank: SimulatedBank, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = f"{len(bank)} simulated runs with known truth; no patient data"
        self.manifest, self.facts = bank.manifest, bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> PretrainLosses:
        windows, guides, truth, tool = self._draw(step, clips)
        weight = 1 + self.recipe.tool_weight * tool
        distance = log_excess if self.recipe.balanced else charbonnier
        return PretrainLosses(distance(network(windows, guides), truth, weight, EPSILON_SIGMA))

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


def pretrain(
    recipe: PretrainRecipe, runs: Iterable[SimulatedRun], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train a refiner on runs with known truth. See run_training for what it leaves in `folder`."""
    objective = PretrainObjective(recipe, SimulatedBank(runs, folder / "clips"), compute)
    yield from run_training(recipe, folder, compute, objective, start)
