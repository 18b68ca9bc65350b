"""NRRD headers, those of Slicer's sequence files (.seq.nrrd) included.

Slicer writes a sequence of volumes as four axes, the list of frames first (or, in newer versions, last), with
"axis 0 index type" and "axis 0 index values" among the key/value pairs and the name and unit of the index as label
and unit of that axis. http://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import math
import re
import shlex
from typing import BinaryIO
from urllib.parse import unquote

import numpy as np

from ..errors import InputError, UnsupportedError
from .volume_header import VolumeHeader, run_sizes, steady_or_none

MAX_HEADER_BYTES = 16 * 2**20
TYPES = {
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i1": ("signed char", "int8", "int8_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "f4": ("float",),
    "f8": ("double",),
}
FRAME_KINDS = ("list", "time")
COLOUR_KINDS = (
    "vector", "RGB-color", "RGBA-color", "HSV-color", "XYZ-color", "complex", "2-vector", "3-vector", "4-vector"
)  # fmt: skip
SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6}


def read_nrrd_header(file: BinaryIO, name: str) -> VolumeHeader:
    """The header of an open NRRD file, which is left at the first pixel."""
    lines = _header_lines(file, name)
    fields, pairs = _parse(lines)
    if "data file" in fields or "datafile" in fields:
        raise UnsupportedError(f"{name} keeps its pixels in another file; save it as one .nrrd file first.")
    compression = {"raw": "none", "gzip": "gzip", "gz": "gzip"}.get(fields.get("encoding", "").lower())
    if compression is None:
        raise UnsupportedError(f"{name} is encoded as {fields.get('encoding')!r}; save it with raw or gzip encoding.")
    if any(fields.get(skip, "0") != "0" for skip in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise UnsupportedError(f"{name} skips bytes before its pixels; save it again with 3D Slicer.")
    try:
        sizes = [int(size) for size in fields["sizes"].split()]
        code = next(code for code, names in TYPES.items() if fields["type"] in names)
    except (KeyError, ValueError) as error:
        raise InputError(f"{name} has no readable sizes and type in its NRRD header.") from error
    except StopIteration:
        raise UnsupportedError(f"{name} holds pixels of type {fields['type']!r}; save it as 16-bit or float.") from None
    kinds = fields.get("kinds", "").split() or ["domain"] * len(sizes)
    if len(kinds) != len(sizes) or str(len(sizes)) != fields.get("dimension", ""):
        raise InputError(f"{name} states {len(sizes)} sizes, which does not match its dimension and kinds.")
    if any(kind in COLOUR_KINDS for kind in kinds):
        raise UnsupportedError(f"{name} has several values per pixel (colour); only grey images can be denoised.")
    frame_axis = next((axis for axis, kind in enumerate(kinds) if kind in FRAME_KINDS), None)
    if frame_axis is not None and 0 < frame_axis < len(sizes) - 1:
        raise UnsupportedError(f"{name} has its frames along axis {frame_axis}; the first or the last is needed.")
    frames, height, width = run_sizes(sizes, frame_axis, name)
    order = ">" if fields.get("endian", "little").lower() == "big" else "<"
    return VolumeHeader(
        text=b"".join(lines),
        dtype=np.dtype(order + code),
        frames=frames,
        height=height,
        width=width,
        spacing_mm=_spacing(fields, frame_axis == 0),
        interleaved=frame_axis == 0 and len(sizes) > 1,
        compression=compression,
        frame_times_s=_frame_times(fields, pairs, frame_axis, frames),
    )


def _header_lines(file: BinaryIO, name: str) -> list[bytes]:
    lines, size = [file.readline(64)], 0
    if not lines[0].startswith(b"NRRD000"):
        raise InputError(f"{name} is not an NRRD file.")
    while lines[-1] not in (b"\n", b"\r\n"):
        lines.append(file.readline(MAX_HEADER_BYTES))
        size += len(lines[-1])
        if not lines[-1] or size > MAX_HEADER_BYTES:
            raise InputError(f"{name} ends inside its NRRD header; the file was cut short.")
    return lines


def _parse(lines: list[bytes]) -> tuple[dict[str, str], dict[str, str]]:
    """The header's fields ("sizes: ...") and its key/value pairs ("key:=value")."""
    fields, pairs = {}, {}
    for line in lines[1:]:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        match = re.match(r"([^#:][^:]*):(=| )(.*)", text)
        if match:
            key, separator, value = (part.strip() for part in match.groups())
            if separator == "=":
                pairs[key] = value
            else:
                fields[key.lower()] = value
    return fields, pairs


def _spacing(fields: dict[str, str], frames_first: bool) -> tuple[float, float]:
    """Row and column spacing, mm: from the axis directions, or the plain spacings, or 1."""
    if "space directions" in fields:
        axes = re.findall(r"none|\([^)]*\)", fields["space directions"])
        lengths = [math.nan if axis == "none" else math.hypot(*_numbers(axis.strip("()"))) for axis in axes]
    else:
        lengths = _numbers(fields.get("spacings", ""))
    column, row = (lengths[int(frames_first) :] + [1.0, 1.0])[:2]
    return tuple(length if math.isfinite(length) and length > 0 else 1.0 for length in (row, column))


def _numbers(text: str) -> list[float]:
    values = []
    for word in text.replace(",", " ").split():
        try:
            values.append(float(word))
        except ValueError:
            values.append(math.nan)
    return values


def _frame_times(fields: dict, pairs: dict, frame_axis: int | None, frames: int) -> tuple[float, ...] | None:
    """Times from Slicer's index values, or from the spacing of an axis of kind "time"."""
    if frame_axis is None:
        return None
    unit = SECONDS.get(pairs.get(f"axis {frame_axis} index unit", _quoted(fields.get("units", ""), frame_axis)))
    label = _quoted(fields.get("labels", ""), frame_axis)
    values = _numbers(" ".join(unquote(word) for word in pairs.get(f"axis {frame_axis} index values", "").split()))
    if values and not any(map(math.isnan, values)) and (unit is not None or label == "time"):
        return steady_or_none([value * (unit or 1.0) for value in values], frames)
    spacings = _numbers(fields.get("spacings", ""))
    if frame_axis < len(spacings) and spacings[frame_axis] > 0 and unit is not None:
        return tuple(index * spacings[frame_axis] * unit for index in range(frames))
    return None


def _quoted(text: str, axis: int) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return ""
    return words[axis] if axis < len(words) else ""
