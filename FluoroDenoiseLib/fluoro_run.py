"""A FluoroRun: the frames of one pedal press with all that is needed to denoise them and to write them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .intensity import IntensityScale

ASSUMED_FRAME_TIME_S = 1 / 15
RELATIONSHIPS = ("LIN", "LOG", "DISP", "UNKNOWN")


@dataclass(frozen=True)
class Source:
    """Where a run came from, and what a writer of the same kind needs.

    path: the file, None for arrays in memory. kind: "dicom", "nrrd", "nifti", "mha", "tiff", "npy" or "array".
    dtype: of the stored values. header: what the writer of that kind keeps (a pydicom Dataset, header bytes, ...).
    part: the first and last frame that the run is of its file, from 1; None if it is the whole file.
    """

    path: Path | None
    kind: str
    dtype: np.dtype
    header: Any = None
    part: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What to call the run in a sentence."""
        return self.path.name if self.path else "the run"


def stored_range(dtype: np.dtype, bits_stored: int) -> tuple[int, int] | None:
    """Lowest and highest value of so many bits of this type; None for floating point."""
    if dtype.kind == "f":
        return None
    if dtype.kind == "i":
        return -(2 ** (bits_stored - 1)), 2 ** (bits_stored - 1) - 1
    return 0, 2**bits_stored - 1


@dataclass(frozen=True)
class FluoroRun:
    """One pedal press.

    frames: T images [H, W] of stored values, dtype as acquired; len(), [i] and iteration; may be read lazily.
    scale: fixed for the run. frame_times_s: from the first frame, length T. pixel_spacing_mm: row, column, at the
    detector. bits_stored: of integer data, the width of the type for floats. intensity_relationship: how values
    follow the dose: "LIN", "LOG", "DISP" or "UNKNOWN". warnings: sentences for the person.
    """

    frames: Sequence[np.ndarray]
    scale: IntensityScale
    frame_times_s: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    bits_stored: int
    intensity_relationship: str
    source: Source
    warnings: tuple[str, ...] = ()

    def __post_init__(self):
        if len(self.frames) == 0:
            raise ValueError("A run needs at least one frame.")
        if len(self.frame_times_s) != len(self.frames):
            raise ValueError(f"A run of {len(self.frames)} frames was given {len(self.frame_times_s)} frame times.")
        if self.intensity_relationship not in RELATIONSHIPS:
            raise ValueError(f"The intensity relationship {self.intensity_relationship!r} is none of {RELATIONSHIPS}.")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def frame_time_s(self) -> float:
        """Mean time between frames, s."""
        if len(self) == 1:
            return ASSUMED_FRAME_TIME_S
        return (self.frame_times_s[-1] - self.frame_times_s[0]) / (len(self) - 1)

    @property
    def stored_range(self) -> tuple[int, int] | None:
        """Lowest and highest value that the file can hold; None for floating point, which has no such limit."""
        return stored_range(self.source.dtype, self.bits_stored)

    @classmethod
    def from_array(
        cls,
        frames: np.ndarray,
        frame_time_s: float = ASSUMED_FRAME_TIME_S,
        pixel_spacing_mm: tuple[float, float] = (1.0, 1.0),
        bits_stored: int | None = None,
        intensity_relationship: str = "UNKNOWN",
    ) -> FluoroRun:
        """A run of an array in memory: [T, H, W], integer or floating point."""
        frames = np.asarray(frames)
        if frames.ndim != 3:
            raise ValueError(f"A run is [T, H, W] but the array has {frames.ndim} dimensions.")
        return cls(
            frames=frames,
            scale=IntensityScale.from_frames(frames),
            frame_times_s=tuple(index * frame_time_s for index in range(len(frames))),
            pixel_spacing_mm=pixel_spacing_mm,
            bits_stored=bits_stored or 8 * frames.dtype.itemsize,
            intensity_relationship=intensity_relationship,
            source=Source(None, "array", frames.dtype),
        )
