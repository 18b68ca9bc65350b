"""Runs in NRRD (Slicer's .seq.nrrd too), NIfTI and MetaImage files: slices, or items of the list axis, are frames.

The header is kept byte for byte, so spacing, origin, direction and every key of the source are in the result; only
the pixels are new. They are read and written a frame at a time; a compressed file is first inflated into a temporary
file, which needs its uncompressed size of disk, not of memory.
"""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError, ResourceError
from ..fluoro_run import ASSUMED_FRAME_TIME_S, FluoroRun, Source
from ..intensity import IntensityScale
from .lazy_frames import PixelBlock, frames_per_block, require_finite, require_supported
from .meta_header import read_meta_header, with_compressed_size
from .nifti_header import read_nifti_header
from .nrrd_header import read_nrrd_header
from .stored_frames import StoredFrames
from .volume_header import VolumeHeader

CHUNK_BYTES = 2**20
READ_HEADER = {"nrrd": read_nrrd_header, "nifti": read_nifti_header, "mha": read_meta_header}


def read_volume(path: Path, kind: str) -> FluoroRun:
    """The run in a volume file of kind "nrrd", "nifti" or "mha"."""
    with open(path, "rb") as file:
        zipped = kind == "nifti" and file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if zipped:
            header, block = _inside_gzip(file, path.name)
        else:
            header = READ_HEADER[kind](file, path.name)
            block = _block_after_header(file, header, path)
    require_supported(header.dtype, path.name)
    frames = block.lazy()
    require_finite(frames, path.name)
    times, warnings = header.frame_times_s, ()
    if times is None:
        times = tuple(index * ASSUMED_FRAME_TIME_S for index in range(header.frames))
        warnings = (f"{path.name} states no frame times; 15 frames a second are assumed.",)
    return FluoroRun(
        frames=frames,
        scale=IntensityScale.from_frames(frames),
        frame_times_s=times,
        pixel_spacing_mm=header.spacing_mm,
        bits_stored=8 * header.dtype.itemsize,
        intensity_relationship="UNKNOWN",
        source=Source(path, kind, header.dtype, header),
        warnings=warnings,
    )


def _inside_gzip(file: BinaryIO, name: str) -> tuple[VolumeHeader, PixelBlock]:
    try:
        with gzip.GzipFile(fileobj=file) as inner:
            header = READ_HEADER["nifti"](inner, name)
            return header, _inflated(header, iter(lambda: inner.read(CHUNK_BYTES), b""), name)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(name, error) from error


def _block_after_header(file: BinaryIO, header: VolumeHeader, path: Path) -> PixelBlock:
    if header.compression == "none":
        block = _block(path, path.name, len(header.text), header)
        _require_size(path.stat().st_size - len(header.text), block)
        return block
    try:
        if header.compression == "gzip":
            with gzip.GzipFile(fileobj=file) as inner:
                return _inflated(header, iter(lambda: inner.read(CHUNK_BYTES), b""), path.name)
        return _inflated(header, _zlib_chunks(file), path.name)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path.name, error) from error


def _damaged(name: str, error: Exception) -> Exception:
    if isinstance(error, (InputError, ResourceError)):
        return error
    return InputError(f"{name} cannot be decompressed; the file is damaged or was cut short.")


def _block(file, name: str, offset: int, header: VolumeHeader) -> PixelBlock:
    return PixelBlock(
        file, name, offset, header.dtype, header.frames, header.height, header.width, header.interleaved
    )


def _require_size(size: int, block: PixelBlock) -> None:
    if size != block.bytes:
        raise InputError(
            f"{block.name} has {size} bytes of pixels but its header states {block.frames} frames of {block.height}x"
            f"{block.width}, {block.bytes} bytes; the file was cut short or its header is wrong."
        )


def _inflated(header: VolumeHeader, chunks: Iterator[bytes], name: str) -> PixelBlock:
    """The pixels in a temporary file without a name; it goes when the last reference to the frames goes."""
    scratch = tempfile.TemporaryFile()
    block = _block(scratch, name, 0, header)
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > block.bytes:  # stop here: a zip bomb must not fill the disk
            break
        try:
            scratch.write(chunk)
        except OSError as error:
            raise ResourceError(f"{name} needs {block.bytes / 1e6:.0f} MB of temporary space to unpack.") from error
    scratch.flush()
    _require_size(size, block)
    return block


def _zlib_chunks(file: BinaryIO) -> Iterator[bytes]:
    inflate = zlib.decompressobj()
    while not inflate.eof:
        compressed = inflate.unconsumed_tail or file.read(CHUNK_BYTES)
        if not compressed:
            raise EOFError
        yield inflate.decompress(compressed, CHUNK_BYTES)


def write_volume(temporary: Path, frames: StoredFrames, run: FluoroRun, path: Path) -> None:
    """The header of the source and new pixels into `temporary`, compressed as the source was.

    path: the final name; for NIfTI it says whether the file is gzipped (.nii.gz), as every reader expects.
    """
    header: VolumeHeader = run.source.header
    if run.source.kind == "nifti":
        zipped = path.name.lower().endswith(".gz")
        with open(temporary, "wb") as plain:
            with gzip.GzipFile(fileobj=plain, mode="wb", mtime=0) if zipped else nullcontext(plain) as file:
                file.write(header.text)
                _write_pixels(file, frames, header)
        return
    with open(temporary, "w+b") as file:
        if header.compression == "none":
            file.write(header.text)
            _write_pixels(file, frames, header)
        elif header.compression == "gzip":
            file.write(header.text)
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as inner:
                _write_pixels(inner, frames, header)
        else:
            start = with_compressed_size(header.text, 0)
            file.write(start)
            deflate = zlib.compressobj()
            for chunk in _chunks(frames, header):
                file.write(deflate.compress(chunk))
            file.write(deflate.flush())
            size = file.tell() - len(start)
            file.seek(0)
            file.write(with_compressed_size(header.text, size))


def _write_pixels(file, frames: StoredFrames, header: VolumeHeader) -> None:
    for chunk in _chunks(frames, header):
        file.write(chunk)


def _chunks(frames: StoredFrames, header: VolumeHeader) -> Iterator[memoryview | bytes]:
    """The pixels in the order of the file, as bytes."""
    stored: Iterable[np.ndarray] = (frame.astype(header.dtype, copy=False) for frame in frames)
    if not header.interleaved:
        for frame in stored:
            yield memoryview(frame).cast("B")
        return
    with tempfile.TemporaryFile() as scratch:
        yield from _interleaved_chunks(stored, header, scratch)


def _interleaved_chunks(frames: Iterable[np.ndarray], header: VolumeHeader, scratch: BinaryIO) -> Iterator[bytes]:
    """Frames turned over into Slicer's order on disk, in blocks, since one frame touches every page of the file."""
    scratch.truncate(header.frames * header.height * header.width * header.dtype.itemsize)
    pixels = np.memmap(scratch, header.dtype, "r+", 0, (header.height, header.width, header.frames))
    several: list[np.ndarray] = []
    first = 0
    for frame in frames:
        several.append(frame)
        if len(several) == frames_per_block(frame.nbytes) or first + len(several) == header.frames:
            pixels[:, :, first : first + len(several)] = np.stack(several, axis=2)
            first += len(several)
            several.clear()
    for row in pixels:
        yield row.tobytes()
