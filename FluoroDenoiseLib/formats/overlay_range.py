"""An overlay of some of the frames: multi-frame overlays are cut, and their origin counts frames anew (PS3.3 C.9.3)."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

FRAMES, ORIGIN = 0x0015, 0x0051  # NumberOfFramesInOverlay, ImageFrameOrigin
ROWS, COLUMNS, DATA = 0x0010, 0x0011, 0x3000


def cut_overlay(header: Dataset, group: int, first: int, count: int) -> None:
    """Cut the overlay of a group to `count` frames of the image, beginning after `first`; in place.

    An overlay without frames applies to the whole image, and stays. One that lies outside goes, and so does one whose
    data are not what its header states.
    """
    if (group, FRAMES) not in header:
        return
    frames, origin = int(header[group, FRAMES].value), int(header[group, ORIGIN].value) if (group, ORIGIN) in header else 1
    begin, end = max(origin, first + 1), min(origin + frames - 1, first + count)
    bits = _bits(header, group, frames) if begin <= end else None
    if bits is None:
        for tag in [tag for tag in header.keys() if tag.group == group]:
            del header[tag]
        return
    packed = np.packbits(bits[begin - origin : end - origin + 1].ravel(), bitorder="little").tobytes()
    header[group, DATA].value = packed + b"\0" * (len(packed) % 2)
    header[group, FRAMES].value = end - begin + 1
    header.add_new((group, ORIGIN), "US", begin - first)


def _bits(header: Dataset, group: int, frames: int) -> np.ndarray | None:
    """The overlay as 0 and 1, [T, rows * columns]: one bit follows the other, without padding between frames."""
    if any((group, element) not in header for element in (ROWS, COLUMNS, DATA)):
        return None
    pixels = int(header[group, ROWS].value) * int(header[group, COLUMNS].value)
    bits = np.unpackbits(np.frombuffer(header[group, DATA].value, np.uint8), bitorder="little")
    return bits[: frames * pixels].reshape(frames, pixels) if 0 < frames * pixels <= bits.size else None
