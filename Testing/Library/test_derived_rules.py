"""Our own rules for derived objects: kept by what we write, and each one broken by the fault that it is there for."""

import copy
import random
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from ct_examples import ct_hu, ct_slice, enhanced_ct
from derived_rules import RULES, broken_rules
from dicom_examples import PROVENANCE, capture_file, changed, dciodvfy_errors, enhanced_file, rf_file, xa_file
from FluoroDenoiseLib.formats import dicom_out, read_run, write_run
from FluoroDenoiseLib.formats.ct import read_ct, write_ct
from pydicom import Dataset
from pydicom.uid import generate_uid

KINDS = {
    "XA": xa_file, "RF": rf_file, "Enhanced XA": enhanced_file, "CT": lambda path: ct_slice(path, ct_hu()[0], 0), "Enhanced CT": enhanced_ct,
    "capture of words": capture_file, "capture of bytes": lambda path: capture_file(path, 8),
}  # fmt: skip
VOLUMES = ("CT", "Enhanced CT")
ENHANCED = ("Enhanced XA", "Enhanced CT")


def derived_from(source, kind="XA"):
    """(source, result), the pixels being those of the source. A CT slice is a series of its own, in a folder."""
    target = source.with_name("derived.dcm")
    if kind == "CT":
        volume = read_ct(source.parent)
        write_ct(source.parent.with_name("derived"), iter(volume.slices), volume, PROVENANCE)
        source.parent.with_name("derived").joinpath("slice00000.dcm").rename(target)
    elif kind == "Enhanced CT":
        volume = read_ct(source)
        write_ct(target, iter(volume.slices), volume, PROVENANCE)
    else:
        run = read_run(source)
        write_run(target, run.frames, run, PROVENANCE)
    return pydicom.dcmread(source), pydicom.dcmread(target)


def varied(folder, seed):
    """A run of some kind with some of what real headers hold."""
    chance = random.Random(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    (folder / "in").mkdir()
    path = KINDS[kind](folder / "in" / "source.dcm")
    possible = {
        "PatientID": "P-1", "PatientAge": "050Y", "PatientWeight": "70", "PatientComments": "none",
        "StudyDescription": "Coronaries", "AccessionNumber": "A-1", "KVP": "81.5", "ExposureTime": "8", "XRayTubeCurrent": "120",
        "AcquisitionDate": "20260102", "AcquisitionTime": "101112.5", "FrameOfReferenceUID": "1.2.3.4",
        "DistanceSourceToDetector": "1100", "PerformedProcedureStepID": "PPS", "InstanceCreatorUID": "1.2.3.5",
        "SeriesNumber": chance.randrange(9000), "BurnedInAnnotation": chance.choice(["YES", "NO"]), "GantryID": "G1",
        "Manufacturer": chance.choice(["Scanner Works", ""]), "DerivationDescription": "edge enhancement",
        "TimezoneOffsetFromUTC": "+0200", "SpecificCharacterSet": chance.choice(["ISO_IR 100", "ISO_IR 192", "ISO_IR 144"]),
    }  # fmt: skip
    if kind in VOLUMES:
        for keyword in ("DistanceSourceToDetector", "GantryID", "Manufacturer", "SpecificCharacterSet", "FrameOfReferenceUID"):
            del possible[keyword]
    if kind in ENHANCED:  # these are in its functional groups, or of one value
        for keyword in ("KVP", "ExposureTime", "XRayTubeCurrent", "BurnedInAnnotation", "DerivationDescription"):
            possible.pop(keyword, None)
    elif kind == "CT":
        possible |= {"ConvolutionKernel": "B30f", "GantryDetectorTilt": "0", "TableHeight": "150.5", "SliceLocation": "-50",
                     "WindowCenter": ["40", "300"], "WindowWidth": ["400", "1500"], "LossyImageCompression": "00",
                     "ImageType": chance.choice([["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "PRIMARY", "AXIAL"]])}  # fmt: skip
    elif kind.startswith("capture"):
        possible |= {"WindowCenter": ["2000", "1000"], "WindowWidth": ["3000", "1500"], "CineRate": 15, "RecommendedDisplayFrameRate": 12,
                     "ImageType": chance.choice([["ORIGINAL", "PRIMARY"], ["DERIVED", "SECONDARY"]])}  # fmt: skip
    else:
        possible |= {
            "WindowCenter": ["2000", "1000"], "WindowWidth": ["3000", "1500"], "RepresentativeFrameNumber": 2, "FrameDelay": "10",
            "ShutterShape": "RECTANGULAR", "ShutterLeftVerticalEdge": 2, "ShutterRightVerticalEdge": 30,
            "ShutterUpperHorizontalEdge": 2, "ShutterLowerHorizontalEdge": 20, "CineRate": 15, "LossyImageCompression": "00",
            "ImageType": chance.choice([["ORIGINAL", "PRIMARY", "SINGLE PLANE"], ["DERIVED", "PRIMARY", "BIPLANE A"]]),
        }  # fmt: skip
    chosen = {keyword: value for keyword, value in possible.items() if chance.random() < 0.5}
    header = pydicom.dcmread(changed(path, SOPInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), **chosen))
    if chance.random() < 0.5:
        header.private_block(9, "VENDOR", create=True).add_new(1, "LO", "private")
    if chance.random() < 0.3 and kind in ("XA", "RF"):
        item = Dataset()
        item.MaskOperation, item.MaskFrameNumbers, item.ApplicableFrameRange = "AVG_SUB", 1, [2, 5]
        header.MaskSubtractionSequence = [item]
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.save_as(path)
    return path, kind


def dcentvfy_errors(*paths):
    if shutil.which("dcentvfy") is None:
        return set()
    result = subprocess.run(["dcentvfy", *map(str, paths)], capture_output=True, text=True, errors="replace")
    return {line for line in (result.stderr + result.stdout).splitlines() if line.startswith("Error")}


def require_sound(folder, seed):
    path, kind = varied(folder, seed)
    source, derived = derived_from(path, kind)
    assert broken_rules(source, derived, PROVENANCE) == [], kind
    assert np.array_equal(derived.pixel_array, source.pixel_array)
    new = path.with_name("derived.dcm")
    assert set(dciodvfy_errors(new)) <= set(dciodvfy_errors(path)), kind
    assert dcentvfy_errors(path, new) == set(), kind


@pytest.mark.parametrize("seed", range(14))
def test_varied_runs_give_objects_that_keep_all_rules(tmp_path, seed):
    require_sound(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_hundred_varied_runs_keep_all_rules(tmp_path):
    for seed in range(1000, 1200):
        (tmp_path / str(seed)).mkdir()
        require_sound(tmp_path / str(seed), seed)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - set(ENHANCED)))  # these two lack what nobody here reads
def test_the_examples_of_every_kind_are_valid_objects_before_they_are_varied(tmp_path, kind):
    assert dciodvfy_errors(KINDS[kind](tmp_path / "in.dcm")) == []


def test_a_run_beyond_four_gigabytes_keeps_all_rules(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_out, "MAX_PIXEL_BYTES", 1000)
    assert broken_rules(*derived_from(xa_file(tmp_path / "in.dcm")), PROVENANCE) == []


def code(value, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def without_purpose(derived):
    del derived.SourceImageSequence[0].PurposeOfReferenceCodeSequence


def with_private(derived):
    derived.ContributingEquipmentSequence[-1].private_block(9, "VENDOR", create=True).add_new(1, "LO", "x")


FAULTS = {
    "the kind of object stays": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.3"},
    "the instance is new": lambda d: setattr(d, "SOPInstanceUID", d.SourceImageSequence[0].ReferencedSOPInstanceUID),
    "the file meta information agrees": lambda d: setattr(d.file_meta, "MediaStorageSOPInstanceUID", "1.2.3"),
    "the series is new": lambda d: setattr(d, "SeriesInstanceUID", d.ReferencedSeriesSequence[0].SeriesInstanceUID),
    "the series says what it is": {"SeriesDescription": "Coronaries"},
    "every new UID is one": {"DeviceUID": "2.25.01"},
    "the patient stays": {"PatientName": "Another"},
    "the study stays": {"StudyInstanceUID": "1.2.3"},
    "geometry stays": {"ImagerPixelSpacing": [1, 1]},
    "technique stays": {"KVP": "70"},
    "pixels are described as before": {"BitsStored": 14},
    "the high bit fits": {"HighBit": 15},
    "intensity and window stay": {"PixelIntensityRelationship": "DISP"},
    "timing and masks stay": {"FrameTime": "1"},
    "times fit the frames": {"FrameTimeVector": [0, 1]},
    "it is a derived image": {"ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]},
    "the derivation is described": {"DerivationDescription": "smoothed"},
    "the derivation has its code": {"DerivationCodeSequence": [code("113091", "Noise reduction")]},
    "the source image is referenced": without_purpose,
    "the source series is referenced": {"ReferencedSeriesSequence": None},
    "the equipment is ours": {"Manufacturer": "Scanner Works"},
    "the scanner contributed": lambda d: setattr(d.ContributingEquipmentSequence[-1], "Manufacturer", ""),
    "the scanner is not our equipment": {"StationName": "LAB2"},
    "stale values are gone": {"PerformedProcedureStepID": "1"},
    "losses stay confessed": {"LossyImageCompression": "01"},
    "burned-in text is stated as before": {"BurnedInAnnotation": "YES"},
    "nothing private is left": with_private,
    "the encoding is plain": lambda d: setattr(d.file_meta, "TransferSyntaxUID", "1.2.840.10008.1.2"),
    "the pixels fill their element": lambda d: setattr(d, "PixelData", d.PixelData[:-2]),
    "the times of its making are there": {"ContentDate": ""},
    "enhanced groups say so too": lambda d: setattr(
        d.SharedFunctionalGroupsSequence[0].FramePixelDataPropertiesSequence[0], "FrameType", ["ORIGINAL", "PRIMARY", "X", "NONE"]
    ),
    "enhanced groups keep the rest": lambda d: delattr(d.SharedFunctionalGroupsSequence[0], "PixelValueTransformationSequence"),
}


def test_every_rule_has_its_fault():
    assert list(FAULTS) == list(RULES)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folders = {kind: tmp_path_factory.mktemp("rules") for kind in ("XA", *ENHANCED)}
    return {kind: derived_from(KINDS[kind](folder / "in.dcm"), kind) for kind, folder in folders.items()}


@pytest.mark.parametrize("rule", FAULTS)
def test_a_rule_finds_its_fault(pairs, rule):
    source, derived = pairs["Enhanced CT" if rule.endswith("the rest") else "Enhanced XA" if rule.startswith("enhanced") else "XA"]
    faulty, fault = copy.deepcopy(derived), FAULTS[rule]
    if callable(fault):
        fault(faulty)
    else:
        for keyword, value in fault.items():
            setattr(faulty, keyword, value) if value is not None else delattr(faulty, keyword)
    assert broken_rules(source, derived, PROVENANCE) == [] and rule in broken_rules(source, faulty, PROVENANCE)


def test_rf_and_a_second_pass_keep_the_rules(tmp_path):
    source, derived = derived_from(rf_file(tmp_path / "in.dcm"))
    assert broken_rules(source, derived, PROVENANCE) == []
    (tmp_path / "again").mkdir()
    again = shutil.copy(tmp_path / "derived.dcm", tmp_path / "again" / "in.dcm")
    assert broken_rules(*derived_from(again), PROVENANCE) == []
