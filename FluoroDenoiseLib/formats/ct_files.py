"""CT volumes in NRRD, NIfTI, MetaImage and NumPy files: pixels slice by slice, geometry as SimpleITK reads the header."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from ..ct_volume import IDENTITY, CtVolume, SliceValues
from ..errors import InputError, UnsupportedError
from ..fluoro_run import FluoroRun
from .arrays import read_npy
from .volumes import read_volume

FILE_KINDS = ("nrrd", "nifti", "mha", "npy")
LOOKED_AT = 9  # slices, when the values are looked at as a whole
AXIAL = 0.9
DAMAGE_HU = 100_000.0
AIR = (-1100.0, -900.0)
AIR_SHARE = 0.02
UNSTATED_MM = (5.0, 1.0, 1.0)  # slice, row, column, where a file says nothing or 0: slices too far apart to be mixed


def read_ct_volume_file(path: Path, kind: str) -> CtVolume:
    """The volume in a file of one of FILE_KINDS; its third axis counts the slices.

    InputError for a damaged file or values that cannot be HU, UnsupportedError for a run of frames over time.
    """
    run = read_npy(path) if kind == "npy" else read_volume(path, kind)
    if kind != "npy" and is_over_time(run):
        raise UnsupportedError(f"{path.name} holds frames over time, and the preset ct is for CT volumes; use --preset quality.")
    values = _values(run)
    spacing, origin, direction = _geometry(path, run) if kind != "npy" else ((0.0, *run.pixel_spacing_mm), (0.0,) * 3, IDENTITY)
    spacing = tuple(length if length > 0 else unstated for length, unstated in zip(spacing, UNSTATED_MM))
    volume = CtVolume(run.frames, (values,) * len(run), spacing, run.bits_stored, run.source, origin, direction)
    said = _said_of_values(volume)
    if abs(direction[2][2]) < AXIAL:
        said.append(f"The slices of {path.name} are not axial; the model learned from axial slices.")
    return CtVolume(run.frames, volume.values, spacing, run.bits_stored, run.source, origin, direction, (), tuple(said))


def is_over_time(run: FluoroRun) -> bool:
    """Whether a volume file says that its images follow each other in time."""
    header = run.source.header
    return header.interleaved or header.frame_times_s is not None and len(run) > 1


def require_no_ct(run: FluoroRun) -> None:
    """UnsupportedError for a volume file that is a CT by its values: air all about, and nothing said of time."""
    if run.source.kind not in ("nrrd", "nifti", "mha") or is_over_time(run) or len(run) < 2:
        return
    values = _values(run)
    if run.source.dtype.kind == "u" and values.intercept >= 0:
        return
    seen = np.concatenate([values.to_hu(run.frames[index]).ravel() for index in _looked_at(len(run))])
    if np.mean((seen > AIR[0]) & (seen < AIR[1])) > AIR_SHARE and np.mean(seen > AIR[1]) > AIR_SHARE:
        raise UnsupportedError(f"{run.source.name} is a CT volume by its values (air at -1000), and the presets fast and quality are "
                               "for X-ray runs; use --preset ct.")


def _values(run: FluoroRun) -> SliceValues:
    """NIfTI has a slope of its own; the other kinds hold HU as they are."""
    if run.source.kind != "nifti":
        return SliceValues()
    text = run.source.header.text
    order = "<" if struct.unpack("<i", text[:4])[0] == 348 else ">"
    slope, intercept = struct.unpack(order + "2f", text[112:120])
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise InputError(f"{run.source.name} states scl_slope {slope:g} and scl_inter {intercept:g}; repair its header.")
    return SliceValues(slope, intercept) if slope else SliceValues()  # 0 says that there is none


def _geometry(path: Path, run: FluoroRun) -> tuple[tuple, tuple, tuple]:
    """Spacing (slice, row, column) and origin, mm, and the directions of the axes, LPS. Reads the header only.

    What SimpleITK cannot make sense of (axes that are not at right angles) is in the result as it was, since headers are
    copied; here the spacing of rows and columns is all that is known then. 0 is a spacing that nothing is known of.
    """
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return (0.0, *run.pixel_spacing_mm), (0.0,) * 3, IDENTITY
    size = reader.GetDimension()
    if size < 3:
        return (0.0, *run.pixel_spacing_mm), (0.0,) * 3, IDENTITY
    axes = np.reshape(reader.GetDirection(), (size, size))[:3, :3].T
    spacing = tuple(float(length) for length in reversed(reader.GetSpacing()[:3]))
    return spacing, tuple(reader.GetOrigin()[:3]), tuple(tuple(float(part) for part in axis) for axis in axes)


def _looked_at(count: int) -> list[int]:
    return sorted({round(place) for place in np.linspace(0, count - 1, LOOKED_AT)})


def _said_of_values(volume: CtVolume) -> list[str]:
    """Whether the values can be HU. Reads a few slices."""
    ends = [(float(hu.min()), float(hu.max())) for hu in (volume[index] for index in _looked_at(len(volume)))]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    if high > DAMAGE_HU:
        raise InputError(f"{volume.name} has values up to {high:.4g}, which are no Hounsfield units; save it in HU first.")
    if low < -200:
        return []
    return [f"{volume.name} has no values below {low:.4g}: either it shows no air, or its values are not Hounsfield units."]
