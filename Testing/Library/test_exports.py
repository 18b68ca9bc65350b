"""Arrays from Slicer as derived DICOM objects."""

import numpy as np
import pydicom
import pytest
from dicom_examples import PROVENANCE, dciodvfy_errors, enhanced_file, noise_frames, xa_file
from FluoroDenoiseLib.errors import InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.exports import export
from FluoroDenoiseLib.formats import frame_range, read_run
from FluoroDenoiseLib.targets import UsageError


def picture(count=5, shape=(64, 96)):
    """A run with something to see: a bright corner, growing frame by frame, and noise."""
    frames = np.random.default_rng(0).normal(1000, 60, (count, *shape))
    frames[:, : shape[0] // 2, : shape[1] // 3] += 2000 + 100 * np.arange(count)[:, None, None]
    return frames.round().astype(np.uint16)


def array(path, frames):
    np.save(path, frames)
    return path


@pytest.mark.parametrize("kind", [xa_file, enhanced_file])
def test_a_result_gets_the_header_of_its_source_as_a_derived_object(tmp_path, kind):
    source = kind(tmp_path / "in.dcm")
    clean = array(tmp_path / "clean.npy", noise_frames() // 2 * 2)
    report, warnings = export(clean, tmp_path / "out.dcm", [source], PROVENANCE)
    before, after = pydicom.dcmread(source), pydicom.dcmread(tmp_path / "out.dcm")
    np.testing.assert_array_equal(np.stack(list(read_run(tmp_path / "out.dcm").frames)), np.load(clean))
    assert (report.frames, report.clipped, warnings) == (5, 0, [])
    assert after.ImageType[:2] == ["DERIVED", "SECONDARY"] and after.PatientID == before.PatientID
    assert after.StudyInstanceUID == before.StudyInstanceUID and after.SOPInstanceUID != before.SOPInstanceUID
    assert after.SourceImageSequence[0].ReferencedSOPInstanceUID == before.SOPInstanceUID
    assert "ReferencedFrameNumber" not in after.SourceImageSequence[0]
    assert set(dciodvfy_errors(tmp_path / "out.dcm")) <= set(dciodvfy_errors(source))


def test_some_of_the_frames_get_a_header_cut_to_them(tmp_path):
    source = xa_file(
        tmp_path / "in.dcm", picture(), FrameTime=None, FrameIncrementPointer=0x00181065, FrameTimeVector=[0, 10, 20, 30, 40],
        PositionerPrimaryAngleIncrement=[0, 1, 2, 3, 4], RepresentativeFrameNumber=5, StartTrim=1, StopTrim=5,
    )  # fmt: skip
    clean = array(tmp_path / "clean.npy", picture()[1:4])
    export(clean, tmp_path / "out.dcm", [source], PROVENANCE, first=1)
    header, run = pydicom.dcmread(tmp_path / "out.dcm"), read_run(tmp_path / "out.dcm")
    assert header.NumberOfFrames == 3 and list(header.FrameTimeVector) == [0, 20, 30]
    assert list(header.PositionerPrimaryAngleIncrement) == [1, 2, 3]
    assert not {"RepresentativeFrameNumber", "StartTrim", "StopTrim"} & set(header.dir())
    assert list(header.SourceImageSequence[0].ReferencedFrameNumber) == [2, 3, 4]
    assert run.frame_times_s == pytest.approx((0, 0.02, 0.05))
    assert set(dciodvfy_errors(tmp_path / "out.dcm")) <= set(dciodvfy_errors(source))


def test_parts_of_one_run_are_objects_of_their_own(tmp_path):
    source = xa_file(tmp_path / "in.dcm", picture())
    for first in (0, 2):
        export(array(tmp_path / "c.npy", picture()[first : first + 2]), tmp_path / f"{first}.dcm", [source], PROVENANCE, first=first)
    one, other = (pydicom.dcmread(tmp_path / f"{first}.dcm") for first in (0, 2))
    assert one.SOPInstanceUID != other.SOPInstanceUID and one.SeriesInstanceUID == other.SeriesInstanceUID


def test_an_enhanced_run_keeps_the_functional_groups_of_its_frames(tmp_path):
    run = read_run(enhanced_file(tmp_path / "in.dcm"))
    part = frame_range(run, 2, 2)
    groups = run.source.header.PerFrameFunctionalGroupsSequence
    assert list(part.source.header.PerFrameFunctionalGroupsSequence) == list(groups[2:4]) and len(groups) == 5
    np.testing.assert_array_equal(np.stack(list(part.frames)), noise_frames()[2:4])
    assert frame_range(run, 0, 5) is run


def single_frames(folder, frames):
    """A series of files of one frame each."""
    return [xa_file(folder / f"in_{number}.dcm", frames[number : number + 1], InstanceNumber=number + 1, SeriesInstanceUID="2.25.7",
                    PatientID=f"P{number}") for number in range(len(frames))]  # fmt: skip


@pytest.mark.parametrize("first, count", [(0, 5), (1, 3)])
def test_a_run_of_one_file_a_frame_becomes_that_again(tmp_path, first, count):
    sources = single_frames(tmp_path, picture())
    clean = array(tmp_path / "clean.npy", picture()[first : first + count] // 2 * 2)
    report, _ = export(clean, tmp_path / "out.dcm", sources, PROVENANCE, first=first)
    written = sorted((tmp_path / "out").iterdir())
    assert report.path == tmp_path / "out" and (report.frames, report.pixels) == (count, count * 64 * 96) and len(written) == count
    for number, path in enumerate(written):
        header, source = pydicom.dcmread(path), pydicom.dcmread(sources[first + number])
        np.testing.assert_array_equal(read_run(path).frames[0], np.load(clean)[number])
        assert header.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID and header.PatientID == source.PatientID
        assert header.InstanceNumber == source.InstanceNumber
    assert len({pydicom.dcmread(path).SeriesInstanceUID for path in written}) == 1
    assert not list(tmp_path.glob(".*"))


def test_files_of_one_frame_in_another_order_or_of_another_picture_are_refused_whole(tmp_path):
    frames = picture(3)
    sources = single_frames(tmp_path, frames)
    with pytest.raises(InputError, match="order of their instance numbers"):
        export(array(tmp_path / "c.npy", frames), tmp_path / "out.dcm", sources[::-1], PROVENANCE)
    frames[2] = frames[2, ::-1]
    with pytest.raises(InputError, match="does not show what"):
        export(array(tmp_path / "c.npy", frames), tmp_path / "out.dcm", sources, PROVENANCE)
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_folder_is_replaced_only_if_it_holds_such_files_and_that_is_wanted(tmp_path):
    sources, clean = single_frames(tmp_path, picture()), array(tmp_path / "c.npy", picture())
    export(clean, tmp_path / "out.dcm", sources, PROVENANCE)
    with pytest.raises(OutputError, match="exists already"):
        export(clean, tmp_path / "out.dcm", sources, PROVENANCE)
    export(clean, tmp_path / "out.dcm", sources, PROVENANCE, overwrite=True)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        export(clean, tmp_path / "out.dcm", sources, PROVENANCE, overwrite=True)
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_without_a_source_it_is_a_run_of_nobody(tmp_path):
    clean = array(tmp_path / "clean.npy", noise_frames())
    report, warnings = export(clean, tmp_path / "out.dcm", [], PROVENANCE, frame_time_s=0.04, pixel_spacing_mm=(0.3, 0.2))
    header, run = pydicom.dcmread(tmp_path / "out.dcm"), read_run(tmp_path / "out.dcm")
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames())
    assert (run.frame_time_s, run.pixel_spacing_mm, run.bits_stored) == (pytest.approx(0.04), (0.3, 0.2), 12)
    assert header.PatientName == "" and header.PatientID == "" and header.StudyDate == "" and "StudyDescription" not in header
    assert header.ImageType[:2] == ["DERIVED", "SECONDARY"] and "ab" * 32 in header.DerivationDescription
    assert "BurnedInAnnotation" not in header and "not for clinical use" in header.SeriesDescription and not warnings
    assert not dciodvfy_errors(tmp_path / "out.dcm")


def test_unknown_frame_times_are_said(tmp_path):
    _, warnings = export(array(tmp_path / "c.npy", noise_frames(bits=8)), tmp_path / "out.dcm", [], PROVENANCE)
    assert "15 frames a second" in warnings[0] and read_run(tmp_path / "out.dcm").bits_stored == 8


@pytest.mark.parametrize("wrong", [
    lambda frames: frames[:, ::-1], lambda frames: frames[:, :, ::-1], lambda frames: frames // 3, lambda frames: frames * 0 + 1000,
], ids=["upside down", "mirrored", "rescaled", "of something else"])  # fmt: skip
def test_the_header_of_another_picture_is_refused(tmp_path, wrong):
    source = xa_file(tmp_path / "in.dcm", picture())
    with pytest.raises(InputError, match="does not show what"):
        export(array(tmp_path / "c.npy", np.ascontiguousarray(wrong(picture()))), tmp_path / "out.dcm", [source], PROVENANCE)
    assert not (tmp_path / "out.dcm").exists()


@pytest.mark.parametrize("frames, first, error, words", [
    (picture(), 1, InputError, "has frames 0 to 4"), (picture(shape=(64, 64)), 0, InputError, "64x64"),
    (picture().astype(float), None, UnsupportedError, "whole numbers"),
    (picture().astype(np.int16) - 2000, None, UnsupportedError, "0 to 65535"),
])  # fmt: skip
def test_frames_that_do_not_fit_are_refused(tmp_path, frames, first, error, words):
    sources = [] if first is None else [xa_file(tmp_path / "in.dcm", picture())]
    with pytest.raises(error, match=words):
        export(array(tmp_path / "c.npy", frames), tmp_path / "out.dcm", sources, PROVENANCE, first=first or 0)


def test_targets_and_sources_that_cannot_be_meant_are_refused(tmp_path):
    clean = array(tmp_path / "c.npy", picture())
    source = xa_file(tmp_path / "in.dcm", picture())
    with pytest.raises(UsageError, match="end it in .dcm"):
        export(clean, tmp_path / "out.nrrd", [source], PROVENANCE)
    with pytest.raises(OutputError, match="exists already"):
        export(clean, source, [source], PROVENANCE)
    with pytest.raises(OutputError, match="run that is being read"):
        export(clean, source, [source], PROVENANCE, overwrite=True)
    with pytest.raises(UnsupportedError, match="5 frames from 2 DICOM files"):
        export(clean, tmp_path / "out.dcm", [source, source], PROVENANCE)
    with pytest.raises(UnsupportedError, match="not a DICOM file"):
        export(clean, tmp_path / "out.dcm", [clean], PROVENANCE)
