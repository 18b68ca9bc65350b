"""What is put back after a CT network: small things come back, noise hardly, and Hounsfield units are kept."""

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.compute import choose
from FluoroDenoiseLib.ct_denoise import denoise_slices
from FluoroDenoiseLib.ct_kept import MOST_NEIGHBOURS, SHARE, neighbours, put_back
from FluoroDenoiseLib.ct_noise import local_deviation
from FluoroDenoiseLib.ct_restorer import load_ct_restorer
from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise
from FluoroDenoiseLib.ct_volume import CtVolume
from FluoroDenoiseLib.evaluation.ct_observer import Disc, contrast_kept, disc_image
from FluoroDenoiseLib.model_folder import build_network, save_model
from FluoroDenoiseLib.recipe import CtSlicesRecipe

SIDE, PLACE = 128, (60.0, 66.0)
AREA = np.s_[45:76, 51:82]
WATER = torch.full((1, SIDE, SIDE), 30.0)


@pytest.fixture(scope="module")
def noise():
    scanner = Scanner(quanta=3e5, softness=0.6, bowtie_radius_mm=60)
    return ct_noise(WATER[0], 1.0, 0.1, scanner, torch.Generator().manual_seed(0), 4)


def lesion(contrast, pixel_mm=1.0, diameter_mm=5.0):
    return torch.from_numpy(disc_image((SIDE, SIDE), Disc(*PLACE, diameter_mm / 2 / pixel_mm, contrast)).astype(np.float32))


def alone(noisy, restored, pixel_mm=1.0):
    """What is put back into slices [B, H, W] that are no neighbours."""
    return torch.stack([put_back(one[None], other[None], 0, pixel_mm, 1.0) for one, other in zip(noisy, restored)])


def share_of(contrast, ground, pixel_mm=1.0):
    """Of a lesion under this noise, after a network that erases lesion and noise alike."""
    thing = lesion(contrast, pixel_mm)
    with_it, without = (alone(WATER + ground + more, WATER, pixel_mm)[0].numpy() for more in (thing, 0 * thing))
    return contrast_kept(with_it[AREA], without[AREA], thing.numpy()[AREA])


def test_a_slice_that_was_not_changed_comes_back_as_it_is(noise):
    slices = WATER + noise
    assert torch.equal(alone(slices, slices.clone()), slices)
    assert torch.equal(put_back(slices[:3], slices[:3].clone(), 1, 1.0, 1.0), slices[1])


@pytest.mark.parametrize("pixel_mm", [0.5, 1.0])
def test_a_lesion_that_was_erased_comes_back_in_part_and_almost_whole_where_it_stood_out(noise, pixel_mm):
    faint, strong = (share_of(contrast, noise[:1], pixel_mm) for contrast in (3.0, 600.0))
    assert SHARE / 2 < faint < SHARE + 0.2  # the blur takes a little of the share, chance may add to it
    assert strong > 0.75
    assert share_of(60.0, 0 * noise[:1], pixel_mm) > 0.75  # nothing else was removed: all of it stands out


def test_what_is_fainter_than_the_noise_comes_back_in_proportion(noise):
    """Linear where nothing stands out, so that a faint thing is no less above its noise than before."""
    flat = 1e-3 * noise
    assert share_of(0.02, flat[:1]) == pytest.approx(share_of(0.04, flat[:1]), rel=0.02)


def test_of_pure_noise_little_comes_back(noise):
    restored = alone(WATER + noise, WATER.expand(4, -1, -1)) - WATER
    assert float(restored.std() / noise.std()) < 0.25


def test_the_local_mean_is_that_of_the_noisy_slice(noise):
    thing = lesion(300.0)
    given = WATER + noise + thing
    back = alone(given, WATER.expand(4, -1, -1))
    middle = np.s_[:, 32:96, 32:96]
    assert float((back - given)[middle].mean(0).mean().abs()) < 0.5
    assert alone(given + 40, WATER + 40 + 0 * given).allclose(back + 40, atol=1e-2)


def test_the_deviation_of_noise_is_found_beside_something_strong(noise):
    found = local_deviation(noise + lesion(500.0), WATER + noise)
    assert float(found[:, 40:90, 40:90].mean() / noise[:, 40:90, 40:90].std()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("pixel_mm", [0.01, 8.0])
@pytest.mark.parametrize("slice_mm", [0.01, 8.0])
def test_any_spacing_gives_numbers(noise, pixel_mm, slice_mm):
    assert put_back(WATER + noise[:3], WATER.expand(3, -1, -1), 1, pixel_mm, slice_mm).isfinite().all()


@pytest.mark.parametrize(("slice_mm", "count"), [(0.1, MOST_NEIGHBOURS), (1.0, 3), (1.5, 2), (3.0, 1), (5.0, 0)])
def test_slices_share_in_what_comes_back_as_far_as_a_small_thing_reaches(slice_mm, count):
    assert neighbours(slice_mm) == count


def test_neighbours_bring_twice_as_much_of_a_thing_back_with_no_more_noise():
    """Of a thing through slices 1 mm apart, each with its own noise, after a network that erases all of it."""
    scanner, thing = Scanner(quanta=3e5, softness=0.6, bowtie_radius_mm=60), lesion(1.0)
    shares, left = {"stack": [], "single": [], "end": []}, {"stack": [], "single": [], "end": []}
    for seed in range(3):
        own = ct_noise(WATER[0], 1.0, 0.1, scanner, torch.Generator().manual_seed(seed), 7)
        for name, part, centre in (("stack", np.s_[:], 3), ("end", np.s_[3:], 0), ("single", np.s_[3:4], 0)):
            ground, erased = WATER + own[part], WATER.expand(7, -1, -1)[part]
            with_it, without = (put_back(ground + more, erased, centre, 1.0, 1.0) for more in (thing, 0 * thing))
            shares[name].append(contrast_kept(with_it.numpy()[AREA], without.numpy()[AREA], thing.numpy()[AREA]))
            left[name].append(float(without.std()))
    assert np.mean(shares["stack"]) > 1.5 * np.mean(shares["single"])
    assert np.mean(shares["stack"]) > np.mean(shares["end"]) > 1.2 * np.mean(shares["single"])  # at an end of a volume
    assert max(np.mean(left["stack"]), np.mean(left["end"])) < 1.1 * np.mean(left["single"])


def test_slices_too_far_apart_are_not_mixed(noise):
    stack = put_back(WATER + noise[:3], WATER.expand(3, -1, -1), 1, 1.0, 12.0)
    assert stack.allclose(put_back(WATER + noise[1:2], WATER, 0, 1.0, 12.0), atol=1e-3)


def test_a_small_slice_has_no_window_of_its_own():
    given = torch.randn(1, 20, 24, generator=torch.Generator().manual_seed(0))
    assert alone(given, torch.zeros_like(given)).shape == given.shape


@pytest.fixture
def restorers(tmp_path):
    torch.manual_seed(0)
    recipe = CtSlicesRecipe(name="tiny", radius=1, widths=(8, 8), blocks=1)
    save_model(tmp_path, build_network(recipe).state_dict(), recipe, {})
    compute = choose("cpu", "float32")
    return load_ct_restorer(tmp_path, compute), load_ct_restorer(tmp_path, compute, network_alone=True), compute


@pytest.mark.parametrize(("slice_mm", "near"), [(5.0, [[0], [1], [2], [3]]), (3.0, [[0, 1], [0, 1, 2], [1, 2, 3], [2, 3]])])
def test_a_volume_is_restored_slice_by_slice_as_a_whole_and_with_what_is_put_back(noise, restorers, slice_mm, near):
    kept, network, compute = restorers
    hu = (WATER + noise + lesion(60.0)).numpy()
    volume = CtVolume.from_array(hu, (slice_mm, 0.5, 0.5))
    streamed = torch.from_numpy(np.stack([one.clean_hu for one in denoise_slices(volume, kept, compute)]))
    noisy = torch.from_numpy(hu)
    estimates = network(torch.from_numpy(hu[np.array([[1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 2]])]))
    expected = torch.stack([put_back(noisy[which], estimates[which], which.index(index), 0.5, slice_mm) for index, which in enumerate(near)])
    assert streamed.allclose(expected, atol=1e-3)
    assert not streamed.allclose(estimates, atol=1)
    without = np.stack([one.clean_hu for one in denoise_slices(volume, network, compute)])
    assert torch.from_numpy(without).allclose(estimates, atol=1e-3)


def test_strength_0_gives_the_volume_back_bit_for_bit(noise, restorers):
    kept, _, compute = restorers
    hu = (WATER + noise).numpy().round().astype(np.int16)
    results = denoise_slices(CtVolume.from_array(hu), kept, compute, strength=0)
    assert np.array_equal(np.stack([one.result for one in results]), hu)
