"""What a training is for: the one thing that the loop does not know."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn


class Objective(Protocol):
    """What a training minimises, what it learns from, and how it is judged without a clean image."""

    description: str  # one sentence about the data for the card; nothing about patients
    manifest: dict[str, str]  # piece of data (run_0000, teacher, ...) -> SHA-256 of its content
    facts: dict  # what the card says of the data, of bits, dose and frame rate: plain values, see Bank.facts

    def losses(self, network: nn.Module, step: int, clips: range) -> NamedTuple:
        """The terms for these clips of this step, already weighted: their sum is minimised. Clip k depends on the seed,
        the step and k alone; torch is seeded before the call, which happens at the recipe's precision."""
        ...

    def risk(self, network: nn.Module) -> float | None:
        """How wrong the network is, lower is better, from noisy frames alone; None keeps the last weights. Called with
        the averaged weights in evaluation mode, without gradient, in float32, torch seeded alike each time."""
        ...

    def previews(self, network: nn.Module) -> list[Tensor]:
        """Pictures [H, W] for one row of the strip, the best of them last since the others are shown through its window;
        may be []. Called as `risk` is."""
        ...
