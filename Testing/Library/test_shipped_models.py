"""The promises that any shipped model must keep, whatever its scores."""

from pathlib import Path

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.metrics import psnr
from FluoroDenoiseLib.evaluation.scenes import simulated_scene, still_scene
from FluoroDenoiseLib.formats import read_run
from FluoroDenoiseLib.model_folder import load_model, shipped_models
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian
from FluoroDenoiseLib.tiling import Tiled

CPU = choose("cpu", "float32")
SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "samples"
models = pytest.mark.parametrize("name", ["fast", "quality"])


def test_the_shipped_models_are_whole_and_small():
    assert {"fast", "quality"} <= set(shipped_models())
    total = 0
    for name in shipped_models():
        model = load_model(name, CPU)
        assert model.name == name
        assert model.card["scores"], "a shipped model says what was measured"
        total += sum(value.numel() * value.element_size() for value in model.restorer.restorer.state_dict().values())
    assert total <= 20e6


@models
def test_a_moving_run_gains_and_keeps_its_mean_and_its_wire(name):
    scene = simulated_scene("q30", seed=7, size=160, frames=8)
    clean = denoise(scene.noisy, load_model(name, CPU), compute=CPU)
    judged = scene.judged
    gain = psnr(clean[judged], scene.clean[judged], scene.span) - psnr(scene.noisy[judged], scene.clean[judged], scene.span)
    assert gain > 8
    assert abs(clean.mean(dtype=float) - scene.noisy.mean(dtype=float)) < 1e-3 * scene.span
    tool = scene.clean[judged].astype(float) - scene.without_tools[judged]
    kept = ((clean[judged] - scene.without_tools[judged]) * tool).sum() / (tool**2).sum()
    assert kept > 0.75


@models
def test_a_real_still_run_gains(name):
    run = np.stack(list(read_run(SAMPLES / "still_2bm.tif").frames))
    truth = np.stack(list(read_run(SAMPLES / "still_2bm_reference.tif").frames))[0]
    scene = still_scene(run, truth)
    clean = denoise(run, load_model(name, CPU), compute=CPU)
    gain = psnr(clean, scene.clean, scene.span) - psnr(run, scene.clean, scene.span)
    assert gain > (9 if name == "quality" else 6)


@models
def test_a_constant_run_stays_constant(name):
    run = np.full((6, 40, 40), 700, np.uint16)
    told = NoiseEstimate(PoissonGaussian(4.0, 0.0, 3.0), 0.2, 0.0)
    for noise in (None, told):
        clean = denoise(run, load_model(name, CPU), noise, CPU)
        assert np.array_equal(np.rint(clean), run)


@models
def test_tiles_give_the_whole_frame_within_one_grey_level(name):
    scene = simulated_scene("q30", seed=3, size=128, frames=3)
    model = load_model(name, CPU)
    whole = denoise(scene.noisy[:3], model, compute=CPU)
    tiled = type(model)(Tiled(model.restorer.restorer, tile=32), model.card, model.name, model.sha256)
    assert np.abs(denoise(scene.noisy[:3], tiled, compute=CPU) - whole).max() < 1


@models
def test_brighter_input_is_brighter_output(name):
    """An offset in the stabilised domain, where networks see no absolute grey level, passes through unchanged."""
    restorer = load_model(name, CPU).restorer
    torch.manual_seed(0)
    windows = torch.randn(1, 2 * restorer.radius + 1, 32, 32)
    guides = torch.rand(1, 2 if restorer.guides == "causal" else 4, 32, 32) + 0.3
    raised = guides.clone()
    raised[:, 0::2] += 50
    torch.testing.assert_close(restorer(windows + 50, raised), restorer(windows, guides) + 50, atol=1e-3, rtol=1e-4)
