"""B9 and B10: whether edges and wires stay as sharp as they came in, moving or faint.

Profiles are taken across a slanted line or round a disc, so that pixels sample them finer than themselves, averaged
over frames and noise. The input's are those of the expected picture. Full width at half maximum of an edge is that of
its derivative. The transfer function of a disc's outline at a stated contrast: Richard et al., Med. Phys. 39, 4115 (2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart
from FluoroDenoiseLib.evaluation.safety_inserts import cells, disc, edge, upright_distance, wire
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Trials, flat_stage

BIN_PX = 0.25
REACH_PX = 16.0
SMOOTHING_PX = 0.5
SPEEDS = (0, 1, 2, 4, 8)  # px a frame
FRAMES = 12
SETTLED = 4  # the first frame that is judged, as methods with a memory have filled it by then
MOVING_SIZE = (96, 224)
EDGE_AT, WIRE_AT = 44, 104  # columns in frame 0
WIRE_PX = 2.0
EDGE_CONTRAST, WIRE_CONTRAST = 8.0, 4.0  # an almost opaque plate, as the edge of IEC 62220-1, and a guidewire
WIDER = 1.10
OUTLINES = (0.5, 1.0, 2.0, 4.0)  # contrasts of the discs
OUTLINE_PX = 40  # their diameter
OUTLINE_CELL = 80
SHARP, SHARP_AT_LOWEST = 0.95, 0.90


def profile(values: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of values over bins of distance within REACH_PX: (distance of each bin, mean in it), gaps filled linearly."""
    ends = np.arange(-REACH_PX, REACH_PX + BIN_PX / 2, BIN_PX)
    inside = np.abs(distance) < REACH_PX
    index = ((distance[inside] + REACH_PX) / BIN_PX).astype(int).clip(0, len(ends) - 2)
    count = np.bincount(index, minlength=len(ends) - 1)
    total = np.bincount(index, values[inside], minlength=len(ends) - 1)
    middle = (ends[1:] + ends[:-1]) / 2
    return middle, np.interp(middle, middle[count > 0], total[count > 0] / count[count > 0])


def line_spread(x: np.ndarray, edge_profile: np.ndarray) -> np.ndarray:
    """The derivative of an edge's profile, smoothed by SMOOTHING_PX."""
    kernel = np.exp(-0.5 * (np.arange(-8, 9) * BIN_PX / SMOOTHING_PX) ** 2)
    padded = np.pad(edge_profile, 8, mode="edge")
    return np.gradient(np.convolve(padded, kernel / kernel.sum(), mode="valid"), x)


def width(x: np.ndarray, peak: np.ndarray) -> float:
    """Full width at half maximum of a peak of either sign, px."""
    peak = peak * np.sign(peak[np.abs(peak).argmax()])
    top = int(peak.argmax())
    half = peak[top] / 2
    left = next((i for i in range(top, 0, -1) if peak[i - 1] < half), 0)
    right = next((i for i in range(top, len(peak) - 1) if peak[i + 1] < half), len(peak) - 1)
    from_left = x[left] - (peak[left] - half) / max(peak[left] - peak[left - 1], 1e-12) * (x[1] - x[0]) if left else x[0]
    to_right = (x[right] + (peak[right] - half) / max(peak[right] - peak[right + 1], 1e-12) * (x[1] - x[0])
                if right < len(x) - 1 else x[-1])
    return float(to_right - from_left)


def transfer(x: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(frequency in cycles a pixel, modulation transfer function) of a line spread; 1 at frequency 0."""
    window = np.cos(np.pi * x / (2 * REACH_PX)) ** 2
    frequency = np.arange(0, 0.5, 0.005)
    waves = np.exp(-2j * np.pi * frequency[:, None] * x)
    response = np.abs(waves @ (spread * window))
    return frequency, response / response[0]


def half_frequency(frequency: np.ndarray, response: np.ndarray) -> float:
    """Where the transfer function first falls below one half, cycles a pixel."""
    below = np.flatnonzero(response < 0.5)
    if not len(below):
        return float(frequency[-1])
    at = int(below[0])
    return float(np.interp(0.5, [response[at], response[at - 1]], [frequency[at], frequency[at - 1]]))


def motion_section(restore, seeds: Sequence[int], speeds: Sequence[int] = SPEEDS) -> Section:
    """B9: an edge and a wire that move together over a flat field."""
    trials = Trials(flat_stage(*MOVING_SIZE), restore, FRAMES, seeds)
    size, rows = trials.stage.size, Rows("B9")
    edge_strength = trials.stage.attenuation_of(edge(size, EDGE_AT), EDGE_CONTRAST).max()
    wire_strength = trials.stage.attenuation_of(wire(size, WIRE_AT, WIRE_PX), WIRE_CONTRAST).max()
    ratios: dict[str, list[float]] = {"edge": [], "wire": []}
    contrasts, profiles = [], []
    for speed in speeds:
        shifts = [speed * frame for frame in range(FRAMES)]
        attenuation = np.stack([edge_strength * edge(size, EDGE_AT + shift) + wire_strength * wire(size, WIRE_AT + shift, WIRE_PX)
                                for shift in shifts])
        inserted = trials.insert(attenuation)
        judged = range(SETTLED, FRAMES - 1)
        for name, start in (("edge", EDGE_AT), ("wire", WIRE_AT)):
            distance = np.stack([upright_distance(size, start + shifts[frame])[16:-16, 16:-16] for frame in judged])
            x, true = profile(inserted.true[judged.start : judged.stop], distance)
            _, found = profile(inserted.found.mean(0)[judged.start : judged.stop], distance)
            if name == "edge":
                ratios[name].append(width(x, line_spread(x, found)) / width(x, line_spread(x, true)))
            else:
                ratios[name].append(width(x, found) / width(x, true))
                near = np.abs(x) < 3
                contrasts.append(float(found[near] @ true[near] / (true[near] @ true[near])))
                profiles.append((speed, x, true, found))
    for name in ratios:
        for speed, ratio in zip(speeds, ratios[name]):
            rows.at_most(f"width of the {name} at {speed} px a frame", ratio, WIDER, "times the input's")
    for speed, contrast in zip(speeds, contrasts):
        rows.told(f"contrast of the wire at {speed} px a frame", contrast)
    scale = abs(profiles[0][2]).max()
    drawn = [Curve("input", profiles[0][1], profiles[0][2] / scale, dashed=True)]
    drawn += [Curve(f"{speed} px a frame", x, found / scale) for speed, x, _, found in profiles if speed in (0, 2, 8)]
    return Section("B9", "Sharpness in motion",
                   f"The edge of an almost opaque plate (contrast {EDGE_CONTRAST:g} times the noise) and a {WIRE_PX:g}-px wire (contrast "
                   f"{WIRE_CONTRAST:g}) cross a flat field together; full width at half maximum of the edge's derivative and of the "
                   "wire, over that of the expected picture.", tuple(rows.made),
                   (chart("Width by speed", [Curve(name, speeds, values) for name, values in ratios.items()], "px a frame",
                          "width / input's", (WIDER,)),
                    chart("The wire's profile, averaged over noise and frames", drawn, "px from its middle", "share of its contrast")))


def transfer_section(restore, seeds: Sequence[int]) -> Section:
    """B10: the transfer function of resting discs' outlines, by contrast."""
    trials = Trials(flat_stage(2 * OUTLINE_CELL, 2 * OUTLINE_CELL), restore, FRAMES, seeds)
    size, rows = trials.stage.size, Rows("B10")
    places = cells(size, OUTLINE_CELL)
    shown = sum(trials.stage.attenuation_of(disc(size, row, column, OUTLINE_PX), contrast)
                for (row, column, _), contrast in zip(places, OUTLINES))
    inserted = trials.insert(np.repeat(shown[None], FRAMES, 0))
    curves, ratios = [], []
    for (row, column, where), contrast in zip(places, OUTLINES):
        y, x = np.mgrid[where]
        distance = np.hypot(y - row, x - column) - OUTLINE_PX / 2
        near = distance > -REACH_PX
        found = inserted.found.mean(0)[SETTLED:].mean(0)[where]
        spreads = [line_spread(at, edge_profile) for at, edge_profile in
                   (profile(values[near], distance[near]) for values in (inserted.true[0][where], found))]
        middle = np.arange(-REACH_PX + BIN_PX / 2, REACH_PX, BIN_PX)
        (frequency, before), (_, after) = (transfer(middle, spread) for spread in spreads)
        if not curves:
            curves.append(Curve("input", frequency, before, dashed=True))
        curves.append(Curve(f"contrast {contrast:g}", frequency, after))
        ratios.append(half_frequency(frequency, after) / half_frequency(frequency, before))
        limit = SHARP_AT_LOWEST if contrast == min(OUTLINES) else SHARP
        rows.at_least(f"half-value frequency at contrast {contrast:g}", ratios[-1], limit, "times the input's")
    return Section("B10", "Transfer function by contrast",
                   f"Outlines of resting discs {OUTLINE_PX} px across on a flat field, averaged over frames and noise; the frequency at which "
                   "half the modulation is left, over that of the expected picture.", tuple(rows.made),
                   (chart("Modulation transfer function", curves, "cycles a pixel", "transfer", (0.5,), (0.0, 1.1)),))
