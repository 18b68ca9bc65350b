"""Anatomy out of random numbers: soft tissue, heart and diaphragm, spine, ribs, and vessels that fill with contrast.

Everything is attenuation (mu times thickness, no unit) on an image of height x width pixels, features sized in mm.
"""

from dataclasses import dataclass

import numpy as np

from .tools import add_spots, line_weight, smooth_curve


def random_field(
    rng: np.random.Generator, height: int, width: int, slope: float = 3.0, longest_px: float = 300.0
) -> np.ndarray:
    """A random picture [H, W] of mean 0 and standard deviation 1 whose power falls as frequency to the -slope.

    longest_px: waves longer than this are no stronger than it.
    """
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    amplitude = (fy**2 + fx**2 + longest_px**-2.0) ** (-slope / 4)
    amplitude[0, 0] = 0
    white = rng.standard_normal((height, width), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude.astype(np.float32), s=(height, width))
    return (field / field.std()).astype(np.float32)


def procedural_layers(
    rng: np.random.Generator, height: int, width: int, layers: int, pixel_mm: float
) -> list[np.ndarray]:
    """Attenuation images [H, W], back to front: spine and ribs behind; heart, diaphragm, organs; ribs in front."""
    images = []
    spine_x = width * rng.uniform(0.2, 0.8)
    for layer in range(layers):
        depth = layer / max(1, layers - 1)
        image = 0.2 * random_field(rng, height, width, slope=4.2) + 0.05 * random_field(rng, height, width, slope=2.8)
        if depth < 0.34:
            image += _spine(rng, height, width, spine_x, pixel_mm) * (rng.random() < 0.7)
            image += _ribs(rng, height, width, spine_x, pixel_mm, falling=0.35) * (rng.random() < 0.8)
        elif depth < 0.67:
            image += _organs(rng, height, width, pixel_mm)
            image += 0.03 * random_field(rng, height, width, slope=2.2, longest_px=25)
        else:
            image += _ribs(rng, height, width, spine_x, pixel_mm, falling=-0.45) * (0.7 * (rng.random() < 0.6))
        images.append((image - image.min()).astype(np.float32))
    return images


def _ribs(
    rng: np.random.Generator, height: int, width: int, spine_x: float, pixel_mm: float, falling: float
) -> np.ndarray:
    """Hollow curved bands on both sides of the spine, bright cortical edges and a spongy inside."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pitch, radius = rng.uniform(26, 36) / pixel_mm, rng.uniform(4.5, 7) / pixel_mm
    away = np.abs(x - spine_x)
    slope = falling * rng.uniform(0.6, 1.3)
    sag = rng.uniform(0.0004, 0.0016) * pixel_mm / 0.3
    middle = slope * away - np.sign(falling) * sag * away**2 * 0.3
    tilt = np.hypot(1, slope - np.sign(falling) * 0.6 * sag * away)
    # Folding the height by the pitch draws all ribs at once.
    distance = np.abs((y - middle + rng.uniform(0, pitch)) % pitch - pitch / 2) / tilt
    wobble = 1 + 0.08 * random_field(rng, height, width, 4.0, 120)
    texture = 1 + 0.12 * random_field(rng, height, width, 1.5, 8)
    return 0.45 * _tube(distance, radius * wobble, 0.8) * texture * _soft_step((away - 8 / pixel_mm) / 3)


def _tube(distance: np.ndarray, radius: np.ndarray, hollow: float) -> np.ndarray:
    """Chord through a hollow cylinder seen from the side, 1 at most: two bright edges and a fainter middle."""
    outer = np.sqrt(np.maximum(1 - (distance / radius) ** 2, 0))
    inner = np.sqrt(np.maximum(1 - (distance / (hollow * radius)) ** 2, 0))
    return (outer - 0.75 * hollow * inner) / np.sqrt(1 - hollow**2)


def _soft_step(distance_px: np.ndarray) -> np.ndarray:
    """0 below, 1 above, about four pixels wide."""
    return 1 / (1 + np.exp(-np.clip(distance_px, -30, 30)))


def _spine(rng: np.random.Generator, height: int, width: int, spine_x: float, pixel_mm: float) -> np.ndarray:
    """A column of vertebrae: rounded boxes with dense end plates, two ring-like pedicles and a spinous process each."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pitch = rng.uniform(30, 40) / pixel_mm
    half_width, half_height = rng.uniform(15, 22) / pixel_mm, 0.39 * pitch
    bend, waves = rng.uniform(-6, 6) / pixel_mm, rng.uniform(0.3, 0.8)
    across = x - spine_x - bend * np.sin(2 * np.pi * waves * y / height + rng.uniform(0, 2 * np.pi))
    up = (y + rng.uniform(0, pitch)) % pitch - pitch / 2
    waist = 1 - 0.12 * np.cos(np.pi * np.clip(up / half_height, -1, 1) / 2)
    inside = np.minimum(half_width * waist - np.abs(across), half_height - np.abs(up))
    body = _soft_step(inside / 0.8)
    cortex = np.exp(-((inside / (1.0 / pixel_mm)) ** 2) / 2)
    column = 0.45 * body * (1 + 0.15 * random_field(rng, height, width, 1.8, 10)) + 0.25 * cortex
    for side in (-1, 1):
        ring = np.hypot((across - side * 0.6 * half_width) / 0.75, up + 0.25 * half_height) - 4.2 / pixel_mm
        column += 0.22 * np.exp(-((ring / (1.1 / pixel_mm)) ** 2) / 2)
    process = np.hypot(across / (2.5 / pixel_mm), (up - 0.35 * half_height) / (7 / pixel_mm))
    return column + 0.2 * _soft_step((1 - process) * 2.5 / pixel_mm / 0.8)


def _organs(rng: np.random.Generator, height: int, width: int, pixel_mm: float) -> np.ndarray:
    """Heart, diaphragm and one or two more ellipsoids: thickness rises steeply from a sharp, slightly wavy outline."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image = np.zeros((height, width), np.float32)
    for _ in range(rng.integers(1, 4)):
        half = rng.uniform(25, 70, 2) / pixel_mm
        turn = rng.uniform(0, np.pi)
        dx, dy = x - width * rng.uniform(0, 1), y - height * rng.uniform(0, 1)
        along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
        ratio = (along / half[0]) ** 2 + (across / half[1]) ** 2
        ratio *= 1 + 0.05 * random_field(rng, height, width, 4, 150)
        # Three in ten are lighter than what surrounds them: lung, bowel gas.
        thickness = rng.choice([-1, 1], p=[0.3, 0.7]) * rng.uniform(0.3, 0.9)
        image += thickness * np.sqrt(np.maximum(1 - ratio, 0))
    if rng.random() < 0.6:
        top, middle = height * rng.uniform(0.5, 0.9), width * rng.uniform(0.2, 0.8)
        dome = top + ((x - middle) * pixel_mm / 140) ** 2 * 90 / pixel_mm
        below = np.maximum(y - dome, 0) * pixel_mm
        image += rng.uniform(0.6, 1.3) * (1 - np.exp(-np.sqrt(below / 8)))
    return image


@dataclass(frozen=True)
class VesselTree:
    """attenuation [H, W] when full; arrival [H, W], the way of the blood from the entry, 0 to 1."""

    attenuation: np.ndarray
    arrival: np.ndarray

    def filled(self, progress: float) -> np.ndarray:
        """Attenuation while contrast has come this far: 0 none, 1 full, 2 and more washed out again."""
        come = _soft_step((progress - self.arrival) * 25)
        gone = _soft_step((progress - 1.0 - 0.8 * self.arrival) * 8)
        return self.attenuation * (come * (1 - 0.9 * gone)).astype(np.float32)


def vessel_tree(rng: np.random.Generator, height: int, width: int, attenuation: float, pixel_mm: float) -> VesselTree:
    """A tapering tree that comes in from the rim and branches; attenuation: of the widest trunk at its middle."""
    full, weighted = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    centre, around = np.array([width, height]) / 2, rng.uniform(0, 2 * np.pi)
    start = centre + 0.4 * np.array([width * np.cos(around), height * np.sin(around)])
    trunk = rng.uniform(1.2, 2.4) / pixel_mm
    branches = [(start, around + np.pi + rng.uniform(-0.4, 0.4), trunk, 0.0)]
    longest = 1.5 * max(height, width)
    for _ in range(80):
        if not branches:
            break
        begin, heading, radius, way = branches.pop(0)
        length = rng.uniform(6, 16) * radius + 6 / pixel_mm
        curve = smooth_curve(rng, begin, heading, length, 0.35, 0.5)
        along = np.linspace(0, 1, len(curve))
        sigma = np.maximum(radius * (1 - 0.12 * along) / 1.6, 0.45)
        weight = line_weight(attenuation * sigma * 1.6 / trunk, sigma, 0.5)
        add_spots(full, curve, sigma, weight)
        add_spots(weighted, curve, sigma, weight * (way + along * length) / longest)
        last = curve[-1] - curve[-5]
        heading, side = np.arctan2(last[1], last[0]), rng.choice([-1, 1])
        # The vessel goes on, a little thinner; a thinner one still leaves it to the side.
        onward = (-side * rng.uniform(0, 0.3), rng.uniform(0.8, 0.93))
        aside = (side * rng.uniform(0.4, 1.1), rng.uniform(0.5, 0.7))
        for turn, share in (onward, aside):
            if radius * share > 0.3 / pixel_mm:
                branches.append((curve[-1], heading + turn, radius * share, way + length))
    arrival = weighted / np.maximum(full, 1e-4)
    return VesselTree(full, arrival / max(float(arrival.max()), 1e-3))
