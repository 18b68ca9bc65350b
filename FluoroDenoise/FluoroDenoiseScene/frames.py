"""Frames of a node in the scene: what they are, and how to read them without moving anything the user sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import slicer
from slicer.i18n import tr as _
from vtk.util import numpy_support

PIECE_BYTES = 2 << 20  # copied between two returns to the event loop; some milliseconds
UIDS = "DICOM.instanceUIDs"
PREFIX = "FluoroDenoise."  # of every attribute we set
SOURCE_UIDS = PREFIX + "SourceInstanceUIDs"
SECONDS = {"s": 1.0, "sec": 1.0, "seconds": 1.0, "ms": 1e-3}


class InputProblem(ValueError):
    """A node that cannot be denoised, or written to, in one sentence for a person."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Some or all frames of a node, in order.

    node: the sequence ("sequence"), or the volume whose slices are frames ("slices") or lie side by side ("volume").
    proxy: the volume that shows them in the views, None for a sequence without a browser.
    first, last: numbers in the node, from 0, both included; total: how many the node holds.
    shape: rows, columns. spacing_mm: between rows, between columns; slice_mm: between slices, of a volume. indices: the sequence's own strings.
    stamps: when each frame was last modified, as MRML counts it.
    """

    node: object
    proxy: object | None
    kind: str
    first: int
    last: int
    total: int
    shape: tuple[int, int]
    dtype: np.dtype
    indices: tuple[str, ...]
    index_name: str
    index_unit: str
    spacing_mm: tuple[float, float]
    source_uids: tuple[str, ...]
    stamps: tuple[int, ...]
    slice_mm: float | None = None

    @property
    def name(self) -> str:
        return self.node.GetName()

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    @property
    def numbers(self) -> range:
        return range(self.first, self.last + 1)

    @property
    def nbytes(self) -> int:
        return self.count * self.shape[0] * self.shape[1] * self.dtype.itemsize

    @property
    def times_s(self) -> tuple[float, ...] | None:
        """When each frame was taken; None if the node does not say."""
        if self.kind != "sequence" or self.index_unit not in SECONDS:
            return None
        return tuple(float(index) * SECONDS[self.index_unit] for index in self.indices)

    def narrowed(self, first: int, last: int) -> Frames:
        """The same with fewer frames; first and last are numbers in the node."""
        if not self.first <= first <= last <= self.last:
            raise InputProblem(_("Frames {first} to {last} were asked for, but {name} has frames {from_} to {to} to choose from; "
                                 "choose a range inside.").format(first=first + 1, last=last + 1, name=self.name,
                                                                  from_=self.first + 1, to=self.last + 1))
        start, stop = first - self.first, last - self.first + 1
        stamps = self.stamps[start:stop] if self.kind == "sequence" else self.stamps
        return replace(self, first=first, last=last, indices=self.indices[start:stop], stamps=stamps)

    def changed(self) -> bool:
        """Whether a frame was edited, added or removed, or the node left its scene, since this was made."""
        if self.node.GetScene() is None:
            return True
        if self.kind != "sequence":
            return self.stamps != (stamp(self.node),)
        if self.node.GetNumberOfDataNodes() != self.total:
            return True
        return self.stamps != tuple(stamp(self.node.GetNthDataNode(number)) for number in self.numbers)


def sequence_of(node):
    """The sequence that a node is, or that a volume is shown from; None for a volume of its own."""
    if node.IsA("vtkMRMLSequenceNode"):
        return node
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(node)
    return browser.GetSequenceNode(node) if browser else None


def browser_of(sequence):
    """The first sequence browser that plays a sequence, or None."""
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForSequenceNode(sequence)


def shown_volume(node):
    """The volume that shows a node in the views: a sequence's proxy (None without a browser), or the volume itself."""
    if node is None or not node.IsA("vtkMRMLSequenceNode"):
        return node
    browser = browser_of(node)
    return browser.GetProxyNode(node) if browser else None


def frame_volume(frames: Frames, number: int):
    """The volume node that holds a frame: the sequence's own data node, or the volume of all slices; None if it is gone."""
    if frames.kind != "sequence":
        return frames.node
    return frames.node.GetNthDataNode(number) if number < frames.node.GetNumberOfDataNodes() else None


def frame_view(frames: Frames, number: int) -> np.ndarray:
    """One frame [H, W] in the node's own memory: to read, not to keep. number counts in the node.

    Raises InputProblem if the node is not what it was, since users may edit it while a job runs.
    """
    volume = frame_volume(frames, number)
    depth = 1 if frames.kind == "sequence" else frames.total
    image = volume.GetImageData() if volume else None
    if image is None or layout(image) != (depth, *frames.shape, frames.dtype, 1):
        raise InputProblem(_("{name} was changed while it was being read; start again.").format(name=frames.name))
    stack = slicer.util.arrayFromVolume(volume)
    return stack[0] if frames.kind == "sequence" else stack[number]


def read_frame(frames: Frames, number: int) -> np.ndarray:
    """A copy of one frame [H, W]; number counts in the node."""
    return frame_view(frames, number).copy()


def current_frame(frames: Frames) -> int:
    """The number of the frame on show, moved into the chosen range; a volume's middle slice."""
    browser = browser_of(frames.node) if frames.kind == "sequence" else None
    if browser is None:
        return (frames.first + frames.last) // 2
    # The browser counts the items of its master; another sequence of it may hold fewer.
    master = browser.GetMasterSequenceNode()
    shown = master.GetNthIndexValue(max(browser.GetSelectedItemNumber(), 0))
    number = frames.node.GetItemNumberFromIndexValue(shown, False)
    return min(max(number, frames.first), frames.last)


def save_frames(frames: Frames, path) -> Iterator[tuple[int, int]]:
    """Write the frames as .npy [T, H, W], stored values unchanged; yields (frames done, frames) after every 2 MB or less.

    Memory: none to speak of. The file is removed if this is closed, or fails, before its end.
    """
    path = Path(path)
    height, width = frames.shape
    rows = max(1, PIECE_BYTES // (width * frames.dtype.itemsize))
    header = {"descr": np.lib.format.dtype_to_descr(frames.dtype), "fortran_order": False,
              "shape": (frames.count, height, width)}
    try:
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for done, number in enumerate(frames.numbers):
                for top in range(0, height, rows):
                    frame = frame_view(frames, number)
                    file.write(np.ascontiguousarray(frame[top : top + rows]))
                    yield done + (top + rows >= height), frames.count
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def layout(image) -> tuple:
    """(slices, rows, columns, type, values per pixel) of image data."""
    columns, rows, slices = image.GetDimensions()
    dtype = np.dtype(numpy_support.get_numpy_array_type(image.GetScalarType()))
    return slices, rows, columns, dtype, image.GetNumberOfScalarComponents()


def stamp(volume) -> int:
    image = volume.GetImageData() if volume else None
    return max(volume.GetMTime(), image.GetMTime()) if image else -1


def source_uids(volumes) -> tuple[str, ...]:
    """The DICOM instances that volumes come from, directly or through an earlier result, each once, in order."""
    texts = (volume.GetAttribute(UIDS) or volume.GetAttribute(SOURCE_UIDS) or "" for volume in volumes)
    return tuple(dict.fromkeys(uid for text in texts for uid in text.split()))
