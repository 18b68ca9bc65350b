"""What denoising may take besides noise: brightness that comes late, and structure; from arrays alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .bands import bands

LAG_FRAMES = 5  # frames before and after a step
STEP_SIGMAS = 4.0  # of noise, that a step must rise above
BLOCK = 32  # pixels: what is asked for structure at a time
# Detector lag and the blur of a scintillator correlate true noise; repeats below these are not called structure.
REPEAT_LEAST, REPEAT_SIGMAS, PIXELS_PER_GRAIN = 0.15, 5.0, 10


def step_lag(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """How much of the old grey value is left, frame by frame about a brightness step.

    before, after: [T, P], points along a line over time, before and after denoising. Returns (frame numbers, input,
    output): 1 is the first frame after the step, where a perfect image has 0; -1 the last before it, where it has 1. The
    step of each point is where the input's means on both sides differ most; points without a clear one do not count.
    None if no point has one: there is no lag to measure without a change. L_n = (y_n - B) / (A - B).
    """
    count = min(LAG_FRAMES, len(before) // 2)
    if count < 2:
        return None
    sums = np.concatenate([np.zeros((1, before.shape[1])), np.cumsum(before.astype(float), axis=0)])
    places = np.arange(count, len(before) - count + 1)
    old = (sums[places] - sums[places - count]) / count
    new = (sums[places + count] - sums[places]) / count
    best = np.abs(new - old).argmax(axis=0)
    points = np.arange(before.shape[1])
    old, new, places = old[best, points], new[best, points], places[best]
    changes = np.diff(before.astype(float), axis=0)
    sigma = 1.4826 * np.median(np.abs(changes - np.median(changes, axis=0)), axis=0) / np.sqrt(2)
    clear = np.abs(new - old) > STEP_SIGMAS * sigma
    if not clear.any():
        return None
    old, new, places, points = old[clear], new[clear], places[clear], points[clear]
    step = old - new
    around = np.arange(-count, count)
    left = [
        [((stack[places + offset, points] - new) @ step) / (step @ step) for offset in around] for stack in (before, after)
    ]
    return np.where(around < 0, around, around + 1), np.array(left[0]), np.array(left[1])


@dataclass
class RepeatingStructure:
    """Whether what was removed repeats from one frame to the next, block by block: noise does not, structure does.

    Small images are one block.
    """

    _products: np.ndarray | None = None
    _energies: np.ndarray | None = None
    _changes: np.ndarray | None = None
    pairs: int = 0

    def add(self, first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> Iterator[None]:
        """Take two neighbouring frames, each as (input, output) [H, W]. Yields after every band of blocks."""
        side_h, side_w = (min(BLOCK, size) for size in first[0].shape)
        rows, columns = (size // side for size, side in zip(first[0].shape, (side_h, side_w)))
        if self._products is None:
            self._products, self._energies, self._changes = (np.zeros((rows, columns)) for _ in range(3))
        # What is left over at the lower and right border does not count.
        for band in bands(rows * side_h, columns * side_w, side_h):
            place = band, slice(columns * side_w)
            removed = [np.subtract(*(side[place] for side in frame), dtype=np.float32) for frame in (first, second)]
            change = np.subtract(second[0][place], first[0][place], dtype=np.float32)
            blocks = slice(band.start // side_h, band.stop // side_h)
            for sums, image in ((self._products, removed[0] * removed[1]), (self._energies, (removed[0] ** 2 + removed[1] ** 2) / 2),
                                (self._changes, change**2 / 2)):
                sums[blocks] += image.reshape(-1, side_h, columns, side_w).mean(axis=(1, 3), dtype=float)
            yield
        self.pairs += 1

    @property
    def share(self) -> float:
        """The share of the picture where what was removed repeats; 0 before any pair."""
        if not self.pairs:
            return 0.0
        grains = BLOCK * BLOCK * self.pairs / PIXELS_PER_GRAIN
        least = max(REPEAT_LEAST, REPEAT_SIGMAS / np.sqrt(grains))
        return float(np.mean(self._products > least * np.maximum(self._energies, np.finfo(np.float32).tiny)))

    @property
    def removed_of_noise(self) -> float:
        """Standard deviation of what was removed over that of the noise, the middle one of all blocks.

        The noise is half the variance of the change between frames, which motion raises: blocks at rest set the middle.
        """
        noisy = self._changes > 0 if self.pairs else np.zeros(1, bool)
        return float(np.sqrt(np.median(self._energies[noisy] / self._changes[noisy]))) if noisy.any() else 0.0
