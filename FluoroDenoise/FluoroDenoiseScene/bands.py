"""A large frame some rows at a time: what is done to a band stays in the processor's cache and ends soon."""

from __future__ import annotations

from collections.abc import Iterator

BAND_PIXELS = 1 << 17  # a megabyte of float64


def bands(height: int, width: int, multiple: int = 1) -> Iterator[slice]:
    """The rows of a frame from top to bottom, in bands of a multiple of rows each; the last may be lower."""
    rows = max(BAND_PIXELS // (width * multiple), 1) * multiple
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
