"""Where denoised CT goes: one series or file into another, or a folder of them into the same places of another folder."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator, Sequence

import numpy as np

from FluoroDenoiseLib.ct_volume import CtVolume
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.formats.ct import CtSource, find_ct
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.targets import UsageError, check_extras, check_folder, check_targets


def check_ct_targets(source: Path, target: Path, compare: Path | None, residual: Path | None, overwrite: bool) -> None:
    """Raise UsageError, InputError or OutputError unless `target`, a folder for the folder of a series, can be made."""
    if not source.is_dir():
        check_targets(source, target, compare, residual, overwrite)
        return
    check_target_folder(source, target)
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise OutputError(f"{target} exists already and is not empty; choose another name, or add --overwrite.")
    for extra in filter(None, (compare, residual)):
        if extra.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"{extra.name} cannot lie in OUT, which will hold the slices and nothing else; choose another folder.")
    check_extras(source, target, compare, residual, overwrite)


def check_target_folder(source: Path, target: Path) -> None:
    """Raise UsageError or OutputError unless `target` is, or can become, another folder than `source`."""
    if target.resolve() == source.resolve():
        raise UsageError("OUT must be another folder than IN, whose slices are never changed.")
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target.name} is a file but {source.name} is a folder; a series goes into a folder.")
    check_folder(target.parent)


def the_one_series(source: Path, target: Path) -> CtSource | None:
    """What a folder holds if that is one series and nothing else; it is then one volume. InputError if it holds no CT."""
    found = find_ct(source, but_not_below=target)
    return found[0] if len(found) == 1 and found[0].series else None


def places(source: Path, target: Path) -> list[tuple[CtSource, Path]]:
    """Every CT below `source` with its place below `target`: a file's is a file, a series' is the folder of its folder.

    A series gets a folder of its own there, called by its number, where others lie in the same folder or below it.
    """
    found = find_ct(source, but_not_below=target)
    homes = Counter(one.path if one.series else one.path.parent for one in found)
    return [(one, target / _place(one, source, homes)) for one in found]


def _place(one: CtSource, source: Path, homes: Counter) -> Path:
    place = one.path.relative_to(source)
    if one.series is None:
        return place
    if homes[one.path] == 1 and not any(one.path in home.parents for home in homes):
        return place
    number = "" if one.series.number is None else one.series.number
    return place / f"series{number}-{hashlib.sha256(one.series.uid.encode()).hexdigest()[:8]}"


@contextmanager
def hu_writer(path: Path, volume: CtVolume) -> Iterator[Callable[[np.ndarray], None]]:
    """A function that appends one slice of noisy - denoised to `path`: .npy [Z, H, W] or .nrrd, float32, HU.

    The file appears when the block ends well.
    """
    slices, height, width = volume.shape
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        if path.suffix == ".npy":
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": volume.shape})
        else:
            lengths = volume.spacing_mm[2], volume.spacing_mm[1], volume.spacing_mm[0]
            axes = " ".join(_vector([part * length for part in axis]) for axis, length in zip(volume.direction, lengths))
            file.write((
                f"NRRD0004\ntype: float\ndimension: 3\nspace: left-posterior-superior\nsizes: {width} {height} {slices}\n"
                f"space directions: {axes}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
                f"space origin: {_vector(volume.origin_mm)}\n\n"
            ).encode())  # fmt: skip
        yield lambda residual: file.write(np.ascontiguousarray(residual, "<f4").tobytes())


def _vector(numbers: Sequence[float]) -> str:
    return f"({','.join(f'{number:.12g}' for number in numbers)})"
