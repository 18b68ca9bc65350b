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

from .noise_blocks import HIGH_BAND, Blocks, Window, after_ramp_up, read_blocks, sampled_groups

_LAGS = (1, 2, 3, 4)
_BINS = 24
_ORDER = 6
_MOST_RECURSION = 0.85  # lag-1 correlation in time that a system's filter may leave; what seems to have more is motion


@dataclass(frozen=True)
class NoiseMeasurement:
    """level, variance: [N], grey and noise variance of each bin of grey, darkest first; correlations of lag 1."""

    level: np.ndarray
    variance: np.ndarray
    spatial_correlation: float
    temporal_correlation: float
    whole_numbers: bool
    warnings: tuple[str, ...] = ()


def measure_run(frames: Sequence[np.ndarray], sample: int) -> NoiseMeasurement:
    """Measure a run of at least two frames; reads about `sample` of them, at most 8 at a time."""
    blocks, skipped = after_ramp_up(read_blocks(frames, sampled_groups(len(frames), sample)))
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
        warnings.append(
            f"The noise was estimated from {len(frames)} frames; motion in them reads as noise, five or more are safer."
        )
    return NoiseMeasurement(level, variance, _spatial_correlation(shape, window), temporal, blocks.whole_numbers, tuple(warnings))


def measure_single_frame(frame: np.ndarray) -> NoiseMeasurement:
    """Measure one frame by its own high band: anatomy is mistaken for noise where it is finer than 3 pixels."""
    blocks = read_blocks([frame], [range(1)])
    power = np.abs(blocks.spectra[0]) ** 2 / blocks.window.power
    low, high = ((power * band).sum(axis=(1, 2)) for band in (blocks.window.low, blocks.window.high))
    usable = blocks.usable[0] if blocks.usable[0].any() else ~blocks.usable[0]
    level, variance = _binned(blocks.levels[0][usable], low[usable], high[usable])
    warning = "The noise was estimated from a single frame, taking it for spatially white; a run of two or more is safer."
    return NoiseMeasurement(level, variance / blocks.window.median_over_mean, 0.0, 0.0, blocks.whole_numbers, (warning,))


def _band_power(blocks: Blocks, pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
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


def _noise_shape(blocks: Blocks) -> np.ndarray:
    """Power spectrum of the noise [b, b//2+1], mean 1, from high-order differences in time.

    Anatomy of spatial frequency f that moves at v flickers at f v cycles a frame: slow where f is low, and a difference of
    order 6 leaves 1 % of what is slower than 0.2. What is left lies above the noise in some blocks and directions, so a low
    quantile over them is read, at its known place in the distribution of the noise. Where two layers at high contrast both
    fill the picture and one moves by more than 3 pixels a frame, sigma comes out up to 15 % high.
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


def _high_order_power(blocks: Blocks) -> tuple[np.ndarray, float]:
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


def _spatial_correlation(shape: np.ndarray, window: Window) -> float:
    """Lag-1 correlation, mean of x and y, the window's own autocorrelation divided out."""
    size = shape.shape[0]
    correlation = np.fft.irfft2(shape, s=(size, size))
    taper = np.fft.irfft2(np.abs(np.fft.rfft2(window.taper, s=(2 * size, 2 * size))) ** 2, s=(2 * size, 2 * size))
    lag_one = (correlation[0, 1] + correlation[1, 0]) / 2 / max(correlation[0, 0], 1e-12)
    return float(lag_one / (taper[0, 1] / taper[0, 0]))


def _temporal_correlation(blocks: Blocks) -> float:
    """Lag-1 correlation of the noise in time, from how differences grow with the lag.

    Of a first-order recursion the variance of differences grows as 1, 1 + rho, 1 + rho + rho^2, ... of that at lag 1. Of
    motion without noise it grows like that of rho = 1 or more, which no system's filter has: 0 is given then.
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
    return best if 0.03 < abs(best) < _MOST_RECURSION else 0.0
