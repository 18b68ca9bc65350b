"""The simulated runs that a pre-training learns from.

Every second run shows a CT, if one is given: its left half only, from angles drawn at random. The right half is left
for evaluation, which therefore shows anatomy that no network has met.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator

import numpy as np

from FluoroDenoiseLib.simulate import SimulatedRun, ct_slabs, random_settings, simulate

VIEWS = 12


@dataclass(frozen=True)
class CTVolume:
    hounsfield: np.ndarray  # [Z, Y, X], Z along the patient
    spacing_mm: tuple[float, float, float]  # z, y, x

    def left_half(self) -> CTVolume:
        return CTVolume(self.hounsfield[:, :, : self.hounsfield.shape[2] // 2], self.spacing_mm)

    def right_half(self) -> CTVolume:
        return CTVolume(self.hounsfield[:, :, self.hounsfield.shape[2] // 2 :], self.spacing_mm)


def training_runs(
    count: int, seed: int, ct: CTVolume | None = None, size: int = 256, frames: int = 12, first: int = 0
) -> Iterator[SimulatedRun]:
    """Runs first ... first + count - 1 of the endless sequence that `seed` stands for, made one at a time."""
    views: dict[int, np.ndarray] = {}
    for index in range(first, first + count):
        rng = np.random.default_rng([seed, index])
        view = int(rng.integers(VIEWS))
        if ct is None or index % 2 == 0:
            settings = random_settings(rng, size=(size, size), frames=frames)
            yield simulate(settings, seed=int(rng.integers(2**31)))
            continue
        if view not in views:
            views[view] = ct_slabs(ct.left_half().hounsfield, ct.spacing_mm, angle_deg=180 * view / VIEWS, seed=view)
        settings = random_settings(rng, size=(size, size), frames=frames, anatomy="slabs")
        yield simulate(settings, seed=int(rng.integers(2**31)), slabs=views[view])
