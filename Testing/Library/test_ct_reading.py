"""CT volumes in: the order of slices, Hounsfield units, padding, and what is refused or said."""

import shutil

import numpy as np
import pytest
import SimpleITK
from ct_examples import PADDING, STEP_MM, changed, ct_hu, ct_series, ct_slice, enhanced_ct
from dicom_examples import compressed, xa_file
from FluoroDenoiseLib.ct_volume import AIR_HU, CtVolume, SliceValues
from FluoroDenoiseLib.errors import InputError, UnsupportedError
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.formats.ct import find_ct, read_ct, read_ct_folder
from pydicom import dcmread
from pydicom.uid import JPEGLSLossless, RLELossless, SecondaryCaptureImageStorage


def hu_of(volume):
    return np.stack(list(volume))


def slice_at(folder, index):
    """The file of the slice at a place."""
    return sorted(folder.iterdir(), key=lambda path: dcmread(path).ImagePositionPatient[2])[index]


def save(path, hu, **facts):
    image = SimpleITK.GetImageFromArray(hu)
    image.SetSpacing((0.5, 0.75, 2.5))
    image.SetOrigin((-10.0, 20.0, 30.0))
    for name, value in facts.items():
        getattr(image, f"Set{name}")(value)
    SimpleITK.WriteImage(image, str(path), useCompression=path.suffix == ".mha")
    return path


def test_slices_are_ordered_by_place_not_by_name_or_number(tmp_path):
    volume = read_ct(ct_series(tmp_path / "ct"))
    assert np.array_equal(hu_of(volume), ct_hu()) and volume.shape == (5, 24, 32)
    assert volume.spacing_mm == (STEP_MM, 0.75, 0.5) and volume.origin_mm == (-100, -80, -50)
    assert not volume.warnings and volume.stacks == [range(5)]


def test_slices_are_ordered_along_their_normal_whatever_it_is(tmp_path):
    for index, stored in enumerate(ct_hu(4)):
        ct_slice(tmp_path / f"{index}", stored, index, ImageOrientationPatient=[0, 1, 0, 0, 0, -1], ImagePositionPatient=[10 - 3 * index, 0, 0])
    volume = read_ct(tmp_path)  # the normal is (0, 1, 0) x (0, 0, -1) = (-1, 0, 0)
    assert np.array_equal(hu_of(volume), ct_hu(4)) and volume.spacing_mm[0] == 3 and volume.direction[2] == (-1, 0, 0)


def test_an_enhanced_ct_is_read_in_the_order_of_its_places(tmp_path):
    hu = ct_hu()
    volume = read_ct(enhanced_ct(tmp_path / "e.dcm", hu))
    assert np.abs(hu_of(volume) - hu).max() <= 1 and volume.spacing_mm == (STEP_MM, 0.75, 0.5)


def test_every_slice_has_its_own_slope_and_intercept(tmp_path):
    for index in range(3):
        ct_slice(tmp_path / f"{index}", np.full((8, 8), 100, np.int16), index, RescaleSlope=index + 1, RescaleIntercept=-1000 * index)
    assert [hu[0, 0] for hu in read_ct(tmp_path)] == [100, -800, -1700]


@pytest.mark.parametrize("slope", [1.0, -0.5, 1 / 3])
def test_stored_values_come_back_from_hounsfield_units(slope):
    values, stored = SliceValues(slope, -1024.0), np.arange(0, 1700, dtype=np.int16)
    assert np.array_equal(np.rint(values.to_stored(values.to_hu(stored))), stored)


def test_pixels_outside_the_picture_are_air_and_known():
    stored = np.array([[PADDING, -32768, -1000, 40]], np.int16)
    for values in (SliceValues(padding=(PADDING, PADDING)), SliceValues()):  # also without being told
        assert values.outside(stored).tolist() == [[True, True, False, False]]
        assert values.to_hu(stored).tolist() == [[AIR_HU, AIR_HU, -1000, 40]]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_a_compressed_series_is_that_uncompressed(tmp_path, syntax):
    folder = ct_series(tmp_path / "ct")
    for path in folder.iterdir():
        compressed(path, syntax)
    volume = read_ct(folder)
    assert np.array_equal(hu_of(volume), ct_hu())
    first = volume.slices._decoder
    volume[0]
    assert volume.slices._decoder is first  # one process for the series


def test_a_gap_is_said_and_no_neighbour(tmp_path):
    folder = ct_series(tmp_path / "ct", ct_hu(8))
    slice_at(folder, 3).unlink()
    volume = read_ct(folder)
    assert volume.breaks == (3,) and volume.stacks == [range(0, 3), range(3, 7)]
    assert "gap of 5 mm after slice 2" in volume.warnings[0] and "missing" in volume.warnings[0]


def test_a_tilted_gantry_is_said(tmp_path):
    for index, stored in enumerate(ct_hu(3)):
        ct_slice(tmp_path / f"{index}", stored, index, ImagePositionPatient=[0, 2.0 * index, 5.0 * index])
    assert "tilted" in read_ct(tmp_path).warnings[0]


def test_copies_of_a_slice_are_left_out_and_said(tmp_path):
    folder = ct_series(tmp_path / "ct")
    shutil.copy(slice_at(folder, 2), folder / "copy")
    volume = read_ct(folder)
    assert len(volume) == 5 and "copies of slices (1" in volume.warnings[0]


def test_scout_views_are_left_out_and_said(tmp_path):
    folder = ct_series(tmp_path / "ct")
    ct_slice(folder / "scout", np.zeros((50, 40), np.int16), 0, 9, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    volume = read_ct(folder)
    assert len(volume) == 5 and "(localizers, 1)" in volume.warnings[0]


@pytest.mark.parametrize(("changes", "words"), [
    ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "scout views"),
    ({"RescaleType": "US"}, "no Hounsfield units"),
    ({"SOPClassUID": SecondaryCaptureImageStorage}, "holds no CT"),
    ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}, "colour"),
])  # fmt: skip
def test_a_series_of_another_kind_is_refused(tmp_path, changes, words):
    with pytest.raises((UnsupportedError, InputError), match=words):
        read_ct(ct_series(tmp_path / "ct", **changes))


@pytest.mark.filterwarnings("ignore:Invalid value for VR DS")
@pytest.mark.parametrize(("changes", "words"), [
    ({"RescaleSlope": 0}, "RescaleSlope 0"),
    ({"RescaleSlope": "nan"}, "no usable RescaleSlope"),
    ({"RescaleSlope": None}, "no usable RescaleSlope"),
    ({"RescaleIntercept": "inf"}, "no usable RescaleIntercept"),
    ({"ImagePositionPatient": None}, "no usable ImagePositionPatient"),
    ({"ImagePositionPatient": [0, 1]}, "no usable ImagePositionPatient"),
    ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angles"),
    ({"PixelSpacing": [0, 0.5]}, "above 0"),
    ({"NumberOfFrames": 2}, "NumberOfFrames 2"),
    ({"Rows": 99}, "bytes of pixels"),
    ({"SOPInstanceUID": None}, "SOP instance UID"),
])  # fmt: skip
def test_a_slice_that_contradicts_itself_is_refused(tmp_path, changes, words):
    folder = ct_series(tmp_path / "ct")
    changed(slice_at(folder, 2), **changes)
    with pytest.raises(InputError, match=words) as caught:
        read_ct(folder)
    assert str(caught.value).count(".") <= 6 and "\n" not in str(caught.value)


@pytest.mark.parametrize(("changes", "words"), [
    ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, "different directions"),
    ({"PixelSpacing": [0.75, 0.6]}, "different pixel spacings"),
    ({"BitsStored": 12, "HighBit": 11}, "different bits"),
    ({"ImagePositionPatient": [-100, -80, -50]}, "more than one slice at 1 of its places"),
])  # fmt: skip
def test_a_mixed_series_is_refused(tmp_path, changes, words):
    folder = ct_series(tmp_path / "ct")
    changed(slice_at(folder, 3), **changes)
    with pytest.raises(UnsupportedError, match=words):
        read_ct(folder)


def test_slices_of_two_sizes_and_of_two_studies_are_refused(tmp_path):
    folder = ct_series(tmp_path / "a")
    ct_slice(folder / "other", np.zeros((24, 24), np.int16), 9, 99)
    with pytest.raises(UnsupportedError, match="24x24, 24x32"):
        read_ct(folder)
    folder = ct_series(tmp_path / "b")
    changed(slice_at(folder, 0), StudyInstanceUID="1.2.3")
    with pytest.raises(InputError, match="several studies"):
        read_ct(folder)


def test_a_slice_cut_short_or_damaged_is_refused_before_anything_is_computed(tmp_path):
    folder = ct_series(tmp_path / "ct")
    path = slice_at(folder, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cut short"):
        read_ct(folder)
    for length in (140, 200, 400, 700):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="cannot be read"):
            read_ct(folder)


def test_a_slice_that_changes_while_it_is_denoised_is_noticed(tmp_path):
    folder = ct_series(tmp_path / "ct")
    volume = read_ct(folder)
    ct_slice(slice_at(folder, 1), np.zeros((8, 8), np.int16), 1)
    with pytest.raises(InputError, match="start again"):
        volume[1]


def test_several_series_in_a_folder_are_several_volumes(tmp_path):
    ct_series(tmp_path / "all")
    for index, stored in enumerate(ct_hu(3)):
        ct_slice(tmp_path / "all" / f"b{index}", stored, index, 50 + index, SeriesInstanceUID="1.2.3.4", SeriesNumber=7)
    enhanced_ct(tmp_path / "e.dcm")
    save(tmp_path / "v.nrrd", ct_hu())
    (tmp_path / "note.txt").write_text("not a volume")
    assert [len(volume) for volume in read_ct_folder(tmp_path)] == [5, 3, 5, 5]
    with pytest.raises(InputError, match="holds 2 CT volumes"):
        read_ct(tmp_path / "all")


def test_a_folder_without_ct_says_so(tmp_path):
    xa_file(tmp_path / "xa.dcm")
    with pytest.raises(InputError, match="holds no CT"):
        find_ct(tmp_path)


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_files_are_read_with_their_geometry(tmp_path, ending):
    volume = read_ct(save(tmp_path / f"v{ending}", ct_hu(), Direction=(0, 1, 0, -1, 0, 0, 0, 0, 1)))
    assert np.array_equal(hu_of(volume), ct_hu())
    assert volume.spacing_mm == (2.5, 0.75, 0.5) and volume.origin_mm == (-10, 20, 30)
    assert np.array_equal(volume.direction, [[0, -1, 0], [1, 0, 0], [0, 0, 1]]) and not volume.warnings


def test_slices_that_are_not_axial_and_values_that_are_no_hu_are_said(tmp_path):
    path = save(tmp_path / "v.nrrd", (ct_hu() + 1024).astype(np.uint16), Direction=(1, 0, 0, 0, 0, 1, 0, -1, 0))
    said = read_ct(path).warnings
    assert "not Hounsfield units" in said[0] and "not axial" in said[1]


def test_the_slope_of_a_nifti_file_counts(tmp_path):
    path = save(tmp_path / "v.nii", ct_hu())
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([0.5, -24.0], "<f4").tobytes()
    path.write_bytes(content)
    assert np.array_equal(read_ct(path)[1], 0.5 * ct_hu()[1] - 24)


@pytest.mark.parametrize("wrong", [np.nan, 1e9])
def test_values_that_cannot_be_hu_are_refused(tmp_path, wrong):
    hu = ct_hu().astype(np.float32)
    hu[2, 3, 4] = wrong
    with pytest.raises(InputError, match="not finite|no Hounsfield"):
        read_ct(save(tmp_path / "v.nrrd", hu))


def test_a_run_over_time_is_no_volume_and_a_volume_is_no_run(tmp_path):
    times = tmp_path / "run.nrrd"
    times.write_bytes(b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nkinds: domain domain time\nendian: little\n"
                      b"encoding: raw\nspacings: 1 1 0.1\nunits: \"mm\" \"mm\" \"s\"\n\n" + bytes(48))
    with pytest.raises(UnsupportedError, match="frames over time"):
        read_ct(times)
    with pytest.raises(UnsupportedError, match="fast and quality"):
        read_ct(xa_file(tmp_path / "xa.dcm"))
    with pytest.raises(UnsupportedError, match="--preset ct"):
        read_run(slice_at(ct_series(tmp_path / "ct"), 0))


def test_an_array_in_memory_is_a_volume():
    volume = CtVolume.from_array(ct_hu(), (5.0, 1.0, 1.0))
    assert np.array_equal(hu_of(volume), ct_hu()) and volume.name == "the run"
    with pytest.raises(ValueError, match="2 dimensions"):
        CtVolume.from_array(ct_hu()[0])
