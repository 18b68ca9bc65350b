"""Draw FluoroDenoise.png, the extension's icon: `python docs/draw_icon.py` from the repository's root.

A fluoroscopy disc cut by a diagonal: grainy on the left, clean on the right, the same vessel and guidewire through
both. The disc keeps a pale rim, so that it stands out on a dark and on a light background.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 128
OVERSAMPLING = 4


def vessels(size: int) -> Image.Image:
    """Return the clean scene [size, size]: soft background, a branching vessel, a thin guidewire with its tip."""
    scene = Image.new("L", (size, size), 196)
    draw = ImageDraw.Draw(scene)
    unit = size / 128
    trunk = [(92 - 0.5 * t + 11 * np.sin(t / 15.0), t) for t in range(-4, 133, 2)]
    branch = [(84 + (t - 40) * 0.85, 40 + (t - 40) * 0.8 + 5 * np.sin(t / 7.0)) for t in range(40, 128, 2)]
    lower = [(66 - (t - 66) * 1.2, 66 + (t - 66) * 0.35) for t in range(66, 128, 2)]
    for path, width, grey in ((trunk, 17, 92), (branch, 10, 112), (lower, 8, 122)):
        for x, y in path:
            draw.ellipse([(x - width / 2) * unit, (y - width / 2) * unit,
                          (x + width / 2) * unit, (y + width / 2) * unit], fill=grey)
    scene = scene.filter(ImageFilter.GaussianBlur(1.6 * unit))
    draw = ImageDraw.Draw(scene)
    wire = [((x + 1.0) * unit, y * unit) for x, y in trunk if y < 106]
    draw.line(wire, fill=24, width=round(3 * unit), joint="curve")
    tip_x, tip_y = wire[-1]
    draw.ellipse([tip_x - 4 * unit, tip_y - 4 * unit, tip_x + 4 * unit, tip_y + 4 * unit], fill=12)
    return scene


def draw_icon() -> Image.Image:
    """Return the icon, RGBA, SIZE x SIZE, transparent outside the disc."""
    size = SIZE * OVERSAMPLING
    clean = np.asarray(vessels(size), np.float32)
    grain = np.random.default_rng(3).normal(0, 34, (SIZE // 2, SIZE // 2)).astype(np.float32)
    noisy = clean + np.kron(grain, np.ones((2 * OVERSAMPLING, 2 * OVERSAMPLING), np.float32))
    y, x = np.mgrid[0:size, 0:size] / (size - 1)
    cut = x + 0.22 * (y - 0.5)
    grey = np.where(cut < 0.5, noisy, clean)
    tint = np.stack([0.80 * grey, 0.95 * grey + 4, 1.0 * grey + 14], axis=-1)
    tint[np.abs(cut - 0.5) < 0.012] = (255, 196, 61)
    radius = np.hypot(x - 0.5, y - 0.5)
    tint[radius > 0.445] = (236, 242, 247)
    tint[radius > 0.475] = (24, 78, 119)
    alpha = np.where(radius < 0.495, 255, 0)
    icon = np.dstack([np.clip(tint, 0, 255), alpha]).astype(np.uint8)
    return Image.fromarray(icon, "RGBA").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    target = Path(__file__).resolve().parents[1] / "FluoroDenoise.png"
    draw_icon().save(target, optimize=True)
    print(f"{target.name}: {target.stat().st_size} bytes")
