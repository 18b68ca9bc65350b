"""See what denoising did: input, output and difference side by side, or one laid over the other."""

from __future__ import annotations

import slicer
import vtk
from slicer.util import VTKObservationMixin

from .curtain import Curtain, direction
from .frames import shown_volume
from .layouts import (
    INPUT_VIEW,
    OUTPUT_VIEW,
    RESIDUAL_VIEW,
    REVEAL_VIEW,
    SIDE_BY_SIDE,
    SINGLE,
    is_ours,
    layout_node,
    show_layout,
)
from .whole_picture import WholePicture


class Comparison(VTKObservationMixin):
    """One comparison at a time. It keeps observers and a layout until `end_comparison`, which is safe to call always.

    Inputs and outputs are sequences or volumes; sequences of one browser play together. Where there are no views, as
    without a main window, nothing is changed and the answer is False.
    """

    def __init__(self):
        VTKObservationMixin.__init__(self)
        self._previous_layout = None
        self._curtain = None
        self._blinking = None
        self._pictures = []

    @property
    def active(self) -> bool:
        return self._previous_layout is not None

    def show_comparison(self, input_node, output_node, residual_node=None) -> bool:
        """Three views side by side that move and zoom together; input and output keep the same window and level.

        The difference keeps its own window, symmetric about zero.
        """
        volumes = [shown_volume(node) for node in (input_node, output_node, residual_node)]
        logics = self._views(SIDE_BY_SIDE, *volumes[:2])
        if logics is None:
            return False
        for tag, volume in zip((INPUT_VIEW, OUTPUT_VIEW, RESIDUAL_VIEW), volumes):
            self._fill(logics[tag], volume, volumes[0])
        # Linked only now: a linked view hands on every step of being set up.
        for logic in logics.values():
            composite = logic.GetSliceCompositeNode()
            composite.SetLinkedControl(1)
            composite.SetHotLinkedControl(1)
        return True

    def show_curtain(self, input_node, output_node, position: float = 0.5) -> bool:
        """One view with the input left of a curtain and the output right of it; position from 0 (left) to 1."""
        source, result = shown_volume(input_node), shown_volume(output_node)
        logics = self._views(SINGLE, source, result)
        if logics is None:
            return False
        self._fill(logics[REVEAL_VIEW], source, source)
        self._curtain = Curtain(logics[REVEAL_VIEW], source, result, position)
        return True

    def move_curtain(self, position: float) -> None:
        """Draw the curtain to a position from 0 to 1; nothing happens without one."""
        if self._curtain is not None:
            self._curtain.move(position)

    def show_blink(self, input_node, output_node) -> bool:
        """One view that shows the input; each `blink` changes to the output and back."""
        source, result = shown_volume(input_node), shown_volume(output_node)
        logics = self._views(SINGLE, source, result)
        if logics is None:
            return False
        self._fill(logics[REVEAL_VIEW], source, source)
        self._blinking = logics[REVEAL_VIEW].GetSliceCompositeNode()
        self._blinking.SetForegroundVolumeID(result.GetID())
        self._blinking.SetForegroundOpacity(0.0)
        return True

    def blink(self) -> None:
        """Change between input and output on the spot; nothing happens unless `show_blink` was called."""
        if self._blinking is not None:
            self._blinking.SetForegroundOpacity(1.0 - self._blinking.GetForegroundOpacity())

    def end_comparison(self) -> None:
        """Give back the layout that was there before, and let go of every node."""
        self._let_go()
        node = layout_node(slicer.mrmlScene)
        # A user who has chosen another layout meanwhile keeps it.
        if self.active and node is not None and is_ours(node):
            node.SetViewArrangement(self._previous_layout)
        self._previous_layout = None

    def _views(self, layout: int, source, result):
        """Slice logics of our layout, with source and result at the same window and level; None without views or volumes."""
        self._let_go()
        node = layout_node(slicer.mrmlScene)
        if node is None or source is None or result is None:
            return None
        before = node.GetViewArrangement()
        ours = is_ours(node)
        logics = show_layout(node, layout)
        if logics is None:
            return None
        if not (ours and self.active):
            self._previous_layout = before
        self._same_window(source, result)
        return logics

    def _same_window(self, source, result) -> None:
        displays = [volume.GetDisplayNode() for volume in (source, result)]
        if None in displays or displays[0] is displays[1]:
            return

        def follow(leader, follower):
            # Equal values fire nothing, so two followers of each other come to rest.
            follower.AutoWindowLevelOff()
            follower.SetWindowLevel(leader.GetWindow(), leader.GetLevel())

        follow(*displays)
        for leader, follower in (displays, displays[::-1]):
            self.addObserver(
                leader, vtk.vtkCommand.ModifiedEvent, lambda caller, event, follower=follower: follow(caller, follower)
            )

    def _fill(self, logic, volume, plane) -> None:
        """Show one volume, or none, in a view, which lies in the plane of another and shows all of it."""
        composite = logic.GetSliceCompositeNode()
        composite.SetLinkedControl(0)
        composite.SetForegroundVolumeID(None)
        composite.SetLabelVolumeID(None)
        composite.SetBackgroundVolumeID(volume.GetID() if volume else None)
        if volume is not None:
            slice_node = logic.GetSliceNode()
            slice_node.SetOrientation(_nearest_orientation(plane))
            slice_node.RotateToVolumePlane(plane)
            self._pictures.append(WholePicture(logic))

    def _let_go(self) -> None:
        self.removeObservers()
        for picture in self._pictures:
            picture.close()
        self._pictures = []
        if self._curtain is not None:
            self._curtain.close()
            self._curtain = None
        if self._blinking is not None:
            self._blinking.SetForegroundVolumeID(None)
            self._blinking = None


def _nearest_orientation(volume) -> str:
    """Slicer's name of the view that the slices of a volume lie nearest to."""
    across = direction(volume, 2)
    return ("Sagittal", "Coronal", "Axial")[max(range(3), key=lambda row: abs(across[row]))]
