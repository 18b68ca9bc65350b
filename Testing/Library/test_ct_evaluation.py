"""The measures of CT: each gives what is known where the answer is known."""

import dataclasses

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.ct_noise import blur
from FluoroDenoiseLib.evaluation import ct_metrics as metrics
from FluoroDenoiseLib.evaluation import ct_observer as observer
from FluoroDenoiseLib.evaluation.ct_methods import methods
from FluoroDenoiseLib.evaluation.ct_report import CtRow, judge, pooled, table
from FluoroDenoiseLib.evaluation.ct_scenes import anatomy, phantom
from FluoroDenoiseLib.evaluation.ct_observer import Disc

RNG = np.random.default_rng(0)


def blurred(image, sigma):
    return blur(torch.from_numpy(image.astype(np.float32))[None, None], sigma)[0, 0].numpy()


def test_vif_is_one_for_the_truth_and_falls_with_noise():
    truth = np.clip(RNG.normal(40, 60, (2, 64, 64)), -160, 240)
    assert metrics.vif(truth, truth) == pytest.approx(1, abs=1e-3)
    assert metrics.vif(truth + RNG.normal(0, 20, truth.shape), truth) > metrics.vif(truth + RNG.normal(0, 60, truth.shape), truth)


def test_noise_power_integrates_to_the_variance():
    noise = RNG.normal(0, 10, (30, 64, 64))
    frequencies, power = metrics.noise_power(noise, pixel_mm=0.5)
    assert power[2:-2].mean() == pytest.approx(100 * 0.25, rel=0.05)
    soft = np.stack([blurred(one, 1.0) for one in noise])
    assert metrics.mean_frequency(*metrics.noise_power(soft, 0.5)) < 0.6 * metrics.mean_frequency(frequencies, power)


def test_noise_left_does_not_count_a_slope():
    region = np.zeros((40, 40), bool)
    region[10:30, 10:30] = True
    ramp = np.add.outer(np.arange(40.0), np.arange(40.0))[None]
    assert metrics.noise_left(ramp, [region]) < 1e-6
    assert metrics.noise_left(ramp + RNG.normal(0, 5, (8, 40, 40)), [region]) == pytest.approx(5, rel=0.05)


def test_detectability_is_that_of_the_matched_filter_for_white_noise():
    disc, sigma = Disc(20.0, 20.0, 4.0, 5.0), 20.0
    thing = observer.disc_image((41, 41), disc)
    channels = observer.laguerre_gauss(29, 14.0)
    present = observer.responses(RNG.normal(0, sigma, (600, 41, 41)) + thing, [(20, 20)], channels)[:, 0]
    absent = observer.responses(RNG.normal(0, sigma, (600, 41, 41)), [(20, 20)], channels)[:, 0]
    best = np.sqrt((thing**2).sum()) / sigma
    assert 0.8 * best < np.sqrt(observer.detectability_squared(present, absent)) < 1.1 * best


def test_where_there_is_nothing_nothing_is_detected_on_the_average():
    channels = observer.laguerre_gauss(21, 8.0)
    found = [observer.detectability_squared(RNG.normal(size=(10, 4)), RNG.normal(size=(200, 4))) for _ in range(300)]
    assert channels.shape == (4, 21, 21) and abs(np.mean(found)) < 0.15


def test_a_blur_costs_an_observer_nothing_and_erasing_the_discs_everything(monkeypatch):
    monkeypatch.setattr(observer, "BOOTSTRAPS", 60)
    scene = phantom(repeats=12)
    soft = np.stack([blurred(one, 0.7) for one in scene.noisy])
    same = observer.compare_detectability(scene.noisy, soft, scene.discs, scene.absent)
    assert abs(same.more) < 0.4 and same.low < 0 < same.high
    erased = scene.noisy - scene.truth
    assert observer.compare_detectability(scene.noisy, erased, scene.discs, scene.absent).high < 0


@pytest.mark.parametrize("sigma", [0.8, 1.6])
def test_the_edge_of_a_disc_tells_the_blur(sigma):
    disc = Disc(31.5, 31.5, 14.0, 300.0)
    image = blurred(observer.disc_image((64, 64), disc, 0.2), sigma)
    expected = np.sqrt(np.log(2) / 2) / (np.pi * sigma)  # where exp(-2 (pi sigma f)^2) is a half
    assert observer.half_frequency(*observer.transfer(image, disc, 1.0)) == pytest.approx(expected, rel=0.15)


def test_contrast_that_is_halved_is_half():
    thing = observer.disc_image((21, 21), Disc(10, 10, 3, 30.0))
    ground = RNG.normal(0, 10, (21, 21))
    assert observer.contrast_kept(ground + 0.5 * thing, ground, thing) == pytest.approx(0.5)


def test_a_restorer_that_does_nothing_changes_nothing_and_one_that_erases_loses_lesions():
    y, x = np.mgrid[:96, :96] - 47.5
    truth = np.broadcast_to(np.where(np.hypot(y, x) < 44, 20.0, -1000.0), (5, 96, 96))
    scene = anatomy(truth, 1.0, dose=1.0)
    scene = dataclasses.replace(scene, lesions=[(2, Disc(40, 40, 2.5, 40.0)), (2, Disc(60, 50, 2.5, 40.0))])
    row = judge(scene, "noisy", lambda slices: slices).row
    assert row.bias == 0 and row.contrast == pytest.approx(1, abs=1e-3) and row.shown == 2 and row.lost == 0
    erased = judge(scene, "erased", lambda slices: scene.truth.astype(np.float32)).row
    assert erased.lost == 2 and erased.psnr > row.psnr
    assert erased.faded == 2 and row.faded == 0
    assert "| erased |" in table([row, erased])


def test_a_strength_mixes_what_a_model_makes_with_the_slices():
    class Erases:
        radius, name = 1, "erases"

        def __call__(self, windows):
            return torch.zeros_like(windows[:, 1])

        def finish(self, noisy, estimates, centre, pixel_mm, slice_mm):
            assert len(noisy) == len(estimates) == 1  # repeats are no neighbours
            return estimates[0]

    scene = phantom(0.1, 2, 0)
    (_, noisy), (name, restore) = methods(scene, [Erases()], (), strength=0.75)
    assert name == "erases, strength 0.75"
    np.testing.assert_allclose(restore(scene.noisy), 0.25 * noisy(scene.noisy), rtol=1e-5)


def test_places_together_add_lesions_up_and_take_the_mean_of_squares():
    places = [CtRow("one", "ours", psnr=20.0, rmse=3.0, bias=0.5, shown=4, lost=1, faded=0, contrast=0.6),
              CtRow("two", "ours", psnr=30.0, rmse=4.0, bias=0.2, shown=5, lost=2, faded=1, contrast=0.8),
              CtRow("one", "noisy", psnr=10.0, shown=4, lost=0)]
    ours, noisy = pooled(places, "both")
    assert (ours.scene, ours.method, ours.shown, ours.lost, ours.faded, ours.bias) == ("both", "ours", 9, 3, 1, 0.5)
    assert ours.psnr == pytest.approx(-10 * np.log10((10**-2 + 10**-3) / 2)) and ours.rmse == pytest.approx(12.5**0.5)
    assert ours.contrast == pytest.approx(0.7) and np.isnan(ours.dprime) and noisy.psnr == pytest.approx(10)
