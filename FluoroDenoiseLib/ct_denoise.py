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

    def __call__(self, windows_hu: Tensor) -> Tensor:
        """[B, 2 * radius + 1, H, W] float32 Hounsfield units -> estimates [B, H, W] of the slices in the middle."""
        ...

    def reach(self, slice_mm: float) -> int:
        """How many neighbouring estimates on each side `finish` makes use of, of slices that are slice_mm apart."""
        ...

    def finish(self, noisy_hu: Tensor, estimates_hu: Tensor, centre: int, pixel_mm: float, slice_mm: float) -> Tensor:
        """Noisy slices [N, H, W] and their estimates -> [H, W], the result for number `centre` of them.

        N: 2 * reach + 1, or fewer at an end. pixel_mm: the spacing of the pixels within the slices.
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
    outside: np.ndarray


def denoise_slices(
    volume: CtVolume, restorer: SliceRestorer, compute: Compute, strength: float = 1.0, check: Callable[[], None] = lambda: None
) -> Iterator[Restored]:
    """The slices of a volume in their order, each read and estimated once. Memory: 2 * (radius + reach) + 1 slices.

    At the ends of the volume, and at gaps, the network's window is mirrored. strength: 0 gives the stored values back as they are, 1
    the full effect, between them a mixture. check() is called before every slice and may raise.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"Strength is {strength} but must lie between 0 (unchanged) and 1 (full effect).")
    for stack in volume.stacks:
        held = _Stack(volume, stack, restorer, compute)
        for centre in stack:
            check()
            yield held.restored(centre, strength)
            held.forget_what_only_served(centre)


def denoise_slice(volume: CtVolume, index: int, restorer: SliceRestorer, compute: Compute, strength: float = 1.0) -> Restored:
    """One slice of a volume, as denoise_slices gives it; only its neighbourhood is read."""
    stack = next(stack for stack in volume.stacks if index in stack)
    return _Stack(volume, stack, restorer, compute).restored(index, strength)


def reach_of(restorer: SliceRestorer, volume: CtVolume) -> int:
    """How many slices on each side a result depends on."""
    return restorer.radius + restorer.reach(volume.spacing_mm[0])


class _Stack:
    """Slices that follow each other: those that were read and those that were estimated, as far as they are still needed."""

    def __init__(self, volume: CtVolume, stack: range, restorer: SliceRestorer, compute: Compute) -> None:
        self._volume, self._stack, self._restorer, self._compute = volume, stack, restorer, compute
        self._slice_mm = volume.spacing_mm[0]
        self._reach = restorer.reach(self._slice_mm)
        self._slices: dict[int, _Slice] = {}
        self._estimates: dict[int, Tensor] = {}

    def restored(self, index: int, strength: float) -> Restored:
        values, centre = self._volume.values[index], self._slice(index)
        noisy_hu = centre.hu.cpu().numpy()
        if strength == 0 or centre.outside.all():
            return Restored(centre.stored, noisy_hu, noisy_hu, centre.stored)
        first, last = self._stack.start, self._stack.stop
        near = range(max(first, index - self._reach), min(last, index + self._reach + 1))
        estimates = torch.stack([self._estimate(number) for number in near])
        noisy = torch.stack([self._slice(number).hu for number in near])
        finished = self._restorer.finish(noisy, estimates, near.index(index), self._volume.pixel_mm, self._slice_mm)
        clean_hu = (centre.hu + strength * (finished - centre.hu)).cpu().numpy()
        clean_hu[centre.outside] = noisy_hu[centre.outside]
        return Restored(centre.stored, noisy_hu, clean_hu, np.where(centre.outside, centre.stored, values.to_stored(clean_hu)))

    def forget_what_only_served(self, centre: int) -> None:
        first = centre + 1 - self._reach
        self._estimates = {index: one for index, one in self._estimates.items() if index >= first}
        self._slices = {index: one for index, one in self._slices.items() if index >= first - self._restorer.radius}

    def _window(self, centre: int) -> list[int]:
        return [self._stack[index] for index in window_indices(centre - self._stack.start, self._restorer.radius, len(self._stack))]

    def _slice(self, index: int) -> _Slice:
        if index not in self._slices:
            stored, values = self._volume.slices[index], self._volume.values[index]
            hu = torch.from_numpy(values.to_hu(stored)).to(self._compute.torch_device)
            self._slices[index] = _Slice(stored, hu, values.outside(stored))
        return self._slices[index]

    @torch.no_grad()
    def _estimate(self, index: int) -> Tensor:
        if index not in self._estimates:
            self._estimates[index] = self._estimated(index)
        return self._estimates[index]

    def _estimated(self, index: int) -> Tensor:
        centre = self._slice(index)
        if centre.outside.all():
            return centre.hu
        window = torch.stack([self._slice(number).hu for number in self._window(index)])
        with self._compute.autocast():
            estimate = self._restorer(window[None]).float()[0]
        if not torch.isfinite(estimate).all():
            precision = self._compute.precision
            way_out = "choose another model, or train it again" if precision == "float32" else "use --precision float32"
            raise ModelError(f"The network gives numbers that are not finite at slice {index} in {precision}; {way_out}.")
        return estimate
