"""From noisy frames to clean ones, a frame at a time.

    stored -> stabilised (noise of sigma 1) -> recursion -> restorer -> stored

`FrameDenoiser.push` is the one road: live use pushes frames as they come, a stored run is the loop over it. The same
numbers come out either way, because a frame is only ever restored from its own window.
"""

from __future__ import annotations

import warnings
from collections import deque
from dataclasses import replace
from typing import Iterable, Iterator, NamedTuple, Sequence

import numpy as np
import torch
from torch import Tensor

from FluoroDenoiseLib.compute import Compute, choose
from FluoroDenoiseLib.errors import ModelError
from FluoroDenoiseLib.noise import NoiseEstimate, estimate_noise
from FluoroDenoiseLib.recursion import BothWaysRecursion, Recursion
from FluoroDenoiseLib.tiling import Restorer
from FluoroDenoiseLib.windows import window_indices


class Prepared(NamedTuple):
    """A frame with all that the restorer needs of it."""

    stored: Tensor  # [H, W]
    stabilised: Tensor  # [H, W]
    guides: Tensor | None  # [2 or 4, H, W]


class FrameDenoiser:
    """Denoises one run, frame by frame. One instance serves one run.

    Frames come out late by the restorer's radius, by batch - 1 and, for guides from both sides, by the recursion's
    block and look-ahead; `flush` gives the rest. Memory holds that many frames, however long the run is.

    strength: 0 gives the input back bit for bit, 1 the full effect, between them a mixture.
    """

    def __init__(
        self, restorer: Restorer, noise: NoiseEstimate, compute: Compute, batch: int = 8, strength: float = 1.0
    ):
        if not 0 <= strength <= 1:
            raise ValueError(f"Strength is {strength} but must lie between 0 (unchanged) and 1 (full effect).")
        if batch < 1:
            raise ValueError(f"Batch is {batch} but must be 1 or more.")
        self.restorer, self.noise, self.compute = restorer, noise, compute
        self.batch, self.strength = batch, strength
        recursion = Recursion(noise_correlation=noise.spatial_correlation)
        self._recursion = BothWaysRecursion(recursion) if restorer.guides == "both" else recursion
        self._state = None
        self._waiting: deque[Tensor] = deque()  # stored frames that are still inside the recursion
        self._prepared: deque[Prepared] = deque()  # the frames that windows can still reach
        self._first = 0  # position in the run of self._prepared[0]
        self._next = 0  # the next frame to restore

    @torch.no_grad()
    def push(self, frame: np.ndarray | Tensor) -> list[Tensor]:
        """Take the next frame, [H, W] stored values; give those now ready, float32 stored values, oldest first."""
        stored = torch.as_tensor(np.asarray(frame, np.float32)).to(self.compute.torch_device)
        if self.noise.model.is_noiseless or self.strength == 0:
            return [stored]
        stabilised = self.noise.model.stabilise(stored)
        self._waiting.append(stored)
        self._prepare(stabilised)
        arrived = self._first + len(self._prepared)
        ready = arrived - self.restorer.radius - self._next
        return self._restore(ready - ready % self.batch, arrived)

    @torch.no_grad()
    def flush(self) -> list[Tensor]:
        """The run is over: give the frames still held."""
        if isinstance(self._recursion, BothWaysRecursion):
            for step in self._recursion.flush():
                self._keep(step.frame, _both_guides(step))
        count = self._first + len(self._prepared)
        return self._restore(count - self._next, count)

    def _prepare(self, stabilised: Tensor) -> None:
        if self.restorer.guides == "none":
            self._keep(stabilised, None)
        elif self.restorer.guides == "causal":
            step, self._state = self._recursion.step(stabilised, self._state)
            self._keep(stabilised, torch.stack([step.prediction, step.prediction_variance.sqrt()]))
        else:
            for step in self._recursion.push(stabilised):
                self._keep(step.frame, _both_guides(step))

    def _keep(self, stabilised: Tensor, guides: Tensor | None) -> None:
        self._prepared.append(Prepared(self._waiting.popleft(), stabilised, guides))

    def _restore(self, ready: int, count: int) -> list[Tensor]:
        """The next `ready` frames. `count`: how many frames the run has as far as known."""
        restored = []
        while ready > 0:
            # On the CPU a batch gains nothing, and its size would change the last bits of a convolution.
            size = min(ready, self.batch) if self.compute.torch_device.type != "cpu" else 1
            restored += self._restore_batch(range(self._next, self._next + size), count)
            self._next += size
            ready -= size
        while self._prepared and self._first < self._next - self.restorer.radius:
            self._prepared.popleft()
            self._first += 1
        return restored

    def _restore_batch(self, centres: range, count: int) -> list[Tensor]:
        at = lambda index: self._prepared[index - self._first]
        windows = torch.stack(
            [
                torch.stack([at(i).stabilised for i in window_indices(centre, self.restorer.radius, count)])
                for centre in centres
            ]
        )
        guides = None if self.restorer.guides == "none" else torch.stack([at(centre).guides for centre in centres])
        clean = self.noise.model.unstabilise(self._finite_estimate(windows, guides, centres[0]))
        return [mixed(at(centre).stored, one, self.strength) for centre, one in zip(centres, clean)]

    def _finite_estimate(self, windows: Tensor, guides: Tensor | None, frame: int) -> Tensor:
        """What the restorer gives, float32, [B, H, W]. Half precision that overflows is left for good, which is said."""
        with self.compute.autocast():
            estimate = self.restorer(windows, guides).float()
        if torch.isfinite(estimate).all():
            return estimate
        if self.compute.precision == "float32":
            raise ModelError(f"The network gives numbers that are not finite at frame {frame}; choose another model, or train it again.")
        warnings.warn(f"The network gives numbers that are not finite at frame {frame} in {self.compute.precision}; it goes on "
                      "in float32, which is slower.", stacklevel=2)
        self.compute = replace(self.compute, precision="float32")
        return self._finite_estimate(windows, guides, frame)


def mixed(stored: Tensor, clean: Tensor, strength: float) -> Tensor:
    """The frame [H, W] with `strength` of its noise taken away and its mean as it was.

    A network may err by a thousandth of the range, the mean of so many pixels does not: it decides. A frame of one
    value has no noise to take away, and comes back as it is.
    """
    removed = stored - clean if stored.min() < stored.max() else torch.zeros_like(stored)
    return stored - strength * (removed - removed.mean(dtype=torch.float64).to(removed.dtype))


def _both_guides(step) -> Tensor:
    return torch.stack([step.forward, step.forward_variance.sqrt(), step.backward, step.backward_variance.sqrt()])


def denoise_frames(frames: Iterable[np.ndarray], denoiser: FrameDenoiser) -> Iterator[Tensor]:
    """Clean frames in order, as many as come in; memory does not grow with their number."""
    for frame in frames:
        yield from denoiser.push(frame)
    yield from denoiser.flush()


def denoise(
    frames: Sequence[np.ndarray],
    model,
    noise: NoiseEstimate | None = None,
    compute: Compute | None = None,
    batch: int = 8,
    strength: float = 1.0,
) -> np.ndarray:
    """A clean copy of a run: [T, H, W] stored values in, float32 [T, H, W] stored values out.

    model: from load_model. noise: estimated from the frames when not given.
    """
    compute = compute or choose()
    noise = noise or estimate_noise(frames)
    denoiser = FrameDenoiser(model.restorer, noise, compute, batch, strength)
    return np.stack([clean.cpu().numpy() for clean in denoise_frames(frames, denoiser)])
