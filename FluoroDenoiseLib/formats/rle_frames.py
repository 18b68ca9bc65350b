"""Runs of more than 4 GB: RLE Lossless, whose frames are elements of their own, found by 64-bit offsets.

Every DICOM reader knows RLE (PS3.5 Annex G). The pixels are stored as literal runs: nothing is gained in size, and
the place of every frame is known before the first is there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.uid import RLELossless

from .stored_frames import StoredFrames

LITERALS = 128  # bytes that one length byte can announce
HEADER = 64


def prepare_rle(header: Dataset, frames: StoredFrames) -> None:
    """Make a header that of RLE frames, with the extended offset table (PS3.3 C.7.6.3.1.8)."""
    size = encoded_size(frames.shape, frames.dtype)
    header.file_meta.TransferSyntaxUID = RLELossless
    header.ExtendedOffsetTable = offsets(len(frames), size).tobytes()
    header.ExtendedOffsetTableLengths = np.full(len(frames), size, "<u8").tobytes()


def offsets(count: int, size: int) -> np.ndarray:
    """Where the item of each frame begins, bytes from the first one's."""
    return np.arange(count, dtype="<u8") * np.uint64(8 + size)


def write_rle_pixels(file: BinaryIO, frames: Iterable[np.ndarray]) -> None:
    """The pixel data element, which is the last of the file: no basic offset table, one item a frame, the end."""
    file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
    file.write(struct.pack("<HHI", 0xFFFE, 0xE000, 0))
    for frame in frames:
        encoded = rle(frame)
        file.write(struct.pack("<HHI", 0xFFFE, 0xE000, len(encoded)))
        file.write(encoded)
    file.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


def encoded_size(shape: tuple[int, int], dtype: np.dtype) -> int:
    """Bytes of an encoded frame; the same for every frame."""
    return HEADER + dtype.itemsize * _segment_size(shape)


def _segment_size(shape: tuple[int, int]) -> int:
    size = shape[0] * (shape[1] + -(-shape[1] // LITERALS))
    return size + size % 2


def rle(frame: np.ndarray) -> bytes:
    """One frame [H, W] as RLE: a segment for each byte of a pixel, the highest first, each row in runs of its own."""
    planes = np.ascontiguousarray(frame, frame.dtype.newbyteorder(">")).view(np.uint8).reshape(*frame.shape, frame.itemsize)
    segment = _segment_size(frame.shape)
    starts = [HEADER + segment * number for number in range(frame.itemsize)]
    header = struct.pack("<16I", frame.itemsize, *starts, *[0] * (15 - frame.itemsize))
    return header + b"".join(_literal_runs(planes[..., byte]).ljust(segment, b"\0") for byte in range(frame.itemsize))


def _literal_runs(plane: np.ndarray) -> bytes:
    pieces = []
    for begin in range(0, plane.shape[1], LITERALS):
        part = plane[:, begin : begin + LITERALS]
        pieces += [np.full((len(plane), 1), part.shape[1] - 1, np.uint8), part]
    return np.concatenate(pieces, axis=1).tobytes()
