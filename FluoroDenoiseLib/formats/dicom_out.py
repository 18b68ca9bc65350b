"""Runs into DICOM: a derived object of the same kind, with new identity, our equipment and the scanner as a source.

Section numbers are those of DICOM PS3.3.
"""

from __future__ import annotations

import copy
import hashlib
import io
import struct
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmwrite
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian

from ..errors import InputError, OutputError
from ..fluoro_run import FluoroRun
from .dicom_in import is_enhanced
from .dicom_reading import OVERLAYS, quiet_pydicom, refusing_damage
from .rle_frames import prepare_rle, write_rle_pixels
from .stored_frames import Provenance, StoredFrames

PRODUCT = "FluoroDenoise"
MAX_PIXEL_BYTES = 2**32 - 2
SMOOTHING = ("113087", "Smoothing")
SOURCE_IMAGE = ("121322", "Source image for image processing operation")
ACQUISITION_EQUIPMENT = ("109101", "Acquisition Equipment")
PROCESSING_EQUIPMENT = ("109102", "Processing Equipment")
# General Equipment (C.7.5.1) that describes the scanner: it moves into ContributingEquipmentSequence.
SCANNER = (
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber", "StationName", "DeviceUID",
    "SpatialResolution", "DateOfLastCalibration", "TimeOfLastCalibration",
)  # fmt: skip
SCANNER_ONLY = ("GantryID", "UDISequence", "ManufacturerDeviceClassUID", "DateOfManufacture", "DateOfInstallation")
INSTITUTION = ("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName")
# Statistics, previews and signatures of other pixels; the step of work that was the scanner's, not ours.
STALE = (
    "SmallestImagePixelValue", "LargestImagePixelValue", "SmallestPixelValueInSeries", "LargestPixelValueInSeries",
    "HistogramSequence", "IconImageSequence", "DigitalSignaturesSequence", "MACParametersSequence",
    "EncryptedAttributesSequence", "ReferencedPerformedProcedureStepSequence", "PerformedProcedureStepID",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime", "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime", "PerformedProcedureStepDescription", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "DataSetTrailingPadding", "InstanceCreatorUID",
)  # fmt: skip
STALE_PER_FRAME = ("SmallestImagePixelValue", "LargestImagePixelValue")


def write_dicom(temporary: Path, frames: StoredFrames, run: FluoroRun, provenance: Provenance) -> None:
    """A derived object into `temporary`: the header first, then frame after frame. Memory: one frame.

    Uncompressed; as RLE, frame by frame, where the pixels exceed the 4 GB that an uncompressed element can hold.
    """
    with refusing_damage(run.source.name, "copying its header"):
        derived = derived_header(run.source.header, provenance, run.source.part)
    large = frames.bytes > MAX_PIXEL_BYTES
    with open(temporary, "w+b") as file:
        if large:
            prepare_rle(derived, frames)
        write_header(file, derived, run.source.name)
        if large:
            write_rle_pixels(file, frames)
        else:
            write_pixels(file, frames, frames.bytes)


def write_header(file: BinaryIO, header: Dataset, name: str) -> None:
    """The header without pixel data, Explicit VR Little Endian; InputError if what it holds cannot be encoded."""
    encoded = io.BytesIO()  # pydicom reports unusable values as OSError too: they must not look like a full disk
    try:
        with quiet_pydicom():
            dcmwrite(encoded, header, enforce_file_format=True)
    except Exception as error:
        # The text of the exception may hold values of the patient.
        raise InputError(
            f"The header of {name} has values that no DICOM file can hold ({type(error).__name__}); repair it first."
        ) from None
    file.write(encoded.getbuffer())


def write_pixels(file: BinaryIO, frames: StoredFrames, size: int) -> None:
    """The pixel data element, which is the last of the file, after the header; OW takes pixels of 8 bits too."""
    file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, size + size % 2))
    for frame in frames:
        file.write(memoryview(frame.astype(frame.dtype.newbyteorder("<"), copy=False)).cast("B"))
    file.write(b"\0" * (size % 2))


def derived_header(source: Dataset, provenance: Provenance, part: tuple[int, int] | None = None) -> Dataset:
    """The header of the result: a deep copy of the source's with everything changed that a derivation changes.

    Identity, time, ImageType, derivation, references and equipment are new; patient, study, geometry, technique,
    timing, bits, window and intensity relationship stay. The source is left as it is. part: first and last frame, from 1,
    that the result is of its source; None for all.
    """
    derived = copy.deepcopy(source)
    if is_enhanced(source):
        derived.ContentQualification = "RESEARCH"
    _remove_stale(derived)
    _set_identity(derived, source, provenance, part)
    _set_derivation(derived, source, provenance, part)
    _set_equipment(derived, source, provenance)
    if is_enhanced(source):
        _set_functional_groups(derived, source, provenance, part)
    return derived


def uid_from(*parts: str) -> UID:
    """A UID under 2.25 that is the same whenever the parts are: the same input, model and settings, the same object."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return UID(f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}")


def _remove_stale(derived: Dataset) -> None:
    for keyword in STALE:
        if keyword in derived:
            del derived[keyword]
    # Overlays in the unused bits of the old pixels are not in the new ones; those with data of their own stay.
    for group in OVERLAYS:
        if (group, 0x0102) in derived and (group, 0x3000) not in derived:
            for tag in [tag for tag in derived.keys() if tag.group == group]:
                del derived[tag]
    _remove_private(derived)


def _remove_private(dataset: Dataset) -> None:
    """Private elements may hold the patient's identity or describe the old pixels.

    Only sequences are decoded on the way: names and texts stay the bytes that they were.
    """
    for tag in list(dataset.keys()):
        if tag.is_private:
            del dataset[tag]
        elif (dataset.get_item(tag).VR or _usual_vr(tag)) == "SQ":
            for item in dataset[tag].value or ():
                _remove_private(item)


def _usual_vr(tag) -> str:
    return dictionary_VR(tag) if dictionary_has_tag(tag) else ""


def _set_identity(derived: Dataset, source: Dataset, provenance: Provenance, part: tuple[int, int] | None) -> None:
    how = (provenance.model_sha256, repr(provenance.strength), provenance.parameters, provenance.software_version)
    frames = () if part is None else (f"frames {part[0]}-{part[1]}",)
    derived.SOPInstanceUID = uid_from(str(source.get("SOPInstanceUID")), *how, *frames)
    # All runs of a series that are denoised in one way meet in one derived series.
    derived.SeriesInstanceUID = uid_from("series", str(source.get("SeriesInstanceUID")), *how)
    number = source.get("SeriesNumber")
    derived.SeriesNumber = (int(number) if number is not None else 0) + 1000
    derived.SeriesDescription = series_description(provenance)
    for keyword in ("ConcatenationUID", "SOPInstanceUIDOfConcatenationSource"):
        if derived.get(keyword):  # the parts of a derived whole belong together, and not with those of the original
            setattr(derived, keyword, uid_from("concatenation", str(derived[keyword].value), *how, *frames))
    now = datetime.now(_offset(source))
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    for moment in ("Series", "Content", "InstanceCreation"):
        setattr(derived, f"{moment}Date", date)
        setattr(derived, f"{moment}Time", time)
    derived.preamble = b"\0" * 128
    derived.file_meta = FileMetaDataset()
    derived.file_meta.MediaStorageSOPClassUID = source.SOPClassUID
    derived.file_meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    derived.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def series_description(provenance: Provenance) -> str:
    """What a person reads in a list of series, at most 64 characters."""
    return f"{PRODUCT} {_plain(provenance.model_name)[:26]}, not for clinical use"


def _plain(text: str) -> str:
    """Text that any character set can carry and that no value ends within."""
    return text.encode("ascii", "replace").decode().replace("\\", "/")


def _offset(source: Dataset) -> timezone | None:
    """The time zone the header's times are in; None, the machine's, where it names none."""
    text = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(text) == 5 and text[0] in "+-" and text[1:].isdigit():
        east = timedelta(hours=int(text[1:3]), minutes=int(text[3:]))
        return timezone(east if text[0] == "+" else -east)
    return None


def _set_derivation(derived: Dataset, source: Dataset, provenance: Provenance, part: tuple[int, int] | None) -> None:
    """C.7.6.1.1.2 Image Type, C.12.4 General Reference, C.12.2 Common Instance Reference."""
    derived.ImageType = ["DERIVED", "SECONDARY", *list(source.get("ImageType") or [])[2:]]
    if "DerivationDescription" in source:
        earlier = f"; before that: {source.DerivationDescription}"
    else:
        earlier = ""
    derived.DerivationDescription = (derivation_text(provenance) + earlier)[:1024]
    # More than one item would mean successive steps: ours is one, after those already there.
    derived.DerivationCodeSequence = Sequence([*source.get("DerivationCodeSequence", []), smoothing_code()])
    derived.SourceImageSequence = Sequence([_source_image(source, part)])
    if source.get("SeriesInstanceUID"):
        series = Dataset()
        series.SeriesInstanceUID = source.SeriesInstanceUID
        series.ReferencedInstanceSequence = Sequence([_reference(source)])
        derived.ReferencedSeriesSequence = Sequence([*source.get("ReferencedSeriesSequence", []), series])


def derivation_text(provenance: Provenance) -> str:
    """The sentence that says what was done, in ASCII so that any character set can carry it."""
    text = (
        f"{PRODUCT} {provenance.software_version} noise reduction; model {provenance.model_name} "
        f"sha256:{provenance.model_sha256}; strength {provenance.strength:g}; {provenance.parameters}; "
        f"{provenance.description + '; ' if provenance.description else ''}research use only, not for clinical use"
    )
    return _plain(text)


def smoothing_code() -> Dataset:
    """What was done, as an item of a DerivationCodeSequence."""
    return _code(*SMOOTHING)


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    return item


def _source_image(source: Dataset, part: tuple[int, int] | None) -> Dataset:
    item = _reference(source)
    if part is not None:
        item.ReferencedFrameNumber = list(range(part[0], part[1] + 1)) if part[0] < part[1] else part[0]
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = Sequence([_code(*SOURCE_IMAGE)])
    return item


def _set_equipment(derived: Dataset, source: Dataset, provenance: Provenance) -> None:
    """C.12.1.1.5: who derives puts itself in General Equipment and the scanner among the contributors."""
    scanner = Dataset()
    for keyword in SCANNER + INSTITUTION:
        if keyword in source:
            scanner[keyword] = copy.deepcopy(source[keyword])
    if not scanner.get("Manufacturer"):
        scanner.Manufacturer = "UNKNOWN"
    was_derived = list(source.get("ImageType") or [])[:1] == ["DERIVED"]
    purpose = PROCESSING_EQUIPMENT if was_derived else ACQUISITION_EQUIPMENT
    scanner.PurposeOfReferenceCodeSequence = Sequence([_code(*purpose)])
    derived.ContributingEquipmentSequence = Sequence([*derived.get("ContributingEquipmentSequence", []), scanner])
    for keyword in SCANNER + SCANNER_ONLY:
        if keyword in derived:
            del derived[keyword]
    derived.Manufacturer = PRODUCT
    derived.ManufacturerModelName = PRODUCT
    derived.SoftwareVersions = provenance.software_version
    # A model changed by training is another device.
    derived.DeviceUID = uid_from("model", provenance.model_sha256)
    if is_enhanced(source):
        derived.DeviceSerialNumber = provenance.model_sha256[:16]


def _set_functional_groups(derived: Dataset, source: Dataset, provenance: Provenance, part: tuple[int, int] | None) -> None:
    """C.7.6.16.2.6 Derivation Image and C.8.19.6.4 frame properties; C.8.13.2 evidence of the source."""
    shared = derived.get("SharedFunctionalGroupsSequence", [])
    per_frame = derived.get("PerFrameFunctionalGroupsSequence", [])
    for groups in (*shared, *per_frame):
        for facts in groups.get("FramePixelDataPropertiesSequence", []):
            facts.FrameType = ["DERIVED", "SECONDARY", *list(facts.get("FrameType") or [])[2:]]
            applied = facts.get("ImageProcessingApplied") or []
            applied = [applied] if isinstance(applied, str) else list(applied)
            applied = [term for term in applied if term != "NONE"]
            facts.ImageProcessingApplied = applied + [
                term for term in ("LOW_PASS_FILTER", "FRAME_AVERAGING") if term not in applied
            ]
        for facts in groups.get("FrameContentSequence", []):
            for keyword in STALE_PER_FRAME:
                if keyword in facts:
                    del facts[keyword]
    derivation = Dataset()
    derivation.DerivationDescription = derivation_text(provenance)[:1024]
    derivation.DerivationCodeSequence = Sequence([smoothing_code()])
    derivation.SourceImageSequence = Sequence([_source_image(source, part)])
    # A functional group is either shared or per frame, never both.
    everywhere = per_frame if any("DerivationImageSequence" in groups for groups in per_frame) else list(shared)[:1]
    for groups in everywhere:
        earlier = groups.get("DerivationImageSequence", [])
        groups.DerivationImageSequence = Sequence([*earlier, copy.deepcopy(derivation)])
    if not source.get("StudyInstanceUID") or not source.get("SeriesInstanceUID"):
        return
    evidence = Dataset()
    evidence.StudyInstanceUID = source.StudyInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([_reference(source)])
    evidence.ReferencedSeriesSequence = Sequence([series])
    derived.SourceImageEvidenceSequence = Sequence([*source.get("SourceImageEvidenceSequence", []), evidence])


def require_derived(path: Path, header: Dataset, source: Dataset) -> None:
    """OutputError unless the header read back is that of a new, derived object of the same kind."""
    with quiet_pydicom():
        problems = _not_derived(header, source)
    if any(problems):
        raise OutputError(f"{path.name} did not read back as a derived object of its source.")


def _not_derived(header: Dataset, source: Dataset) -> list[bool]:
    return [
        header.SOPClassUID != source.SOPClassUID,
        header.SOPInstanceUID == source.get("SOPInstanceUID"),
        header.file_meta.MediaStorageSOPInstanceUID != header.SOPInstanceUID,
        header.ImageType[0] != "DERIVED",
        header.get("NumberOfFrames") != source.get("NumberOfFrames"),
        header.get("PixelIntensityRelationship") != source.get("PixelIntensityRelationship"),
    ]
