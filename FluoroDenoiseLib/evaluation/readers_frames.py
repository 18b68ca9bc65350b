"""Frames as text in a web page: at most 4096 greys, each frame unpacked by the page alone when it is needed.

    stored -> level 0..4095 -> difference from the pixel before -> zigzag -> low bytes, high bytes -> zlib -> base64

Not PNG: a browser gives back 8 bits of one, and some blur what they give back against being recognised by it.
"""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass

import numpy as np

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.fluoro_run import FluoroRun

TOP = 4095
FINEST_BLOCK = 4


@dataclass(frozen=True)
class GreyLevels:
    """How the stored values of a run become levels 0..4095, for all pictures of the run alike.

    A level is `step` stored values, 1 wherever they fit: always up to 12 bits. Values outside are cut.
    """

    low: float
    step: float

    @classmethod
    def of_run(cls, run: FluoroRun) -> GreyLevels:
        """The levels of a run, from what it can store or, if that is more than 4096 values, from what it does."""
        if run.stored_range is not None and run.stored_range[1] - run.stored_range[0] <= TOP:
            return cls(float(run.stored_range[0]), 1.0)
        extremes = np.array([(frame.min(), frame.max()) for frame in run.frames], np.float64)
        low, high = float(extremes.min()), float(extremes.max())
        if not np.isfinite([low, high]).all():
            raise InputError(f"{run.source.name} holds values that are not finite, which no grey can show; correct the file.")
        if run.stored_range is not None and high - low <= TOP:
            return cls(low, 1.0)
        return cls(low, (high - low) / TOP or 1.0)

    def levels(self, frame: np.ndarray) -> np.ndarray:
        """Levels, uint16, of a frame [H, W] of stored values."""
        levels = np.rint((np.asarray(frame, np.float64) - self.low) / self.step)
        return np.clip(levels, 0, TOP).astype(np.uint16)


def pack(levels: np.ndarray) -> str:
    """A frame of levels [H, W] as text of one line."""
    steps = np.diff(levels.ravel().astype(np.int16), prepend=np.int16(0))
    zigzag = ((steps << 1) ^ (steps >> 15)).astype("<u2")
    planes = zigzag.view(np.uint8).reshape(-1, 2).T
    return base64.b64encode(zlib.compress(planes.tobytes(), 6)).decode("ascii")


def first_window(levels: np.ndarray) -> tuple[int, int]:
    """The levels that a reader sees as black and as white at first: where 99 % of a frame lies without its noise.

    Noise must not widen the window, or runs would look flatter the noisier they are: blocks of 4 x 4 pixels are averaged.
    """
    height, width = (side - side % FINEST_BLOCK for side in levels.shape)
    if height and width:
        blocks = levels[:height, :width].reshape(height // FINEST_BLOCK, FINEST_BLOCK, width // FINEST_BLOCK, FINEST_BLOCK)
        levels = blocks.mean((1, 3))
    low, high = np.percentile(levels, (0.5, 99.5))
    return int(np.floor(low)), max(int(np.ceil(high)), int(np.floor(low)) + 1)
