"""The pixels of a DICOM file, a frame at a time: where they lie, whether they are all there, how to decode them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import Dataset
from pydicom.pixels import get_decoder, iter_pixels, pixel_array
from pydicom.uid import UID, RLELossless

from ..errors import InputError, ResourceError, UnsupportedError
from .dicom_reading import refusing_damage, whole_number
from .lazy_frames import ConsecutiveFrames, LazyFrames, PixelBlock

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, ITEM, ITEMS_END = (0x7FE0, 0x0010), (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
CODESTREAM_STARTS = (b"\xff\xd8", b"\xff\x4f")  # JPEG and JPEG-LS, JPEG 2000
DECODER_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.57": "python-gdcm",
    "1.2.840.10008.1.2.4.70": "python-gdcm",
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pillow",
    "1.2.840.10008.1.2.4.91": "pillow",
}


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
            f"{name} is a colour image ({photometric or 'unknown'}, {samples} samples per pixel); only grey X-ray "
            "images can be denoised."
        )
    frames = whole_number(header, "NumberOfFrames", path, default=1)
    rows, columns = whole_number(header, "Rows", path), whole_number(header, "Columns", path)
    allocated, stored = whole_number(header, "BitsAllocated", path), whole_number(header, "BitsStored", path)
    high, signed = whole_number(header, "HighBit", path), whole_number(header, "PixelRepresentation", path)
    if frames < 1:
        raise InputError(f"{name} states NumberOfFrames {frames}; a run needs at least one frame.")
    if rows < 1 or columns < 1:
        raise InputError(f"{name} states {rows} Rows and {columns} Columns; both must be positive.")
    if allocated == 32 or allocated == 1:
        raise UnsupportedError(f"{name} has {allocated}-bit pixels; 8 to 16 bits can be denoised.")
    if allocated not in (8, 16) or not 1 <= stored <= allocated or signed not in (0, 1):
        raise InputError(
            f"{name} states BitsAllocated {allocated}, BitsStored {stored} and PixelRepresentation {signed}, which no "
            "pixel can have."
        )
    if stored < 8:
        raise UnsupportedError(f"{name} has {stored}-bit pixels; 8 to 16 bits can be denoised.")
    overlays = [0x6000 + 2 * number for number in range(16)]
    if high != stored - 1:
        raise InputError(f"{name} states HighBit {high} with BitsStored {stored}; it must be {stored - 1}.")
    return PixelLayout(
        frames=frames,
        rows=rows,
        columns=columns,
        stored_dtype=np.dtype(f"{'iu'[signed == 0]}{allocated // 8}"),
        bits_stored=stored,
        embedded_overlays=any((group, 0x0102) in header and (group, 0x3000) not in header for group in overlays),
        transfer_syntax=header.file_meta.TransferSyntaxUID,
    )


def open_frames(file: BinaryIO, header: Dataset, layout: PixelLayout, path: Path) -> LazyFrames:
    """The frames of a file that stands at its pixel data; InputError unless all of them are there."""
    syntax = layout.transfer_syntax
    length = _enter_pixel_data(file, syntax, path)
    if syntax.is_compressed and not syntax.is_deflated:
        if length != UNDEFINED:
            raise InputError(f"{path.name} claims compressed pixels ({syntax.name}) but holds them uncompressed.")
        _require_decoder(syntax, path)
        _require_fragments(file, header, layout, path)
        return CompressedFrames(path, layout)
    _require_native_length(file, length, layout, path)
    if not syntax.is_little_endian:
        return CompressedFrames(path, layout)
    block = PixelBlock(
        path, path.name, file.tell(), layout.stored_dtype.newbyteorder("<"), layout.frames, layout.rows, layout.columns
    )
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


def _require_decoder(syntax: UID, path: Path) -> None:
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise UnsupportedError(f"{path.name} is compressed as {syntax.name}, which cannot be decoded here.") from None
    if not available:
        package = DECODER_PACKAGES.get(str(syntax), "pylibjpeg[openjpeg]")
        raise ResourceError(
            f"{path.name} is compressed as {syntax.name}; install the package {package} to read it "
            f"(pip install {package})."
        )


def _require_fragments(file: BinaryIO, header: Dataset, layout: PixelLayout, path: Path) -> None:
    """InputError unless the offset tables or the fragments give exactly the stated number of frames."""
    fragments = list(_fragments(file, path))
    if not fragments:
        raise InputError(f"{path.name} has no compressed frames; it is a header without images.")
    (table_at, table_bytes), fragments = fragments[0], fragments[1:]
    if "ExtendedOffsetTable" in header:
        found = len(header.ExtendedOffsetTable) / 8
    elif table_bytes:
        found = table_bytes / 4
    elif len(fragments) <= layout.frames or layout.transfer_syntax == RLELossless:
        found = len(fragments)
    elif layout.frames == 1:
        found = 1
    else:
        # Several fragments a frame and no table: a frame begins where a codestream does.
        found = sum(_bytes_at(file, position, 2) in CODESTREAM_STARTS for position, _ in fragments)
    if found != layout.frames or len(fragments) < layout.frames:
        raise InputError(
            f"{path.name} holds {min(found, len(fragments)):g} compressed frames but its header states NumberOfFrames "
            f"{layout.frames}."
        )
    if table_bytes and "ExtendedOffsetTable" not in header:
        offsets = struct.unpack(f"<{layout.frames}I", _bytes_at(file, table_at, table_bytes))
        starts = {position - fragments[0][0] for position, _ in fragments}
        if not set(offsets) <= starts or sorted(set(offsets)) != list(offsets):
            raise InputError(f"{path.name} has an offset table that does not point at its frames; the file is damaged.")


def _fragments(file: BinaryIO, path: Path) -> Iterator[tuple[int, int]]:
    """Position and length of each item of the pixel data, the offset table first; the items must end properly."""
    size = path.stat().st_size
    while True:
        start = file.read(8)
        if len(start) < 8:
            raise InputError(f"{path.name} was cut short inside its compressed frames.")
        group, element, length = struct.unpack("<HHI", start)
        if (group, element) == ITEMS_END:
            return
        position = file.tell()
        if (group, element) != ITEM or length == UNDEFINED or position + length > size:
            raise InputError(f"{path.name} has damaged compressed frames at byte {position - 8}.")
        yield position, length
        file.seek(position + length)


def _bytes_at(file: BinaryIO, position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)


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


class CompressedFrames(LazyFrames):
    """Frames that pydicom decodes one at a time from the file. Memory: one frame, compressed and not."""

    def __init__(self, path: Path, layout: PixelLayout):
        super().__init__(layout.frames)
        self._path = path
        self._layout = layout
        # pylibjpeg-rle, when it is installed, panics on damage; pydicom's own decoder does not.
        self._plugin = "pydicom" if layout.transfer_syntax == RLELossless else ""

    def _read(self, index: int) -> np.ndarray:
        with refusing_damage(self._path.name, f"decoding frame {index}"):
            return self._checked(pixel_array(self._path, index=index, raw=True, decoding_plugin=self._plugin), index)

    def __iter__(self) -> Iterator[np.ndarray]:
        frames = iter_pixels(self._path, raw=True, decoding_plugin=self._plugin)
        for index in range(len(self)):
            with refusing_damage(self._path.name, f"decoding frame {index}"):
                frame = self._checked(next(frames, None), index)
            yield frame

    def _checked(self, frame: np.ndarray | None, index: int) -> np.ndarray:
        layout = self._layout
        if frame is None or frame.shape != (layout.rows, layout.columns):
            raise InputError(f"Frame {index} of {self._path.name} is missing or not {layout.rows}x{layout.columns}.")
        return np.array(frame, layout.stored_dtype)
