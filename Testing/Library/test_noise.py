"""Laws of the noise model, its transform and its estimate. Scenes are made here: smooth fields that shift, a thin line."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.intensity import IntensityScale
from FluoroDenoiseLib.noise import PoissonGaussian, estimate_noise
from FluoroDenoiseLib.simulate import SimulationSettings, simulate

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SIZE = 128


def expected_of_stabilised(law: PoissonGaussian, counts: float) -> float:
    """E[stabilise(x)] by Poisson sum and Gauss-Legendre quadrature: another road than the library's own."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    deviate, density = 8 * nodes, 8 * weights * np.exp(-32 * nodes**2) / math.sqrt(2 * math.pi)
    total = 0.0
    for quanta in range(int(counts + 12 * math.sqrt(counts) + 20)):
        stored = law.pedestal + law.gain * quanta + law.read_noise * deviate
        likelihood = math.exp(quanta * math.log(counts) - counts - math.lgamma(quanta + 1))
        total += likelihood * float(density @ law.stabilise(torch.from_numpy(stored)).numpy())
    return total


def smooth_field(rng: np.random.Generator, size: int = SIZE) -> np.ndarray:
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    amplitude = 1 / (frequency**2 + 0.01**2) ** 0.75 * (frequency < 0.35)
    amplitude[0, 0] = 0
    field = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * amplitude).real
    return field / field.std()


def moving_transmission(seed: int, frames: int = 20, speed: float = 1.4) -> np.ndarray:
    """[T, H, W]: a smooth field that shifts over another, and a line 2.5 pixels wide at 3.5 pixels a frame."""
    rng = np.random.default_rng(seed)
    still, moving = smooth_field(rng), np.fft.fft2(smooth_field(rng))
    along_y, along_x = np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None]
    row, column = np.mgrid[:SIZE, :SIZE]
    scene = []
    for t in range(frames):
        shifted = np.fft.ifft2(moving * np.exp(-2j * np.pi * speed * t * (0.8 * along_y + 0.6 * along_x))).real
        line = np.exp(-0.5 * ((column - (20 + 3.5 * t + 12 * np.sin(row / 20)) % SIZE) / 1.1) ** 2)
        scene.append(np.exp(-0.3 * shifted - 0.2 * still - 0.6 * line))
    return np.array(scene)


def correlated_noise(rng: np.random.Generator, shape: tuple[int, ...], sigma_px: float = 0.45) -> np.ndarray:
    """White noise blurred by a Gaussian, unit variance."""
    squared = np.fft.fftfreq(shape[1])[:, None] ** 2 + np.fft.fftfreq(shape[2])[None] ** 2
    transfer = np.exp(-2 * (np.pi * sigma_px) ** 2 * squared)
    return np.fft.ifft2(np.fft.fft2(rng.standard_normal(shape)) * transfer).real / np.sqrt(np.mean(transfer**2))


def assert_sigma_within(estimate, clean: np.ndarray, true_variance, tolerance: float) -> None:
    grey = np.linspace(*np.percentile(clean, (1, 99)), 20)
    ratio = np.sqrt(estimate.model.variance(grey) / true_variance(grey))
    assert np.abs(ratio - 1).max() < tolerance, ratio


@pytest.mark.parametrize("read_noise", [0.0, 0.5, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("counts", [2.0, 3.0, 7.0, 40.0, 110.0, 150.0])
def test_the_inverse_is_unbiased_from_two_counts_up(counts, read_noise):
    law = PoissonGaussian(gain=1.0, pedestal=0.0, read_noise=read_noise)
    estimate = law.unstabilise(torch.tensor([expected_of_stabilised(law, counts)], dtype=torch.float32)).item()
    assert abs(estimate - counts) < 0.01 * math.sqrt(counts + read_noise**2)


def test_the_inverse_is_unbiased_in_grey_levels_with_a_pedestal():
    law = PoissonGaussian(gain=8.0, pedestal=100.0, read_noise=12.0)
    mean = torch.tensor([expected_of_stabilised(law, 5.0)], dtype=torch.float32)
    assert abs(law.unstabilise(mean).item() - 140.0) < 0.01 * math.sqrt(law.variance(140.0))


@pytest.mark.parametrize("law", [PoissonGaussian(1.0, 0.0, 0.0), PoissonGaussian(8.0, 20.0, 16.0), PoissonGaussian(0.0, 3.0, 5.5)])
def test_stabilised_noise_has_standard_deviation_one(law):
    rng = np.random.default_rng(3)
    for mean in (250.0, 1000.0, 3000.0):
        if law.gain:
            quanta = rng.poisson((mean - law.pedestal) / law.gain, 40000)
            stored = law.pedestal + law.gain * quanta + law.read_noise * rng.standard_normal(40000)
        else:
            stored = mean + law.read_noise * rng.standard_normal(40000)
        assert abs(law.stabilise(torch.tensor(stored, dtype=torch.float32)).std().item() - 1) < 0.02  # 5 sigma of a sample sd


def test_the_inverse_rises_everywhere_and_smoothly():
    for read_noise in (0.0, 1.0, 4.0):
        law = PoissonGaussian(1.0, 0.0, read_noise)
        stabilised = torch.linspace(-5, 60, 20001)
        slope = law.unstabilise(stabilised).diff() / stabilised.diff()
        assert slope.min() > 0
        assert slope.diff().abs().max() < 0.05 * slope.median()


def test_sixteen_bit_values_come_back_with_only_the_small_correction():
    law = PoissonGaussian(gain=4.5, pedestal=0.0, read_noise=0.0)
    stored = torch.linspace(500, 65535, 5001)
    back = law.unstabilise(law.stabilise(stored))
    # the inverse of a mean adds a quarter of a quantum; float32 adds its own 0.02 grey levels
    assert (back - stored - 0.25 * law.gain).abs().max() < 0.15
    assert back.dtype == torch.float32


def test_flat_noise_is_an_affine_map_and_its_own_inverse():
    law = PoissonGaussian(0.0, 10.0, 5.8)
    stored = torch.rand(100) * 255
    assert torch.allclose(law.unstabilise(law.stabilise(stored)), stored, atol=1e-4)
    assert torch.allclose(law.stabilise(stored), (stored - 10) / 5.8)


def test_noise_moves_with_its_image_into_the_unit_range():
    law, scale = PoissonGaussian(8.0, 20.0, 10.0), IntensityScale(100.0, 3100.0)
    for stored in (50.0, 500.0, 2500.0):
        assert law.in_unit(scale).variance(scale.to_unit(stored)) * 3000.0**2 == pytest.approx(law.variance(stored))


def test_impossible_noise_is_refused():
    with pytest.raises(ValueError, match="cannot be"):
        PoissonGaussian(-1.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="leave its frames"):
        PoissonGaussian(0.0, 0.0, 0.0).stabilise(torch.zeros(2))


@pytest.mark.parametrize("gain, pedestal, read_noise, quanta", [(1.0, 0.0, 2.0, 60), (8.0, 0.0, 0.0, 30), (8.0, 100.0, 0.0, 30), (8.0, 0.0, 10.0, 30)])
def test_quantum_noise_is_found_while_everything_moves(gain, pedestal, read_noise, quanta):
    rng = np.random.default_rng(1)
    counts = moving_transmission(seed=2) * quanta
    stored = gain * rng.poisson(counts) + pedestal + read_noise * rng.standard_normal(counts.shape)
    frames = np.round(stored).clip(0, 4095).astype(np.uint16)
    assert_sigma_within(estimate_noise(frames), counts * gain + pedestal, PoissonGaussian(gain, pedestal, read_noise).variance, 0.06)


def test_flat_correlated_noise_is_found_in_eight_bit_frames_that_move():
    clean = 130 + 50 * np.log(moving_transmission(seed=4))
    noise = correlated_noise(np.random.default_rng(5), clean.shape)
    frames = np.round(clean + 5.8 * noise).clip(0, 255).astype(np.uint8)
    estimate = estimate_noise(frames)
    assert_sigma_within(estimate, clean, lambda grey: 5.8**2 + 0 * grey, 0.06)
    assert estimate.model.gain == 0
    truth = np.mean(noise[:, :, 1:] * noise[:, :, :-1])
    assert abs(estimate.spatial_correlation - truth) < 0.05
    assert not estimate.warnings


def test_a_recursive_filter_is_noticed_and_does_not_hide_the_noise():
    clean = 130 + 50 * np.log(moving_transmission(seed=6))
    fresh = correlated_noise(np.random.default_rng(7), clean.shape)
    noise = fresh.copy()
    for t in range(1, len(noise)):
        noise[t] = 0.45 * noise[t - 1] + math.sqrt(1 - 0.45**2) * fresh[t]
    estimate = estimate_noise(np.round(clean + 8.6 * noise).clip(0, 255).astype(np.uint8))
    assert abs(estimate.temporal_correlation - 0.45) < 0.07
    assert_sigma_within(estimate, clean, lambda grey: 8.6**2 + 0 * grey, 0.08)
    assert any("recursive filter" in sentence for sentence in estimate.warnings)


def test_motion_without_noise_is_not_taken_for_a_recursive_filter():
    """Differences that grow as fast as the lag are motion; divided by what such a filter would leave, sigma came out 4.5 times as large."""
    clean = np.rint(simulate(SimulationSettings(size=(144, 144), frames=12, quanta=160.0, tool_speed_px=2.0), 5001).clean)
    estimate = estimate_noise(clean.astype(np.uint16))
    assert estimate.temporal_correlation == 0
    assert estimate.model.variance(float(np.median(clean))) ** 0.5 < 0.001 * np.ptp(clean)


def test_ramp_up_frames_are_left_out():
    clean = 130 + 50 * np.log(moving_transmission(seed=8))
    noise = 5.8 * np.random.default_rng(9).standard_normal(clean.shape)
    frames = clean + noise
    frames[0] = 0.8 * clean[0] + 30 + 5.5 * noise[0]
    frames[1] = clean[1] + 2.5 * noise[1]
    estimate = estimate_noise(np.round(frames).clip(0, 255).astype(np.uint8))
    assert_sigma_within(estimate, clean, lambda grey: 5.8**2 + 0 * grey, 0.06)
    assert any("ramp-up" in sentence for sentence in estimate.warnings)


def test_the_whole_picture_may_pan():
    rng = np.random.default_rng(16)
    large = np.kron(smooth_field(rng), np.ones((2, 2)))
    counts = 200 * np.exp(0.4 * np.stack([large[5 * t : 5 * t + SIZE, 6 * t : 6 * t + SIZE] for t in range(16)]))
    estimate = estimate_noise((4 * rng.poisson(counts)).astype(np.uint16))
    assert_sigma_within(estimate, counts * 4, lambda grey: 4 * grey, 0.05)
    assert abs(estimate.spatial_correlation) < 0.05


def test_a_black_border_does_not_spoil_the_estimate():
    rng = np.random.default_rng(10)
    counts = moving_transmission(seed=11) * 30
    frames = (8 * rng.poisson(counts)).astype(np.uint16)
    frames[:, :24] = frames[:, :, -24:] = 0
    assert_sigma_within(estimate_noise(frames), counts * 8, lambda grey: 8 * grey, 0.06)


def test_a_constant_run_is_noiseless():
    estimate = estimate_noise(np.full((6, 40, 40), 17, np.uint8))
    assert estimate.model.is_noiseless and estimate.warnings


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 9])
def test_short_runs_give_a_usable_estimate_and_say_so(frames):
    counts = moving_transmission(seed=12, frames=frames, speed=0.4) * 30
    estimate = estimate_noise((8 * np.random.default_rng(13).poisson(counts)).astype(np.uint16))
    assert_sigma_within(estimate, counts * 8, lambda grey: 8 * grey, 0.2)
    assert bool(estimate.warnings) == (frames < 5)


def test_filtered_frames_are_called_filtered():
    clean = 130 + 50 * np.log(moving_transmission(seed=14, speed=0.0))
    estimate = estimate_noise(np.round(clean + 0.4 * np.random.default_rng(15).standard_normal(clean.shape)).astype(np.uint8))
    assert any("filtered already" in sentence for sentence in estimate.warnings)


def test_only_the_sample_of_a_long_lazy_run_is_read():
    class LazyRun:
        read = set()

        def __len__(self):
            return 500

        def __getitem__(self, index):
            self.read.add(int(index))
            return np.random.default_rng(index).poisson(100, (64, 64)).astype(np.uint16)

    run = LazyRun()
    assert abs(estimate_noise(run, sample=24).model.variance(100.0) - 100) < 10
    assert len(run.read) <= 24


def test_large_frames_take_little_time():
    frames = np.random.default_rng(0).poisson(100, (8, 512, 512)).astype(np.uint16)
    started = time.process_time()
    estimate_noise([frames[i % 8] for i in range(32)])
    assert time.process_time() - started < 2


def test_the_noise_of_a_real_flat_panel_run_is_found():
    folder = DATA / "radiography_static_2bm"
    if not folder.exists():
        pytest.skip("The radiography run is not beside this checkout.")
    tifffile = pytest.importorskip("tifffile")
    frames = tifffile.imread(folder / "frames_054-077.tif")
    estimate = estimate_noise(frames)
    assert 370 < math.sqrt(estimate.model.variance(28400.0)) < 392  # measured over time in every pixel: 380
    assert abs(estimate.spatial_correlation) < 0.03 and abs(estimate.temporal_correlation) < 0.05
