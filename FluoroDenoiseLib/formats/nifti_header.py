"""NIfTI-1 headers. Values are denoised as stored: scl_slope and scl_inter stay in the header.

https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import math
import struct
from typing import BinaryIO

import numpy as np

from ..errors import InputError, UnsupportedError
from .volume_header import VolumeHeader, run_sizes

HEADER_BYTES = 348
TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4"}
COLOUR_TYPES = {32: "complex", 128: "RGB", 1792: "complex", 2304: "RGBA"}
TIME_UNITS_S = {8: 1.0, 16: 1e-3, 24: 1e-6}
SPACE_UNITS_MM = {1: 1000.0, 2: 1.0, 3: 1e-3}


def read_nifti_header(file: BinaryIO, name: str) -> VolumeHeader:
    """The header of an open (already unzipped) NIfTI-1 file, its extensions included; left at the first pixel."""
    start = file.read(HEADER_BYTES)
    if len(start) < HEADER_BYTES:
        raise InputError(f"{name} is not a NIfTI file: it is shorter than a header.")
    order = next((mark for mark in "<>" if struct.unpack(mark + "i", start[:4])[0] == HEADER_BYTES), None)
    if order is None or start[344:348] not in (b"n+1\0", b"ni1\0"):
        raise InputError(f"{name} is not a NIfTI-1 file.")
    if start[344:348] == b"ni1\0":
        raise UnsupportedError(f"{name} keeps its pixels in another file; save it as one .nii file first.")
    dimensions = struct.unpack(order + "8h", start[40:56])
    code = struct.unpack(order + "h", start[70:72])[0]
    spacings = struct.unpack(order + "8f", start[76:108])
    offset = struct.unpack(order + "f", start[108:112])[0]
    if code in COLOUR_TYPES:
        raise UnsupportedError(f"{name} holds {COLOUR_TYPES[code]} pixels; only grey images can be denoised.")
    if code not in TYPES:
        raise UnsupportedError(f"{name} holds pixels of NIfTI type {code}; save it as 16-bit or float.")
    if not 1 <= dimensions[0] <= 7 or not HEADER_BYTES + 4 <= offset < 2**30:
        raise InputError(f"{name} has a broken NIfTI header: {dimensions[0]} dimensions, pixels at byte {offset}.")
    frames, height, width = run_sizes(list(dimensions[1 : dimensions[0] + 1]), None, name)
    extensions = file.read(int(offset) - HEADER_BYTES)
    if len(extensions) != int(offset) - HEADER_BYTES:
        raise InputError(f"{name} ends inside its header; the file was cut short.")
    space_mm = SPACE_UNITS_MM.get(start[123] & 7, 1.0)
    column, row = (size * space_mm if math.isfinite(size) and size > 0 else 1.0 for size in spacings[1:3])
    return VolumeHeader(
        text=start + extensions,
        dtype=np.dtype(order + TYPES[code]),
        frames=frames,
        height=height,
        width=width,
        spacing_mm=(row, column),
        frame_times_s=_frame_times(dimensions, spacings[4], TIME_UNITS_S.get(start[123] & 56), frames),
    )


def _frame_times(dimensions, step: float, unit_s: float | None, frames: int) -> tuple[float, ...] | None:
    """Times of a file with a fourth axis whose unit is one of time; a third axis has none."""
    if dimensions[0] < 4 or unit_s is None or not (math.isfinite(step) and step > 0):
        return None
    return tuple(index * step * unit_s for index in range(frames))
