"""Laws of the simulated scenes: their noise is the clinic's, their truth is exact, their tools move as said."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.detector import RAMP_GAIN, RAMP_OFFSET, Detector, Response, noise_gain
from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.projection import WATER_PER_MM, ct_slabs, slab_weights
from FluoroDenoiseLib.simulate import SimulationSettings, load_simulated, random_settings, save_simulated, simulate
from FluoroDenoiseLib.tools import add_spots, draw_blinking, draw_tools, line_weight, make_tool

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
SMALL = SimulationSettings(size=(96, 80), frames=4)
STILL = replace(SMALL, breathing_px=0.0, heart_px=0.0, pan_px=0.0, tool_speed_px=0.0)


def flat_detector(**changes) -> Detector:
    """A 16-bit linear clinic detector of 100 grey levels a quantum with hardly any read noise."""
    response = Response("LIN", top=50000.0, dark_quanta=1.0, bright_quanta=499.0, knee_quanta=0.4, pedestal=100.0)
    plain = Detector(
        response, bits=16, correlation=0.30, read_noise_quanta=0.3,
        lag=0.0, vendor_recursion=0.0, ramp_up=False, margin=16,
    )  # fmt: skip
    return replace(plain, **changes)


def flat_noise(
    detector: Detector, quanta: float = 50.0, frames: int = 12, size: int = 192, seed: int = 3
) -> np.ndarray:
    """What noise this detector adds to an even exposure, [T, H, W] grey levels."""
    exposure = torch.full((frames, size + 32, size + 32), quanta)
    stored = detector.read_out(exposure, torch.Generator().manual_seed(seed))
    return stored.astype(np.float64) - detector.expect(exposure).numpy()


def correlation_at(noise: np.ndarray, axis: int) -> float:
    first, second = np.delete(noise, -1, axis), np.delete(noise, 0, axis)
    return float((first * second).mean() / noise.var())


def test_the_same_seed_gives_the_same_run_and_another_seed_another():
    first, again, other = simulate(SMALL, 5), simulate(SMALL, 5), simulate(SMALL, 6)
    for name in ("noisy", "clean", "without_tools"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("domain", ["LIN", "LOG", "DISP"])
def test_clean_is_the_mean_of_noisy(domain):
    settings = replace(STILL, frames=200, size=(48, 48), domain=domain, bits=12, quanta=20.0)
    run = simulate(settings, 4)
    noisy = run.noisy.astype(np.float64)
    bias = (noisy - run.clean).mean(0) / noisy.std(0)
    # 200 frames leave 0.07 sigma a pixel; the mean over 2304 correlated pixels leaves 0.003.
    assert abs(bias.mean()) < 0.02
    assert bias.std() < 0.08


@pytest.mark.parametrize("quanta", [5.0, 30.0, 300.0])
def test_noise_has_the_variance_it_states(quanta):
    run = simulate(replace(STILL, frames=120, size=(48, 48), quanta=quanta, bits=14), 2)
    stated = run.noise.variance(run.clean[0])
    assert np.mean((run.noisy - run.clean) ** 2) == pytest.approx(stated.mean(), rel=0.02)
    dark = run.clean[0] < np.percentile(run.clean[0], 20)
    measured = ((run.noisy.astype(np.float64) - run.clean) ** 2)[:, dark].mean()
    assert measured == pytest.approx(stated[dark].mean(), rel=0.04)


def test_the_noise_spectrum_and_correlation_are_those_of_the_clinic():
    """3.1 times white at 0.05 cycles/px, 0.48 at 0.5, lag-1 correlation 0.20-0.31 (measured on a static phantom)."""
    noise = flat_noise(flat_detector(), size=256)
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(0)
    frequency = np.fft.fftfreq(256)
    radius = np.hypot(frequency[:, None], frequency[None])
    near = lambda at: power[np.abs(radius - at) < 0.01].mean() / power.mean()  # noqa: E731
    assert near(0.05) == pytest.approx(3.1, rel=0.06)
    assert near(0.50) == pytest.approx(0.48, rel=0.06)
    for axis in (1, 2):
        assert 0.20 < correlation_at(noise, axis) < 0.31
    assert abs(correlation_at(noise, 0)) < 0.01


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.25, 0.35])
def test_noise_has_the_correlation_that_was_asked_for(correlation):
    noise = flat_noise(flat_detector(correlation=correlation, read_noise_quanta=0.0))
    assert np.mean([correlation_at(noise, axis) for axis in (1, 2)]) == pytest.approx(correlation, abs=0.01)
    assert noise.var() == pytest.approx(50 * 100.2**2 * noise_gain(correlation), rel=0.02)


def test_the_white_detector_is_like_the_synchrotron_camera():
    """Raw 16-bit frames at 28 400: sigma 380-391, no correlation in space (0.001, 0.003) or time (0.004)."""
    gain = 385**2 / 28400
    response = Response("LIN", top=65000.0, dark_quanta=1.0, bright_quanta=65000 / gain, knee_quanta=0.4)
    camera = flat_detector(response=response, correlation=0.0, read_noise_quanta=0.0)
    noise = flat_noise(camera, quanta=28400 / gain)
    assert 380 < noise.std() < 391
    assert all(abs(correlation_at(noise, axis)) < 0.006 for axis in (0, 1, 2))


def test_the_white_detector_agrees_with_the_camera_s_own_frames():
    folder = SHARED_DATA / "radiography_static_2bm"
    if not folder.is_dir():
        pytest.skip("the synchrotron frames are not here")
    tifffile = pytest.importorskip("tifffile")
    frames = np.stack([tifffile.imread(folder / "frames_054-077.tif", key=index) for index in range(8)])
    # Differences of neighbours lose the scene; they share a frame, so their own correlation in time is -1/2.
    measured = np.diff(frames[:, 100:300, 100:300].astype(np.float64), axis=0) / math.sqrt(2)
    gain = measured.var() / frames[:, 100:300, 100:300].mean()
    response = Response("LIN", top=65000.0, dark_quanta=1.0, bright_quanta=65000 / gain, knee_quanta=0.4)
    camera = flat_detector(response=response, correlation=0.0, read_noise_quanta=0.0)
    noise = flat_noise(camera, quanta=frames[:, 100:300, 100:300].mean() / gain, frames=8)
    simulated = np.diff(noise, axis=0) / math.sqrt(2)
    assert simulated.std() == pytest.approx(measured.std(), rel=0.02)
    for axis in (0, 1, 2):
        assert correlation_at(simulated, axis) == pytest.approx(correlation_at(measured, axis), abs=0.02)


def test_display_noise_is_as_flat_as_measured():
    """Sigma 5.5-6.3 at grey 20-160 of 255: a ratio of 1.15 between the greatest and the least."""
    response = Response("DISP", top=255.0, dark_quanta=1.0, bright_quanta=160.0, knee_quanta=0.2)
    display = flat_detector(response=response, bits=8)
    exposures = torch.logspace(math.log10(2.0), math.log10(75.0), 12)
    sigmas, greys = [], []
    for quanta in exposures:
        noise = flat_noise(display, float(quanta), frames=4, size=128)
        sigmas.append(noise.std())
        greys.append(float(display.expect(torch.full((1, 40, 40), float(quanta))).mean()))
    inside = [sigma for sigma, grey in zip(sigmas, greys, strict=True) if 20 <= grey <= 160]
    assert len(inside) >= 8
    assert max(inside) / min(inside) < 1.16
    assert 5.5 * 0.95 < np.mean(inside) < 6.3 * 1.05
    law = display.law(torch.linspace(4, 70, 1000)[None])
    assert law.gain == 0
    assert law.read_noise == pytest.approx(np.mean(inside), rel=0.06)


def test_the_vendor_s_recursion_gives_the_measured_differences():
    """Sigma of differences over sqrt 2 is 6.3, 7.6, 8.2, 8.4 at lags 1-4, and 8.6 far apart."""
    detector = flat_detector(vendor_recursion=0.45)
    noise = flat_noise(detector, frames=30, size=128)
    scale = 8.6 / noise.std()
    for lag, measured in zip((1, 2, 3, 4), (6.3, 7.6, 8.2, 8.4), strict=True):
        assert scale * (noise[lag:] - noise[:-lag]).std() / math.sqrt(2) == pytest.approx(measured, rel=0.025)
    assert noise[0].std() == pytest.approx(noise[-1].std(), rel=0.03)
    mean = np.full(1, 100 + 50 * detector.response.gain)
    assert noise.var() == pytest.approx(detector.law(torch.full((1, 4, 4), 50.0)).variance(mean)[0], rel=0.03)


@pytest.mark.parametrize("recursion", [0.0, 0.45])
def test_a_run_ramps_up_as_measured(recursion):
    """Frames 0, 1, 2 have sigma 32, 14.5, 10 before 8.6, and frame 0 is 0.80 x + 30 on a scale of 255."""
    detector = flat_detector(ramp_up=True, vendor_recursion=recursion)
    noise = flat_noise(detector, quanta=200.0, frames=16, size=128)
    sigma = 8.6 * noise.std((1, 2)) / noise[6:].std()
    assert sigma[:3] == pytest.approx([32, 14.5, 10], rel=0.06)
    assert sigma[5:] == pytest.approx(8.6, rel=0.04)
    clean = detector.expect(torch.full((3, 64, 64), 200.0))
    assert clean[0].mean() == pytest.approx(RAMP_GAIN * float(clean[1].mean()) + RAMP_OFFSET * 65535, rel=1e-4)


def test_lag_carries_part_of_a_frame_into_the_next():
    exposure = torch.full((3, 64, 64), 10.0)
    exposure[0] = 100.0
    seen = flat_detector(lag=0.1).expect(exposure).mean((1, 2))
    unlagged = flat_detector().expect(exposure).mean((1, 2))
    assert float(seen[1]) == pytest.approx(float(0.9 * unlagged[1] + 0.1 * unlagged[0]), rel=1e-4)
    assert float(seen[2]) == pytest.approx(float(unlagged[2]), rel=1e-4)


@pytest.mark.parametrize("quanta", [5.0, 120.0])
def test_the_mean_dose_is_the_one_asked_for(quanta):
    settings = replace(SMALL, quanta=quanta, bits=16, correlation=0.0)
    run = simulate(settings, 1)
    # A white linear detector has gain grey levels a quantum, so the law gives the quanta back.
    assert (run.clean.mean() - run.noise.pedestal) / run.noise.gain == pytest.approx(quanta, rel=1e-3)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("domain", ["LIN", "LOG", "DISP"])
def test_stored_values_keep_to_their_bits(bits, domain):
    noisy = simulate(replace(SMALL, frames=2, bits=bits, domain=domain), 8).noisy
    assert noisy.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert 0.3 * 2**bits < noisy.max() <= 2**bits - 1
    assert np.mean(noisy == 2**bits - 1) < 0.001


def test_a_tool_moves_at_the_speed_stated():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        tool = make_tool("markers", rng, 256, 256, 24, speed_px=5.0, attenuation=0.5, width_px=2.0)
        image = draw_tools([tool], 24, 256, 256, margin=100)
        rows, columns = np.mgrid[:456, :456]
        centres = np.stack([(image * axis).sum((1, 2)) / image.sum((1, 2)) for axis in (columns, rows)], 1)
        assert np.linalg.norm(np.diff(centres, axis=0), axis=1).mean() == pytest.approx(5.0, rel=0.05)


@pytest.mark.parametrize("width_px", [1.0, 2.4, 4.0])
def test_a_wire_is_as_dark_and_as_wide_as_stated(width_px):
    sigma = width_px / 2.355
    points = np.stack([np.full(2000, 32.3), np.arange(2000) * 0.05 - 20], 1)
    image = np.zeros((64, 64), np.float32)
    add_spots(image, points, np.full(2000, sigma), np.full(2000, line_weight(0.4, sigma, 0.05)))
    expected = 0.4 * np.exp(-0.5 * ((np.arange(64) - 32.3) / sigma) ** 2)
    assert np.abs(image[20:44] - expected).max() < 0.004


def test_without_tools_is_clean_where_there_is_no_tool():
    settings = replace(SMALL, size=(160, 160), tools=("markers",), tool_attenuation=(0.5, 0.5), quanta=100.0, bits=14)
    run = simulate(settings, 3)
    difference = (run.without_tools - run.clean) / run.noise.variance(run.clean) ** 0.5
    assert difference.max() > 1
    touched = np.abs(difference) > 0.02
    assert 0 < touched.mean() < 0.2
    none = simulate(replace(settings, tools=()), 3)
    assert np.array_equal(none.clean, none.without_tools)


def test_a_still_scene_stands_still_and_a_moving_one_does_not():
    assert np.ptp(simulate(STILL, 2).clean, axis=0).max() == 0
    moving = simulate(replace(SMALL, tools=()), 2).clean
    assert np.abs(np.diff(moving, axis=0)).mean() > 0


def test_a_pan_moves_the_whole_picture_by_its_speed():
    settings = replace(STILL, pan_px=2.0, tools=(), size=(128, 128), frames=2, layers=1, scatter_fraction=0.0)
    first, second = simulate(settings, 11).clean
    cross = np.fft.fft2(first - first.mean()) * np.conj(np.fft.fft2(second - second.mean()))
    peak = np.fft.ifft2(cross / np.abs(cross)).real
    row, column = np.unravel_index(peak.argmax(), peak.shape)
    shift = np.hypot((row + 64) % 128 - 64, (column + 64) % 128 - 64)
    assert shift == pytest.approx(2.0 * 0.95, abs=0.75)


def test_water_attenuates_by_its_thickness():
    ct = np.full((10, 60, 80), -1000, np.int16)
    ct[:, 20:50, 10:70] = 0
    slabs = ct_slabs(ct, (2.0, 1.0, 1.0), 0.0, pixel_mm=1.0, texture=0.0)
    assert slabs.shape == (3, 20, 80)
    assert slabs.sum(0)[5:15, 30:50] == pytest.approx(30 * WATER_PER_MM, rel=1e-3)
    turned = ct_slabs(ct, (2.0, 1.0, 1.0), 90.0, pixel_mm=1.0, texture=0.0)
    assert turned.shape == (3, 20, 60)
    assert turned.sum(0)[5:15, 30:40] == pytest.approx(60 * WATER_PER_MM, rel=1e-3)


@pytest.mark.parametrize("slabs", [1, 2, 5])
def test_slabs_share_out_all_of_the_body(slabs):
    weights = slab_weights(97, slabs)
    assert torch.allclose(weights.sum(0), torch.ones(97))
    assert weights.min() >= 0


def test_a_run_can_be_made_of_slabs():
    slabs = np.random.default_rng(0).random((2, 60, 300)).astype(np.float32)
    assert simulate(replace(SMALL, anatomy="slabs"), 1, slabs).noisy.shape == (4, 96, 80)
    with pytest.raises(InputError, match="slabs"):
        simulate(replace(SMALL, anatomy="slabs"), 1)


def test_contrast_arrives_and_darkens_vessels():
    with_contrast = replace(STILL, contrast_agent=1.0, frames=40, tools=(), frame_time_s=0.1)
    clean = simulate(with_contrast, 3).clean
    assert np.abs(clean[-1] - clean[0]).max() > 0.05 * clean.mean()


def test_random_settings_are_seeded_plain_and_varied():
    drawn = [random_settings(np.random.default_rng(seed)) for seed in range(300)]
    assert drawn[0] == random_settings(np.random.default_rng(0))
    assert all(json.dumps(vars(settings)) for settings in drawn)
    quanta = np.array([settings.quanta for settings in drawn])
    assert quanta.min() < 8 and quanta.max() > 1000 and 0.8 < np.mean(quanta < 300) < 0.97
    assert {settings.domain for settings in drawn} == {"LIN", "LOG", "DISP"}
    assert random_settings(np.random.default_rng(0), quanta=7.0).quanta == 7.0


def test_a_saved_run_loads_the_same(tmp_path):
    run = simulate(SMALL, 9)
    save_simulated(run, tmp_path / "run")
    loaded = load_simulated(tmp_path / "run")
    assert isinstance(loaded.noisy, np.memmap)
    assert np.array_equal(loaded.noisy, run.noisy) and np.array_equal(loaded.clean, run.clean)
    assert (loaded.settings, loaded.seed, loaded.noise) == (run.settings, run.seed, run.noise)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    with pytest.raises(InputError, match="settings.json"):
        load_simulated(tmp_path / "absent")


@pytest.mark.parametrize("seed", range(6))
def test_what_blinks_is_there_or_not_and_never_half(seed):
    image = draw_blinking(np.random.default_rng(seed), 1, 9, 64, 64, margin=8, noise=0.1)
    peaks = np.abs(image).max((1, 2))
    seen = peaks > 0
    assert 0 < seen.sum() < 9 and peaks[seen].max() <= 0.5
    np.testing.assert_array_equal(image[seen], np.broadcast_to(image[seen][0], image[seen].shape))


def test_blinking_things_belong_to_the_tools_and_change_nothing_else():
    still = dict(size=(64, 64), frames=6, breathing_px=0.0, heart_px=0.0, tools=(), quanta=50.0)
    without, blinking = (simulate(SimulationSettings(**still, blinking=count), seed=1) for count in (0, 12))
    ratio = blinking.without_tools.mean() / without.without_tools.mean()
    np.testing.assert_allclose(blinking.without_tools, ratio * without.without_tools, rtol=0.05)
    changes = np.abs(np.diff(blinking.clean, axis=0)).max((1, 2))
    assert np.abs(np.diff(without.clean, axis=0)).max() < 1e-3 * without.clean.mean() < 0.05 * changes.max()
