"""What NRRD, NIfTI and MetaImage headers have in common once they are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import InputError, UnsupportedError


@dataclass(frozen=True)
class VolumeHeader:
    """A volume file's header, kept byte for byte so that the result keeps every field of it.

    text: all bytes before the pixels, uncompressed. dtype: of the stored values, in the file's byte order.
    frames, height, width: counts. interleaved: the frame index runs fastest. compression: "none", "gzip" (of the
    pixels), "whole gzip" (of the file) or "zlib". frame_times_s: where the header has times. spacing_mm: row, column.
    """

    text: bytes
    dtype: np.dtype
    frames: int
    height: int
    width: int
    spacing_mm: tuple[float, float]
    interleaved: bool = False
    compression: str = "none"
    frame_times_s: tuple[float, ...] | None = None


def run_sizes(sizes: list[int], frame_axis: int | None, name: str) -> tuple[int, int, int]:
    """Frames, height and width from sizes listed fastest first.

    frame_axis: the axis that is time; None: the last of three, or the fourth. A third spatial axis must be 1.
    """
    if any(size < 1 for size in sizes):
        raise InputError(f"{name} states the size {' x '.join(map(str, sizes))}; a run needs at least one frame.")
    sizes = list(sizes) + [1] * (2 - len(sizes))
    if frame_axis is None:
        frame_axis = 2 if len(sizes) == 3 else 3
    frames = sizes[frame_axis] if frame_axis < len(sizes) else 1
    space = [size for axis, size in enumerate(sizes) if axis != frame_axis]
    if any(size != 1 for size in space[2:]):
        raise UnsupportedError(
            f"{name} holds a volume of {' x '.join(map(str, space))} at each time; only single images over time "
            "can be denoised."
        )
    return frames, space[1], space[0]


def steady_or_none(times: list[float], frames: int) -> tuple[float, ...] | None:
    """Times from the first frame if there is one for each frame and they do not run backwards; None otherwise."""
    if len(times) != frames or any(later < earlier for earlier, later in zip(times, times[1:])):
        return None
    return tuple(time - times[0] for time in times)
