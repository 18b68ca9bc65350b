"""CT models ready to restore: Hounsfield units in, Hounsfield units out; what a network's own scale is, stays in here."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import torch
from torch import Tensor

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.ct_kept import neighbours, put_back
from FluoroDenoiseLib.ct_noise import noise_level
from FluoroDenoiseLib.ct_window import from_window, to_window
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.model_folder import Model, load_model

KINDS = ("ct-slices", "ct-cycle")


class CtRestorer:
    """Windows of slices [B, 2*radius+1, H, W] in HU -> their centres [B, H, W] in HU, of any size, on the device of `compute`.

    radius: neighbouring slices needed on each side. A slice without neighbours comes as copies of itself. network_alone: leave
    out what is put back after the network (ct_kept.py), to see what that does.
    """

    def __init__(self, model: Model, compute: Compute, network_alone: bool = False) -> None:
        kind = model.card["recipe"]["kind"]
        if kind not in KINDS:
            raise ModelError(f"Model {model.name} is for fluoroscopy, not for CT; use --preset ct, or a model trained on CT.")
        self.radius, self.name, self.sha256, self.card = model.restorer.radius, model.name, model.sha256, model.card
        self._network, self._compute, self._network_alone = model.restorer, compute, network_alone
        self._restore: Callable[[Tensor], Tensor] = self._in_noise if kind == "ct-slices" else self._in_window

    def __call__(self, windows_hu: Tensor) -> Tensor:
        """What the network makes of the slices; `finish` comes after it."""
        with torch.inference_mode(), self._compute.autocast():
            return self._restore(windows_hu.to(self._compute.torch_device, torch.float32))

    def reach(self, slice_mm: float) -> int:
        """How many neighbours on each side `finish` makes use of, of slices that are slice_mm apart."""
        return 0 if self._network_alone else neighbours(slice_mm)

    def finish(self, noisy_hu: Tensor, estimates_hu: Tensor, centre: int, pixel_mm: float, slice_mm: float) -> Tensor:
        """Slice number `centre` [H, W] as it is given out, from noisy slices [N, H, W] and the network's estimates of them."""
        if self._network_alone:
            return estimates_hu[centre]
        with torch.inference_mode():
            return put_back(noisy_hu.to(estimates_hu), estimates_hu, centre, pixel_mm, slice_mm)

    def _in_noise(self, windows: Tensor) -> Tensor:
        """Of a network that sees units of the noise of the centre."""
        level = noise_level(windows[:, self.radius])
        return self._network(windows / level[:, None]).float() * level

    def _in_window(self, windows: Tensor) -> Tensor:
        """Of a network that sees half soft-tissue windows."""
        return from_window(self._network(to_window(windows)).float())


def load_ct_restorer(name_or_folder: str | Path, compute: Compute, tile: int | None = None, network_alone: bool = False) -> CtRestorer:
    """A shipped CT model by its name, or one's own by its folder. ModelError where it is absent, altered, or not for CT."""
    return CtRestorer(load_model(name_or_folder, compute, tile), compute, network_alone)
