"""The simulated runs that a pre-training learns from.

Every second run shows a CT, if one is given: its left half only, from angles drawn at random. The right half is left
for evaluation, which therefore shows anatomy that no network has met. Five runs in ten are of kinds that random draws
hardly ever give. One rigid layer in white noise, and a still bright field on a flat panel: there the recursion is right
everywhere, and a network that meets it only on scenes it cannot follow learns not to trust it at all. Small things that
appear and vanish: there it is wrong for some frames after, and a network that never saw a thing vanish drags it on.
"""

from __future__ import annotations

from functools import cache
from typing import Iterator, NamedTuple

import numpy as np

from FluoroDenoiseLib.simulate import SimulatedRun, SimulationSettings, ct_slabs, random_settings, simulate

VIEWS = 12


class Draw(NamedTuple):
    """One run before it is simulated. view: from which the CT is seen, if the settings ask for slabs of it."""

    settings: SimulationSettings
    seed: int
    view: int


def training_draws(count: int, seed: int, with_ct: bool, first: int = 0, **fixed: object) -> Iterator[Draw]:
    """What training_runs simulates."""
    fixed = {"size": (256, 256), "frames": 12, **fixed}
    for index in range(first, first + count):
        rng = np.random.default_rng([seed, index])
        view = int(rng.integers(VIEWS))
        kind = KINDS.get(index % 10)
        anatomy = {"anatomy": "slabs"} if with_ct and index % 2 else {}
        settings = random_settings(rng, **{**anatomy, **(kind(rng) if kind else {}), **fixed})
        yield Draw(settings, int(rng.integers(2**31)), view)


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

    @cache
    def slabs_of(view: int) -> np.ndarray:
        hounsfield, spacing_mm = ct
        left = hounsfield[:, :, : hounsfield.shape[2] // 2]
        return ct_slabs(left, spacing_mm, angle_deg=180 * view / VIEWS, seed=view)

    for draw in training_draws(count, seed, ct is not None, first, **fixed):
        shows_ct = ct is not None and draw.settings.anatomy == "slabs"
        yield simulate(draw.settings, draw.seed, slabs_of(draw.view) if shows_ct else None)


def one_rigid_layer(rng: np.random.Generator) -> dict:
    """A limb under a moving C-arm, on a detector without blur."""
    return {"layers": 1, "heart_px": 0.0, "pan_px": float(rng.uniform(0, 4)), "correlation": 0.0, "domain": "LIN"}


def still_flat_panel(rng: np.random.Generator) -> dict:
    """A bench or a patient at rest, at a dose where noise is a hundredth of the signal."""
    quanta = float(np.exp(rng.uniform(np.log(1000), np.log(8000))))
    still = {"breathing_px": 0.0, "heart_px": 0.0, "pan_px": 0.0, "lag": 0.0, "vendor_recursion": 0.0}
    return {"quanta": quanta, "correlation": 0.0, "domain": "LIN", "bits": 16, **still}


def things_that_blink(rng: np.random.Generator) -> dict:
    """Anything else, with small things in it that come and go at once."""
    return {"blinking": int(rng.integers(8, 25))}


KINDS = {0: one_rigid_layer, 3: things_that_blink, 4: one_rigid_layer, 5: still_flat_panel, 9: things_that_blink}
