"""One denoised frame on show, before the whole run is."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

from .frames import Frames, frame_volume
from .output_builder import stored
from .placement import same_folder, show_like


def preview_volume(frames: Frames, number: int, array: np.ndarray, node=None):
    """A one-slice volume of a frame's geometry, window/level and colours, holding array [H, W]; not saved with the scene.

    number counts in the input's node. node is used again if given.
    """
    scene = frames.node.GetScene()
    if node is None:
        node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", f"{frames.name} preview")
        node.SaveWithSceneOff()
    source = frame_volume(frames, number)
    to_ras = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(to_ras)
    node.SetIJKToRASMatrix(to_ras)
    if frames.kind != "sequence":
        node.SetOrigin(to_ras.MultiplyPoint((0, 0, number, 1))[:3])
    slicer.util.updateVolumeFromArray(node, stored(array, frames.dtype)[None])
    show_like(node, frames.proxy)
    same_folder(node, frames.proxy)
    return node
