"""DICOM in: every kind that we claim is read alike, and a header is believed only where the file bears it out."""

import struct
import traceback

import numpy as np
import pydicom
import pytest
from dicom_examples import (
    COMPRESSED,
    OLD_SYNTAXES,
    capture_file,
    changed,
    compressed,
    enhanced_file,
    native_pixel_offset,
    noise_frames,
    reencoded,
    rf_file,
    xa_file,
)
from FluoroDenoiseLib.errors import InputError, ResourceError, UnsupportedError
from FluoroDenoiseLib.formats import find_runs, read_run
from FluoroDenoiseLib.formats.decoding import decoder_for
from FluoroDenoiseLib.formats.fragments import frame_pieces
from pydicom.pixels import get_decoder
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEGLosslessSV1,
    UltrasoundMultiFrameImageStorage,
)


@pytest.fixture
def xa(tmp_path):
    return xa_file(tmp_path / "xa.dcm")


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_native_frames_are_read_as_stored(tmp_path, bits):
    frames = noise_frames(bits=bits)
    run = read_run(xa_file(tmp_path / "xa.dcm", frames, bits))
    assert run.bits_stored == bits and run.frames[0].dtype == frames.dtype
    np.testing.assert_array_equal(np.stack(list(run.frames)), frames)
    np.testing.assert_array_equal(run.frames[-1], frames[-1])
    np.testing.assert_array_equal(run.frames[1:3], frames[1:3])


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_compressed_frames_are_those_of_the_native_file(xa, syntax):
    run = read_run(compressed(xa, COMPRESSED[syntax]))
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames())
    np.testing.assert_array_equal(run.frames[3], noise_frames()[3])
    assert run.frames[0].dtype == np.uint16 and run.warnings == ()


@pytest.mark.parametrize("syntax", OLD_SYNTAXES)
def test_old_transfer_syntaxes_are_read(xa, syntax):
    np.testing.assert_array_equal(np.stack(list(read_run(reencoded(xa, syntax)).frames)), noise_frames())


def test_an_odd_number_of_bytes_is_padded_not_doubted(tmp_path):
    frames = noise_frames(3, (3, 5), bits=8)
    np.testing.assert_array_equal(np.stack(list(read_run(xa_file(tmp_path / "odd.dcm", frames, 8)).frames)), frames)


def test_one_frame_is_a_run(tmp_path):
    path = xa_file(tmp_path / "one.dcm", noise_frames(1), NumberOfFrames=None, FrameIncrementPointer=None)
    assert read_run(path).frame_times_s == (0.0,)


def test_the_relationship_and_spacing_are_kept(xa):
    run = read_run(changed(xa, PixelIntensityRelationship="LOG", ImagerPixelSpacing=[0.3, 0.4]))
    assert run.intensity_relationship == "LOG" and run.pixel_spacing_mm == (0.3, 0.4)


def test_an_unstated_relationship_is_unknown_and_said(xa):
    run = read_run(changed(xa, PixelIntensityRelationship=None))
    assert run.intensity_relationship == "UNKNOWN" and "does not say" in run.warnings[0]


def test_frame_time_gives_even_times(xa):
    assert read_run(changed(xa, FrameTime="40")).frame_times_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


def test_the_frame_time_vector_is_believed_where_the_pointer_names_it(xa):
    run = read_run(changed(xa, FrameIncrementPointer=0x00181065, FrameTimeVector=[0, 30, 40, 30, 100]))
    assert run.frame_times_s == pytest.approx([0, 0.03, 0.07, 0.1, 0.2])
    assert "varies" in run.warnings[0]


def test_a_vector_of_the_wrong_length_gives_way_to_the_frame_time(xa):
    run = read_run(changed(xa, FrameIncrementPointer=0x00181065, FrameTimeVector=[0, 30], FrameTime="50"))
    assert run.frame_times_s[-1] == pytest.approx(0.2)


def test_without_frame_times_the_playback_rate_is_assumed_and_said(xa):
    run = read_run(changed(xa, FrameTime=None, CineRate=10))
    assert run.frame_times_s[1] == pytest.approx(0.1) and "playback rate" in run.warnings[0]


def test_without_any_rate_fifteen_frames_are_assumed_and_said(xa):
    run = read_run(changed(xa, FrameTime=None))
    assert run.frame_times_s[1] == pytest.approx(1 / 15) and "15 frames a second" in run.warnings[0]


def test_an_rf_run_is_read(tmp_path):
    np.testing.assert_array_equal(read_run(rf_file(tmp_path / "rf.dcm")).frames[2], noise_frames()[2])


def test_an_enhanced_run_keeps_its_facts_in_groups(tmp_path):
    run = read_run(enhanced_file(tmp_path / "exa.dcm"))
    assert run.frame_times_s == pytest.approx([0, 0.1, 0.2, 0.4, 0.5])
    assert run.pixel_spacing_mm == (0.3, 0.3) and run.intensity_relationship == "LOG"


def test_monochrome1_is_not_inverted(xa):
    run = read_run(changed(xa, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(run.frames[0], noise_frames()[0])


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"ImageType": ["DERIVED", "PRIMARY", "SINGLE PLANE"]}, "already a derived image"),
        ({"LossyImageCompression": "01"}, "losses"),
        ({"PositionerMotion": "DYNAMIC"}, "do not show the same view"),
        ({"PositionerPrimaryAngleIncrement": [0, 1, 2, 3, 4]}, "do not show the same view"),
        ({"FrameDimensionPointer": 0x00181510}, "do not show the same view"),
        ({"BurnedInAnnotation": "YES"}, "burned into its pictures"),
    ],
)
def test_doubtful_runs_are_read_with_a_sentence(xa, changes, sentence):
    assert any(sentence in said for said in read_run(changed(xa, **changes)).warnings)


LIES = [
    ({"NumberOfFrames": 0}, InputError, "NumberOfFrames 0"),
    ({"NumberOfFrames": -1}, InputError, "NumberOfFrames -1"),
    ({"NumberOfFrames": None}, InputError, "NumberOfFrames 1"),
    ({"NumberOfFrames": 6}, InputError, "NumberOfFrames 6"),
    ({"NumberOfFrames": 4}, InputError, "NumberOfFrames 4"),
    ({"NumberOfFrames": 2**31 - 1}, InputError, "NumberOfFrames"),
    ({"Rows": 0}, InputError, "Rows"),
    ({"Rows": None}, InputError, "Rows"),
    ({"HighBit": 15}, InputError, "HighBit 15"),
    ({"BitsStored": 17}, InputError, "BitsStored 17"),
    ({"BitsStored": 10, "HighBit": 9}, InputError, "10 bits"),
    ({"BitsAllocated": 12}, InputError, "BitsAllocated 12"),
    ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, UnsupportedError, "32-bit"),
    ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, UnsupportedError, "colour"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, UnsupportedError, "colour"),
    ({"SOPClassUID": UltrasoundMultiFrameImageStorage}, UnsupportedError, "Ultrasound"),
    ({"SOPClassUID": CTImageStorage}, UnsupportedError, "CT Image"),
    ({"SOPClassUID": None}, InputError, "SOP class"),
    ({"PixelData": None}, InputError, "no pixel data"),
]


@pytest.mark.parametrize("changes, error, sentence", LIES, ids=[str(lie[0]) for lie in LIES])
def test_a_lying_header_is_refused_by_name(xa, changes, error, sentence):
    with pytest.raises(error, match=sentence) as refusal:
        list(read_run(changed(xa, **changes)).frames)
    assert "xa.dcm" in str(refusal.value)


def test_old_overlay_bits_are_cleared(xa):
    header = pydicom.dcmread(xa)
    header.PixelData = (noise_frames() | 0x8000).tobytes()
    header["PixelData"].VR = "OW"
    header.save_as(xa)
    with pytest.raises(InputError, match="12 bits"):
        read_run(xa)
    header.add_new(0x60000102, "US", 15)
    header.save_as(xa)
    np.testing.assert_array_equal(read_run(xa).frames[1], noise_frames()[1])


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" * 60, b"\0" * 128 + b"DIC"])
def test_what_is_not_dicom_is_called_so(tmp_path, content):
    path = tmp_path / "strange.dcm"
    path.write_bytes(content)
    with pytest.raises(InputError, match="strange.dcm is not a DICOM file"):
        read_run(path)


@pytest.mark.parametrize("syntax", [None, *COMPRESSED])
@pytest.mark.parametrize("kept", [0.05, 0.3, 0.6, 0.95])
def test_a_file_cut_short_anywhere_is_refused_before_its_first_frame(xa, syntax, kept):
    if syntax:
        compressed(xa, COMPRESSED[syntax])
    content = xa.read_bytes()
    xa.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="xa.dcm"):
        read_run(xa)


@pytest.mark.parametrize("syntax", COMPRESSED)
@pytest.mark.parametrize("stated", [4, 6])
def test_compressed_frames_are_counted(xa, syntax, stated):
    with pytest.raises(InputError, match=f"5 compressed frames but its header states NumberOfFrames {stated}"):
        read_run(changed(compressed(xa, COMPRESSED[syntax]), NumberOfFrames=stated))


def test_frames_in_several_fragments_without_a_table_are_counted_by_their_starts(xa):
    header = pydicom.dcmread(compressed(xa, COMPRESSED["JPEG-LS"]))
    whole = list(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=5))
    header.PixelData = pydicom.encaps.encapsulate(whole, fragments_per_frame=2, has_bot=False)
    header.save_as(xa)
    np.testing.assert_array_equal(np.stack(list(read_run(xa).frames)), noise_frames())
    with pytest.raises(InputError, match="NumberOfFrames 4"):
        read_run(changed(xa, NumberOfFrames=4))


def test_a_damaged_codestream_is_an_input_error(tmp_path):
    xa = xa_file(tmp_path / "xa.dcm", noise_frames(20))
    content = bytearray(compressed(xa, COMPRESSED["RLE"]).read_bytes())
    last_frame = content.rindex(b"\xfe\xff\x00\xe0") + 8
    content[last_frame : last_frame + 8] = struct.pack("<2I", 15, 2**31)
    xa.write_bytes(content)
    run = read_run(xa)  # its scale needs the first 16 frames only
    with pytest.raises(InputError, match="decoding frame 19"):
        list(run.frames)


def test_a_missing_decoder_is_named(xa, monkeypatch):
    path = compressed(xa, COMPRESSED["RLE"])
    header = pydicom.dcmread(path)
    header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    header.save_as(path)
    monkeypatch.setattr(type(get_decoder(JPEGLosslessSV1)), "available_plugins", property(lambda self: ()))
    with pytest.raises(ResourceError, match="pip install python-gdcm"):
        read_run(path)


def test_a_decoder_with_another_licence_is_not_taken(xa, monkeypatch):
    decoder = get_decoder(JPEGLosslessSV1)
    monkeypatch.setattr(type(decoder), "available_plugins", property(lambda self: ("pylibjpeg",)))
    with pytest.raises(ResourceError, match="python-gdcm"):
        decoder_for(JPEGLosslessSV1, "xa.dcm")


def test_a_file_deflated_as_a_whole_is_not_inflated(xa):
    header = pydicom.dcmread(xa)
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(xa)
    with pytest.raises(UnsupportedError, match="deflated"):
        read_run(xa)
    assert find_runs(xa.parent) == [xa]


@pytest.mark.parametrize("lie", ["offset", "length", "count", "two tables"])
def test_a_lying_extended_offset_table_is_found(xa, lie):
    header = pydicom.dcmread(compressed(xa, COMPRESSED["RLE"]))
    frames = list(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=5))
    header.PixelData, offsets, lengths = pydicom.encaps.encapsulate_extended(frames)
    if lie == "two tables":
        header.PixelData = pydicom.encaps.encapsulate(frames)
    tables = {"offset": offsets, "length": lengths}
    if lie in tables:
        words = np.frombuffer(tables[lie], "<u8").copy()
        words[2] += 4
        tables[lie] = words.tobytes()
    if lie == "count":
        tables["offset"] = offsets[:-8]
    header.add_new("ExtendedOffsetTable", "OV", tables["offset"])
    header.add_new("ExtendedOffsetTableLengths", "OV", tables["length"])
    header["PixelData"].VR = "OB"
    header.save_as(xa)
    with pytest.raises(InputError, match="offset table|NumberOfFrames"):
        read_run(xa)


def test_frames_behind_an_extended_offset_table_are_read(xa):
    header = pydicom.dcmread(compressed(xa, COMPRESSED["RLE"]))
    frames = list(pydicom.encaps.generate_frames(header.PixelData, number_of_frames=5))
    header.PixelData, offsets, lengths = pydicom.encaps.encapsulate_extended(frames)
    header.add_new("ExtendedOffsetTable", "OV", offsets)
    header.add_new("ExtendedOffsetTableLengths", "OV", lengths)
    header["PixelData"].VR = "OB"
    header.save_as(xa)
    np.testing.assert_array_equal(np.stack(list(read_run(xa).frames)), noise_frames())


def test_frames_beyond_four_gigabytes_are_found(tmp_path):
    size, items = 2**31, []
    with open(tmp_path / "sparse", "wb") as file:  # five frames of 2 GB that take no room on the disk
        file.write(b"\xfe\xff\x00\xe0" + struct.pack("<I", 0))
        for _ in range(5):
            items.append(file.tell())
            file.write(b"\xfe\xff\x00\xe0" + struct.pack("<I", size))
            file.seek(size, 1)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    header = pydicom.Dataset()
    with open(tmp_path / "sparse", "rb") as file:
        assert frame_pieces(file, header, 5, COMPRESSED["RLE"], "sparse") == [[(place + 8, size)] for place in items]
        header.ExtendedOffsetTable = struct.pack("<5Q", *(place - items[0] for place in items))
        header.ExtendedOffsetTableLengths = struct.pack("<5Q", *[size] * 5)
        file.seek(0)
        assert frame_pieces(file, header, 5, COMPRESSED["J2K"], "sparse")[4] == [(items[4] + 8, size)] and items[4] > 2**32


def test_a_frame_that_claims_gigabytes_is_not_read(xa):
    content = compressed(xa, COMPRESSED["RLE"]).read_bytes()
    last = content.rindex(b"\xfe\xff\x00\xe0")
    with open(xa, "r+b") as file:
        file.seek(last + 4)
        file.write(struct.pack("<I", 2**31))
        file.seek(2**31, 1)
        file.write(b"\xfe\xff\xdd\xe0\0\0\0\0")
    with pytest.raises(InputError, match="larger than uncompressed"):
        read_run(xa)


def test_a_file_of_empty_pieces_does_not_fill_the_memory(xa):
    content = compressed(xa, COMPRESSED["JPEG-LS"]).read_bytes()
    pixels = content.rindex(b"\xe0\x7f\x10\x00OB") + 12
    xa.write_bytes(content[:pixels] + b"\xfe\xff\x00\xe0\0\0\0\0" * 6000 + b"\xfe\xff\xdd\xe0\0\0\0\0")
    with pytest.raises(InputError, match="more than 1000 pieces"):
        read_run(xa)


def test_frames_larger_than_any_detector_are_refused(xa):
    with pytest.raises(UnsupportedError, match="65535x65535"):
        read_run(changed(compressed(xa, COMPRESSED["RLE"]), Rows=65535, Columns=65535))


def test_native_pixels_under_a_compressed_name_are_refused(xa):
    content = xa.read_bytes()
    native, rle = b"UI\x14\x001.2.840.10008.1.2.1\0", b"UI\x14\x001.2.840.10008.1.2.5\0"
    assert content.count(native) == 1
    xa.write_bytes(content.replace(native, rle))
    with pytest.raises(InputError, match="uncompressed"):
        read_run(xa)


def test_pydicom_says_nothing_of_the_patient(xa, capfd, recwarn):
    content = xa.read_bytes().replace(b"SIMULATED ", b"SECRET-007")
    content = content.replace(b"66.6666666667", b"SECRET-008\0\0\0", 1)
    xa.write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_run(xa)
    said = capfd.readouterr()
    assert "SECRET" not in said.out + said.err + str(refusal.value) + str([str(w.message) for w in recwarn])
    assert "SECRET" not in "".join(traceback.format_exception(refusal.value))


def test_pixels_are_found_at_their_offset(xa):
    offset = native_pixel_offset(xa)
    assert read_run(xa).frames._block.offset == offset


@pytest.mark.parametrize("bits", [8, 12])
def test_a_grey_capture_of_a_run_is_read_with_a_caution(tmp_path, bits):
    run = read_run(capture_file(tmp_path / "capture.dcm", bits))
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames(bits=bits))
    assert run.intensity_relationship == "UNKNOWN" and "capture.dcm is a secondary capture" in " ".join(run.warnings)
    assert find_runs(tmp_path) == [tmp_path / "capture.dcm"]


@pytest.mark.parametrize("modality", ["US", "ES", "CT"])
def test_a_capture_of_something_else_is_refused(tmp_path, modality):
    with pytest.raises(UnsupportedError, match="a capture of no X-ray run, by its Modality"):
        read_run(changed(capture_file(tmp_path / "capture.dcm"), Modality=modality))


def test_a_folder_gives_its_runs_and_not_its_other_files(tmp_path):
    xa_file(tmp_path / "a.dcm")
    (tmp_path / "deep").mkdir()
    xa_file(tmp_path / "deep" / "IM0001")
    changed(xa_file(tmp_path / "ct.dcm"), SOPClassUID=CTImageStorage)
    (tmp_path / "notes.txt").write_text("no run")
    (tmp_path / ".b.npy.1.tmp").write_bytes(b"left over")
    np.save(tmp_path / "c.npy", noise_frames())
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM garbage")
    found = [path.relative_to(tmp_path).as_posix() for path in find_runs(tmp_path)]
    assert found == ["a.dcm", "broken.dcm", "c.npy", "deep/IM0001"]


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_run(tmp_path / "gone.dcm")
    with pytest.raises(InputError, match="is a folder"):
        read_run(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        find_runs(tmp_path / "gone")
