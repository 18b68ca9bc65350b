"""Training clips: small pieces of runs in the stabilised domain, drawn at random and reproducibly.

Every run is prepared once (stabilised frames, the recursion's guides, the truth where there is one) and stays on the
disk; a draw reads only its pieces. Clip k of step n depends on the seed, n and k alone, so a resumed training sees what an
uninterrupted one would, and two processes with half the batch what one with the whole.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Iterable, NamedTuple

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.simulate import SimulatedRun
from FluoroDenoiseLib.training.preparation import (
    NoisyRun, Planes, digest_of_noisy, digest_of_simulated, write_noisy, write_simulated,
)
from FluoroDenoiseLib.training.prepared_runs import PreparedRun, prepare_runs, summarise
from FluoroDenoiseLib.windows import window_indices

SIDE_MULTIPLE = 16  # a multiple of every network's stride
HELD_OUT = 10  # every tenth frame is never the centre of a training clip


class SimulatedClips(NamedTuple):
    windows: Tensor  # [B, 2r+1, P, P]
    guides: Tensor  # [B, 2 or 4, P, P]: prediction and deviation from the past, then the same from the future
    truth: Tensor  # [B, P, P]
    tool: Tensor  # [B, P, P], 0 where there is no tool, 1 where one stands out by 2 sigma or more


class NoisyClips(NamedTuple):
    windows: Tensor  # [B, 2r+1, P, P]
    guides: Tensor  # [B, 2 or 4, P, P] as above; [B, 0, P, P] from a bank without guides
    noise_correlation: Tensor  # [B], between neighbouring pixels' noise


class Bank:
    """Prepared runs to draw from, and what a training and its card must know of them."""

    def __init__(self, runs: list[PreparedRun]):
        if not runs:
            raise InputError("There are no training runs; give a folder that holds some.")
        self.runs = runs
        self.manifest = {f"run_{index:04d}": run.sha256 for index, run in enumerate(runs)}
        self.facts = summarise([run.facts for run in runs])

    def __len__(self) -> int:
        return len(self.runs)

    def side(self, patch: int) -> int:
        """The pixels on a side of a clip: `patch`, or what fits into the smallest frame. InputError below 16."""
        smallest = min(*self.facts["height"], *self.facts["width"])
        side = patch if patch <= smallest else smallest // SIDE_MULTIPLE * SIDE_MULTIPLE
        if side == 0:
            raise InputError(f"A training run has frames of {smallest} pixels, but 16 are needed; leave it out.")
        return side


class SimulatedBank(Bank):
    """Clips of simulated runs with their truth, for supervised training."""

    def __init__(self, runs: Iterable[SimulatedRun], cache: Path):
        super().__init__(prepare_runs(runs, cache, digest_of_simulated, write_simulated))

    def draw(
        self, seed: int, step: int, clips: range, patch: int, radius: int, guides: str, tool_share: float
    ) -> SimulatedClips:
        """These clips of a step. Flipped, transposed and, with guides from both sides, reversed in time at random."""
        side = self.side(patch)
        pieces = [self._piece(dice(seed, step, clip), side, radius, guides, tool_share) for clip in clips]
        return SimulatedClips(*(torch.from_numpy(np.stack(part)).float() for part in zip(*pieces)))

    def _piece(self, rng, side: int, radius: int, guides: str, tool_share: float) -> tuple[np.ndarray, ...]:
        run = self.runs[rng.integers(len(self.runs))]
        planes, tool_points = run.array("planes"), run.array("tool_points")
        count, _, height, width = planes.shape
        row, column = rng.integers(height), rng.integers(width)
        frame = rng.integers(count)
        if len(tool_points) and rng.random() < tool_share:
            frame, row, column = tool_points[rng.integers(len(tool_points))]
            row, column = (centre + rng.integers(-side // 3, side // 3 + 1) for centre in (row, column))
        top = int(np.clip(row - side // 2, 0, height - side))
        left = int(np.clip(column - side // 2, 0, width - side))
        area = (slice(top, top + side), slice(left, left + side))
        window = np.stack([planes[(index, Planes.noisy, *area)] for index in window_indices(int(frame), radius, count)])
        centre = planes[(frame, slice(None), *area)]
        window, prediction = _sides(rng, window, centre[Planes.guides], guides)
        turn = random_turn(rng)
        return tuple(turn(part) for part in (window, prediction, centre[Planes.truth], centre[Planes.tool]))


class NoisyBank(Bank):
    """Clips of noisy runs of any kind, for training without clean images: no truth.

    with_guides: also the recursion's predictions, which take longer to prepare. manifest and facts as of every bank.
    """

    def __init__(self, runs: Iterable[NoisyRun], cache: Path, with_guides: bool = False):
        self.with_guides = with_guides
        write = partial(write_noisy, with_guides=with_guides)
        super().__init__(prepare_runs(runs, cache, digest_of_noisy, write, "_guided" if with_guides else ""))

    def draw(
        self, seed: int, step: int, clips: range, patch: int, radius: int, guides: str = "both", held_out: bool = False
    ) -> NoisyClips:
        """These clips of a step: consecutive frames, mirrored at the ends of their run, turned at random.

        guides: "both" or "causal", of a bank with guides. held_out: clips for a risk instead, whose centres (every tenth
        frame) no training clip has for its centre; of a run below ten frames any frame.
        """
        side = self.side(patch)
        pieces = [self._piece(dice(seed, step, clip, held_out), side, radius, guides, held_out) for clip in clips]
        return NoisyClips(*(torch.from_numpy(np.stack(part)).float() for part in zip(*pieces)))

    def _piece(self, rng, side: int, radius: int, guides: str, held_out: bool) -> tuple[np.ndarray, ...]:
        run = self.runs[rng.integers(len(self.runs))]
        frames = run.array("frames")
        count, height, width = frames.shape
        frame = _centre(rng, count, held_out)
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        area = (slice(top, top + side), slice(left, left + side))
        window = np.stack([frames[(index, *area)] for index in window_indices(frame, radius, count)])
        prediction = np.empty((0, side, side), np.float32)
        if self.with_guides:
            prediction = run.array("guides")[(frame, slice(None), *area)]
            window, prediction = _sides(rng, window, prediction, guides)
        turn = random_turn(rng)
        return turn(window), turn(prediction), np.float32(run.facts["noise_correlation"])


def dice(seed: int, step: int, clip: int, held_out: bool = False) -> np.random.Generator:
    """The random numbers of one clip, and of no other."""
    return np.random.default_rng([seed, step, clip, held_out])


def _centre(rng, count: int, held_out: bool) -> int:
    if count < HELD_OUT:
        return int(rng.integers(count))
    among = np.arange(count) % HELD_OUT == HELD_OUT - 1
    return int(rng.choice(np.flatnonzero(among if held_out else ~among)))


def _sides(rng, window: np.ndarray, prediction: np.ndarray, guides: str) -> tuple[np.ndarray, np.ndarray]:
    """The guides of one side, or those of both with time running either way."""
    if guides == "causal":
        return window, prediction[:2]
    if rng.random() < 0.5:
        return window[::-1], prediction[[2, 3, 0, 1]]
    return window, prediction


def random_turn(rng):
    flip, quarter_turns = rng.random() < 0.5, int(rng.integers(4))

    def turn(array: np.ndarray) -> np.ndarray:
        turned = np.rot90(array, quarter_turns, axes=(-2, -1))
        return np.ascontiguousarray(turned[..., ::-1] if flip else turned)

    return turn
