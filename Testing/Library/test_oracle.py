import numpy as np
import pytest

from FluoroDenoiseLib.evaluation.metrics import data_range, psnr
from FluoroDenoiseLib.evaluation.oracle import oracle, reference_scene, shift


@pytest.fixture(scope="module")
def scene():
    return reference_scene()


def test_the_reference_scene_is_the_one_the_numbers_were_measured_on(scene):
    judged = slice(2, 18)
    found = psnr(scene.noisy[judged], scene.clean[judged], data_range(scene.clean))
    assert found == pytest.approx(23.938, abs=0.001)
    assert scene.noisy[0, 0, 0] == pytest.approx(41.300713593915965, abs=1e-9)
    assert scene.noisy[19, 200, 100] == pytest.approx(50.717157430274014, abs=1e-9)


def test_shifting_by_whole_pixels_is_a_roll():
    image = np.random.default_rng(0).standard_normal((16, 20))
    assert np.allclose(shift(image, 3, -2), np.roll(image, (3, -2), (0, 1)))


@pytest.mark.parametrize("frames, tool_known, expected", [
    ([10], True, 31.88), ([10], False, 31.28), (range(8, 13), True, 36.46), (range(8, 13), False, 36.10),
])  # fmt: skip
def test_the_oracle_reaches_its_published_numbers(scene, frames, tool_known, expected):
    estimate = oracle(scene, frames, [10], tool_known)
    assert psnr(estimate, scene.clean[[10]], data_range(scene.clean)) == pytest.approx(expected, abs=0.02)


def test_without_a_prior_five_frames_gain_what_averaging_gains(scene):
    span = data_range(scene.clean)
    gain = psnr(oracle(scene, range(8, 13), [10], tool_known=True, prior=False), scene.clean[[10]], span) - psnr(
        scene.noisy[[10]], scene.clean[[10]], span
    )
    assert gain == pytest.approx(10 * np.log10(5), abs=0.15)
