"""The commands for CT research: low dose with its truth, unpaired training from folders, the comparison."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from FluoroDenoiseLib import cli
from FluoroDenoiseLib.model_folder import build_network
from FluoroDenoiseLib.recipe import CtCycleRecipe, load_recipe, save_recipe
from FluoroDenoiseLib.training.checkpoints import newest_checkpoint

CYCLE = CtCycleRecipe(name="cycle", width=4, blocks=1, norm="none", critic_width=4, feature_width=4, pool=2, steps=4, batch=1, patch=32,
                      checkpoint_every=2, preview_every=0, precision="float32")


def write_volume(path, sigma, seed, count=4, side=48):
    rng = np.random.default_rng(seed)
    body = np.where(np.hypot(*(np.mgrid[:side, :side] - side / 2)) < 0.45 * side, 20.0, -1000.0)
    path.parent.mkdir(exist_ok=True)
    volume = SimpleITK.GetImageFromArray(np.rint(body + rng.normal(0, sigma, (count, side, side))).astype(np.int16))
    SimpleITK.WriteImage(volume, str(path))
    return path


def test_a_low_dose_is_written_as_the_volume_is_and_again_the_same(tmp_path, capsys):
    source = write_volume(tmp_path / "in" / "ct.nrrd", 0, 0)
    for name in ("one.nrrd", "two.nrrd"):
        assert cli.main(["simulate-ct", str(source), str(tmp_path / name), "--dose", "0.05", "--quanta", "20000"]) == 0
    clean, one, two = (SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in (source, tmp_path / "one.nrrd", tmp_path / "two.nrrd"))
    assert np.array_equal(one, two) and one.dtype == clean.dtype and one.shape == clean.shape
    assert 2 < (one - clean)[:, 16:32, 16:32].std() < 300
    assert cli.main(["simulate-ct", str(source), str(tmp_path / "one.nrrd")]) == 8
    assert "exists already" in capsys.readouterr().err


@pytest.fixture
def folders(tmp_path):
    write_volume(tmp_path / "low" / "a.nrrd", 60, 1)
    write_volume(tmp_path / "normal" / "b.nrrd", 10, 2)
    save_recipe(CYCLE, tmp_path / "recipe.json")
    return tmp_path


def test_an_unpaired_training_needs_the_other_folder_and_others_must_not_have_it(folders, capsys):
    command = ["train", str(folders / "recipe.json"), "--runs", str(folders / "low"), "--out", str(folders / "out"), "--device", "cpu"]
    assert cli.main(command) == 3 and "--normal" in capsys.readouterr().err
    assert cli.main([*command, "--normal", str(folders / "normal")]) == 0
    assert (folders / "out" / "MODEL.md").exists()
    assert cli.main(["denoise", str(folders / "low" / "a.nrrd"), str(folders / "clean.nrrd"), "--preset", "ct", "--model", str(folders / "out")]) == 0


@pytest.mark.slow
def test_two_processes_go_on_from_a_checkpoint_as_if_they_had_not_stopped(folders):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "FluoroDenoiseLib", "train",
              "recipe.json", "--runs", "low", "--normal", "normal", "--device", "cpu", "--out"]

    def train(out):
        done = subprocess.run([*launch, out], cwd=folders, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    train("whole")
    shutil.copytree(folders / "whole", folders / "again")
    (folders / "again" / "checkpoint_0000004.safetensors").unlink()
    train("again")
    whole, again = (newest_checkpoint(folders / name) for name in ("whole", "again"))
    assert whole.step == again.step == 4
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in whole.tensors.items())


@pytest.mark.slow
def test_the_comparison_writes_its_table_and_plots(tmp_path, capsys):
    assert cli.main(["evaluate-ct", "--models", "ct", "--slices", "6", "--without-rivals", "--device", "cpu", "--out", str(tmp_path / "out")]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert "| noisy |" in table and "| ct |" in table
    assert {"phantom_10_slices.png", "phantom_10_noise_power.png", "phantom_10_edge.png", "rows.json"} <= {p.name for p in (tmp_path / "out").iterdir()}
    assert cli.main(["evaluate-ct", "--without-phantom"]) == 2


def test_places_of_a_volume_are_judged_alone_and_together(tmp_path, capsys):
    volume = str(write_volume(tmp_path / "clean.nrrd", 2, 3, count=8, side=64))
    command = ["evaluate-ct", "--models", "ct", "--without-phantom", "--without-rivals", "--device", "cpu"]
    assert cli.main([*command, "--ct", volume, "--places", "2", "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "rows.json").read_text())
    scenes = ["anatomy 10 %, place 1", "anatomy 10 %, place 2", "anatomy 10 %, all 2 places"]
    assert [(row["scene"], row["method"]) for row in rows] == [(scene, method) for scene in scenes for method in ("noisy", "ct")]
    noisy = [row for row in rows if row["method"] == "noisy"]
    assert noisy[2]["shown"] == noisy[0]["shown"] + noisy[1]["shown"] and noisy[0]["rmse"] != noisy[1]["rmse"]
    assert cli.main([*command, "--ct", volume, "--places", "9"]) == 2
    assert "8 slices, too few for 9 places" in capsys.readouterr().err
    assert cli.main([*command, "--without", "BM4D"]) == 2 and "choose from Gaussian, non-local means, BM3D" in capsys.readouterr().err
    assert cli.main(["evaluate-ct", "--places", "2"]) == 2 and "name it with --ct" in capsys.readouterr().err


def test_recipes_of_the_documentation_are_recipes():
    for path in (Path(__file__).resolve().parents[2] / "docs" / "recipes").glob("ct*.json"):
        recipe = load_recipe(path)
        assert sum(parameter.numel() for parameter in build_network(recipe).parameters()) > 1000
