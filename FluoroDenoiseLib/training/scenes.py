"""The simulated runs that a pre-training learns from.

Every second run shows a CT, if one is given: its left half only, from angles drawn at random. The right half is left
for evaluation, which therefore shows anatomy that no network has met. Every tenth run is one rigid layer, where the
recursion is right everywhere: a network that meets it only on scenes it cannot follow learns not to trust it at all.
"""

from __future__ import annotations

from functools import cache
from typing import Iterator

import numpy as np

from FluoroDenoiseLib.simulate import SimulatedRun, ct_slabs, random_settings, simulate

VIEWS = 12


def training_runs(
    count: int,
    seed: int,
    ct: tuple[np.ndarray, tuple[float, float, float]] | None = None,
    first: int = 0,
    **fixed: object,
) -> Iterator[SimulatedRun]:
    """Runs first ... first + count - 1 of the endless sequence that `seed` stands for, made one at a time.

    ct: Hounsfield units [Z, Y, X] and spacing (z, y, x) in mm. fixed: settings that are not to be drawn.
    """
    fixed = {"size": (256, 256), "frames": 12, **fixed}

    @cache
    def slabs_of(view: int) -> np.ndarray:
        hounsfield, spacing_mm = ct
        left = hounsfield[:, :, : hounsfield.shape[2] // 2]
        return ct_slabs(left, spacing_mm, angle_deg=180 * view / VIEWS, seed=view)

    for index in range(first, first + count):
        rng = np.random.default_rng([seed, index])
        view = int(rng.integers(VIEWS))
        if ct is not None and index % 2:
            settings = random_settings(rng, **{"anatomy": "slabs", **fixed})
            yield simulate(settings, int(rng.integers(2**31)), slabs_of(view))
        else:
            rigid = {"layers": 1, "heart_px": 0.0} if index % 10 == 0 else {}
            yield simulate(random_settings(rng, **{**rigid, **fixed}), int(rng.integers(2**31)))
