"""Naturalness without a truth: how far the statistics of a picture are from those of clean X-ray pictures.

A. Mittal, R. Soundararajan, A. C. Bovik, Making a "completely blind" image quality analyzer, IEEE Signal Processing Letters
20(3), 2013. Each tile of a picture gives 36 numbers (shapes and widths of the locally normalised values and of their
products with neighbours, at two scales); all tiles give a Gaussian, and

    NIQE = sqrt((m1 - m2)^T ((S1 + S2) / 2)^-1 (m1 - m2))

is its distance from the Gaussian of pristine pictures. Lower is better. Their pristine pictures are photographs, which says
little of X-rays, so ours are the clean frames of simulated runs (`python docs/fit_pristine.py` makes pristine_xray.npz), and
the numbers cannot be compared with published ones. Ours differs also in the tile (64 pixels for their 96, since frames are
small), in pooling the tiles of all frames, and in halving by means of 2x2.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

TILE_PX = 64
PRISTINE = Path(__file__).with_name("pristine_xray.npz")
_SHARP_SHARE = 0.5  # of a pristine frame's tiles, the sharper ones are learned from
_SHAPES = np.arange(0.2, 10.001, 0.001)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
_TINY = 1e-12


@dataclass(frozen=True)
class Statistics:
    """mean: [36], covariance: [36, 36] of the tiles' numbers."""

    mean: np.ndarray
    covariance: np.ndarray


def niqe(frames: np.ndarray, span: float, pristine: Statistics | None = None) -> float:
    """The distance of frames [T, H, W] from pristine ones; span: the grey range that is shown as 0 to 255.

    pristine: None for clean X-ray pictures. nan where a side is shorter than a tile, or there are fewer than two tiles.
    """
    pristine = pristine or pristine_xray()
    tiles = tile_features(frames, span)[0]
    if len(tiles) < 2:
        return float("nan")
    found = statistics(tiles)
    difference = found.mean - pristine.mean
    return float(np.sqrt(difference @ np.linalg.pinv((found.covariance + pristine.covariance) / 2) @ difference))


@cache
def pristine_xray() -> Statistics:
    """The statistics of clean X-ray pictures that the package holds."""
    with np.load(PRISTINE) as held:
        return Statistics(held["mean"].astype(float), held["covariance"].astype(float))


def statistics(tiles: np.ndarray) -> Statistics:
    """Mean and covariance of tiles' numbers [N, 36]."""
    return Statistics(tiles.mean(0), np.cov(tiles, rowvar=False))


def sharp_tiles(frames: np.ndarray, span: float) -> np.ndarray:
    """The numbers [N, 36] of the sharper half of the tiles of pristine frames [T, H, W]."""
    features, sharpness = tile_features(frames, span)
    return features[sharpness >= np.quantile(sharpness, 1 - _SHARP_SHARE)]


def tile_features(frames: np.ndarray, span: float) -> tuple[np.ndarray, np.ndarray]:
    """([N, 36] numbers, [N] mean local standard deviation) of every whole tile of frames [T, H, W]."""
    features, sharpness = [], []
    for frame in np.asarray(frames, np.float64) * (255 / span):
        rows, columns = (side // TILE_PX * TILE_PX for side in frame.shape)
        image = frame[:rows, :columns]
        if not image.size:
            continue
        normal, deviation = _normalised(image)
        half = image.reshape(rows // 2, 2, columns // 2, 2).mean((1, 3))
        scales = [(normal, TILE_PX), (_normalised(half)[0], TILE_PX // 2)]
        features.append(np.concatenate([_features_of_scale(*scale) for scale in scales], 1))
        sharpness.append(_tiles(deviation, TILE_PX).mean(1))
    if not features:
        return np.zeros((0, 36)), np.zeros(0)
    return np.concatenate(features), np.concatenate(sharpness)


def _normalised(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(image - local mean) / (local deviation + 1), and the local deviation; Gaussian window of 7x7, sigma 7/6."""
    kernel = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    kernel /= kernel.sum()

    def smooth(values: np.ndarray) -> np.ndarray:
        padded = np.pad(values, 3, mode="edge")
        rows = sum(weight * padded[at : at + values.shape[0]] for at, weight in enumerate(kernel))
        return sum(weight * rows[:, at : at + values.shape[1]] for at, weight in enumerate(kernel))

    mean = smooth(image)
    deviation = np.sqrt(np.abs(smooth(image * image) - mean * mean))
    return (image - mean) / (deviation + 1), deviation


def _features_of_scale(normal: np.ndarray, tile: int) -> np.ndarray:
    """[N, 18]: shape and width of the values, then shape, mean, left and right width of each product of neighbours."""
    shape, _, left, right = fit_asymmetric(_tiles(normal, tile))
    features = [shape, (left + right) / 2]
    for shift in _NEIGHBOURS:
        features += fit_asymmetric(_tiles(normal * np.roll(normal, shift, (0, 1)), tile))
    return np.stack(features, 1)


def _tiles(image: np.ndarray, tile: int) -> np.ndarray:
    """[N, tile * tile] of an image whose sides are multiples of tile."""
    rows, columns = image.shape[0] // tile, image.shape[1] // tile
    return image.reshape(rows, tile, columns, tile).swapaxes(1, 2).reshape(rows * columns, tile * tile)


def fit_asymmetric(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Shape, mean, left and right width [N] of the asymmetric generalised Gaussian of samples [N, M], by moments.

    Lasmar, Stitou, Berthoumieu 2009. Shape 2 and width sqrt(2) sigma are the normal distribution's.
    """
    squares = samples * samples
    below, above = samples < 0, samples > 0
    left = np.sqrt((squares * below).sum(1) / np.maximum(below.sum(1), 1)) + _TINY
    right = np.sqrt((squares * above).sum(1) / np.maximum(above.sum(1), 1)) + _TINY
    ratio = left / right
    moment = np.abs(samples).mean(1) ** 2 / (squares.mean(1) + _TINY)
    moment *= (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    one, two, three = _gammas()
    moments = np.exp(2 * two - one - three)  # rises with the shape
    at = np.clip(np.searchsorted(moments, moment), 0, len(_SHAPES) - 1)
    width = np.exp((one[at] - three[at]) / 2)
    left, right = left * width, right * width
    return _SHAPES[at], (right - left) * np.exp(two[at] - one[at]), left, right


@cache
def _gammas() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log Gamma(k / shape) of every shape, k = 1, 2, 3."""
    return tuple(np.array([math.lgamma(k / shape) for shape in _SHAPES]) for k in (1, 2, 3))
