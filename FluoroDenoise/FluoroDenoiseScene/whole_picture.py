"""A view that shows all of its volume, also after its size has changed."""

from __future__ import annotations

import vtk
from slicer.util import VTKObservationMixin


class WholePicture(VTKObservationMixin):
    """Fits a view to its volumes, and again whenever it gets another size, until somebody zooms, moves or browses it.

    A new view gets its size after it was fitted; Slicer then keeps its height in mm, and a narrow view would show a strip.
    """

    def __init__(self, logic):
        VTKObservationMixin.__init__(self)
        self._logic, self._fitting = logic, False
        self._fit()
        self.addObserver(logic.GetSliceNode(), vtk.vtkCommand.ModifiedEvent, self._changed)

    def close(self) -> None:
        """Leave the view to itself."""
        self.removeObservers()

    def _changed(self, caller, event) -> None:
        if self._fitting or caller.GetDimensions() == self._size:
            return
        if self._place() == self._fitted:
            self._fit()
        else:
            self._size = caller.GetDimensions()

    def _fit(self) -> None:
        self._fitting = True
        self._logic.FitSliceToAll()
        self._logic.SnapSliceOffsetToIJK()
        self._fitting = False
        self._size, self._fitted = self._logic.GetSliceNode().GetDimensions(), self._place()

    def _place(self) -> tuple:
        """What a person changes by zooming, moving and browsing, and a change of size does not."""
        node = self._logic.GetSliceNode()
        to_ras = node.GetSliceToRAS()
        axes = tuple(to_ras.GetElement(row, column) for row in range(3) for column in range(4))
        return node.GetFieldOfView()[1], tuple(node.GetXYZOrigin()), axes
