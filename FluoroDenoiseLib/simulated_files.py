"""Simulated runs and their ingredients as files: settings in, a CT in, a DICOM run with its truth out."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.errors import InputError, UnsupportedError
from FluoroDenoiseLib.formats.dicom_simulated import PIXEL_BITS, write_simulated
from FluoroDenoiseLib.formats.whole_file import whole_file
from FluoroDenoiseLib.simulate import SimulatedRun, SimulationSettings, ct_slabs, simulate

TRUTH_STEPS = 4096  # over the stored range; rounding to them leaves 83 dB, and compresses four times smaller


def read_settings(path: Path) -> dict:
    """The settings that a JSON file fixes. InputError for anything that is not a field of SimulationSettings."""
    known = {field.name: field.default for field in fields(SimulationSettings)}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"Settings {path} cannot be read ({error.strerror}); give the path of a JSON file.") from error
    except ValueError as error:
        raise InputError(f"Settings {path} are not JSON ({error}); correct the file.") from error
    if not isinstance(values, dict):
        raise InputError(f"Settings {path} must be one JSON object; correct the file.")
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"Setting {unknown[0]!r} in {path} is unknown; known are {', '.join(known)}.")
    for name, value in values.items():
        alike = (int, float) if isinstance(known[name], float) else (list,) if isinstance(known[name], tuple) else type(known[name])
        if not isinstance(value, alike) or isinstance(value, bool) != isinstance(known[name], bool):
            raise InputError(f"Setting {name!r} in {path} is {value!r} but must be of the kind of {known[name]!r}.")
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def read_ct(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """(Hounsfield units [Z, Y, X], spacing in mm (z, y, x)) of a CT volume in NRRD, NIfTI or MetaImage."""
    import SimpleITK

    try:
        volume = SimpleITK.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read as a CT volume; give one NRRD, NIfTI or MHA file.") from error
    if volume.GetDimension() != 3 or volume.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} is not a volume of three axes with one value a voxel; give a CT.")
    return SimpleITK.GetArrayFromImage(volume), tuple(reversed(volume.GetSpacing()))


def one_run(settings: SimulationSettings, seed: int, ct: tuple[np.ndarray, tuple[float, float, float]] | None) -> SimulatedRun:
    """Simulate one run. ct: what read_ct gave, seen from the front, or None for the anatomy of the settings."""
    if ct is None:
        return simulate(settings, seed)
    slabs = ct_slabs(*ct, angle_deg=0.0, pixel_mm=settings.pixel_mm)
    return simulate(replace(settings, anatomy="slabs"), seed, slabs)


def save_truth(run: SimulatedRun, path: Path) -> None:
    """Write the truth of a run as compressed NRRD, float32 [T, H, W], rounded to a 4096th of the stored range."""
    import SimpleITK

    step = 2**run.settings.bits / TRUTH_STEPS
    rounded = np.rint(run.clean / step) * step
    volume = SimpleITK.GetImageFromArray(rounded.astype(np.float32))
    volume.SetSpacing((run.settings.pixel_mm, run.settings.pixel_mm, run.settings.frame_time_s))
    with whole_file(path) as temporary:
        writer = SimpleITK.ImageFileWriter()
        writer.SetImageIO("NrrdImageIO")
        writer.UseCompressionOn()
        writer.SetFileName(str(temporary))
        writer.Execute(volume)


def save_as_xa(run: SimulatedRun, path: Path) -> None:
    """Write the noisy frames as an X-ray angiography object of nobody. UnsupportedError for 14 bits, which XA lacks."""
    settings = run.settings
    if settings.bits not in PIXEL_BITS:
        raise UnsupportedError(f"XA objects have {', '.join(map(str, PIXEL_BITS))} bits, not {settings.bits}; change bits in the settings.")
    write_simulated(path, run.noisy, settings.bits, settings.frame_time_s, (settings.pixel_mm, settings.pixel_mm),
                    settings.domain, f"Simulated, {settings.quanta:g} quanta a pixel, seed {run.seed}")
