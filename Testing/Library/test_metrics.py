import math

import numpy as np
import pytest

from FluoroDenoiseLib.evaluation.metrics import data_range, near_tools, psnr, score, ssim, tool_contrast, tool_mask


@pytest.fixture
def scene():
    """clean and without_tools: a tilted plane, and the same with a dark line in it."""
    without = np.broadcast_to(np.linspace(100.0, 300.0, 64), (3, 64, 64)).copy()
    clean = without.copy()
    clean[:, :, 30:32] *= 0.7
    return clean, without


def test_psnr_is_that_of_its_formula(scene):
    clean, _ = scene
    assert psnr(clean + 2.0, clean, span=200.0) == pytest.approx(40.0)


def test_psnr_near_tools_sees_only_the_mask(scene):
    clean, _ = scene
    wrong = clean.copy()
    wrong[:, :, :10] = 0
    mask = np.zeros(clean.shape, bool)
    mask[:, :, 30:] = True
    assert psnr(wrong + 2.0, clean, 200.0, mask) == pytest.approx(40.0)
    assert math.isnan(psnr(wrong, clean, 200.0, np.zeros(clean.shape, bool)))


def test_the_range_ignores_a_few_wild_pixels(scene):
    clean, _ = scene
    before = data_range(clean)
    clean[0, 0, :5] = 1e6
    assert data_range(clean) == pytest.approx(before, rel=0.05)


def test_ssim_is_one_for_the_truth_and_falls_with_noise(scene):
    pytest.importorskip("skimage")
    clean, _ = scene
    assert ssim(clean, clean, 200.0) == pytest.approx(1.0)
    assert ssim(clean + np.random.default_rng(0).normal(0, 10, clean.shape), clean, 200.0) < 0.9


@pytest.mark.parametrize("kept", [0.0, 0.5, 1.0])
def test_tool_contrast_is_the_share_that_is_left(scene, kept):
    clean, without = scene
    assert tool_contrast(without + kept * (clean - without), clean, without) == pytest.approx(kept)


def test_noise_does_not_change_tool_contrast(scene):
    clean, without = scene
    noisy = clean + np.random.default_rng(0).normal(0, 10, clean.shape)
    assert abs(tool_contrast(noisy, clean, without) - 1) < 0.03  # 2 sigma over 384 pixels


def test_near_a_tool_is_within_four_pixels_of_it():
    tools = np.zeros((1, 21, 21), bool)
    tools[0, 10, 10] = True
    row, column = np.mgrid[:21, :21]
    assert np.array_equal(near_tools(tools)[0], np.hypot(row - 10, column - 10) <= 4)


def test_a_tool_at_the_border_does_not_reach_the_other_side():
    tools = np.zeros((1, 16, 16), bool)
    tools[0, 0, 0] = True
    assert not near_tools(tools)[0, 8:, :].any() and not near_tools(tools)[0, :, 8:].any()


def test_a_scene_without_tools_has_no_tool_numbers(scene):
    _, without = scene
    none = tool_mask(without, without)
    found = score(without + 1.0, without, without, near_tools(none), 200.0)
    assert not none.any() and math.isnan(found.contrast) and math.isnan(found.psnr_near)
    assert found.psnr == pytest.approx(20 * math.log10(200))
