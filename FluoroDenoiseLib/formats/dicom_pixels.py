"""The pixels of a DICOM file, a frame at a time: what the header says of them, where they lie, whether all are there."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.uid import UID

from ..errors import InputError, UnsupportedError
from .decoding import DecoderProcess, decoder_for
from .dicom_reading import OVERLAYS, whole_number
from .fragments import Piece, frame_pieces
from .lazy_frames import ConsecutiveFrames, LazyFrames, PixelBlock, still_there

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA = (0x7FE0, 0x0010)
MOST_PIXELS = 2**28  # of a frame; the largest detectors have a tenth
COLOURS = ("RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class PixelLayout:
    """What the header says of the pixels, checked against itself.

    stored_dtype: of one pixel. embedded_overlays: the unused high bits hold old overlays, not errors.
    """

    frames: int
    rows: int
    columns: int
    stored_dtype: np.dtype
    bits_stored: int
    embedded_overlays: bool
    transfer_syntax: UID

    @property
    def bytes(self) -> int:
        return self.frames * self.rows * self.columns * self.stored_dtype.itemsize


def pixel_layout(header: Dataset, path: Path) -> PixelLayout:
    """The layout, or InputError naming the attribute that is wrong, or UnsupportedError for colour and 32 bits."""
    name = path.name
    samples = whole_number(header, "SamplesPerPixel", path)
    photometric = str(header.get("PhotometricInterpretation") or "")
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise UnsupportedError(
            f"{name} is a colour image ({photometric if photometric in COLOURS else 'of an unknown kind'}, {samples} samples "
            "per pixel); only grey X-ray images can be denoised."
        )
    frames = whole_number(header, "NumberOfFrames", path, default=1)
    rows, columns = whole_number(header, "Rows", path), whole_number(header, "Columns", path)
    allocated, stored = whole_number(header, "BitsAllocated", path), whole_number(header, "BitsStored", path)
    high, signed = whole_number(header, "HighBit", path), whole_number(header, "PixelRepresentation", path)
    if frames < 1:
        raise InputError(f"{name} states NumberOfFrames {frames}; a run needs at least one frame.")
    if rows < 1 or columns < 1:
        raise InputError(f"{name} states {rows} Rows and {columns} Columns; both must be positive.")
    if rows * columns > MOST_PIXELS:
        raise UnsupportedError(f"{name} states frames of {rows}x{columns}; at most {MOST_PIXELS} pixels can be denoised.")
    if allocated == 32 or allocated == 1:
        raise UnsupportedError(f"{name} has {allocated}-bit pixels; 8 to 16 bits can be denoised.")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or signed not in (0, 1):
        raise InputError(
            f"{name} states BitsAllocated {allocated}, BitsStored {stored} and PixelRepresentation {signed}, which no "
            "pixel can have."
        )
    if stored < 8:
        raise UnsupportedError(f"{name} has {stored}-bit pixels; 8 to 16 bits can be denoised.")
    if high != stored - 1:
        raise InputError(f"{name} states HighBit {high} with BitsStored {stored}; it must be {stored - 1}.")
    return PixelLayout(
        frames=frames,
        rows=rows,
        columns=columns,
        stored_dtype=np.dtype(f"{'iu'[signed == 0]}{allocated // 8}"),
        bits_stored=stored,
        embedded_overlays=any((group, 0x0102) in header and (group, 0x3000) not in header for group in OVERLAYS),
        transfer_syntax=header.file_meta.TransferSyntaxUID,
    )


def open_frames(
    file: BinaryIO, header: Dataset, layout: PixelLayout, path: Path, decoder: DecoderProcess | None = None
) -> LazyFrames:
    """The frames of a file that stands at its pixel data; InputError unless all of them are there.

    decoder: that of another file of the same series and layout, to be used on.
    """
    syntax = layout.transfer_syntax
    length = _enter_pixel_data(file, syntax, path)
    if syntax.is_compressed:
        if length != UNDEFINED:
            raise InputError(f"{path.name} claims compressed pixels ({syntax.name}) but holds them uncompressed.")
        plugin = decoder_for(syntax, path.name)
        pieces = frame_pieces(file, header, layout.frames, syntax, path.name)
        if any(sum(length for _, length in piece) > 2 * layout.bytes // layout.frames + 2**20 for piece in pieces):
            raise InputError(f"{path.name} has compressed frames that are larger than uncompressed ones; the file is damaged.")
        return CompressedFrames(path, layout, pieces, decoder or decoder_process(path, layout, plugin))
    _require_native_length(file, length, layout, path)
    if not syntax.is_little_endian and layout.stored_dtype.itemsize == 1:
        raise UnsupportedError(f"{path.name} has 8-bit pixels in the retired big-endian encoding; save it little-endian first.")
    stored = layout.stored_dtype.newbyteorder("<" if syntax.is_little_endian else ">")
    block = PixelBlock(path, path.name, file.tell(), stored, layout.frames, layout.rows, layout.columns)
    return NativeFrames(block, layout)


def _enter_pixel_data(file: BinaryIO, syntax: UID, path: Path) -> int:
    """Read the pixel data's tag; its length in bytes, the file then standing at its value."""
    order = "<" if syntax.is_little_endian else ">"
    start = file.read(8 if syntax.is_implicit_VR else 12)
    if len(start) < 8 or struct.unpack(order + "HH", start[:4]) != PIXEL_DATA:
        raise InputError(f"{path.name} has no pixel data; it is a header without images.")
    return struct.unpack(order + "I", start[-4:])[0]


def _require_native_length(file: BinaryIO, length: int, layout: PixelLayout, path: Path) -> None:
    expected = layout.bytes
    stated = f"NumberOfFrames {layout.frames} of {layout.rows}x{layout.columns}, {expected} bytes"
    if length not in (expected, expected + expected % 2):
        raise InputError(f"{path.name} holds {length} bytes of pixels but its header states {stated}.")
    if file.tell() + expected > path.stat().st_size:
        raise InputError(f"{path.name} was cut short: its header states {stated}, and the file ends before.")


class NativeFrames(ConsecutiveFrames):
    """Uncompressed frames, read from their place in the file. Memory: one frame."""

    def __init__(self, block: PixelBlock, layout: PixelLayout):
        super().__init__(block)
        self._layout = layout
        self._name = block.name

    def _read(self, index: int) -> np.ndarray:
        return _within_bits(super()._read(index), self._layout, index, self._name)


def _within_bits(frame: np.ndarray, layout: PixelLayout, index: int, name: str) -> np.ndarray:
    """The frame with old overlay bits cleared; InputError if other values exceed the stated bits."""
    unused = 8 * frame.dtype.itemsize - layout.bits_stored
    if unused == 0:
        return frame
    cleaned = (frame << unused) >> unused
    if not layout.embedded_overlays and not np.array_equal(cleaned, frame):
        raise InputError(
            f"Frame {index} of {name} has values outside the stated {layout.bits_stored} bits (BitsStored); the "
            "header or the pixels are wrong."
        )
    return cleaned


def decoder_process(path: Path, layout: PixelLayout, plugin: str) -> DecoderProcess:
    """A process that decodes frames of this layout, not started yet. plugin: the decoder, a name of pydicom's."""
    signed = layout.stored_dtype.kind == "i"
    options = {
        "rows": layout.rows, "columns": layout.columns, "number_of_frames": 1, "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2", "pixel_representation": int(signed),
        "bits_allocated": 8 * layout.stored_dtype.itemsize, "bits_stored": layout.bits_stored,
        # Values beyond the stated bits are a contradiction to be told, not to be masked away.
        "pixel_keyword": "PixelData", "correct_unused_bits": signed,
    }  # fmt: skip
    return DecoderProcess(path.name, layout.transfer_syntax, plugin, layout.bytes // layout.frames, options)


class CompressedFrames(LazyFrames):
    """Frames decoded one at a time in a process of their own. Memory: one frame, compressed and not.

    pieces: of each frame, see frame_pieces.
    """

    def __init__(self, path: Path, layout: PixelLayout, pieces: list[list[Piece]], decoder: DecoderProcess):
        super().__init__(layout.frames)
        self._path, self._layout, self._pieces, self._decoder = path, layout, pieces, decoder

    @property
    def decoder(self) -> DecoderProcess:
        """The process, for other files of the same series."""
        return self._decoder

    def _read(self, index: int) -> np.ndarray:
        layout = self._layout
        with still_there(self._path.name), open(self._path, "rb") as file:
            pieces = [_piece(file, position, length) for position, length in self._pieces[index]]
        pixels = np.frombuffer(self._decoder.decode(index, pieces, self._path.name), layout.stored_dtype.newbyteorder("<"))
        frame = pixels.reshape(layout.rows, layout.columns).astype(layout.stored_dtype)
        return frame if layout.stored_dtype.kind == "i" else _within_bits(frame, layout, index, self._path.name)


def _piece(file: BinaryIO, position: int, length: int) -> bytes:
    file.seek(position)
    return file.read(length)
