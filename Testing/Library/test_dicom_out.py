"""DICOM out: a derived object that a validator accepts, whole or not there, with nothing of the old identity."""

import tracemalloc
from itertools import islice

import numpy as np
import pydicom
import pytest
from dicom_examples import (
    COMPRESSED,
    OLD_SYNTAXES,
    PROVENANCE,
    changed,
    compressed,
    dciodvfy_errors,
    enhanced_file,
    noise_frames,
    reencoded,
    rf_file,
    xa_file,
)
from FluoroDenoiseLib.errors import FluoroDenoiseError, InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.formats import dicom_out, read_run, rle_frames, write_run, write_simulated
from FluoroDenoiseLib.formats.dicom_out import derived_header
from pydicom.sr.codedict import codes
from pydicom.uid import RLELossless

EXAMPLES = {"XA": xa_file, "RF": rf_file, "Enhanced XA": enhanced_file}


@pytest.fixture
def xa(tmp_path):
    return xa_file(tmp_path / "xa.dcm")


def written(source, target, frames=None, provenance=PROVENANCE):
    run = read_run(source)
    return write_run(target, run.frames if frames is None else frames, run, provenance)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_written_run_reads_back_the_same(tmp_path, kind):
    source = EXAMPLES[kind](tmp_path / "in.dcm")
    report = written(source, tmp_path / "out.dcm")
    before, after = read_run(source), read_run(tmp_path / "out.dcm")
    np.testing.assert_array_equal(np.stack(list(after.frames)), noise_frames())
    for fact in ("frame_times_s", "pixel_spacing_mm", "bits_stored", "intensity_relationship", "scale"):
        assert getattr(after, fact) == getattr(before, fact)
    assert (report.frames, report.clipped, report.pixels) == (5, 0, 5 * 24 * 32)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_dciodvfy_finds_no_error_that_the_source_has_not(tmp_path, kind):
    source = EXAMPLES[kind](tmp_path / "in.dcm")
    written(source, tmp_path / "out.dcm")
    assert set(dciodvfy_errors(tmp_path / "out.dcm")) <= set(dciodvfy_errors(source))
    if kind != "Enhanced XA":
        assert dciodvfy_errors(tmp_path / "out.dcm") == []


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_a_simulated_run_is_a_valid_xa_object_without_a_patient(tmp_path, bits):
    frames = noise_frames(bits=bits)
    report = write_simulated(tmp_path / "sim.dcm", iter(frames), bits, 0.04, (0.3, 0.2), "LOG")
    run = read_run(tmp_path / "sim.dcm")
    assert dciodvfy_errors(tmp_path / "sim.dcm") == [] and report.frames == 5 and report.clipped == 0
    assert run.source.header.PatientName == "Simulated^Run" and run.warnings == ()
    assert run.pixel_spacing_mm == (0.3, 0.2) and run.frame_times_s[1] == pytest.approx(0.04)
    np.testing.assert_array_equal(np.stack(list(run.frames)), frames)


def test_a_simulated_run_is_the_same_object_twice_and_counts_what_it_clips(tmp_path):
    frames = noise_frames().astype(float)
    frames[1, 3, :3] = -1, 4096, 4095.4
    names = [tmp_path / "1.dcm", tmp_path / "2.dcm"]
    assert [write_simulated(name, frames).clipped for name in names] == [2, 2]
    first, second = map(pydicom.dcmread, names)
    assert first.SOPInstanceUID == second.SOPInstanceUID


@pytest.mark.parametrize("frames", [[], [np.zeros((2, 2)), np.zeros((2, 3))], [np.full((2, 2), np.nan)]])
def test_a_broken_simulation_leaves_no_file(tmp_path, frames):
    with pytest.raises(InputError):
        write_simulated(tmp_path / "sim.dcm", frames)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_a_compressed_source_gives_the_same_pixels_uncompressed(tmp_path, xa, syntax):
    written(compressed(xa, COMPRESSED[syntax]), tmp_path / "out.dcm")
    np.testing.assert_array_equal(pydicom.dcmread(tmp_path / "out.dcm").pixel_array, noise_frames())


@pytest.mark.parametrize("syntax", OLD_SYNTAXES)
def test_old_transfer_syntaxes_are_written_explicit_little_endian(tmp_path, xa, syntax):
    written(reencoded(changed(xa, AcquisitionDuration=1.5), syntax), tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    np.testing.assert_array_equal(out.pixel_array, noise_frames())
    assert (out.Rows, out.AcquisitionDuration, out.PatientName) == (24, 1.5, "Simulated^Run")
    assert dciodvfy_errors(tmp_path / "out.dcm") == []


@pytest.mark.parametrize("bits, count, shape", [(8, 3, (3, 5)), (16, 1, (1, 1))])
def test_odd_sizes_are_padded(tmp_path, bits, count, shape):
    frames = noise_frames(count, (8, 8), bits)[:, : shape[0], : shape[1]]
    written(xa_file(tmp_path / "in.dcm", frames, bits), tmp_path / "out.dcm")
    np.testing.assert_array_equal(np.stack(list(read_run(tmp_path / "out.dcm").frames)), frames)


def test_values_are_rounded_half_to_even_clipped_and_counted(tmp_path, xa):
    frames = np.zeros((5, 24, 32), np.float32)
    frames[0, 0, :6] = 0.5, 1.5, 2.5, -0.4, -0.6, 4095.6
    report = written(xa, tmp_path / "out.dcm", iter(frames))
    np.testing.assert_array_equal(read_run(tmp_path / "out.dcm").frames[0][0, :6], [0, 2, 2, 0, 0, 4095])
    assert report.clipped == 2


def test_the_header_says_what_happened(tmp_path, xa):
    changed(
        xa, ImageType=["ORIGINAL", "PRIMARY", "BIPLANE A"], PerformedProcedureStepID="P1", WindowCenter="2000",
        WindowWidth="3000", GantryID="G",
    )  # fmt: skip
    header = pydicom.dcmread(xa)
    header.add_new("SmallestImagePixelValue", "US", 0)
    header.add_new("LargestImagePixelValue", "US", 4095)
    header.add_new(0x00090010, "LO", "VENDOR")
    header.add_new(0x00091001, "LO", "secret")
    header.save_as(xa)
    written(xa, tmp_path / "out.dcm")
    source, out = pydicom.dcmread(xa), pydicom.dcmread(tmp_path / "out.dcm")

    assert list(out.ImageType) == ["DERIVED", "SECONDARY", "BIPLANE A"]
    assert out.SOPClassUID == source.SOPClassUID and out.SOPInstanceUID != source.SOPInstanceUID
    assert out.file_meta.MediaStorageSOPInstanceUID == out.SOPInstanceUID
    assert out.SeriesInstanceUID != source.SeriesInstanceUID and out.SeriesNumber == 1001
    assert "not for clinical use" in out.SeriesDescription and len(out.SeriesDescription) <= 64
    assert PROVENANCE.model_sha256 in out.DerivationDescription and "research use only" in out.DerivationDescription
    for kept in (
        "StudyInstanceUID", "PatientID", "StudyDate", "FrameTime", "PixelIntensityRelationship", "WindowCenter",
        "InstanceNumber", "NumberOfFrames", "BitsStored", "ImagerPixelSpacing",
    ):  # fmt: skip
        assert out[kept].value == source[kept].value
    for gone in (
        "SmallestImagePixelValue", "LargestImagePixelValue", "PerformedProcedureStepID", "DeviceSerialNumber",
        "StationName", "GantryID",
    ):  # fmt: skip
        assert gone not in out
    assert (0x0009, 0x1001) not in out

    reference = out.SourceImageSequence[0]
    assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID and reference.SpatialLocationsPreserved == "YES"
    assert out.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert out.Manufacturer == "FluoroDenoise" and out.DeviceUID.startswith("2.25.")
    scanner = out.ContributingEquipmentSequence[0]
    assert (scanner.Manufacturer, scanner.DeviceSerialNumber, scanner.StationName) == ("Scanner Works", "77", "LAB2")


def test_names_stay_the_bytes_that_they_were(tmp_path, xa):
    name = b"Sim\xfclat\xe9d^Run"  # Latin-1 under the name of UTF-8, as archives hold it
    changed(xa, SpecificCharacterSet="ISO_IR 192")
    xa.write_bytes(xa.read_bytes().replace(b"Simulated^Run", name))
    written(xa, tmp_path / "out.dcm")
    assert name in (tmp_path / "out.dcm").read_bytes()


def test_every_code_means_what_the_dictionary_says(tmp_path, xa):
    written(xa, tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    reference, scanner = out.SourceImageSequence[0], out.ContributingEquipmentSequence[0]
    for item, code in (
        (out.DerivationCodeSequence[0], codes.DCM.Smoothing),
        (reference.PurposeOfReferenceCodeSequence[0], codes.DCM.SourceImageForImageProcessingOperation),
        (scanner.PurposeOfReferenceCodeSequence[0], codes.DCM.AcquisitionEquipment),
    ):
        assert (item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning) == (code.value, "DCM", code.meaning)


def test_the_code_of_a_second_processor_is_that_of_the_dictionary():
    code = codes.DCM.ProcessingEquipment
    assert dicom_out.PROCESSING_EQUIPMENT == (code.value, code.meaning)


def test_a_result_denoised_again_remembers_both_steps(tmp_path, xa):
    written(xa, tmp_path / "1.dcm")
    written(tmp_path / "1.dcm", tmp_path / "2.dcm")
    once, twice = pydicom.dcmread(tmp_path / "1.dcm"), pydicom.dcmread(tmp_path / "2.dcm")
    assert len(twice.DerivationCodeSequence) == 2 and "before that" in twice.DerivationDescription
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeValue for item in twice.ContributingEquipmentSequence]
    assert purposes == ["109101", "109102"]
    assert twice.SourceImageSequence[0].ReferencedSOPInstanceUID == once.SOPInstanceUID
    assert dciodvfy_errors(tmp_path / "2.dcm") == []


def test_identity_follows_from_source_model_and_settings(xa):
    header = read_run(xa).source.header
    first, again = derived_header(header, PROVENANCE), derived_header(header, PROVENANCE)
    assert first.SOPInstanceUID == again.SOPInstanceUID
    other = type(PROVENANCE)("0.1.0", "fast", "cd" * 32, 1.0, "preset fast")
    assert derived_header(header, other).SOPInstanceUID != first.SOPInstanceUID
    assert derived_header(header, other).DeviceUID != first.DeviceUID
    assert header.ImageType[0] == "ORIGINAL"


def test_an_enhanced_result_says_so_in_its_groups(tmp_path):
    written(enhanced_file(tmp_path / "in.dcm"), tmp_path / "out.dcm")
    source, out = pydicom.dcmread(tmp_path / "in.dcm"), pydicom.dcmread(tmp_path / "out.dcm")
    groups = out.SharedFunctionalGroupsSequence[0]
    facts = groups.FramePixelDataPropertiesSequence[0]
    assert list(facts.FrameType)[:3] == ["DERIVED", "SECONDARY", "SINGLE PLANE"]
    assert list(facts.ImageProcessingApplied) == ["LOW_PASS_FILTER", "FRAME_AVERAGING"]
    derivation = groups.DerivationImageSequence[0]
    assert derivation.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    evidence = out.SourceImageEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert evidence.ReferencedSOPInstanceUID == source.SOPInstanceUID and out.DeviceSerialNumber


@pytest.mark.filterwarnings("ignore:The value for the data element")  # pydicom's, when the example is made
def test_frame_times_beyond_the_short_length_field_come_back(tmp_path):
    steps = [0.0, *np.random.default_rng(0).uniform(30.0, 31.0, 9_999).round(6)]
    source = xa_file(tmp_path / "in.dcm", noise_frames(10_000, (1, 2)))
    source = changed(source, FrameTime=None, FrameTimeVector=steps, FrameIncrementPointer=0x00181065)
    written(source, tmp_path / "out.dcm")
    times = read_run(tmp_path / "out.dcm").frame_times_s
    np.testing.assert_allclose(times, np.cumsum(steps) / 1000)


def failing(frames, after, error):
    yield from islice(frames, after)
    raise error


@pytest.mark.parametrize("error", [RuntimeError("no network"), KeyboardInterrupt(), OSError(28, "No space left")])
@pytest.mark.parametrize("after", [0, 3, 5])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, xa, error, after):
    out = tmp_path / "out.dcm"
    out.write_bytes(b"the old result")
    with pytest.raises((type(error), OutputError)):
        written(xa, out, failing(noise_frames(), after, error))
    assert out.read_bytes() == b"the old result" and sorted(tmp_path.iterdir()) == [out, xa]


@pytest.mark.parametrize(
    "frames, sentence",
    [
        (noise_frames()[:4], "ended after 4"),
        (noise_frames(6), "has more"),
        (noise_frames()[:, :5], "frame 0 of the result is"),
        (np.full((5, 24, 32), np.nan), "not finite"),
    ],
)
def test_frames_that_cannot_be_the_result_are_refused(tmp_path, xa, frames, sentence):
    with pytest.raises(FluoroDenoiseError, match=sentence):
        written(xa, tmp_path / "out.dcm", frames)
    assert list(tmp_path.iterdir()) == [xa]


def test_the_source_is_never_overwritten(xa):
    before = xa.read_bytes()
    with pytest.raises(OutputError, match="being read"):
        written(xa, xa.parent / ".." / xa.parent.name / xa.name)
    assert xa.read_bytes() == before


@pytest.mark.parametrize("name, sentence", [("no/out.dcm", "does not exist"), (".", "is a folder")])
def test_impossible_targets_are_refused(tmp_path, xa, name, sentence):
    with pytest.raises(OutputError, match=sentence):
        written(xa, tmp_path / name)


def test_another_kind_of_file_is_refused_before_computing(tmp_path, xa):
    with pytest.raises(UnsupportedError, match="ending .dcm"):
        written(xa, tmp_path / "out.nrrd", failing([], 0, AssertionError("computed")))


def test_a_full_disk_is_seen_before_computing(tmp_path, xa, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 100})())
    with pytest.raises(OutputError, match="free some space"):
        written(xa, tmp_path / "out.dcm", failing([], 0, AssertionError("computed")))


@pytest.mark.parametrize("shape, bits", [((24, 32), 12), ((3, 259), 12), ((5, 7), 8)])
def test_more_than_four_gigabytes_are_written_as_rle(tmp_path, monkeypatch, shape, bits):
    monkeypatch.setattr(dicom_out, "MAX_PIXEL_BYTES", 100)
    frames = noise_frames(5, shape, bits)
    source = xa_file(tmp_path / "in.dcm", frames, bits)
    written(source, tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    assert out.file_meta.TransferSyntaxUID == RLELossless and len(out.ExtendedOffsetTable) == 5 * 8
    np.testing.assert_array_equal(out.pixel_array, frames)
    assert dciodvfy_errors(tmp_path / "out.dcm") == []
    with open(tmp_path / "out.dcm", "rb") as file:  # the table is right: a frame far behind is found by it alone
        start = (tmp_path / "out.dcm").read_bytes().rindex(b"\xe0\x7f\x10\x00OB") + 12 + 8
        file.seek(start + np.frombuffer(out.ExtendedOffsetTable, "<u8")[4] + 8)
        assert file.read(rle_frames.encoded_size(shape, frames.dtype)) == rle_frames.rle(frames[4])


def test_offsets_pass_four_gigabytes():
    size = rle_frames.encoded_size((1024, 1024), np.dtype("u2"))
    assert len(rle_frames.rle(np.zeros((1024, 1024), np.uint16))) == size
    assert int(rle_frames.offsets(10_000, size)[-1]) == 9_999 * (size + 8) > 2**34


def test_gdcm_reads_what_we_write_as_rle(tmp_path, xa, monkeypatch):
    gdcm = pytest.importorskip("gdcm")
    monkeypatch.setattr(dicom_out, "MAX_PIXEL_BYTES", 100)
    written(xa, tmp_path / "out.dcm")
    reader = gdcm.ImageReader()
    reader.SetFileName(str(tmp_path / "out.dcm"))
    assert reader.Read()
    buffer = reader.GetImage().GetBuffer().encode("utf-8", "surrogateescape")
    assert np.frombuffer(buffer, "<u2").tobytes() == noise_frames().tobytes()


def test_padding_stays_as_it_is(tmp_path):
    frames = noise_frames() % 2000 + 100
    frames[:, :4] = 0
    source = xa_file(tmp_path / "in.dcm", frames)
    header = pydicom.dcmread(source)
    header.add_new("PixelPaddingValue", "US", 0)
    header.add_new("PixelPaddingRangeLimit", "US", 5)
    header.save_as(source)
    written(source, tmp_path / "out.dcm", (frame + 7 for frame in frames))
    out = np.stack(list(read_run(tmp_path / "out.dcm").frames))
    np.testing.assert_array_equal(out[:, :4], 0)
    np.testing.assert_array_equal(out[:, 4:], frames[:, 4:] + 7)


def test_overlays_are_copied_and_those_in_unused_bits_are_said_to_be_lost(tmp_path, xa):
    header = pydicom.dcmread(xa)
    header.add_new(0x60003000, "OW", bytes(range(96)))
    header.add_new(0x60020102, "US", 15)
    header.save_as(xa)
    run = read_run(xa)
    assert sum("overlays" in said for said in run.warnings) == 2
    written(xa, tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    assert out[0x60003000].value == bytes(range(96)) and (0x6002, 0x0102) not in out


def test_parts_of_a_whole_are_no_parts_of_the_original(tmp_path):
    source = changed(enhanced_file(tmp_path / "in.dcm"), ConcatenationUID="1.2.3", InConcatenationNumber=1,
                     SOPInstanceUIDOfConcatenationSource="1.2.4")  # fmt: skip
    written(source, tmp_path / "out.dcm")
    out = pydicom.dcmread(tmp_path / "out.dcm")
    assert out.ConcatenationUID.startswith("2.25.") and out.SOPInstanceUIDOfConcatenationSource.startswith("2.25.")
    assert out.InConcatenationNumber == 1 and out.ContentQualification == "RESEARCH"


def test_a_strange_model_name_cannot_break_the_header(tmp_path, xa):
    strange = type(PROVENANCE)("0.1.0", "caf\u00e9\\back", "ab" * 32, 1.0, "preset")
    written(xa, tmp_path / "out.dcm", provenance=strange)
    assert pydicom.dcmread(tmp_path / "out.dcm").SeriesDescription == "FluoroDenoise caf?/back, not for clinical use"


def test_a_disk_that_alters_what_was_written_is_noticed(tmp_path, xa, monkeypatch):
    def altering(file, frames, size, write=dicom_out.write_pixels):
        write(file, frames, size)
        file.seek(-5, 2)
        file.write(b"\1")

    monkeypatch.setattr(dicom_out, "write_pixels", altering)
    with pytest.raises(OutputError, match="did not read back"):
        written(xa, tmp_path / "out.dcm")
    assert list(tmp_path.iterdir()) == [xa]


def test_a_header_that_cannot_be_encoded_leaves_no_file(tmp_path, xa):
    run = read_run(xa)
    run.source.header["Rows"]._value = "twelve"
    with pytest.raises(InputError, match="header of xa.dcm"):
        write_run(tmp_path / "out.dcm", run.frames, run, PROVENANCE)
    assert list(tmp_path.iterdir()) == [xa]


def test_memory_does_not_grow_with_the_run(tmp_path):
    frame = noise_frames(1, (512, 512))[0]
    source = tmp_path / "long.dcm"

    def peak(count):
        write_simulated(source, (frame for _ in range(count)))
        tracemalloc.start()
        written(source, tmp_path / "out.dcm")
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    # 280 more frames are 147 MB; one frame of slack covers the counters.
    assert peak(300) - peak(20) < frame.nbytes
