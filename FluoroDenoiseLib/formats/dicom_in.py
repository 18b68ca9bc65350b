"""Runs from DICOM: XA and RF, classic, enhanced, and captured as grey multi-frame images. The header is believed only where it agrees with the file."""

from __future__ import annotations

import math
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)
from pydicom.valuerep import DT

from ..errors import InputError, UnsupportedError
from ..fluoro_run import ASSUMED_FRAME_TIME_S, FluoroRun, Source
from ..intensity import IntensityScale
from .dicom_pixels import open_frames, pixel_layout
from .dicom_reading import OVERLAYS, functional_group, quiet_pydicom, refusing_damage

CLASSIC = (XRayAngiographicImageStorage, XRayRadiofluoroscopicImageStorage)
ENHANCED = (EnhancedXAImageStorage, EnhancedXRFImageStorage)
CAPTURES = (MultiFrameGrayscaleByteSecondaryCaptureImageStorage, MultiFrameGrayscaleWordSecondaryCaptureImageStorage)
RUNS = CLASSIC + ENHANCED + CAPTURES
CAPTURED = ("XA", "RF", "OT", "")  # what may have been captured: ultrasound and endoscopy have other noise
CT = (CTImageStorage, EnhancedCTImageStorage)
LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
UNEVEN = 0.2
TIMES = (0x00181063, 0x00181065)  # FrameTime and FrameTimeVector
MOVEMENTS = (
    "PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement", "TableVerticalIncrement",
    "TableLateralIncrement", "TableLongitudinalIncrement",
)  # fmt: skip


def read_dicom(path: Path) -> FluoroRun:
    """The run in an XA or RF file or a capture of one, its header and the number of its frames checked before the first is decoded.

    Native frames are read in place, compressed ones decoded one at a time. MONOCHROME1 stays as stored.
    InputError if the file is damaged or contradicts itself, UnsupportedError if it is sound but no grey X-ray run,
    ResourceError if a decoder is not installed.
    """
    with open(path, "rb") as file, refusing_damage(path.name, "reading its header"):
        try:
            require_plain(path)
            header = dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            raise InputError(f"{path.name} is not a DICOM file.") from None
        _require_xray_run(header, path)
        layout = pixel_layout(header, path)
        frames = open_frames(file, header, layout, path)
        times, time_warnings = _frame_times(header, layout.frames, path.name)
        relationship = _relationship(header)
        run_parts = {
            "frame_times_s": times,
            "pixel_spacing_mm": _spacing(header),
            "bits_stored": layout.bits_stored,
            "intensity_relationship": relationship,
            "source": Source(path, "dicom", layout.stored_dtype, header),
            "warnings": (*time_warnings, *_cautions(header, relationship, path.name)),
        }
    return FluoroRun(frames=frames, scale=IntensityScale.from_frames(frames), **run_parts)


def require_plain(path: Path) -> None:
    """UnsupportedError for a file that is deflated as a whole: reading its header would inflate all of it, be it a bomb."""
    if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise UnsupportedError(f"{path.name} is deflated as a whole; save it uncompressed first.")


def _require_xray_run(header: Dataset, path: Path) -> None:
    syntax = header.file_meta.get("TransferSyntaxUID")
    sop_class = header.get("SOPClassUID")
    if not syntax or not sop_class or not header.get("SOPInstanceUID"):
        raise InputError(f"{path.name} lacks its transfer syntax, SOP class or SOP instance UID; it is incomplete.")
    if sop_class not in RUNS:
        if sop_class in CT:
            raise UnsupportedError(f"{path.name} is a slice or volume of CT ({sop_class.name}), and the presets fast and quality are for "
                                   "X-ray runs; use --preset ct.")
        kind = "unknown" if sop_class.name == str(sop_class) else sop_class.name
        raise UnsupportedError(f"{path.name} is a DICOM object of another kind ({kind}); XA and RF runs can be denoised.")
    if sop_class in CAPTURES and str(header.get("Modality") or "") not in CAPTURED:
        raise UnsupportedError(f"{path.name} is a capture of no X-ray run, by its Modality; XA and RF runs can be denoised.")
    if syntax.is_private:
        raise UnsupportedError(f"{path.name} is stored in a way of its maker's own; save it in a standard one first.")


def is_enhanced(header: Dataset) -> bool:
    """Whether facts lie in functional groups, per frame, rather than at the top of the header."""
    return header.SOPClassUID in (*ENHANCED, EnhancedCTImageStorage)


def _relationship(header: Dataset) -> str:
    pixel_facts = functional_group(header, "FramePixelDataPropertiesSequence") if is_enhanced(header) else header
    value = str(pixel_facts.get("PixelIntensityRelationship") or "")
    return value if value in ("LIN", "LOG", "DISP") else "UNKNOWN"


def _spacing(header: Dataset) -> tuple[float, float]:
    """Row and column spacing at the detector, mm; 1 where the header has none."""
    pixel_facts = functional_group(header, "FramePixelDataPropertiesSequence") if is_enhanced(header) else header
    measures = functional_group(header, "PixelMeasuresSequence")
    for dataset, keyword in (
        (pixel_facts, "ImagerPixelSpacing"),
        (header, "ImagerPixelSpacing"),
        (measures, "PixelSpacing"),
        (header, "PixelSpacing"),
    ):
        value = dataset.get(keyword)
        if value and len(value) == 2 and all(math.isfinite(size) and size > 0 for size in value):
            return float(value[0]), float(value[1])
    return 1.0, 1.0


def _frame_times(header: Dataset, frames: int, name: str) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Times from the first frame, s, and what to say about them.

    FrameIncrementPointer says which attribute is true; cine rates are hints for playback and come last.
    """
    if frames == 1:
        return (0.0,), ()
    for steps_ms in _stated_steps_ms(header, frames):
        forwards = all(math.isfinite(step) and step >= 0 for step in steps_ms)
        if len(steps_ms) == frames - 1 and forwards and sum(steps_ms) > 0:
            times = [0.0]
            for step in steps_ms:
                times.append(times[-1] + step / 1000)
            mean = times[-1] / (frames - 1)
            uneven = any(abs(step / 1000 - mean) > UNEVEN * mean for step in steps_ms)
            said = f"The time between frames of {name} varies by more than 20 %; motion may be followed less well."
            return tuple(times), (said,) if uneven else ()
    rate = next((float(header[k].value) for k in ("RecommendedDisplayFrameRate", "CineRate") if header.get(k)), 0.0)
    if rate > 0:
        said = f"{name} states no usable frame times; its playback rate of {rate:g} frames a second is assumed."
    else:
        rate = 1 / ASSUMED_FRAME_TIME_S
        said = f"{name} states no usable frame times; 15 frames a second are assumed."
    return tuple(index / rate for index in range(frames)), (said,)


def _stated_steps_ms(header: Dataset, frames: int) -> list[list[float]]:
    """Steps between frames, ms, of every attribute that states them, the one that FrameIncrementPointer names first."""
    vector = header.get("FrameTimeVector") or []
    if isinstance(vector, bytes):
        # Beyond 64 kB, some 10,000 frames, it is stored as Unknown (PS3.5 6.2.2), which pydicom leaves undecoded.
        vector = vector.decode("ascii").strip(" \0").split("\\")
    vector = [float(step) for step in (vector if hasattr(vector, "__len__") else [vector])]
    time = header.get("FrameTime")
    constant = [float(time)] * (frames - 1) if time else []
    pointer = header.get("FrameIncrementPointer")
    pointers = pointer if isinstance(pointer, (list, tuple)) or hasattr(pointer, "append") else [pointer]
    # The first value of the vector is the start, 0; a vector of another length than the run is not believed.
    vector = vector[1:] if len(vector) == frames else []
    stated = [vector, constant] if 0x00181065 in pointers else [constant, vector]
    return [_acquisition_steps_ms(header, frames), *stated] if is_enhanced(header) else stated


def _acquisition_steps_ms(header: Dataset, frames: int) -> list[float]:
    """Steps between the FrameAcquisitionDateTimes of an enhanced object; empty if not every frame has one."""
    moments = []
    for index in range(frames):
        value = functional_group(header, "FrameContentSequence", index).get("FrameAcquisitionDateTime")
        if not value:
            return []
        moments.append(DT(str(value)))
    return [(later - earlier).total_seconds() * 1000 for earlier, later in zip(moments, moments[1:])]


def _cautions(header: Dataset, relationship: str, name: str) -> list[str]:
    """Sentences about what makes denoising this run less certain."""
    said = []
    image_type = header.get("ImageType") or []
    pixel_facts = functional_group(header, "FramePixelDataPropertiesSequence")
    if "DERIVED" in list(image_type)[:1]:
        said.append(f"{name} is already a derived image: its noise may have been changed by other processing.")
    if header.get("LossyImageCompression") == "01" or header.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES:
        said.append(f"{name} was compressed with losses: compression blocks can look like structure.")
    if relationship == "UNKNOWN":
        said.append(f"{name} does not say how its values follow the dose; the noise is estimated without that.")
    if header.SOPClassUID in CAPTURES:
        said.append(f"{name} is a secondary capture: what was done to its pictures before is not known, and text may be burned in.")
    if "DIGITAL_SUBTR" in str(pixel_facts.get("ImageProcessingApplied") or ""):
        said.append(f"{name} is a subtracted run; denoise the unsubtracted one where you have it.")
    if header.get("BurnedInAnnotation") == "YES":
        said.append(f"{name} has text burned into its pictures, perhaps the patient's name; it stays in the result.")
    if any((group, 0x3000) in header for group in OVERLAYS):
        said.append(f"{name} has overlays, which can show the patient's name; they are copied into the result.")
    if any((group, 0x0102) in header and (group, 0x3000) not in header for group in OVERLAYS):
        said.append(f"{name} has old overlays in unused bits of its pixels; they are not in the result.")
    if _moves(header):
        said.append(f"The C-arm or table moves during {name}: neighbouring frames do not show the same view.")
    return said


def _moves(header: Dataset) -> bool:
    """Whether neighbouring frames differ in more than time: C.8.7.5 positioner, C.8.7.4 table, C.8.7.1.1.12 dimensions."""
    if header.get("PositionerMotion") == "DYNAMIC" or header.get("TableMotion") == "DYNAMIC":
        return True
    steps = [header.get(keyword) for keyword in MOVEMENTS]
    if any(step not in (None, "", 0) and any(value for value in (step if hasattr(step, "__len__") else [step])) for step in steps):
        return True
    pointer = header.get("FrameDimensionPointer")
    return bool(pointer) and any(tag not in TIMES for tag in (pointer if hasattr(pointer, "append") else [pointer]))


def is_dicom(path: Path) -> bool:
    """Whether a file carries DICOM's mark after its preamble."""
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def may_be_xray_run(path: Path) -> bool:
    """False for a sound DICOM file of another kind; a damaged one counts, so that someone is told of it."""
    try:
        with quiet_pydicom():
            require_plain(path)
            header = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    except Exception:  # pydicom answers damage with many kinds of exception
        return True
    return header.get("SOPClassUID", XRayAngiographicImageStorage) in RUNS
