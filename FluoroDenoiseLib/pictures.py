"""Pictures for people: one frame before, after and what was taken away, side by side, and curves of a training.

Nothing here changes a result; numbers are shown through one window for all, never resampled, so that noise looks as
strong as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from FluoroDenoiseLib.formats.whole_file import whole_file

INK = (235, 235, 235)
PAPER = (16, 16, 16)
GAP = 8
CAPTION = 26
SMALLEST_PANEL = 320


def comparison(
    noisy: np.ndarray, denoised: np.ndarray, title: str = "denoised", truth: np.ndarray | None = None, truth_title: str = "truth",
    window: tuple[float, float] | None = None, unit: str = "grey levels",
) -> Image.Image:
    """Return noisy | denoised | removed, and the truth where it is known, as one captioned picture.

    noisy, denoised, truth: [H, W], stored values. All but the removed noise share one window: the 0.5th to 99.5th
    percentile of the denoised frame, or `window`, the values of black and white. The removed noise (noisy - denoised) is
    centred on mid-grey; its span, four of its own robust standard deviations, stands in its caption. Small frames are
    enlarged by whole pixels.
    """
    low, high = window or (float(value) for value in np.percentile(denoised, (0.5, 99.5)))
    removed = np.asarray(noisy, np.float64) - np.asarray(denoised, np.float64)
    span = 4 * 1.4826 * float(np.median(np.abs(removed - np.median(removed)))) or float(np.abs(removed).max()) or 1.0
    panels = [
        ("noisy", to_grey(noisy, low, high)),
        (title, to_grey(denoised, low, high)),
        (f"removed, \N{PLUS-MINUS SIGN}{span:.{0 if span > 10 else 2}f} {unit}", to_grey(removed, -span, span)),
    ]
    if truth is not None:
        panels.append((truth_title, to_grey(truth, low, high)))
    return side_by_side(panels)


def to_grey(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `image` as uint8, `low` black and `high` white, what lies outside clipped."""
    unit = (np.asarray(image, np.float64) - low) / max(high - low, 1e-12)
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)


def side_by_side(panels: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Return captioned grey panels of one size in a row; each panel is (caption, uint8 [H, W])."""
    height, width = panels[0][1].shape
    enlarge = max(1, -(-SMALLEST_PANEL // width))
    height, width = height * enlarge, width * enlarge
    sheet = Image.new("RGB", (len(panels) * width + (len(panels) - 1) * GAP, height + CAPTION), PAPER)
    draw = ImageDraw.Draw(sheet)
    for index, (caption, grey) in enumerate(panels):
        left = index * (width + GAP)
        sheet.paste(Image.fromarray(grey).resize((width, height), Image.Resampling.NEAREST), (left, CAPTION))
        draw.text((left + 6, 4), caption, fill=INK, font=ImageFont.load_default(15))
    return sheet


def strip(images: Sequence[np.ndarray], title: str) -> Image.Image:
    """Return pictures [H, W] of one size in a row, all through the window of the last one, which is its 0.5th to 99.5th
    percentile; the title stands above the first."""
    low, high = (float(value) for value in np.percentile(images[-1], (0.5, 99.5)))
    titles = [title] + [""] * (len(images) - 1)
    return side_by_side([(title, to_grey(image, low, high)) for title, image in zip(titles, images)])


def one_below_the_other(pictures: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    for index, picture in enumerate(pictures):
        sheet.paste(picture, (0, sum(one.height for one in pictures[:index])))
    return sheet


def curves(
    series: dict[str, Sequence[float]], x: Sequence[float], x_name: str, size: tuple[int, int] = (900, 420), logarithmic: bool = True
) -> Image.Image:
    """Return curves over `x`, one colour and one legend line each, on a logarithmic scale or a linear one.

    Values that are not finite are left out, on a logarithmic scale also those that are not positive.
    """
    colours = [(220, 80, 60), (40, 120, 200), (60, 160, 90), (150, 90, 190), (200, 150, 30), (90, 90, 90)]
    font = ImageFont.load_default(13)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = 70, 16, size[0] - 16, size[1] - 44
    drawable = {name: [(at, value) for at, value in zip(x, values) if np.isfinite(value) and (value > 0 or not logarithmic)]
                for name, values in series.items()}
    scale, unscale = (np.log10, lambda level: 10**level) if logarithmic else (np.asarray, float)
    levels = scale([value for points in drawable.values() for _, value in points] or [1.0])
    margin = 0.05 if logarithmic else 0.05 * float(levels.max() - levels.min()) or 1.0
    low, high = float(levels.min()) - margin, float(levels.max()) + margin
    first, last = (min(x), max(x)) if len(x) else (0, 1)
    last = max(last, first + 1e-9)

    def place(at: float, value: float) -> tuple[float, float]:
        return (left + (at - first) / (last - first) * (right - left),
                bottom - (float(scale(value)) - low) / (high - low) * (bottom - top))

    for tick in np.linspace(low, high, 5):
        y = place(first, unscale(tick))[1]
        draw.line([left, y, right, y], fill=(225, 225, 225))
        draw.text((left - 8, y), f"{unscale(tick):.3g}", fill="black", font=font, anchor="rm")
    for tick in np.linspace(first, last, 6):
        draw.text((place(tick, unscale(low))[0], bottom + 8), f"{tick:.6g}", fill="black", font=font, anchor="mt")
    draw.text(((left + right) / 2, size[1] - 6), x_name, fill="black", font=font, anchor="mb")
    for index, (name, points) in enumerate(drawable.items()):
        colour = colours[index % len(colours)]
        draw.line([place(*point) for point in points], fill=colour, width=2)
        draw.text((right - 6, top + 6 + 17 * index), name, fill=colour, font=font, anchor="rt")
    draw.rectangle([left, top, right, bottom], outline="black")
    return sheet


def save_picture(picture: Image.Image, path: str | Path) -> None:
    """Write a PNG whole or not at all. OutputError when it cannot be written there."""
    with whole_file(Path(path)) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
