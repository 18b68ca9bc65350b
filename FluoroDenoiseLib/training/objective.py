"""What a training is for: the one thing that the loop does not know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Beside:
    """What learns beside the network, and is not kept in the model.

    partner: learns with the network, from the same losses and by the same optimiser. opponent: learns after it in every
    step, from `Objective.opposition`, by an optimiser of its own. Buffers of both (an image pool) are kept in
    checkpoints; they must be the same in all processes. momentum: the first of both optimisers.
    """

    partner: nn.Module
    opponent: nn.Module
    momentum: float = 0.5


class Objective(Protocol):
    """What a training minimises, what it learns from, and how it is judged without a clean image."""

    description: str  # one sentence about the data for the card; nothing about patients
    manifest: dict[str, str]  # piece of data (run_0000, teacher, ...) -> SHA-256 of its content
    facts: dict  # what the card says of the data, of bits, dose and frame rate: plain values, see Bank.facts

    # Optional: `beside: Beside`, and then opposition(network, step, clips) -> NamedTuple, called as `losses` is, right after
    # it for the same clips: what the opponent minimises. What `losses` made may be kept for it; nothing else may.

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
