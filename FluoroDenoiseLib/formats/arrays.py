"""Runs in NumPy files and TIFF stacks."""

from __future__ import annotations

import logging
import re
import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FluoroDenoiseError, InputError, ResourceError, UnsupportedError
from ..fluoro_run import ASSUMED_FRAME_TIME_S, FluoroRun, Source
from ..intensity import IntensityScale
from .lazy_frames import LazyFrames, PixelBlock, require_finite, require_supported
from .stored_frames import StoredFrames

# tifffile logs what it finds odd in a file; without a handler of its own that would go to the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

MM_PER_RESOLUTION_UNIT = {2: 25.4, 3: 10.0}  # inch, centimetre
MM_PER_IMAGEJ_UNIT = {"mm": 1.0, "cm": 10.0, "micron": 1e-3, "um": 1e-3, "\\u00B5m": 1e-3}


class ArrayFrames(LazyFrames):
    """Frames of a memory-mapped array, copied out one at a time."""

    def __init__(self, array: np.ndarray):
        super().__init__(len(array))
        self._array = array

    def _read(self, index: int) -> np.ndarray:
        return np.array(self._array[index], self._array.dtype.newbyteorder("="), order="C")


def read_npy(path: Path) -> FluoroRun:
    """The run in a .npy file: [T, H, W], or one frame [H, W]."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # the header is Python source: its parser has exceptions of its own
        raise InputError(f"{path.name} is not a NumPy file of plain numbers, or was cut short.") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path.name} holds several arrays; save one array as .npy.")
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise InputError(f"{path.name} has the shape {array.shape}; a run is frames x rows x columns, none of them 0.")
    stack = array.reshape(-1, *array.shape[-2:])
    # Pages of a mapped file count as memory of the process as long as there is room; frames that are read do not.
    in_order = array.flags.c_contiguous
    frames = PixelBlock(path, path.name, array.offset, array.dtype, *stack.shape).lazy() if in_order else ArrayFrames(stack)
    return _run(path, "npy", frames, array.dtype, array.shape)


def write_npy(temporary: Path, frames: StoredFrames, run: FluoroRun, path: Path) -> None:
    """An array of the same shape and type as the source."""
    shape = run.source.header or (len(frames), *frames.shape)
    header = {"descr": np.lib.format.dtype_to_descr(run.source.dtype), "fortran_order": False, "shape": shape}
    with open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for frame in frames:
            file.write(memoryview(frame.astype(run.source.dtype, copy=False)).cast("B"))


def _run(path, kind, frames, dtype, header, spacing_mm=(1.0, 1.0), frame_time_s=None) -> FluoroRun:
    require_supported(dtype, path.name)
    require_finite(frames, path.name)
    said = () if frame_time_s else (f"{path.name} states no frame times; 15 frames a second are assumed.",)
    step = frame_time_s or ASSUMED_FRAME_TIME_S
    return FluoroRun(
        frames=frames,
        scale=IntensityScale.from_frames(frames),
        frame_times_s=tuple(index * step for index in range(len(frames))),
        pixel_spacing_mm=spacing_mm,
        bits_stored=8 * dtype.itemsize,
        intensity_relationship="UNKNOWN",
        source=Source(path, kind, dtype, header),
        warnings=said,
    )


@dataclass(frozen=True)
class TiffHeader:
    """What a stack keeps: how it is laid out, its description (ImageJ's too) and its resolution tags."""

    byteorder: str = "<"
    big: bool = False
    compressed: bool = False
    photometric: str = "minisblack"
    description: bytes | None = None
    resolution: tuple[Any, Any] | None = None
    resolution_unit: int | None = None


class TiffPages(LazyFrames):
    """Frames of a TIFF stack, a page each. Memory: one frame."""

    def __init__(self, path: Path, pages: int):
        super().__init__(pages)
        self._path = path

    def _read(self, index: int) -> np.ndarray:
        import tifffile

        with tifffile.TiffFile(self._path) as file:
            return self._page(file, index)

    def __iter__(self):
        import tifffile

        # One opening for all pages: finding page n walks the n before it.
        with tifffile.TiffFile(self._path) as file:
            for index in range(len(self)):
                yield self._page(file, index)

    def _page(self, file, index: int) -> np.ndarray:
        try:
            frame = file.pages[index].asarray()
        except Exception as error:  # tifffile answers damage with many kinds of exception
            if "imagecodecs" in str(error):
                raise ResourceError(
                    f"{self._path.name} is compressed in a way that needs the package imagecodecs; install it "
                    "(pip install imagecodecs) or save the stack uncompressed."
                ) from error
            raise InputError(f"Frame {index} of {self._path.name} cannot be read; the file is damaged.") from error
        return np.ascontiguousarray(frame, frame.dtype.newbyteorder("="))


def read_tiff(path: Path) -> FluoroRun:
    """The run in a TIFF stack: one page a frame, or ImageJ's one block of pixels."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages[0]
            _require_grey_pages(file, path)
            header = _tiff_header(file)
            frames = _contiguous_frames(file, path) or TiffPages(path, len(file.pages))
            spacing_mm, frame_time_s = _tiff_spacing(file, header), _imagej_frame_time(file)
            dtype = np.dtype(file.byteorder + first.dtype.str[1:])
    except FluoroDenoiseError:
        raise
    except Exception as error:
        raise InputError(f"{path.name} is not a readable TIFF file ({type(error).__name__}).") from error
    return _run(path, "tiff", frames, dtype, header, spacing_mm, frame_time_s)


def _require_grey_pages(file, path: Path) -> None:
    """All pages are grey, alike, and inside the file."""
    first, name, size = file.pages[0], path.name, path.stat().st_size
    if first.samplesperpixel != 1 or int(first.photometric) not in (0, 1):
        raise UnsupportedError(f"{name} is a colour image; only grey images can be denoised.")
    for index, page in enumerate(file.pages):
        if page.shape != first.shape or page.dtype != first.dtype:
            raise UnsupportedError(
                f"Page {index} of {name} is {page.shape} {page.dtype} but the first is {first.shape} {first.dtype}; "
                "split the stack where the size or type changes."
            )
        if any(at + length > size for at, length in zip(page.dataoffsets, page.databytecounts)):
            raise InputError(f"{name} ends before page {index} does; the file was cut short.")


def _tiff_header(file) -> TiffHeader:
    first = file.pages[0]
    pair = [first.tags[name].value for name in ("XResolution", "YResolution") if name in first.tags]
    resolution = tuple(Fraction(*parts) for parts in pair if parts[1])
    unit = first.tags["ResolutionUnit"].value if "ResolutionUnit" in first.tags else None
    return TiffHeader(
        byteorder=file.byteorder,
        big=file.is_bigtiff,
        compressed=int(first.compression) != 1,
        photometric=("miniswhite", "minisblack")[int(first.photometric)],
        # As bytes: a description may hold more than ASCII, the micro sign for one.
        description=first.description.encode() or None,
        resolution=resolution if len(resolution) == 2 else None,
        resolution_unit=None if unit is None else int(unit),
    )


def _contiguous_frames(file, path: Path) -> LazyFrames | None:
    """Frames of a stack whose pixels are one uncompressed block, as ImageJ writes beyond 4 GB; None otherwise."""
    series = file.series[0]
    if len(file.series) != 1 or series.dataoffset is None or len(file.pages) != 1:
        return None
    height, width = series.shape[-2:]
    count = int(np.prod(series.shape[:-2], dtype=int))
    dtype = np.dtype(file.byteorder + series.dtype.str[1:])
    block = PixelBlock(path, path.name, series.dataoffset, dtype, count, height, width)
    if series.dataoffset + block.bytes > path.stat().st_size:
        raise InputError(f"{path.name} ends before its {count} frames do; the file was cut short.")
    return block.lazy()


def _tiff_spacing(file, header: TiffHeader) -> tuple[float, float]:
    """Row and column spacing, mm, from the resolution tags; 1 where they say nothing of length."""
    unit = MM_PER_RESOLUTION_UNIT.get(header.resolution_unit)
    if file.is_imagej:
        unit = MM_PER_IMAGEJ_UNIT.get(str(file.imagej_metadata.get("unit")), unit)
    if unit is None or header.resolution is None or 0 in header.resolution:
        return 1.0, 1.0
    across, down = header.resolution
    return float(unit / down), float(unit / across)


def _imagej_frame_time(file) -> float | None:
    """ImageJ's frame interval, s."""
    found = re.search(r"(?m)^finterval=([0-9.eE+-]+)", file.pages[0].description or "")
    return (float(found.group(1)) or None) if found and file.is_imagej else None


def write_tiff(temporary: Path, frames: StoredFrames, run: FluoroRun, path: Path) -> None:
    """A stack with the description and resolution of the source; compressed (deflate, lossless) if the source was."""
    import tifffile

    header: TiffHeader = run.source.header or TiffHeader()
    # 32-bit offsets end at 4 GB; leave a page table's worth of room.
    big = header.big or frames.bytes > 2**32 - 2**25
    resolution = header.resolution and tuple(value.as_integer_ratio() for value in header.resolution)
    with warnings.catch_warnings(), tifffile.TiffWriter(temporary, bigtiff=big, byteorder=header.byteorder) as file:
        warnings.simplefilter("ignore")
        for index, frame in enumerate(frames):
            file.write(
                frame,
                contiguous=False,
                photometric=header.photometric,
                compression="zlib" if header.compressed else None,
                description=header.description if index == 0 else None,
                resolution=resolution,
                resolutionunit=header.resolution_unit,
                software="FluoroDenoise",
                metadata=None,
            )
