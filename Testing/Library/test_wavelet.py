"""The stationary wavelet transform against pywavelets and against its own laws."""

import numpy as np
import pytest
import pywt
import torch

from FluoroDenoiseLib.wavelet import high_bands, stationary_wavelet


@pytest.mark.parametrize("wavelet", ["haar", "db2", "sym4"])
def test_the_transform_is_that_of_pywavelets(wavelet):
    image = np.random.default_rng(1).normal(size=(24, 32))
    [(approximation, details)] = pywt.swt2(image, wavelet, level=1, norm=False)
    ours = stationary_wavelet(torch.from_numpy(image)[None], wavelet, "periodic")[0]
    np.testing.assert_allclose(ours, [approximation, *details], atol=1e-12)


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
def test_noise_keeps_its_deviation_in_every_band(boundary):
    noise = torch.randn(4, 128, 128, generator=torch.Generator().manual_seed(2))
    deviations = stationary_wavelet(noise, "haar", boundary).std(dim=(0, 2, 3))
    # 65,536 pixels, correlated over four: the deviation of such an estimate is below half a percent.
    assert torch.allclose(deviations, torch.ones(4), atol=0.02)


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_a_constant_is_zero_in_the_high_bands(wavelet, boundary):
    assert high_bands(torch.full((1, 9, 7), 1000.0), wavelet, boundary).abs().max() < 1e-3  # float32 rounding of 1000


def test_a_horizontal_edge_is_in_the_second_band_and_a_vertical_one_in_the_third():
    image = torch.zeros(1, 8, 8)
    image[:, 4:] = 1
    for bands, edge in ((high_bands(image), 0), (high_bands(image.mT), 1)):
        energy = bands.square().sum(dim=(0, 2, 3))
        assert energy[edge] == energy.sum() > 0


def test_odd_sizes_keep_their_shape():
    assert stationary_wavelet(torch.rand(2, 7, 9)).shape == (2, 4, 7, 9)


def test_autocast_does_not_round_the_bands():
    image = torch.rand(1, 16, 16)
    exact = high_bands(image)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(high_bands(image), exact)


def test_another_boundary_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="use one of periodic, reflect"):
        stationary_wavelet(torch.zeros(1, 4, 4), boundary="zero")
