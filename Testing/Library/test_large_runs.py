"""Runs far larger than memory should ever see at once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

STREAM = """
import re, sys
from pathlib import Path
from FluoroDenoiseLib import formats
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
from FluoroDenoiseLib.model_folder import load_model
from FluoroDenoiseLib.noise import estimate_noise

class WindowMean:
    radius, guides = 1, "none"
    def __call__(self, windows, guides=None):
        return windows.mean(1)

source, target, restorer = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
compute = choose("cpu")
restorer = WindowMean() if restorer == "mean" else load_model(restorer, compute).restorer
run = formats.read_run(source)
denoiser = FrameDenoiser(restorer, estimate_noise(run.frames), compute)
clean = (frame.numpy() for frame in denoise_frames(run.frames, denoiser))
report = formats.write_run(target, clean, run, formats.Provenance("0", "test", "0" * 64, 1.0, ""))
# Not ru_maxrss: that of a child begins with its parent's peak.
print(report.frames, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def write_noisy_run(path, count, size):
    rng = np.random.default_rng(0)
    few = rng.poisson(200, (8, size, size)).astype(np.uint16)
    frames = np.lib.format.open_memmap(path, "w+", np.uint16, (count, size, size))
    for index in range(count):
        frames[index] = np.roll(few[index % 8], index, axis=1)
    frames.flush()


def denoised_frames_and_peak_mb(tmp_path, count, size, restorer, **environment):
    source, target = tmp_path / f"in{count}.npy", tmp_path / f"out{count}.npy"
    write_noisy_run(source, count, size)
    command = [sys.executable, "-c", STREAM, str(source), str(target), restorer]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **environment}).stdout.split()
    source.unlink()
    target.unlink()
    assert int(printed[0]) == count
    return int(printed[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_what_a_run_keeps_does_not_grow_with_the_number_of_frames(tmp_path):
    # glibc gives every buffer of a frame back at once: the peak is then what the program holds, the same to a tenth of a megabyte each
    # time. Left to itself it kept 100 to 190 MB more of frames of 1024x1024, by the order in which threads happened to run.
    few, many = (denoised_frames_and_peak_mb(tmp_path, count, 512, "mean", MALLOC_MMAP_THRESHOLD_="500000") for count in (50, 350))
    assert many < few + 10  # 300 more frames are 157 MB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(("restorer", "few", "many", "size"), [("fast", 30, 120, 512), ("quality", 60, 150, 256)])
def test_memory_of_a_preset_does_not_grow_with_the_number_of_frames(tmp_path, restorer, few, many, size):
    small, large = (denoised_frames_and_peak_mb(tmp_path, count, size, restorer) for count in (few, many))
    assert large < 1.1 * small + 20  # a tenth more for what the allocator keeps


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
def test_ten_thousand_frames_take_the_memory_of_a_hundred():
    program = Path(__file__).resolve().parents[1] / "measure_memory.py"
    ended = subprocess.run([sys.executable, str(program), "--size", "32", "--frames", "100", "10000"], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    print(ended.stdout)
    assert json.loads(ended.stdout.splitlines()[-1])["growth MB"] <= 20
