"""CT volumes out: derived series and objects, files of the same kind, and all of it or nothing."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK
from ct_examples import PADDING, ct_hu, ct_series, enhanced_ct
from derived_rules import broken_rules
from dicom_examples import PROVENANCE, compressed, dciodvfy_errors
from FluoroDenoiseLib.errors import InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.formats import ct_out
from FluoroDenoiseLib.formats.ct import find_ct, read_ct, write_ct
from pydicom import dcmread
from pydicom.uid import RLELossless
from test_ct_reading import hu_of, save


def halved(volume):
    """Slices with half the HU, outside pixels as they were: what a restorer's results look like."""
    for index, stored in enumerate(volume.slices):
        values = volume.values[index]
        yield np.where(values.outside(stored), stored, values.to_stored(volume[index] / 2))


def padded_hu():
    hu = ct_hu()
    hu[:, 0, :3] = PADDING
    return hu


def headers(folder):
    return {float(header.ImagePositionPatient[2]): header for header in map(dcmread, folder.iterdir())}


def written(tmp_path):
    source = ct_series(tmp_path / "in", padded_hu())
    write_ct(tmp_path / "out", halved(read_ct(source)), read_ct(source), PROVENANCE)
    return source, tmp_path / "out"


def test_a_written_series_reads_back_the_same(tmp_path):
    source, target = written(tmp_path)
    before, after = read_ct(source), read_ct(target)
    assert np.abs(hu_of(after)[:, 1:] - hu_of(before)[:, 1:] / 2).max() <= 0.5
    assert (after.spacing_mm, after.origin_mm, after.direction) == (before.spacing_mm, before.origin_mm, before.direction)
    assert (after.slices[3][0, :3] == PADDING).all()  # bit for bit
    assert sorted(path.name for path in target.iterdir()) == [f"slice{index:05d}.dcm" for index in range(5)]


def test_a_written_series_is_one_derived_series_of_its_source(tmp_path):
    source, target = map(headers, written(tmp_path))
    for place, derived in target.items():
        assert broken_rules(source[place], derived, PROVENANCE) == []
        for kept in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "InstanceNumber", "RescaleSlope", "RescaleIntercept",
                     "RescaleType", "PixelPaddingValue", "AcquisitionNumber"):
            assert source[place].get(kept) == derived.get(kept)
    for shared in ("SeriesInstanceUID", "SeriesDate", "SeriesTime", "SeriesNumber", "DeviceUID"):
        assert len({str(derived[shared].value) for derived in target.values()}) == 1
    assert len({derived.SOPInstanceUID for derived in target.values()}) == 5


def test_the_same_series_denoised_twice_has_the_same_uids(tmp_path):
    source, target = written(tmp_path)
    write_ct(tmp_path / "again", halved(read_ct(source)), read_ct(source), PROVENANCE)
    uids = [sorted(header.SOPInstanceUID for header in headers(folder).values()) for folder in (target, tmp_path / "again")]
    assert uids[0] == uids[1]


def test_a_series_with_its_source_is_valid_dicom(tmp_path):
    source, target = written(tmp_path)
    for path in target.iterdir():
        assert dciodvfy_errors(path) == []
    files = [*source.iterdir(), *target.iterdir()]
    result = subprocess.run(["dcentvfy", *map(os.fspath, files)], capture_output=True, text=True)
    assert "Error" not in result.stdout + result.stderr


def test_an_enhanced_ct_comes_back_in_the_order_of_its_file(tmp_path):
    source, target = enhanced_ct(tmp_path / "in.dcm", padded_hu()), tmp_path / "out.dcm"
    write_ct(target, halved(read_ct(source)), read_ct(source), PROVENANCE)
    before, after = dcmread(source), dcmread(target)
    assert np.abs((after.pixel_array * 2.0 - 1024) - (before.pixel_array * 2.0 - 1024) / 2)[:, 1:].max() <= 1
    assert (after.pixel_array[:, 0, :3] == PADDING).all()
    groups = [list(header.PerFrameFunctionalGroupsSequence) for header in (before, after)]
    assert [one.PlanePositionSequence for one in groups[0]] == [one.PlanePositionSequence for one in groups[1]]
    assert after.ImageType[:2] == after.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence[0].FrameType[:2] == ["DERIVED", "PRIMARY"]
    assert dciodvfy_errors(target) == []


def test_a_compressed_series_is_written_uncompressed(tmp_path):
    source = ct_series(tmp_path / "in")
    for path in source.iterdir():
        compressed(path, RLELossless)
    write_ct(tmp_path / "out", iter(read_ct(source).slices), read_ct(source), PROVENANCE)
    assert np.array_equal(hu_of(read_ct(tmp_path / "out")), ct_hu())


@pytest.mark.parametrize("ending", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_a_file_keeps_all_but_its_pixels(tmp_path, ending):
    source = save(tmp_path / f"in{ending}", ct_hu(), Direction=(0, 1, 0, -1, 0, 0, 0, 0, 1))
    target = tmp_path / f"out{ending}"
    write_ct(target, halved(read_ct(source)), read_ct(source), PROVENANCE)
    before, after = (SimpleITK.ReadImage(str(path)) for path in (source, target))
    for fact in ("GetSpacing", "GetOrigin", "GetDirection", "GetPixelIDTypeAsString", "GetSize"):
        assert getattr(before, fact)() == getattr(after, fact)()
    assert np.abs(SimpleITK.GetArrayFromImage(after) - ct_hu() / 2).max() <= 0.5


def test_values_beyond_the_stored_bits_are_clipped_and_counted(tmp_path):
    source = ct_series(tmp_path / "in", BitsStored=12, HighBit=11)
    volume = read_ct(source)
    beyond = (np.where(stored > 0, 5000.0, stored) for stored in volume.slices)
    report = write_ct(tmp_path / "out", beyond, volume, PROVENANCE)
    assert report.clipped == (ct_hu() > 0).sum() and max(hu.max() for hu in read_ct(tmp_path / "out")) == 2047


def fails_at(volume, index):
    for number, stored in enumerate(volume.slices):
        if number == index:
            raise RuntimeError("the network failed")
        yield stored


def test_a_failure_leaves_nothing_or_what_was_there(tmp_path):
    source = ct_series(tmp_path / "in")
    with pytest.raises(RuntimeError):
        write_ct(tmp_path / "out", fails_at(read_ct(source), 3), read_ct(source), PROVENANCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    write_ct(tmp_path / "out", iter(read_ct(source).slices), read_ct(source), PROVENANCE)
    with pytest.raises(RuntimeError):
        write_ct(tmp_path / "out", fails_at(read_ct(source), 3), read_ct(source), PROVENANCE, overwrite=True)
    assert np.array_equal(hu_of(read_ct(tmp_path / "out")), ct_hu())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_only_a_series_of_ours_is_replaced_and_only_when_asked(tmp_path):
    source, target = written(tmp_path)
    volume = read_ct(source)
    with pytest.raises(OutputError, match="exists already"):
        write_ct(target, iter(volume.slices), volume, PROVENANCE)
    write_ct(target, iter(volume.slices), volume, PROVENANCE, overwrite=True)
    assert np.array_equal(read_ct(target).slices[2], volume.slices[2])
    (target / "notes.txt").write_text("by hand")
    for folder in (target, source):
        with pytest.raises(OutputError, match="not replaced"):
            write_ct(folder, iter(volume.slices), volume, PROVENANCE, overwrite=True)
    assert (target / "notes.txt").exists() and len(read_ct(source)) == 5


def test_a_slice_that_does_not_read_back_is_noticed(tmp_path, monkeypatch):
    source = ct_series(tmp_path / "in")
    settle = ct_out.settle

    def failing_disk(path):
        settle(path)
        if path.name == "slice00002.dcm":
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    monkeypatch.setattr(ct_out, "settle", failing_disk)
    with pytest.raises(OutputError, match="did not read back"):
        write_ct(tmp_path / "out", iter(read_ct(source).slices), read_ct(source), PROVENANCE)
    assert not (tmp_path / "out").exists()


KILLED = """
import os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {here!r}]
from dicom_examples import PROVENANCE
from FluoroDenoiseLib.formats.ct import read_ct, write_ct
volume = read_ct(Path({source!r}))

def slices():
    for index, stored in enumerate(volume.slices):
        if index == 3:
            os._exit(9)
        yield stored

write_ct(Path({target!r}), slices(), volume, PROVENANCE, overwrite=True)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    source, target = written(tmp_path)
    here = os.path.dirname(__file__)
    for name in ("out", "other"):
        code = KILLED.format(root=os.path.dirname(os.path.dirname(here)), here=here, source=str(source), target=str(tmp_path / name))
        assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert any(path.name.startswith(".fluorodenoise-") for path in tmp_path.iterdir())
    assert len(find_ct(tmp_path)) == 2  # what lies aside is no result
    volume = read_ct(source)
    write_ct(target, iter(volume.slices), volume, PROVENANCE, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"] and len(read_ct(target)) == 5


def test_a_process_killed_between_the_two_renames_loses_nothing(tmp_path):
    source, target = written(tmp_path)
    volume = read_ct(source)
    from FluoroDenoiseLib.formats import whole_folder

    names = []
    with whole_folder.whole_folder(target, lambda there: True) as aside:
        names += [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    shutil.rmtree(target)
    write_ct(target, halved(volume), volume, PROVENANCE)
    old = next(name for name in names if "folder" in name).replace("folder", "old")
    target.rename(tmp_path / old)
    with pytest.raises(RuntimeError):
        write_ct(target, fails_at(volume, 1), volume, PROVENANCE, overwrite=True)
    assert len(read_ct(target)) == 5 and not aside.exists()


def test_a_result_of_another_kind_is_refused(tmp_path):
    source = save(tmp_path / "in.nrrd", ct_hu())
    with pytest.raises(UnsupportedError, match=r"ending \.nrrd"):
        write_ct(tmp_path / "out.mha", iter(ct_hu()), read_ct(source), PROVENANCE)


def test_missing_files_and_folders_are_said(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_ct(tmp_path / "none.nrrd")
    source = ct_series(tmp_path / "in")
    with pytest.raises(OutputError, match="make it first"):
        write_ct(tmp_path / "no" / "out", iter(ct_hu()), read_ct(source), PROVENANCE)
