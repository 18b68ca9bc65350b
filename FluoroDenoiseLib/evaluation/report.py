"""Every method on every scene under the same conditions, one row each, and the rows as a table.

All methods are told the same noise. Judged are the frames of EvaluationScene.judged. A rival with several settings is
tried with each on the middle frame (on the whole run, if it has a memory) and judged with the best.
"""

import csv
import io
import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.errors import OutputError
from FluoroDenoiseLib.evaluation.metrics import psnr, score
from FluoroDenoiseLib.evaluation.rivals import RIVALS, Rival, timed
from FluoroDenoiseLib.evaluation.scenes import EvaluationScene
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.noise import NoiseEstimate


@dataclass(frozen=True)
class Row:
    """One method on one scene. PSNR in dB, contrast a share, cpu_s processor seconds a frame over all cores.

    sigma_ratio: the noise that the methods were told, over the true one, at the median grey; nan where unknown.
    """

    scene: str
    seed: int
    method: str
    setting: str
    psnr: float
    psnr_near: float
    contrast: float
    ssim: float
    cpu_s: float
    sigma_ratio: float


@dataclass(frozen=True)
class Summary:
    """Means over the seeds of a scene, and the standard deviation of PSNR over them."""

    scene: str
    method: str
    seeds: int
    psnr: float
    psnr_spread: float
    psnr_near: float
    contrast: float
    ssim: float
    cpu_s: float


def evaluate(
    models: Sequence[Model],
    scenes: Iterable[EvaluationScene],
    compute: Compute,
    noise: str = "estimated",
    rivals: Sequence[Rival] = RIVALS,
) -> Iterator[Row]:
    """Yield the rows of every scene as they are done: rivals first, then our models, then what the oracle could do.

    noise: what every method is told, "estimated" from the noisy frames or "true". Rivals whose package is missing are
    left out; `left_out` says which. Models run on `compute`, rivals on the CPU.
    """
    for scene in scenes:
        told = scene.noise(noise)
        for rival in rivals:
            if rival.missing is None:
                yield _judge_rival(rival, scene, told)
        for model in models:
            yield _judge_model(model, scene, told, compute)
        for name, estimate in scene.ceilings():
            yield _row(scene, told, name, "", estimate, float("nan"))


def left_out(rivals: Sequence[Rival] = RIVALS) -> tuple[str, ...]:
    """A sentence for each rival that cannot run here."""
    return tuple(sentence for rival in rivals if (sentence := rival.missing))


def summarise(rows: Iterable[Row]) -> list[Summary]:
    """Average the rows of the same scene and method over their seeds, in the order in which they first came."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.scene, row.method), []).append(row)
    return [
        Summary(
            scene,
            method,
            len(same),
            _mean(same, "psnr"),
            float(np.std([row.psnr for row in same])),
            *(_mean(same, name) for name in ("psnr_near", "contrast", "ssim", "cpu_s")),
        )
        for (scene, method), same in groups.items()
    ]


def table(summaries: Sequence[Summary]) -> str:
    """Return the results as a Markdown table that also reads well in a terminal."""
    head = ("scene", "method", "PSNR", "near tool", "contrast", "SSIM", "CPU s/frame")
    lines = [
        (
            one.scene, one.method, f"{one.psnr:.2f}" + (f" ({one.psnr_spread:.2f})" if one.seeds > 1 else ""),
            _number(one.psnr_near, 2), _number(one.contrast, 3), _number(one.ssim, 3), _number(one.cpu_s, 3),
        )
        for one in summaries
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in (head, rule, *lines)
    )


def write_report(rows: Sequence[Row], folder: Path, remarks: Sequence[str] = ()) -> None:
    """Write rows.csv and rows.json (one entry a method, scene and seed) and table.md (means) into a folder.

    remarks: sentences printed below the table. Raises OutputError where the folder cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*Row.__dataclass_fields__])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    entries = [
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in asdict(row).items()}
        for row in rows
    ]
    summary = table(summarise(rows)) + "\n" + "".join(f"\n{remark}\n" for remark in remarks)
    contents = {"rows.csv": text.getvalue(), "rows.json": json.dumps(entries, indent=2) + "\n", "table.md": summary}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"The report cannot be written to {folder} ({error.strerror}); choose another folder.") from error


def _judge_rival(rival: Rival, scene: EvaluationScene, noise: NoiseEstimate) -> Row:
    settings = rival.settings
    judged = scene.judged
    if len(settings) > 1:
        middle = len(scene.noisy) // 2
        trial = slice(middle, middle + 1) if rival.frame_by_frame else slice(None)
        tried = slice(None) if rival.frame_by_frame else judged

        def quality(setting: float) -> float:
            estimate = rival.run(scene.noisy[trial], noise, setting)
            return psnr(estimate[tried], scene.clean[trial][tried], scene.span)

        settings = (max(settings, key=quality),)
    result = timed(rival, scene.noisy[judged] if rival.frame_by_frame else scene.noisy, noise, settings[0])
    estimate = result.estimate if rival.frame_by_frame else result.estimate[judged]
    setting = f"{settings[0]:g} {rival.unit}" if rival.unit else ""
    return _row(scene, noise, rival.name, setting, estimate, result.cpu_s)


def _judge_model(model: Model, scene: EvaluationScene, noise: NoiseEstimate, compute: Compute) -> Row:
    begin = time.process_time()
    estimate = denoise(scene.noisy, model, noise, compute)
    cpu_s = (time.process_time() - begin) / len(scene.noisy)
    return _row(scene, noise, model.name, "", estimate[scene.judged], cpu_s)


def _row(
    scene: EvaluationScene, noise: NoiseEstimate, method: str, setting: str, estimate: np.ndarray, cpu_s: float
) -> Row:
    judged = scene.judged
    found = score(estimate, scene.clean[judged], scene.without_tools[judged], scene.near[judged], scene.span)
    ratio = float("nan")
    if scene.true_noise is not None:
        grey = float(np.median(scene.clean))
        ratio = math.sqrt(noise.model.variance(grey) / scene.true_noise.model.variance(grey))
    return Row(scene.name, scene.seed, method, setting, **asdict(found), cpu_s=cpu_s, sigma_ratio=ratio)


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _number(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"
