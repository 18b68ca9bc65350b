"""CT denoised as a whole: windows, strength, memory, the command, and its refusals."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ct_examples import PADDING, changed, ct_hu, ct_series, ct_slice, enhanced_ct
from dicom_examples import xa_file
from FluoroDenoiseLib import cli_ct, ct_jobs
from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.ct_denoise import denoise_slice, denoise_slices
from FluoroDenoiseLib.ct_volume import CtVolume
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.formats.ct import read_ct
from PIL import Image
from test_ct_reading import hu_of, save, slice_at

CPU = choose("cpu")


class WindowMean:
    name, sha256 = "mean", "ab" * 32

    def __init__(self, radius=1):
        self.radius = radius

    def __call__(self, windows_hu):
        return windows_hu.mean(1)

    def reach(self, slice_mm):
        return 0

    def finish(self, noisy_hu, estimates_hu, centre, pixel_mm, slice_mm):
        return estimates_hu[centre]


class MeanOfMeans(WindowMean):
    """The mean of the estimates of slices up to 2 mm away."""

    def reach(self, slice_mm):
        return int(2 / slice_mm)

    def finish(self, noisy_hu, estimates_hu, centre, pixel_mm, slice_mm):
        assert len(noisy_hu) == len(estimates_hu) and 0 <= centre < len(noisy_hu)
        return estimates_hu.mean(0) + 100 * centre


@pytest.fixture
def preset(monkeypatch):
    """The preset ct is the mean of three slices."""
    monkeypatch.setattr(cli_ct, "load_ct", lambda settings: (WindowMean(), CPU))


def clean(volume, radius=1, strength=1.0):
    return np.stack([one.clean_hu for one in denoise_slices(volume, WindowMean(radius), CPU, strength)])


@pytest.mark.parametrize("radius", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_slice_is_restored_from_its_neighbours_mirrored_at_the_ends(radius, count):
    hu = ct_hu(count).astype(np.float32)
    result = clean(CtVolume.from_array(hu), radius)
    for index in range(radius, count - radius):
        assert np.allclose(result[index], hu[index - radius : index + radius + 1].mean(0), atol=1e-3)
    if count > 1 and radius == 1:
        assert np.allclose(result[0], (hu[1] + hu[0] + hu[1]) / 3, atol=1e-3)


@pytest.mark.parametrize(("slice_mm", "reach"), [(1.0, 2), (2.0, 1), (2.5, 0)])
@pytest.mark.parametrize("count", [1, 2, 4, 9])
def test_every_result_is_finished_from_its_neighbours_estimates_each_made_once(slice_mm, reach, count):
    hu, estimated = ct_hu(count).astype(np.float32), []

    class Counting(MeanOfMeans):
        def __call__(self, windows_hu):
            estimated.append(1)
            return windows_hu.mean(1)

    volume = CtVolume.from_array(hu, (slice_mm, 1.0, 1.0))
    results = list(denoise_slices(volume, Counting(), CPU))
    assert len(estimated) == count
    estimates = clean(volume)
    for index in range(count):
        first = max(0, index - reach)
        expected = estimates[first : index + reach + 1].mean(0) + 100 * (index - first)
        assert np.allclose(results[index].clean_hu, expected, atol=1e-3)
        assert np.allclose(denoise_slice(volume, index, MeanOfMeans(), CPU).clean_hu, expected, atol=1e-3)


def test_slices_without_a_picture_neither_change_nor_spoil_their_neighbours(tmp_path):
    hu = ct_hu()
    hu[2] = PADDING

    class Careful(MeanOfMeans):
        def __call__(self, windows_hu):
            return windows_hu.mean(1) / float(windows_hu[0, 1].mean() > PADDING)

    volume = read_ct(ct_series(tmp_path / "ct", hu))
    results = list(denoise_slices(replace(volume, spacing_mm=(1.0, 1.0, 1.0)), Careful(), CPU))
    assert np.array_equal(results[2].result, hu[2]) and all(np.isfinite(one.clean_hu).all() for one in results)


def test_slices_beyond_a_gap_are_no_neighbours(tmp_path):
    folder = ct_series(tmp_path / "ct", ct_hu(8))
    slice_at(folder, 4).unlink()
    hu, result = ct_hu(8), clean(read_ct(folder))
    assert np.allclose(result[4], (2.0 * hu[6] + hu[5]) / 3, atol=1e-3)
    assert np.allclose(result[3], (2.0 * hu[2] + hu[3]) / 3, atol=1e-3)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_strength_mixes_and_nothing_changes_at_0_or_outside_the_picture(tmp_path, strength):
    hu = ct_hu()
    hu[:, :2] = PADDING
    volume = read_ct(ct_series(tmp_path / "ct", hu))
    results = list(denoise_slices(volume, WindowMean(), CPU, strength))
    full = clean(volume)
    for index, one in enumerate(results):
        assert np.array_equal(one.result[:2], hu[index, :2])
        assert np.allclose(one.result[2:], (1 - strength) * hu[index, 2:] + strength * full[index, 2:], atol=1e-3)
        if strength == 0:
            assert one.result is one.stored


def test_every_slice_is_read_once_and_only_a_window_is_held():
    read, hu = [], ct_hu(9).astype(np.float32)

    class Watched(list):
        def __getitem__(self, index):
            read.append(index)
            return list.__getitem__(self, index)

    volume = CtVolume.from_array(hu)
    object.__setattr__(volume, "slices", Watched(hu))
    for index, _ in enumerate(denoise_slices(volume, WindowMean(2), CPU)):
        assert max(read) <= index + 2
    assert sorted(read) == list(range(9))


def test_numbers_that_are_not_finite_are_refused():
    class Broken(WindowMean):
        def __call__(self, windows_hu):
            return windows_hu.mean(1) / 0

    with pytest.raises(ModelError, match="slice 0 in float32"):
        list(denoise_slices(CtVolume.from_array(ct_hu(1).astype(np.float32)), Broken(), CPU))


def test_the_command_denoises_a_series(tmp_path, preset, capsys):
    source, target = ct_series(tmp_path / "in"), tmp_path / "out"
    extras = ["--compare", str(tmp_path / "c.png"), "--residual", str(tmp_path / "r.nrrd")]
    assert main(["denoise", str(source), str(target), "--preset", "ct", *extras]) == 0
    before, after, removed = read_ct(source), read_ct(target), read_ct(tmp_path / "r.nrrd")
    assert np.abs(hu_of(after) - clean(before)).max() <= 0.5
    assert np.allclose(hu_of(removed), hu_of(before) - clean(before), atol=1e-3)
    assert (removed.spacing_mm, removed.origin_mm, removed.direction) == (before.spacing_mm, before.origin_mm, before.direction)
    assert Image.open(tmp_path / "c.png").width > 900
    said = capsys.readouterr()
    assert "5 slices of 32x24, 2.5 mm apart" in said.out and "HU" in said.out and not said.err
    assert main(["denoise", str(source), str(target), "--preset", "ct"]) == 8
    assert main(["denoise", str(source), str(target), "--preset", "ct", "--strength", "0", "--overwrite"]) == 0
    assert np.array_equal(hu_of(read_ct(target)), ct_hu())


def test_the_command_denoises_files(tmp_path, preset):
    enhanced_ct(tmp_path / "e.dcm")
    save(tmp_path / "v.nii.gz", ct_hu())
    for name, out in (("e.dcm", "e2.dcm"), ("v.nii.gz", "w.nii.gz")):
        assert main(["denoise", str(tmp_path / name), str(tmp_path / out), "--preset", "ct"]) == 0
        assert np.abs(hu_of(read_ct(tmp_path / out)) - clean(read_ct(tmp_path / name))).max() <= 1


def test_a_header_whose_slices_are_0_mm_apart_says_nothing_and_none_is_mixed_with_its_neighbours(tmp_path, capsys):
    save(tmp_path / "v.nrrd", ct_hu())
    stated = (tmp_path / "v.nrrd").read_bytes()
    (tmp_path / "w.nrrd").write_bytes(stated.replace(b"(0,0,2.5)", b"(0,0,0)").replace(b"(0.5,0,0)", b"(0,0,0)"))
    assert read_ct(tmp_path / "w.nrrd").spacing_mm == (5.0, 0.75, 1.0)
    assert main(["denoise", str(tmp_path / "w.nrrd"), str(tmp_path / "out.nrrd"), "--preset", "ct", "--device", "cpu"]) == 0
    assert "5 mm apart" in capsys.readouterr().out and b"(0,0,0)" in (tmp_path / "out.nrrd").read_bytes()


def test_the_command_denoises_a_folder_of_volumes_and_a_bad_one_stops_no_other(tmp_path, preset, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    ct_series(source / "a")
    ct_series(source / "b" / "c", SeriesInstanceUID="1.2.3")
    for index, stored in enumerate(ct_hu(3)):  # two series in one folder
        ct_slice(source / "a" / f"x{index}", stored, index, 50 + index, SeriesInstanceUID="1.2.4", SeriesNumber=7)
    save(source / "v.nrrd", ct_hu())
    ct_series(source / "bad", SeriesInstanceUID="1.2.5", RescaleSlope=0)
    command = ["denoise", str(source), str(target), "--preset", "ct"]
    assert main(command) == 3
    said = capsys.readouterr()
    assert "4 of 5 volumes denoised" in said.out and "RescaleSlope 0" in said.out
    assert "bad" not in said.out + said.err  # names may be those of patients
    assert len(read_ct(target / "b" / "c")) == 5 and len(read_ct(target / "v.nrrd")) == 5
    assert sorted((path.name.split("-")[0], len(read_ct(path))) for path in (target / "a").iterdir()) == [("series4", 5), ("series7", 3)]
    assert main([*command, "--names"]) == 3  # the four are there already
    said = capsys.readouterr().out
    assert "0 of 5 volumes denoised" in said and "bad (volume" in said


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["in", "in", "--preset", "ct"], 2, "another folder than IN"),
    (["in", "file.png", "--preset", "ct"], 2, "is a file but in is a folder"),
    (["in", "no/out", "--preset", "ct"], 8, "does not exist"),
    (["in", "out", "--preset", "ct", "--residual", "out/r.npy"], 2, "cannot lie in OUT"),
    (["in", "out", "--preset", "ct", "--compare", "c.jpg"], 2, "must end in .png"),
    (["in", "out", "--preset", "ct", "--compare-frame", "9", "--compare", "c.png"], 3, "slices 0 to 4"),
    (["xa.dcm", "out.dcm", "--preset", "ct"], 4, "the preset ct is for CT"),
    (["empty", "out", "--preset", "ct"], 3, "holds no CT"),
    (["none", "out", "--preset", "ct"], 3, "does not exist"),
    (["v.nrrd", "w.nrrd"], 4, "use --preset ct"),
    (["slice.dcm", "out.dcm", "--preset", "fast"], 4, "use --preset ct"),
])  # fmt: skip
def test_what_cannot_be_meant_is_one_sentence(tmp_path, preset, monkeypatch, capsys, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    ct_series(tmp_path / "in")
    ct_slice(tmp_path / "slice.dcm", ct_hu()[0], 0)
    xa_file(tmp_path / "xa.dcm")
    save(tmp_path / "v.nrrd", ct_hu())
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.png").touch()
    before = sorted(tmp_path.rglob("*"))
    assert main(["denoise", *arguments]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert words in error[-1] and sorted(tmp_path.rglob("*")) == before


def test_a_preset_that_is_not_installed_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ct_jobs, "SHIPPED", tmp_path / "none")
    source = ct_series(tmp_path / "in")
    assert main(["denoise", str(source), str(tmp_path / "out"), "--preset", "ct"]) == 7
    assert "preset ct is not part of this installation" in capsys.readouterr().err


def test_a_damaged_slice_found_late_leaves_nothing(tmp_path, preset, monkeypatch):
    source = ct_series(tmp_path / "in")

    def spoiling(slices, count, facts):
        for index, one in enumerate(slices):
            if index == 2:
                changed(slice_at(source, 4), SOPInstanceUID="1.2.3")
            yield one

    with pytest.raises(ValueError, match="start again"):
        ct_jobs.denoise_ct(source, tmp_path / "out", WindowMean(), CPU, ct_jobs.DenoiseSettings("ct"), watch=spoiling,
                           residual=tmp_path / "r.npy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


MEASURED = """
import re, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:5]
from test_ct_denoise import CPU, WindowMean, ct_jobs
ct_jobs.denoise_ct(Path(sys.argv[1]), Path(sys.argv[2]), WindowMean(), CPU, ct_jobs.DenoiseSettings("ct"))
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_300_slices_need_no_more_memory_than_20(tmp_path):
    peaks = []
    for count in (20, 300):
        few = ct_hu(10, (512, 512))
        folder = ct_series(tmp_path / f"in{count}", few[np.arange(count) % 10])
        here = Path(__file__).parent
        command = [sys.executable, "-c", MEASURED, str(folder), str(tmp_path / f"out{count}"), str(here), str(here.parents[1])]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024)
    # 300 slices are 157 MB as stored and 315 MB as HU; between the two lies what a list of 280 headers may take.
    assert peaks[1] < peaks[0] + 25
