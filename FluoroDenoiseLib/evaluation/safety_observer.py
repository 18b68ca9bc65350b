"""B13: whether a faint disc can be detected as well after denoising as before.

A channelised Hotelling observer (Myers & Barrett, J. Opt. Soc. Am. A 4, 2447 (1987)) with Laguerre-Gauss channels (Gallas
& Barrett, J. Opt. Soc. Am. A 20, 1725 (2003)):  d'^2 = (m1 - m0)^T S^-1 (m1 - m0), m the mean and S the covariance of the
channels' outputs with and without the disc. It looks at one frame, and at the mean of all frames, in which nothing is
gained by averaging over time: that is the honest question for a disc at rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart, images
from FluoroDenoiseLib.evaluation.safety_inserts import cells, disc
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Trials

DISCS = ((5, 1.0), (5, 2.0), (9, 0.5), (15, 0.3))  # diameter px, contrast
SPEEDS = (0, 4)  # px a frame
CELL = 48
REGION = 16  # pixels seen on each side of the middle
CHANNELS = 6
SETTLED = 4
JUDGED = (5, 8, 11)
NOT_WORSE = 0.95
RESAMPLES = 300
TURNING = 6


def laguerre_gauss(width: float) -> np.ndarray:
    """[CHANNELS, (2 REGION)^2] channels of a Gaussian of this width, px, orthonormal but for sampling."""
    y, x = np.mgrid[-REGION:REGION, -REGION:REGION].astype(float)
    argument = 2 * math.pi * (x**2 + y**2) / width**2
    envelope = math.sqrt(2) / width * np.exp(-argument / 2)
    before, now = np.ones_like(argument), 1 - argument
    channels = [before, now]
    for order in range(1, CHANNELS - 1):
        before, now = now, ((2 * order + 1 - argument) * now - order * before) / (order + 1)
        channels.append(now)
    return np.stack([envelope * polynomial for polynomial in channels[:CHANNELS]]).reshape(CHANNELS, -1)


def detectability(present: np.ndarray, absent: np.ndarray) -> float:
    """d' of channel outputs [N, CHANNELS] with and without the signal."""
    return float(_from_moments(*(_moments(outputs[None]) for outputs in (present, absent)), np.ones((1, 1)))[0])


class Moments(NamedTuple):
    """Of channel outputs, by seed: how many, their sum [S, CHANNELS] and the sum of their products [S, CHANNELS, CHANNELS]."""

    count: int
    sums: np.ndarray
    products: np.ndarray


def _moments(outputs: np.ndarray) -> Moments:
    """outputs: [S, N, CHANNELS]."""
    return Moments(outputs.shape[1], outputs.sum(1), np.einsum("sni,snj->sij", outputs, outputs))


def _from_moments(present: Moments, absent: Moments, weights: np.ndarray) -> np.ndarray:
    """[R]: d' with each seed counted as often as weights [R, S] say."""
    means, covariance = [], 0.0
    for moments in (present, absent):
        count = moments.count * weights.sum(1)[:, None]
        mean = weights @ moments.sums / count
        products = np.einsum("rs,sij->rij", weights, moments.products)
        covariance = covariance + (products - count[..., None] * mean[:, :, None] * mean[:, None]) / (count[..., None] - 1) / 2
        means.append(mean)
    difference = means[0] - means[1]
    return np.sqrt(np.maximum(np.einsum("ri,ri->r", difference, np.linalg.solve(covariance, difference[..., None])[..., 0]), 0))


def compared(inside: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """(d' before, d' after, their ratio, its lower 95 % bound) by resampling the seeds.

    inside: "noisy" and "restored", each [2 (absent, present), S, N, CHANNELS], in the same noise.
    """
    count = inside["noisy"].shape[1]
    weights = np.concatenate([np.ones((1, count)), rng.multinomial(count, np.full(count, 1 / count), RESAMPLES)])
    before, after = (_from_moments(_moments(inside[name][1]), _moments(inside[name][0]), weights) for name in ("noisy", "restored"))
    return float(before[0]), float(after[0]), float(after[0] / before[0]), float(np.percentile(after[1:] / before[1:], 5))


def _way(speed: float, frame: int) -> float:
    return speed * (TURNING - abs(TURNING - frame)) - speed * TURNING / 2


def _outputs(frames: np.ndarray, centres: Sequence[tuple[float, float]], channels: np.ndarray) -> np.ndarray:
    """[len(centres), CHANNELS] of one frame [H, W]."""
    regions = []
    for row, column in centres:
        top, left = int(round(row)) - REGION, int(round(column)) - REGION
        regions.append(frames[top : top + 2 * REGION, left : left + 2 * REGION].ravel())
    return np.asarray(regions, float) @ channels.T


def observer_section(trials: Trials) -> Section:
    """B13. trials: on a flat stage of 4 x 4 cells, whose empty frames are used again."""
    rows, rng, curves = Rows("B13"), np.random.default_rng(0), {"one frame": [], "mean of frames": []}
    stage, places = trials.stage, cells(trials.stage.size, CELL)
    strengths = [stage.attenuation_of(disc(stage.size, *places[0][:2], diameter), contrast).max() for diameter, contrast in DISCS]
    shown = None
    for speed in SPEEDS:
        total = stage.nothing(trials.frames)
        for index, (row, column, _) in enumerate(places):
            which = index % len(DISCS)
            for frame in range(trials.frames):
                total[frame] += strengths[which] * disc(stage.size, row, column + _way(speed, frame), DISCS[which][0])
        clean = stage.clean(total)
        series = [[(stage.noisy(frames, seed), restored) for frames, restored in
                   ((trials.empty, trials.without(seed)), (clean, trials.restored(clean, seed)))] for seed in trials.seeds]
        shown = shown or series[0][1]
        for which, (diameter, contrast) in enumerate(DISCS):
            channels = laguerre_gauss(1.5 * diameter + 4)
            centres = [(row, column) for index, (row, column, _) in enumerate(places) if index % len(DISCS) == which]
            name = f"disc {diameter} px, contrast {contrast:g}, {'at rest' if speed == 0 else f'{speed} px a frame'}"
            looks = {"one frame": lambda frames: np.concatenate([
                _outputs(frames[frame], [(row, column + _way(speed, frame)) for row, column in centres], channels) for frame in JUDGED])}
            if speed == 0:
                looks["mean of frames"] = lambda frames: _outputs(frames[SETTLED:].mean(0), centres, channels)
            for look, outputs in looks.items():
                inside = {kind: np.stack([[outputs(pair[state][at]) for pair in series] for state in (0, 1)])
                          for at, kind in enumerate(("noisy", "restored"))}
                before, after, ratio, bound = compared(inside, rng)
                rows.at_least(f"{name}, {look}: lower bound of d' after over before", bound, NOT_WORSE, "",
                              f"d' {before:.2f} before, {after:.2f} after, ratio {ratio:.2f}")
                curves[look].append((before, after))
    drawn = [Curve(look, *zip(*sorted(points))) for look, points in curves.items()]
    top = max(before for points in curves.values() for before, _ in points)
    drawn.append(Curve("equal", (0, top), (0, top), dashed=True))
    low, high = np.percentile(shown[1], (0.5, 99.5))
    return Section("B13", "Detectability", "Faint discs at known places of an empty field: detectability d' of a channelised Hotelling observer before and "
                   "after, in the same noise. The lower bound is that of 95 % confidence.", tuple(rows.made),
                   (chart("Detectability", drawn, "d' before", "d' after"),
                    images("The discs in one noise, last frame", [("noisy", shown[0][-1]), ("denoised", shown[1][-1])],
                           low - (high - low), high + (high - low))))
