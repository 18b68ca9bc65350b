"""Spectra and lag from arrays alone, where both are known from an equation."""

import numpy as np
import pytest
from FluoroDenoiseScene import sequences
from FluoroDenoiseScene.noise_statistics import RegionStatistics, Shading, mean_frequency, power_spectrum, radial
from FluoroDenoiseScene.removal_checks import step_lag

RNG = np.random.default_rng


def test_the_spectrum_integrates_to_the_variance():
    noise = RNG(2).normal(0, 7, (64, 48))
    spacing = (0.2, 0.3)
    power = power_spectrum(noise, noise.size, spacing)
    assert power.sum() / (64 * 0.2 * 48 * 0.3) == pytest.approx((noise**2).mean())


def test_the_spectrum_of_white_noise_is_flat_and_of_coarse_noise_low():
    spacing, mask = (0.25, 0.25), Shading(np.ones((100, 100), bool))
    white, coarse = RegionStatistics(spacing), RegionStatistics(spacing)
    for seed in range(40):
        frame = RNG(seed).normal(0, 5, (102, 102))
        blurred = sum(frame[row : row + 100, column : column + 100] for row in range(3) for column in range(3)) / 9
        for statistics, values in ((white, frame[1:-1, 1:-1]), (coarse, blurred)):
            sequences.completed(statistics.add(values, mask))
    frequencies, power = white.spectrum()
    assert frequencies[-1] <= 2.0 and frequencies[0] > 0
    np.testing.assert_allclose(power[3:], 25 * 0.25**2, rtol=0.1)
    assert mean_frequency(*coarse.spectrum()) < 0.6 * mean_frequency(frequencies, power)


def test_a_wave_is_found_at_its_frequency():
    column = np.arange(128) * 0.5
    wave = np.sin(2 * np.pi * 0.25 * column)[None].repeat(128, 0)
    frequencies, power = radial(power_spectrum(wave, wave.size, (0.5, 0.5)), (0.5, 0.5))
    assert frequencies[power.argmax()] == pytest.approx(0.25, abs=0.01)


def test_the_lag_of_a_recursive_filter_is_that_of_its_equation():
    """y_t = a x_t + (1 - a) y_{t-1} leaves (1 - a)^n of a step in its frame n."""
    weight, truth = 0.6, np.zeros((40, 30))
    for point in range(30):
        truth[12 + point % 8 :, point] = 100 + point
    noisy = 1000 + truth + RNG(3).normal(0, 2, truth.shape)
    filtered = [noisy[0]]
    for frame in noisy[1:]:
        filtered.append(weight * frame + (1 - weight) * filtered[-1])
    number, before, after = step_lag(noisy, np.array(filtered))
    np.testing.assert_array_equal(number, [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5])
    np.testing.assert_allclose(before, [1] * 5 + [0] * 5, atol=0.02)
    np.testing.assert_allclose(after[5:], [0.4**n for n in range(1, 6)], atol=0.02)


def test_a_filter_that_looks_ahead_is_seen_before_the_step():
    truth = np.zeros((30, 20))
    truth[15:] = 50
    blurred = (truth + np.roll(truth, -1, axis=0)) / 2
    number, _, after = step_lag(truth, blurred)
    assert after[number == -1] == pytest.approx(0.5) and after[number == 1] == pytest.approx(0)


@pytest.mark.parametrize("stack", [np.full((20, 5), 7.0), RNG(4).normal(0, 3, (20, 5)), np.zeros((3, 5))])
def test_without_a_step_there_is_no_lag(stack):
    assert step_lag(stack, stack) is None
