"""Training on CT: unpaired with two optimisers, and the refiner on slices with and without truth; one loop, exact resume."""

import dataclasses

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.ct_restorer import load_ct_restorer
from FluoroDenoiseLib.ct_window import HALF_HU
from FluoroDenoiseLib.errors import InputError, ModelError, UnsupportedError
from FluoroDenoiseLib.networks.ct_generator import CtGenerator
from FluoroDenoiseLib.recipe import CtCycleRecipe, CtSlicesRecipe, recipe_from_dict, recipe_to_dict
from FluoroDenoiseLib.training import ct_slices
from FluoroDenoiseLib.training.checkpoints import newest_checkpoint
from FluoroDenoiseLib.training.ct_cycle import CtCycleObjective, train_ct_cycle
from FluoroDenoiseLib.training.ct_pieces import PieceBank
from FluoroDenoiseLib.training.ct_slices import train_ct_slices

CPU = choose("cpu", "float32")
CYCLE = CtCycleRecipe(name="cycle", width=4, blocks=1, norm="none", critic_width=4, feature_width=4, pool=3, steps=4, batch=2, patch=32,
                      checkpoint_every=2, preview_every=4, precision="float32", adversarial=1.0)
SLICES = CtSlicesRecipe(name="slices", radius=1, widths=(8, 12), blocks=1, steps=3, batch=1, patch=32, checkpoint_every=3,
                        preview_every=3, precision="float32")


class Volume:
    def __init__(self, hu):
        self.hu, self.spacing_mm = np.asarray(hu, np.float32), (1.0, 1.0, 1.0)

    def __len__(self):
        return len(self.hu)

    def __getitem__(self, index):
        return self.hu[index]


def volume(sigma, seed, count=6, side=64):
    rng = np.random.default_rng(seed)
    body = np.where(np.hypot(*(np.mgrid[:side, :side] - side / 2)) < 0.48 * side, 20.0, -1000.0)
    return Volume(body + rng.normal(0, sigma, (count, side, side)))


LOW, NORMAL = volume(60, 0), volume(10, 1)


def test_an_unpaired_training_that_is_stopped_ends_as_one_that_is_not(tmp_path):
    list(train_ct_cycle(CYCLE, [LOW], [NORMAL], tmp_path / "whole", CPU))
    stopped = train_ct_cycle(CYCLE, [LOW], [NORMAL], tmp_path / "stopped", CPU)
    assert next(stopped).step == 2
    stopped.close()
    list(train_ct_cycle(CYCLE, [LOW], [NORMAL], tmp_path / "stopped", CPU))
    whole, again = (newest_checkpoint(tmp_path / name) for name in ("whole", "stopped"))
    assert whole.tensors.keys() == again.tensors.keys()
    assert {"opponent.pool_low.images", "partner.tail.weight", "rival.0.exp_avg"} <= whole.tensors.keys()
    assert all(torch.equal(tensor, again.tensors[name]) for name, tensor in whole.tensors.items())
    assert (tmp_path / "whole" / "train.csv").read_bytes() == (tmp_path / "stopped" / "train.csv").read_bytes()


def test_generators_and_discriminators_both_learn_and_only_the_first_generator_is_kept(tmp_path):
    *_, last = train_ct_cycle(CYCLE, [LOW], [NORMAL], tmp_path, CPU)
    assert list(last.losses) == ["adversarial", "cycle", "identity", "perceptual", "critic_normal", "critic_low", "repair"]
    assert all(np.isfinite(value) for value in last.losses.values())
    restorer = load_ct_restorer(tmp_path, CPU)
    assert restorer.radius == 0 and restorer.name == "cycle"
    hu = torch.from_numpy(LOW[0])[None, None]
    assert restorer(hu).shape == (1, 64, 64) and abs(float((restorer(hu) - hu[:, 0]).mean())) < 1


def test_a_return_generator_that_hides_the_noise_does_not_close_the_cycle(tmp_path):
    banks = [PieceBank([one], tmp_path / "clips") for one in (LOW, NORMAL)]
    objective = CtCycleObjective(CYCLE, *banks, CPU)
    leaves = CtGenerator(CYCLE.width, CYCLE.blocks, "none")
    objective.back = lambda given, asked: given[:, 0]
    noise = objective.low.draw_noise(0, 0, range(2), 32) / HALF_HU
    with torch.no_grad():
        cycle = float(objective.losses(leaves, 0, range(2)).cycle)
    assert cycle == pytest.approx(CYCLE.cycle * float(noise.abs().mean()) / 2, rel=0.01) and cycle > 0.5


def test_the_same_volume_as_low_and_normal_dose_is_refused(tmp_path):
    with pytest.raises(InputError, match="both folders"):
        list(train_ct_cycle(CYCLE, [LOW], [LOW], tmp_path, CPU))
    with pytest.raises(InputError, match="normal-dose folder holds no CT"):
        list(train_ct_cycle(CYCLE, [LOW], [], tmp_path, CPU))


@pytest.mark.parametrize("learn", ["truth", "sure", "neighbours"])
def test_the_slices_are_learned_from_in_every_way(tmp_path, monkeypatch, learn):
    monkeypatch.setattr(ct_slices, "SCENES", 2)
    recipe = dataclasses.replace(SLICES, learn=learn)
    *_, last = train_ct_slices(recipe, [LOW], tmp_path, CPU)
    assert last.step == 3 and (last.risk is None) == (learn == "truth")
    restorer = load_ct_restorer(tmp_path, CPU)
    windows = torch.from_numpy(LOW.hu[None, :3, :50, :42].copy())
    assert restorer(windows).shape == (1, 50, 42)


def test_a_volume_too_short_for_its_own_noise_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="3 slices"):
        list(train_ct_slices(dataclasses.replace(SLICES, learn="sure"), [volume(9, 2, count=3)], tmp_path, CPU))


@pytest.mark.slow
def test_steins_estimate_trains_a_network_on_one_noisy_volume(tmp_path):
    noisy = volume(40, 3, count=12, side=96)
    recipe = dataclasses.replace(SLICES, learn="sure", steps=60, batch=4, patch=64, learning_rate=2e-3, warmup_steps=5, ema_decay=0.9,
                                 checkpoint_every=60)
    list(train_ct_slices(recipe, [noisy], tmp_path, CPU))
    restored = load_ct_restorer(tmp_path, CPU)(torch.from_numpy(noisy.hu[None, 4:7]))[0].numpy()
    centre = np.s_[36:60, 36:60]
    assert restored[centre].std() < 0.75 * noisy[5][centre].std()  # 60 steps take a third
    assert abs(restored[centre].mean() - noisy[5][centre].mean()) < 3


def test_recipes_of_ct_come_back_as_they_were_and_wrong_ones_are_named():
    for recipe in (CYCLE, SLICES):
        assert recipe_from_dict(recipe_to_dict(recipe)) == recipe
    with pytest.raises(ModelError, match="'learn'"):
        CtSlicesRecipe(learn="guess")
    with pytest.raises(ModelError, match="'norm'"):
        CtCycleRecipe(norm="batch")
