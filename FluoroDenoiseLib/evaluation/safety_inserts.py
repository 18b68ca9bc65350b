"""What is put into the beam: discs, wires, edges, and the rarer clip, marker and contrast bolus; 1 inside, 0 outside.

All on a grid of height + 2 MARGIN by width + 2 MARGIN; positions are those of the field, in pixels.
"""

from __future__ import annotations

import numpy as np

from FluoroDenoiseLib.evaluation.safety_stage import MARGIN

EDGE_SOFTNESS_PX = 0.35
SLANT = np.tan(np.deg2rad(4.0))  # of edges and wires, so that their profiles are sampled finer than a pixel


def grid(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of every pixel of a field of this size with its margin."""
    return np.mgrid[-MARGIN : size[0] + MARGIN, -MARGIN : size[1] + MARGIN].astype(np.float32)


def inside(distance_px: np.ndarray) -> np.ndarray:
    """1 where the distance to the outline is well above 0, 0 well below."""
    return (1 / (1 + np.exp(-np.clip(distance_px / EDGE_SOFTNESS_PX, -30, 30)))).astype(np.float32)


def disc(size: tuple[int, int], row: float, column: float, diameter: float) -> np.ndarray:
    y, x = grid(size)
    return inside(diameter / 2 - np.hypot(y - row, x - column))


def bar(size: tuple[int, int], row: float, column: float, width: float, length: float, turn: float = np.pi / 2) -> np.ndarray:
    """A straight piece of wire with Gaussian profile, `width` its full width at half maximum; turn 0 is a level one."""
    y, x = grid(size)
    along = (x - column) * np.cos(turn) + (y - row) * np.sin(turn)
    across = (y - row) * np.cos(turn) - (x - column) * np.sin(turn)
    return np.exp(-0.5 * (across * 2.355 / width) ** 2) * inside(length / 2 - np.abs(along))


def upright_distance(size: tuple[int, int], column: float) -> np.ndarray:
    """Distance, px, to the right of a line that crosses the middle row at `column`, 4 degrees off the vertical."""
    y, x = grid(size)
    return (x - column - SLANT * (y - size[0] / 2)) / np.hypot(1, SLANT)


def edge(size: tuple[int, int], column: float) -> np.ndarray:
    """Everything left of a nearly upright line."""
    return inside(-upright_distance(size, column))


def wire(size: tuple[int, int], column: float, width: float) -> np.ndarray:
    """A nearly upright wire from border to border."""
    return np.exp(-0.5 * (upright_distance(size, column) * 2.355 / width) ** 2).astype(np.float32)


def clip(size: tuple[int, int], row: float, column: float) -> np.ndarray:
    """A surgical clip: two strong legs that meet."""
    legs = [bar(size, row + side * 3, column, 2.5, 14, side * 0.35) for side in (-1, 1)]
    return np.maximum(*legs)


def marker_pair(size: tuple[int, int], row: float, column: float) -> np.ndarray:
    """The two markers of a balloon, 2.5 px across, 16 px apart."""
    return np.maximum(*(disc(size, row, column + side * 8, 2.5) for side in (-1, 1)))


def bolus(size: tuple[int, int], row: float, column: float, reach: float) -> np.ndarray:
    """Contrast agent in a vessel 7 px wide, filled from the left up to `reach` pixels right of `column` - 16."""
    y, x = grid(size)
    chord = np.sqrt(np.clip(1 - ((y - row) / 3.5) ** 2, 0, 1))
    started = inside(x - (column - 16))
    return (chord * started * inside((column - 16 + reach - x) / 3)).astype(np.float32)


def cells(size: tuple[int, int], pitch: int) -> list[tuple[int, int, tuple[slice, slice]]]:
    """(row, column, part of the picture) of places `pitch` pixels apart, for objects that must not touch."""
    rows, columns = (range(pitch // 2, extent - pitch // 2 + 1, pitch) for extent in size)
    half = pitch // 2
    return [(row, column, np.s_[row - half : row + half, column - half : column + half]) for row in rows for column in columns]
