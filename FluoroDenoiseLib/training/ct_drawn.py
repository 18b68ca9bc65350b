"""Things drawn into clean slices, so that a network meets what a single body does not have: faint discs, vessels, line pairs.

What a network never saw it takes for noise, and the faint lesion is what CT is made for. Objects are a few HU to bone, sharp
or soft, through all slices of a clip or in its middle slice alone.
"""

from __future__ import annotations

import numpy as np
import torch

from FluoroDenoiseLib.ct_noise import blur

FAINT_HU = (2.0, 60.0)
STRONG_HU = (100.0, 900.0)
MOST = 8
UNIFORM_SHARE = 0.25  # of the clips with things drawn in: on an even ground, as phantoms have


def draw_things(rng: np.random.Generator, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Slices [D, P, P] in HU with things drawn in, and what they add to the middle one, [P, P] HU."""
    side = truth.shape[-1]
    scene = truth
    if rng.random() < UNIFORM_SHARE:
        scene = np.full_like(truth, rng.uniform(-120, 120))
    added = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(1, MOST + 1)):
        shape = (_disc, _disc, _vessel, _blob, _line_pairs)[rng.integers(5)]
        strong = rng.random() < (0.6 if shape is _line_pairs else 0.12)
        low, high = STRONG_HU if strong else FAINT_HU
        contrast = np.exp(rng.uniform(np.log(low), np.log(high))) * rng.choice((-1, 1))
        added += np.float32(contrast) * shape(rng, side)
    added = blur(torch.from_numpy(added)[None, None], float(rng.uniform(0.3, 1.0)))[0, 0].numpy()
    if rng.random() < 0.25:
        made = scene.copy()
        made[len(made) // 2] += added
        return made, added
    return scene + added, added


def _grid(side: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    return y - rng.uniform(0, side), x - rng.uniform(0, side)


def _disc(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = _grid(side, rng)
    radius, flat = np.exp(rng.uniform(np.log(1.5), np.log(24))), rng.uniform(0.5, 1.0)
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.clip(radius + 0.5 - np.hypot(along, across / flat), 0, 1).astype(np.float32)


def _blob(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = _grid(side, rng)
    return np.exp(-(y**2 + x**2) / (2 * rng.uniform(1.5, 12) ** 2)).astype(np.float32)


def _vessel(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = _grid(side, rng)
    angle, bend = rng.uniform(0, np.pi), rng.uniform(-1, 1) / side
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return np.clip(rng.uniform(0.6, 4) + 0.5 - np.abs(across - bend * along**2), 0, 1).astype(np.float32)


def _line_pairs(rng: np.random.Generator, side: int) -> np.ndarray:
    y, x = _grid(side, rng)
    angle, period = rng.uniform(0, np.pi), rng.uniform(2.5, 10)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    inside = (np.abs(across) < 2.5 * period) & (np.abs(along) < rng.uniform(6, 20))
    return (inside * np.clip(0.5 + 2 * np.cos(2 * np.pi * across / period), 0, 1)).astype(np.float32)
