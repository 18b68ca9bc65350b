"""Low-dose CT with known truth: noise goes into the projections and takes the road of filtered back-projection.

    L = line integrals of mu = mu_water (1 + HU / 1000),   N = quanta * dose * bowtie * exp(-L) of a ray
    noise of a line integral: variance 1 / N + (electrons / N)^2, less that of full dose where the slice already has it
    noise of the slice: filtered back-projection of that, which is linear, so the slice itself is not reconstructed

The slice keeps its resolution; texture, streaks between bones and the growth towards the middle are those of tomography.
Zeng et al. 2015 (doi 10.1088/0031-9155/60/4/1649) do so with raw data; here the geometry is a parallel beam and the logarithm
is taken as linear, which holds above about ten quanta a ray; below, N is held there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from FluoroDenoiseLib.ct_projection import Area, angles_of, back_project, bins_of, project
from FluoroDenoiseLib.errors import InputError

WATER_PER_MM = 0.0192  # at 70 keV, about the mean energy of 120 kVp
FEWEST_QUANTA = 10.0
ROUGH_ANGLES = 45  # line integrals vary slowly with the angle, noise does not


@dataclass(frozen=True)
class Scanner:
    """quanta: of a ray at full dose without a patient, for a bin of 1 mm. softness: of the kernel, 0 sharp to 1 soft.

    electrons: of the electronics' noise, in quanta. bowtie: 0 for none, 1 for one that flattens a water disc of
    bowtie_radius_mm. angles: projections for each pixel along the diagonal.
    """

    quanta: float = 2e6
    softness: float = 0.5
    electrons: float = 3.0
    bowtie: float = 0.5
    bowtie_radius_mm: float = 150.0
    angles: float = 1.0


def line_integrals(slice_hu: Tensor, pixel_mm: float, count: int) -> Tensor:
    """Attenuation [count, N] of a slice [H, W] of Hounsfield units, no unit; below -1000 HU nothing attenuates."""
    attenuation = WATER_PER_MM * pixel_mm * (1 + slice_hu.float().clamp(min=-1000) / 1000)
    rough = project(attenuation, angles_of(ROUGH_ANGLES))
    # The first angle comes again, mirrored, after half a turn.
    rough = torch.cat([rough, rough[:1].flip(-1)])
    place = torch.arange(count) * (ROUGH_ANGLES / count)
    before = place.long()
    return torch.lerp(rough[before], rough[before + 1], (place - before)[:, None])


def noise_variance(integrals: Tensor, pixel_mm: float, dose: float, scanner: Scanner) -> Tensor:
    """Of each line integral at this share of the full dose."""
    bins = integrals.shape[-1]
    distance_mm = (torch.arange(bins, device=integrals.device) - bins // 2) * pixel_mm
    chord_mm = 2 * (scanner.bowtie_radius_mm**2 - distance_mm**2).clamp(min=0).sqrt()
    bowtie = torch.exp(scanner.bowtie * WATER_PER_MM * (chord_mm - 2 * scanner.bowtie_radius_mm))
    reaching = (scanner.quanta * dose * pixel_mm * bowtie * torch.exp(-integrals)).clamp(min=FEWEST_QUANTA)
    return 1 / reaching + (scanner.electrons / reaching) ** 2


def ct_noise(
    slice_hu: Tensor, pixel_mm: float, dose: float, scanner: Scanner, generator: torch.Generator, count: int = 1,
    already: bool = False, area: Area | None = None,
) -> Tensor:
    """`count` independent noise images [count, H, W] in HU that a scan of this slice at this dose has.

    dose: share of the full one, 0.01 to 1. already: the slice has the noise of full dose, and only what is missing is made;
    at dose 1 that is nothing. area: (rows, columns) to make the noise of. InputError for a dose out of range.
    """
    if not 0.01 <= dose <= 1:
        raise InputError(f"Dose is {dose} but must lie between 0.01 and 1 of the full dose; correct it.")
    height, width = slice_hu.shape
    angles = angles_of(max(ROUGH_ANGLES, round(scanner.angles * bins_of(height, width))))
    integrals = line_integrals(slice_hu, pixel_mm, len(angles))
    variance = noise_variance(integrals, pixel_mm, dose, scanner)
    if already:
        variance = (variance - noise_variance(integrals, pixel_mm, 1.0, scanner)).clamp(min=0)
    to_hu = 1000 / (WATER_PER_MM * pixel_mm)
    noise = torch.randn(count, *integrals.shape, generator=generator) * variance.sqrt()
    return to_hu * back_project(noise, angles, (height, width), scanner.softness, area)
