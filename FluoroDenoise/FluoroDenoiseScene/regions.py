"""Regions that a user draws on the frames, as masks on the pixel grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from .bands import bands
from .frames import Frames, InputProblem, frame_volume

FEWEST_PIXELS = 16  # below, a standard deviation says nothing


@dataclass(frozen=True, eq=False)
class Region:
    """Pixels of some frames: a box of rows and columns, and a mask inside it.

    mask: [h, w], or [n, h, w] if it differs from slice to slice. numbers: the frames it is in, numbered as in the node.
    """

    name: str
    rows: slice
    columns: slice
    mask: np.ndarray
    numbers: range

    def mask_in(self, number: int) -> np.ndarray:
        """The mask [h, w] in a frame."""
        return self.mask if self.mask.ndim == 2 else self.mask[number - self.numbers.start]


def regions_of(node, frames: Frames) -> list[Region]:
    """The regions that a node draws on the frames: one for an ROI, one for each segment of a segmentation.

    Through the slices of a CT volume an ROI and a segment have their depth; on frames they go through all of them.
    Raises InputProblem if the node is of another kind, or a region lies outside the frames.
    """
    if node.IsA("vtkMRMLMarkupsROINode"):
        return [_region_of_roi(node, frames)]
    if node.IsA("vtkMRMLSegmentationNode"):
        segments = node.GetSegmentation()
        return [_region_of_segment(node, name, frames) for name in segments.GetSegmentIDs()]
    raise InputProblem(_("{name} is neither an ROI nor a segmentation; draw one of these around what to measure.").format(name=node.GetName()))


def pixel_to_world(frames: Frames) -> np.ndarray:
    """The matrix [4, 4] from (column, row, slice) to world coordinates, mm."""
    volume = frame_volume(frames, frames.first)
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    shown = frames.proxy
    if shown is not None and shown.GetParentTransformNode() is not None:
        to_world = vtk.vtkMatrix4x4()
        if not shown.GetParentTransformNode().GetMatrixTransformToWorld(to_world):
            raise InputProblem(_("{name} lies under a transform that bends it; measure before applying that one.").format(name=frames.name))
        vtk.vtkMatrix4x4.Multiply4x4(to_world, matrix, matrix)
    return _as_array(matrix)


def _region_of_roi(roi, frames: Frames) -> Region:
    to_roi = np.linalg.inv(_as_array(roi.GetObjectToWorldMatrix())) @ pixel_to_world(frames)
    half = np.array(roi.GetSize()) / 2
    height, width = frames.shape
    row, column = np.arange(height)[:, None], np.arange(width)
    # The box's axis nearest to the slices' normal is its depth; on frames, which have none, it does not count.
    depth = int(np.argmax(np.abs(to_roi[:3, 2]) / np.linalg.norm(to_roi[:3, :3], axis=0)[2]))
    within = [axis for axis in range(3) if axis != depth]
    middle = frames.first if frames.kind == "volume" else 0
    mask = np.ones((height, width), bool)
    for axis in within:
        along, across = to_roi[axis, 0] * column, to_roi[axis, 1] * row + to_roi[axis, 2] * middle + to_roi[axis, 3]
        for band in bands(height, width):
            mask[band] &= np.abs(along + across[band]) <= half[axis]
    numbers = frames.numbers
    if frames.kind == "volume" and mask.any():
        rows, columns = np.nonzero(mask)
        centre = to_roi[depth, :2] @ [columns.mean(), rows.mean()] + to_roi[depth, 3]
        inside = [number for number in numbers if abs(centre + to_roi[depth, 2] * number) <= half[depth]]
        numbers = range(inside[0], inside[-1] + 1) if inside else range(0)
    return _boxed(roi.GetName(), mask, numbers, frames)


def _region_of_segment(node, segment: str, frames: Frames) -> Region:
    name = node.GetSegmentation().GetSegment(segment).GetName()
    reference = frames.proxy if frames.proxy is not None else frame_volume(frames, frames.first)
    try:
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, segment, reference).astype(bool)
    except RuntimeError as error:
        raise InputProblem(_("The segment {name} cannot be laid over {frames}; draw it on the frames.").format(
            name=name, frames=frames.name)) from error
    if frames.kind != "volume":
        return _boxed(name, mask.any(axis=0), frames.numbers, frames)
    inside = [number for number in frames.numbers if mask[number].any()]
    numbers = range(inside[0], inside[-1] + 1) if inside else range(0)
    return _boxed(name, mask[numbers.start : numbers.stop], numbers, frames)


def _boxed(name: str, mask: np.ndarray, numbers: range, frames: Frames) -> Region:
    """A region cut to the smallest box around its pixels."""
    flat = mask if mask.ndim == 2 else mask.any(axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if not len(numbers) or not len(rows):
        raise InputProblem(_("The region {name} lies outside {frames}; move it onto the frames.").format(name=name, frames=frames.name))
    if flat.sum() < FEWEST_PIXELS:
        raise InputProblem(_("The region {name} has {count} pixels, too few to tell noise; make it {fewest} pixels or larger.").format(
            name=name, count=flat.sum(), fewest=FEWEST_PIXELS))
    rows, columns = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return Region(name, rows, columns, mask[..., rows, columns].copy(), numbers)


def _as_array(matrix) -> np.ndarray:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
