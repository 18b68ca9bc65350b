import csv
import dataclasses

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import load_model
from FluoroDenoiseLib.noise import PoissonGaussian
from FluoroDenoiseLib.recipe import PretrainRecipe, TeacherRecipe
from FluoroDenoiseLib.simulate import SimulationSettings, simulate
from FluoroDenoiseLib.training.preparation import prepare_simulated, stabilised_truth
from FluoroDenoiseLib.training.pretrain import CONTRAST_FLOOR, edges, importance, log_contrast_error, pretrain
from FluoroDenoiseLib.training.teacher import train_teacher

CPU = choose("cpu", "float32")
TINY = dict(steps=6, batch=2, patch=32, checkpoint_every=3, warmup_steps=2, precision="float32")
PRETRAIN = PretrainRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1, **TINY)
TEACHER = TeacherRecipe(name="tiny", frames=3, width=4, levels=2, **TINY)


@pytest.fixture(scope="module")
def runs():
    return [simulate(SimulationSettings(size=(48, 56), frames=5), seed) for seed in (0, 1)]


def losses(folder):
    with open(folder / "train.csv", newline="") as file:
        return [float(row["sum"]) for row in csv.DictReader(file)]


def test_the_stabilised_truth_is_what_the_inverse_gives_back():
    noise = PoissonGaussian(gain=8.0, pedestal=5.0, read_noise=6.0)
    clean = torch.linspace(25, 4000, 500)
    torch.testing.assert_close(noise.unstabilise(stabilised_truth(noise, clean)), clean, rtol=1e-3, atol=0.5)


def test_prepared_runs_have_noise_of_about_one_around_their_truth(runs):
    planes = prepare_simulated(runs[0]).astype(np.float32)
    assert 0.85 < np.std(planes[:, 0] - planes[:, 5]) < 1.2


@pytest.mark.parametrize("which", ["pretrain", "balanced", "contrast", "teacher"])
def test_a_training_leaves_a_model_that_loads_and_a_log(runs, tmp_path, which):
    if which != "teacher":
        recipe = dataclasses.replace(PRETRAIN, balanced=which == "balanced", contrast_weight=0.3 if which == "contrast" else 0.0)
        steps = list(pretrain(recipe, runs, tmp_path, CPU))
    else:
        steps = list(train_teacher(TEACHER, [run.noisy for run in runs], tmp_path, CPU))
    assert steps[-1].step == 6 and np.isfinite(losses(tmp_path)).all()
    assert load_model(tmp_path, CPU).card["steps_done"] == 6


def test_fading_and_ghosts_cost_contrast_and_an_edge_is_where_the_truth_is_steep():
    truth, tool = torch.zeros(1, 64, 64), torch.zeros(1, 64, 64)
    tool[0, :, 8:10], tool[0, :, 30:32] = 1.0, 0.5  # one that is there, and one that was
    right, faded, ghost = truth.clone(), truth.clone(), truth.clone()
    faded[0, :, 8:10], ghost[0, :, 30:32] = 0.2, -0.2
    costs = [log_contrast_error(estimate, truth, tool).item() for estimate in (right, faded, ghost)]
    assert costs[0] == pytest.approx(np.log(CONTRAST_FLOOR)) and costs[1] == pytest.approx(costs[2]) and costs[1] > costs[0] + 1
    of_ghosts = [log_contrast_error(estimate, truth, tool, ghost_share=1.0).item() for estimate in (right, faded, ghost)]
    assert of_ghosts[0] == pytest.approx(of_ghosts[1]) and of_ghosts[2] - of_ghosts[0] == pytest.approx(2 * (costs[2] - costs[0]))
    truth[0, :, 40:] = 4.0
    assert edges(truth)[0, 5].nonzero().flatten().tolist() == [39, 40] and edges(truth).max() == 1


def test_an_error_beside_a_tool_costs_a_share_of_one_on_it():
    truth, tool = torch.zeros(1, 24, 24), torch.zeros(1, 24, 24)
    tool[0, :, 12] = 1.0
    recipe = dataclasses.replace(PRETRAIN, tool_weight=8.0, flank_share=0.5)
    assert importance(recipe, truth, tool)[0, 5, 8:17].tolist() == [1, 5, 5, 5, 9, 5, 5, 5, 1]
    alone = dataclasses.replace(recipe, flank_share=0.0)
    assert importance(alone, truth, tool)[0, 5, 8:17].tolist() == [1, 1, 1, 1, 9, 1, 1, 1, 1]


def test_a_stopped_training_goes_on_to_the_same_weights(runs, tmp_path):
    whole = list(pretrain(PRETRAIN, runs, tmp_path / "whole", CPU))
    for progress in pretrain(PRETRAIN, runs, tmp_path / "part", CPU):
        assert progress.step == 3
        break
    list(pretrain(PRETRAIN, runs, tmp_path / "part", CPU))
    assert whole[-1].step == 6
    assert load_model(tmp_path / "whole", CPU).sha256 == load_model(tmp_path / "part", CPU).sha256


def test_a_folder_with_another_recipe_is_refused(runs, tmp_path):
    list(train_teacher(TEACHER, [run.noisy for run in runs], tmp_path, CPU))
    with pytest.raises(ModelError, match="another recipe"):
        list(pretrain(PRETRAIN, runs, tmp_path, CPU))


def test_a_training_can_begin_with_the_weights_of_another(runs, tmp_path):
    list(pretrain(PRETRAIN, runs, tmp_path / "first", CPU))
    first = load_model(tmp_path / "first", CPU)
    slow = dataclasses.replace(PRETRAIN, learning_rate=1e-12, ema_decay=0.0)
    list(pretrain(slow, runs, tmp_path / "second", CPU, start=first))
    second = load_model(tmp_path / "second", CPU)
    for before, after in zip(first.restorer.restorer.parameters(), second.restorer.restorer.parameters()):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=1e-6)
    assert second.card["began_as"]["weights_sha256"] == first.sha256
    with pytest.raises(ModelError, match="another network"):
        list(pretrain(dataclasses.replace(PRETRAIN, widths=(8, 16)), runs, tmp_path / "third", CPU, start=first))
