"""CT volumes into files: derived objects, slice by slice, and files of the other kinds through `volumes` and `arrays`.

Section numbers are those of DICOM PS3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.uid import EnhancedCTImageStorage

from ..ct_volume import CtVolume
from ..errors import InputError, OutputError, UnsupportedError
from .arrays import write_npy
from .ct_series import read_ct_file, read_header
from .ct_slices import SliceFacts
from .dicom_out import MAX_PIXEL_BYTES, PRODUCT, derived_header, require_derived, write_header, write_pixels
from .dicom_reading import quiet_pydicom, refusing_damage
from .stored_frames import Provenance, StoredFrames
from .volumes import write_volume
from .whole_file import settle

SERIES_TIMES = ("SeriesDate", "SeriesTime", "ContentDate", "ContentTime")


def write_series(folder: Path, slices: StoredFrames, volume: CtVolume, provenance: Provenance) -> None:
    """A derived series into an empty folder, a file a slice, named by their order. Memory: one slice.

    Every slice keeps the header of its own source but for what a derivation changes; all are in one new series, with one
    time. Each is then read back and compared.
    """
    facts: tuple[SliceFacts, ...] = volume.source.header
    moment: Dataset | None = None
    for index, pixels in enumerate(slices):
        derived, name = _derived(read_header(facts[index].path), provenance, facts[index].path.name), facts[index].path.name
        moment = derived if moment is None else moment
        for keyword in SERIES_TIMES:
            derived[keyword] = moment[keyword]
        with open(_place(folder, index), "w+b") as file:
            write_header(file, derived, name)
            write_pixels(file, _One(pixels), pixels.nbytes)
    slices.require_same(_read_back(folder, facts), folder)


def _place(folder: Path, index: int) -> Path:
    return folder / f"slice{index:05d}.dcm"


class _One:
    """One slice, as write_pixels takes frames."""

    def __init__(self, pixels: np.ndarray) -> None:
        self._pixels = pixels

    def __iter__(self) -> Iterator[np.ndarray]:
        yield self._pixels


def _read_back(folder: Path, facts: tuple[SliceFacts, ...]) -> Iterator[np.ndarray]:
    for index, one in enumerate(facts):
        path = _place(folder, index)
        settle(path)
        try:
            written = read_ct_file(path)
        except (InputError, UnsupportedError) as error:
            raise OutputError(f"{path.name} did not read back as it was written; the disk may be failing.") from error
        header, order = written.source.header
        require_derived(path, header, read_header(one.path))
        if (order[0].position_mm, order[0].row, order[0].column, order[0].values) != (one.position_mm, one.row, one.column, one.values):
            raise OutputError(f"{path.name} did not read back at its place; the disk may be failing.")
        yield written.slices[0]


def _derived(source: Dataset, provenance: Provenance, name: str) -> Dataset:
    with refusing_damage(name, "copying its header"):
        derived = derived_header(source, provenance)
        if derived.SOPClassUID == EnhancedCTImageStorage:
            _name_enhanced(derived)
    return derived


def _name_enhanced(derived: Dataset) -> None:
    """C.8.16.1: the second value of an enhanced CT's Image Type and Frame Type is PRIMARY, for derived ones too."""
    derived.ImageType = _image_type(derived.ImageType)
    for groups in (*derived.get("SharedFunctionalGroupsSequence", []), *derived.get("PerFrameFunctionalGroupsSequence", [])):
        for facts in groups.get("CTImageFrameTypeSequence", []):
            facts.FrameType = _image_type(facts.get("FrameType"))


def _image_type(values) -> list[str]:
    return ["DERIVED", "PRIMARY", *list(values or [])[2:]]


def write_ct_file(temporary: Path, slices: StoredFrames, volume: CtVolume, provenance: Provenance) -> None:
    """A derived object of the frames of one DICOM file, each at the place in the file that it had. Memory: one slice."""
    header, order = volume.source.header
    if slices.bytes > MAX_PIXEL_BYTES:
        raise UnsupportedError(f"{volume.name} has more than 4 GB of pixels, which one uncompressed DICOM file cannot hold; split it.")
    derived = _derived(header, provenance, volume.name)
    with open(temporary, "w+b") as file:
        write_header(file, derived, volume.name)
        write_pixels(file, _Placed(slices, order, file), slices.bytes)


class _Placed:
    """The slices of a file in the order of their places, each written where its frame lies; nothing is left to append."""

    def __init__(self, slices: StoredFrames, order: tuple[SliceFacts, ...], file) -> None:
        self._slices, self._order, self._file = slices, order, file

    def __iter__(self) -> Iterator[np.ndarray]:
        start = self._file.tell()
        for one, pixels in zip(self._order, self._slices, strict=True):
            self._file.seek(start + one.frame * pixels.nbytes)
            self._file.write(memoryview(pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)).cast("B"))
        self._file.seek(start + self._slices.bytes)
        yield from ()


def write_volume_file(temporary: Path, slices: StoredFrames, volume: CtVolume, path: Path) -> None:
    """The header of the source and new pixels, slice after slice."""
    if volume.source.kind == "npy":
        write_npy(temporary, slices, volume, path)
    else:
        write_volume(temporary, slices, volume, path)


def is_own_series(folder: Path) -> bool:
    """Whether a folder holds nothing but slices that FluoroDenoise wrote, so that it may be replaced."""
    for path in folder.iterdir():
        try:
            with quiet_pydicom():
                made_by = dcmread(path, stop_before_pixels=True, specific_tags=["Manufacturer", "SOPClassUID"]).get("Manufacturer")
        except Exception:  # a folder, another kind of file, a damaged one
            return False
        if made_by != PRODUCT:
            return False
    return True
