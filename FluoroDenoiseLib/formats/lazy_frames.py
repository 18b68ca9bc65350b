"""Sequences of frames that stay on disk: one is read when it is asked for, so memory does not grow with the run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import numpy as np

from ..errors import FluoroDenoiseError, InputError, UnsupportedError

BLOCK_BYTES = 64 * 2**20
SUPPORTED_TYPES = ("u1", "i1", "u2", "i2", "f4", "f8")


class LazyFrames(Sequence):
    """What the lazy sequences share: len(), [i], [i:j] (a list) and iteration; a subclass reads one frame.

    Threads may ask at the same time; one is answered after the other.
    """

    def __init__(self, count: int):
        self._count = count
        self._reading = Lock()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[number] for number in range(self._count)[index]]
        with self._reading:
            return self._read(range(self._count)[index])

    @abstractmethod
    def _read(self, index: int) -> np.ndarray:
        """Frame `index`, 0 <= index < len(self), [H, W] in the machine's byte order."""


@dataclass(frozen=True)
class PixelBlock:
    """Where the pixels of a run lie, uncompressed, in a file.

    file: a path, opened anew for each frame, or an open file. name: for messages. offset: of the first pixel, bytes.
    dtype: with the byte order of the file. frames, height, width: counts. interleaved: the frame index runs fastest
    (Slicer's sequence files), rather than slowest.
    """

    file: Path | BinaryIO
    name: str
    offset: int
    dtype: np.dtype
    frames: int
    height: int
    width: int
    interleaved: bool = False

    @property
    def frame_bytes(self) -> int:
        return self.height * self.width * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        return self.frames * self.frame_bytes

    def lazy(self) -> LazyFrames:
        return InterleavedFrames(self) if self.interleaved else ConsecutiveFrames(self)


class ConsecutiveFrames(LazyFrames):
    """Frames that lie one after the other. Memory: one frame."""

    def __init__(self, block: PixelBlock):
        super().__init__(block.frames)
        self._block = block

    def _read(self, index: int) -> np.ndarray:
        block = self._block
        frame = np.empty((block.height, block.width), block.dtype)
        position = block.offset + index * block.frame_bytes
        with still_there(block.name):
            if isinstance(block.file, Path):
                with open(block.file, "rb") as file:
                    read = _read_into(file, position, frame)
            else:
                read = _read_into(block.file, position, frame)
        if read != block.frame_bytes:
            raise InputError(f"{block.name} ends inside frame {index}; the file was cut short after it was opened.")
        return frame.astype(block.dtype.newbyteorder("="), copy=False)


@contextmanager
def still_there(name: str) -> Iterator[None]:
    """InputError where a file that was opened before can no longer be read."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FluoroDenoiseError):
            raise
        reason = error.strerror or type(error).__name__
        raise InputError(f"{name} could be opened but not be read to its end ({reason}); see that it stays in its place.") from None


def _read_into(file: BinaryIO, position: int, frame: np.ndarray) -> int:
    file.seek(position)
    return file.readinto(memoryview(frame).cast("B"))


class InterleavedFrames(LazyFrames):
    """Frames whose pixels alternate, as in Slicer's sequence files.

    The file is memory-mapped and copied out a block of frames at a time, since one frame touches every page of the
    file. Memory: 64 MB.
    """

    def __init__(self, block: PixelBlock):
        super().__init__(block.frames)
        self._dtype = block.dtype.newbyteorder("=")
        shape = (block.height, block.width, block.frames)
        self._pixels = np.memmap(block.file, block.dtype, "r", block.offset, shape)
        self._frames_per_block = frames_per_block(block.frame_bytes)
        self._first = 0
        self._held: np.ndarray = np.empty((0, block.height, block.width), self._dtype)

    def _read(self, index: int) -> np.ndarray:
        if not self._first <= index < self._first + len(self._held):
            self._first = index - index % self._frames_per_block
            several = self._pixels[:, :, self._first : self._first + self._frames_per_block]
            self._held = np.ascontiguousarray(np.moveaxis(several, 2, 0), self._dtype)
        return self._held[index - self._first].copy()


def frames_per_block(frame_bytes: int) -> int:
    """How many interleaved frames to move at a time."""
    return max(1, BLOCK_BYTES // frame_bytes)


def require_supported(dtype: np.dtype, name: str) -> None:
    """UnsupportedError unless stored values of this type can be denoised and written back unchanged in type."""
    if dtype.newbyteorder("=").str[1:] not in SUPPORTED_TYPES:
        raise UnsupportedError(
            f"{name} holds values of type {dtype.name}; grey values of 8 or 16 bits or floating point are needed, "
            "so convert the file first."
        )


def require_finite(frames: Iterable[np.ndarray], name: str) -> None:
    """InputError with their count and the first place if any value is NaN or infinite. Reads every frame once."""
    count, first = 0, None
    for index, frame in enumerate(frames):
        if frame.dtype.kind != "f":
            return
        bad = ~np.isfinite(frame)
        if bad.any():
            count += int(bad.sum())
            first = first or (index, *(int(place) for place in np.argwhere(bad)[0]))
    if first is not None:
        raise InputError(
            f"{name} has {count} values that are not finite, the first at frame {first[0]}, row {first[1]}, "
            f"column {first[2]}; replace them before denoising."
        )
