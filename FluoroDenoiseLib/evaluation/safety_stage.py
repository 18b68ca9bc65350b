"""Test objects with an exact truth: what a detector expects of them, and noise of its law round that.

A restorer is shown the same noise twice, with and without an object, and judged by the difference of what it gives:
that is what became of the object, free of almost all noise, whatever the background. (Insertion into noisy frames, as
for contrast recovery in CT; the noise is Gaussian with the detector's variance and correlation.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from FluoroDenoiseLib.anatomy import procedural_layers
from FluoroDenoiseLib.detector import Detector, Response, blur, noise_gain
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

Restore = Callable[[np.ndarray, NoiseEstimate], np.ndarray]  # noisy [T, H, W] stored values -> [T, H, W]

MARGIN = 16
BITS = 12
QUANTA = 50.0
CORRELATION = 0.25
READ_NOISE_QUANTA = 1.0
FOCAL_SPOT_PX = 0.5  # Gaussian sigma by which it blurs what is in the beam
TOP = 0.8 * (2**BITS - 1)  # grey level of the brightest quanta


@dataclass(frozen=True, eq=False)
class Stage:
    """A still background, seen by a linear detector. quanta: expected, [H + 2 MARGIN, W + 2 MARGIN]."""

    quanta: np.ndarray
    correlation: float = CORRELATION
    read_noise_quanta: float = READ_NOISE_QUANTA

    @property
    def size(self) -> tuple[int, int]:
        return self.quanta.shape[0] - 2 * MARGIN, self.quanta.shape[1] - 2 * MARGIN

    @cached_property
    def detector(self) -> Detector:
        bright = float(self.quanta.max())
        peak = bright + 4 * math.sqrt(bright + self.read_noise_quanta**2)
        below = 6 * (self.read_noise_quanta + 1)
        response = Response("LIN", TOP, 0.0, peak, 1.0, pedestal=TOP * below / (peak + below))
        return Detector(response, BITS, self.correlation, self.read_noise_quanta, 0.0, 0.0, False, MARGIN)

    @cached_property
    def law(self) -> PoissonGaussian:
        return self.detector.law(torch.from_numpy(self.quanta))

    @property
    def noise(self) -> NoiseEstimate:
        """The true noise, as a restorer is told."""
        return NoiseEstimate(self.law, self.correlation, 0.0)

    def clean(self, attenuation: np.ndarray) -> np.ndarray:
        """Expected stored values [T, H, W] with something in the beam: attenuation [T, H + 2 MARGIN, W + 2 MARGIN]."""
        seen = torch.from_numpy(self.quanta * np.exp(-attenuation)).float()
        return self.detector.expect(_through_focal_spot(seen)).numpy()

    def nothing(self, frames: int) -> np.ndarray:
        """No attenuation, for `clean`."""
        return np.zeros((frames, *self.quanta.shape), np.float32)

    def noisy(self, clean: np.ndarray, seed: int) -> np.ndarray:
        """Frames [T, H, W] with this seed's noise: the same, up to its strength, whatever the frames show."""
        white = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        unit = (blur(white, self.correlation) / noise_gain(self.correlation) ** 0.5).numpy()
        return (clean + unit * np.sqrt(self.law.variance(clean))).astype(np.float32)

    def attenuation_of(self, shape: np.ndarray, contrast: float) -> np.ndarray:
        """The shape [H + 2 MARGIN, W + 2 MARGIN] (1 inside, 0 outside) as attenuation whose darkest pixel, in the
        expected stored values, lies `contrast` standard deviations of the noise under the background.

        ValueError where the beam is too weak for that: even without light it would not be so dark.
        """
        empty = self.clean(self.nothing(1))[0]
        sigma = np.sqrt(self.law.variance(empty))
        share = 0.1  # of the beam that is taken away, to which the contrast is nearly proportional
        for _ in range(4):
            reached = float(((empty - self.clean(-math.log(1 - share) * shape[None])[0]) / sigma).max())
            share *= contrast / reached
            if share > 0.999:
                raise ValueError(f"A contrast of {contrast:g} times the noise needs more quanta than {self.quanta.mean():.1f}.")
        return (-math.log(1 - share) * shape).astype(np.float32)


def _through_focal_spot(quanta: torch.Tensor) -> torch.Tensor:
    """Blurred by FOCAL_SPOT_PX; the border wraps round, in a margin that is thrown away."""
    height, width = quanta.shape[-2:]
    squared = torch.fft.fftfreq(height)[:, None].square() + torch.fft.rfftfreq(width)[None].square()
    return torch.fft.irfft2(torch.fft.rfft2(quanta) * torch.exp(-2 * (math.pi * FOCAL_SPOT_PX) ** 2 * squared), s=(height, width))


def flat_stage(height: int, width: int, quanta: float = QUANTA, correlation: float = CORRELATION) -> Stage:
    """The same exposure everywhere."""
    return Stage(np.full((height + 2 * MARGIN, width + 2 * MARGIN), quanta, np.float32), correlation)


def anatomy_stage(height: int, width: int, quanta: float = QUANTA, seed: int = 7, dynamic_range: float = 3.0) -> Stage:
    """Three layers of procedural anatomy at rest; dynamic_range: 95th over 5th percentile of the exposure."""
    layers = sum(procedural_layers(np.random.default_rng(seed), height + 2 * MARGIN, width + 2 * MARGIN, 3, 0.3))
    low, high = np.percentile(layers, (5, 95))
    seen = np.exp(-layers * (math.log(dynamic_range) / (high - low)))
    return Stage((quanta * seen / seen.mean()).astype(np.float32))


class Trials:
    """A restorer on one stage, in the noise of each seed; what it makes of the empty stage is kept."""

    def __init__(self, stage: Stage, restore: Restore, frames: int, seeds: Sequence[int], told: NoiseEstimate | None = None):
        self.stage, self.restore, self.frames, self.seeds = stage, restore, frames, tuple(seeds)
        self.told = told or stage.noise
        self.empty = stage.clean(stage.nothing(1)).repeat(frames, 0)
        self._without: dict[int, np.ndarray] = {}

    def restored(self, clean: np.ndarray, seed: int) -> np.ndarray:
        return np.asarray(self.restore(self.stage.noisy(clean, seed), self.told), np.float32)

    def without(self, seed: int) -> np.ndarray:
        """The empty stage, restored, [T, H, W]."""
        if seed not in self._without:
            self._without[seed] = self.restored(self.empty, seed)
        return self._without[seed]

    def insert(self, attenuation: np.ndarray) -> Inserted:
        """What became of something in the beam, attenuation [T, H + 2 MARGIN, W + 2 MARGIN]."""
        clean = self.stage.clean(attenuation)
        found = np.stack([self.restored(clean, seed) - self.without(seed) for seed in self.seeds])
        return Inserted(clean - self.empty, found)


@dataclass(frozen=True, eq=False)
class Inserted:
    """true: [T, H, W], the change of the expected stored values; found: [S, T, H, W], of the restored ones, by seed."""

    true: np.ndarray
    found: np.ndarray

    def share(self, frame: int, of_frame: int, where: tuple[slice, slice], of: Inserted | None = None) -> np.ndarray:
        """[S]: how much of the object as it truly is in `of_frame` (of another insertion, if given) is found in `frame`,
        within a part of the picture: <found, true> / <true, true>. 1 is all of it, 0 nothing."""
        true = (of or self).true[of_frame][where].astype(float)
        return (self.found[:, frame][(slice(None), *where)] * true).sum((1, 2)) / (true * true).sum()
