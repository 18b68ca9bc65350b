"""Can what is faint still be seen: a channelised Hotelling observer, inserted lesions, edges and line pairs.

    v = channels^T image,   d'^2 = (mean v_present - mean v_absent)^T K^-1 (mean v_present - mean v_absent)

channels: Laguerre-Gauss functions about the size of the signal (Gallas & Barrett 2003, doi 10.1364/JOSAA.20.001725), which are
round, so regions at other angles about the centre serve as images without the signal. K: the covariance of those.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHANNELS = 4
BOOTSTRAPS = 400
ROSE = 3.0  # contrast over its deviation, from which on a thing counts as shown
LOST_BELOW = 0.5  # share of its contrast


@dataclass(frozen=True)
class Disc:
    """A faint disc: where, how large (pixels) and how strong (HU)."""

    row: float
    column: float
    radius: float
    contrast: float


def laguerre_gauss(side: int, width: float, count: int = CHANNELS) -> np.ndarray:
    """[count, side, side], orthogonal: sqrt(2)/a exp(-pi r^2/a^2) L_p(2 pi r^2/a^2), a = width in pixels."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    g = 2 * np.pi * (y**2 + x**2) / width**2
    polynomials = [np.ones_like(g), 1 - g]
    for p in range(1, count - 1):
        polynomials.append(((2 * p + 1 - g) * polynomials[p] - p * polynomials[p - 1]) / (p + 1))
    return np.stack(polynomials[:count]) * np.exp(-g / 2) * np.sqrt(2) / width


def responses(slices: np.ndarray, places: list[tuple[float, float]], channels: np.ndarray) -> np.ndarray:
    """[Z, places, channels] of regions around (row, column), to the nearest pixel, their own mean taken away."""
    side = channels.shape[-1]
    found = []
    for row, column in places:
        top, left = round(row - (side - 1) / 2), round(column - (side - 1) / 2)
        region = slices[:, top : top + side, left : left + side].astype(np.float64)
        found.append(np.einsum("zij,cij->zc", region - region.mean((1, 2), keepdims=True), channels))
    return np.stack(found, 1)


def detectability_squared(present: np.ndarray, absent: np.ndarray) -> float:
    """d'^2 from channel responses [N, channels] and [M, channels], less what chance gives where there is no signal.

    It may come out below 0. K is that of `absent`, of which there are many; the squared distance of two means of noise is
    channels * (1 / N + 1 / M) on the average.
    """
    difference = present.mean(0) - absent.mean(0)
    found = difference @ np.linalg.solve(np.cov(absent, rowvar=False), difference)
    return float(found - len(difference) * (1 / len(present) + 1 / len(absent)))


@dataclass(frozen=True)
class Detectability:
    """d' over all discs (root of the mean square), how much more it is than of the noisy slices, and the 95 % interval of that."""

    value: float
    more: float
    low: float
    high: float


def compare_detectability(
    noisy: np.ndarray, estimate: np.ndarray, discs: list[Disc], absent: list[list[tuple[float, float]]], seed: int = 0
) -> Detectability:
    """Slices [Z, H, W] that are repeats of one; absent: for each disc, places like its own without a signal.

    The interval comes from drawing slices with replacement, the same ones for both, so that what they share cancels. Drawing
    doubles chance, so only the spread of what is drawn is used.
    """
    both = []
    for slices in (noisy, estimate):
        sets = []
        for disc, places in zip(discs, absent):
            side = 2 * int(np.ceil(2.5 * disc.radius + 4)) + 1
            channels = laguerre_gauss(side, 3 * disc.radius + 2)
            sets.append((responses(slices, [(disc.row, disc.column)], channels)[:, 0], responses(slices, places, channels)))
        both.append(sets)

    def value(sets: list, chosen: np.ndarray) -> float:
        found = [detectability_squared(present[chosen], around[chosen].reshape(-1, around.shape[-1])) for present, around in sets]
        return float(np.sqrt(max(np.mean(found), 0.0)))

    rng, count = np.random.default_rng(seed), len(noisy)
    everything = np.arange(count)
    now = value(both[1], everything)
    more = now - value(both[0], everything)
    drawn = [rng.integers(count, size=count) for _ in range(BOOTSTRAPS)]
    spread = np.array([value(both[1], chosen) - value(both[0], chosen) for chosen in drawn])
    low, high = more + np.percentile(spread - spread.mean(), (2.5, 97.5))
    return Detectability(now, more, float(low), float(high))


def disc_image(shape: tuple[int, int], disc: Disc, blur_px: float = 0.5) -> np.ndarray:
    """[H, W] with the disc in it, its edge softened over about `blur_px`."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot(y - disc.row, x - disc.column) - disc.radius
    return disc.contrast / (1 + np.exp(np.clip(distance / (0.6 * blur_px + 1e-6), -50, 50)))


def contrast_kept(with_thing: np.ndarray, without: np.ndarray, thing: np.ndarray) -> float:
    """Share of a thing's contrast in what it changes [H, W]: <with - without, thing> / <thing, thing>; the noise is the same."""
    thing = thing - thing.mean()
    return float(((with_thing - without) * thing).sum() / (thing * thing).sum())


def shown_strength(image: np.ndarray, disc: Disc) -> float:
    """Mean over the disc less that of a ring around it, in HU."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(y - disc.row, x - disc.column)
    ring = (distance > disc.radius + 1.5) & (distance < 2 * disc.radius + 3)
    return float(image[distance <= disc.radius].mean() - image[ring].mean())


def transfer(image: np.ndarray, disc: Disc, pixel_mm: float, reach: float = 8.0) -> tuple[np.ndarray, np.ndarray]:
    """(frequencies in cycles/mm, modulation) from the edge of a disc in a mean of slices [H, W].

    The edge spread over distance from the rim, in bins of a quarter pixel, its derivative, its Fourier transform
    (Richard et al. 2012, the task transfer function, doi 10.1118/1.4725171).
    """
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(y - disc.row, x - disc.column) - disc.radius
    near = np.abs(distance) < reach
    step = 0.25
    place = np.floor((distance[near] + reach) / step).astype(int)
    count = int(2 * reach / step)
    weight = np.bincount(place, minlength=count)[:count]
    edge = np.bincount(place, image[near], minlength=count)[:count] / np.maximum(weight, 1)
    known = weight > 0
    edge = np.interp(np.arange(count), np.flatnonzero(known), edge[known])
    line = np.gradient(edge) * np.hanning(count)
    spectrum = np.abs(np.fft.rfft(line, 8 * count))
    return np.fft.rfftfreq(8 * count, step * pixel_mm), spectrum / spectrum[0]


def half_frequency(frequencies: np.ndarray, modulation: np.ndarray) -> float:
    """Where the modulation first falls to one half, cycles/mm."""
    below = np.flatnonzero(modulation < 0.5)
    if not len(below):
        return float(frequencies[-1])
    k = below[0]
    share = (modulation[k - 1] - 0.5) / (modulation[k - 1] - modulation[k])
    return float(frequencies[k - 1] + share * (frequencies[k] - frequencies[k - 1]))
