"""Small synthetic CT volumes for the tests: a DICOM series, an Enhanced CT, and the means to spoil them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian

ROOT = "1.2.826.0.1.3680043.8.498.1"
PADDING = -2000
STEP_MM = 2.5


def ct_hu(slices: int = 5, shape: tuple[int, int] = (24, 32), seed: int = 3) -> np.ndarray:
    """A noisy cylinder of soft tissue in air, whole HU, [Z, H, W] int16; each slice has a level of its own."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    inside = np.hypot((rows - shape[0] / 2) / shape[0], (columns - shape[1] / 2) / shape[1]) < 0.4
    noise = np.random.default_rng(seed).normal(0, 30, (slices, *shape))
    hu = np.where(inside, 40.0, -1000.0) + noise + np.arange(slices)[:, None, None]
    return np.maximum(np.rint(hu), -1024).astype(np.int16)


def _common(sop_class: str, number: int) -> Dataset:
    header = Dataset()
    header.preamble = b"\0" * 128
    header.file_meta = FileMetaDataset()
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = sop_class
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID = f"{ROOT}.9.{number}"
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.StudyDate = header.SeriesDate = header.ContentDate = "20240102"
    header.StudyTime = header.SeriesTime = header.ContentTime = "101112"
    header.AccessionNumber, header.Modality, header.ReferringPhysicianName = "", "CT", ""
    header.Manufacturer, header.ManufacturerModelName, header.StationName = "Scanner Works", "CT-1", "CT2"
    header.DeviceSerialNumber, header.SoftwareVersions = "77", "1"
    header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = "Doe^Jane", "P1", "19700101", "F"
    header.StudyInstanceUID, header.SeriesInstanceUID = f"{ROOT}.1", f"{ROOT}.2"
    header.StudyID, header.SeriesNumber, header.InstanceNumber = "1", 4, number
    header.FrameOfReferenceUID, header.PositionReferenceIndicator = f"{ROOT}.3", ""
    header.PatientPosition, header.BodyPartExamined = "HFS", "PELVIS"
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    return header


def ct_slice(path: Path, stored: np.ndarray, index: int, number: int | None = None, **changes) -> Path:
    """One CT image at its place along z; changes: attributes set afterwards, None removes one."""
    header = _common(CTImageStorage, index + 1 if number is None else number)
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.AcquisitionNumber, header.KVP, header.SliceThickness = 1, "120", "2.5"
    header.ImagePositionPatient = [-100.0, -80.0, -50.0 + STEP_MM * index]
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.PixelSpacing = [0.75, 0.5]
    header.Rows, header.Columns = stored.shape
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", "0", "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    header.PixelPaddingValue = PADDING
    header.add_new(0x00090010, "LO", "SCANNER WORKS")
    header.add_new(0x00091001, "LO", "Doe")
    header.PixelData = stored.astype("<i2").tobytes()
    for keyword, value in changes.items():
        if value is not None:
            setattr(header, keyword, value)
        elif keyword in header:
            delattr(header, keyword)
    if "SOPInstanceUID" in header:
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path, enforce_file_format=True)
    return path


def ct_series(folder: Path, hu: np.ndarray | None = None, **changes) -> Path:
    """A series of one slice a file, whose names and InstanceNumbers run against the order of their places."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = ct_hu() if hu is None else hu
    for index, stored in enumerate(hu):
        ct_slice(folder / f"IM{len(hu) - index:04d}", stored, index, len(hu) - index, **changes)
    return folder


def changed(path: Path, **changes) -> Path:
    """The file with attributes set (None removes one)."""
    header = dcmread(path)
    for keyword, value in changes.items():
        if value is not None:
            setattr(header, keyword, value)
        else:
            delattr(header, keyword)
    header.file_meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", "1.2")
    header.save_as(path)
    return path


def _item(**values) -> Sequence:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return Sequence([item])


def enhanced_ct(path: Path, hu: np.ndarray | None = None, slope: float = 2.0, intercept: float = -1024.0) -> Path:
    """An Enhanced CT whose frames lie in the file against the order of their places; frame f holds slice count-1-f."""
    hu = ct_hu() if hu is None else hu
    header = _common(EnhancedCTImageStorage, 1)
    header.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    header.NumberOfFrames, header.Rows, header.Columns = hu.shape
    header.PixelPaddingValue = PADDING
    header.PixelPresentation, header.VolumetricProperties, header.VolumeBasedCalculationTechnique = "MONOCHROME", "VOLUME", "NONE"
    header.ContentQualification, header.BurnedInAnnotation, header.LossyImageCompression = "PRODUCT", "NO", "00"
    header.PresentationLUTShape, header.InstanceNumber = "IDENTITY", 1
    header.AcquisitionDateTime, header.AcquisitionDuration, header.AcquisitionNumber = "20240102101112", 1.0, 1
    header.DimensionOrganizationSequence = _item(DimensionOrganizationUID=f"{ROOT}.5")
    header.DimensionIndexSequence = _item(DimensionIndexPointer=0x00200032, FunctionalGroupPointer=0x00209113,
                                          DimensionOrganizationUID=f"{ROOT}.5")
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    shared.PixelMeasuresSequence = _item(PixelSpacing=[0.75, 0.5], SliceThickness=2.5)
    shared.PixelValueTransformationSequence = _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
    shared.CTImageFrameTypeSequence = _item(FrameType=header.ImageType, PixelPresentation="MONOCHROME", VolumetricProperties="VOLUME",
                                            VolumeBasedCalculationTechnique="NONE")
    shared.FrameVOILUTSequence = _item(WindowCenter=40, WindowWidth=400)
    shared.FrameAnatomySequence = _item(FrameLaterality="U", AnatomicRegionSequence=_item(
        CodeValue="12921003", CodingSchemeDesignator="SCT", CodeMeaning="Pelvis"))
    shared.IrradiationEventIdentificationSequence = _item(IrradiationEventUID=f"{ROOT}.6")
    header.AcquisitionContextSequence = Sequence()
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for frame in range(len(hu)):
        groups = Dataset()
        place = len(hu) - 1 - frame
        groups.FrameContentSequence = _item(StackID="1", InStackPositionNumber=place + 1, DimensionIndexValues=[place + 1])
        groups.PlanePositionSequence = _item(ImagePositionPatient=[-100.0, -80.0, -50.0 + STEP_MM * place])
        frames.append(groups)
    header.PerFrameFunctionalGroupsSequence = Sequence(frames)
    stored = np.where(hu == PADDING, PADDING, np.rint((hu.astype(float) - intercept) / slope))
    header.PixelData = stored[::-1].astype("<i2").tobytes()
    header.save_as(path, enforce_file_format=True)
    return path
