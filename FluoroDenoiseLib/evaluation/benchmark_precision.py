"""What fewer digits cost and gain: how far a preset's frames depart from those in float32, and how much sooner they are there."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from FluoroDenoiseLib.compute import PRECISIONS, Compute, choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.benchmark import NOISE, in_turns, noisy_run, preset
from FluoroDenoiseLib.model_folder import Model

SIDE, FRAMES = 256, 8
HARMLESS = 0.5
"""Grey levels: less than this and rounding to whole numbers, as files hold them, does as much."""


@dataclass(frozen=True)
class Departure:
    """A preset in a precision against itself in float32 on the same device. largest, rms: grey levels of a 12-bit run."""

    method: str
    device: str
    precision: str
    largest: float
    rms: float
    times_faster: float

    @property
    def is_harmless(self) -> bool:
        return self.largest < HARMLESS


def departures(model: Model, device: str, rounds: int) -> Iterator[Departure]:
    """One for each precision but float32, of the run that all are timed on, SIDE x SIDE."""
    computes = [choose(device, precision) for precision in PRECISIONS]
    reference, *others = (_frames(model, compute) for compute in computes)
    timings = list(in_turns([preset(model, compute, SIDE, FRAMES, 1) for compute in computes], rounds, computes[0]))
    for compute, frames, timing in zip(computes[1:], others, timings[1:]):
        error = frames - reference
        yield Departure(model.name, device, compute.precision, float(np.abs(error).max()), float(np.sqrt(np.mean(error**2))),
                        timing.times_faster_than(timings[0]))


def _frames(model: Model, compute: Compute) -> np.ndarray:
    return denoise(noisy_run(SIDE, FRAMES), model, NOISE, compute, batch=1).astype(np.float64)
