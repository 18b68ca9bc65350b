"""CT in, CT out: find_ct, read_ct, read_ct_folder, write_ct. A folder with the slices of a series is one volume."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..ct_volume import CtVolume
from ..errors import InputError, OutputError, UnsupportedError
from . import ENDINGS, SECOND_FILES, kind_of
from .ct_files import FILE_KINDS, read_ct_volume_file
from .ct_out import is_own_series, write_ct_file, write_series, write_volume_file
from .ct_series import SeriesFiles, find_series, read_ct_file, read_series
from .dicom_out import require_derived
from .stored_frames import Provenance, StoredFrames, WriteReport
from .whole_file import require_space, settle, whole_file
from .whole_folder import whole_folder

IN_FOLDERS = ("nrrd", "nifti", "mha")  # .npy files in a folder may be anything


@dataclass(frozen=True)
class CtSource:
    """Where one volume lies: a file, or the files of a series, whose folder `path` is."""

    path: Path
    series: SeriesFiles | None = None

    def read(self) -> CtVolume:
        """The volume; slices stay on disk. InputError, UnsupportedError or ResourceError."""
        return read_series(self.series) if self.series else _read_file(self.path)


def read_ct(path: Path | str) -> CtVolume:
    """The CT volume in a file, by the ending of its name (any other is taken for DICOM), or in a folder with one series.

    Slices stay on disk. InputError if it is absent, damaged, contradicts itself, or is not one volume; UnsupportedError if
    it is sound but no CT volume; ResourceError if a decoder is not installed.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path)
    found = find_ct(path)
    if len(found) > 1:
        raise InputError(f"{path.name} holds {len(found)} CT volumes; give the folder or file of one of them.")
    return found[0].read()


def read_ct_folder(folder: Path | str) -> list[CtVolume]:
    """Every CT volume below a folder; errors as of read_ct."""
    return [source.read() for source in find_ct(Path(folder))]


def find_ct(folder: Path, but_not_below: Path | None = None) -> list[CtSource]:
    """Every CT below a folder: series of DICOM slices, enhanced DICOM, NRRD, NIfTI, MetaImage; InputError if there is none.

    DICOM files of other kinds and hidden files are passed over. A DICOM file that cannot be read is given too, unless it
    lies with a series, which then says so: reading either raises.
    """
    if not folder.is_dir():
        raise InputError(f"{folder.name} is not a folder.")
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not _hidden(path, folder)
             and not (but_not_below and path.resolve().is_relative_to(but_not_below.resolve()))]
    series, damaged = find_series(path for path in files if kind_of(path) == "dicom")
    claimed = {path for one in series for path in one.damaged}
    found = [CtSource(one.folder, one) if len(one.files) > 1 or not _stands_alone(one) else CtSource(one.files[0]) for one in series]
    found += [CtSource(path) for path in damaged if path not in claimed]
    found += [CtSource(path) for path in files if kind_of(path) in IN_FOLDERS]
    if not found:
        raise InputError(f"{folder.name} holds no CT; give a folder of DICOM slices, NRRD, NIfTI or MHA.")
    return found


def _stands_alone(series: SeriesFiles) -> bool:
    """Whether the one file of a series is a volume, as an enhanced object is; its key is then its own path."""
    return series.uid == str(series.files[0])


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _read_file(path: Path) -> CtVolume:
    if path.suffix.lower() in SECOND_FILES:
        raise UnsupportedError(f"{path.name} keeps its pixels in another file; save it as one {SECOND_FILES[path.suffix.lower()]} "
                               "file first.")
    kind = kind_of(path)
    try:
        if kind == "dicom":
            return read_ct_file(path)
        if kind in FILE_KINDS:
            return read_ct_volume_file(path, kind)
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist.") from None
    except PermissionError as error:
        if isinstance(error, OutputError):
            raise
        raise InputError(f"{path.name} may not be read; ask for permission.") from None
    raise UnsupportedError(f"{path.name} cannot be a CT volume; give DICOM, NRRD, NIfTI, MHA or .npy.")


def write_ct(
    path: Path | str, slices: Iterable[np.ndarray], volume: CtVolume, provenance: Provenance, overwrite: bool = False
) -> WriteReport:
    """Write denoised slices as the source is: a folder with a derived series, a derived file, or a file of the same kind.

    slices: as many as the volume has, [H, W] stored values before rounding, taken one at a time; rounded half to even and
    clipped to what the source can store. Everything is written aside, read back and compared, then renamed: at `path` is
    the whole result or what was there before. A folder is only replaced, with `overwrite`, if it is a series that
    FluoroDenoise wrote. OutputError or UnsupportedError where it cannot be written.
    """
    path = Path(path)
    stored = StoredFrames(slices, volume)
    require_space(path, stored.bytes)
    if volume.source.kind == "dicom series":
        with whole_folder(path, lambda there: overwrite and is_own_series(there)) as folder:
            write_series(folder, stored, volume, provenance)
        return stored.report(path)
    kind = kind_of(path)
    if kind != volume.source.kind:
        raise UnsupportedError(f"{volume.name} is written as the kind of file that it is; give {path.stem} the ending "
                               f"{ENDINGS[volume.source.kind]}.")
    with whole_file(path, overwrite) as temporary:
        if kind == "dicom":
            write_ct_file(temporary, stored, volume, provenance)
        else:
            write_volume_file(temporary, stored, volume, path)
        settle(temporary)
        _require_read_back(temporary, path, kind, stored, volume)
    return stored.report(path)


def _require_read_back(temporary: Path, path: Path, kind: str, stored: StoredFrames, volume: CtVolume) -> None:
    try:
        again = read_ct_file(temporary) if kind == "dicom" else read_ct_volume_file(temporary, kind)
    except (InputError, UnsupportedError) as error:
        raise OutputError(f"{path.name} did not read back as it was written; the disk may be failing.") from error
    stored.require_same(again.slices, path)
    if kind == "dicom":
        require_derived(path, again.source.header[0], volume.source.header[0])
