"""Denoised frames on their way to a file: back to the stored type, counted, and remembered for the reading back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import FluoroDenoiseError, OutputError
from ..fluoro_run import FluoroRun


@dataclass(frozen=True)
class Provenance:
    """What made a result: enough to make it again. description: a free addition, one sentence."""

    software_version: str
    model_name: str
    model_sha256: str
    strength: float
    parameters: str
    description: str = ""


@dataclass(frozen=True)
class WriteReport:
    """What was written: how many frames and pixels, and how many of them had to be clipped to the stored range."""

    path: Path
    frames: int
    clipped: int
    pixels: int


class StoredFrames:
    """The frames of a result as the file will hold them, one at a time.

    Iterating gives arrays [H, W] in the type of the source: rounded half to even, clipped to its stored range
    (`clipped` counts), floating point as it is. Afterwards `digest` identifies all pixels.
    FluoroDenoiseError if a value is not finite, or if count or size is not that of the run.
    """

    def __init__(self, frames: Iterable[np.ndarray], run: FluoroRun):
        self._frames = frames
        self._name = run.source.name
        self._range = run.stored_range
        self._expected = len(run)
        self.dtype = run.source.dtype.newbyteorder("=")
        self.shape = run.frames[0].shape
        self.count = 0
        self.clipped = 0
        self._hash = hashlib.blake2b()

    def __len__(self) -> int:
        return self._expected

    def __iter__(self) -> Iterator[np.ndarray]:
        for frame in self._frames:
            stored = self._stored(np.asarray(frame))
            self.count += 1
            self._hash.update(stored)
            yield stored
        if self.count != self._expected:
            raise self._wrong(f"it has {self._expected} frames but the result ended after {self.count}")

    def _stored(self, frame: np.ndarray) -> np.ndarray:
        if self.count == self._expected:
            raise self._wrong(f"it has {self._expected} frames but the result has more")
        if frame.shape != self.shape:
            raise self._wrong(f"frame {self.count} of the result is {frame.shape}, not {self.shape}")
        if not np.isfinite(frame).all():
            raise self._wrong(f"frame {self.count} of the result has values that are not finite")
        if self._range is not None:
            low, high = self._range
            frame = np.rint(frame)
            self.clipped += int(np.count_nonzero((frame < low) | (frame > high)))
            frame = np.clip(frame, low, high)
        return np.ascontiguousarray(frame, self.dtype)

    def _wrong(self, reason: str) -> FluoroDenoiseError:
        return FluoroDenoiseError(f"{self._name} was not denoised rightly: {reason}.")

    @property
    def bytes(self) -> int:
        """Uncompressed size of the whole result."""
        return self._expected * int(np.prod(self.shape)) * self.dtype.itemsize

    def require_same(self, read_back: Iterable[np.ndarray], path: Path) -> None:
        """OutputError unless the frames read back are those that were written, bit for bit."""
        seen = hashlib.blake2b()
        count = 0
        for frame in read_back:
            seen.update(np.ascontiguousarray(frame))
            count += 1
        if count != self.count or seen.digest() != self._hash.digest():
            raise OutputError(f"{path.name} did not read back as it was written; the disk may be failing.")

    def report(self, path: Path) -> WriteReport:
        return WriteReport(path, self.count, self.clipped, self.count * int(np.prod(self.shape)))
