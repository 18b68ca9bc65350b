import math

import numpy as np
import pytest

from FluoroDenoiseLib.evaluation.niqe import Statistics, fit_asymmetric, niqe, pristine_xray, sharp_tiles, statistics, tile_features
from FluoroDenoiseLib.evaluation.rivals import gaussian
from FluoroDenoiseLib.evaluation.scenes import simulated_scene
from FluoroDenoiseLib.evaluation.vif import vif


@pytest.fixture
def landscape():
    """A rough surface [64, 80], 0 to 255, and white noise of the same size."""
    rng = np.random.default_rng(0)
    surface = np.cumsum(np.cumsum(rng.standard_normal((64, 80)), 0), 1)
    surface = 255 * (surface - surface.min()) / np.ptp(surface)
    return surface, rng


@pytest.mark.parametrize("values", [[(0, 1.0), (5, 0.6139603), (20, 0.2453345), (60, 0.0888456)]])
def test_vif_is_that_of_another_program(landscape, values):
    surface, rng = landscape
    for sigma, known in values:  # what piq 0.8.0 (vif_p, data range 255) gives for these pictures
        estimate = np.clip(surface + sigma * rng.standard_normal(surface.shape), 0, 255)
        assert vif(estimate[None], surface[None], 255.0) == pytest.approx(known, abs=1e-6)


def test_vif_falls_with_contrast_and_rises_above_one_with_it(landscape):
    surface = landscape[0][None]
    assert vif(128 + 0.5 * (surface - 128), surface, 255.0) == pytest.approx(0.7462859, abs=1e-6)  # piq as well
    assert vif(128 + 2 * (surface - 128), surface, 255.0) > 1


def test_vif_does_not_see_where_zero_is_nor_the_unit(landscape):
    surface, rng = landscape
    estimate = surface + 5 * rng.standard_normal(surface.shape)
    assert vif(16 * estimate[None] + 300, 16 * surface[None] + 300, 16 * 255.0) == pytest.approx(vif(estimate[None], surface[None], 255.0))


def test_vif_of_frames_too_small_for_it_is_not_a_number():
    assert math.isnan(vif(np.zeros((1, 40, 64)), np.zeros((1, 40, 64)), 1.0))


@pytest.mark.parametrize("draw, shape, width", [("standard_normal", 2.0, math.sqrt(2)), ("laplace", 1.0, 1.0)])
def test_the_asymmetric_fit_finds_known_distributions(draw, shape, width):
    rng = np.random.default_rng(0)
    samples = getattr(rng, draw)(size=(1, 200_000))
    found, mean, left, right = (float(value[0]) for value in fit_asymmetric(samples))
    assert found == pytest.approx(shape, abs=0.02) and mean == pytest.approx(0, abs=0.02)
    assert left == pytest.approx(width, rel=0.02) and right == pytest.approx(width, rel=0.02)


def test_the_asymmetric_fit_sees_asymmetry():
    samples = np.random.default_rng(0).standard_normal((1, 100_000))
    samples[samples > 0] *= 3
    _, mean, left, right = fit_asymmetric(samples)
    assert right[0] / left[0] == pytest.approx(3, rel=0.03) and mean[0] > 0


def test_niqe_is_the_distance_of_two_gaussians():
    frames = np.random.default_rng(0).normal(100, 20, (1, 128, 192))
    tiles = tile_features(frames, 255.0)[0]
    own = statistics(tiles)
    assert tiles.shape == (6, 36) and niqe(frames, 255.0, own) == pytest.approx(0, abs=1e-9)
    other = Statistics(own.mean + 1.0, np.eye(36) - own.covariance)  # the mean of both covariances is then half of one
    assert niqe(frames, 255.0, other) == pytest.approx(math.sqrt(36 * 2))


def test_niqe_prefers_clean_pictures_to_noisy_and_to_blurred_ones():
    scene = simulated_scene("q30", 0, 128, 5)
    clean = niqe(scene.clean, scene.span)
    assert clean < niqe(gaussian(scene.clean, None, 4.0), scene.span)
    assert clean < niqe(gaussian(scene.noisy, None, 1.3), scene.span) < niqe(scene.noisy, scene.span)


def test_the_pristine_model_is_one_of_36_numbers():
    pristine = pristine_xray()
    assert pristine.mean.shape == (36,) and np.allclose(pristine.covariance, pristine.covariance.T)
    assert np.linalg.eigvalsh(pristine.covariance).min() > -1e-6


def test_pristine_statistics_are_learned_from_the_sharper_half():
    rng = np.random.default_rng(0)
    frame = np.concatenate([rng.normal(0, 1, (64, 256)), rng.normal(0, 30, (64, 256))])
    assert len(sharp_tiles(frame[None], 255.0)) == 4


def test_niqe_of_frames_smaller_than_a_tile_is_not_a_number():
    assert math.isnan(niqe(np.zeros((3, 63, 200)), 1.0))
