"""How the layers of a scene move: breathing, heart beat and the pan of the C-arm, each layer in its own way.

A layer is an attenuation image larger than the field. A frame looks at it through a smooth field of displacements, so
no border ever comes into view and every motion is sub-pixel.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LayerMotion:
    """Displacement of one layer: shifts [T, 2] of the whole, and amounts [T] of each smooth field [2, H, W].

    In pixels, x then y.
    """

    shifts: np.ndarray
    fields: tuple[np.ndarray, ...]
    amounts: tuple[np.ndarray, ...]

    def displacement(self, frame: int) -> np.ndarray:
        """Where this frame looks in the layer, relative to its own pixels: float32 [2, H, W]."""
        total = np.broadcast_to(self.shifts[frame][:, None, None], self.fields[0].shape)
        for field, amount in zip(self.fields, self.amounts, strict=True):
            total = total + field * np.float32(amount[frame])
        return total

    def reach(self) -> float:
        """A bound on the displacement of any pixel, in pixels."""
        smooth = sum(np.abs(f).max() * np.abs(a).max() for f, a in zip(self.fields, self.amounts, strict=True))
        return float(np.abs(self.shifts).max() + smooth)


def pan_path(rng: np.random.Generator, frames: int, speed_px: float, room_px: float = 60.0) -> np.ndarray:
    """Offsets [T, 2] of a pan at constant speed along one line, turning back wherever it is room_px from the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    travelled = speed_px * (np.arange(frames) - (frames - 1) / 2)
    if frames * speed_px > 2 * room_px:
        travelled = room_px * (2 * np.abs((travelled / (2 * room_px)) % 2 - 1) - 1)
    return travelled[:, None] * np.array([np.cos(angle), np.sin(angle)])


def layer_motions(
    rng: np.random.Generator,
    layers: int,
    height: int,
    width: int,
    times_s: np.ndarray,
    breathing_px: float,
    breath_period_s: float,
    heart_px: float,
    heart_rate_hz: float,
    pan: np.ndarray,
) -> list[LayerMotion]:
    """One motion a layer, back to front: the back hardly breathes, the middle beats, the front rises with each breath.

    breathing_px, heart_px: about the largest displacement from rest; pan: [T, 2], shared by all, a little faster
    towards the front as magnification has it.
    """
    y, x = np.mgrid[:height, :width].astype(np.float32)
    away_x, away_y = (x - width / 2) / max(height, width), (y - height / 2) / max(height, width)
    breath = np.sin(2 * np.pi * times_s / breath_period_s + rng.uniform(0, 2 * np.pi))
    beat = _heart_beat(times_s * heart_rate_hz + rng.random())
    motions = []
    for layer in range(layers):
        depth = layer / max(1, layers - 1)
        share = rng.uniform(0.2, 0.4) if layer == 0 else rng.uniform(0.7, 1.0)
        lean = rng.normal(0, 0.15)
        shifts = pan * (0.95 + 0.1 * depth)
        shifts = shifts + breathing_px * share * breath[:, None] * np.array([lean, 0.7])
        stretch = np.stack([0.15 * away_x, 0.6 * away_y])
        roll = np.stack([-away_y, away_x]) * rng.normal(0, 0.15)
        centre_x, centre_y, size = rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75), rng.uniform(0.2, 0.4)
        dx, dy = x / width - centre_x, y / height - centre_y
        bell = np.exp(-(dx**2 + dy**2) / (2 * size**2)) / (size * 0.6)
        twist = rng.normal(0, 0.3)
        squeeze = np.stack([dx - twist * dy, dy + twist * dx]) * bell
        heart_share = np.clip(1.0 - 1.4 * abs(depth - 0.5), 0.1, 1.0) if layers > 1 else 1.0
        motions.append(
            LayerMotion(
                shifts.astype(np.float32),
                ((stretch + roll).astype(np.float32), squeeze.astype(np.float32)),
                (breathing_px * share * breath, heart_px * heart_share * beat),
            )
        )
    return motions


def _heart_beat(phase: np.ndarray) -> np.ndarray:
    """Contraction, 0 at rest to 1: a third of each cycle squeezes, the rest relaxes slowly."""
    cycle = phase % 1.0
    return np.where(cycle < 0.35, np.sin(np.pi * cycle / 0.7) ** 2, np.cos(np.pi * (cycle - 0.35) / 1.3) ** 2)


def look_through(layer: Tensor, displacement: np.ndarray) -> Tensor:
    """What a field of [H, W] sees of layer [H', W'], bicubic; with no displacement it looks at the layer's middle."""
    height, width = displacement.shape[1:]
    full_height, full_width = layer.shape
    displacement = torch.from_numpy(displacement)
    x = torch.arange(width)[None, :] + (full_width - width) / 2 + displacement[0]
    y = torch.arange(height)[:, None] + (full_height - height) / 2 + displacement[1]
    grid = torch.stack([2 * x / (full_width - 1) - 1, 2 * y / (full_height - 1) - 1], -1)
    layer, grid = layer[None, None], grid[None]
    return functional.grid_sample(layer, grid, mode="bicubic", padding_mode="reflection", align_corners=True)[0, 0]
