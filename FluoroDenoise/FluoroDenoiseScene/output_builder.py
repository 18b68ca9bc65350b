"""A result built aside, frame by frame, and put into the scene whole: there is never half a sequence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .frames import (
    PIECE_BYTES,
    PREFIX,
    SOURCE_UIDS,
    UIDS,
    Frames,
    InputProblem,
    frame_volume,
    sequence_of,
    shown_volume,
    source_uids,
)
from .placement import join_browser, same_folder, show_like

SOURCE_ROLE = "FluoroDenoise.Source"  # the node reference from a result to its input


def stored(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Values in another type: for integers rounded, halves to even, and clipped to what the type holds."""
    if values.dtype == dtype or dtype.kind == "f":
        return values.astype(dtype, copy=False)
    limits = np.iinfo(dtype)
    # Wide enough for the limits of both types; float32 does not hold those of 32-bit integers.
    if values.dtype.kind == "f":
        values = np.rint(values if dtype.itemsize < 4 else values.astype(np.float64))
    else:
        values = values.astype(np.int64)
    return np.clip(values, limits.min, limits.max).astype(dtype)


class OutputBuilder:
    """The result of some frames: a sequence for a sequence, a volume for a volume.

    Frames are added in order; memory: the result, and one frame. Nothing of it is in the scene until `finish`, and an
    existing output node is left alone until then. Index strings, geometry and attributes are those of the input's frames.
    """

    def __init__(self, frames: Frames, output_node=None, name: str = "",
                 provenance: Mapping[str, str] | None = None, dtype=None):
        """output_node: replaced by the result; a new node by default. name: of a new node. provenance: kept as attributes.

        dtype: that of the input by default. Raises InputProblem if the result cannot be written to output_node.
        """
        self._frames = frames
        self._existing = self._usable(output_node)
        self._scene = frames.node.GetScene()
        self._name = name or f"{frames.name} denoised"
        self.dtype = np.dtype(dtype or frames.dtype)
        self.added = 0
        said = {**(provenance or {}), "FirstFrame": frames.first, "LastFrame": frames.last}
        self._provenance = {PREFIX + key: str(value) for key, value in said.items()}
        self._aside = (_Sequence if frames.kind == "sequence" else _Volume)(frames, self.dtype, self._provenance)

    @property
    def count(self) -> int:
        return self._frames.count

    @property
    def complete(self) -> bool:
        return self.added == self.count

    def add(self, array: np.ndarray) -> None:
        """Take the next frame [H, W] or frames [n, H, W], of any type; values are rounded and clipped to the output's."""
        stack = array[None] if array.ndim == 2 else array
        if self._aside is None:
            raise ValueError("This output was finished or discarded; make a new one.")
        if stack.shape[1:] != self._frames.shape or self.added + len(stack) > self.count:
            raise ValueError(
                f"An array of shape {array.shape} does not fit: {self.count - self.added} frames of "
                f"{self._frames.shape[0]}x{self._frames.shape[1]} are still to come."
            )
        for frame in stack:
            room = self.next_frame()
            self._require_finite(frame)
            room[:] = stored(frame, self.dtype)

    def add_file(self, path) -> Iterator[tuple[int, int]]:
        """Take all frames of a .npy file [T, H, W]; yields (frames added, frames) after every 2 MB or less."""
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            (count, *shape), in_columns, dtype = read_header(file)
            if in_columns or tuple(shape) != self._frames.shape or count != self.count - self.added:
                raise ValueError(f"The file holds {count} frames of {shape}, which are not the {self.count - self.added} still to come.")
            height, width = shape
            rows = min(max(1, PIECE_BYTES // (width * dtype.itemsize)), height)
            piece = np.empty((rows, width), dtype)
            for place in range(count):
                room = self.next_frame()
                for top in range(0, height, rows):
                    here = piece[: min(rows, height - top)]
                    if file.readinto(here) != here.nbytes:
                        raise ValueError("The file ends before its last frame.")
                    self._require_finite(here)
                    room[top : top + rows] = stored(here, self.dtype)
                    yield self.added - (top + rows < height), self.count

    def next_frame(self) -> np.ndarray:
        """Room for the next frame, [H, W] of the output's type, its values not yet set."""
        self.added += 1
        return self._aside.next_frame(self.added - 1)

    def _require_finite(self, values: np.ndarray) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise ValueError(f"Frame {self.added} of the result holds infinite or missing values; nothing is written.")

    def finish(self, window_level: tuple[float, float] | None = None):
        """Put the result into the scene and return its node.

        window_level: those of the input by default. ValueError if frames are missing; InputProblem if the input or the
        output node has left the scene meanwhile. The builder is empty afterwards.
        """
        if not self.complete or self._aside is None:
            raise ValueError(f"The result has {self.added} of {self.count} frames; nothing is written.")
        for node in filter(None, (self._frames.node, self._existing)):
            if node.GetScene() is not self._scene:
                raise InputProblem(_("{name} was removed from the scene, so the result has no place; start again.").format(name=node.GetName()))
        aside, self._aside = self._aside, None
        node = self._existing
        if node is None:
            node = aside.node
            node.SetName(self._scene.GenerateUniqueName(self._name))
            self._scene.AddNode(node)
        else:
            aside.replace(node)
        _set_provenance(node, {**self._provenance, SOURCE_UIDS: " ".join(self._frames.source_uids)})
        node.SetNodeReferenceID(SOURCE_ROLE, self._frames.node.GetID())
        self._place(node, window_level)
        return node

    def discard(self) -> None:
        """Drop what was added. The scene is as it was."""
        self._aside = None

    def _place(self, node, window_level) -> None:
        frames = self._frames
        same_folder(node, frames.node)
        if frames.kind != "sequence":
            show_like(node, frames.proxy, window_level)
            return
        if node.GetStorageNode() is None:
            storage = self._scene.AddNewNodeByClass("vtkMRMLVolumeSequenceStorageNode")
            node.SetAndObserveStorageNodeID(storage.GetID())
        proxy, source = join_browser(self._scene, frames.node, node), shown_volume(frames.node)
        show_like(proxy, source, window_level)
        same_folder(proxy, source)

    def _usable(self, node):
        """The node to replace; None for a new one."""
        if node is None:
            return None
        frames = self._frames
        if node.GetScene() is None:
            raise InputProblem(_("{name} is not in the scene any more; choose another output.").format(name=node.GetName()))
        sequence = sequence_of(node)
        target = node if sequence is None else sequence
        if target is frames.node:
            raise InputProblem(_("{name} is the input; choose another output, so that the original is kept.").format(name=frames.name))
        wanted = "vtkMRMLSequenceNode" if frames.kind == "sequence" else "vtkMRMLScalarVolumeNode"
        if target.GetClassName() != wanted:
            sentence = (_("{name} is a sequence, so its result cannot be written to {output}; choose a sequence or a new node as output.")
                        if frames.kind == "sequence" else
                        _("{name} is a volume, so its result cannot be written to {output}; choose a volume or a new node as output."))
            raise InputProblem(sentence.format(name=frames.name, output=node.GetName()))
        return target


class _Sequence:
    """A sequence outside the scene."""

    def __init__(self, frames: Frames, dtype: np.dtype, provenance: Mapping[str, str]):
        self._shape, self._dtype, source = frames.shape, dtype, frames.node
        # Taken now: the input may be edited before the last frame comes.
        self._indices = frames.indices
        self._templates = [_like(frame_volume(frames, number), provenance) for number in frames.numbers]
        self.node = slicer.vtkMRMLSequenceNode()
        _copy_index(self.node, source)

    def next_frame(self, place: int) -> np.ndarray:
        """Room for the frame at a place, [H, W]."""
        volume = self.node.SetDataNodeAtValue(self._templates[place], self._indices[place])
        volume.SetAndObserveImageData(_room((1, *self._shape), self._dtype))
        return slicer.util.arrayFromVolume(volume)[0]

    def replace(self, node) -> None:
        """Make another sequence this one. Pixels are shared, not copied, so that it takes no time to speak of."""
        with slicer.util.NodeModify(node):
            node.RemoveAllDataNodes()
            _copy_index(node, self.node)
            for place, index in enumerate(self._indices):
                volume = node.SetDataNodeAtValue(self._templates[place], index)
                volume.SetAndObserveImageData(self.node.GetNthDataNode(place).GetImageData())


class _Volume:
    """A volume outside the scene."""

    def __init__(self, frames: Frames, dtype: np.dtype, provenance: Mapping[str, str]):
        self.node = _like(frames.node, provenance)
        to_ras = vtk.vtkMatrix4x4()
        frames.node.GetIJKToRASMatrix(to_ras)
        self.node.SetOrigin(to_ras.MultiplyPoint((0, 0, frames.first, 1))[:3])
        image = _room((frames.count, *frames.shape), dtype)
        self.node.SetAndObserveImageData(image)

    def next_frame(self, place: int) -> np.ndarray:
        """Room for the slice at a place, [H, W]."""
        return slicer.util.arrayFromVolume(self.node)[place]

    def replace(self, node) -> None:
        """Make another volume this one, without copying pixels."""
        to_ras = vtk.vtkMatrix4x4()
        self.node.GetIJKToRASMatrix(to_ras)
        with slicer.util.NodeModify(node):
            node.SetIJKToRASMatrix(to_ras)
            node.SetAndObserveImageData(self.node.GetImageData())
            node.SetVoxelValueUnits(self.node.GetVoxelValueUnits())
            node.SetVoxelValueQuantity(self.node.GetVoxelValueQuantity())


def _room(shape: tuple[int, int, int], dtype: np.dtype):
    """Image data of slices, rows and columns, its values not yet set."""
    image = vtk.vtkImageData()
    image.SetDimensions(*shape[::-1])
    image.AllocateScalars(numpy_support.get_vtk_array_type(dtype), 1)
    return image


def _copy_index(target, source) -> None:
    # The tolerance first: values closer than it overwrite each other.
    target.SetNumericIndexValueTolerance(source.GetNumericIndexValueTolerance())
    target.SetIndexType(source.GetIndexType())
    target.SetIndexName(source.GetIndexName())
    target.SetIndexUnit(source.GetIndexUnit())


def _like(source, provenance: Mapping[str, str]):
    """A volume without pixels, of the same geometry, units and attributes, that is not taken for the DICOM original."""
    volume = slicer.vtkMRMLScalarVolumeNode()
    volume.SetName(source.GetName())
    to_ras = vtk.vtkMatrix4x4()
    source.GetIJKToRASMatrix(to_ras)
    volume.SetIJKToRASMatrix(to_ras)
    volume.SetVoxelValueUnits(source.GetVoxelValueUnits())
    volume.SetVoxelValueQuantity(source.GetVoxelValueQuantity())
    for key in source.GetAttributeNames():
        volume.SetAttribute(key, source.GetAttribute(key))
    volume.RemoveAttribute(UIDS)
    _set_provenance(volume, {**provenance, SOURCE_UIDS: " ".join(source_uids([source]))})
    return volume


def _set_provenance(node, provenance: Mapping[str, str]) -> None:
    """Keep what made a node as its attributes, and nothing of an earlier making."""
    for key in [key for key in node.GetAttributeNames() if key.startswith(PREFIX)]:
        node.RemoveAttribute(key)
    for key, value in provenance.items():
        if value:
            node.SetAttribute(key, value)
