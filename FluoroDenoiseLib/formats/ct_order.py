"""Slices in the order of their places: by position along the normal, never by file name or InstanceNumber."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..errors import InputError, UnsupportedError
from .ct_slices import SliceFacts

SAME_DIRECTION = 1e-3  # largest difference of a component of the direction cosines
SAME_PLACE_MM = 1e-3
GAP = 1.5  # of the usual step
UNEVEN = 0.05
SHIFT_PIXELS = 0.25


class Order(NamedTuple):
    """Slices from first to last along the normal; see CtVolume for the rest."""

    slices: tuple[SliceFacts, ...]
    breaks: tuple[int, ...]
    step_mm: float
    direction: tuple[tuple[float, float, float], ...]
    warnings: tuple[str, ...]


def in_order(slices: Sequence[SliceFacts], name: str) -> Order:
    """The order of the slices of one volume.

    Copies of an instance are left out, gaps said. UnsupportedError where the slices are of several volumes: sizes, types,
    pixel spacings, directions that differ, or several slices at one place. InputError where they are of several studies.
    """
    slices, warnings = _without_copies(slices, name)
    _require_one_volume(slices, name)
    row, column = np.array(slices[0].row), np.array(slices[0].column)
    normal = np.cross(row, column)
    places = np.array([one.position_mm for one in slices])
    order = np.argsort(places @ normal, kind="stable")
    slices, places = [slices[index] for index in order], places[order]
    if len(slices) == 1:
        step, breaks = slices[0].thickness_mm or 1.0, ()
    else:
        steps = np.diff(places @ normal)
        _require_one_slice_a_place(steps, name)
        step = float(np.median(steps))
        breaks = tuple(int(index) + 1 for index in np.flatnonzero(steps > GAP * step))
        warnings += _gaps(steps, breaks, step, name) + _shifts(places, normal, slices[0], name)
    direction = tuple(tuple(float(part) for part in axis) for axis in (row, column, normal))
    return Order(tuple(slices), breaks, step, direction, tuple(warnings))


def _without_copies(slices: Sequence[SliceFacts], name: str) -> tuple[list[SliceFacts], list[str]]:
    first: dict[tuple[str, int], SliceFacts] = {}
    for one in slices:
        there = first.setdefault((one.uid, one.frame), one)
        if there.position_mm != one.position_mm:
            raise InputError(f"{name} has two slices at different places with the same SOPInstanceUID; export the series again.")
    copies = len(slices) - len(first)
    said = [f"{name} holds copies of slices ({copies}, by SOPInstanceUID); they are left out."] if copies else []
    return list(first.values()), said


def _require_one_volume(slices: Sequence[SliceFacts], name: str) -> None:
    first = slices[0]
    sizes = sorted({f"{one.layout.rows}x{one.layout.columns}" for one in slices})
    if len(sizes) > 1:
        raise UnsupportedError(f"{name} has slices of different sizes ({', '.join(sizes)}); give one reconstruction in a folder.")
    if len({(one.layout.stored_dtype, one.layout.bits_stored, one.layout.transfer_syntax) for one in slices}) > 1:
        raise UnsupportedError(f"{name} has slices of different bits or encodings; save them all in the same one first.")
    if any(np.abs(np.subtract(one.row + one.column, first.row + first.column)).max() > SAME_DIRECTION for one in slices):
        raise UnsupportedError(f"{name} has slices of different directions; give one reconstruction in a folder.")
    if any(not np.allclose(one.spacing_mm, first.spacing_mm, rtol=1e-3) for one in slices):
        raise UnsupportedError(f"{name} has slices of different pixel spacings; give one reconstruction in a folder.")
    if len({one.study for one in slices}) > 1:
        raise InputError(f"{name} has slices of several studies under one SeriesInstanceUID; sort them out first.")


def _require_one_slice_a_place(steps: np.ndarray, name: str) -> None:
    twice = int(np.count_nonzero(steps < SAME_PLACE_MM))
    if twice:
        raise UnsupportedError(f"{name} has more than one slice at {twice} of its places, as several phases or reconstructions in "
                               "one series have; give a folder with one of them.")


def _gaps(steps: np.ndarray, breaks: tuple[int, ...], step: float, name: str) -> list[str]:
    if breaks:
        places = ", ".join(f"{steps[index - 1]:.4g} mm after slice {index - 1}" for index in breaks[:3])
        more = f" and {len(breaks) - 3} more" if len(breaks) > 3 else ""
        return [f"{name} has slices {step:.4g} mm apart but a gap of {places}{more}; slices may be missing, see that it is complete."]
    if (np.abs(steps - step) > UNEVEN * step).any():
        return [f"{name} has slices between {steps.min():.4g} and {steps.max():.4g} mm apart."]
    return []


def _shifts(places: np.ndarray, normal: np.ndarray, first: SliceFacts, name: str) -> list[str]:
    """A tilted gantry: neighbouring slices are shifted against each other within their planes."""
    moves = np.diff(places, axis=0)
    within = moves - np.outer(moves @ normal, normal)
    shift = float(np.median(np.linalg.norm(within, axis=1))) / min(first.spacing_mm)
    if shift <= SHIFT_PIXELS:
        return []
    return [f"{name} was acquired with a tilted gantry: neighbouring slices are shifted by {shift:.2g} pixels, and help each other less."]
