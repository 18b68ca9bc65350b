"""The refiner learns on the slices of CT volumes: from simulated noise, or from noisy volumes alone.

    truth       loss = w charbonnier(f(slices / s) - truth / s),  noise of tomography put into clean volumes, s = noise_level,
                w larger on small things that were drawn in
    sure        loss = Stein's estimate of mean (f - clean)^2, with noise of the volume's own texture (risk.py)
    neighbours  loss = mean w (f - slice beyond the window)^2,  w = 1 / (1 + what the two differ by besides noise)

The noise of filtered back-projection is correlated over pixels, so what is left blind of a pixel can be told from those beside
it, and blind-spot training fails here. `neighbours` needs noise that is new in every slice; where slices overlap or were
interpolated it is not, and the loss keeps what they share. `sure` is told by how much they share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.ct_noise import noise_level
from FluoroDenoiseLib.errors import UnsupportedError
from FluoroDenoiseLib.losses import charbonnier
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.networks.refiner import local_mean
from FluoroDenoiseLib.recipe import CtSlicesRecipe
from FluoroDenoiseLib.training.ct_clips import NoisyCtBank, NoisyCtClips, TrueBank, volumes_of
from FluoroDenoiseLib.training.ct_scenes import Volume, scene_specs
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.risk import stein

EPSILON_SIGMA = 0.5
SCENES = 120
RISK_CLIPS, RISK_BATCH = 24, 8
ALIKE_SPAN = 9


class TruthLosses(NamedTuple):
    restoration: Tensor


class SureLosses(NamedTuple):
    fidelity: Tensor
    response: Tensor


class NeighbourLosses(NamedTuple):
    prediction: Tensor


class TruthObjective:
    """The distance to clean volumes. It knows no risk: a simulation's truth must not choose."""

    def __init__(self, recipe: CtSlicesRecipe, bank: TrueBank, volumes: int, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = f"{len(bank)} simulated scenes of {volumes} clean CT volume{'s' if volumes > 1 else ''} with known truth"
        self.manifest, self.facts = bank.manifest, bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> TruthLosses:
        windows, truth, things, level = self._draw(step, clips)
        weight = 1 + self.recipe.thing_weight * (things.abs() / level).clamp(max=1)
        return TruthLosses(charbonnier(network(windows / level[:, None]), truth / level, weight, EPSILON_SIGMA))

    def risk(self, network: nn.Module) -> None:
        return None

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Noisy, estimate, truth."""
        windows, truth, _, level = self._draw(0, range(1))
        return [windows[0, self.recipe.radius], (network(windows / level[:, None]) * level)[0], truth[0]]

    def _draw(self, step: int, clips: range) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Windows, truth and things in HU, and the noise level of the centre."""
        recipe = self.recipe
        drawn = self.bank.draw(recipe.seed, step, clips, recipe.patch, recipe.drawn_share)
        windows, truth, things = (part.to(self.compute.torch_device) for part in drawn)
        return windows, truth, things, noise_level(windows[:, recipe.radius])


class NoisyObjective:
    """The error as the noisy volumes themselves tell it."""

    def __init__(self, recipe: CtSlicesRecipe, bank: NoisyCtBank, compute: Compute) -> None:
        self.recipe, self.bank, self.compute = recipe, bank, compute
        self.description = "1 noisy CT volume, no clean ones" if len(bank) == 1 else f"{len(bank)} noisy CT volumes, no clean ones"
        self.manifest, self.facts = bank.manifest, bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> SureLosses | NeighbourLosses:
        drawn = self._draw(step, clips)
        if self.recipe.learn == "neighbours":
            unlike = local_mean(drawn.unlike.square()[:, None], ALIKE_SPAN)[:, 0] - 2
            weight = drawn.inside / (1 + unlike.clamp(min=0))
            return NeighbourLosses((weight * (network(drawn.windows) - drawn.target).square()).mean())
        fidelity, _, response = self._stein(network, drawn)
        return SureLosses(fidelity, response)

    def risk(self, network: nn.Module) -> float:
        """Stein's estimate of the squared error on held-out slices, in units of the noise level."""
        total = 0.0
        for first in range(0, RISK_CLIPS, RISK_BATCH):
            parts = self._stein(network, self._draw(0, range(first, first + RISK_BATCH), held_out=True))
            total += float(sum(parts)) * RISK_BATCH
        return total / RISK_CLIPS

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Noisy, estimate."""
        drawn = self._draw(0, range(1), held_out=True)
        return [drawn.windows[0, self.recipe.radius], network(drawn.windows)[0]]

    def _stein(self, network: nn.Module, drawn: NoisyCtClips) -> tuple[Tensor, Tensor, Tensor]:
        step, radius = self.recipe.perturbation, self.recipe.radius
        below, above = (network(drawn.windows + sign * step * drawn.probe).float() for sign in (-1, 1))
        parts = stein(below, above, drawn.windows[:, radius], drawn.probe[:, radius], step)
        share = drawn.inside.mean().clamp(min=1e-6)
        return tuple((part * drawn.inside).mean() / share for part in parts)

    def _draw(self, step: int, clips: range, held_out: bool = False) -> NoisyCtClips:
        recipe = self.recipe
        beyond = recipe.learn == "neighbours" and not held_out
        drawn = self.bank.draw(recipe.seed, step, clips, recipe.patch, recipe.radius, beyond, held_out)
        return NoisyCtClips(*(part.to(self.compute.torch_device) for part in drawn))


def train_ct_slices(
    recipe: CtSlicesRecipe, volumes: Sequence[Volume], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train on volumes that give slices [H, W] in HU: clean ones for "truth", noisy ones else.

    See run_training for what it leaves in `folder`. UnsupportedError where a volume is too short for its own noise.
    """
    volumes = volumes_of(volumes)
    if recipe.learn == "truth":
        specs = scene_specs(volumes, SCENES, 2 * recipe.radius + 1, recipe.seed)
        objective = TruthObjective(recipe, TrueBank(specs, folder / "clips"), len(volumes), compute)
    else:
        needed = 2 * recipe.radius + 2 if recipe.learn == "neighbours" else 4
        short = [volume for volume in volumes if len(volume) < needed]
        if short:
            raise UnsupportedError(f"A volume of {len(short[0])} slices is too short to learn from alone, {needed} are needed; leave it out.")
        objective = NoisyObjective(recipe, NoisyCtBank(volumes, folder / "clips"), compute)
    yield from run_training(recipe, folder, compute, objective, start)
