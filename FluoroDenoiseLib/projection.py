"""A CT volume as an X-ray sees it: line integrals of attenuation at an angle, in slabs of depth that can move apart."""

import math

import numpy as np
import torch
from torch.nn import functional

from .anatomy import random_field
from .errors import InputError

WATER_PER_MM = 0.0206  # linear attenuation of water at 60 keV (NIST XCOM)


def attenuation_per_mm(ct_hu: np.ndarray) -> np.ndarray:
    """Linear attenuation at 60 keV, 1/mm, of Hounsfield units.

    A fifth steeper in bone, whose calcium stops more at 60 keV than at the higher mean energy of a CT.
    """
    hu = np.clip(ct_hu, -1000, 3000).astype(np.float32)
    return WATER_PER_MM * (1 + hu / 1000 + 0.2 * np.maximum(hu - 150, 0) / 1000)


def ct_slabs(
    ct_hu: np.ndarray,
    spacing_mm: tuple[float, float, float],
    angle_deg: float,
    slabs: int = 3,
    pixel_mm: float = 0.3,
    texture: float = 0.01,
    seed: int = 0,
) -> np.ndarray:
    """Line integrals of attenuation, float32 [S, H, W] with no unit, back slab first; their sum is the whole body.

    ct_hu: [Z, Y, X] Hounsfield units, Z along the patient; spacing_mm: (z, y, x); angle_deg: about Z, 0 looks along Y
    and 90 along X. Rays are parallel. Neighbouring slabs fade into each other (their weights sum to 1 everywhere), so
    no cut surface shows when they move apart. pixel_mm: of the picture, finer than the CT, bicubic between its voxels;
    texture: standard deviation of the fine detail added below the CT's own resolution, per slab and relative to it.
    """
    if np.ndim(ct_hu) != 3:
        raise InputError(f"A CT volume has three axes but this one has shape {np.shape(ct_hu)}; give [Z, Y, X].")
    if slabs < 1:
        raise InputError(f"{slabs} slabs cannot hold a body; ask for 1 or more.")
    mu = torch.from_numpy(attenuation_per_mm(np.asarray(ct_hu)))
    depth_z, depth_y, depth_x = mu.shape
    dz, dy, dx = spacing_mm
    angle = math.radians(angle_deg)
    breadth = abs(depth_x * dx * math.cos(angle)) + abs(depth_y * dy * math.sin(angle))
    depth = abs(depth_x * dx * math.sin(angle)) + abs(depth_y * dy * math.cos(angle))
    step = min(dx, dy)
    # A hair less than the quotient: cos 90 degrees is not quite zero, and must not add a column.
    columns, rays = math.ceil(breadth / step - 1e-3), math.ceil(depth / step - 1e-3)
    across = (torch.arange(columns) - (columns - 1) / 2) * step
    along = (torch.arange(rays) - (rays - 1) / 2) * step
    x_mm = across[None, :] * math.cos(angle) - along[:, None] * math.sin(angle)
    y_mm = across[None, :] * math.sin(angle) + along[:, None] * math.cos(angle)
    # Coordinates of grid_sample with align_corners=False: -1 and 1 are the volume's outer faces.
    grid = torch.stack([2 * x_mm / (depth_x * dx), 2 * y_mm / (depth_y * dy)], -1)
    weights = slab_weights(rays, slabs)
    lines = torch.empty(slabs, depth_z, columns)
    for first in range(0, depth_z, 16):
        slices = mu[first : first + 16, None]
        turned = functional.grid_sample(slices, grid[None].expand(len(slices), -1, -1, -1), align_corners=False)
        lines[:, first : first + 16] = torch.einsum("zdw,sd->szw", turned[:, 0], weights) * step
    size = (max(1, round(depth_z * dz / pixel_mm)), max(1, round(columns * step / pixel_mm)))
    fine = functional.interpolate(lines[None], size=size, mode="bicubic", align_corners=False)[0].clamp(min=0).numpy()
    rng = np.random.default_rng(seed)
    for slab in fine:
        slab *= 1 + texture * random_field(rng, *size, slope=1.5, longest_px=2 * step / pixel_mm)
    return fine


def slab_weights(rays: int, slabs: int) -> torch.Tensor:
    """Share of each slab in each depth, [S, D], back first: cosine ramps a third of a slab wide; columns sum to 1."""
    position = (torch.arange(rays) + 0.5) / rays * slabs
    edges = [torch.ones(rays)]
    for edge in range(1, slabs):
        ramp = ((position - edge) / 0.33 + 0.5).clamp(0, 1)
        edges.append(0.5 - 0.5 * torch.cos(math.pi * ramp))
    edges.append(torch.zeros(rays))
    return torch.stack([edges[index] - edges[index + 1] for index in range(slabs)])
