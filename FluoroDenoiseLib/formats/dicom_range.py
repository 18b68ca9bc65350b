"""Some of the frames of a DICOM run: what its header says frame by frame is cut, what counts frames is counted anew.

Section numbers are those of DICOM PS3.3.
"""

from __future__ import annotations

import copy
from dataclasses import replace

from pydicom import Dataset
from pydicom.sequence import Sequence

from ..errors import InputError
from ..fluoro_run import FluoroRun
from .dicom_reading import OVERLAYS, refusing_damage
from .overlay_range import cut_overlay

# One value a frame: C.7.6.5 Cine, C.8.7.5 positioner, C.8.7.4 table, C.7.6.6 multi-frame.
PER_FRAME = (
    "FrameTimeVector", "PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement", "TableVerticalIncrement",
    "TableLateralIncrement", "TableLongitudinalIncrement", "TableAngle", "FrameLabelVector", "FramePrimaryAngleVector",
    "FrameSecondaryAngleVector", "SliceLocationVector", "DisplayWindowLabelVector",
)  # fmt: skip
# They sum over all frames, or name other objects frame by frame.
OF_ALL_FRAMES = ("RecommendedViewingMode", "EffectiveDuration", "ReferencedImageSequence")
OF_INTEREST = ("FrameNumbersOfInterest", "FrameOfInterestDescription", "FrameOfInterestType")  # value n of each belongs together


def frame_range(run: FluoroRun, first: int, count: int) -> FluoroRun:
    """The run of `count` frames of a DICOM run, beginning with `first`, counted from 0; the run itself for all of them.

    InputError where the run has no such frames.
    """
    if first < 0 or count < 1 or first + count > len(run):
        raise InputError(
            f"{run.source.name} has frames 0 to {len(run) - 1}, not {first} to {first + count - 1}; name the run that was denoised."
        )
    if count == len(run):
        return run
    times = run.frame_times_s[first : first + count]
    with refusing_damage(run.source.name, "cutting its header"):
        header = _cut(run.source.header, first, count, len(run))
    source = replace(run.source, header=header, part=(first + 1, first + count))
    return replace(run, frames=_Part(run.frames, first, count), source=source,
                   frame_times_s=tuple(time - times[0] for time in times))


class _Part:
    """Consecutive frames of a sequence, read when asked for."""

    def __init__(self, frames, first: int, count: int) -> None:
        self._frames, self._numbers = frames, range(first, first + count)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int):
        return self._frames[self._numbers[index]]


def _cut(header: Dataset, first: int, count: int, total: int) -> Dataset:
    cut = copy.deepcopy(header)
    cut.NumberOfFrames = count
    for keyword in PER_FRAME:
        values = cut.get(keyword)
        if values is None or isinstance(values, (str, bytes)) or not hasattr(values, "__len__") or len(values) != total:
            continue
        values = list(values)[first : first + count]
        if keyword == "FrameTimeVector":
            values[0] = 0  # its first value is the start
        setattr(cut, keyword, values if len(values) > 1 else values[0])
    for keyword in OF_ALL_FRAMES:
        if keyword in cut:
            delattr(cut, keyword)
    if "PerFrameFunctionalGroupsSequence" in cut:
        groups = cut.PerFrameFunctionalGroupsSequence
        cut.PerFrameFunctionalGroupsSequence = Sequence(list(groups)[first : first + count])
    _renumber(cut, first, count)
    for group in OVERLAYS:
        cut_overlay(cut, group, first, count)
    return cut


def _renumber(cut: Dataset, first: int, count: int) -> None:
    """C.7.6.5 trims and representative frame, C.7.6.10 masks, C.7.6.12 frames of interest, R waves: all from 1."""
    _set(cut, "RepresentativeFrameNumber", [n for n in _moved(cut, "RepresentativeFrameNumber", first) if 1 <= n <= count])
    _set(cut, "RWavePointer", [n for n in _moved(cut, "RWavePointer", first) if 1 <= n <= count])
    trims = [*_moved(cut, "StartTrim", first)[:1], *_moved(cut, "StopTrim", first)[:1]]
    shown = [max(1, trims[0]), min(count, trims[1])] if len(trims) == 2 else [1, count]
    for keyword, number in zip(("StartTrim", "StopTrim"), shown):
        # Trims that leave everything, or nothing, say nothing.
        _set(cut, keyword, [number] if shown[0] <= shown[1] and shown != [1, count] else [])
    numbers = _moved(cut, "FrameNumbersOfInterest", first)
    inside = [place for place, number in enumerate(numbers) if 1 <= number <= count]
    for keyword in OF_INTEREST:
        values = _list(cut, keyword)
        moved = numbers if keyword == "FrameNumbersOfInterest" else values
        _set(cut, keyword, [moved[place] for place in inside] if len(values) == len(numbers) else [])
    if "MaskSubtractionSequence" in cut:
        masks = [mask for mask in map(lambda item: _mask(item, first, count), cut.MaskSubtractionSequence) if mask is not None]
        if masks:
            cut.MaskSubtractionSequence = Sequence(masks)
        else:
            del cut.MaskSubtractionSequence


def _mask(item: Dataset, first: int, count: int) -> Dataset | None:
    """How to subtract among these frames; None where the mask, or all that it applies to, lies outside."""
    mask = copy.deepcopy(item)
    ends = _moved(mask, "ApplicableFrameRange", first)
    ranges = [(max(1, begin), min(count, end)) for begin, end in zip(ends[::2], ends[1::2]) if begin <= count and end >= 1]
    if ends and not ranges:
        return None
    numbers = _moved(mask, "MaskFrameNumbers", first)
    if any(not 1 <= number <= count for number in numbers):
        return None
    # REV_TID counts back from the first frame of the range (C.7.6.10.1): another first frame is another subtraction.
    if mask.get("MaskOperation") == "REV_TID" and (first > 0 if not ends else ranges[0][0] != ends[0]):
        return None
    _set(mask, "ApplicableFrameRange", [end for pair in ranges for end in pair])
    _set(mask, "MaskFrameNumbers", numbers)
    return mask


def _list(header: Dataset, keyword: str) -> list:
    value = header.get(keyword)
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__len__") and not isinstance(value, str) else [value]


def _moved(header: Dataset, keyword: str, first: int) -> list[int]:
    """The frame numbers of an attribute, counted from 1 in the part that begins after `first` frames."""
    return [int(number) - first for number in _list(header, keyword)]


def _set(header: Dataset, keyword: str, values: list) -> None:
    if keyword in header:
        if values:
            setattr(header, keyword, values if len(values) > 1 else values[0])
        else:
            delattr(header, keyword)
