"""A CtVolume: the slices of one CT with all that is needed to denoise them and to write them back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .fluoro_run import Source, stored_range

AIR_HU = -1000.0
# Noise in air does not reach so far down; what lies there was never measured, whether the file says so or not.
LOWEST_HU = -1900.0
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class SliceValues:
    """How the stored values of one slice become Hounsfield units: HU = slope * stored + intercept (PS3.3 C.11.1).

    padding: the lowest and highest stored value that mark pixels outside the picture; None where the file names none.
    """

    slope: float = 1.0
    intercept: float = 0.0
    padding: tuple[int, int] | None = None

    def to_hu(self, stored: np.ndarray) -> np.ndarray:
        """Hounsfield units, float32; pixels that are outside the picture are air."""
        hu = (np.asarray(stored, np.float64) * self.slope + self.intercept).astype(np.float32)
        hu[self.outside(stored)] = AIR_HU
        return hu

    def to_stored(self, hu: np.ndarray) -> np.ndarray:
        """Stored values before rounding, float64."""
        return (np.asarray(hu, np.float64) - self.intercept) / self.slope

    def outside(self, stored: np.ndarray) -> np.ndarray:
        """True where a pixel is no measurement: marked as padding, or lower than anything can be."""
        below = np.asarray(stored, np.float64) * self.slope + self.intercept <= LOWEST_HU
        if self.padding is None:
            return below
        low, high = self.padding
        return below | (stored >= low) & (stored <= high)


@dataclass(frozen=True)
class CtVolume:
    """The slices of one CT in the order of their places, from first to last along the normal.

    slices: Z images [H, W] of stored values; len(), [k] and iteration; may be read lazily. values: of each slice.
    spacing_mm: slice, row, column. origin_mm: centre of the first pixel of the first slice. direction: unit vectors of
    columns' x, rows' y and slices' z (the axes of a pixel's column index, row index and slice index), patient coordinates
    of DICOM (LPS). bits_stored: of integer data, the width of the type for floats. breaks: slices before which there is a
    gap, so that the slice before is no neighbour. warnings: sentences for the person.
    """

    slices: Sequence[np.ndarray]
    values: tuple[SliceValues, ...]
    spacing_mm: tuple[float, float, float]
    bits_stored: int
    source: Source
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[tuple[float, float, float], ...] = IDENTITY
    breaks: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        if len(self.slices) == 0:
            raise ValueError("A volume needs at least one slice.")
        if len(self.values) != len(self.slices):
            raise ValueError(f"A volume of {len(self.slices)} slices was given the values of {len(self.values)}.")

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> np.ndarray:
        """Slice `index`, [H, W] float32 Hounsfield units; see SliceValues.to_hu."""
        return self.values[index].to_hu(self.slices[index])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))

    @property
    def name(self) -> str:
        """What to call the volume in a sentence."""
        return self.source.name

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return (len(self), *self.slices[0].shape)

    @property
    def pixel_mm(self) -> float:
        """The spacing within the slices; of pixels that are not square, the side of a square as large."""
        return math.sqrt(self.spacing_mm[1] * self.spacing_mm[2])

    @property
    def frames(self) -> Sequence[np.ndarray]:
        """The slices, under the name by which writers know the images of a run."""
        return self.slices

    @property
    def stored_range(self) -> tuple[int, int] | None:
        """Lowest and highest value that the file can hold; None for floating point, which has no such limit."""
        return stored_range(self.source.dtype, self.bits_stored)

    @property
    def stacks(self) -> list[range]:
        """The slices in groups that follow each other without a gap."""
        ends = [0, *self.breaks, len(self)]
        return [range(first, end) for first, end in zip(ends, ends[1:])]

    @classmethod
    def from_array(cls, hu: np.ndarray, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> CtVolume:
        """A volume of an array in memory: [Z, H, W] Hounsfield units, integer or floating point."""
        hu = np.asarray(hu)
        if hu.ndim != 3:
            raise ValueError(f"A volume is [Z, H, W] but the array has {hu.ndim} dimensions.")
        return cls(hu, (SliceValues(),) * len(hu), spacing_mm, 8 * hu.dtype.itemsize, Source(None, "array", hu.dtype))
