"""The same run gives the same result: again, with other threads, in another country, and as when its weights were frozen."""

import hashlib
import os
import shutil
import subprocess
import sys

import golden_frames
import numpy as np
import pydicom
import pytest
import torch
from dicom_examples import xa_file
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.evaluation.scenes import simulated_scene
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import load_model

# A host program, as Slicer is one, may have set the language of numbers.
ABROAD = """
import locale, sys
from FluoroDenoiseLib import cli
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.str(0.5) == "0,5"
sys.exit(cli.main(sys.argv[1:]))
"""
NOW = {f"{moment}{part}" for moment in ("InstanceCreation", "Series", "Content") for part in ("Date", "Time")}
models = pytest.mark.parametrize("name", ["fast", pytest.param("quality", marks=pytest.mark.slow)])


def pixels(source, target, *more):
    """What the command makes of a file."""
    assert cli.main(["denoise", str(source), str(target), "--device", "cpu", "--overwrite", *more]) == 0
    return np.stack(list(read_run(target).frames))


@pytest.fixture
def threads():
    """Sets the number of threads, which is as before at the end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_frames.MODELS)
def test_five_times_the_same_bits_and_one_grey_level_across_numbers_of_threads(tmp_path, threads, name):
    source = xa_file(tmp_path / "in.dcm", simulated_scene("q30", seed=11, size=64, frames=3).noisy.astype(np.uint16))
    made = {}
    for count, times in ((1, 5), (2, 1)):
        threads(count)
        again = [pixels(source, tmp_path / "out.dcm", "--preset", name, "--precision", "float32") for _ in range(times)]
        assert len({hashlib.sha256(frames.tobytes()).digest() for frames in again}) == 1, count
        made[count] = again[0].astype(int)
    apart = abs(made[2] - made[1]).max()
    print(f"{name}: at most {apart} grey levels apart")
    assert apart <= 1


@models
def test_frozen_weights_give_the_frames_that_they_gave(name):
    if not golden_frames.PLACE.exists():
        pytest.skip("no frames are kept yet: python Testing/Library/golden_frames.py")
    model, kept = load_model(name, choose("cpu", "float32")), np.load(golden_frames.PLACE, allow_pickle=False)
    if not any(entry.startswith(model.sha256[:16]) for entry in kept.files):
        pytest.skip(f"the weights of {name} are new: python Testing/Library/golden_frames.py")
    for case, run in golden_frames.cases().items():
        entry = golden_frames.entry(model.sha256, case, run)
        assert entry in kept.files, f"the run of {case} is another than it was"
        apart = abs(golden_frames.middle_frame(model, run).astype(int) - kept[entry]).max()
        assert apart <= 1, f"{case}: {apart} grey levels from what was kept"


def test_kept_frames_are_found_by_weights_and_run_and_tell_a_change(tmp_path, monkeypatch):
    few = dict(list(golden_frames.cases().items())[::5])
    monkeypatch.setattr(golden_frames, "cases", lambda: few)
    monkeypatch.setattr(golden_frames, "PLACE", tmp_path / "kept.npz")
    golden_frames.write(golden_frames.PLACE, ("fast",))
    test_frozen_weights_give_the_frames_that_they_gave("fast")
    middle_frame = golden_frames.middle_frame
    monkeypatch.setattr(golden_frames, "middle_frame", lambda model, run: middle_frame(model, run) + 2)
    with pytest.raises(AssertionError, match="2 grey levels from what was kept"):
        test_frozen_weights_give_the_frames_that_they_gave("fast")
    monkeypatch.setattr(golden_frames, "cases", lambda: {name: run + 1 for name, run in few.items()})
    with pytest.raises(AssertionError, match="is another than it was"):
        test_frozen_weights_give_the_frames_that_they_gave("fast")


def test_there_are_twelve_phantoms_and_four_pieces_of_samples():
    assert (len(golden_frames.phantoms()), len(golden_frames.samples())) == (12, 4)
    assert all(run.shape == (golden_frames.FRAMES, golden_frames.CROP_PX, golden_frames.CROP_PX) for run in golden_frames.cases().values())


@pytest.mark.skipif(shutil.which("localedef") is None, reason="no locale with decimal commas can be made here")
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", pytest.param("nonsense", marks=pytest.mark.slow)])
def test_decimal_commas_and_clocks_of_other_countries_change_nothing_but_the_time(tmp_path, zone):
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], capture_output=True)
    if not (tmp_path / "de_DE.UTF-8").is_dir():
        pytest.skip(made.stderr.decode(errors="replace"))
    source = xa_file(tmp_path / "in.dcm", FrameTime="66.5", WindowCenter="512.25", WindowWidth="1000.5")
    command = ["denoise", str(source), "out.dcm", "--preset", "fast", "--device", "cpu", "--strength", "0.5", "--residual", "removed.nrrd"]
    written = []
    for place, program, environment in (
        ("here", ["-m", "FluoroDenoiseLib"], {"TZ": "UTC"}), ("there", ["-c", ABROAD], {"TZ": zone, "LOCPATH": str(tmp_path)}),
    ):  # fmt: skip
        (tmp_path / place).mkdir()
        path = os.pathsep.join([str(golden_frames.ROOT), os.environ.get("PYTHONPATH", "")])
        ended = subprocess.run([sys.executable, *program, *command], cwd=tmp_path / place, capture_output=True, text=True,
                               env={**os.environ, "PYTHONPATH": path, **environment})
        assert ended.returncode == 0, ended.stderr
        header = pydicom.dcmread(tmp_path / place / "out.dcm")
        written.append({element.keyword: element.value for element in header if element.keyword not in NOW and element.VR != "UI"})
        assert all(header[name].value for name in NOW)
    assert written[0] == written[1]
    assert (tmp_path / "here" / "removed.nrrd").read_bytes() == (tmp_path / "there" / "removed.nrrd").read_bytes()
