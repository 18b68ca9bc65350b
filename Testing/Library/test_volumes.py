"""NRRD, Slicer's sequences, NIfTI and MetaImage: only the pixels change, and other programs read the same."""

import gzip
import tracemalloc

import numpy as np
import pytest
from dicom_examples import PROVENANCE, noise_frames
from FluoroDenoiseLib.errors import InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.formats import lazy_frames, read_run, write_run

sitk = pytest.importorskip("SimpleITK")

KINDS = [(".nrrd", False), (".nrrd", True), (".nii", False), (".nii.gz", True), (".mha", False), (".mha", True)]
TYPES = ["u1", "i1", "u2", "i2", "f4", "f8"]


def volume_file(path, frames, compress=False, spacing=(0.3, 0.2, 1.0)):
    """A file that SimpleITK wrote: spacing x, y, z; an origin, a direction and a key of its own."""
    image = sitk.GetImageFromArray(frames)
    image.SetSpacing(spacing)
    image.SetOrigin((1, 2, 3))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    image.SetMetaData("Site", "Room 4")
    sitk.WriteImage(image, str(path), useCompression=compress)
    return path


def sequence_file(path, frames, encoding="raw", axis=0, values=None, unit="s"):
    """A file as Slicer writes a sequence of one-slice volumes, the frames along the first or the last axis."""
    count, height, width = frames.shape
    sizes, kinds = [width, height, 1], ["domain"] * 3
    sizes.insert(axis, count)
    kinds.insert(axis, "list")
    directions = ["(0.3,0,0)", "(0,0.2,0)", "(0,0,1)"]
    directions.insert(axis, "none")
    values = values or " ".join(f"{0.1 * index:g}" for index in range(count))
    names = ['""'] * 3
    names.insert(axis, '"time"')
    units = ['""'] * 3
    units.insert(axis, f'"{unit}"')
    lines = [
        "NRRD0005", "# a comment: kept", f"type: {frames.dtype.name}", "dimension: 4",
        "space: left-posterior-superior", f"sizes: {' '.join(map(str, sizes))}",
        f"space directions: {' '.join(directions)}", f"kinds: {' '.join(kinds)}", f"labels: {' '.join(names)}",
        f"units: {' '.join(units)}", "endian: little", f"encoding: {encoding}", "space origin: (1,2,3)",
        "DataNodeClassName:=vtkMRMLScalarVolumeNode", f"axis {axis} index type:=numeric",
        f"axis {axis} index values:={values}", "", "",
    ]  # fmt: skip
    pixels = (np.moveaxis(frames, 0, 2) if axis == 0 else frames).tobytes()
    path.write_bytes("\n".join(lines).encode() + (gzip.compress(pixels) if encoding == "gzip" else pixels))
    return path


def header_of(path):
    return path.read_bytes().split(b"\n\n")[0]


def copied(source, target):
    run = read_run(source)
    return write_run(target, run.frames, run, PROVENANCE)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("ending, compress", KINDS)
def test_a_volume_is_a_run_and_comes_back_the_same(tmp_path, ending, compress, dtype):
    frames = np.random.default_rng(3).integers(0, 100, (6, 5, 7)).astype(dtype)
    source, target = volume_file(tmp_path / f"in{ending}", frames, compress), tmp_path / f"out{ending}"
    run = read_run(source)
    np.testing.assert_array_equal(np.stack(list(run.frames)), frames)
    assert run.frames[0].dtype == dtype and run.pixel_spacing_mm == pytest.approx((0.2, 0.3))
    assert len(run.frame_times_s) == 6 and "15 frames a second" in run.warnings[0]

    assert copied(source, target).frames == 6
    before, after = sitk.ReadImage(str(source)), sitk.ReadImage(str(target))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), frames)
    assert after.GetPixelID() == before.GetPixelID()
    for fact in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(after, fact)() == getattr(before, fact)()
    for key in before.GetMetaDataKeys():
        assert after.GetMetaData(key) == before.GetMetaData(key)
    # Slack for another compression level; a file that lost its compression would be much larger for these values.
    assert target.stat().st_size == pytest.approx(source.stat().st_size, rel=0.2)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
@pytest.mark.parametrize("axis", [0, 3])
def test_a_slicer_sequence_keeps_its_header_and_times(tmp_path, axis, encoding):
    source = sequence_file(tmp_path / "in.seq.nrrd", noise_frames(), encoding, axis, "0 0.1 0.25 0.3 0.4")
    run = read_run(source)
    assert run.frame_times_s == (0, 0.1, 0.25, 0.3, 0.4) and run.warnings == ()
    assert run.pixel_spacing_mm == (0.2, 0.3)
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames())
    copied(source, tmp_path / "out.seq.nrrd")
    np.testing.assert_array_equal(np.stack(list(read_run(tmp_path / "out.seq.nrrd").frames)), noise_frames())
    assert header_of(tmp_path / "out.seq.nrrd") == header_of(source)
    if encoding == "raw":
        assert (tmp_path / "out.seq.nrrd").read_bytes() == source.read_bytes()


def test_sequence_times_in_milliseconds_begin_at_the_first_frame(tmp_path):
    source = sequence_file(tmp_path / "in.seq.nrrd", noise_frames(3), values="500 533 566", unit="ms")
    assert read_run(source).frame_times_s == pytest.approx((0, 0.033, 0.066))


def test_index_values_that_are_no_times_are_not_taken_for_times(tmp_path):
    source = sequence_file(tmp_path / "in.seq.nrrd", noise_frames(3), values="0 a%20b 2", unit="")
    run = read_run(source)
    assert run.frame_times_s[1] == pytest.approx(1 / 15) and "15 frames" in run.warnings[0]


def test_interleaved_frames_are_moved_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy_frames, "BLOCK_BYTES", 2 * 24 * 32 * 2)
    source = sequence_file(tmp_path / "in.seq.nrrd", noise_frames())
    copied(source, tmp_path / "out.seq.nrrd")
    assert (tmp_path / "out.seq.nrrd").read_bytes() == source.read_bytes()
    run = read_run(source)
    for index in (4, 0, 3, -1):
        np.testing.assert_array_equal(run.frames[index], noise_frames()[index])


def test_a_nifti_time_series_has_its_times(tmp_path):
    path = tmp_path / "in.nii"
    series = sitk.JoinSeries([sitk.GetImageFromArray(frame[None]) for frame in noise_frames(4)])
    series.SetSpacing((0.3, 0.2, 1.0, 0.125))
    sitk.WriteImage(series, str(path))
    run = read_run(path)
    assert run.frame_times_s == (0, 0.125, 0.25, 0.375) and run.warnings == ()
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames(4))


def test_a_big_endian_file_stays_big_endian(tmp_path):
    text = b"NRRD0004\ntype: ushort\ndimension: 3\nsizes: 32 24 5\nendian: big\nencoding: raw\n\n"
    (tmp_path / "in.nrrd").write_bytes(text + noise_frames().astype(">u2").tobytes())
    np.testing.assert_array_equal(read_run(tmp_path / "in.nrrd").frames[2], noise_frames()[2])
    copied(tmp_path / "in.nrrd", tmp_path / "out.nrrd")
    assert (tmp_path / "in.nrrd").read_bytes() == (tmp_path / "out.nrrd").read_bytes()


def test_frame_timestamps_of_a_sequence_metafile_are_read(tmp_path):
    path = volume_file(tmp_path / "in.mha", noise_frames(2))
    stamps = b"Seq_Frame0000_Timestamp = 5.0\nSeq_Frame0001_Timestamp = 5.5\nElementDataFile"
    path.write_bytes(path.read_bytes().replace(b"ElementDataFile", stamps))
    assert read_run(path).frame_times_s == (0, 0.5)


def test_one_slice_is_a_run_of_one_frame(tmp_path):
    path = tmp_path / "one.mha"
    sitk.WriteImage(sitk.GetImageFromArray(noise_frames()[0]), str(path))
    assert len(read_run(path)) == 1


def test_results_are_rounded_clipped_and_counted_in_signed_types(tmp_path):
    run = read_run(volume_file(tmp_path / "in.nrrd", np.zeros((1, 2, 2), "i2")))
    report = write_run(tmp_path / "out.nrrd", [np.array([[-40000, -0.5], [1.5, 40000]])], run, PROVENANCE)
    np.testing.assert_array_equal(read_run(tmp_path / "out.nrrd").frames[0], [[-32768, 0], [2, 32767]])
    assert report.clipped == 2


@pytest.mark.parametrize("ending, compress", KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, ending, compress, kept):
    path = volume_file(tmp_path / f"in{ending}", noise_frames(), compress)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match="in.n|in.mha"):
        read_run(path)


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_another_file_under_this_name_is_refused(tmp_path, ending):
    path = tmp_path / f"strange{ending}"
    path.write_bytes(b"no volume at all" * 40)
    with pytest.raises(InputError, match="strange.*is not a"):
        read_run(path)


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".mha"])
def test_more_pixels_than_stated_are_refused(tmp_path, ending):
    path = volume_file(tmp_path / f"in{ending}", noise_frames())
    path.write_bytes(path.read_bytes() + b"\0\0")
    with pytest.raises(InputError, match="header states 5 frames"):
        read_run(path)


def test_a_compressed_file_that_holds_more_than_it_states_is_not_unpacked_further(tmp_path):
    path = sequence_file(tmp_path / "bomb.seq.nrrd", noise_frames(), "gzip")
    path.write_bytes(header_of(path) + b"\n\n" + gzip.compress(bytes(2**24)))
    with pytest.raises(InputError, match="bomb.seq.nrrd"):
        read_run(path)


@pytest.mark.parametrize("ending, compress", KINDS)
def test_values_that_are_not_finite_are_counted_and_found(tmp_path, ending, compress):
    frames = noise_frames().astype("f4")
    frames[2, 3, 4], frames[4, 0, 0] = np.nan, np.inf
    with pytest.raises(InputError, match="2 values that are not finite, the first at frame 2, row 3, column 4"):
        read_run(volume_file(tmp_path / f"in{ending}", frames, compress))


@pytest.mark.parametrize(
    "ending, old, new, error, sentence",
    [
        (".nrrd", b"encoding: raw", b"encoding: hex", UnsupportedError, "raw or gzip"),
        (".nrrd", b"encoding: raw", b"data file: a.raw\nencoding: raw", UnsupportedError, "another file"),
        (".nrrd", b"encoding: raw", b"byte skip: 4\nencoding: raw", UnsupportedError, "skips bytes"),
        (".nrrd", b"type: unsigned short", b"type: block", UnsupportedError, "'block'"),
        (".nrrd", b"sizes: 32", b"sizes: x2", InputError, "sizes and type"),
        (".nrrd", b"sizes: 32 24 5", b"sizes: 32 24 0", InputError, "at least one frame"),
        (".nrrd", b"kinds: domain domain domain", b"kinds: vector domain domain", UnsupportedError, "colour"),
        (".nrrd", b"kinds: domain domain domain", b"kinds: domain list domain", UnsupportedError, "axis 1"),
        (".nrrd", b"dimension: 3", b"dimension: 4", InputError, "dimension"),
        (".mha", b"MET_USHORT", b"MET_STRING", UnsupportedError, "MET_STRING"),
        (".mha", b"DimSize = 32", b"DimSize = no", InputError, "DimSize"),
        (".mha", b"= LOCAL", b"= a.raw", UnsupportedError, "another file"),
        (".mha", b"BinaryData = True", b"BinaryData = False", UnsupportedError, "text"),
        (".mha", b"ElementType", b"ElementNumberOfChannels = 3\nElementType", UnsupportedError, "colour"),
    ],
)
def test_a_header_outside_our_claim_is_refused_by_name(tmp_path, ending, old, new, error, sentence):
    path = volume_file(tmp_path / f"in{ending}", noise_frames())
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(error, match=sentence) as refusal:
        read_run(path)
    assert path.name in str(refusal.value)


def test_colour_and_wide_integers_and_true_volumes_over_time_are_unsupported(tmp_path):
    for ending in (".nrrd", ".nii", ".mha"):
        colour = sitk.Compose(*[sitk.GetImageFromArray(noise_frames())] * 3)
        sitk.WriteImage(colour, str(tmp_path / f"colour{ending}"))
        with pytest.raises(UnsupportedError):
            read_run(tmp_path / f"colour{ending}")
        with pytest.raises(UnsupportedError, match="int32"):
            read_run(volume_file(tmp_path / f"wide{ending}", noise_frames().astype("i4")))
        whole = sitk.JoinSeries([sitk.GetImageFromArray(noise_frames())] * 2)
        sitk.WriteImage(whole, str(tmp_path / f"whole{ending}"))
        with pytest.raises(UnsupportedError, match="at each time"):
            read_run(tmp_path / f"whole{ending}")


@pytest.mark.parametrize("name", ["a.nhdr", "a.mhd", "a.hdr", "a.img"])
def test_headers_without_pixels_are_refused_with_the_way_out(tmp_path, name):
    with pytest.raises(UnsupportedError, match="save it as one"):
        read_run(tmp_path / name)


@pytest.mark.parametrize("ending, compress", KINDS)
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, ending, compress):
    source, out = volume_file(tmp_path / f"in{ending}", noise_frames(), compress), tmp_path / f"out{ending}"
    out.write_bytes(b"the old result")
    run = read_run(source)

    def failing():
        yield run.frames[0]
        raise RuntimeError("the network failed")

    with pytest.raises(RuntimeError, match="the network failed"):
        write_run(out, failing(), run, PROVENANCE)
    assert out.read_bytes() == b"the old result" and sorted(tmp_path.iterdir()) == sorted([source, out])


def test_a_result_cannot_replace_its_source(tmp_path):
    source = volume_file(tmp_path / "in.nrrd", noise_frames())
    with pytest.raises(OutputError, match="being read"):
        copied(source, source)


def test_memory_does_not_grow_with_the_run(tmp_path):
    source, target = tmp_path / "in.nrrd", tmp_path / "out.nrrd"
    frame = noise_frames(1, (512, 512))[0]

    def peak(count):
        text = f"NRRD0004\ntype: ushort\ndimension: 3\nsizes: 512 512 {count}\nendian: little\nencoding: raw\n\n"
        with open(source, "wb") as file:
            file.write(text.encode())
            for _ in range(count):
                file.write(frame)
        tracemalloc.start()
        copied(source, target)
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    # 280 more frames are 147 MB; one frame of slack covers the counters.
    assert peak(300) - peak(20) < frame.nbytes
