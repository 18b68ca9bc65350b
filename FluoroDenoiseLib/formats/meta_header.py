"""MetaImage (.mha) headers, with the frame times of PLUS and Slicer sequence metafiles where there are any.

https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np

from ..errors import InputError, UnsupportedError
from .volume_header import VolumeHeader, run_sizes, steady_or_none

MAX_HEADER_BYTES = 64 * 2**20
TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2",
    "MET_UINT": "u4", "MET_INT": "i4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def read_meta_header(file: BinaryIO, name: str) -> VolumeHeader:
    """The header of an open .mha file, which is left at the first pixel."""
    text, fields = _header(file, name)
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise UnsupportedError(f"{name} keeps its pixels in another file; save it as one .mha file first.")
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise UnsupportedError(f"{name} has several values per pixel (colour); only grey images can be denoised.")
    if fields.get("BinaryData", "True").lower() != "true":
        raise UnsupportedError(f"{name} holds its pixels as text; save it as a binary file.")
    try:
        sizes = [int(size) for size in fields["DimSize"].split()]
        spacings = [float(size) for size in fields.get("ElementSpacing", fields.get("ElementSize", "1 1")).split()]
        kind = fields["ElementType"]
    except (KeyError, ValueError) as error:
        raise InputError(f"{name} has no readable DimSize, ElementSpacing and ElementType in its header.") from error
    if kind not in TYPES:
        raise UnsupportedError(f"{name} holds pixels of type {kind}; save it as 16-bit or float.")
    frames, height, width = run_sizes(sizes, None, name)
    big = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() == "true"
    stamps = [float(fields[key]) for key in sorted(fields) if re.fullmatch(r"Seq_Frame\d+_Timestamp", key)]
    column, row = (spacings + [1.0, 1.0])[:2]
    return VolumeHeader(
        text=text,
        dtype=np.dtype((">" if big else "<") + TYPES[kind]),
        frames=frames,
        height=height,
        width=width,
        spacing_mm=(row, column),
        compression="zlib" if fields.get("CompressedData", "False").lower() == "true" else "none",
        frame_times_s=steady_or_none(stamps, frames),
    )


def _header(file: BinaryIO, name: str) -> tuple[bytes, dict[str, str]]:
    lines, fields, size = [], {}, 0
    while "ElementDataFile" not in fields:
        line = file.readline(MAX_HEADER_BYTES)
        size += len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        if not lines and key.strip() not in ("ObjectType", "NDims", "Comment"):
            raise InputError(f"{name} is not a MetaImage (.mha) file.")
        if not line or not equals or size > MAX_HEADER_BYTES:
            raise InputError(f"{name} has a broken MetaImage header.")
        lines.append(line)
        fields[key.strip()] = value.strip()
    return b"".join(lines), fields


def with_compressed_size(text: bytes, size: int) -> bytes:
    """The header with CompressedDataSize set; always of the same length, so that it can be filled in afterwards."""
    line = b"CompressedDataSize = %020d\n" % size
    without = re.sub(rb"(?m)^CompressedDataSize *=.*\r?\n", b"", text)
    return re.sub(rb"(?m)^(CompressedData *=.*\r?\n)", lambda match: match.group(1) + line, without)
