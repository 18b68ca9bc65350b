"""A curtain over one view: the input on its left, the output on its right."""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin


class Curtain(VTKObservationMixin):
    """The part of a result right of the curtain, laid over the source as a volume of its own.

    The source stays the view's background, so that slices are browsed and frames played as ever. Every frame or slice
    costs a copy of the part on show. `close` removes the volume and the observers.
    """

    def __init__(self, logic, source, result, position: float):
        VTKObservationMixin.__init__(self)
        self._logic, self._result, self._position = logic, result, position
        self._mirrored = _runs_leftwards(logic.GetSliceNode(), source)
        self._part = result.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FluoroDenoise curtain")
        self._part.SaveWithSceneOff()
        self._part.HideFromEditorsOn()
        # The same display node: window, level and colours cannot differ.
        self._part.SetAndObserveDisplayNodeID(result.GetDisplayNodeID())
        self._part.SetAndObserveTransformNodeID(result.GetTransformNodeID())
        composite = logic.GetSliceCompositeNode()
        composite.SetForegroundOpacity(1.0)
        self.addObserver(result, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent, self._draw)
        self.addObserver(logic.GetSliceNode(), vtk.vtkCommand.ModifiedEvent, self._follow_slice)
        self._slice = None
        self._draw()

    def move(self, position: float) -> None:
        """Draw the curtain to a position from 0, all output, to 1, all input."""
        self._position = min(max(position, 0.0), 1.0)
        self._draw()

    def close(self) -> None:
        """Take the curtain away."""
        self.removeObservers()
        self._logic.GetSliceCompositeNode().SetForegroundVolumeID(None)
        if self._part.GetScene() is not None:
            self._part.GetScene().RemoveNode(self._part)

    def _follow_slice(self, caller=None, event=None) -> None:
        if self._slice != self._shown_slice():
            self._draw()

    def _draw(self, caller=None, event=None) -> None:
        composite = self._logic.GetSliceCompositeNode()
        image = self._result.GetImageData()
        columns = image.GetDimensions()[0] if image else 0
        edge = round(self._position * columns)
        if self._mirrored:
            start, stop = 0, columns - edge
        else:
            start, stop = edge, columns
        if start >= stop:
            composite.SetForegroundVolumeID(None)
            return
        self._slice = self._shown_slice()
        array = slicer.util.arrayFromVolume(self._result)[self._slice : self._slice + 1, :, start:stop]
        to_ras = vtk.vtkMatrix4x4()
        self._result.GetIJKToRASMatrix(to_ras)
        origin = to_ras.MultiplyPoint((start, 0, self._slice, 1))
        with slicer.util.NodeModify(self._part):
            self._part.SetIJKToRASMatrix(to_ras)
            self._part.SetOrigin(origin[:3])
            slicer.util.updateVolumeFromArray(self._part, array)
        composite.SetForegroundVolumeID(self._part.GetID())

    def _shown_slice(self) -> int:
        """Which slice of the result the view lies in."""
        image = self._result.GetImageData()
        depth = image.GetDimensions()[2] if image else 1
        to_ras = self._logic.GetSliceNode().GetSliceToRAS()
        point = [0.0, 0.0, 0.0]
        self._result.TransformPointFromWorld([to_ras.GetElement(row, 3) for row in range(3)], point)
        to_ijk = vtk.vtkMatrix4x4()
        self._result.GetRASToIJKMatrix(to_ijk)
        return min(max(round(to_ijk.MultiplyPoint((*point, 1))[2]), 0), depth - 1)


def direction(volume, axis: int) -> list[float]:
    """Where an axis of a volume points to in the world (0 columns, 1 rows, 2 slices): a step of one voxel, mm."""
    to_ras = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(to_ras)
    start, end = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    volume.TransformPointToWorld([to_ras.GetElement(row, 3) for row in range(3)], start)
    volume.TransformPointToWorld([to_ras.GetElement(row, 3) + to_ras.GetElement(row, axis) for row in range(3)], end)
    return [after - before for after, before in zip(end, start)]


def _runs_leftwards(slice_node, volume) -> bool:
    """Whether the columns of a volume run from right to left on the screen."""
    across = slice_node.GetSliceToRAS()
    return sum(step * across.GetElement(row, 0) for row, step in enumerate(direction(volume, 0))) < 0
