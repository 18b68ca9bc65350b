"""Low-dose CT: the texture and the strength of tomography's noise, and back-projection that gives back what was projected."""

import dataclasses

import numpy as np
import pytest
import torch

from FluoroDenoiseLib.ct_projection import angles_of, back_project, bins_of, project
from FluoroDenoiseLib.ct_simulation import Scanner, ct_noise, line_integrals
from FluoroDenoiseLib.errors import InputError

SIDE = 96
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
WATER = torch.from_numpy(np.where(np.hypot(Y, X) < 40, 0.0, -1000.0).astype(np.float32))
SCANNER = Scanner(quanta=1e5, bowtie_radius_mm=80)


def noise(dose, count=12, seed=0, slice_hu=WATER, scanner=SCANNER, **options):
    return ct_noise(slice_hu, 2.0, dose, scanner, torch.Generator().manual_seed(seed), count, **options)


def test_back_projection_gives_back_what_was_projected():
    disc = torch.from_numpy((np.hypot(Y - 6, X + 10) < 20).astype(np.float32))
    angles = angles_of(180)
    again = back_project(project(disc, angles)[None], angles, (SIDE, SIDE), softness=0.5)[0]
    inside = np.hypot(Y - 6, X + 10) < 15
    assert again[inside].mean() == pytest.approx(1, abs=0.01)
    assert abs(again[np.hypot(Y - 6, X + 10) > 26].mean()) < 0.01


def test_a_part_of_the_slice_is_made_as_the_whole_is():
    angles, area = angles_of(60), (slice(10, 30), slice(50, 90))
    sinogram = torch.randn(2, 60, bins_of(SIDE, SIDE), generator=torch.Generator().manual_seed(0))
    whole = back_project(sinogram, angles, (SIDE, SIDE))
    assert torch.allclose(back_project(sinogram, angles, (SIDE, SIDE), area=area), whole[(slice(None), *area)], atol=1e-6)


def test_the_longest_way_through_water_attenuates_as_water_does():
    assert float(line_integrals(WATER, 2.0, 90).max()) == pytest.approx(80 * 2 * 0.0192, rel=0.02)


def test_a_tenth_of_the_dose_has_ten_times_the_variance():
    quiet = dataclasses.replace(SCANNER, electrons=0.0)
    low, full = (noise(dose, scanner=quiet)[:, 30:66, 30:66].var() for dose in (0.1, 1.0))
    assert float(low / full) == pytest.approx(10, rel=1e-3)


def test_the_noise_of_full_dose_and_what_is_missing_make_that_of_low_dose():
    centre = np.s_[:, 30:66, 30:66]
    full, missing, low = noise(1.0)[centre].var(), noise(0.25, already=True)[centre].var(), noise(0.25)[centre].var()
    assert float((full + missing) / low) == pytest.approx(1, rel=1e-3)
    assert not noise(1.0, count=1, already=True).any()


def test_neighbouring_pixels_share_noise_as_the_kernel_says_and_there_is_none_at_frequency_zero():
    def correlation(softness, lag):
        made = noise(0.5, 16, scanner=dataclasses.replace(SCANNER, softness=softness))[:, 24:72, 24:72]
        return float((made[..., lag:] * made[..., :-lag]).mean() / made.square().mean())

    assert 0.2 < correlation(0.6, 1) < 0.45 and -0.15 < correlation(0.6, 2) < 0.02
    assert correlation(1.0, 1) > correlation(0.6, 1) > correlation(0.0, 1)
    made = noise(0.5, 16)[:, 32:64, 32:64]
    assert float(made.mean((1, 2)).std() / made.std()) < 0.1 / 2


def test_a_dose_that_is_none_is_refused():
    with pytest.raises(InputError, match="between 0.01 and 1"):
        noise(0.0)
