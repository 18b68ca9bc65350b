"""Runs in, runs out: read_run, find_runs, write_run. One file of this package is one family of formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..errors import InputError, OutputError, UnsupportedError
from ..fluoro_run import FluoroRun
from .arrays import read_npy, read_tiff, write_npy, write_tiff
from .dicom_in import is_dicom, may_be_xray_run, read_dicom
from .dicom_out import require_derived, write_dicom
from .dicom_range import frame_range
from .dicom_simulated import write_simulated, write_without_source
from .padding import with_padding
from .stored_frames import Provenance, StoredFrames, WriteReport
from .volumes import read_volume, write_volume
from .whole_file import require_space, settle, whole_file

__all__ = [
    "Provenance", "WriteReport", "find_runs", "frame_range", "read_run", "write_run", "write_simulated",
    "write_without_source",
]

KINDS = {
    ".nrrd": "nrrd",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".mha": "mha",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".npy": "npy",
}
ENDINGS = {"dicom": ".dcm", **{kind: ending for ending, kind in reversed(KINDS.items())}}
SECOND_FILES = {".nhdr": ".nrrd", ".mhd": ".mha", ".hdr": ".nii", ".img": ".nii"}


def read_run(path: Path | str) -> FluoroRun:
    """The run in one file, by the ending of its name; any other name is taken for DICOM. Frames stay on disk.

    InputError if the file is absent, damaged or contradicts itself; UnsupportedError if it is sound but no grey run;
    ResourceError if a decoder is not installed.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending in SECOND_FILES:
        raise UnsupportedError(
            f"{path.name} keeps its pixels in another file; save it as one {SECOND_FILES[ending]} file first."
        )
    if path.is_dir():
        raise InputError(f"{path.name} is a folder; name one of the files in it.")
    return _read(path, kind_of(path))


def kind_of(path: Path) -> str:
    """The kind of run that a file of this name holds."""
    name = path.name.lower()
    return next((kind for ending, kind in KINDS.items() if name.endswith(ending)), "dicom")


def _read(path: Path, kind: str) -> FluoroRun:
    try:
        if kind == "dicom":
            return read_dicom(path)
        if kind == "npy":
            return read_npy(path)
        if kind == "tiff":
            return read_tiff(path)
        return read_volume(path, kind)
    except FileNotFoundError:
        raise InputError(f"{path.name} does not exist.") from None  # the original names the folder, maybe a patient's
    except PermissionError as error:
        if isinstance(error, OutputError):
            raise
        raise InputError(f"{path.name} may not be read; ask for permission.") from None


def find_runs(folder: Path | str) -> list[Path]:
    """Every file below a folder that can hold a run, sorted; sound DICOM files of other kinds and hidden files not."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder.name} is not a folder.")
    return sorted(path for path in folder.rglob("*") if _may_hold_run(path, folder))


def _may_hold_run(path: Path, folder: Path) -> bool:
    if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
        return False
    if kind_of(path) != "dicom":
        return True
    try:
        return may_be_xray_run(path) if is_dicom(path) else path.suffix.lower() == ".dcm"
    except OSError:
        return True


def write_run(
    path: Path | str, frames: Iterable[np.ndarray], run: FluoroRun, provenance: Provenance, overwrite: bool = True
) -> WriteReport:
    """Write denoised frames as a file of the same kind as the source, and say what was written.

    frames: as many as the run has, [H, W] in stored values, taken one at a time; rounded half to even and clipped to
    what the source can store, floating point kept. An array in memory goes to .npy or .tif. The file is written aside,
    read back and compared, then renamed: at `path` is the whole result or what was there before.
    OutputError if it cannot be written, or there is a file already and `overwrite` is false, or another writes it now; UnsupportedError if the name asks for another kind or the kind cannot hold it.
    """
    path = Path(path)
    kind = _kind_to_write(path, run)
    stored = StoredFrames(with_padding(frames, run), run)
    require_space(path, stored.bytes)
    with whole_file(path, overwrite) as temporary:
        if kind == "dicom":
            write_dicom(temporary, stored, run, provenance)
        elif kind == "npy":
            write_npy(temporary, stored, run, path)
        elif kind == "tiff":
            write_tiff(temporary, stored, run, path)
        else:
            write_volume(temporary, stored, run, path)
        settle(temporary)
        _require_read_back(temporary, path, kind, stored, run)
    return stored.report(path)


def _kind_to_write(path: Path, run: FluoroRun) -> str:
    kind, source = kind_of(path), run.source
    if source.path is not None and path.exists() and path.samefile(source.path):
        raise OutputError(f"{path.name} is the run that is being read; choose another name for the result.")
    if source.kind == "array" and kind not in ("npy", "tiff"):
        raise UnsupportedError(f"An array in memory can be written as .npy or .tif; {path.name} asks for another kind.")
    if source.kind not in ("array", kind):
        raise UnsupportedError(
            f"{source.name} is written as the kind of file that it is; give {path.stem} the ending "
            f"{ENDINGS[source.kind]}."
        )
    return kind


def _require_read_back(temporary: Path, path: Path, kind: str, stored: StoredFrames, run: FluoroRun) -> None:
    try:
        again = _read(temporary, kind)
    except (InputError, UnsupportedError) as error:
        raise OutputError(f"{path.name} did not read back as it was written; the disk may be failing.") from error
    stored.require_same(again.frames, path)
    if kind == "dicom":
        require_derived(path, again.source.header, run.source.header)
