"""Some frames of a DICOM run: everything in the header that counts frames counts them anew."""

import numpy as np
import pydicom
import pytest
from dicom_examples import PROVENANCE, dciodvfy_errors, noise_frames, xa_file
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.formats import frame_range, read_run, write_run
from pydicom import Dataset


def mask(**facts):
    item = Dataset()
    for keyword, value in facts.items():
        setattr(item, keyword, value)
    return item


def cut(path, first=2, count=4, **facts):
    """The header of frames 3 to 6 of ten."""
    header = pydicom.dcmread(xa_file(path, noise_frames(10), **facts))
    header.save_as(path)
    return frame_range(read_run(path), first, count).source.header


def test_numbers_of_frames_move_and_those_outside_go(tmp_path):
    header = cut(tmp_path / "in.dcm", RepresentativeFrameNumber=4, RWavePointer=[1, 3, 5, 9],
                 StartTrim=4, StopTrim=9, FrameNumbersOfInterest=[3, 8], FrameOfInterestDescription=["a", "b"])  # fmt: skip
    assert header.RepresentativeFrameNumber == 2 and list(header.RWavePointer) == [1, 3]
    assert (header.StartTrim, header.StopTrim) == (2, 4)
    assert header.FrameNumbersOfInterest == 1 and header.FrameOfInterestDescription == "a"


def test_numbers_that_all_lie_outside_go(tmp_path):
    header = cut(tmp_path / "in.dcm", RepresentativeFrameNumber=9, RWavePointer=1, StartTrim=1, StopTrim=2, FrameNumbersOfInterest=[9])
    assert not {"RepresentativeFrameNumber", "RWavePointer", "StartTrim", "StopTrim", "FrameNumbersOfInterest"} & set(header.dir())


def test_masks_follow_their_frames(tmp_path):
    header = cut(tmp_path / "in.dcm", MaskSubtractionSequence=[
        mask(MaskOperation="AVG_SUB", MaskFrameNumbers=[3, 4], ApplicableFrameRange=[5, 10]),
        mask(MaskOperation="AVG_SUB", MaskFrameNumbers=[1], ApplicableFrameRange=[5, 10]),
        mask(MaskOperation="AVG_SUB", MaskFrameNumbers=[3], ApplicableFrameRange=[1, 2]),
        mask(MaskOperation="TID", TIDOffset=1, ApplicableFrameRange=[1, 5]),
        mask(MaskOperation="REV_TID", TIDOffset=1, ApplicableFrameRange=[1, 5]),
        mask(MaskOperation="REV_TID", TIDOffset=1, ApplicableFrameRange=[4, 10]),
    ])  # fmt: skip
    kept = header.MaskSubtractionSequence
    assert [item.MaskOperation for item in kept] == ["AVG_SUB", "TID", "REV_TID"]
    assert list(kept[0].MaskFrameNumbers) == [1, 2]
    assert [list(item.ApplicableFrameRange) for item in kept] == [[3, 4], [1, 3], [2, 4]]


def test_masks_that_lie_outside_go(tmp_path):
    outside = mask(MaskOperation="AVG_SUB", MaskFrameNumbers=[1])
    assert "MaskSubtractionSequence" not in cut(tmp_path / "in.dcm", MaskSubtractionSequence=[outside])


def overlay(header, group, frames, origin, data):
    for element, vr, value in ((0x10, "US", 24), (0x11, "US", 32), (0x15, "IS", frames), (0x22, "LO", "drawn"), (0x40, "CS", "G"),
                               (0x50, "SS", [1, 1]), (0x51, "US", origin), (0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", data)):  # fmt: skip
        header.add_new((group, element), vr, value)


def test_overlays_are_cut_with_their_frames(tmp_path):
    source = xa_file(tmp_path / "in.dcm", noise_frames(10))
    drawn = np.random.default_rng(0).integers(0, 2, (5, 24, 32)).astype(np.uint8)
    header = pydicom.dcmread(source)
    overlay(header, 0x6000, 5, 4, np.packbits(drawn.ravel(), bitorder="little").tobytes())  # of frames 4 to 8
    overlay(header, 0x6002, 1, 9, bytes(96))  # of frame 9
    overlay(header, 0x6004, 5, 4, bytes(96))  # claims five frames and holds one
    header.save_as(source)
    run = frame_range(read_run(source), 2, 4)
    write_run(tmp_path / "out.dcm", run.frames, run, PROVENANCE)
    out = pydicom.dcmread(tmp_path / "out.dcm")
    assert (out[0x60000015].value, out[0x60000051].value) == (3, 2)
    np.testing.assert_array_equal(out.overlay_array(0x6000), drawn[:3])
    assert not {tag.group for tag in out.keys()} & {0x6002, 0x6004}
    assert set(dciodvfy_errors(tmp_path / "out.dcm")) <= set(dciodvfy_errors(source))


@pytest.mark.parametrize("first, count", [(-1, 2), (9, 2), (3, 0)])
def test_frames_that_are_not_there_are_refused(tmp_path, first, count):
    with pytest.raises(InputError, match="has frames 0 to 9"):
        cut(tmp_path / "in.dcm", first, count)


def test_a_header_that_cannot_be_cut_says_nothing_of_its_values(tmp_path):
    run = read_run(xa_file(tmp_path / "in.dcm", noise_frames(10)))
    run.source.header.add_new("RWavePointer", "IS", None)
    run.source.header["RWavePointer"]._value = ["SECRET"]
    with pytest.raises(InputError, match="cutting its header") as refusal:
        frame_range(run, 2, 4)
    assert "SECRET" not in str(refusal.value)
