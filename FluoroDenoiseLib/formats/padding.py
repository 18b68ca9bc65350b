"""Pixels outside the picture: PixelPaddingValue marks what is no measurement, and such pixels stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from pydicom import Dataset

from ..fluoro_run import FluoroRun
from .dicom_reading import quiet_pydicom


def with_padding(frames: Iterable[np.ndarray], run: FluoroRun) -> Iterable[np.ndarray]:
    """Denoised frames with the padding of the run's own frames put back, bit for bit (PS3.3 C.7.5.1.1.2).

    The frames as they are where the run has no padding. Its frames are then read once more, one at a time.
    """
    padding = padding_range(run.source.header, run.source.dtype) if run.source.kind == "dicom" else None
    return frames if padding is None else _restored(frames, run, *padding)


def _restored(frames: Iterable[np.ndarray], run: FluoroRun, low: int, high: int) -> Iterator[np.ndarray]:
    for index, frame in enumerate(frames):
        if index < len(run):
            noisy = run.frames[index]
            outside = (noisy >= low) & (noisy <= high)
            if outside.any() and outside.shape == np.shape(frame):
                frame = np.where(outside, noisy, frame)
        yield frame


def padding_range(header: Dataset, dtype: np.dtype) -> tuple[int, int] | None:
    """Lowest and highest value that mark padding; None without it."""
    with quiet_pydicom():
        value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return None
    ends = [value, limit if isinstance(limit, int) else value]
    if dtype.kind == "i":  # both are US or SS, and a header without its pixels leaves the choice open
        ends = [end - 2**16 if end >= 2**15 else end for end in ends]
    return min(ends), max(ends)
