"""Noise variance against grey level, and the noise's correlations, measured on the blocks of a run.

Each block is Fourier-transformed once (Hann window, so that anatomy does not leak to high frequencies); differences
between frames are then differences of spectra. Moving anatomy lives at low spatial frequencies and noise at all of
them, so the variance is read from the high band and multiplied by the ratio of total to high-band noise, which the
quietest spectra give: the noise may be spatially correlated. Blocks are chosen by their low band and measured in their
high band, so that the choice does not bias the measurement.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOW_BAND = (0.04, 0.165)
HIGH_BAND = (0.345, 0.75)
"""Cycles per pixel; the corner of the spectrum lies at 0.707."""

_BLOCKS_PER_AXIS = 24
_GROUP = 8
_LAGS = (1, 2, 3, 4)
_BINS = 24
_ORDER = 6


@dataclass(frozen=True)
class NoiseMeasurement:
    """level, variance: [N], grey and noise variance of each bin of grey, darkest first; correlations of lag 1."""

    level: np.ndarray
    variance: np.ndarray
    spatial_correlation: float
    temporal_correlation: float
    whole_numbers: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Window:
    """A Hann window of one block and the bands of its half-plane spectrum."""

    taper: np.ndarray
    power: float
    weight: np.ndarray
    low: np.ndarray
    high: np.ndarray
    frequency: np.ndarray

    @classmethod
    def of_size(cls, size: int) -> "_Window":
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
class _Blocks:
    """Of F sampled frames, N blocks each: spectra [F, N, b, b//2+1], levels [F, N], usable [F, N], group [F]."""

    spectra: np.ndarray
    levels: np.ndarray
    usable: np.ndarray
    group: np.ndarray
    window: _Window
    whole_numbers: bool

    def pairs(self, lag: int) -> list[tuple[int, int]]:
        return [(f, f + lag) for f in range(len(self.group) - lag) if self.group[f] == self.group[f + lag]]

    def difference_power(self, first: int, second: int) -> np.ndarray:
        """[N, b, b//2+1]: spectral power of the difference of two frames, halved; mean = variance of one frame."""
        difference = self.spectra[second] - self.spectra[first]
        return (difference.real**2 + difference.imag**2) / (2 * self.window.power)


def measure_run(frames: Sequence[np.ndarray], sample: int) -> NoiseMeasurement:
    """Measure a run of at least two frames; reads about `sample` of them, one at a time."""
    blocks, skipped = _after_ramp_up(_read_blocks(frames, _sampled_groups(len(frames), sample)))
    window = blocks.window
    pairs = blocks.pairs(1)
    low, high = _band_power(blocks, pairs)
    level = np.stack([(blocks.levels[a] + blocks.levels[b]) / 2 for a, b in pairs])
    usable = np.stack([blocks.usable[a] & blocks.usable[b] for a, b in pairs])
    if not usable.any():
        usable[:] = True
    shape = _noise_shape(blocks)
    temporal = _temporal_correlation(blocks)
    whole_over_high = 1 / max(float((shape * window.high).sum()), 1e-3)
    level, variance = _binned(level[usable], low[usable], high[usable])
    variance = variance * whole_over_high / window.median_over_mean / (1 - max(temporal, 0.0))
    warnings = []
    if skipped:
        warnings.append(f"The first {skipped} frames are a ramp-up with other noise and were left out of the estimate.")
    if len(frames) < 5:
        warnings.append(f"The noise was estimated from {len(frames)} frames; motion in them reads as noise, five or more are safer.")
    return NoiseMeasurement(level, variance, _spatial_correlation(shape, window), temporal, blocks.whole_numbers, tuple(warnings))


def measure_single_frame(frame: np.ndarray) -> NoiseMeasurement:
    """Measure one frame by its own high band: anatomy is mistaken for noise where it is finer than 3 pixels."""
    blocks = _read_blocks([frame], [range(1)])
    power = np.abs(blocks.spectra[0]) ** 2 / blocks.window.power
    low, high = ((power * band).sum(axis=(1, 2)) for band in (blocks.window.low, blocks.window.high))
    usable = blocks.usable[0] if blocks.usable[0].any() else ~blocks.usable[0]
    level, variance = _binned(blocks.levels[0][usable], low[usable], high[usable])
    warning = "The noise was estimated from a single frame, taking it for spatially white; a run of two or more is safer."
    return NoiseMeasurement(level, variance / blocks.window.median_over_mean, 0.0, 0.0, blocks.whole_numbers, (warning,))


def _sampled_groups(count: int, sample: int) -> list[range]:
    """Consecutive groups, so that lags up to 4 exist, spread over the run."""
    sample = max(sample, 2)
    if count <= sample:
        return [range(count)]
    size = min(_GROUP, sample)
    starts = np.linspace(0, count - size, max(1, sample // size)).astype(int)
    return [range(start, start + size) for start in starts]


def _read_blocks(frames: Sequence[np.ndarray], groups: list[range]) -> _Blocks:
    first = np.asarray(frames[groups[0][0]])
    height, width = first.shape
    size = 16 if min(height, width) >= 16 else 8
    if min(height, width) < size:
        raise ValueError(f"Frames of {height}x{width} are too small to estimate noise; give frames of 8x8 or more.")
    window = _Window.of_size(size)
    rows, columns = (_block_starts(length, size) for length in (height, width))
    spectra, levels, at_least, at_most, group = [], [], [], [], []
    for number, members in enumerate(groups):
        for index in members:
            frame = np.asarray(frames[index])
            view = np.lib.stride_tricks.sliding_window_view(frame, (size, size))
            block = view[rows[:, None], columns[None]].reshape(-1, size, size).astype(np.float32)
            level = (block * window.taper**2).sum(axis=(1, 2)) / window.power
            spectra.append(np.fft.rfft2((block - level[:, None, None]) * window.taper).astype(np.complex64))
            levels.append(level)
            at_least.append((block == block.min()).mean(axis=(1, 2)))
            at_most.append((block == block.max()).mean(axis=(1, 2)))
            group.append(number)
    # a black border and saturated air have less noise than the law says; a few zeros of a low count are sound
    usable = (np.stack(at_least) < 0.3) & (np.stack(at_most) < 0.02)
    whole = bool(np.issubdtype(first.dtype, np.integer))
    return _Blocks(np.stack(spectra), np.stack(levels), usable, np.array(group), window, whole)


def _block_starts(length: int, size: int) -> np.ndarray:
    count = min(_BLOCKS_PER_AXIS, 2 * (length // size) - 1)
    return np.linspace(0, length - size, max(1, count)).astype(int)


def _after_ramp_up(blocks: _Blocks) -> tuple[_Blocks, int]:
    """Leave out leading frames whose noise or brightness is not yet that of the run; at most a half of the group."""
    first = np.flatnonzero(blocks.group == 0)
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
    kept = slice(skipped, None)
    return (
        _Blocks(blocks.spectra[kept], blocks.levels[kept], blocks.usable[kept], blocks.group[kept], blocks.window, blocks.whole_numbers),
        skipped,
    )


def _band_power(blocks: _Blocks, pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Low- and high-band variance of every pair and block, each [pairs, N]."""
    bands = np.stack([blocks.window.low.ravel(), blocks.window.high.ravel()], axis=1).astype(np.float32)
    both = np.stack([blocks.difference_power(*pair).reshape(-1, bands.shape[0]) @ bands for pair in pairs])
    return both[..., 0], both[..., 1]


def _binned(level: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median high-band variance in bins of grey, over the half of each bin that moves least."""
    order = np.argsort(level)
    binned_level, binned_variance = [], []
    for members in np.array_split(order, min(_BINS, max(1, len(order) // 16))):
        still = members[low[members] <= np.median(low[members])]
        binned_level.append(np.mean(level[still]))
        binned_variance.append(np.median(high[still]))
    return np.array(binned_level, dtype=float), np.array(binned_variance, dtype=float)


def _stillest(low: np.ndarray, high: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Indices of the tenth (at least 12) of the blocks with the least low-band power for their noise."""
    ratio = np.where(usable & (high > 0), low / np.maximum(high, 1e-12), np.inf)
    return np.argsort(ratio)[: max(12, len(ratio) // 10)]


def _noise_shape(blocks: _Blocks) -> np.ndarray:
    """Power spectrum of the noise [b, b//2+1], mean 1, from high-order differences in time.

    Anatomy of spatial frequency f that moves at v flickers at f v cycles a frame: slow where f is low, and a difference of
    order 6 leaves 1 % of what is slower than 0.2. What is left lies above the noise in some blocks and directions, so a low
    quantile over them is read, at its known place in the distribution of the noise. Where the whole field moves by more
    than 3 pixels a frame at high contrast this is not enough, and sigma comes out up to 15 % high.
    """
    window = blocks.window
    power, samples = _high_order_power(blocks)
    usable = blocks.usable.all(axis=0)
    power = power[usable] if usable.sum() > 12 else power
    strength = np.maximum((power * window.high).sum(axis=(1, 2), keepdims=True), 1e-12)
    relative = power / strength
    shape = np.median(relative, axis=0) / _gamma_quantile(samples, 0.0)
    radius = np.rint(window.frequency * shape.shape[0]).astype(int)
    for ring in range(1, math.ceil(HIGH_BAND[0] * len(shape))):
        members = relative[:, radius == ring]
        low_quantile = np.quantile(members, 0.1) / _gamma_quantile(samples, -1.2816)
        shape[radius == ring] = low_quantile
    shape[radius == 0] = shape[radius == 1].mean()
    return shape / max(float((shape * window.weight).sum()), 1e-12)


def _high_order_power(blocks: _Blocks) -> tuple[np.ndarray, float]:
    """Mean power of differences in time [N, b, b//2+1], and how many independent samples that mean is worth."""
    lengths = np.bincount(blocks.group)
    order = int(min(_ORDER, lengths.max() - 1))
    taps = np.array([(-1) ** k * math.comb(order, k) for k in range(order + 1)], dtype=np.float32)
    covariance = np.correlate(taps, taps, "full")
    total, count, cross = 0.0, 0, 0.0
    for number, length in enumerate(lengths):
        frames = np.flatnonzero(blocks.group == number)
        places = length - order
        if places < 1:
            continue
        for start in range(places):
            difference = np.tensordot(taps, blocks.spectra[frames[start : start + order + 1]], axes=1)
            total = total + (difference.real**2 + difference.imag**2)
        shares = covariance / covariance.max()
        cross += sum((places - abs(lag)) * shares[order + lag] ** 2 for lag in range(-order, order + 1) if abs(lag) < places)
        count += places
    return total / (count * float((taps**2).sum()) * blocks.window.power), count**2 / cross


def _gamma_quantile(samples: float, deviate: float) -> float:
    """Quantile over mean of a mean of `samples` exponential powers, at a standard normal deviate (Wilson & Hilferty)."""
    return (1 - 1 / (9 * samples) + deviate / (3 * math.sqrt(samples))) ** 3


def _spatial_correlation(shape: np.ndarray, window: _Window) -> float:
    """Lag-1 correlation, mean of x and y, the window's own autocorrelation divided out."""
    size = shape.shape[0]
    correlation = np.fft.irfft2(shape, s=(size, size))
    taper = np.fft.irfft2(np.abs(np.fft.rfft2(window.taper, s=(2 * size, 2 * size))) ** 2, s=(2 * size, 2 * size))
    lag_one = (correlation[0, 1] + correlation[1, 0]) / 2 / max(correlation[0, 0], 1e-12)
    return float(lag_one / (taper[0, 1] / taper[0, 0]))


def _temporal_correlation(blocks: _Blocks) -> float:
    """Lag-1 correlation of the noise in time, from how differences grow with the lag.

    Of a first-order recursion the variance of differences grows as 1, 1 + rho, 1 + rho + rho^2, ... of that at lag 1.
    """
    powers = {}
    lags = [lag for lag in _LAGS if blocks.pairs(lag)]
    if len(lags) < 2:
        return 0.0
    farthest_low, farthest_high = (power.mean(axis=0) for power in _band_power(blocks, blocks.pairs(lags[-1])))
    still = _stillest(farthest_low, farthest_high, blocks.usable.all(axis=0))
    for lag in lags:
        _, high = _band_power(blocks, blocks.pairs(lag))
        powers[lag] = float(np.median(high[:, still], axis=0).sum())
    if powers[1] <= 0:
        return 0.0
    growth = np.array([powers[lag] / powers[1] for lag in lags[1:]])
    rho = np.linspace(-0.3, 0.95, 1251)
    expected = np.stack([sum(rho**k for k in range(lag)) for lag in lags[1:]], axis=1)
    weight = 1 / np.array(lags[1:], dtype=float)  # motion grows with the lag
    best = float(rho[np.argmin((weight * (expected / growth - 1) ** 2).sum(axis=1))])
    return best if abs(best) > 0.03 else 0.0
