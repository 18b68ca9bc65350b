"""The noise of a stabilised run in space and time, as far as the frames tell it: enough to make more of the same.

    n_t = s(level) (rho n_(t-1) / s + sqrt(1 - rho^2) w_t)        w: white, blurred as a detector blurs

The law of noise.py makes noise 1 at every level where it holds. Where it does not (logarithmic or processed pictures)
the stabilised frames are measured once more, and s(level) is what their noise came out as. Correlation over pixels has
the form that detectors give it, correlation over frames that of a vendor's recursive filter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.detector import blur, noise_gain
from FluoroDenoiseLib.motion import smooth
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian, estimate_noise
from FluoroDenoiseLib.noise_measurement import measure_run
from FluoroDenoiseLib.recursion import frame_noise_variance

LEVEL_SIGMA = 2.0  # pixels over which a frame is averaged to look up its level
LARGEST_CORRELATION = 0.49  # of neighbouring pixels, that a detector's blur is made for
SAME_AS_NONE = 0.02  # a correlation below this is taken for none
RECURSED = 0.15  # noise shared by neighbouring frames from which on a vendor's recursive filter is taken to be on
ROUNDING = 0.6  # steps of grey: noise below this is hardly more than rounding
SHARED_TOO_MUCH = 0.55  # correlation of neighbouring pixels that no detector has: smoothed or compressed before
SMOOTHED_AWAY = "the frames have been smoothed or compressed, and what noise is left has no known form"


class _Stabilised(Sequence):
    """The frames of a run, stabilised when asked for."""

    def __init__(self, frames: Sequence[np.ndarray], law: PoissonGaussian):
        self._frames, self._law = frames, law

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._law.stabilise(torch.from_numpy(np.asarray(self._frames[index], np.float32))).numpy()


@dataclass(frozen=True)
class RunNoise:
    """What is known of a run's noise. levels, variances: [N], stabilised grey, rising, and variance there.

    correlation: of neighbouring pixels, where the noise went through the detector's blur; white: the share of the variance
    that did not, as read noise. persistence: of neighbouring frames (rho); recursion: the coefficient of the
    vendor's filter, 0 for none. found_correlation: what the denoiser finds in this run, and tells its recursion. grey_step:
    between neighbouring stored values, which is more than 1 where few bits were scaled to many, and 0 where there are no
    steps. doubt: why the noise is not understood, None where it is.
    """

    law: PoissonGaussian
    found_correlation: float
    grey_step: float
    correlation: float
    persistence: float
    recursion: float
    levels: tuple[float, ...]
    variances: tuple[float, ...]
    doubt: str | None = None
    white: float = 0.0

    @classmethod
    def of(cls, frames: Sequence[np.ndarray]) -> RunNoise:
        """Measure frames [T][H, W] of stored values. ValueError as estimate_noise; a doubt is not an error."""
        found = estimate_noise(frames)
        step = grey_step(np.asarray(frames[len(frames) // 2]))
        doubt = _doubt(found, frames, step)
        correlation = found.spatial_correlation if found.spatial_correlation > SAME_AS_NONE else 0.0
        persistence = max(found.temporal_correlation, 0.0)
        recursion = persistence if persistence > RECURSED else 0.0
        if found.model.is_noiseless or len(frames) < 2:
            return cls(found.model, found.spatial_correlation, step, correlation, persistence, recursion, (0.0,), (1.0,), doubt)
        left = measure_run(_Stabilised(frames, found.model), 32)
        order = np.argsort(left.level)
        levels, variances = left.level[order], np.maximum(left.variance[order], 0.05)
        return cls(found.model, found.spatial_correlation, step, min(correlation, LARGEST_CORRELATION), persistence, recursion,
                   tuple(levels.tolist()), tuple(variances.tolist()), doubt)

    def sigma(self, frame: Tensor) -> Tensor:
        """The standard deviation of the noise in a stabilised frame [H, W], by its level."""
        deviations = np.sqrt(self.variances)
        return torch.from_numpy(np.interp(smooth(frame, LEVEL_SIGMA).numpy(), self.levels, deviations)).float()

    def more(self, frames: Iterable[Tensor], seed: int) -> Iterator[Tensor]:
        """Noise [H, W] of the kind that is in each of the stabilised frames, independent of it."""
        generator = torch.Generator().manual_seed(seed)
        gain, state = noise_gain(self.correlation) ** 0.5, None
        for frame in frames:
            white, blurred = torch.randn(2, *frame.shape, generator=generator)
            blurred = blur(blurred[None], self.correlation)[0] / gain
            fresh = (1 - self.white) ** 0.5 * blurred + self.white**0.5 * white
            keep = 0.0 if state is None else self.persistence
            state = fresh if state is None else keep * state + (1 - keep**2) ** 0.5 * fresh
            yield state * self.sigma(frame)

    def undone(self, frame: Tensor, before: Tensor | None) -> Tensor:
        """What went into the vendor's filter, x_t = (o_t - a o_(t-1)) / (1 - a): unlagged, and noisier.

        Linear, so it holds for frames and for noise alike. Without a frame before, the frame itself.
        """
        if before is None or self.recursion == 0:
            return frame
        return (frame - self.recursion * before) / (1 - self.recursion)

    @property
    def variance_undone(self) -> float:
        """The variance of `undone` unit noise: (1 + a^2 - 2 a rho) / (1 - a)^2."""
        a = self.recursion
        return (1 + a**2 - 2 * a * self.persistence) / (1 - a) ** 2

    def describes(self, frame: Tensor, position: int) -> bool:
        """False for the flash of a ramping tube, and for a first frame whose filter cannot be undone."""
        return bool(frame_noise_variance(frame) == 1) and not (position == 0 and self.recursion > 0)


def grey_step(frame: np.ndarray) -> float:
    """The distance between neighbouring stored values of a frame, 0 where they are too many to be steps."""
    values = np.unique(frame)
    if len(values) < 2 or len(values) > frame.size / 4:
        return 1.0 if np.issubdtype(frame.dtype, np.integer) else 0.0
    return float(np.median(np.diff(values.astype(float))))


def _doubt(found: NoiseEstimate, frames: Sequence[np.ndarray], step: float) -> str | None:
    if found.model.is_noiseless:
        return "the frames hold no noise"
    if len(frames) < 5:
        return f"a run of {len(frames)} frames is too short to measure its noise; 5 or more are needed"
    if found.spatial_correlation > SHARED_TOO_MUCH:
        return f"neighbouring pixels share {100 * found.spatial_correlation:.0f} % of their noise: {SMOOTHED_AWAY}"
    sigma = float(found.model.variance(float(np.median(frames[len(frames) // 2])))) ** 0.5
    if sigma < ROUNDING * step:
        return f"the noise is only {sigma:.2f} grey levels where stored values lie {step:g} apart, no more than rounding"
    return None
