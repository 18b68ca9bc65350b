"""Unpaired training: low-dose and normal-dose slices of different patients, after Pu et al. (arXiv 2605.00793).

    G: low -> normal, F: normal and noise -> low, D_n and D_l: discriminators, phi: features of CT (ct_features.py)
    made  = G(x),  noise = x - G(x),   worse = F(y, n),   x low-dose, y normal-dose, n noise from elsewhere in the low dose

    adversarial   (D_n(made) - 1)^2 + (D_l(worse) - 1)^2                 least squares
    cycle         |F(made, noise) - x| + (|G(worse) - y| + |G(y + n) - y|) / 2   L1
    identity      |G(y) - y| + |F(x, 0) - x|
    perceptual    |phi(made) - phi(x)| + |phi(worse) - phi(y)|           beyond the finest level, divided by its size
    opponent      D_n: y to 1, earlier `made` to 0; D_l alike; phi: repair slices with missing squares

Handing the removed noise to F openly is ours. A plain cycle must get x back, noise and all, from made alone, and learns to
hide the noise in it where the eye does not look. F is told the noise instead. n is the difference of two neighbouring low-dose
slices, or of volumes of one slice what G takes from another clip; so G meets on every step real noise on a known
normal-dose slice. Half of these F has not seen: where all passed through F, the cycle closed and G left more and more of
real noise alone, as if F marked what G was to clean (not tested). In half soft-tissue windows (200 HU) from 40 HU; the local level is
kept by the network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.ct_window import HALF_HU, to_window
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.networks.ct_features import CtFeatures, feature_distance
from FluoroDenoiseLib.networks.ct_generator import CtGenerator, compress
from FluoroDenoiseLib.networks.patch_discriminator import ImagePool, PatchDiscriminator
from FluoroDenoiseLib.recipe import CtCycleRecipe
from FluoroDenoiseLib.training import distributed
from FluoroDenoiseLib.training.ct_pieces import PieceBank
from FluoroDenoiseLib.training.ct_scenes import Volume
from FluoroDenoiseLib.training.loop import Progress, run_training
from FluoroDenoiseLib.training.objective import Beside

MISSING_PX = 12  # side of the squares that the features repair
MISSING = 6  # squares of a clip
REPAIR_WEIGHT = 1.0


class CycleLosses(NamedTuple):
    adversarial: Tensor
    cycle: Tensor
    identity: Tensor
    perceptual: Tensor


class OppositionLosses(NamedTuple):
    critic_normal: Tensor
    critic_low: Tensor
    repair: Tensor


class Opponent(nn.Module):
    """Everything that the generators are judged by, and the pools of what they made before."""

    def __init__(self, recipe: CtCycleRecipe, side: int) -> None:
        super().__init__()
        self.critic_normal, self.critic_low = PatchDiscriminator(recipe.critic_width), PatchDiscriminator(recipe.critic_width)
        self.pool_normal, self.pool_low = ImagePool(recipe.pool, side), ImagePool(recipe.pool, side)
        self.features = CtFeatures(recipe.feature_width)


class CtCycleObjective:
    """Two generators against two discriminators. It knows no risk: nothing says from noisy slices alone which cycle is best."""

    def __init__(self, recipe: CtCycleRecipe, low: PieceBank, normal: PieceBank, compute: Compute) -> None:
        self.recipe, self.low, self.normal, self.compute = recipe, low, normal, compute
        self.description = f"{len(low)} low-dose and {len(normal)} normal-dose CT volumes, unpaired"
        self.manifest = {f"low_{name}": sha256 for name, sha256 in low.manifest.items()}
        self.manifest |= {f"normal_{name}": sha256 for name, sha256 in normal.manifest.items()}
        self.facts = low.facts
        side = min(low.side(recipe.patch), normal.side(recipe.patch))
        self.side = side
        _seed_weights(recipe.seed)
        self.opponent = Opponent(recipe, side)
        self.back = CtGenerator(recipe.width, recipe.blocks, recipe.norm, asks=True)
        self.beside = Beside(self.back, self.opponent)
        self._made: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def losses(self, network: nn.Module, step: int, clips: range) -> CycleLosses:
        recipe, judge = self.recipe, self.opponent
        low, normal, apart = self._draw(step, clips)
        made, same = network(torch.cat([low, normal])[:, None]).float().chunk(2)
        noise = low - made
        # Upside down, so that what is left of its anatomy does not fit.
        removed = noise.detach().roll(1, 0).flip(-2)
        foreign = torch.where(apart.abs().amax((-2, -1), keepdim=True) > 0, apart, removed)
        nothing = torch.zeros_like(low)
        given = torch.cat([normal, made, low])[:, None]
        asked = torch.cat([foreign, noise, nothing])[:, None]
        worse, again, kept = self.back(given, asked).float().chunk(3)
        cleaned = network(torch.cat([worse, normal + foreign])[:, None]).float()
        self._made = (low, normal, made.detach(), worse.detach())
        adversarial = (judge.critic_normal(compress(made)) - 1).square().mean() + (judge.critic_low(compress(worse)) - 1).square().mean()
        cycle = (again - low).abs().mean() + (cleaned - torch.cat([normal, normal])).abs().mean()
        identity = (same - normal).abs().mean() + (kept - low).abs().mean()
        return CycleLosses(recipe.adversarial * adversarial, recipe.cycle * cycle, recipe.identity * identity,
                           recipe.perceptual * self._perceptual(low, normal, made, worse))

    def _perceptual(self, low: Tensor, normal: Tensor, made: Tensor, worse: Tensor) -> Tensor:
        if self.recipe.perceptual == 0:
            return low.new_zeros(())
        with torch.no_grad():
            wanted = self.opponent.features(torch.cat([low, normal]))
        return feature_distance(self.opponent.features(torch.cat([made, worse])), wanted)

    def opposition(self, network: nn.Module, step: int, clips: range) -> OppositionLosses:
        judge = self.opponent
        low, normal, made, worse = (compress(images) for images in self._made)
        return OppositionLosses(
            self._critic(judge.critic_normal, judge.pool_normal, normal, made),
            self._critic(judge.critic_low, judge.pool_low, low, worse),
            REPAIR_WEIGHT * self._repair(torch.cat(self._made[:2])),
        )

    def _critic(self, critic: PatchDiscriminator, pool: ImagePool, real: Tensor, made: Tensor) -> Tensor:
        count = len(made) * distributed.count()
        dice = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        chances, places = torch.rand(count, generator=dice), torch.randint(pool.size, (count,), generator=dice)
        # All processes keep the same pool of what all made, so that a resumed training finds it in one checkpoint.
        shown = pool.shown(*(distributed.gathered(part.to(made.device)) for part in (made, chances[: len(made)], places[: len(made)])))
        first = distributed.rank() * len(made)
        shown = shown[first : first + len(made)]
        return 0.5 * ((critic(real) - 1).square().mean() + critic(shown).square().mean())

    def _repair(self, images: Tensor) -> Tensor:
        """How far the features are from knowing what squares of the slices hold that were taken out."""
        hidden = torch.zeros_like(images)
        side = images.shape[-1] - MISSING_PX
        places = torch.randint(side, (len(images), MISSING, 2)).tolist()
        for mask, squares in zip(hidden, places):
            for row, column in squares:
                mask[row : row + MISSING_PX, column : column + MISSING_PX] = 1
        repaired = self.opponent.features.repaired(images * (1 - hidden)).float()
        return (repaired - compress(images)).abs().mean()

    def risk(self, network: nn.Module) -> None:
        return None

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Low-dose, made, and a normal-dose slice of somebody else."""
        low, normal, _ = self._draw(0, range(1))
        return [low[0], network(low[:, None])[0], normal[0]]

    def _draw(self, step: int, clips: range) -> tuple[Tensor, Tensor, Tensor]:
        """Low-dose and normal-dose clips and noise, in half windows."""
        seed, side, device = self.recipe.seed, self.side, self.compute.torch_device
        low, normal = (to_window(bank.draw(2 * seed + which, step, clips, side)) for which, bank in enumerate((self.low, self.normal)))
        return low.to(device), normal.to(device), (self.low.draw_noise(2 * seed, step, clips, side) / HALF_HU).to(device)


def _seed_weights(seed: int) -> None:
    """The first weights of what learns beside the network depend on the recipe alone."""
    torch.manual_seed(int(np.random.default_rng([seed, 1]).integers(2**62)))


def train_ct_cycle(
    recipe: CtCycleRecipe, low: Sequence[Volume], normal: Sequence[Volume], folder: Path, compute: Compute, start: Model | None = None
) -> Iterator[Progress]:
    """Train on low-dose and normal-dose volumes of different patients, which give slices [H, W] in HU.

    See run_training for what it leaves in `folder`. InputError where either is empty or both hold the same volume.
    """
    if not low or not normal:
        raise InputError(f"The {'low' if not low else 'normal'}-dose folder holds no CT volumes; give one that does.")
    banks = [PieceBank(volumes, folder / "clips") for volumes in (low, normal)]
    if set(banks[0].manifest.values()) & set(banks[1].manifest.values()):
        raise InputError("A volume is in both folders, so low and normal dose would be the same; take it out of one.")
    yield from run_training(recipe, folder, compute, CtCycleObjective(recipe, *banks, compute), start)
