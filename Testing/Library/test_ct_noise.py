"""The noise of CT slices is found where there is anatomy, and noise that is drawn like it is like it."""

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.ct_noise import CtTexture, measure_texture, noise_level
from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise
from FluoroDenoiseLib.errors import UnsupportedError

SIDE, COUNT = 128, 6
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
BODY = np.where(np.hypot(Y, X) < 58, 30.0, -1000.0) + 300 * (np.hypot(Y - 20, X) < 8)


@pytest.fixture(scope="module")
def noise():
    scanner = Scanner(quanta=3e5, softness=0.6, bowtie_radius_mm=60)
    return ct_noise(torch.from_numpy(BODY.astype(np.float32)), 1.0, 0.1, scanner, torch.Generator().manual_seed(0), COUNT)


def test_the_level_is_the_deviation_of_the_noise_for_a_middling_kernel(noise):
    noisy = noise + torch.from_numpy(BODY.astype(np.float32))
    centre = np.s_[:, 50:78, 50:78]
    assert float(noise_level(noisy)[centre].mean() / noise[centre].std()) == pytest.approx(1, abs=0.15)


def test_the_level_follows_the_dose(noise):
    body = torch.from_numpy(BODY.astype(np.float32))
    ratio = noise_level(noise + body)[:, 64, 64] / noise_level(noise / 4 + body)[:, 64, 64]
    assert float(ratio.mean()) == pytest.approx(4, rel=0.15)


def test_the_level_of_nothing_is_not_zero_and_of_a_small_slice_is_one():
    assert noise_level(torch.zeros(1, 20, 24)).shape == (1, 20, 24)
    assert float(noise_level(torch.zeros(1, 64, 64)).min()) >= 1


@pytest.mark.parametrize("shared", [0.0, 0.4])
def test_the_texture_of_a_volume_has_its_variance_and_what_neighbours_share(noise, shared):
    mixed = [noise[0]]
    for one in noise[1:]:
        mixed.append(shared * mixed[-1] + (1 - shared**2) ** 0.5 * one)
    slices = torch.stack(mixed) + torch.from_numpy(BODY.astype(np.float32))
    texture = measure_texture(slices.numpy())
    inside = np.hypot(Y, X) < 40
    true = float((torch.stack(mixed) / noise_level(slices))[:, inside].var())
    assert texture.variance == pytest.approx(true, rel=0.25)
    assert texture.between_slices == pytest.approx(shared, abs=0.12)


def test_drawn_noise_has_the_spectrum_it_is_drawn_from():
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None])
    power = frequency * np.exp(-((frequency / 0.25) ** 2))
    texture = CtTexture(power / power.mean() * 2.0, 0.3)
    drawn = texture.drawn((40, 2, 64, 64), torch.Generator().manual_seed(1))
    assert float(drawn.var()) == pytest.approx(2.0, rel=0.03)
    assert float((drawn[:, 0] * drawn[:, 1]).mean() / 2.0) == pytest.approx(0.3, abs=0.03)
    assert float(drawn.mean((2, 3)).std()) < 0.05


def test_a_volume_of_three_slices_says_nothing_of_its_noise():
    with pytest.raises(UnsupportedError, match="3 slices"):
        measure_texture(np.zeros((3, 64, 64), np.float32))
