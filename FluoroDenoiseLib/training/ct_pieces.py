"""Square pieces of CT slices in HU, drawn from the body; what unpaired training learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.ct_noise import noise_level
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.training.clips import Bank, dice, random_turn
from FluoroDenoiseLib.training.ct_scenes import BODY_HU, Volume, digest_of_volume
from FluoroDenoiseLib.training.prepared_runs import prepare_runs

MOST_SIGMA = 3.5
TRIES = 8
SEEN = 16  # every how many pixels it is noted whether the body is there


class PieceBank(Bank):
    """Slices of volumes on disk, and squares of them at random."""

    def __init__(self, volumes: Sequence[Volume], cache: Path) -> None:
        super().__init__(prepare_runs(volumes, cache, digest_of_volume, write_slices, "_hu"))

    def draw(self, seed: int, step: int, clips: range, patch: int) -> Tensor:
        """[B, P, P] HU, one for each clip, turned, most of them with the body in their middle."""
        side = self.side(patch)
        return torch.from_numpy(np.stack([self._piece(dice(seed, step, clip), side) for clip in clips])).float()

    def draw_noise(self, seed: int, step: int, clips: range, patch: int) -> Tensor:
        """[B, P, P] HU of noise, as far as slices tell it: the difference of two neighbours over the root of two.

        Where their anatomy differs by more than noise does, it is cut off. Noise that neighbours share is missing. Zero for
        a volume of one slice.
        """
        side = self.side(patch)
        differences = torch.from_numpy(np.stack([self._difference(dice(seed, step, clip, True), side) for clip in clips])).float()
        most = MOST_SIGMA * noise_level(differences)
        return differences.clamp(-most, most)

    def _difference(self, rng: np.random.Generator, side: int) -> np.ndarray:
        run = self.runs[rng.integers(len(self.runs))]
        slices, body = run.array("slices"), run.array("body")
        index = int(rng.integers(max(1, len(slices) - 1)))
        area = body_square(rng, body[index], slices.shape[1:], side)
        return random_turn(rng)((slices[(index, *area)] - slices[(min(index + 1, len(slices) - 1), *area)]) / np.sqrt(2))

    def _piece(self, rng: np.random.Generator, side: int) -> np.ndarray:
        run = self.runs[rng.integers(len(self.runs))]
        slices, body = run.array("slices"), run.array("body")
        index = int(rng.integers(len(slices)))
        area = body_square(rng, body[index], slices.shape[1:], side)
        return random_turn(rng)(slices[(index, *area)])


def write_slices(volume: Volume, folder: Path, change: Callable[[np.ndarray], np.ndarray] = lambda hu: hu) -> dict:
    """Put slices.npy, what `change` makes of every slice's HU, and body.npy into the folder; returns the facts."""
    height, width = volume[0].shape
    slices = np.lib.format.open_memmap(folder / "slices.npy", "w+", np.float32, (len(volume), height, width))
    body = np.zeros((len(volume), -(-height // SEEN), -(-width // SEEN)), bool)
    for index in range(len(volume)):
        hu = np.asarray(volume[index], np.float32)
        if hu.shape != (height, width) or not np.isfinite(hu).all():
            raise InputError(f"Slice {index} of a training volume is not {height}x{width} finite values; leave the volume out.")
        slices[index] = change(hu)
        body[index] = hu[::SEEN, ::SEEN] > BODY_HU
    slices.flush()
    np.save(folder / "body.npy", body)
    return {"frames": len(volume), "height": height, "width": width}


def body_square(rng: np.random.Generator, body: np.ndarray, shape: tuple[int, int], side: int) -> tuple[slice, slice]:
    """(rows, columns) of a square in a slice of this shape, at random but mostly with the body in its middle."""
    height, width = shape
    for _ in range(TRIES):
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        if body[(top + side // 2) // SEEN, (left + side // 2) // SEEN]:
            break
    return slice(top, top + side), slice(left, left + side)
