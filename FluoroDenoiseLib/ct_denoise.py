"""From noisy slices to clean ones, a slice at a time, in Hounsfield units; memory holds a window, however long the volume is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.ct_volume import CtVolume
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.windows import window_indices


class SliceRestorer(Protocol):
    """Every CT network is one. radius: neighbouring slices needed on each side. name, sha256: of the model, for the result."""

    radius: int
    name: str
    sha256: str

    def __call__(self, windows_hu: Tensor, pixel_mm: float) -> Tensor:
        """[B, 2 * radius + 1, H, W] float32 Hounsfield units -> [B, H, W], those of the slices in the middle.

        pixel_mm: the spacing of the pixels within the slices.
        """
        ...


class Restored(NamedTuple):
    """One slice. stored: as it was read; noisy_hu, clean_hu: float32; result: clean, in stored values before rounding,
    with the pixels outside the picture bit for bit as they were. All [H, W]."""

    stored: np.ndarray
    noisy_hu: np.ndarray
    clean_hu: np.ndarray
    result: np.ndarray


class _Slice(NamedTuple):
    stored: np.ndarray
    hu: Tensor


def denoise_slices(
    volume: CtVolume, restorer: SliceRestorer, compute: Compute, strength: float = 1.0, check: Callable[[], None] = lambda: None
) -> Iterator[Restored]:
    """The slices of a volume in their order, each read once. Memory: 2 * radius + 1 slices.

    At the ends of the volume, and at gaps, the window is mirrored. strength: 0 gives the stored values back as they are, 1
    the full effect, between them a mixture. check() is called before every slice and may raise.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"Strength is {strength} but must lie between 0 (unchanged) and 1 (full effect).")
    for stack in volume.stacks:
        held: dict[int, _Slice] = {}
        for centre in stack:
            check()
            window = [stack[index] for index in window_indices(centre - stack.start, restorer.radius, len(stack))]
            for index in {*window, centre} - set(held):
                held[index] = _slice(volume, index, compute)
            yield _restored(volume, centre, [held[index].hu for index in window], held[centre], restorer, compute, strength)
            needed = centre + 1 - restorer.radius
            held = {index: one for index, one in held.items() if index >= needed}


def denoise_slice(volume: CtVolume, index: int, restorer: SliceRestorer, compute: Compute, strength: float = 1.0) -> Restored:
    """One slice of a volume, as denoise_slices gives it; only its window is read."""
    stack = next(stack for stack in volume.stacks if index in stack)
    window = [stack[number] for number in window_indices(index - stack.start, restorer.radius, len(stack))]
    held = {number: _slice(volume, number, compute) for number in {*window, index}}
    return _restored(volume, index, [held[number].hu for number in window], held[index], restorer, compute, strength)


def _slice(volume: CtVolume, index: int, compute: Compute) -> _Slice:
    stored = volume.slices[index]
    return _Slice(stored, torch.from_numpy(volume.values[index].to_hu(stored)).to(compute.torch_device))


@torch.no_grad()
def _restored(
    volume: CtVolume, index: int, window: list[Tensor], centre: _Slice, restorer: SliceRestorer, compute: Compute, strength: float
) -> Restored:
    values, noisy_hu = volume.values[index], centre.hu.cpu().numpy()
    outside = values.outside(centre.stored)
    if strength == 0 or outside.all():
        return Restored(centre.stored, noisy_hu, noisy_hu, centre.stored)
    with compute.autocast():
        estimate = restorer(torch.stack(window)[None], volume.pixel_mm).float()[0]
    if not torch.isfinite(estimate).all():
        way_out = "choose another model, or train it again" if compute.precision == "float32" else "use --precision float32"
        raise ModelError(f"The network gives numbers that are not finite at slice {index} in {compute.precision}; {way_out}.")
    clean_hu = (centre.hu + strength * (estimate - centre.hu)).cpu().numpy()
    clean_hu[outside] = noisy_hu[outside]
    return Restored(centre.stored, noisy_hu, clean_hu, np.where(outside, centre.stored, values.to_stored(clean_hu)))
