"""Guidewires, catheters, stents, markers and leads: what moves through a scene, drawn without jagged edges.

A tool is a set of points along curves, dense enough that the sum of small Gaussian spots is a smooth line of
attenuation; each point carries its spot's size and height. Moving the points moves the tool by any fraction of a pixel.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Tool:
    """points: [T, N, 2] positions (x, y) in pixels of the field; sigma and weight: [N], spot size and spot height."""

    kind: str
    points: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray


def draw_tools(tools: list[Tool], frames: int, height: int, width: int, margin: int) -> np.ndarray:
    """Attenuation [T, H + 2 margin, W + 2 margin] of all tools together; where they overlap they add up."""
    image = np.zeros((frames, height + 2 * margin, width + 2 * margin), np.float32)
    for tool in tools:
        for index in range(frames):
            add_spots(image[index], tool.points[index] + margin, tool.sigma, tool.weight)
    return image


def add_spots(image: np.ndarray, points: np.ndarray, sigma: np.ndarray, weight: np.ndarray) -> None:
    """Add Gaussian spots exp(-d^2 / 2 sigma^2) * weight at points [N, 2] (x, y) to image [H, W] in place."""
    height, width = image.shape
    reach = int(np.ceil(3.5 * sigma.max())) + 1
    inside = (points > -reach).all(1) & (points[:, 0] < width + reach) & (points[:, 1] < height + reach)
    points, sigma, weight = points[inside], sigma[inside], weight[inside]
    if not len(points):
        return
    offsets = np.arange(-reach, reach + 1)
    nearest = np.rint(points).astype(np.int64)
    columns, rows = nearest[:, :1] + offsets, nearest[:, 1:] + offsets
    across = np.exp(-0.5 * ((columns - points[:, :1]) / sigma[:, None]) ** 2) * ((columns >= 0) & (columns < width))
    down = np.exp(-0.5 * ((rows - points[:, 1:]) / sigma[:, None]) ** 2) * ((rows >= 0) & (rows < height))
    spots = (weight[:, None] * down)[:, :, None] * across[:, None, :]
    where = rows.clip(0, height - 1)[:, :, None] * width + columns.clip(0, width - 1)[:, None, :]
    image += np.bincount(where.ravel(), spots.ravel(), height * width).reshape(height, width).astype(np.float32)


def line_weight(attenuation: float, sigma: float | np.ndarray, spacing: float) -> float | np.ndarray:
    """Spot height at which spots this far apart add up to a line of this attenuation along its middle."""
    return attenuation * spacing / (sigma * np.sqrt(2 * np.pi))


def make_tool(
    kind: str,
    rng: np.random.Generator,
    height: int,
    width: int,
    frames: int,
    speed_px: float,
    attenuation: float,
    width_px: float,
) -> Tool:
    """One tool of this kind at a random place; its body travels speed_px a frame on average and bends as it goes.

    attenuation: of a line, at its middle; width_px: full width at half maximum of a wire (catheters and stents take
    their own size from it). A lead lies still whatever the speed.
    """
    builders = {"guidewire": _guidewire, "catheter": _catheter, "stent": _stent, "markers": _markers, "lead": _lead}
    if kind not in builders:
        raise ValueError(f"Tool {kind!r} is not known; choose from {', '.join(builders)}.")
    shape = builders[kind](rng, height, width, attenuation, width_px)
    if kind == "lead":
        speed_px = 0.0
    points = shape.points[None] + _travel(rng, frames, speed_px, min(height, width))[:, None]
    return Tool(kind, points + _bending(rng, frames, shape.along, speed_px), shape.sigma, shape.weight)


class Shape(NamedTuple):
    """A tool at rest: points [N, 2]; spot sizes and heights [N]; along [N], 0 where held, 1 at the bending tip."""

    points: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray
    along: np.ndarray


def _travel(rng: np.random.Generator, frames: int, speed_px: float, size: int) -> np.ndarray:
    """Offsets [T, 2] along an ellipse, speed_px a frame on average; some pulse with the heart: a rush, then a rest."""
    if speed_px == 0:
        return np.zeros((frames, 2))
    long_axis = size * rng.uniform(0.1, 0.35)
    short_axis = long_axis * rng.uniform(0.1, 0.9)
    phase = np.linspace(0, 2 * np.pi, 721)
    orbit = np.stack([long_axis * np.cos(phase), short_axis * np.sin(phase)], 1)
    way = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(orbit, axis=0), axis=1))])
    pulse = rng.uniform(0, 0.9) * (rng.random() < 0.5)
    times = np.arange(frames) * rng.uniform(0.25, 0.9) + rng.uniform(0, 2 * np.pi)
    steps = 1 + pulse * np.sin(times)
    steps = steps / steps[1:].mean() if frames > 1 else steps
    travelled = (rng.uniform(0, way[-1]) + rng.choice([-1, 1]) * speed_px * np.cumsum(steps)) % way[-1]
    offsets = np.stack([np.interp(travelled, way, orbit[:, axis]) for axis in (0, 1)], 1)
    offsets -= offsets.mean(0)
    turn = rng.uniform(0, 2 * np.pi)
    return offsets @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])


def _bending(rng: np.random.Generator, frames: int, along: np.ndarray, speed_px: float) -> np.ndarray:
    """Swaying [T, N, 2] of a curve, a fifth of the speed at most, growing towards the tip, all to one side and back."""
    rate, direction = rng.uniform(0.3, 0.8), rng.uniform(0, 2 * np.pi)
    size = 0.2 * speed_px / rate * rng.random()
    phase = rate * np.arange(frames)[:, None] + rng.uniform(2, 6) * along + rng.uniform(0, 2 * np.pi)
    sway = size * along * np.sin(phase)
    return sway[..., None] * np.array([np.cos(direction), np.sin(direction)])


def _normals(curve: np.ndarray) -> np.ndarray:
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True) + 1e-9
    return np.stack([-tangent[:, 1], tangent[:, 0]], 1)


def smooth_curve(
    rng: np.random.Generator, start: np.ndarray, heading: float, length: float, curl: float, spacing: float
) -> np.ndarray:
    """Points [N, 2], evenly spaced, of a curve whose direction wanders smoothly; curl: radians of wandering."""
    count = max(8, int(length / spacing))
    along = np.linspace(0, 1, count)
    direction = heading + sum(
        curl / order * rng.normal() * np.sin(np.pi * order * along + rng.uniform(0, 2 * np.pi)) for order in (1, 2, 3)
    )
    direction += heading - direction[0]
    steps = spacing * np.stack([np.cos(direction), np.sin(direction)], 1)
    return start + np.cumsum(steps, axis=0)


def _entering(rng: np.random.Generator, height: int, width: int, curl: float, spacing: float) -> np.ndarray:
    """A curve that comes in from beyond the border and ends inside the field, tip last."""
    centre = np.array([width, height]) / 2
    tip = centre + rng.uniform(-0.35, 0.35, 2) * (width, height)
    heading = rng.uniform(0, 2 * np.pi)
    curve = smooth_curve(rng, tip, heading, 1.3 * max(height, width), curl, spacing)
    return curve[::-1]


def _guidewire(rng: np.random.Generator, height: int, width: int, attenuation: float, width_px: float) -> Shape:
    sigma = width_px / 2.355
    spacing = 0.4 * sigma + 0.15
    curve = _entering(rng, height, width, rng.uniform(0.3, 1.3), spacing)
    weight = np.full(len(curve), line_weight(attenuation, sigma, spacing))
    # The last centimetres of a wire are platinum: darker than the shaft.
    weight[-int(rng.uniform(0, 60) / spacing) - 1 :] *= rng.uniform(1.0, 2.5)
    return Shape(curve, np.full(len(curve), sigma), weight, np.linspace(0, 1, len(curve)))


def _catheter(rng: np.random.Generator, height: int, width: int, attenuation: float, width_px: float) -> Shape:
    radius, spacing = rng.uniform(2, 4), 0.6
    curve = _entering(rng, height, width, rng.uniform(0.2, 1.0), spacing)
    side = _normals(curve) * radius
    wall, body = np.full(len(curve), 0.3 * radius), np.full(len(curve), 0.55 * radius)
    points = np.concatenate([curve + side, curve - side, curve])
    sigma = np.concatenate([wall, wall, body])
    share = np.repeat([1.0, 1.0, 0.5], len(curve))
    along = np.tile(np.linspace(0, 1, len(curve)), 3)
    return Shape(points, sigma, line_weight(attenuation * share, sigma, spacing), along)


def _stent(rng: np.random.Generator, height: int, width: int, attenuation: float, width_px: float) -> Shape:
    """Rings of zigzag struts round a gently bent tube, front and back walls both seen."""
    length, radius = rng.uniform(30, 90), rng.uniform(4, 11)
    centre = np.array([width, height]) * rng.uniform(0.25, 0.75, 2)
    axis = smooth_curve(rng, centre, rng.uniform(0, 2 * np.pi), length, 0.3, 0.25)
    normal, sigma = _normals(axis), min(width_px, 2.0) / 2.355
    position = np.arange(len(axis)) * 0.25
    pitch, crowns = rng.uniform(5, 9), rng.integers(4, 8)
    rings = []
    around = np.arange(0, 2 * np.pi, 0.4 / radius)
    for ring in np.arange(pitch / 2, length, pitch):
        zigzag = np.abs((around * crowns / np.pi) % 2 - 1) - 0.5
        index = np.clip(((ring + 0.8 * pitch * zigzag) / 0.25).astype(int), 0, len(position) - 1)
        rings.append(axis[index] + normal[index] * (radius * np.cos(around))[:, None])
    points = np.concatenate(rings)
    weight = line_weight(0.5 * attenuation, sigma, 0.8)
    return Shape(points, np.full(len(points), sigma), np.full(len(points), weight), np.zeros(len(points)))


def _markers(rng: np.random.Generator, height: int, width: int, attenuation: float, width_px: float) -> Shape:
    """Two to five round markers that keep their distance: balloon bands, electrode tips."""
    count, spacing = rng.integers(2, 6), rng.uniform(8, 40)
    centre = np.array([width, height]) * rng.uniform(0.25, 0.75, 2)
    points = smooth_curve(rng, centre, rng.uniform(0, 2 * np.pi), count * spacing, 0.5, spacing)[:count]
    sigma = np.full(count, max(0.8, width_px / 1.6))
    return Shape(points, sigma, np.full(count, 1.5 * attenuation), np.zeros(count))


def _lead(rng: np.random.Generator, height: int, width: int, attenuation: float, width_px: float) -> Shape:
    """An ECG lead on the skin: a still wire that ends in a clip."""
    curve = _entering(rng, height, width, 0.8, 0.5)
    sigma = np.full(len(curve) + 1, width_px / 2.355)
    sigma[-1] = rng.uniform(3, 6)
    weight = line_weight(attenuation, sigma, 0.5)
    weight[-1] = attenuation
    return Shape(np.concatenate([curve, curve[-1:]]), sigma, weight, np.zeros(len(sigma)))


def draw_blinking(
    rng: np.random.Generator, count: int, frames: int, height: int, width: int, margin: int, noise: float
) -> np.ndarray:
    """Attenuation [T, H + 2 margin, W + 2 margin] of small things at rest that are there in some frames only.

    Discs and short wires of 1 to 5 times `noise` (the noise of attenuation in a pixel), darker or brighter than what
    lies behind: a marker let go, a puff of contrast, a step between two frames. Whoever averages frames drags them.
    """
    image = np.zeros((frames, height + 2 * margin, width + 2 * margin), np.float32)
    y, x = np.ogrid[: height + 2 * margin, : width + 2 * margin]
    for _ in range(count):
        row, column = rng.uniform(margin, height + margin), rng.uniform(margin, width + margin)
        angle, radius = rng.uniform(0, np.pi), rng.uniform(1.5, 8)
        along = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
        across = (y - row) * np.cos(angle) - (x - column) * np.sin(angle)
        if rng.random() < 0.4:
            distance = np.hypot(np.maximum(np.abs(along) - rng.uniform(10, 30), 0), across)
            radius = rng.uniform(0.7, 1.8)
        else:
            distance = np.hypot(along, across)
        peak = min(rng.uniform(1, 5) * noise, 1.0) * rng.choice([1, 1, -0.5])
        shape = peak / (1 + np.exp(np.clip((distance - radius) / 0.3, -40, 40)))
        image[_frames_of_a_blink(rng, frames)] += shape.astype(np.float32)
    return image


def _frames_of_a_blink(rng: np.random.Generator, frames: int) -> np.ndarray:
    """Where something is seen, [T] bool: until a frame, from a frame on, or for one to three frames."""
    index, turn = np.arange(frames), rng.integers(1, frames) if frames > 1 else 0
    kind = rng.integers(3)
    return index < turn if kind == 0 else index >= turn if kind == 1 else (index >= turn) & (index < turn + rng.integers(1, 4))
