"""What a derived object must be, beside what a validator of single files can see: rules over source and result.

Each rule is a function of (source, derived, provenance), data sets as pydicom reads them, that is true when it is kept.
Sections in the names' comments are of DICOM PS3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from FluoroDenoiseLib.formats import Provenance
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import EnhancedCTImageStorage, EnhancedXAImageStorage, EnhancedXRFImageStorage, ExplicitVRLittleEndian, RLELossless

PATIENT = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "IssuerOfPatientID", "OtherPatientIDs", "PatientAge",
           "PatientWeight", "PatientComments", "SpecificCharacterSet")  # fmt: skip
STUDY = ("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName", "StudyDescription")
GEOMETRY = ("FrameOfReferenceUID", "ImagerPixelSpacing", "PixelSpacing", "PositionerPrimaryAngle", "PositionerSecondaryAngle",
            "DistanceSourceToDetector", "DistanceSourceToPatient", "PatientOrientation", "Laterality", "ShutterShape",
            "ShutterLeftVerticalEdge", "CollimatorShape", "PositionerMotion", "ImagePositionPatient", "ImageOrientationPatient",
            "SliceThickness", "SpacingBetweenSlices", "SliceLocation", "GantryDetectorTilt", "TableHeight", "PatientPosition",
            "InstanceNumber", "DimensionIndexSequence", "DimensionOrganizationSequence")  # fmt: skip
TECHNIQUE = ("KVP", "XRayTubeCurrent", "ExposureTime", "Exposure", "RadiationSetting", "AcquisitionDate", "AcquisitionTime",
             "AcquisitionDateTime", "ImageAndFluoroscopyAreaDoseProduct", "IrradiationEventUID", "ConvolutionKernel", "CTDIvol",
             "AcquisitionNumber", "ConversionType")  # fmt: skip
PIXELS = ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
          "PixelRepresentation", "NumberOfFrames", "PixelPaddingValue")  # fmt: skip
INTENSITY = ("PixelIntensityRelationship", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
             "RescaleType", "VOILUTSequence", "PresentationLUTShape")  # fmt: skip
TIMING = ("FrameIncrementPointer", "FrameTime", "FrameTimeVector", "FrameDelay", "CineRate", "RecommendedDisplayFrameRate",
          "MaskSubtractionSequence", "RepresentativeFrameNumber", "StartTrim", "StopTrim", "RWavePointer")  # fmt: skip
STALE = ("SmallestImagePixelValue", "LargestImagePixelValue", "HistogramSequence", "IconImageSequence", "DigitalSignaturesSequence",
         "MACParametersSequence", "EncryptedAttributesSequence", "ReferencedPerformedProcedureStepSequence",
         "PerformedProcedureStepID", "InstanceCreatorUID", "DataSetTrailingPadding")  # fmt: skip
SCANNERS = ("StationName", "GantryID", "DateOfLastCalibration", "SpatialResolution")


def same(keywords: tuple[str, ...]):
    """A rule: these attributes are in the result what they are in the source, present or not."""
    return lambda source, derived, provenance: all(source.get(keyword) == derived.get(keyword) for keyword in keywords)


def enhanced(header: Dataset) -> bool:
    return header.SOPClassUID in (EnhancedXAImageStorage, EnhancedXRFImageStorage, EnhancedCTImageStorage)


def second_value(header: Dataset) -> str:
    """The second value of a derived Image Type: C.7.6.1.1.2, and C.8.16.1 for enhanced CT."""
    return "PRIMARY" if header.SOPClassUID == EnhancedCTImageStorage else "SECONDARY"


def items(header: Dataset, keyword: str) -> list[Dataset]:
    return list(header.get(keyword) or [])


def last(header: Dataset, keyword: str) -> Dataset:
    return (items(header, keyword) or [Dataset()])[-1]


def elements(header: Dataset) -> Iterator:
    for element in header:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def code(item: Dataset) -> tuple:
    return item.get("CodeValue"), item.get("CodingSchemeDesignator"), item.get("CodeMeaning")


def known(concept) -> tuple:
    return concept.value, "DCM", concept.meaning


def our_code_is_smoothing(source, derived, provenance):  # CID 7203 has none for noise reduction
    ours = items(derived, "DerivationCodeSequence")
    before = items(source, "DerivationCodeSequence")
    return len(ours) == len(before) + 1 and list(map(code, ours[:-1])) == list(map(code, before)) and code(ours[-1]) == known(codes.DCM.Smoothing)


def derivation_is_described(source, derived, provenance):  # C.12.4
    text = derived.get("DerivationDescription") or ""
    needed = ("FluoroDenoise", provenance.software_version, provenance.model_sha256, "strength", "not for clinical use")
    return len(text) <= 1024 and text.isascii() and all(word in text for word in needed)


def source_image_is_referenced(source, derived, provenance):  # C.7.6.1.1.4
    item = last(derived, "SourceImageSequence")
    return (len(items(derived, "SourceImageSequence")) == 1 and item.get("ReferencedSOPInstanceUID") == source.SOPInstanceUID
            and item.get("ReferencedSOPClassUID") == source.SOPClassUID and item.get("SpatialLocationsPreserved") == "YES"
            and code(last(item, "PurposeOfReferenceCodeSequence")) == known(codes.DCM.SourceImageForImageProcessingOperation))  # fmt: skip


def source_series_is_referenced(source, derived, provenance):  # C.12.2
    item = last(derived, "ReferencedSeriesSequence")
    instance = last(item, "ReferencedInstanceSequence")
    return item.get("SeriesInstanceUID") == source.SeriesInstanceUID and instance.get("ReferencedSOPInstanceUID") == source.SOPInstanceUID


def scanner_contributed(source, derived, provenance):  # C.12.1.1.5
    before, now = items(source, "ContributingEquipmentSequence"), items(derived, "ContributingEquipmentSequence")
    purpose = codes.DCM.ProcessingEquipment if source.ImageType[0] == "DERIVED" else codes.DCM.AcquisitionEquipment
    return (len(now) == len(before) + 1 and now[:-1] == before and bool(now[-1].get("Manufacturer"))
            and now[-1].Manufacturer == (source.get("Manufacturer") or "UNKNOWN")
            and code(last(now[-1], "PurposeOfReferenceCodeSequence")) == known(purpose))  # fmt: skip


def every_uid_is_one(source, derived, provenance):  # PS3.5 section 9
    return all(
        re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+", str(uid)) and len(str(uid)) <= 64
        for uid in (derived.SOPInstanceUID, derived.SeriesInstanceUID, derived.DeviceUID)
    )


def times_fit_the_frames(source, derived, provenance):  # C.7.6.5
    pointer, vector = derived.get("FrameIncrementPointer"), derived.get("FrameTimeVector")
    pointers = pointer if hasattr(pointer, "append") else [pointer] if pointer else []
    frames = int(derived.get("NumberOfFrames") or 1)
    return all(tag in derived for tag in pointers) and (vector is None or isinstance(vector, bytes) or len(vector) == frames)


def groups_keep_what_they_say_of_space_and_values(source, derived, provenance):  # C.7.6.16
    if not enhanced(source):
        return True
    kept = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence", "PixelValueTransformationSequence",
            "FrameVOILUTSequence", "FrameAnatomySequence", "IrradiationEventIdentificationSequence")  # fmt: skip
    said = lambda header: [[items(group, keyword) for keyword in kept]
                           for shared in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence") for group in items(header, shared)]
    return said(source) == said(derived)


def enhanced_groups_say_so(source, derived, provenance):  # C.8.19.6.4, C.7.6.16.2.6, C.8.13.2, C.8.15.3.1
    if not enhanced(source):
        return True
    ct = source.SOPClassUID == EnhancedCTImageStorage
    groups = [*items(derived, "SharedFunctionalGroupsSequence"), *items(derived, "PerFrameFunctionalGroupsSequence")]
    facts = [item for group in groups for item in items(group, "CTImageFrameTypeSequence" if ct else "FramePixelDataPropertiesSequence")]
    derivations = [item for group in groups for item in items(group, "DerivationImageSequence")]
    evidence = last(last(last(derived, "SourceImageEvidenceSequence"), "ReferencedSeriesSequence"), "ReferencedSOPSequence")
    return (bool(facts) and all(item.FrameType[:2] == ["DERIVED", second_value(source)] for item in facts)
            and (ct or all({"LOW_PASS_FILTER", "FRAME_AVERAGING"} <= set(item.ImageProcessingApplied) for item in facts))
            and bool(derivations) and code(last(derivations[-1], "DerivationCodeSequence")) == known(codes.DCM.Smoothing)
            and evidence.get("ReferencedSOPInstanceUID") == source.SOPInstanceUID
            and derived.get("ContentQualification") == "RESEARCH"
            and len(items(derived, "PerFrameFunctionalGroupsSequence")) == int(derived.NumberOfFrames))  # fmt: skip


def pixels_fill_the_element(source, derived, provenance):
    size = int(derived.get("NumberOfFrames") or 1) * derived.Rows * derived.Columns * derived.BitsAllocated // 8
    return derived.file_meta.TransferSyntaxUID == RLELossless or len(derived.PixelData) == size + size % 2


def encoding_is_plain(source, derived, provenance):
    syntax = derived.file_meta.TransferSyntaxUID
    return syntax == ExplicitVRLittleEndian or (syntax == RLELossless and "ExtendedOffsetTable" in derived)


def times_of_making_are_there(source, derived, provenance):
    return all(re.fullmatch(r"\d{8}", str(derived.get(f"{moment}Date"))) and re.match(r"\d{6}", str(derived.get(f"{moment}Time")))
               for moment in ("Series", "Content", "InstanceCreation"))  # fmt: skip


RULES = {
    "the kind of object stays": lambda s, d, p: s.SOPClassUID == d.SOPClassUID,
    "the instance is new": lambda s, d, p: s.SOPInstanceUID != d.SOPInstanceUID,  # C.7.6.1.1.2
    "the file meta information agrees": lambda s, d, p: d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
    and d.file_meta.MediaStorageSOPClassUID == d.SOPClassUID,
    "the series is new": lambda s, d, p: s.SeriesInstanceUID != d.SeriesInstanceUID and s.get("SeriesNumber") != d.SeriesNumber,
    "the series says what it is": lambda s, d, p: "FluoroDenoise" in d.SeriesDescription
    and "not for clinical use" in d.SeriesDescription and len(d.SeriesDescription) <= 64,
    "every new UID is one": every_uid_is_one,
    "the patient stays": same(PATIENT),
    "the study stays": same(STUDY),
    "geometry stays": same(GEOMETRY),
    "technique stays": same(TECHNIQUE),
    "pixels are described as before": same(PIXELS),
    "the high bit fits": lambda s, d, p: d.HighBit == d.BitsStored - 1,
    "intensity and window stay": same(INTENSITY),
    "timing and masks stay": same(TIMING),
    "times fit the frames": times_fit_the_frames,
    "it is a derived image": lambda s, d, p: list(d.ImageType) == ["DERIVED", second_value(s), *list(s.ImageType)[2:]],
    "the derivation is described": derivation_is_described,
    "the derivation has its code": our_code_is_smoothing,
    "the source image is referenced": source_image_is_referenced,
    "the source series is referenced": source_series_is_referenced,
    "the equipment is ours": lambda s, d, p: (d.Manufacturer, d.ManufacturerModelName, d.SoftwareVersions)
    == ("FluoroDenoise", "FluoroDenoise", p.software_version),
    "the scanner contributed": scanner_contributed,
    "the scanner is not our equipment": lambda s, d, p: not any(keyword in d for keyword in SCANNERS)
    and (enhanced(s) or "DeviceSerialNumber" not in d),
    "stale values are gone": lambda s, d, p: not any(keyword in d for keyword in STALE),
    "losses stay confessed": lambda s, d, p: s.get("LossyImageCompression") == d.get("LossyImageCompression"),
    "burned-in text is stated as before": same(("BurnedInAnnotation", "RecognizableVisualFeatures")),
    "nothing private is left": lambda s, d, p: not any(element.tag.is_private for element in elements(d)),
    "the encoding is plain": encoding_is_plain,
    "the pixels fill their element": pixels_fill_the_element,
    "the times of its making are there": times_of_making_are_there,
    "enhanced groups say so too": enhanced_groups_say_so,
    "enhanced groups keep the rest": groups_keep_what_they_say_of_space_and_values,
}


def broken_rules(source: Dataset, derived: Dataset, provenance: Provenance) -> list[str]:
    """The names of the rules that a derived object breaks; one that cannot be evaluated is broken."""
    broken = []
    for name, rule in RULES.items():
        try:
            kept = rule(source, derived, provenance)
        except (AttributeError, IndexError, KeyError, TypeError):
            kept = False
        if not kept:
            broken.append(name)
    return broken
