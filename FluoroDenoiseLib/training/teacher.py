"""Step 1 of Jeon et al.: learn to predict a frame from its neighbours, with nothing but noisy runs.

    loss = charbonnier( network(frames around the centre, without it) - noisy centre )

The noise of the centre is not in the input, so the best prediction is the clean centre as far as the neighbours
know it (Noise2Noise, arXiv 1803.04189). In the stabilised domain the noise is alike at every grey level. For the same
reason the squared error on frames that were never a target, less the noise's own 1, is the squared distance to the
clean frames: a risk that needs none of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.losses import charbonnier
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import TeacherRecipe
from FluoroDenoiseLib.training.clips import NoisyBank
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.preparation import NoisyRun

RISK_CLIPS, RISK_BATCH = 24, 8


class TeacherLosses(NamedTuple):
    prediction: Tensor


class TeacherObjective:
    """The distance of the prediction to the noisy centre, which the network does not see."""

    def __init__(self, recipe: TeacherRecipe, bank: NoisyBank, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = f"{len(bank)} noisy runs, no clean images"
        self.manifest, self.facts = bank.manifest, bank.facts
        self.radius = recipe.frames // 2

    def losses(self, network: nn.Module, step: int, clips: range) -> TeacherLosses:
        windows = self._draw(step, clips)
        return TeacherLosses(charbonnier(network(windows), windows[:, self.radius]))

    def risk(self, network: nn.Module) -> float | None:
        """The squared error to the clean frames, in units of the noise's variance, estimated from held-out noisy ones."""
        if not self.recipe.blind:
            return None
        squares = []
        for first in range(0, RISK_CLIPS, RISK_BATCH):
            windows = self._draw(0, range(first, first + RISK_BATCH), held_out=True)
            squares.append(float(((network(windows) - windows[:, self.radius]) ** 2).mean()))
        return sum(squares) / len(squares) - 1

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Noisy, prediction."""
        windows = self._draw(0, range(1), held_out=True)
        return [windows[0, self.radius], network(windows)[0]]

    def _draw(self, step: int, clips: range, held_out: bool = False) -> Tensor:
        recipe = self.recipe
        drawn = self.bank.draw(recipe.seed, step, clips, recipe.patch, self.radius, held_out=held_out)
        return drawn.windows.to(self.compute.torch_device)


def train_teacher(
    recipe: TeacherRecipe, runs: Iterable[NoisyRun], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train MSR2AU-Net on noisy runs [T][H, W] of stored values. See run_training for what it leaves in `folder`."""
    objective = TeacherObjective(recipe, NoisyBank(runs, folder / "clips"), compute)
    yield from run_training(recipe, folder, compute, objective, start)
