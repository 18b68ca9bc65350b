"""The simulated runs that a pre-training learns from.

Every second run shows a CT, if one is given: its left half only, from angles drawn at random. The right half is left
for evaluation, which therefore shows anatomy that no network has met. Four runs in ten are of kinds that random draws
hardly ever give: one rigid layer in white noise, and a still bright field on a flat panel. There the recursion is right
everywhere, and a network that meets it only on scenes it cannot follow learns not to trust it at all.
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
        kind = KINDS.get(index % 10)
        given = {**(kind(rng) if kind else {}), **fixed}
        if ct is not None and index % 2:
            settings = random_settings(rng, **{"anatomy": "slabs", **given})
            yield simulate(settings, int(rng.integers(2**31)), slabs_of(view))
        else:
            yield simulate(random_settings(rng, **given), int(rng.integers(2**31)))


def one_rigid_layer(rng: np.random.Generator) -> dict:
    """A limb under a moving C-arm, on a detector without blur."""
    return {"layers": 1, "heart_px": 0.0, "pan_px": float(rng.uniform(0, 4)), "correlation": 0.0, "domain": "LIN"}


def still_flat_panel(rng: np.random.Generator) -> dict:
    """A bench or a patient at rest, at a dose where noise is a hundredth of the signal."""
    quanta = float(np.exp(rng.uniform(np.log(1000), np.log(8000))))
    still = {"breathing_px": 0.0, "heart_px": 0.0, "pan_px": 0.0, "lag": 0.0, "vendor_recursion": 0.0}
    return {"quanta": quanta, "correlation": 0.0, "domain": "LIN", "bits": 16, **still}


KINDS = {0: one_rigid_layer, 4: one_rigid_layer, 7: one_rigid_layer, 5: still_flat_panel}
