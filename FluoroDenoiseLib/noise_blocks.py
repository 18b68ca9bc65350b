"""Blocks of a run's frames as spectra, at places that follow the C-arm when it pans.

Anatomy that the whole picture carries along would read as noise; following it by whole pixels keeps the noise itself as
it is, which no interpolation would.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

LOW_BAND = (0.04, 0.165)
HIGH_BAND = (0.345, 0.75)
"""Cycles per pixel; the corner of the spectrum lies at 0.707."""

_BLOCKS_PER_AXIS = 24
_GROUP = 8
_PAN_CROP = 256


@dataclass(frozen=True)
class Window:
    """A Hann window of one block and the bands of its half-plane spectrum."""

    taper: np.ndarray
    power: float
    weight: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frequency: np.ndarray

    @classmethod
    def of_size(cls, size: int) -> "Window":
        hann = 0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(size) + 0.5) / size)
        taper = np.outer(hann, hann).astype(np.float32)
        frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
        weight = np.full(frequency.shape, 2.0)
        weight[:, 0] = weight[:, -1] = 1.0  # the columns that the half plane does not hold twice

        def band(first: float, last: float) -> np.ndarray:
            inside = weight * ((frequency >= first) & (frequency < last))
            return inside / max(inside.sum(), 1)

        power = float((taper.astype(float) ** 2).sum())
        return cls(taper, power, weight / weight.sum(), band(*LOW_BAND), band(*HIGH_BAND), frequency)

    @property
    def median_over_mean(self) -> float:
        """Of the high-band power of white noise: chi-squared, its freedom cut by the window's 1.5 an axis."""
        freedom = np.count_nonzero(self.high) * 2 / 2.25
        return (1 - 2 / (9 * freedom)) ** 3


@dataclass(frozen=True)
class Blocks:
    """Of F sampled frames, N blocks each: spectra [F, N, b, b//2+1], levels [F, N], usable [F, N], group [F]."""

    spectra: np.ndarray
    levels: np.ndarray
    usable: np.ndarray
    group: np.ndarray
    window: Window
    whole_numbers: bool

    def pairs(self, lag: int) -> list[tuple[int, int]]:
        return [(f, f + lag) for f in range(len(self.group) - lag) if self.group[f] == self.group[f + lag]]

    def difference_power(self, first: int, second: int) -> np.ndarray:
        """[N, b, b//2+1]: spectral power of the difference of two frames, halved; mean = variance of one frame."""
        difference = self.spectra[second] - self.spectra[first]
        return (difference.real**2 + difference.imag**2) / (2 * self.window.power)


def sampled_groups(count: int, sample: int) -> list[range]:
    """Consecutive groups, so that lags up to 4 exist, spread over the run."""
    sample = max(sample, 2)
    if count <= sample:
        return [range(count)]
    size = min(_GROUP, sample)
    starts = np.linspace(0, count - size, max(1, sample // size)).astype(int)
    return [range(start, start + size) for start in starts]


def read_blocks(frames: Sequence[np.ndarray], groups: list[range]) -> Blocks:
    """Read the sampled frames, at most 8 of them in memory, and transform their blocks.

    A chunk of frames in which the picture pans becomes a group of its own, its blocks at places that pan along.
    """
    first = np.asarray(frames[groups[0][0]])
    size = 16 if min(first.shape) >= 16 else 8
    if min(first.shape) < size:
        height, width = first.shape
        raise ValueError(f"Frames of {height}x{width} are too small to estimate noise; give frames of 8x8 or more.")
    window = Window.of_size(size)
    spectra, levels, usable, group = [], [], [], []
    number = 0
    for members in groups:
        number, still_before = number + 1, True
        for start in range(0, len(members), _GROUP):
            chunk = [np.asarray(frames[index]) for index in members[start : start + _GROUP]]
            offsets = _pan_offsets(chunk, size)
            still = not offsets.any()
            number += not (still and still_before)
            still_before = still
            places = [_block_starts(length, size, offsets[:, axis]) for axis, length in enumerate(first.shape)]
            for frame, (down, right) in zip(chunk, offsets):
                block = _cut(frame, places[0] + down, places[1] + right, size)
                level = (block * window.taper**2).sum(axis=(1, 2)) / window.power
                spectra.append(np.fft.rfft2((block - level[:, None, None]) * window.taper).astype(np.complex64))
                levels.append(level)
                usable.append(_follows_the_law(block))
                group.append(number)
    whole = bool(np.issubdtype(first.dtype, np.integer))
    return Blocks(np.stack(spectra), np.stack(levels), np.stack(usable), np.array(group), window, whole)


def _cut(frame: np.ndarray, rows: np.ndarray, columns: np.ndarray, size: int) -> np.ndarray:
    view = np.lib.stride_tricks.sliding_window_view(frame, (size, size))
    return view[rows[:, None], columns[None]].reshape(-1, size, size).astype(np.float32)


def _follows_the_law(block: np.ndarray) -> np.ndarray:
    """False for a black border and for saturated air, whose noise is clipped; a few zeros of a low count are sound."""
    lowest, highest = block.min(axis=(1, 2), keepdims=True), block.max(axis=(1, 2), keepdims=True)
    at_bottom = (block == block.min()) & (lowest == block.min())
    at_top = (block == block.max()) & (highest == block.max())
    return (at_bottom.mean(axis=(1, 2)) < 0.3) & (at_top.mean(axis=(1, 2)) < 0.02)


def _block_starts(length: int, size: int, offsets: np.ndarray) -> np.ndarray:
    """Evenly spaced places of blocks that stay inside while they move by each of the offsets."""
    lowest, highest = max(0, -offsets.min()), length - size - max(0, offsets.max())
    count = min(_BLOCKS_PER_AXIS, 2 * (length // size) - 1)
    return np.linspace(lowest, highest, max(1, count)).astype(int)


def _pan_offsets(chunk: list[np.ndarray], size: int) -> np.ndarray:
    """Where the picture as a whole has moved since the first frame, [n, 2] whole pixels (down, right).

    Phase correlation of the middle, below 0.2 cycles per pixel; a shift that does not bring two frames nearer to each other
    is not believed, nor one that would leave too little in common, or no room for a block of `size` pixels.
    """
    rows, columns = (slice((n - min(n, _PAN_CROP)) // 2, (n + min(n, _PAN_CROP)) // 2) for n in chunk[0].shape)
    crops = [frame[rows, columns].astype(np.float32) for frame in chunk]
    height, width = crops[0].shape
    taper = np.outer(np.hanning(height), np.hanning(width)).astype(np.float32)
    low = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]) < 0.2
    spectra = [np.fft.rfft2((crop - crop.mean()) * taper) * low for crop in crops]
    offsets = np.zeros((len(chunk), 2), dtype=int)
    for index in range(1, len(chunk)):
        cross = spectra[index] * spectra[index - 1].conj()
        peak = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-12), s=(height, width)).argmax()
        step = np.array(np.unravel_index(peak, (height, width)))
        step = np.where(step > np.array([height, width]) // 2, step - [height, width], step)
        if np.abs(step).max() > min(height, width) // 8 or not _brings_nearer(crops[index - 1], crops[index], step):
            step = np.zeros(2, dtype=int)
        offsets[index] = offsets[index - 1] + step
    whole = np.array(chunk[0].shape)
    reach = np.minimum(whole // 3, whole - size)
    return offsets if (np.ptp(offsets, axis=0) <= reach).all() else np.zeros_like(offsets)


def _brings_nearer(before: np.ndarray, after: np.ndarray, step: np.ndarray) -> bool:
    edge = max(1, int(np.abs(step).max()))
    inner = (slice(edge, -edge), slice(edge, -edge))
    difference = (after - before)[inner]
    followed = (np.roll(after, -step, axis=(0, 1)) - before)[inner]
    return float((followed**2).mean()) < 0.9 * float((difference**2).mean())


def after_ramp_up(blocks: Blocks) -> tuple[Blocks, int]:
    """Leave out leading frames whose noise or brightness is not yet that of the run; at most a half of the group."""
    first = np.flatnonzero(blocks.group == blocks.group[0])
    if len(first) < 6:
        return blocks, 0
    power = np.array([np.median((np.abs(blocks.spectra[f]) ** 2 * blocks.window.high).sum(axis=(1, 2))) for f in first])
    mean = blocks.levels[first].mean(axis=1)
    spread = np.median(np.abs(np.diff(mean)))
    settled_power, settled_mean = np.median(power[len(first) // 2 :]), np.median(mean[len(first) // 2 :])
    off = (power > 1.35 * settled_power) | (np.abs(mean - settled_mean) > 0.1 * abs(settled_mean) + 20 * spread)
    skipped = int(np.argmin(off)) if not off.all() else 0
    if skipped == 0 or skipped > len(first) // 2:
        return blocks, 0
    kept = {name: getattr(blocks, name)[skipped:] for name in ("spectra", "levels", "usable", "group")}
    return replace(blocks, **kept), skipped
