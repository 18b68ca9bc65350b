"""Where results go: checked before anything is computed, so that an hour of work is not lost to a mistyped folder."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

import numpy as np

from FluoroDenoiseLib.errors import FluoroDenoiseError, InputError, OutputError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats import ENDINGS, kind_of
from FluoroDenoiseLib.formats.whole_file import require_space, whole_file


DICOM_ENDINGS = (".dcm", ".dicom", ".ima", "")


class UsageError(FluoroDenoiseError, ValueError):
    """The command as it was given cannot be meant."""

    exit_code = 2


def check_targets(source: Path, target: Path, compare: Path | None = None, residual: Path | None = None, overwrite: bool = False) -> None:
    """Raise UsageError, InputError or OutputError unless these files can be made from `source`; reads none of them."""
    if not source.exists():
        raise InputError(f"{source} does not exist; check the name.")
    if not (source.is_file() or source.is_dir()):
        raise InputError(f"{source} is no file but a device or a pipe; save the run as a file first.")
    _check_file(target, source, overwrite)
    kind = kind_of(source)
    if kind_of(target) != kind or kind == "dicom" and _dicom_ending(target) not in DICOM_ENDINGS:
        raise UsageError(f"{target.name} must be of the same kind as {source.name}; end its name in {ENDINGS[kind]}.")
    check_extras(source, target, compare, residual, overwrite)


def check_extras(source: Path, target: Path, compare: Path | None, residual: Path | None, overwrite: bool) -> None:
    """Raise UsageError or OutputError unless the picture and the residual can be made beside `target`."""
    extras = list(filter(None, (compare, residual)))
    for path in extras:
        _check_file(path, source, overwrite)
    if len({path.resolve() for path in (target, *extras)}) < 1 + len(extras):
        raise UsageError("OUT, --compare and --residual must be different files.")
    if compare is not None and compare.suffix.lower() != ".png":
        raise UsageError(f"The comparison {compare.name} must end in .png; rename it.")
    if residual is not None and residual.suffix not in (".npy", ".nrrd"):
        raise UsageError(f"The residual {residual.name} must end in .npy or .nrrd, which hold its negative values; rename it.")


def _dicom_ending(path: Path) -> str:
    """The ending in lower case; none for names such as IM0001 or 1.2.840.113619."""
    return path.suffix.lower() if path.suffix[1:].isalpha() else ""


def _check_file(path: Path, source: Path, overwrite: bool) -> None:
    if path.exists() and path.samefile(source):
        raise OutputError(f"{path} is the input itself, which is never changed; choose another name.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; give the name of a file in it.")
    if path.exists() and not path.is_file():
        raise OutputError(f"{path} is a device or a pipe, which a file must not replace; choose another name.")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already; choose another name, or add --overwrite.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise OutputError unless files can be made in `folder`. Tried, not asked: network drives answer wrongly."""
    if not folder.is_dir():
        raise OutputError(f"The output folder {folder} does not exist; make it first, or choose another.")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"The output folder {folder} cannot be written ({error.strerror}); choose another.") from error


def make_folder(folder: Path) -> None:
    """Make `folder` where its parent exists: a mistyped path must not grow a tree. OutputError if it cannot be."""
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file where a folder is needed; choose another name.")
    if not folder.exists():
        check_folder(folder.parent)
        folder.mkdir(exist_ok=True)  # several processes of one training may come at once
    check_folder(folder)


def check_space(run: FluoroRun, target: Path, residual: Path | None) -> None:
    """Raise OutputError when a disk has no room for what is going to be written."""
    pixels = len(run) * run.frames[0].size
    require_space(target, pixels * run.source.dtype.itemsize)
    if residual is not None:
        require_space(residual, pixels * 4)


@contextmanager
def residual_writer(path: Path, run: FluoroRun) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends one frame of noisy - denoised to `path`: .npy [T, H, W] or .nrrd, float32.

    The values are signed grey levels before rounding. The file appears when the block ends well.
    """
    height, width = run.frames[0].shape
    row_mm, column_mm = run.pixel_spacing_mm
    nrrd_header = (
        f"NRRD0004\ntype: float\ndimension: 3\nsizes: {width} {height} {len(run)}\n"
        f"spacings: {column_mm:.9g} {row_mm:.9g} {run.frame_time_s:.9g}\nkinds: domain domain time\n"
        "endian: little\nencoding: raw\n\n"
    )
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        if path.suffix == ".npy":
            shape = (len(run), height, width)
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        else:
            file.write(nrrd_header.encode())

        def append(frame: np.ndarray) -> None:
            file.write(np.ascontiguousarray(frame, "<f4").tobytes())
            file.flush()  # a full disk is met while the run can still be given up

        yield append
