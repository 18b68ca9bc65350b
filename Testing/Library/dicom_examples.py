"""Small synthetic DICOM runs for the tests: XA, RF and Enhanced XA, native and compressed, with lies on request."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from FluoroDenoiseLib.formats import Provenance, write_simulated
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    EnhancedXAImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    XRayRadiofluoroscopicImageStorage,
)

PROVENANCE = Provenance("0.1.0", "fast", "ab" * 32, 1.0, "preset fast")
OLD_SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRBigEndian]
COMPRESSED = {"RLE": RLELossless, "J2K": JPEG2000Lossless, "JPEG-LS": JPEGLSLossless, "JPEG lossless": JPEGLosslessSV1}


def noise_frames(count: int = 5, shape: tuple[int, int] = (24, 32), bits: int = 12, seed: int = 1) -> np.ndarray:
    """Stored values over the whole range, both ends included."""
    frames = np.random.default_rng(seed).integers(0, 2**bits, (count, *shape))
    frames[0, 0, :2] = 0, 2**bits - 1
    return frames.astype("u1" if bits == 8 else "u2")


def xa_file(path: Path, frames: np.ndarray | None = None, bits: int = 12, **changes) -> Path:
    """An XA run with a scanner in its equipment; changes: attributes set afterwards, None removes one."""
    write_simulated(path, noise_frames(bits=bits) if frames is None else frames, bits=bits)
    scanner = {"Manufacturer": "Scanner Works", "ManufacturerModelName": "C-1", "DeviceSerialNumber": "77"}
    return changed(path, **scanner, StationName="LAB2", **changes)


def rf_file(path: Path) -> Path:
    """An RF run."""
    frames = noise_frames()
    return xa_file(
        path, frames, SOPClassUID=XRayRadiofluoroscopicImageStorage, Modality="RF", PositionerMotion=None,
        PositionerPrimaryAngle=None, PositionerSecondaryAngle=None,
    )  # fmt: skip


def capture_file(path: Path, bits: int = 12) -> Path:
    """A grey multi-frame secondary capture of a run, of bytes or of words."""
    sop_class = MultiFrameGrayscaleByteSecondaryCaptureImageStorage if bits == 8 else MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    return xa_file(
        path, noise_frames(bits=bits), bits, SOPClassUID=sop_class, ConversionType="DI", BurnedInAnnotation="NO",
        PresentationLUTShape="IDENTITY", RescaleSlope="1", RescaleIntercept="0", RescaleType="US", ImageType=["ORIGINAL", "PRIMARY"],
        FieldOfViewShape=None, PositionerMotion=None, PositionerPrimaryAngle=None, PositionerSecondaryAngle=None, KVP=None, RadiationSetting=None,
        PixelIntensityRelationship=None, ImagerPixelSpacing=None, ExposureTime=None, XRayTubeCurrent=None, Exposure=None,
    )  # fmt: skip


def changed(path: Path, **changes) -> Path:
    """The file with attributes set (None removes one) and its meta information made to agree."""
    header = dcmread(path)
    for keyword, value in changes.items():
        if value is not None:
            setattr(header, keyword, value)
        elif keyword in header:
            delattr(header, keyword)
    header.file_meta.MediaStorageSOPClassUID = header.get("SOPClassUID", "1.2.3")
    header.save_as(path)
    return path


def compressed(path: Path, syntax: UID) -> Path:
    """The file with its pixels compressed; skips where no encoder is installed."""
    if syntax in (JPEGLosslessSV1, JPEG2000Lossless):
        gdcm = pytest.importorskip("gdcm", reason="python-gdcm encodes JPEG lossless and JPEG 2000")
        ours = gdcm.TransferSyntax
        target = ours.JPEG2000Lossless if syntax == JPEG2000Lossless else ours.JPEGLosslessProcess14_1
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(os.fspath(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(target))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(os.fspath(path))
        assert writer.Write()
        return path
    header = dcmread(path)
    try:
        header.compress(syntax, generate_instance_uid=False)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"no encoder for {syntax.name}: {error}")
    header.save_as(path)
    return path


def reencoded(path: Path, syntax: UID) -> Path:
    """The file in another uncompressed encoding."""
    header = dcmread(path)
    pixels = np.frombuffer(header.PixelData, "<u2")
    again = Dataset()
    for element in header:
        again.add(element)
    again.file_meta = header.file_meta
    again.file_meta.TransferSyntaxUID = syntax
    again.PixelData = pixels.astype("<u2" if syntax.is_little_endian else ">u2").tobytes()
    again["PixelData"].VR = "OW"
    again.save_as(path, enforce_file_format=True)
    return path


def enhanced_file(path: Path, steps_s: tuple[float, ...] = (0.1, 0.1, 0.2, 0.1)) -> Path:
    """An Enhanced XA run: frame times, spacing and relationship in functional groups only."""
    xa_file(path)
    header = dcmread(path)
    for keyword in (
        "FrameTime", "FrameIncrementPointer", "ImagerPixelSpacing", "PixelIntensityRelationship", "PositionerMotion"
    ):  # fmt: skip
        delattr(header, keyword)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = EnhancedXAImageStorage
    header.ImageType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE", "NONE"]
    header.PresentationLUTShape, header.ContentQualification = "IDENTITY", "RESEARCH"
    facts = Dataset()
    facts.FrameType = ["ORIGINAL", "PRIMARY", "SINGLE PLANE", "NONE"]
    facts.PixelIntensityRelationship, facts.PixelIntensityRelationshipSign = "LOG", -1
    facts.ImagerPixelSpacing = [0.3, 0.3]
    facts.ImageProcessingApplied = "NONE"
    shared = Dataset()
    shared.FramePixelDataPropertiesSequence = Sequence([facts])
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for index in range(header.NumberOfFrames):
        content = Dataset()
        content.FrameAcquisitionDateTime = f"20260101120000.{round(1e6 * sum(steps_s[:index])):06d}"
        content.FrameAcquisitionNumber = index + 1
        item = Dataset()
        item.FrameContentSequence = Sequence([content])
        groups.append(item)
    header.PerFrameFunctionalGroupsSequence = Sequence(groups)
    header.save_as(path)
    return path


def dciodvfy_errors(path: Path) -> list[str]:
    """The errors that dciodvfy finds in a file; skips where it is not installed (Debian: dicom3tools)."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")
    result = subprocess.run(["dciodvfy", os.fspath(path)], capture_output=True, text=True, errors="replace")
    return sorted({line for line in (result.stderr + result.stdout).splitlines() if line.startswith("Error")})


def native_pixel_offset(path: Path) -> int:
    """Where the pixels of an uncompressed explicit file begin."""
    assert dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    return path.read_bytes().rindex(b"\xe0\x7f\x10\x00OW") + 12
