"""What a DICOM header says of one CT slice: where it lies and what its values mean. Sections are those of DICOM PS3.3."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage

from ..ct_volume import SliceValues
from ..errors import InputError, UnsupportedError
from .dicom_in import LOSSY_SYNTAXES, is_enhanced
from .dicom_pixels import PixelLayout
from .dicom_reading import OVERLAYS, functional_group
from .padding import padding_range

CT_CLASSES = (CTImageStorage, EnhancedCTImageStorage)
HU_TYPES = ("", "HU", "HU_MOD")
NOT_ORTHOGONAL = 0.01


class SliceFacts(NamedTuple):
    """One slice. frame: its number in its file, from 0. position_mm: centre of its first pixel. row, column: directions
    of rising column and row index. spacing_mm: row, column. thickness_mm: 0 where it is not stated."""

    path: Path
    frame: int
    uid: str
    study: str
    layout: PixelLayout
    position_mm: tuple[float, ...]
    row: tuple[float, ...]
    column: tuple[float, ...]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    values: SliceValues


def require_ct(header: Dataset, path: Path) -> None:
    """InputError for a header without identity, UnsupportedError for any object that is no CT image."""
    syntax, sop_class = header.file_meta.get("TransferSyntaxUID"), header.get("SOPClassUID")
    if not syntax or not sop_class or not header.get("SOPInstanceUID"):
        raise InputError(f"{path.name} lacks its transfer syntax, SOP class or SOP instance UID; it is incomplete.")
    if sop_class not in CT_CLASSES:
        kind = "unknown" if sop_class.name == str(sop_class) else sop_class.name
        raise UnsupportedError(f"{path.name} is no CT image but {kind}, and the preset ct is for CT; X-ray runs have the presets "
                               "fast and quality.")
    if syntax.is_private:
        raise UnsupportedError(f"{path.name} is stored in a way of its maker's own; save it in a standard one first.")


def is_localizer(header: Dataset, frame: int = 0) -> bool:
    """Whether a slice is a scout view, which is a projection (C.8.2.1.1.1)."""
    if is_enhanced(header):
        kind = functional_group(header, "CTImageFrameTypeSequence", frame).get("FrameType")
    else:
        kind = header.get("ImageType")
    return "LOCALIZER" in list(kind or [])


def slice_facts(header: Dataset, path: Path, layout: PixelLayout, frame: int = 0) -> SliceFacts:
    """The facts of a slice; InputError naming what its header lacks, UnsupportedError for values that are no HU."""

    def group(keyword: str) -> Dataset:
        return functional_group(header, keyword, frame) if is_enhanced(header) else header

    name = path.name if layout.frames == 1 else f"Frame {frame} of {path.name}"
    row_and_column = _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6, name)
    row, column = row_and_column[:3], row_and_column[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    if any(abs(length - 1) > NOT_ORTHOGONAL for length in lengths) or abs(np.dot(row, column)) > NOT_ORTHOGONAL:
        raise InputError(f"{name} states ImageOrientationPatient {_listed(row_and_column)}, which are no two directions at right "
                         "angles; repair the header.")
    spacing = _numbers(group("PixelMeasuresSequence"), "PixelSpacing", 2, name)
    if not min(spacing) > 0:
        raise InputError(f"{name} states PixelSpacing {_listed(spacing)}; both must be above 0.")
    thickness = group("PixelMeasuresSequence").get("SliceThickness")
    return SliceFacts(
        path, frame, str(header.SOPInstanceUID), str(header.get("StudyInstanceUID")), layout,
        _numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3, name), row, column,
        (spacing[0], spacing[1]), float(thickness or 0.0), _values(header, group("PixelValueTransformationSequence"), layout, name),
    )  # fmt: skip


def _values(header: Dataset, facts: Dataset, layout: PixelLayout, name: str) -> SliceValues:
    """C.11.1 Modality LUT, C.7.6.16.2.9 Pixel Value Transformation."""
    if "ModalityLUTSequence" in header:
        raise UnsupportedError(f"{name} turns its values into HU by a table (ModalityLUTSequence), not by slope and intercept; "
                               "save it with RescaleSlope and RescaleIntercept first.")
    kind = str(facts.get("RescaleType") or "")
    if kind not in HU_TYPES:
        raise UnsupportedError(f"{name} holds no Hounsfield units: its RescaleType is {kind!r}; only HU can be denoised.")
    slope, intercept = (_numbers(facts, keyword, 1, name)[0] for keyword in ("RescaleSlope", "RescaleIntercept"))
    if slope == 0:
        raise InputError(f"{name} states RescaleSlope 0, so that its values have no Hounsfield units; repair the header.")
    return SliceValues(slope, intercept, padding_range(header, layout.stored_dtype))


def _numbers(facts: Dataset, keyword: str, count: int, name: str) -> tuple[float, ...]:
    value = facts.get(keyword)
    values = [value] if count == 1 else value
    try:
        numbers = tuple(float(number) for number in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise InputError(f"{name} has no usable {keyword} in its header, which a CT slice needs.")
    return numbers


def _listed(numbers: tuple[float, ...]) -> str:
    return "\\".join(f"{number:g}" for number in numbers)


def cautions(header: Dataset, name: str) -> list[str]:
    """Sentences about what makes denoising a volume with such slices less certain."""
    said = []
    if "DERIVED" in list(header.get("ImageType") or [])[:1]:
        said.append(f"{name} is already derived: its noise may have been changed by other processing.")
    if header.get("LossyImageCompression") == "01" or header.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES:
        said.append(f"{name} was compressed with losses: compression blocks can look like structure.")
    if header.get("BurnedInAnnotation") == "YES":
        said.append(f"{name} has text burned into its pictures, perhaps the patient's name; it stays in the result.")
    if any((group, 0x3000) in header for group in OVERLAYS):
        said.append(f"{name} has overlays, which can show the patient's name; they are copied into the result.")
    return said
