"""Step 1 of Jeon et al.: learn to predict a frame from its neighbours, with nothing but noisy runs.

    loss = charbonnier( network(frames around the centre, without it) - noisy centre )

The noise of the centre is not in the input, so the best prediction is the clean centre as far as the neighbours
know it (Noise2Noise, arXiv 1803.04189). In the stabilised domain the noise is alike at every grey level.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

import numpy as np
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.losses import charbonnier
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.recipe import TeacherRecipe
from FluoroDenoiseLib.training.clips import NoisyBank
from FluoroDenoiseLib.training.loop import Progress, run_training


class TeacherLosses(NamedTuple):
    prediction: Tensor


def train_teacher(
    recipe: TeacherRecipe, runs: Sequence[Sequence[np.ndarray]], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train MSR2AU-Net on noisy runs [T][H, W] of stored values. See run_training for what it leaves in `folder`."""
    bank = NoisyBank(runs, folder / "clips")
    radius = recipe.frames // 2

    def loss_of_step(network, step: int) -> TeacherLosses:
        windows = bank.draw(recipe.seed, step, recipe.batch, recipe.patch, radius).to(compute.torch_device)
        return TeacherLosses(charbonnier(network(windows), windows[:, radius]))

    yield from run_training(recipe, folder, compute, loss_of_step, f"{len(bank.runs)} noisy runs, no clean images", start)
