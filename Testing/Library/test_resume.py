"""A training that is killed, as power cuts and batch systems do it, and started again by the same command."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import numpy as np
import pytest
import safetensors.torch
import torch
from test_faults_model import damaged

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import load_model
from FluoroDenoiseLib.recipe import TeacherRecipe, save_recipe
from FluoroDenoiseLib.training.checkpoints import _digest, newest_checkpoint
from FluoroDenoiseLib.training.teacher import train_teacher

CPU = choose("cpu", "float32")
RECIPE = TeacherRecipe(name="tiny", frames=3, width=4, levels=2, steps=5, batch=1, accumulate=2, patch=16, checkpoint_every=2,
                       preview_every=2, warmup_steps=2, precision="float32")

# Forks children that train; a child may die by SIGKILL just before its nth change of the disk. Prints what became of each.
KILLER = """
import itertools, json, os, signal, sys
from pathlib import Path
import numpy as np, torch
from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.recipe import load_recipe
from FluoroDenoiseLib.training.teacher import train_teacher

torch.set_num_threads(1)
torch.optim.AdamW([torch.zeros(1)])  # brings in what every child would otherwise import again
folder, sets = Path(sys.argv[1]), json.loads(sys.argv[2])
recipe, cpu = load_recipe(folder / "recipe.json"), choose("cpu", "float32")
runs = [np.load(path) for path in sorted(folder.glob("*.npy"))]

def train(out, moment):
    count = itertools.count()
    def hook(event, arguments):
        if event in ("os.rename", "os.remove", "os.mkdir") or event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            if str(arguments[0]).startswith(str(folder)) and next(count) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    list(train_teacher(recipe, runs, out, cpu))
    return next(count)

def child(out, moment=-1):
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.write(writer, str(train(out, moment)).encode())
        os._exit(0)
    os.close(writer)
    status = os.waitpid(pid, 0)[1]
    return (os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0), os.read(reader, 20).decode()

moments = int(child(folder / "whole")[1])
print(json.dumps(moments))
for number, shares in enumerate(sets or [[k / moments] for k in range(moments)]):
    out = folder / f"killed{number}"
    signals = [child(out, round(share * moments))[0] for share in shares]
    print(json.dumps([str(out), signals, child(out)[0]]))
"""


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    return [rng.poisson(60 + 40 * rng.random((11, 20, 24)).cumsum(2) / 24).astype(np.uint16) for _ in range(2)]


def killed_and_resumed(tmp_path, runs, sets):
    """Train as often as there are sets, each killed at these shares of its changes of the disk; [] means at every one."""
    for index, run in enumerate(runs):
        np.save(tmp_path / f"run{index}.npy", run)
    save_recipe(RECIPE, tmp_path / "recipe.json")
    done = subprocess.run([sys.executable, "-c", KILLER, str(tmp_path), json.dumps(sets)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    moments, *ends = (json.loads(line) for line in done.stdout.splitlines())
    return moments, ends


def what_remains(folder):
    """Everything that a training leaves, apart from the clock."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    kept = ("weights.safetensors", "model.json", "train.csv", "recipe.json")
    return names, [(folder / name).read_bytes() for name in kept], newest_checkpoint(folder)


def assert_same_end(folder, whole):
    (names, files, last), (names_whole, files_whole, last_whole) = what_remains(folder), what_remains(whole)
    assert names == names_whole and files == files_whole
    assert last.values == last_whole.values and last.tensors.keys() == last_whole.tensors.keys()
    assert all(torch.equal(tensor, last_whole.tensors[name]) for name, tensor in last.tensors.items())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_a_killed_training_ends_with_the_weights_of_an_uninterrupted_one(tmp_path, runs):
    moments, ends = killed_and_resumed(tmp_path, runs, [[0.1, 0.4], [0.65], [0.95]])
    assert moments > 40
    for folder, signals, end in ends:
        assert signal.SIGKILL in signals and end == 0
        assert_same_end(tmp_path / folder, tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="children are forked")
def test_it_may_be_killed_before_any_change_of_the_disk(tmp_path, runs):
    moments, ends = killed_and_resumed(tmp_path, runs, [])
    assert len(ends) == moments
    for folder, signals, end in ends:
        assert signals == [signal.SIGKILL] and end == 0
        assert_same_end(tmp_path / folder, tmp_path / "whole")


@pytest.mark.slow
def test_the_command_killed_from_outside_goes_on_when_it_is_given_again(tmp_path, runs):
    (tmp_path / "runs").mkdir()
    for index, run in enumerate(runs):
        np.save(tmp_path / "runs" / f"run{index}.npy", run)
    save_recipe(dataclasses.replace(RECIPE, steps=100, preview_every=0), tmp_path / "recipe.json")

    def start(out):
        command = [sys.executable, "-m", "FluoroDenoiseLib", "train", "recipe.json", "--runs", "runs", "--out", out, "--device", "cpu"]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL)

    assert start("whole").wait() == 0
    rng = np.random.default_rng(0)
    for _ in range(3):
        process, before = start("out"), newest_checkpoint(tmp_path / "out")
        while (now := newest_checkpoint(tmp_path / "out")) is None or before is not None and now.step == before.step:
            time.sleep(0.05)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert start("out").wait() == 0
    assert_same_end(tmp_path / "out", tmp_path / "whole")


@pytest.fixture(scope="module")
def whole(tmp_path_factory, runs):
    out = tmp_path_factory.mktemp("whole")
    list(train_teacher(RECIPE, runs, out, CPU))
    return out


@pytest.fixture
def part(tmp_path, runs, whole):
    """A training that was stopped after step 4, its runs prepared already."""
    shutil.copytree(whole / "clips", tmp_path / "clips")
    for progress in train_teacher(RECIPE, runs, tmp_path, CPU):
        if progress.step == 4:
            return tmp_path


def turn_a_bit(path):
    blob = bytearray(path.read_bytes())
    blob[-3] ^= 4
    path.write_bytes(blob)


@pytest.mark.parametrize("how", ["a bit turned over", "cut short", "empty"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(part, whole, runs, how):
    older, newest = sorted(part.glob("checkpoint_*"))
    if how == "a bit turned over":
        turn_a_bit(newest)
    else:
        os.truncate(newest, 0 if how == "empty" else 1000)
    with pytest.warns(UserWarning, match=f"{newest.name} is damaged; .*before it"):
        steps = [progress.step for progress in train_teacher(RECIPE, runs, part, CPU)]
    assert steps == [4, 5]
    assert_same_end(part, whole)


def test_every_mutant_of_a_checkpoint_is_passed_over_for_the_one_before(part):
    random, (older, newest) = np.random.default_rng(0), sorted(part.glob("checkpoint_*"))
    whole, before = newest.read_bytes(), int(older.stem.partition("_")[2])
    header = 8 + int.from_bytes(whole[:8], "little")
    digits = [place for place in range(8, header) if whole[place : place + 1].isdigit()]
    for number in range(200):
        place, digit = random.choice(digits), b"%d" % random.integers(10)
        # Every other one is sound but for a digit: of a step, a risk, a sum, a shape.
        mutant = damaged(whole, random) if number % 2 else whole[:place] + digit + whole[place + 1 :]
        newest.write_bytes(mutant)
        with nullcontext() if mutant == whole else pytest.warns(UserWarning, match="is damaged"):
            assert newest_checkpoint(part).step == (4 if mutant == whole else before)


def test_a_checkpoint_of_the_format_before_is_still_read(part):
    """Its sum lay among its values and spoke of the tensors alone."""
    newest = max(part.glob("checkpoint_*"))
    now = newest_checkpoint(part)
    described = {"format": 2, "step": now.step, "values": now.values, "sha256": _digest(now.tensors, "")}
    newest.write_bytes(safetensors.torch.save(now.tensors, {"training": json.dumps(described)}))
    before = newest_checkpoint(part)
    assert before.step == now.step == 4 and before.values == now.values


def test_nothing_is_begun_again_where_every_checkpoint_is_damaged(part, runs):
    for path in part.glob("checkpoint_*"):
        turn_a_bit(path)
    with pytest.warns(UserWarning), pytest.raises(ModelError, match="Every checkpoint .* is damaged; remove them"):
        next(train_teacher(RECIPE, runs, part, CPU))


def test_changed_data_is_refused_by_name(part, runs):
    changed = [runs[0], runs[1].copy()]
    changed[1][3, 4, 5] += 1
    with pytest.raises(ModelError, match=r"changed \(run_0001: SHA-256 \w{12} -> SHA-256 \w{12}\); put it back"):
        next(train_teacher(RECIPE, changed, part, CPU))
    with pytest.raises(ModelError, match=r"\(run_0002: absent -> SHA-256"):
        next(train_teacher(RECIPE, [*runs, changed[1]], part, CPU))


def test_a_changed_recipe_is_refused_with_the_difference(part, runs):
    other = dataclasses.replace(RECIPE, batch=2, learning_rate=1e-3)
    with pytest.raises(ModelError, match=r"another recipe \(batch: 1 -> 2, learning_rate: 0.0002 -> 0.001\)"):
        next(train_teacher(other, runs, part, CPU))


def test_half_precision_resumes_with_the_scale_of_its_gradients(tmp_path, runs):
    recipe, half = dataclasses.replace(RECIPE, precision="float16"), choose("cpu", "float16")
    for out in ("whole", "part"):
        for progress in train_teacher(recipe, runs, tmp_path / out, half):
            assert np.isfinite(list(progress.losses.values())).all()
            if out == "part":
                break
    assert newest_checkpoint(tmp_path / "part").values["scaler"]["scale"] > 1
    list(train_teacher(recipe, runs, tmp_path / "part", half))
    assert_same_end(tmp_path / "part", tmp_path / "whole")


def test_the_model_is_the_one_of_lowest_risk(tmp_path, runs):
    risks = {}
    for progress in train_teacher(dataclasses.replace(RECIPE, learning_rate=0.05), runs, tmp_path, CPU):
        risks[progress.step] = progress.risk
    card = load_model(tmp_path, CPU).card
    assert card["kept_step"] == min(risks, key=risks.get) and card["risk"] == min(risks.values())
    assert card["steps_done"] == RECIPE.steps and len(set(risks.values())) == 3
