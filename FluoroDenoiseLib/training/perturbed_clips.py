"""Clips of perturbed runs, and which of their frames a training learns from and which only judge it."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Iterable, Iterator, NamedTuple

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.training.clips import Bank, dice, random_turn
from FluoroDenoiseLib.training.perturbed_runs import Perturbed, Remeasure, Understood, write_perturbed
from FluoroDenoiseLib.training.preparation import digest_of_noisy
from FluoroDenoiseLib.training.prepared_runs import prepare_runs
from FluoroDenoiseLib.windows import window_indices

RUNS_TO_HOLD_OUT_WHOLE = 4  # from so many runs on whole runs are held out, a fifth of them; below, a fifth of the frames
JUDGED_SIDE = 192
JUDGED_PIECES = 16


class PerturbedClips(NamedTuple):
    """B clips with noise taken off, then the same B with it added, in windows and guides."""

    windows: Tensor  # [2B, 2r+1, P, P]
    guides: Tensor  # [2B, 2 or 4, P, P]
    target: Tensor  # [B, P, P]
    probe: Tensor  # [B, P, P]: that noise, as it would be in the target

    def to(self, device: torch.device) -> PerturbedClips:
        return PerturbedClips(*(part.to(device) for part in self))


class PerturbedBank(Bank):
    """Runs prepared twice. training, held_out: [N, 2], run and frame. perturbation: how much noise was added.

    remeasure: see write_perturbed; by: what it depends on, in a word that a file's name may hold.
    """

    def __init__(
        self, runs: Iterable[Understood], cache: Path, perturbation: float,
        remeasure: Remeasure = lambda noise, pair: noise, by: str = "",
    ):
        self.perturbation = perturbation
        write = partial(write_perturbed, perturbation=perturbation, remeasure=remeasure)
        digest = lambda understood: digest_of_noisy(understood.run)
        super().__init__(prepare_runs(runs, cache, digest, write, f"_perturbed_{perturbation:g}{by}"))
        learnable = [np.load(run.folder / "learnable.npy") for run in self.runs]
        self.training, self.held_out = _split(learnable)

    def draw(
        self, seed: int, step: int, clips: range, patch: int, radius: int, guides: str, outstanding_share: float
    ) -> PerturbedClips:
        """These clips of a step from the frames for training, turned at random.

        outstanding_share: part of the clips that is drawn round things that the recursion does not follow. A clip is
        chosen so, never a pixel: weights that depend on a pixel's own noise would bias the risk.
        """
        side = self.side(patch)
        return _stacked([self._drawn(dice(seed, step, clip), side, radius, guides, outstanding_share)
                         for clip in clips])

    def pieces(self, frames: np.ndarray, radius: int, guides: str) -> Iterator[PerturbedClips]:
        """Up to JUDGED_PIECES pieces of these frames [N, 2], always the same, one at a time."""
        side = self.side(JUDGED_SIDE)
        places = []
        for run, frame in frames.tolist():
            height, width = self.runs[run].array("planes").shape[-2:]
            corners = product(range(0, height - side + 1, side), range(0, width - side + 1, side))
            places += [(run, frame, top, left) for top, left in corners]
        for place in np.random.default_rng(0).permutation(len(places))[:JUDGED_PIECES]:
            yield _stacked([self._cut(*places[place], side, radius, guides)])

    def _drawn(self, rng, side: int, radius: int, guides: str, outstanding_share: float):
        run, frame = (int(value) for value in self.training[rng.integers(len(self.training))])
        height, width = self.runs[run].array("planes").shape[-2:]
        row, column = int(rng.integers(height)), int(rng.integers(width))
        if rng.random() < outstanding_share:
            points = self.runs[run].array("points")
            points = points[np.isin(points[:, 0], self.training[self.training[:, 0] == run, 1])]
            if len(points):
                frame, row, column = (int(value) for value in points[rng.integers(len(points))])
                row, column = (centre + int(rng.integers(-side // 3, side // 3 + 1)) for centre in (row, column))
        top = int(np.clip(row - side // 2, 0, height - side))
        left = int(np.clip(column - side // 2, 0, width - side))
        backwards = guides == "both" and rng.random() < 0.5
        return self._cut(run, frame, top, left, side, radius, guides, backwards, random_turn(rng))

    def _cut(self, run, frame, top, left, side, radius, guides, backwards=False, turn=lambda array: array):
        planes = self.runs[run].array("planes")
        area = (slice(top, top + side), slice(left, left + side))
        neighbours = window_indices(frame, radius, len(planes))
        centre = planes[(frame, slice(None), *area)]
        windows, guided = [], []
        for start in (0, Perturbed.half):
            window = np.stack([planes[(index, start + Perturbed.noisy, *area)] for index in neighbours])
            prediction = centre[start : start + Perturbed.half][Perturbed.guides]
            if guides == "causal":
                prediction = prediction[:2]
            elif backwards:
                window, prediction = window[::-1], prediction[[2, 3, 0, 1]]
            windows.append(turn(window))
            guided.append(turn(prediction))
        return windows, guided, turn(centre[Perturbed.target]), turn(centre[Perturbed.probe])


def _stacked(pieces) -> PerturbedClips:
    windows, guides, targets, probes = zip(*pieces)
    below_then_above = lambda pairs: [pair[half] for half in (0, 1) for pair in pairs]
    parts = below_then_above(windows), below_then_above(guides), targets, probes
    return PerturbedClips(*(torch.from_numpy(np.stack(part).astype(np.float32)) for part in parts))


def _split(learnable: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Frames for training and held-out ones: every fifth run, or of few runs the middle fifth of each."""
    training, held_out = [], []
    whole_runs = len(learnable) >= RUNS_TO_HOLD_OUT_WHOLE
    for run, frames in enumerate(learnable):
        apart = np.full(len(frames), run % 5 == 3)
        if not whole_runs:
            count = max(1, round(len(frames) / 5))
            first = (len(frames) - count) // 2
            apart = (np.arange(len(frames)) >= first) & (np.arange(len(frames)) < first + count)
        training += [(run, frame) for frame in frames[~apart]]
        held_out += [(run, frame) for frame in frames[apart]]
    if not training or not held_out:
        raise InputError("There are too few frames to learn from and to judge by; give runs of 5 frames or more.")
    return np.array(training), np.array(held_out)
