"""One training by several processes, by several micro-batches, or by one: the same training."""

import csv
import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.model_folder import load_model
from FluoroDenoiseLib.recipe import TeacherRecipe, save_recipe
from FluoroDenoiseLib.training.teacher import train_teacher

CPU = choose("cpu", "float32")
# Without norm: the bias before a norm has no gradient but rounding, which Adam makes whole steps of.
RECIPE = TeacherRecipe(name="tiny", frames=3, width=4, levels=2, norm="none", steps=6, batch=4, patch=16, checkpoint_every=2, preview_every=0,
                       warmup_steps=2, precision="float32")
# Means of float32 over the same clips, added up in another order.
LOSS_TOLERANCE = 1e-5
# Adam divides each gradient by its own size, so a rounding of a gradient near 0 can move a weight by a part of a step.
WEIGHT_TOLERANCE = 0.05 * RECIPE.learning_rate * RECIPE.steps

# A group that outlives its block is taken down with the interpreter, where its threads can abort a process that has done its work.
NO_THREAD_OF_A_GROUP = """
import glob
assert "gloo" not in "".join(open(name).read() for name in glob.glob("/proc/self/task/*/comm"))
"""
# What torchrun starts; afterwards each process leaves the weights that it holds.
PROCESS = """
import os, sys
import safetensors.torch
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.training import learner

made, begin = [], learner.Learner.__init__
def remember(self, *arguments):
    begin(self, *arguments)
    made.append(self)
learner.Learner.__init__ = remember
code = cli.main(["train", "recipe.json", "--runs", "runs", "--out", sys.argv[1], "--device", "cpu"])
weights = {name: value.contiguous() for name, value in made[0].network.state_dict().items()}
safetensors.torch.save_file(weights, f"{sys.argv[1]}_rank{os.environ['RANK']}.safetensors")
""" + NO_THREAD_OF_A_GROUP + """
sys.exit(code)
"""
GROUP = """
import torch, torch.distributed
from FluoroDenoiseLib.process_group import process_group
with process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1):
    torch.optim.AdamW([torch.zeros(1)])  # imports much of torch
    torch.distributed.all_reduce(torch.zeros(1))
""" + NO_THREAD_OF_A_GROUP


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    return [rng.poisson(60 + 40 * rng.random((11, 20, 24)).cumsum(2) / 24).astype(np.uint16) for _ in range(3)]


def losses(folder):
    with open(folder / "train.csv", newline="") as file:
        return [float(row["sum"]) for row in csv.DictReader(file)]


def weights(folder):
    return safetensors.torch.load_file(folder / "weights.safetensors")


def assert_same_training(folder, other):
    np.testing.assert_allclose(losses(folder), losses(other), rtol=LOSS_TOLERANCE)
    for name, weight in weights(folder).items():
        torch.testing.assert_close(weights(other)[name], weight, atol=WEIGHT_TOLERANCE, rtol=0)


def torchrun(folder, processes, out, *command):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]
    return subprocess.run(launch, cwd=folder, capture_output=True, text=True)


@pytest.fixture
def workplace(tmp_path, runs):
    (tmp_path / "runs").mkdir()
    for index, run in enumerate(runs):
        np.save(tmp_path / "runs" / f"run{index}.npy", run)
    save_recipe(dataclasses.replace(RECIPE, batch=2), tmp_path / "recipe.json")
    (tmp_path / "process.py").write_text(PROCESS)
    return tmp_path


@pytest.mark.slow
def test_two_processes_learn_what_one_does_with_twice_the_batch(workplace, runs):
    done = torchrun(workplace, 2, "out", "process.py", "out")
    assert done.returncode == 0, done.stderr
    list(train_teacher(RECIPE, runs, workplace / "alone", CPU))
    assert_same_training(workplace / "out", workplace / "alone")
    first, second = (safetensors.torch.load_file(workplace / f"out_rank{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert done.stdout.count("step 6 of 6") == 1, "one process speaks for all"
    assert load_model(workplace / "out", CPU).card["processes"] == 2


def test_a_group_is_gone_after_its_block_whatever_was_imported_inside():
    ended = subprocess.run([sys.executable, "-c", GROUP], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_two_micro_batches_are_one_batch_of_twice_the_size(runs, tmp_path):
    list(train_teacher(RECIPE, runs, tmp_path / "whole", CPU))
    list(train_teacher(dataclasses.replace(RECIPE, batch=2, accumulate=2), runs, tmp_path / "parts", CPU))
    assert_same_training(tmp_path / "parts", tmp_path / "whole")
    list(train_teacher(dataclasses.replace(RECIPE, batch=2), runs, tmp_path / "half", CPU))
    assert max(abs(a / b - 1) for a, b in zip(losses(tmp_path / "half"), losses(tmp_path / "whole"))) > 100 * LOSS_TOLERANCE


@pytest.mark.slow
def test_the_command_of_the_documentation_runs_and_goes_on_with_fewer_processes(workplace):
    command = ["-m", "FluoroDenoiseLib", "train", "recipe.json", "--runs", "runs", "--out", "out", "--device", "cpu"]
    done = torchrun(workplace, 3, "out", *command)
    assert done.returncode == 0, done.stderr
    again = torchrun(workplace, 2, "out", *command)
    assert again.returncode == 0 and "began with 3 processes and goes on with 2" in again.stderr
