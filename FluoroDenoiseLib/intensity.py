"""Stored pixel values <-> a unit range, by one affine map that is made once where pixels enter and never changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

SCALE_FRAMES = 16
SCALE_PIXELS = 256


@dataclass(frozen=True)
class IntensityScale:
    """Where 0 and 1 lie among the stored values of one run.

    low, high: stored values that become 0 and 1. Nothing is clamped: metal and the open field lie outside 0..1.
    """

    low: float
    high: float

    def __post_init__(self):
        if not self.high > self.low:
            raise ValueError(f"An intensity scale from {self.low} to {self.high} has no width; high must exceed low.")

    @property
    def width(self) -> float:
        """Stored values in one unit."""
        return self.high - self.low

    def to_unit(self, stored):
        """Unit values of stored ones; numpy array, torch tensor or number of any floating type."""
        return (stored - self.low) / self.width

    def to_stored(self, unit):
        """Stored values of unit ones; the inverse of to_unit."""
        return unit * self.width + self.low

    @classmethod
    def from_frames(
        cls, frames: Sequence[np.ndarray], low_percentile: float = 0.1, high_percentile: float = 99.9
    ) -> IntensityScale:
        """The scale of a run from robust percentiles of its first frames, at most 16 of them.

        frames: images [H, W] of stored values, of which every n-th pixel is looked at where they are larger than
        256 x 256. A constant image gives a width of one stored value.
        """
        first = [np.asarray(frame) for frame in islice(iter(frames), SCALE_FRAMES)]
        if not first:
            raise ValueError("A run without frames has no intensity scale.")
        step = max(1, min(first[0].shape) // SCALE_PIXELS)
        per_frame = [np.percentile(frame[::step, ::step], (low_percentile, high_percentile)) for frame in first]
        # The median over frames, not the extremes: one flash frame must not set the scale of the run.
        low, high = (float(value) for value in np.median(per_frame, axis=0))
        return cls(low, high if high > low else low + 1.0)
