"""The scale of the networks that see Hounsfield units as they are: half soft-tissue windows from the window's centre."""

from __future__ import annotations

from torch import Tensor

CENTRE_HU = 40.0
HALF_HU = 200.0  # the window is -160 to 240 HU


def to_window(hu: Tensor) -> Tensor:
    """-1 at the lower end of the soft-tissue window, 1 at the upper, not clipped."""
    return (hu - CENTRE_HU) / HALF_HU


def from_window(values: Tensor) -> Tensor:
    return values * HALF_HU + CENTRE_HU
