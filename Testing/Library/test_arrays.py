"""NumPy files and TIFF stacks."""

import numpy as np
import pytest
import tifffile
from dicom_examples import PROVENANCE, noise_frames
from FluoroDenoiseLib.errors import InputError, UnsupportedError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats import read_run, write_run

TYPES = ["u1", "i1", "u2", "i2", "f4", "f8"]


def copied(source, target):
    run = read_run(source)
    return write_run(target, run.frames, run, PROVENANCE)


@pytest.mark.parametrize("dtype", [*TYPES, ">u2", ">f4"])
def test_a_numpy_file_comes_back_the_same(tmp_path, dtype):
    frames = noise_frames(bits=7).astype(dtype)
    np.save(tmp_path / "in.npy", frames)
    assert copied(tmp_path / "in.npy", tmp_path / "out.npy").frames == 5
    again = np.load(tmp_path / "out.npy")
    np.testing.assert_array_equal(again, frames)
    assert again.dtype == frames.dtype


def test_one_image_stays_one_image(tmp_path):
    np.save(tmp_path / "in.npy", noise_frames()[0])
    assert len(read_run(tmp_path / "in.npy")) == 1
    copied(tmp_path / "in.npy", tmp_path / "out.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), noise_frames()[0])


def test_column_major_arrays_are_read_by_frame(tmp_path):
    np.save(tmp_path / "in.npy", np.asfortranarray(noise_frames()))
    np.testing.assert_array_equal(read_run(tmp_path / "in.npy").frames[2], noise_frames()[2])


def test_floats_are_neither_rounded_nor_clipped(tmp_path):
    frames = np.random.default_rng(0).normal(0, 1e5, (3, 4, 5)).astype("f4")
    np.save(tmp_path / "in.npy", frames)
    assert copied(tmp_path / "in.npy", tmp_path / "out.npy").clipped == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), frames)


@pytest.mark.parametrize(
    "array, error, sentence",
    [
        (np.zeros((2, 3, 4, 5)), InputError, "shape"),
        (np.zeros((0, 3, 4)), InputError, "none of them 0"),
        (np.zeros((2, 3, 4), complex), UnsupportedError, "complex128"),
        (np.zeros((2, 3, 4), "i4"), UnsupportedError, "int32"),
        (np.full((2, 3, 4), np.nan), InputError, "24 values that are not finite, the first at frame 0, row 0"),
        (np.array([{}]), InputError, "plain numbers"),
    ],
)
def test_arrays_that_are_no_run_are_refused(tmp_path, array, error, sentence):
    np.save(tmp_path / "in.npy", array, allow_pickle=True)
    with pytest.raises(error, match=sentence) as refusal:
        read_run(tmp_path / "in.npy")
    assert "in.npy" in str(refusal.value)


@pytest.mark.parametrize("name", ["in.npy", "in.tif"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.9])
def test_a_file_cut_short_is_refused(tmp_path, name, kept):
    path = tmp_path / name
    np.save(path, noise_frames()) if name == "in.npy" else tifffile.imwrite(path, noise_frames())
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(InputError, match=name):
        read_run(path)


def test_a_tiff_whose_pixels_end_early_is_refused_though_its_pages_are_listed(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", noise_frames(2), metadata=None)
    with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:
        file.pages[1].tags["StripOffsets"].overwrite([10**6])
    with pytest.raises(InputError, match="ends before page 1"):
        read_run(tmp_path / "in.tif")


def test_an_array_in_memory_goes_to_numpy_or_tiff(tmp_path):
    run = FluoroRun.from_array(noise_frames(), bits_stored=12)
    expected = np.minimum(noise_frames() + 1, 4095)
    for name in ("out.npy", "out.tif"):
        assert write_run(tmp_path / name, run.frames + 1.0, run, PROVENANCE).clipped == (noise_frames() == 4095).sum()
        np.testing.assert_array_equal(np.stack(list(read_run(tmp_path / name).frames)), expected)
    with pytest.raises(UnsupportedError, match=".npy or .tif"):
        write_run(tmp_path / "out.mha", run.frames, run, PROVENANCE)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "zlib"}, {"bigtiff": True}, {"byteorder": ">"}, {"photometric": "miniswhite"}],
    ids=str,
)
def test_a_tiff_stack_comes_back_the_same(tmp_path, options, dtype):
    frames = noise_frames(bits=7).astype(dtype)
    tifffile.imwrite(tmp_path / "in.tif", frames, **{"photometric": "minisblack", **options}, metadata=None)
    run = read_run(tmp_path / "in.tif")
    assert run.frames[0].dtype == frames.dtype and run.pixel_spacing_mm == (1.0, 1.0)
    copied(tmp_path / "in.tif", tmp_path / "out.tif")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), frames)
    with tifffile.TiffFile(tmp_path / "in.tif") as before, tifffile.TiffFile(tmp_path / "out.tif") as after:
        assert after.byteorder == before.byteorder and after.is_bigtiff == before.is_bigtiff
        assert after.pages[0].photometric == before.pages[0].photometric
        assert (after.pages[0].compression == 1) == (before.pages[0].compression == 1)


def test_an_imagej_stack_keeps_times_spacing_and_description(tmp_path):
    tifffile.imwrite(
        tmp_path / "in.tif", noise_frames(), imagej=True, resolution=(5.0, 4.0),
        metadata={"axes": "TYX", "finterval": 0.08, "unit": "mm"},
    )  # fmt: skip
    run = read_run(tmp_path / "in.tif")
    assert run.frame_times_s[1] == pytest.approx(0.08) and run.warnings == ()
    assert run.pixel_spacing_mm == (0.25, 0.2)
    copied(tmp_path / "in.tif", tmp_path / "out.tif")
    again = read_run(tmp_path / "out.tif")
    assert again.frame_times_s == run.frame_times_s and again.pixel_spacing_mm == run.pixel_spacing_mm
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_imagej and file.imagej_metadata["frames"] == 5
        np.testing.assert_array_equal(file.asarray(), noise_frames())


def test_a_description_may_hold_more_than_ascii(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", noise_frames(), description="5 µm".encode(), metadata=None)
    copied(tmp_path / "in.tif", tmp_path / "out.tif")
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.pages[0].description == "5 µm"


def test_an_imagej_block_without_pages_is_read_in_place(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", noise_frames(), imagej=True, truncate=True)
    run = read_run(tmp_path / "in.tif")
    np.testing.assert_array_equal(np.stack(list(run.frames)), noise_frames())
    copied(tmp_path / "in.tif", tmp_path / "out.tif")
    np.testing.assert_array_equal(np.stack(list(read_run(tmp_path / "out.tif").frames)), noise_frames())


def test_a_stack_of_several_sizes_is_refused_with_the_page(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as file:
        file.write(noise_frames()[0])
        file.write(noise_frames()[0][:5])
    with pytest.raises(UnsupportedError, match="Page 1 of in.tif"):
        read_run(tmp_path / "in.tif")


def test_a_colour_tiff_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.zeros((4, 5, 3), "u1"), photometric="rgb")
    with pytest.raises(UnsupportedError, match="colour"):
        read_run(tmp_path / "in.tif")


@pytest.mark.parametrize("name", ["out.npy", "out.tif"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, name):
    run = FluoroRun.from_array(noise_frames())
    (tmp_path / name).write_bytes(b"the old result")

    def failing():
        yield run.frames[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_run(tmp_path / name, failing(), run, PROVENANCE)
    assert (tmp_path / name).read_bytes() == b"the old result" and len(list(tmp_path.iterdir())) == 1
