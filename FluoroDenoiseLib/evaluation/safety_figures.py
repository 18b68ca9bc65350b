"""Pictures of the report, to stand inside one HTML page: curves as SVG that take the page's colours, images as PNG."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 12, 40
COLOURS = 6  # the page names so many


@dataclass(frozen=True)
class Figure:
    """caption: a sentence; markup: what stands above it, SVG or img elements."""

    caption: str
    markup: str


@dataclass(frozen=True)
class Curve:
    """Points of one curve; dashed for the input, a rule or the truth. error: half a bar's length at each point."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    error: Sequence[float] | None = None


def chart(
    caption: str, curves: Sequence[Curve], x_name: str, y_name: str, limits: Sequence[float] = (),
    y_range: tuple[float, float] | None = None, logarithmic: bool = False,
) -> Figure:
    """Curves over a common axis. limits: values of y that a rule names, drawn as lines across."""
    curves = [_finite(curve, logarithmic) for curve in curves]
    xs = np.concatenate([curve.x for curve in curves])
    ys = np.concatenate([*(curve.y for curve in curves), np.asarray(limits, float)])
    low, high = (float(ys.min()), float(ys.max())) if y_range is None else y_range
    if logarithmic:
        low, high = np.log10(low), np.log10(high)
    if y_range is None:
        spare = 0.06 * (high - low) or 0.5
        low, high = low - spare, high + spare
    first, last = float(xs.min()), float(xs.max())
    last = last if last > first else first + 1

    def place(x: float, y: float) -> tuple[float, float]:
        level = np.log10(y) if logarithmic else y
        return (LEFT + (x - first) / (last - first) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - np.clip((level - low) / (high - low), -0.02, 1.02) * (HEIGHT - TOP - BOTTOM))

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(caption)}">']
    for tick in range(math.ceil(low), math.floor(high) + 1) if logarithmic and high - low > 2 else round_ticks(low, high):
        shown = 10.0**tick if logarithmic else tick
        y = place(first, shown)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{shown:.3g}</text>')
    for tick in round_ticks(first, last):
        parts.append(f'<text x="{place(tick, 1.0)[0]:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{tick:.3g}</text>')
    for limit in limits:
        y = place(first, limit)[1]
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for index, curve in enumerate(curves):
        parts += _drawn(curve, index % COLOURS, place)
    parts.append(f'<text x="{(LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>'
                 f'<text transform="translate(13 {(HEIGHT - BOTTOM) / 2:.0f}) rotate(-90)" text-anchor="middle">{escape(y_name)}</text></svg>')
    names = [f'<span class="c{index % COLOURS}">{"- - " if curve.dashed else "— "}{escape(curve.name)}</span>'
             for index, curve in enumerate(curves) if curve.name]
    return Figure(caption, "".join(parts) + f'<div class="legend">{" ".join(names)}</div>')


def round_ticks(low: float, high: float) -> list[float]:
    """Four to eight round numbers from low to high."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.6 * rough)
    return [count * step for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def images(caption: str, panels: Sequence[tuple[str, np.ndarray]], low: float, high: float, enlarge: int = 1) -> Figure:
    """Pictures [H, W] side by side through one window of grey values, each under its title."""
    return Figure(caption, '<div class="panels">' + "".join(
        f'<figure><img alt="{escape(title)}" src="data:image/png;base64,{_png(image, low, high, enlarge)}"/>'
        f"<figcaption>{escape(title)}</figcaption></figure>" for title, image in panels) + "</div>")


def _png(image: np.ndarray, low: float, high: float, enlarge: int) -> str:
    grey = np.rint(np.clip((np.asarray(image, float) - low) / max(high - low, 1e-12), 0, 1) * 255).astype(np.uint8)
    picture = Image.fromarray(grey)
    if enlarge > 1:
        picture = picture.resize((picture.width * enlarge, picture.height * enlarge), Image.Resampling.NEAREST)
    stream = io.BytesIO()
    picture.save(stream, format="PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode("ascii")


def _finite(curve: Curve, logarithmic: bool) -> Curve:
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    keep = np.isfinite(y) & ((y > 0) | (not logarithmic))
    error = None if curve.error is None else np.asarray(curve.error, float)[keep]
    return Curve(curve.name, x[keep], y[keep], curve.dashed, error)


def _drawn(curve: Curve, colour: int, place) -> list[str]:
    points = [place(x, y) for x, y in zip(curve.x, curve.y)]
    dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
    parts = [f'<polyline class="s{colour}"{dash} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>']
    if len(points) <= 16:
        parts += [f'<circle class="f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in points]
    if curve.error is not None:
        for at, value, error in zip(curve.x, curve.y, curve.error):
            (x, top), (_, bottom) = place(at, value + error), place(at, value - error)
            parts.append(f'<line class="s{colour}" x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>')
    return parts
