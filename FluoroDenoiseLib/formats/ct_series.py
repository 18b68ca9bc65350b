"""CT volumes from DICOM: a series of single slices, found below a folder, or one multi-frame file (Enhanced CT)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import CTImageStorage, MediaStorageDirectoryStorage

from ..ct_volume import CtVolume
from ..errors import InputError, UnsupportedError
from ..fluoro_run import Source
from .ct_order import Order, in_order
from .ct_slices import CT_CLASSES, SliceFacts, cautions, is_localizer, require_ct, slice_facts
from .decoding import DecoderProcess
from .dicom_in import is_dicom, is_enhanced, require_plain
from .dicom_pixels import CompressedFrames, PixelLayout, open_frames, pixel_layout
from .dicom_reading import quiet_pydicom, refusing_damage
from .lazy_frames import LazyFrames, still_there


@dataclass(frozen=True)
class SeriesFiles:
    """The files of one series, from their headers alone. number: SeriesNumber, None without one. damaged: DICOM files in
    the same folders that cannot be read, so that nobody knows whether they belong to it."""

    uid: str
    number: int | None
    files: tuple[Path, ...]
    damaged: tuple[Path, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder that all of them are in, at whatever depth."""
        first, *others = (path.parent for path in self.files)
        while any(not other.is_relative_to(first) for other in others):
            first = first.parent
        return first


def find_series(files: Iterable[Path]) -> tuple[list[SeriesFiles], list[Path]]:
    """The CT series among files, in the order of their first files; and the DICOM files that cannot be read.

    Reads a few attributes of each. Sound DICOM files of other kinds, and files that are not DICOM, are passed over.
    """
    found: dict[str, list[Path]] = {}
    numbers: dict[str, int | None] = {}
    damaged: list[Path] = []
    for path in sorted(files):
        try:
            if not is_dicom(path):
                damaged += [path] if path.suffix.lower() == ".dcm" else []
                continue
            with quiet_pydicom():
                require_plain(path)
                header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SeriesInstanceUID", "SeriesNumber"])
                sop_class, uid, number = header.get("SOPClassUID"), header.get("SeriesInstanceUID"), header.get("SeriesNumber")
                is_directory = header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
        except Exception:  # pydicom answers damage with many kinds of exception
            damaged.append(path)
            continue
        if not sop_class and is_directory or sop_class and sop_class not in CT_CLASSES:
            continue
        if not sop_class or not uid:
            damaged.append(path)
        else:
            key = str(uid) if sop_class == CTImageStorage else str(path)  # an enhanced object is a volume by itself
            found.setdefault(key, []).append(path)
            numbers.setdefault(key, number if isinstance(number, int) else None)
    return [_series(uid, numbers[uid], paths, damaged) for uid, paths in found.items()], damaged


def _series(uid: str, number: int | None, files: list[Path], damaged: list[Path]) -> SeriesFiles:
    folders = {path.parent for path in files}
    return SeriesFiles(uid, number, tuple(files), tuple(path for path in damaged if path.parent in folders))


def read_series(series: SeriesFiles) -> CtVolume:
    """The volume of a series; every header is checked, every file looked at to its end, and no pixel read yet.

    InputError, UnsupportedError or ResourceError as in_order, slice_facts and pixel_layout raise them.
    """
    folder = series.folder.absolute()
    name = folder.name
    if series.damaged:
        raise InputError(f"{name} holds {series.damaged[0].name}, which cannot be read and may be one of its slices; copy it again, "
                         "or take it away.")
    slices, scouts, first = [], 0, None
    for path in series.files:
        header, layout = _checked_header(path)
        if layout.frames != 1:
            raise InputError(f"{path.name} states NumberOfFrames {layout.frames}, but a CT image has one slice; repair the header.")
        with refusing_damage(path.name, "reading its header"):
            if is_localizer(header):
                scouts += 1
                continue
            slices.append(slice_facts(header, path, layout))
        first = header if first is None else first
    if not slices:
        raise UnsupportedError(f"{name} holds scout views (localizers) only, which are projections; give the series of slices.")
    said = [f"{name} holds scout views beside its slices (localizers, {scouts}); they are left out."] if scouts else []
    order = in_order(slices, name)
    source = Source(folder, "dicom series", slices[0].layout.stored_dtype, order.slices)
    return _volume(SeriesSlices(order.slices), order, source, [*said, *order.warnings, *_cautions(first, name)])


def read_ct_file(path: Path) -> CtVolume:
    """The volume in one DICOM file: the slices of an Enhanced CT, or the one slice of a CT image."""
    header, layout = _checked_header(path)
    if is_enhanced(header) and len(header.get("PerFrameFunctionalGroupsSequence") or ()) != layout.frames:
        raise InputError(f"{path.name} states {layout.frames} frames but describes another number of them; repair the header.")
    with refusing_damage(path.name, "reading its header"):
        if any(is_localizer(header, frame) for frame in range(layout.frames)):
            raise UnsupportedError(f"{path.name} is a scout view (localizer), which is a projection; give the slices.")
        order = in_order([slice_facts(header, path, layout, frame) for frame in range(layout.frames)], path.name)
    with open(path, "rb") as file, refusing_damage(path.name, "finding its frames"):
        dcmread(file, stop_before_pixels=True)
        frames = open_frames(file, header, layout, path)
    source = Source(path, "dicom", layout.stored_dtype, (header, order.slices))
    said = [] if layout.frames > 1 else [f"{path.name} is one slice; in a folder with its series, its neighbours would help."]
    return _volume(OrderedFrames(frames, [one.frame for one in order.slices]), order, source,
                   [*said, *order.warnings, *_cautions(header, path.name)])


def _cautions(header: Dataset, name: str) -> list[str]:
    with refusing_damage(name, "reading its header"):
        return cautions(header, name)


def _volume(slices: Sequence[np.ndarray], order: Order, source: Source, warnings: list[str]) -> CtVolume:
    first = order.slices[0]
    return CtVolume(
        slices=slices, values=tuple(one.values for one in order.slices), spacing_mm=(order.step_mm, *first.spacing_mm),
        bits_stored=first.layout.bits_stored, source=source, origin_mm=first.position_mm, direction=order.direction,
        breaks=order.breaks, warnings=tuple(warnings),
    )  # fmt: skip


def _checked_header(path: Path) -> tuple[Dataset, PixelLayout]:
    """The header of a CT file and the layout of its pixels, all of which are there."""
    with open(path, "rb") as file, refusing_damage(path.name, "reading its header"):
        try:
            require_plain(path)
            header = dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            raise InputError(f"{path.name} is not a DICOM file.") from None
        require_ct(header, path)
        layout = pixel_layout(header, path)
        open_frames(file, header, layout, path)
    return header, layout


def read_header(path: Path) -> Dataset:
    """The header of a slice that was checked before."""
    with still_there(path.name), open(path, "rb") as file, refusing_damage(path.name, "reading its header"):
        return dcmread(file, stop_before_pixels=True)


class SeriesSlices(LazyFrames):
    """The slices of a series, each from its own file when it is asked for. Memory: one slice."""

    def __init__(self, slices: Sequence[SliceFacts]):
        super().__init__(len(slices))
        self._slices = slices
        self._decoder: DecoderProcess | None = None  # one for the series: to start one takes longer than a slice

    def _read(self, index: int) -> np.ndarray:
        path, layout = self._slices[index].path, self._slices[index].layout
        with still_there(path.name), open(path, "rb") as file, refusing_damage(path.name, "reading its pixels"):
            header = dcmread(file, stop_before_pixels=True)
            if pixel_layout(header, path) != layout or str(header.SOPInstanceUID) != self._slices[index].uid:
                raise InputError(f"{path.name} is not the file any more that it was when it was opened; start again.")
            frames = open_frames(file, header, layout, path, self._decoder)
            if isinstance(frames, CompressedFrames):
                self._decoder = frames.decoder
            return frames[0]


class OrderedFrames(LazyFrames):
    """The frames of one file in the order of their places. Memory: one frame."""

    def __init__(self, frames: Sequence[np.ndarray], numbers: Sequence[int]):
        super().__init__(len(numbers))
        self._frames, self._numbers = frames, numbers

    def _read(self, index: int) -> np.ndarray:
        return self._frames[self._numbers[index]]
