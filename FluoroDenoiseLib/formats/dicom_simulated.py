"""A fresh XA run with no patient in it: for simulations and samples, and for results whose source is not DICOM."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage

from .. import __version__
from ..errors import InputError, OutputError, UnsupportedError
from ..fluoro_run import ASSUMED_FRAME_TIME_S
from .dicom_in import read_dicom
from .dicom_out import MAX_PIXEL_BYTES, PRODUCT, derivation_text, series_description, smoothing_code, uid_from
from .dicom_reading import quiet_pydicom
from .stored_frames import Provenance, WriteReport
from .whole_file import require_space, settle, whole_file

PIXEL_BITS = (8, 10, 12, 16)


def write_simulated(
    path: Path,
    frames: Iterable[np.ndarray],
    bits: int = 12,
    frame_time_s: float = ASSUMED_FRAME_TIME_S,
    pixel_spacing_mm: tuple[float, float] = (0.2, 0.2),
    relationship: str = "LIN",
    description: str = "Simulated fluoroscopy",
    linear_values: np.ndarray | None = None,
) -> WriteReport:
    """Write images [H, W] of stored values as a valid XA run of the patient "Simulated^Run", and say what was written.

    frames: any iterable, taken one at a time; rounded half to even and clipped to 0..2**bits - 1. bits: 8, 10, 12 or
    16 (C.8.7.1). relationship: "LIN", "LOG" or "DISP". linear_values: for LOG, the linear intensity, 0..65535, of
    each of the 2**bits stored values, which such a run must carry; default: three decades over the range.
    UIDs follow from the pixels, so the same run is the same object.
    """
    path = Path(path)
    if bits not in PIXEL_BITS:
        raise ValueError(f"An XA run has {', '.join(map(str, PIXEL_BITS))} bits; {bits} were asked for.")
    if relationship not in ("LIN", "LOG", "DISP"):
        raise ValueError(f"An XA run is LIN, LOG or DISP; {relationship!r} was asked for.")

    def finish(header: Dataset) -> None:
        if relationship == "LOG":
            header.ModalityLUTSequence = [_linearising_table(bits, linear_values)]

    return _write(path, frames, bits, (frame_time_s, pixel_spacing_mm, relationship, description), finish)


def write_without_source(
    path: Path,
    frames: Iterable[np.ndarray],
    provenance: Provenance,
    bits: int,
    frame_time_s: float = ASSUMED_FRAME_TIME_S,
    pixel_spacing_mm: tuple[float, float] = (1.0, 1.0),
) -> WriteReport:
    """Write a result whose source is no DICOM file as a derived XA run of nobody, and say what was written.

    frames, bits: as for write_simulated. Patient and study are empty, as far as the standard allows, since nothing is
    known of them; the values are called DISP, since nothing is known of their relation to the dose.
    """

    def finish(header: Dataset) -> None:
        header.PatientName = header.PatientID = header.StudyID = ""
        header.StudyDate = header.StudyTime = ""
        del header.StudyDescription, header.BurnedInAnnotation
        header.ImageType = ["DERIVED", "SECONDARY", "SINGLE PLANE"]
        header.DerivationDescription = derivation_text(provenance)[:1024]
        header.DerivationCodeSequence = [smoothing_code()]
        header.DeviceUID = uid_from("model", provenance.model_sha256)

    facts = (frame_time_s, pixel_spacing_mm, "DISP", series_description(provenance))
    return _write(Path(path), frames, bits, facts, finish)


def _write(path: Path, frames: Iterable[np.ndarray], bits: int, facts: tuple, finish: Callable[[Dataset], None]) -> WriteReport:
    with tempfile.TemporaryFile() as pixels, whole_file(path) as temporary:
        count, clipped, shape, digest = _spool(frames, bits, pixels)
        require_space(path, pixels.tell())
        header = _header(count, shape, bits, *facts, digest)
        finish(header)
        pixels.seek(0)
        header.PixelData = pixels
        header["PixelData"].VR = "OW"
        with quiet_pydicom():
            dcmwrite(temporary, header, enforce_file_format=True)
        settle(temporary)
        again = hashlib.sha256()
        for frame in read_dicom(temporary).frames:
            again.update(frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes())
        if again.hexdigest() != digest:
            raise OutputError(f"{path.name} did not read back as it was written; the disk may be failing.")
    return WriteReport(path, count, clipped, count * shape[0] * shape[1])


def _spool(frames: Iterable[np.ndarray], bits: int, pixels: BinaryIO) -> tuple[int, int, tuple[int, int], str]:
    """The frames as stored values in a temporary file: their count is known only at the end, the header comes first."""
    count, clipped, shape, digest = 0, 0, (0, 0), hashlib.sha256()
    for frame in frames:
        frame = np.asarray(frame)
        shape = shape if count else frame.shape
        if frame.ndim != 2 or frame.shape != shape:
            raise InputError(f"Simulated frame {count} is {frame.shape} but the run is {shape}.")
        if not np.isfinite(frame).all():
            raise InputError(f"Simulated frame {count} has values that are not finite.")
        rounded = np.rint(frame)
        clipped += int(np.count_nonzero((rounded < 0) | (rounded >= 2**bits)))
        stored = np.clip(rounded, 0, 2**bits - 1).astype("u1" if bits == 8 else "<u2").tobytes()
        digest.update(stored)
        pixels.write(stored)
        count += 1
    if not count:
        raise InputError("A simulated run without frames cannot be written.")
    if pixels.tell() > MAX_PIXEL_BYTES:
        raise UnsupportedError(f"The run has {pixels.tell() / 2**30:.1f} GB; an uncompressed DICOM file holds 4 GB.")
    pixels.write(b"\0" * (pixels.tell() % 2))
    return count, clipped, shape, digest.hexdigest()


def _header(
    count: int, shape, bits: int, frame_time_s: float, spacing_mm, relationship: str, description: str, digest: str
) -> Dataset:
    """Type 1 and 2 attributes of the XA Image IOD (A.14), and what we want to be read of such a run."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = XRayAngiographicImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = uid_from("instance", digest, description)
    header.StudyInstanceUID = uid_from("study", digest, description)
    header.SeriesInstanceUID = uid_from("series", digest, description)
    now = datetime.now()
    for moment in ("Study", "Series", "Content"):
        setattr(header, f"{moment}Date", now.strftime("%Y%m%d"))
        setattr(header, f"{moment}Time", now.strftime("%H%M%S"))
    header.PatientName, header.PatientID = "Simulated^Run", "SIMULATED"
    header.PatientBirthDate = header.PatientSex = header.ReferringPhysicianName = header.AccessionNumber = ""
    header.Laterality = ""
    header.StudyID, header.SeriesNumber, header.InstanceNumber = "1", 1, 1
    header.Modality = "XA"
    header.StudyDescription = header.SeriesDescription = description[:64]
    header.Manufacturer = header.ManufacturerModelName = PRODUCT
    header.SoftwareVersions = __version__
    header.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    header.PatientOrientation = ""
    header.BurnedInAnnotation, header.LossyImageCompression = "NO", "00"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = shape
    header.BitsAllocated, header.BitsStored, header.HighBit = (8 if bits == 8 else 16), bits, bits - 1
    header.PixelRepresentation = 0
    header.PixelIntensityRelationship = relationship
    header.NumberOfFrames = count
    header.FrameIncrementPointer = 0x00181063
    header.FrameTime = f"{1000 * frame_time_s:.12g}"
    header.ImagerPixelSpacing = [f"{size:.12g}" for size in spacing_mm]
    header.KVP = header.XRayTubeCurrent = header.ExposureTime = header.Exposure = None
    header.RadiationSetting = "SC"
    header.PositionerMotion = "STATIC"
    header.PositionerPrimaryAngle = header.PositionerSecondaryAngle = None
    return header


def _linearising_table(bits: int, linear_values: np.ndarray | None) -> Dataset:
    """C.8.7.1.1.2: a LOG image shall carry the Modality LUT that leads back to linear intensity."""
    if linear_values is None:
        linear_values = 65535 * np.expm1(np.linspace(0, np.log(1000), 2**bits)) / 999
    if len(linear_values) != 2**bits:
        raise ValueError(f"A table for {bits} bits has {2**bits} values; {len(linear_values)} were given.")
    table = Dataset()
    # The number of entries is 16 bits wide; 0 stands for 65536.
    table.add_new("LUTDescriptor", "US", [2**bits % 2**16, 0, 16])
    table.ModalityLUTType = "US"
    table.add_new("LUTData", "OW", np.clip(np.rint(linear_values), 0, 65535).astype("<u2").tobytes())
    return table
