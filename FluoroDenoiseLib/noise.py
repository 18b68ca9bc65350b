"""The noise of a run: its law, the transform that makes it 1 everywhere, and its estimate from the frames.

Quantum noise grows with the signal, read noise does not: Var(stored) = gain (mean - pedestal) + read_noise^2.
Frames that come in a display domain often have flat noise; that is the same law with gain 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .anscombe import stabilise_counts, unbiased_counts
from .intensity import IntensityScale
from .noise_fit import fit_line, flat_is_enough
from .noise_measurement import measure_run, measure_single_frame


@dataclass(frozen=True)
class PoissonGaussian:
    """Var(stored) = gain * (mean - pedestal) + read_noise**2, all in stored grey levels.

    gain: grey levels per quantum; 0 means noise that does not depend on the signal. pedestal: the grey level of no
    light. Raises ValueError for a negative or non-finite parameter.
    """

    gain: float
    pedestal: float
    read_noise: float

    def __post_init__(self) -> None:
        if not np.isfinite([self.gain, self.pedestal, self.read_noise]).all() or self.gain < 0 or self.read_noise < 0:
            raise ValueError(
                f"Noise of gain {self.gain}, pedestal {self.pedestal} and read noise {self.read_noise} cannot be; "
                "gain and read noise are finite numbers from 0 up."
            )

    @property
    def is_noiseless(self) -> bool:
        return self.gain == 0 and self.read_noise == 0

    def variance(self, mean):
        """Return the variance where the expected stored value is `mean` (a number, an array or a tensor)."""
        signal = mean - self.pedestal
        return self.gain * signal * (signal > 0) + self.read_noise**2

    def in_unit(self, scale: IntensityScale) -> "PoissonGaussian":
        """Return the same noise in the units of `scale`'s unit range."""
        span = scale.high - scale.low
        return PoissonGaussian(self.gain / span, float(scale.to_unit(self.pedestal)), self.read_noise / span)

    def stabilise(self, stored: Tensor) -> Tensor:
        """Return values whose noise has standard deviation 1 at every grey level.

        Generalised Anscombe transform (Starck, Murtagh & Bijaoui 1998); affine where the gain is 0.
        Raises ValueError for a noiseless law, which has nothing to make 1.
        """
        self._refuse_noiseless()
        if self.gain == 0:
            return (stored - self.pedestal) / self.read_noise
        return stabilise_counts((stored - self.pedestal) / self.gain, self.read_noise / self.gain)

    def unstabilise(self, stabilised: Tensor) -> Tensor:
        """Return the expected stored value where `stabilised` is the mean of stabilised values.

        The exact unbiased inverse (Makitalo & Foi 2013), not the algebraic one, which gives too little at low counts.
        """
        self._refuse_noiseless()
        if self.gain == 0:
            return stabilised * self.read_noise + self.pedestal
        return unbiased_counts(stabilised, self.read_noise / self.gain) * self.gain + self.pedestal

    def _refuse_noiseless(self) -> None:
        if self.is_noiseless:
            raise ValueError("A run without noise cannot be stabilised; leave its frames as they are.")


@dataclass(frozen=True)
class NoiseEstimate:
    """What the frames say of their noise.

    spatial_correlation: between neighbouring pixels, mean of x and y; temporal_correlation: between neighbouring
    frames. warnings: sentences for the person.
    """

    model: PoissonGaussian
    spatial_correlation: float
    temporal_correlation: float
    warnings: tuple[str, ...] = ()


def estimate_noise(frames: Sequence[np.ndarray], sample: int = 32) -> NoiseEstimate:
    """Return the noise of a run, objects moving in it or not.

    frames: T images [H, W] of one size, possibly lazy; about `sample` of them are read, in consecutive groups. The noise
    is read from differences between frames at high spatial frequencies, where there is little anatomy and little motion.
    Pedestal and read noise cannot be told apart by this: the line Var = gain * mean + c is reported with pedestal 0 where
    c >= 0, and with read noise 0 and pedestal -c/gain where c < 0. A constant run gives the noiseless law.
    Raises ValueError for an empty run or frames of fewer than 8 pixels a side.
    """
    if len(frames) == 0:
        raise ValueError("The run holds no frames; noise is estimated from at least one.")
    measured = measure_single_frame(frames[0]) if len(frames) == 1 else measure_run(frames, sample)
    warnings = list(measured.warnings)
    if not np.any(measured.variance > 0):
        warnings.append("The frames hold no noise at all; they are left as they are.")
        return NoiseEstimate(PoissonGaussian(0.0, 0.0, 0.0), 0.0, 0.0, tuple(warnings))
    slope, offset, misfit = fit_line(measured.level, measured.variance)
    model = _law(slope, offset, measured.level)
    typical = float(np.median(model.variance(measured.level))) ** 0.5
    if misfit > 0.25:
        warnings.append(
            f"The noise does not follow Var = gain * mean + c: it is off by {100 * misfit:.0f} % of the variance; "
            "the frames may have been processed before."
        )
    if measured.whole_numbers and typical < 0.6:
        warnings.append(
            f"The noise is only {typical:.2f} grey levels, no more than rounding; these frames have been filtered already."
        )
    if measured.spatial_correlation > 0.5:
        warnings.append(
            f"Neighbouring pixels share {100 * measured.spatial_correlation:.0f} % of their noise: the frames have been "
            "smoothed or compressed, and less can be gained."
        )
    if measured.temporal_correlation > 0.15:
        warnings.append(
            f"Neighbouring frames share {100 * measured.temporal_correlation:.0f} % of their noise: a recursive filter is on "
            "at the X-ray system (or the detector lags); averaging over frames gains less than it seems."
        )
    return NoiseEstimate(model, measured.spatial_correlation, measured.temporal_correlation, tuple(warnings))


def _law(slope: float, offset: float, level: np.ndarray) -> PoissonGaussian:
    """Turn Var = slope * mean + offset into the law, under estimate_noise's convention."""
    if flat_is_enough(slope, offset, level):
        return PoissonGaussian(0.0, 0.0, float(np.median(slope * level + offset)) ** 0.5)
    if offset >= 0:
        return PoissonGaussian(slope, 0.0, offset**0.5)
    return PoissonGaussian(slope, -offset / slope, 0.0)
