"""The whole command under fault: killed, interrupted, without room or right, out of memory, with a network gone mad.

What `fluorodenoise denoise` leaves is the new file, the old one, or none where there was none; a training goes on to the
same end whenever it was killed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from queue import Queue

import FluoroDenoiseLib
import numpy as np
import pydicom
import pytest
import torch
from dicom_examples import noise_frames, xa_file
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.compute import Compute, choose
from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.networks.refiner import RefinerUNet
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.recipe import PretrainRecipe, TeacherRecipe, save_recipe
from FluoroDenoiseLib.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, precision="float32")
TEACHER = TeacherRecipe(name="tiny", frames=3, width=4, levels=2, steps=5, batch=1, accumulate=2, patch=16, checkpoint_every=2,
                        preview_every=0, warmup_steps=2, precision="float32")  # fmt: skip
posix = pytest.mark.skipif(os.name != "posix", reason="these faults are made with POSIX means")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder, build_network(TINY).state_dict(), TINY, {"data": "none"})
    return str(folder)


@pytest.fixture
def source(tmp_path):
    return xa_file(tmp_path / "in.dcm", noise_frames(8, (40, 48)))


@pytest.fixture
def place(tmp_path):
    """Where the result goes: a folder with nothing else in it."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "out.dcm"


def faulty_commands(model, source, target, **modes):
    """What the program saw in each mode, given how often."""
    path = os.pathsep.join(filter(None, [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    counts = [f"{mode.replace('_', '-')}={count}" for mode, count in modes.items()]
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("faulty_commands.py")), str(model), str(source), str(target), *counts],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=3000,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def open_place(model):
    """(model, runs' folder, place): where others may read, which pytest's own folders do not allow."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name)
        for inside in ("in", "out"):
            (folder / inside).mkdir()
        yield shutil.copytree(model, folder / "model"), xa_file(folder / "in" / "in.dcm", noise_frames(8, (40, 48))), folder / "out" / "out.dcm"


def others_reach_the_library():
    return all(folder.stat().st_mode & 0o001 for folder in Path(FluoroDenoiseLib.__file__).resolve().parents)


@posix
@pytest.mark.parametrize("count", [8, pytest.param(40, marks=pytest.mark.slow)])
def test_a_command_that_is_killed_interrupted_or_without_room_leaves_the_old_file_or_the_new_one(open_place, count):
    interrupts, places = min(count, 100), min(count, 50)
    killed, interrupted, limited, forbidden = faulty_commands(
        *open_place, killed=count, interrupted=interrupts, limited=places, forbidden=1)
    assert killed["killed"] == count and killed["broken"] == 0 and killed["swept"] and killed["old"] and killed["absent"]
    assert set(interrupted) <= {"6 old", "6 new", "0 new", "9 old", "9 new"} and sum(interrupted.values()) >= interrupts - 2
    assert count < 100 or interrupted.get("6 old")  # a few may all come too late
    assert limited == {"codes": [8], "attempts": places}
    assert forbidden["codes"][0] == 8 and forbidden["there"] == ["in.dcm"]
    if os.getuid() or others_reach_the_library():
        assert forbidden["codes"] == [8, 0] and forbidden["own"] == ["out.dcm"]


@posix
@pytest.mark.slow
def test_trainings_killed_two_hundred_times_or_without_room_end_with_the_same_weights():
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name)
        for inside in ("runs", "out"):
            (folder / inside).mkdir()
        for index in range(2):
            scene = 60 + 40 * random.random((11, 20, 24)).cumsum(2) / 24
            np.save(folder / "runs" / f"run{index}.npy", random.poisson(scene).astype(np.uint16))
        save_recipe(TEACHER, folder / "recipe.json")
        killed, limited, forbidden = faulty_commands(
            folder / "recipe.json", folder / "runs", folder / "out" / "model", training_killed=200, training_limited=10, training_forbidden=1)
    assert killed["killed"] >= 200 and killed["trainings"] == killed["bit-equal"]
    assert limited == {"codes": [8], "attempts": 10, "bit-equal": 10}
    assert forbidden == {"code": 8, "there": ["model"]}


@pytest.mark.parametrize("count", [12, pytest.param(100, marks=pytest.mark.slow)])
def test_a_cancel_at_any_moment_leaves_nothing_or_the_whole(model, source, place, count):
    lines, events, random = Queue(), Queue(), np.random.default_rng(0)
    worker = threading.Thread(target=Worker(iter(lines.get, None), events.put).run, daemon=True)
    worker.start()

    def ended(name, patience):
        """How a job ended that was cancelled after so long; None is never."""
        request = {"id": name, "do": "denoise", "frames": str(source), "output": str(place), "model": model, "device": "cpu"}
        lines.put(json.dumps(request))
        if patience is not None:
            time.sleep(patience)
            lines.put(json.dumps({"id": f"cancel {name}", "do": "cancel", "job": name}))
        while (event := events.get(timeout=300))["id"] != name or event["event"] in ("started", "frame"):
            pass
        return event["event"]

    assert ended("warm", None) == "done"
    begin = time.monotonic()
    assert ended("first", None) == "done"
    duration, seen = time.monotonic() - begin, set()
    for number in range(count):
        place.unlink(missing_ok=True)
        how = ended(number, random.uniform(0, duration))
        assert how == ("done" if place.exists() else "cancelled")
        assert os.listdir(place.parent) == ([place.name] if how == "done" else [])
        seen.add(how)
    assert "cancelled" in seen and ended("after", None) == "done"
    lines.put('{"do": "quit"}')
    worker.join(timeout=300)


def say(capsys):
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.err


def frames_of(path):
    return np.stack(list(read_run(path).frames)).astype(float)


def command(model, source, target, *more):
    return cli.main(["denoise", str(source), str(target), "--model", model, "--device", "cpu", *more])


def short_of_memory(monkeypatch, pixels):
    """Networks that run out of GPU memory above so many pixels, as torch says it."""
    forward = RefinerUNet.forward

    def hungry(self, windows, guides=None, **options):
        if windows[:, 0].numel() > pixels:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, windows, guides, **options)

    monkeypatch.setattr(RefinerUNet, "forward", hungry)


def test_a_gpu_out_of_memory_halves_the_tile_says_so_and_gives_the_same_picture(model, tmp_path, place, monkeypatch, capsys):
    source = xa_file(tmp_path / "large.dcm", np.random.default_rng(0).normal(1000, 30, (4, 160, 160)).astype(np.uint16))
    assert command(model, source, tmp_path / "whole.dcm") == 0
    say(capsys)
    short_of_memory(monkeypatch, 150 * 150)
    assert command(model, source, place) == 0
    assert "note: Memory ran out on 1 windows of 160x160; they go one by one, in tiles if that is still too much" in say(capsys)
    # The tiny network sees far beyond its halo's edge only through means; one grey level is the rounding.
    assert np.abs(frames_of(place) - frames_of(tmp_path / "whole.dcm")).max() <= 1


def test_a_gpu_without_memory_for_any_tile_is_a_sentence_and_no_file(model, source, place, monkeypatch, capsys):
    short_of_memory(monkeypatch, 0)
    assert command(model, source, place) == 5
    assert "close other programs or choose a smaller model" in say(capsys) and os.listdir(place.parent) == []


def test_memory_that_runs_out_outside_the_network_is_a_sentence_too(model, source, place, monkeypatch, capsys):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(FrameDenoiser, "_prepare", fail)
    assert command(model, source, place) == 5
    assert "Memory does not suffice" in say(capsys) and os.listdir(place.parent) == []


def test_a_network_that_gives_no_numbers_is_an_unusable_model_and_no_file(model, source, place, monkeypatch, capsys):
    monkeypatch.setattr(RefinerUNet, "forward", lambda self, windows, guides=None, **_: windows[:, 0] * float("nan"))
    assert command(model, source, place) == 7
    assert "numbers that are not finite at frame 0; choose another model" in say(capsys) and os.listdir(place.parent) == []


class Overflowing:
    """A restorer whose numbers are infinite in half precision."""

    radius, guides = 0, "none"

    def __call__(self, windows, guides=None):
        return windows[:, 0] + (float("inf") if torch.is_autocast_enabled("cpu") else 0.0)


def test_half_precision_that_overflows_goes_on_in_float32_and_says_so():
    half, frames = Compute("cpu", "bfloat16", "CPU."), noise_frames(3)
    noise = NoiseEstimate(PoissonGaussian(0.0, 0.0, 30.0), 0.0, 0.0)
    with pytest.warns(UserWarning, match="not finite at frame 0 in bfloat16; it goes on in float32") as told:
        clean = [frame.numpy() for frame in denoise_frames(frames, FrameDenoiser(Overflowing(), noise, half))]
    assert len(told) == 1
    np.testing.assert_allclose(np.stack(clean), frames, atol=0.01)  # this restorer takes nothing away
    never = lambda windows, guides=None: windows[:, 0] * float("nan")
    never.radius, never.guides = 0, "none"
    with pytest.raises(ModelError, match="at frame 0"):
        list(denoise_frames(frames, FrameDenoiser(never, noise, choose("cpu"))))


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (8, 64), (17, 8)])
def test_small_noisy_frames_in_which_a_motion_seems_to_be_are_denoised(model, tmp_path, place, size):
    for seed in range(3):
        source = xa_file(tmp_path / f"{seed}.dcm", noise_frames(5, size, seed=seed))
        assert command(model, source, place, "--overwrite") == 0


def test_frames_too_small_for_an_estimate_are_refused_with_a_way_out(model, tmp_path, place, capsys):
    source = xa_file(tmp_path / "small.dcm", noise_frames(5, (7, 9)))
    assert command(model, source, place) == 4
    assert "give frames of 8x8 or more, or state the noise" in say(capsys) and os.listdir(place.parent) == []
    assert command(model, source, place, "--noise", "1,0,10") == 0


@pytest.mark.parametrize("count, size", [(1, (9, 33)), (2, (13, 8)), (3, (31, 17)), (4, (8, 8)), (6, (63, 65)), (7, (64, 8))])
def test_runs_of_every_length_and_size_keep_their_shape(model, tmp_path, place, capsys, count, size):
    source = xa_file(tmp_path / "in.dcm", noise_frames(count, size))
    assert command(model, source, place) == 0
    assert frames_of(place).shape == (count, *size) and ("from a single frame" in say(capsys)) == (count == 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 64), (9, 2), (3, 3), (7, 9)])
def test_frames_of_few_pixels_are_denoised_where_the_noise_is_stated_or_refused(model, tmp_path, place, size):
    source = xa_file(tmp_path / "in.dcm", noise_frames(4, (9, 64))[:, : size[0], : size[1]].copy())
    assert command(model, source, place, "--noise", "1,0,10") == (0 if min(size) >= 3 else 4)
    assert frames_of(place).shape == (4, *size) if min(size) >= 3 else os.listdir(place.parent) == []


@pytest.mark.parametrize("grey", [0, 1000, 4095])
def test_a_constant_run_comes_back_as_it_was(model, tmp_path, place, grey):
    source = xa_file(tmp_path / "in.dcm", np.full((4, 24, 32), grey, np.uint16))
    assert command(model, source, place) == 0
    np.testing.assert_array_equal(frames_of(place), grey)


def padded(path, frames, padding):
    header = pydicom.dcmread(xa_file(path, frames))
    header.add_new("PixelPaddingValue", "US", padding)
    header.save_as(path)
    return path


def test_what_is_saturated_stays_so_and_padding_stays_bit_for_bit(tmp_path, place):
    bright = np.random.default_rng(0).normal(np.linspace(3000, 5500, 64), 100, (5, 48, 64))
    frames = np.minimum(bright, 4095).astype(np.uint16)
    frames[:, :8] = 0
    source = padded(tmp_path / "in.dcm", frames, 0)
    assert command("fast", source, place) == 0
    clean = frames_of(place)
    np.testing.assert_array_equal(clean[:, :8], 0)
    saturated = clean[:, 16:, 48:]
    assert clean.max() <= 4095 and saturated.mean() > 4085 and saturated.min() > 4095 - 100  # the noise beside it


def test_a_run_that_is_all_padding_comes_back_as_it_was(model, tmp_path, place):
    source = padded(tmp_path / "in.dcm", np.full((4, 24, 32), 4000, np.uint16), 4000)
    assert command(model, source, place) == 0
    np.testing.assert_array_equal(frames_of(place), 4000)


@pytest.mark.parametrize("name", ["ä ö.dcm", "日本語.dcm", "😀.dcm", "a b  c.dcm", "IM0001", "1.2.840.113619", "x" * 240 + ".dcm"])
def test_files_of_any_name_are_read_and_written(model, tmp_path, name):
    source, place = xa_file(tmp_path / name, noise_frames(3)), tmp_path / "out ü" / name
    place.parent.mkdir()
    assert command(model, source, place) == 0 and os.listdir(place.parent) == [name]


@posix
def test_a_name_that_is_too_long_or_no_file_is_a_sentence(model, source, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.dcm")
    for given, target, code, words in (
        (source, tmp_path / ("x" * 3000), 2, "longer than this system allows"), (tmp_path / "pipe.dcm", tmp_path / "o.dcm", 3, "a device or a pipe"),
        (source, tmp_path / "pipe.dcm", 8, "which a file must not replace"),
    ):  # fmt: skip
        assert command(model, given, target, "--overwrite") == code
        assert words in say(capsys)


def test_a_result_denoised_again_is_called_derived(model, source, place, capsys):
    assert command(model, source, place) == 0 and "derived" not in say(capsys)
    assert command(model, place, place.with_name("again.dcm")) == 0 and "is already a derived image" in say(capsys)
