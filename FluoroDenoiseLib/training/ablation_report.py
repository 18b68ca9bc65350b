"""The rows of an ablation as a table, and for each term and choice the sentence whether it earns its place."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Sequence

import numpy as np

from FluoroDenoiseLib.model_folder import write_whole
from FluoroDenoiseLib.training.ablation import FULL, VARIANTS, Row, Size, Variant

MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "psnr_near": "wire PSNR", "contrast": "wire contrast", "lag": "lag"}
DIGITS = {"psnr": 2, "ssim": 3, "psnr_near": 2, "contrast": 3, "lag": 3}
CERTAIN = 2.0  # standard errors
WORTHWHILE = {"psnr": 0.05, "ssim": 0.001, "psnr_near": 0.05, "contrast": 0.005}  # smaller changes do not count


def write_report(rows: Sequence[Row], size: Size, folder: Path, remarks: Sequence[str] = ()) -> None:
    """Write ABLATION.md and ablation.json (every row) into `folder`."""
    values = {"size": asdict(size), "rows": [asdict(row) for row in rows]}
    write_whole(folder / "ablation.json", (json.dumps(values, indent=1) + "\n").encode())
    write_whole(folder / "ABLATION.md", report(rows, size, remarks).encode())


def report(rows: Sequence[Row], size: Size, remarks: Sequence[str] = ()) -> str:
    """The ablation in Markdown: what was done, the table, the sentences."""
    trained = {variant.name for variant in VARIANTS}
    return "\n".join([
        "# Ablation of step 2",
        "",
        f"Written by `fluorodenoise ablate --steps {size.steps} --runs {size.runs} --seeds {size.seeds}`. Arm `paper`: single-frame "
        f"students of a five-frame teacher, trained on {size.runs} noisy runs at 30 quanta without any clean image, {size.steps} "
        f"steps each, and judged on {_count(size.scenes, 'other scene')} of {size.side}x{size.side} pixels. Means over scenes and "
        f"{_count(size.seeds, 'training')}; in brackets the standard deviation of the trainings' means. Wire PSNR: within 4 pixels "
        "of the wire; wire contrast: the share of it that is left; lag: the share of a vanished wire that is left one frame later. A "
        "student sees one frame, so its own lag is 0 but for noise; its targets' is not.",
        "",
        *_table([row for row in rows if row.method not in trained]),
        "",
        *_table([row for row in rows if row.method in trained]),
        "",
        "## What earns its place",
        "",
        f"Change when one thing is changed, against the student with {FULL}, paired over trainings and scenes, with its standard "
        f"error; it counts where it exceeds {CERTAIN:g} of them, and 0.05 dB, 0.001 of SSIM or 0.005 of contrast. The wire's contrast alone "
        "does not punish noise that is left. A term whose absence makes no difference that counts does not earn its place.",
        "",
        *(f"- {sentence}" for variant in VARIANTS[1:] for sentence in verdict(variant, rows)),
        "",
        *(f"{remark}\n" for remark in remarks),
    ])


def verdict(variant: Variant, rows: Sequence[Row]) -> list[str]:
    """One sentence on a variant, none where it was not trained."""
    full = {(row.seed, row.scene): row for row in rows if row.method == FULL}
    pairs = [(full[row.seed, row.scene], row) for row in rows if row.method == variant.name and (row.seed, row.scene) in full]
    if not pairs:
        return []
    parts, signs = [], []
    for measure, least in WORTHWHILE.items():
        changes = [getattr(after, measure) - getattr(before, measure) for before, after in pairs]
        mean = float(np.mean(changes))
        error = float(np.std(changes, ddof=1)) / math.sqrt(len(changes)) if len(changes) > 1 else math.inf
        signs.append(0 if abs(mean) <= max(least, CERTAIN * error) else math.copysign(1, mean))
        unit = " dB" if measure.startswith("psnr") else ""
        spread = "" if math.isinf(error) else f" \u00b1 {error:.{DIGITS[measure]}f}"
        parts.append(f"{MEASURES[measure]} {mean:+.{DIGITS[measure]}f}{spread}{unit}")
    judgement = {
        (True, False): f"worse: {variant.kept} earns its place",
        (False, True): f"better: {variant.kept} does not earn its place",
        (True, True): "better in one measure and worse in another",
        (False, False): "no difference that counts",
    }[min(signs) < 0, max(signs) > 0]
    return [f"**{variant.name}**: {', '.join(parts)}; {judgement}."]


def _table(rows: Sequence[Row]) -> list[str]:
    head = ["", *MEASURES.values()]
    lines = [head, ["---"] * len(head)]
    for method in dict.fromkeys(row.method for row in rows):
        same = [row for row in rows if row.method == method]
        lines.append([method, *(_cell(same, measure) for measure in MEASURES)])
    return ["| " + " | ".join(line) + " |" for line in lines]


def _cell(rows: Sequence[Row], measure: str) -> str:
    seeds = sorted({row.seed for row in rows})
    means = [np.mean([getattr(row, measure) for row in rows if row.seed == seed]) for seed in seeds]
    text = f"{np.mean(means):.{DIGITS[measure]}f}"
    return text if len(seeds) == 1 else f"{text} ({np.std(means):.{DIGITS[measure]}f})"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")
