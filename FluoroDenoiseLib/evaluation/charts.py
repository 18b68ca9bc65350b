"""Line charts of few points: a line a method, a tick at every place that was measured."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = (
    (130, 130, 130), (170, 110, 40), (200, 160, 30), (60, 160, 90), (30, 150, 160), (40, 100, 200),
    (220, 90, 60), (150, 40, 120), (90, 60, 190), (20, 20, 20),
)  # fmt: skip
SIZE = (820, 460)
LEGEND = 210

Series = tuple[str, Sequence[tuple[float, float]]]


def chart(series: Sequence[Series], x_name: str, y_name: str, logarithmic: bool = False) -> Image.Image:
    """Draw series of (name, [(x, y), ...]); logarithmic: distances on the x axis are ratios. Points that are nan are left out."""
    font = ImageFont.load_default(13)
    sheet = Image.new("RGB", SIZE, "white")
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = 62, 14, SIZE[0] - LEGEND, SIZE[1] - 46
    points = [(name, [(x, y) for x, y in line if np.isfinite(y)]) for name, line in series]
    places = sorted({x for _, line in points for x, _ in line}) or [1.0]
    levels = [y for _, line in points for _, y in line] or [0.0, 1.0]
    scale = np.log if logarithmic else float
    first, last = scale(places[0]), max(scale(places[-1]), scale(places[0]) + 1e-9)
    step = _round_step((max(levels) - min(levels)) / 6)
    low, high = np.floor(min(levels) / step) * step, np.ceil(max(levels) / step) * step
    high = max(high, low + step)

    def place(x: float, y: float) -> tuple[float, float]:
        return left + (scale(x) - first) / (last - first) * (right - left), bottom - (y - low) / (high - low) * (bottom - top)

    for level in np.arange(low, high + step / 2, step):
        y = place(places[0], level)[1]
        draw.line([left, y, right, y], fill=(225, 225, 225))
        draw.text((left - 6, y), f"{level:.4g}", fill="black", font=font, anchor="rm")
    for x in places:
        draw.text((place(x, low)[0], bottom + 6), f"{x:g}", fill="black", font=font, anchor="mt")
    draw.text(((left + right) / 2, SIZE[1] - 6), x_name, fill="black", font=font, anchor="mb")
    draw.text((right + 14, top), y_name, fill="black", font=font)
    for index, (name, line) in enumerate(points):
        colour = COLOURS[index % len(COLOURS)]
        corners = [place(*point) for point in line]
        draw.line(corners, fill=colour, width=2)
        for x, y in corners:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        at = top + 28 + 18 * index
        draw.line([right + 14, at + 8, right + 38, at + 8], fill=colour, width=3)
        draw.text((right + 44, at), name, fill="black", font=font)
    draw.rectangle([left, top, right, bottom], outline="black")
    return sheet


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** np.floor(np.log10(max(least, 1e-6)))
    return next(float(factor * power) for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))
