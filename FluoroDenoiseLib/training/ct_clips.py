"""Clips of CT: from scenes with their truth, or from noisy volumes alone; clip k of a step depends on seed, step and k alone."""

from __future__ import annotations

from pathlib import Path
from typing import Iterable, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.ct_noise import CtTexture, cautious, measure_texture, noise_level
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.networks.refiner import local_mean
from FluoroDenoiseLib.training.clips import HELD_OUT, Bank, dice, random_turn
from FluoroDenoiseLib.training.ct_drawn import draw_things
from FluoroDenoiseLib.training.ct_pieces import body_square, write_slices
from FluoroDenoiseLib.training.ct_scenes import SceneSpec, Volume, digest_of_scene, digest_of_volume, write_scene
from FluoroDenoiseLib.training.prepared_runs import PreparedRun, prepare_runs
from FluoroDenoiseLib.windows import window_indices

NOISE_HU = (6.0, 120.0)
SHARED_NOISE = (0.0, 0.5)  # how much of the noise neighbouring slices may share
FOREIGN_NOISE = 0.5  # of the clips: noise of another scene, so that there are more pairs of anatomy and noise
ALONE_SHARE = 0.1  # of the clips: a slice without neighbours, which then are copies of it
AIR_SPAN, AIR_HU = 9, -300.0


class TrueClips(NamedTuple):
    windows: Tensor  # [B, 2r+1, P, P] HU
    truth: Tensor  # [B, P, P] HU
    things: Tensor  # [B, P, P] HU, what was drawn in


class NoisyCtClips(NamedTuple):
    windows: Tensor  # [B, 2r+1, P, P] in units of the noise
    probe: Tensor  # [B, 2r+1, P, P] noise of the same kind
    target: Tensor  # [B, P, P] the centre, or a slice beyond the window
    unlike: Tensor  # [B, P, P] the target less the centre
    inside: Tensor  # [B, P, P] 1 in the body; in air there is less noise than its surroundings let expect, or none


class TrueBank(Bank):
    """Clips of simulated scenes of clean volumes."""

    def __init__(self, specs: Iterable[SceneSpec], cache: Path) -> None:
        super().__init__(prepare_runs(specs, cache, digest_of_scene, write_scene))

    def draw(self, seed: int, step: int, clips: range, patch: int, drawn_share: float) -> TrueClips:
        """Every clip at a dose of its own, turned, some with things drawn in, some without neighbours."""
        side = self.side(patch)
        pieces = [self._piece(dice(seed, step, clip), side, drawn_share) for clip in clips]
        return TrueClips(*(torch.from_numpy(np.stack(part)).float() for part in zip(*pieces)))

    def _piece(self, rng: np.random.Generator, side: int, drawn_share: float) -> tuple[np.ndarray, ...]:
        scene = self.runs[rng.integers(len(self.runs))]
        area = _square(rng, scene, side)
        truth, noise = np.array(scene.array("truth")[area]), np.array(scene.array("noise")[area])
        if rng.random() < FOREIGN_NOISE:
            other = self.runs[rng.integers(len(self.runs))]
            noise = random_turn(rng)(other.array("noise")[_square(rng, other, side)])
        depth = len(truth)
        things = np.zeros_like(truth[0])
        if rng.random() < drawn_share:
            truth, things = draw_things(rng, truth)
        shared = rng.uniform(*SHARED_NOISE)
        for k in range(1, depth):
            noise[k] = shared * noise[k - 1] + np.sqrt(1 - shared**2) * noise[k]
        noisy = truth + noise * np.exp(rng.uniform(*np.log(NOISE_HU)))
        if rng.random() < ALONE_SHARE:
            noisy[:] = noisy[depth // 2]
        turn = random_turn(rng)
        return turn(noisy), turn(truth[depth // 2]), turn(things)


def _square(rng: np.random.Generator, scene: PreparedRun, side: int) -> tuple[slice, slice, slice]:
    top, left = (int(rng.integers(scene.facts[name] - side + 1)) for name in ("height", "width"))
    return slice(None), slice(top, top + side), slice(left, left + side)


class NoisyCtBank(Bank):
    """Clips of noisy volumes, in units of their own noise, which is measured once for each."""

    def __init__(self, volumes: Iterable[Volume], cache: Path) -> None:
        super().__init__(prepare_runs(volumes, cache, digest_of_volume, _write_noisy, "_ct"))
        self.textures = [
            cautious(CtTexture(run.array("power").astype(np.float64), run.facts["between_slices"])) for run in self.runs
        ]

    def draw(self, seed: int, step: int, clips: range, patch: int, radius: int, beyond: bool, held_out: bool = False) -> NoisyCtClips:
        """beyond: the target is the slice next to the window, else its centre. held_out: clips around every tenth slice,
        which no other clip has for its centre."""
        side = self.side(patch)
        pieces = [self._piece(dice(seed, step, clip, held_out), side, radius, beyond, held_out) for clip in clips]
        return NoisyCtClips(*(torch.from_numpy(np.stack(part)).float() for part in zip(*pieces)))

    def _piece(self, rng, side: int, radius: int, beyond: bool, held_out: bool) -> tuple[np.ndarray, ...]:
        index = int(rng.integers(len(self.runs)))
        run = self.runs[index]
        slices, body = run.array("slices"), run.array("body")
        count, height, width = slices.shape
        among = np.arange(count) % HELD_OUT == HELD_OUT - 1
        centre = int(rng.choice(np.flatnonzero(among if held_out else ~among))) if count >= HELD_OUT else int(rng.integers(count))
        area = body_square(rng, body[centre], (height, width), side)
        window = np.stack([slices[(k, *area)] for k in window_indices(centre, radius, count)])
        target = slices[(window_indices(centre, radius + 1, count)[-1 if rng.random() < 0.5 else 0], *area)] if beyond else window[radius]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        inside = run.array("inside")[(centre, *area)].astype(np.float32)
        probe = self.textures[index].drawn(window.shape, generator).numpy() * inside
        unlike = target - window[radius]
        turn = random_turn(rng)
        return turn(window), turn(probe), turn(np.asarray(target)), turn(unlike), turn(inside)


def _write_noisy(volume: Volume, folder: Path) -> dict:
    """Put slices.npy (units of the noise), body.npy, inside.npy and power.npy into the folder; returns the facts."""
    texture = measure_texture(volume)
    inside = np.zeros((len(volume), *volume[0].shape), bool)
    levels: list[float] = []

    def in_noise(hu: np.ndarray) -> np.ndarray:
        slice_ = torch.from_numpy(hu)[None]
        inside[len(levels)] = local_mean(slice_[None], AIR_SPAN)[0, 0].numpy() > AIR_HU
        level = noise_level(slice_)[0].numpy()
        levels.append(float(np.median(level)))
        return hu / level

    facts = write_slices(volume, folder, in_noise)
    np.save(folder / "power.npy", texture.power)
    np.save(folder / "inside.npy", inside)
    return facts | {"noise_hu": float(np.median(levels)), "between_slices": texture.between_slices}


def volumes_of(volumes: Sequence[Volume]) -> Sequence[Volume]:
    """The volumes, if there are any; InputError if not."""
    if not volumes:
        raise InputError("There are no CT volumes to train on; give a folder that holds some.")
    return volumes
