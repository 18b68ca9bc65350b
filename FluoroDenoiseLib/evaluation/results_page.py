"""docs/RESULTS.md and the README's table, written from the folders that `evaluate` and its like left: no number is typed by hand.

A folder with rows.json is an evaluation. A folder with section.md (a title, a table, its command; pictures beside it) is taken
over as it is.
"""

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.aims import aims_table
from FluoroDenoiseLib.evaluation.rows import Row, Summary, beside_equals, efficiency_table, markdown, read_rows, summarise, table
from FluoroDenoiseLib.evaluation.scene_catalogue import GROUPS
from FluoroDenoiseLib.model_folder import write_whole

TITLES = {
    "main": "Three doses",
    "limit": "How far from the limit",
    "dose": "From 5 to 300 quanta",
    "motion": "What moves, and how fast",
    "noise": "Kinds of noise and of detectors",
    "anatomy": "Procedural anatomy and projected CT",
    "real": "Real pictures",
}
MANY = 7
"""From so many scenes on an evaluation is shown with a column a scene instead of a row."""
PIVOTS = {"psnr": ("PSNR, dB", 1), "psnr_near": ("PSNR near the tool, dB", 1), "contrast": ("Contrast of the tool kept", 2)}
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)/]+\.png)\)")
ABOUT = """# Results

Written by `python docs/record_scores.py OUT...` from the folders that the commands below left; no number is typed by hand. What
the rivals need: `pip install '.[evaluate]' bm3d bm4d`. CT is the Visible Human Female pelvis (National Library of Medicine, public
domain), its right half, seen from the front, which no training run showed. `data` (--data) holds a folder for each source of
real pictures: `radiography_static_2bm` (github.com/shahaniRG/Radiography), `leeds_tor_pylinac` (pylinac), `lcd_ct_repeats`
(github.com/DIDSR/LCD_CT), `biplane_knee_autoscoper` (github.com/BrownBiomechanics/Autoscoper).

All methods of a scene are told the same noise, estimated from its noisy frames. A rival with settings is shown with those of best PSNR on
that scene, which is a favour. Judged are all frames but two at either end; BM3D, which costs seconds a frame, on two of them. Where
a rival was judged on fewer seeds its name says so, and our own stand beside it on the same seeds. The common scene: three slabs that
move apart, a wire 2.4 px wide at 3.5 px a frame, 30 quanta a pixel, noise correlated 0.25 between neighbours, 12 bits; a scene's name
says what differs. **reference**: two rigid layers, white noise, 256x256, for which the best linear estimate is known.

- PSNR in dB (standard deviation over seeds) and SSIM (Gaussian window of 1.5 px): over the range from the 0.1st to the 99.9th percentile
  of the clean run. near tool: PSNR within 4 px of it, in `reference` where it takes 5 % of the light or more. contrast: share of the tool's
  that is kept; discs: that of round tools alone.
- VIF: share of the visible information kept (Sheikh and Bovik 2006, pixel domain). NIQE: distance from clean X-ray pictures,
  lower is better; its model is our own, fitted on clean simulated frames, since that of photographs means little here: its values
  compare with each other only.
- CPU s/frame: processor seconds over all cores; their ratios mean something, they themselves depend on the machine and what else it
  does. MB: working memory beyond what the process held. Speed proper is measured by `fluorodenoise benchmark`.
- efficiency: mean square error of the best linear estimate, which is given the true motion and the true noise, over that of the
  method; both ways beside the one that sees all frames, causal beside the one that sees the past, from frame 10 on, when a causal
  method has something to remember; the tool of `reference` then moves against the background by 1.2 px a frame on average, before by
  3.3, which also makes it easier for what remembers. tool given: beside an estimate that is also given the tool's picture, which bounds it more
  strictly; one that is not given it has no prior for the tool, so a method can be better there.
"""


@dataclass(frozen=True)
class Evaluation:
    """A folder that `evaluate` wrote."""

    folder: Path
    rows: list[Row]
    about: dict
    cases: dict

    @property
    def summaries(self) -> list[Summary]:
        return summarise(beside_equals(self.rows))

    @property
    def title(self) -> str:
        groups = self.about["groups"]
        return "; ".join(TITLES.get(group, group) for group in groups) or "Scenes " + ", ".join(dict.fromkeys(row.scene for row in self.rows))


def read_evaluation(folder: Path) -> Evaluation:
    """InputError where the folder holds no finished evaluation."""
    rows, described = read_rows(folder), {}
    for name in ("session", "cases"):
        try:
            described[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{folder} holds no finished evaluation ({name}.json); run its command again.") from error
    return Evaluation(folder, rows, described["session"], described["cases"])


def write_page(folders: Sequence[Path], page: Path) -> list[Evaluation]:
    """Write the page, and the pictures it shows into a folder of its name beside it; return the evaluations it was made of."""
    evaluations = [read_evaluation(folder) for folder in folders if (folder / "rows.json").is_file()]
    sections = [folder for folder in folders if (folder / "section.md").is_file()]
    nothing = [folder for folder in folders if not (folder / "rows.json").is_file() and folder not in sections]
    if nothing:
        raise InputError(f"{nothing[0]} holds neither rows.json nor section.md; name folders that evaluate or its like wrote.")
    pictures = page.with_name(page.stem.lower())
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir()
    aims = aims_table([evaluation.summaries for evaluation in evaluations])
    parts = [ABOUT, *(["## What was aimed at", aims] if aims else [])]
    for evaluation in evaluations:
        parts += _evaluation(evaluation, pictures)
    parts += _cases(evaluations, pictures)
    for folder in sections:
        parts.append(_section(folder, pictures))
    parts.append(_versions(evaluations))
    write_whole(page, ("\n\n".join(part.strip("\n") for part in parts if part) + "\n").encode())
    return evaluations


def _evaluation(one: Evaluation, pictures: Path) -> list[str]:
    summaries = one.summaries
    scenes = list(dict.fromkeys(summary.scene for summary in summaries))
    seeds = one.about["seeds"]
    parts = [f"## {one.title}"]
    if len(scenes) >= MANY:
        for measure, (name, digits) in PIVOTS.items():
            pivoted = pivot(summaries, measure, digits)
            parts += [f"{name}:", pivoted] if pivoted else []
        parts += ["Means over these scenes:", means_table(summaries)]
    else:
        parts += [table(summaries), efficiency_table(summaries)]
    parts += [
        f"{_seeds(seeds)} of each simulated scene. " + " ".join(one.about["remarks"]),
        "```sh\n" + "\n".join(one.about["commands"]) + "\n```",
    ]
    for picture in ("psnr_against_dose.png", "contrast_against_speed.png"):
        groups = {"psnr_against_dose.png": "dose", "contrast_against_speed.png": "motion"}
        if (one.folder / picture).is_file() and set(GROUPS[groups[picture]]) <= set(scenes):
            shutil.copy(one.folder / picture, pictures / picture)
            parts.append(f"![{picture[:-4].replace('_', ' ')}]({pictures.name}/{picture})")
    return parts


def _seeds(count: int) -> str:
    return "Seed 0" if count == 1 else f"Seeds 0 to {count - 1}"


def pivot(summaries: Sequence[Summary], measure: str, digits: int) -> str:
    """A measure with a row a method and a column a scene, the mean of its scenes last; "" where it is nowhere known."""
    values = {(one.method, one.scene): getattr(one, measure) for one in summaries}
    scenes = [scene for scene in dict.fromkeys(one.scene for one in summaries)
              if any(value == value for (_, at), value in values.items() if at == scene)]
    if not scenes:
        return ""
    lines = [("method", *scenes, "mean")]
    for method in dict.fromkeys(one.method for one in summaries):
        line = [values.get((method, scene), float("nan")) for scene in scenes]
        cells = ["-" if value != value else f"{value:.{digits}f}" for value in (*line, float(np.mean(line)))]
        lines.append((method, *cells))
    return markdown(lines)


def means_table(summaries: Sequence[Summary]) -> str:
    """What pivots leave out, a row a method, as means over its scenes."""
    measures = {"ssim": ("SSIM", 3), "vif": ("VIF", 3), "niqe": ("NIQE", 1), "cpu_s": ("CPU s/frame", 3), "memory_mb": ("MB", 0)}
    lines = [("method", *(name for name, _ in measures.values()))]
    for method in dict.fromkeys(one.method for one in summaries):
        cells = []
        for measure, (_, digits) in measures.items():
            value = float(np.mean([getattr(one, measure) for one in summaries if one.method == method]))
            cells.append("-" if value != value else f"{value:.{digits}f}")
        lines.append((method, *cells))
    return markdown(lines)


def _cases(evaluations: Sequence[Evaluation], pictures: Path) -> list[str]:
    """The best and the worst case of all evaluations."""
    parts = []
    for kind, choose in (("best", max), ("worst", min)):
        told = [(one.cases[kind]["gain_db"], one.folder, one.cases[kind]) for one in evaluations if kind in one.cases]
        if told:
            gain, folder, case = choose(told, key=lambda entry: entry[0])
            shutil.copy(folder / f"{kind}.png", pictures / f"{kind}.png")
            parts += [
                f"The {kind} case of `{case['method']}` beside the best of the others ({case['other']}): {gain:+.1f} dB, scene "
                f"{case['scene']}, seed {case['seed']}, frame {case['frame']}.",
                f"![noisy, {case['other']}, {case['method']}, truth]({pictures.name}/{kind}.png)",
            ]
    return ["## The best and the worst case", *parts] if parts else []


def _section(folder: Path, pictures: Path) -> str:
    """A section.md, its pictures copied and its links led to them."""

    def lead(found: re.Match) -> str:
        name = f"{folder.name}_{found[2]}"
        shutil.copy(folder / found[2], pictures / name)
        return f"![{found[1]}]({pictures.name}/{name})"

    return PICTURE.sub(lead, (folder / "section.md").read_text(encoding="utf-8"))


def _versions(evaluations: Sequence[Evaluation]) -> str:
    if not evaluations:
        return ""
    versions: dict[str, list[str]] = {}
    weights: dict[str, list[str]] = {}
    for one in evaluations:
        for kept, found in ((versions, one.about["versions"]), (weights, one.about["models"])):
            for name, value in found.items():
                if value not in kept.setdefault(name, []):
                    kept[name].append(value)
    said = ", ".join(f"{name} {' and '.join(values)}" for name, values in versions.items())
    shas = "; ".join(f"`{name}` {' and '.join(value[:12] for value in values)}" for name, values in weights.items())
    minutes = sum(one.about["seconds"] for one in evaluations) / 60
    return f"## Versions\n\n{said}. Weights (SHA-256): {shas}. The evaluations took {minutes:.0f} minutes in all."


README_METHODS = {
    "noisy": "noisy", "recursive filter, best": "recursive filter, best weight", "NVCA": "NVCA", "non-local means": "non-local means", "BM3D": "BM3D",
    "fast": "**`fast`**, past frames only", "quality": "**`quality`**",
}  # fmt: skip
README_SCENES = {"q8": "8 quanta a pixel", "q30": "30 quanta", "q120": "120 quanta"}
README_MARKS = "<!-- scores: written by docs/record_scores.py -->", "<!-- scores end -->"


def readme_table(summaries: Sequence[Summary]) -> str:
    """The one table that matters; "" where a scene of it was not evaluated."""
    found = {(one.method, one.scene): one for one in summaries}
    if any(("noisy", scene) not in found for scene in README_SCENES):
        return ""
    lines = [("method", *README_SCENES.values(), "CPU time, BM3D = 1")]
    for method, name in README_METHODS.items():
        cells = [found.get((method, scene)) for scene in README_SCENES]
        if None in cells:
            continue
        costs = [one.cpu_s / found["BM3D", one.scene].cpu_s for one in cells if ("BM3D", one.scene) in found]
        cost = "-" if method == "noisy" or not costs else "< 0.001" if np.mean(costs) < 0.001 else f"{np.mean(costs):.2g}"
        lines.append((name, *(f"{one.psnr:.1f} / {one.psnr_near:.1f} / {one.contrast:.2f}" for one in cells), cost))
    return markdown(lines)


def write_readme(readme: Path, summaries: Sequence[Summary]) -> bool:
    """Put the table between its marks in the README; False where there are no marks, or nothing to put there."""
    text, made = readme.read_text(encoding="utf-8"), readme_table(summaries)
    begin, end = (text.find(mark) for mark in README_MARKS)
    if not made or not 0 <= begin < end:
        return False
    begin += len(README_MARKS[0])
    write_whole(readme, (text[:begin] + "\n" + made + "\n" + text[end:]).encode())
    return True
