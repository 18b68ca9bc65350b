"""Archives by the command itself: killed and started again, shared by processes, and several at once."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from FluoroDenoiseLib.cli import main
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats.held_folder import held_folder
from FluoroDenoiseLib.formats.whole_folder import whole_folder
from FluoroDenoiseLib.manifest import FIRST, OTHERS
from FluoroDenoiseLib.model_folder import build_network, load_model, save_model
from FluoroDenoiseLib.recipe import PretrainRecipe, TeacherRecipe, save_recipe
from FluoroDenoiseLib.training.adapt import Adaptation
from FluoroDenoiseLib.training.teacher import train_teacher

ROOT = Path(__file__).resolve().parents[2]
CPU = choose("cpu", "float32")
TINY = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1)
TEACHER = TeacherRecipe(name="tiny", frames=3, width=4, levels=2, steps=2, batch=1, patch=16, checkpoint_every=1, preview_every=0,
                        warmup_steps=1, precision="float32")


@pytest.fixture
def place(tmp_path):
    """A folder with a tiny model and an archive of six runs, of which one is broken."""
    torch.manual_seed(0)
    save_model(tmp_path / "model", build_network(TINY).state_dict(), TINY, {"steps_done": 0, "data": "none"})
    (tmp_path / "runs" / "deep").mkdir(parents=True)
    for index in range(5):
        run = np.random.default_rng(index).normal(1000, 30, (6, 40, 48)).astype(np.uint16)
        np.save(tmp_path / "runs" / ("deep" if index % 2 else "") / f"{index}.npy", run)
    (tmp_path / "runs" / "broken.npy").write_bytes(b"broken")
    return tmp_path


def started(place, *arguments, before=()):
    """The command, running in `place`."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, *before, "-m", "FluoroDenoiseLib", *arguments], cwd=place, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path})


def archive(place, out, *more, before=()):
    return started(place, "denoise", "runs", out, "--model", "model", "--device", "cpu", *more, before=before)


def results(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npy"))}


def records(folder, state):
    lines = [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]
    return [line for line in lines if line.get("state") == state]


def rows(text):
    """The numbers of runs in the table at the end."""
    return {what: int(count) for what, count in re.findall(r"^  (done|already there|failed|in all) +(\d+)", text, re.MULTILINE)}


@pytest.mark.slow
def test_two_processes_share_an_archive_and_give_one_table(place):
    shared = archive(place, "shared", before=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"])
    out, err = shared.communicate()
    assert shared.returncode != 0 and rows(out) == {"done": 5, "already there": 0, "failed": 1, "in all": 6}, err
    assert out.count("in all") == 1 and "is not a NumPy file" in out
    assert (place / "shared" / OTHERS.format(1)).is_file() and len(records(place / "shared", "done")) == 5
    assert main(["denoise", str(place / "runs"), str(place / "alone"), "--model", str(place / "model"), "--device", "cpu"]) == 3
    assert len(results(place / "alone")) == 5 and results(place / "shared") == results(place / "alone")


def test_an_archive_can_be_finished_alone_that_two_began(place, capsys):
    arguments = ["denoise", str(place / "runs"), str(place / "out"), "--model", str(place / "model"), "--device", "cpu"]
    assert main(arguments) == 3
    (place / "out" / FIRST).rename(place / "out" / "kept")
    head, start, *lines = (place / "out" / "kept").read_text().splitlines(keepends=True)
    (place / "out" / FIRST).write_text(head + start + "".join(lines[:5]))
    (place / "out" / OTHERS.format(1)).write_text(start + "".join(lines[5:]))
    capsys.readouterr()
    assert main(arguments) == 3
    assert rows(capsys.readouterr().out) == {"done": 0, "already there": 5, "failed": 1, "in all": 6}


def test_other_settings_are_refused_before_anything_is_computed(place, capsys):
    arguments = ["denoise", str(place / "runs"), str(place / "out"), "--model", str(place / "model"), "--device", "cpu"]
    assert main(arguments) == 3
    before = results(place / "out")
    assert main([*arguments, "--strength", "0.5"]) == 8
    assert "results of another model or other settings" in capsys.readouterr().err and results(place / "out") == before


def test_a_folder_that_another_run_fills_is_refused(place, capsys):
    arguments = ["denoise", str(place / "runs"), str(place / "out"), "--model", str(place / "model"), "--device", "cpu"]
    (place / "out").mkdir()
    with held_folder(place / "out"):
        assert main(arguments) == 8
        assert main(["simulate", str(place / "out")]) == 8
    assert capsys.readouterr().err.count("is being filled by another run at this moment") == 2
    assert list((place / "out").iterdir()) == []


def test_a_training_does_not_share_its_folder_or_its_clips(tmp_path):
    runs = [np.random.default_rng(0).poisson(90, (8, 20, 24)).astype(np.uint16)]
    for held in (tmp_path / "out", tmp_path / "out" / "clips"):
        held.mkdir(exist_ok=True)
        with held_folder(held), pytest.raises(OutputError, match="is being filled by another run"):
            list(train_teacher(TEACHER, runs, tmp_path / "out", CPU))
    assert not list((tmp_path / "out").glob("*.safetensors"))
    list(train_teacher(TEACHER, runs, tmp_path / "out", CPU))
    assert not list((tmp_path / "out").rglob(".*"))  # nothing hidden is left


def test_an_adaptation_does_not_share_its_model_with_another(place):
    run = FluoroRun.from_array(np.random.default_rng(0).poisson(90, (8, 64, 64)).astype(np.uint16))
    job = Adaptation([run], load_model(place / "model", CPU), place / "own", CPU, 60, steps=1)
    with whole_folder(place / "own", bool) as other:
        with pytest.raises(OutputError, match="is being written by another run"):
            list(job)
        (other / "model.json").write_text("{}")
    assert [path.name for path in (place / "own").iterdir()] == ["model.json"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="Windows has no such signal")
def test_a_killed_command_given_again_ends_as_if_it_had_not_been_killed(place):
    assert archive(place, "whole").wait() == 3
    for number, wanted in enumerate((1, 3)):
        out = place / f"out{number}"
        first = archive(place, out.name)
        while first.poll() is None and not (out.is_dir() and len(records(out, "done")) >= wanted):
            time.sleep(0.01)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        kept = {name: (out / name).stat().st_mtime_ns for name in results(out)}
        second = archive(place, out.name)
        printed, _ = second.communicate()
        assert second.returncode == 3 and rows(printed)["already there"] >= wanted and rows(printed)["in all"] == 6
        assert results(out) == results(place / "whole")
        assert all((out / name).stat().st_mtime_ns == when for name, when in kept.items())


@pytest.mark.slow
def test_of_four_commands_at_once_each_does_it_all_or_is_refused(place):
    (place / "runs" / "broken.npy").unlink()
    save_recipe(TEACHER, place / "recipe.json")
    commands = {
        "out": ["denoise", "runs", "out", "--model", "model", "--device", "cpu"],
        "trained": ["train", "recipe.json", "--runs", "runs", "--out", "trained", "--device", "cpu"],
        "simulated": ["simulate", "simulated", "--count", "3"],
    }
    for folder, command in commands.items():
        together = [started(place, *command) for _ in range(4)]
        ends = [("".join(process.communicate()), process.returncode) for process in together]
        assert {code for _, code in ends} <= {0, 8} and 0 in {code for _, code in ends}, "\n".join(said for said, _ in ends)
        assert all("another run" in said for said, code in ends if code == 8)
        assert not list((place / folder).rglob(".*"))
    assert len(results(place / "out")) == 5 and len(records(place / "out", "done")) == 5
    assert load_model(place / "trained", CPU).card["steps_done"] == 2
    assert len(list((place / "simulated").iterdir())) == 3
