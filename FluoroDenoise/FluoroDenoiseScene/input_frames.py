"""The frames a user means by a node: found and checked, each problem in a sentence with its way out."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _

from .frames import Frames, InputProblem, layout, sequence_of, shown_volume, source_uids, stamp

SUPPORTED_TYPES = ("u1", "i1", "u2", "i2", "f4", "f8")  # those the library denoises and writes back unchanged in type
SIDE_BY_SIDE_MODALITIES = ("CT", "MR", "PT", "NM")
HOUNSFIELD = "[hnsf'U]"  # as core's DICOM reader states it for CT


def resolve_input(node, first: int | None = None, last: int | None = None, kind: str | None = None) -> Frames:
    """The frames meant by a sequence, by the volume that shows one, or by a volume.

    first, last: numbers from 0, both included; all frames by default. kind: "slices" or "volume" overrules what a volume
    seems to be. Raises InputProblem with a sentence for the user. Nothing in the scene is changed.
    """
    frames = frames_of(node, kind)
    first, last = frames.first if first is None else int(first), frames.last if last is None else int(last)
    chosen = frames.narrowed(first, last)
    if chosen.count == 1:
        sentence = (_("Only one frame is chosen in {name}; noise is told from the picture by comparing neighbours, so at least 2 are needed.")
                    if frames.total > 1 else
                    _("There is only one frame in {name}; noise is told from the picture by comparing neighbours, so at least 2 are needed."))
        raise InputProblem(sentence.format(name=chosen.name))
    return chosen


def frames_of(node, kind: str | None = None) -> Frames:
    """All frames of a node, even if there is only one; as `resolve_input` otherwise."""
    if node is None:
        raise InputProblem(_("No input is chosen; choose a sequence or a volume."))
    if node.GetScene() is None:
        raise InputProblem(_("{name} is not in the scene any more; choose another input.").format(name=node.GetName()))
    sequence = sequence_of(node)
    return _frames_of_volume(node, kind) if sequence is None else _frames_of_sequence(sequence)


def _frames_of_sequence(sequence) -> Frames:
    name, total = sequence.GetName(), sequence.GetNumberOfDataNodes()
    if total == 0:
        raise InputProblem(_("{name} is empty; choose a sequence that holds frames.").format(name=name))
    if sequence.GetIndexType() == sequence.TextIndex:
        raise InputProblem(_("{name} is indexed by text ({text}), which says nothing of the order in time; set its index type to "
                             "numeric in the Sequences module.").format(name=name, text=repr(sequence.GetNthIndexValue(0))))
    nodes = [sequence.GetNthDataNode(number) for number in range(total)]
    # Python's objects for those of VTK are slow to make; held in a list, those of the images are made once.
    images = [node.GetImageData() if node and node.IsA("vtkMRMLVolumeNode") else None for node in nodes]
    for number, (node, image) in enumerate(zip(nodes, images)):
        _require_grey(node, _("Frame {number} of {name}").format(number=number + 1, name=name))
        depth = image.GetDimensions()[2]
        if depth != 1:
            raise InputProblem(_("Frame {number} of {name} has {depth} slices, but a frame is one image; choose a sequence of images, "
                                 "or one volume.").format(number=number + 1, name=name, depth=depth))
    of_first = layout(images[0])
    height, width, dtype = of_first[1:4]
    for number, image in enumerate(images):
        if layout(image) != of_first:
            other_height, other_width, other_dtype = layout(image)[1:4]
            raise InputProblem(_("Frame {number} of {name} is {size} but the first is {first}; split the sequence where the frames "
                                 "change.").format(number=number + 1, name=name, size=f"{other_height}x{other_width} {other_dtype}",
                                                   first=f"{height}x{width} {dtype}"))
    spacing = nodes[0].GetSpacing()
    return Frames(
        node=sequence, proxy=shown_volume(sequence), kind="sequence", first=0, last=total - 1, total=total,
        shape=(height, width), dtype=dtype,
        indices=tuple(sequence.GetNthIndexValue(number) for number in range(total)),
        index_name=sequence.GetIndexName() or "", index_unit=sequence.GetIndexUnit() or "",
        spacing_mm=(spacing[1], spacing[0]), source_uids=source_uids(nodes), stamps=tuple(map(stamp, nodes)),
    )


def _frames_of_volume(volume, kind: str | None) -> Frames:
    if kind not in (None, "slices", "volume"):
        raise ValueError(f"A volume is taken as 'slices' or 'volume', not as {kind!r}.")
    _require_grey(volume, volume.GetName())
    total, height, width, dtype = layout(volume.GetImageData())[:4]
    spacing = volume.GetSpacing()
    return Frames(
        node=volume, proxy=volume, kind=kind or _seeming_kind(volume), first=0, last=total - 1, total=total,
        shape=(height, width), dtype=dtype, indices=tuple(map(str, range(total))), index_name="slice", index_unit="",
        spacing_mm=(spacing[1], spacing[0]), source_uids=source_uids([volume]), stamps=(stamp(volume),), slice_mm=spacing[2],
    )


def _require_grey(node, name: str) -> None:
    """InputProblem unless a node is a scalar volume with pixels of one component that can be denoised."""
    if node is None or not node.IsA("vtkMRMLScalarVolumeNode"):
        sentence = (_("{name} is missing; choose a sequence of images or a volume.") if node is None else
                    _("{name} is a {kind}, not a grey image; choose a sequence of images or a volume."))
        raise InputProblem(sentence.format(name=name, kind=node.GetNodeTagName() if node else ""))
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputProblem(_("{name} is a label map, which holds no noise; choose the images it was drawn on.").format(name=name))
    image = node.GetImageData()
    if image is None or 0 in image.GetDimensions() or image.GetScalarPointer() is None:
        raise InputProblem(_("{name} holds no pixels; load or choose another one.").format(name=name))
    components = image.GetNumberOfScalarComponents()
    if components != 1 or node.IsA("vtkMRMLTensorVolumeNode"):
        raise InputProblem(_("{name} has {count} values per pixel, a colour or vector image; only grey images can be denoised, so "
                             "convert it with the module Vector to Scalar Volume.").format(name=name, count=components))
    dtype = layout(image)[3]
    if dtype.str[1:] not in SUPPORTED_TYPES:
        raise InputProblem(_("{name} holds values of type {type}; grey values of 8 or 16 bits or floating point are needed, so "
                             "convert it with the module Cast Scalar Volume.").format(name=name, type=dtype.name))


def _seeming_kind(volume) -> str:
    """"volume" if the slices lie side by side in the body, "slices" if they follow each other in time.

    What DICOM says of it decides; without that, values below zero, as air has in CT.
    """
    modality = modality_of(volume)
    unit = volume.GetVoxelValueUnits()
    if modality:
        return "volume" if modality in SIDE_BY_SIDE_MODALITIES else "slices"
    if unit is not None and unit.GetCodeValue() == HOUNSFIELD:
        return "volume"
    stack = slicer.util.arrayFromVolume(volume)
    return "volume" if min(stack[0].min(), stack[len(stack) // 2].min(), stack[-1].min()) < 0 else "slices"


def modality_of(volume) -> str:
    """The DICOM modality of a volume, as "CT"; "" where the scene does not know it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volume.GetScene())
    item = hierarchy.GetItemByDataNode(volume) if hierarchy else 0
    attribute = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    return hierarchy.GetItemAttribute(item, attribute) if item else ""
