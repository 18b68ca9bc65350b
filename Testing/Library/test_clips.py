"""What training clips show, and what drawing them costs."""

import dataclasses
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.fluoro_run import FluoroRun, Source
from FluoroDenoiseLib.simulate import SimulationSettings, simulate
from FluoroDenoiseLib.training.clips import HELD_OUT, NoisyBank, SimulatedBank
from FluoroDenoiseLib.training.preparation import REMEMBERED_FRAMES, REMEMBERED_SHARE, Planes, where_tools_matter

FRAMES, SIDE = 6, 48


@pytest.fixture(scope="module")
def simulated():
    return [simulate(SimulationSettings(size=(48, 56), frames=5), seed) for seed in (0, 1)]


def noisy_run(seed, frames=FRAMES, side=SIDE):
    return np.random.default_rng(seed).poisson(100, (frames, side, side)).astype(np.uint16)


def test_a_clip_depends_on_the_seed_the_step_and_its_number_alone(simulated, tmp_path):
    bank = SimulatedBank(simulated, tmp_path)
    args = dict(patch=32, radius=1, guides="both", tool_share=0.5)
    both, first, second, other = (bank.draw(3, step, clips, **args) for step, clips in
                                  ((7, range(2)), (7, range(1)), (7, range(1, 2)), (8, range(2))))
    assert all(torch.equal(whole, torch.cat(parts)) for whole, *parts in zip(both, first, second))
    assert not torch.equal(both.windows, other.windows)
    assert both.windows.shape == (2, 3, 32, 32) and both.guides.shape == (2, 4, 32, 32)


def test_where_a_tool_has_just_been_matters_too():
    planes = np.zeros((2 * REMEMBERED_FRAMES + 3, 7, 8, 8), np.float16)
    planes[REMEMBERED_FRAMES + 1, Planes.tool, 4, 5] = 1
    matters = where_tools_matter(planes)
    around = [REMEMBERED_SHARE] * REMEMBERED_FRAMES
    assert matters[:, 4, 5].tolist() == [0, *around, 1, *around, 0]
    assert matters.sum() == 1 + 2 * sum(around)


def test_the_guides_of_noisy_runs_are_those_of_simulated_ones(simulated, tmp_path):
    clips = NoisyBank([run.noisy for run in simulated], tmp_path, with_guides=True).draw(0, 0, range(4), 32, 1)
    centre, predictions, deviations = clips.windows[:, 1], clips.guides[:, 0::2], clips.guides[:, 1::2]
    assert clips.windows.shape == (4, 3, 32, 32) and clips.noise_correlation.shape == (4,)
    assert (deviations > 0).all() and float((predictions - centre[:, None]).abs().median()) < 3


def test_held_out_frames_are_never_the_centre_of_a_training_clip(tmp_path):
    frames = np.arange(3 * HELD_OUT, dtype=np.float32)[:, None, None] + np.random.default_rng(0).normal(0, 0.01, (3 * HELD_OUT, 16, 16))
    bank = NoisyBank([frames.astype(np.float32)], tmp_path)
    levels = np.sort(bank.runs[0].array("frames").mean((1, 2)))

    def centres(**options):
        drawn = bank.draw(0, 0, range(200), 16, 0, **options).windows.mean((1, 2, 3)).numpy()
        return set(np.abs(drawn[:, None] - levels).argmin(1))

    held_out = set(range(HELD_OUT - 1, 3 * HELD_OUT, HELD_OUT))
    assert centres(held_out=True) == held_out and centres() == set(range(3 * HELD_OUT)) - held_out


def test_a_run_is_prepared_once_and_known_by_its_content(tmp_path):
    bank = NoisyBank([noisy_run(0), noisy_run(1)], tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = NoisyBank([noisy_run(0), noisy_run(2)], tmp_path)
    assert again.manifest["run_0000"] == bank.manifest["run_0000"] and again.manifest["run_0001"] != bank.manifest["run_0001"]
    assert all(path.stat().st_mtime_ns == time for path, time in times.items()) and len(list(tmp_path.rglob("*.npy"))) == 3


def test_the_facts_of_the_runs_are_told_as_ranges(tmp_path):
    runs = [FluoroRun.from_array(noisy_run(seed, frames), 1 / rate, bits_stored=bits, intensity_relationship="LIN")
            for seed, (frames, rate, bits) in enumerate([(4, 15, 10), (5, 30, 12)])]
    assumed = NoisyBank(runs, tmp_path / "arrays").facts
    runs = [dataclasses.replace(run, source=Source(None, "dicom", run.source.dtype)) for run in runs]
    facts = NoisyBank(runs, tmp_path / "dicom").facts
    assert facts["runs"] == 2 and facts["frames"] == 9 and facts["bits"] == [10, 12] and facts["domain"] == ["LIN"]
    assert facts["frame_rate_hz"] == pytest.approx([15, 30]) and not {"frame_rate_hz", "bits", "domain"} & set(assumed)


def test_the_dose_of_noisy_runs_is_found(tmp_path):
    runs = [simulate(SimulationSettings(size=(96, 96), frames=8, quanta=quanta), 3).noisy for quanta in (10.0, 100.0)]
    low, high = NoisyBank(runs, tmp_path).facts["quanta"]
    assert 7 < low < 14 and 70 < high < 140


def test_runs_without_noise_and_frames_too_small_are_refused(tmp_path):
    with pytest.raises(InputError, match="no noise"):
        NoisyBank([np.full((4, 32, 32), 7, np.uint16)], tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="frames of 12 pixels"):
        NoisyBank([noisy_run(0, side=12)], tmp_path).draw(0, 0, range(1), 16, 1)


def peak_bytes(count, cache, keep=lambda run: None):
    """The most memory that preparing `count` runs and drawing from them held at once, and how many files stayed open."""
    files = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    tracemalloc.start()
    bank = NoisyBank((noisy_run(seed) for seed in range(count)), cache)
    kept = [keep(run) for run in bank.runs]
    for step in range(2 * count):
        bank.draw(0, step, range(4), 32, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    left_open = len(os.listdir("/proc/self/fd")) - files if files else 0
    return peak, left_open, len(kept)


def test_memory_and_open_files_do_not_grow_with_the_number_of_runs(tmp_path):
    peak_bytes(1, tmp_path / "warm")
    few, *_ = peak_bytes(3, tmp_path / "few")
    many, left_open, _ = peak_bytes(24, tmp_path / "many")
    assert many < few + 21 * 4_000 and left_open <= 0  # 4 kB: place, SHA-256 and facts of a run; its frames are 55 kB
    held, *_ = peak_bytes(24, tmp_path / "many", keep=lambda run: np.array(run.array("frames")))
    assert held > 2 * many, "the measurement sees runs that are held"
