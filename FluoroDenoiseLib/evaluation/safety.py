"""The safety report of a model: rows B1 to B17 of the acceptance matrix, measured on simulated objects of known truth.

`measure` gives one section after another, `safety_report` writes them as safety.html and safety.json. The whole form
takes minutes on a processor, the quick one less than one and leaves out what no verdict depends on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.errors import OutputError, UnsupportedError
from FluoroDenoiseLib.evaluation.safety_banner import banner_section
from FluoroDenoiseLib.evaluation.safety_bias import bias_sections, moving_runs, noise_free_section, strength_section, true_noise
from FluoroDenoiseLib.evaluation.safety_conditions import ladder_section, mismatch_section
from FluoroDenoiseLib.evaluation.safety_contrast import contrast_section, rare_section
from FluoroDenoiseLib.evaluation.safety_flat import FRAMES, invention_section, texture_section
from FluoroDenoiseLib.evaluation.safety_lag import lag_sections
from FluoroDenoiseLib.evaluation.safety_observer import observer_section
from FluoroDenoiseLib.evaluation.safety_page import page
from FluoroDenoiseLib.evaluation.safety_residual import residual_section
from FluoroDenoiseLib.evaluation.safety_rows import SafetyReport, Section
from FluoroDenoiseLib.evaluation.safety_sharpness import SPEEDS, motion_section, transfer_section
from FluoroDenoiseLib.evaluation.safety_stage import Restore, Trials, flat_stage
from FluoroDenoiseLib.model_folder import Model, load_model, write_card, write_whole


@dataclass(frozen=True)
class Extent:
    """How much is measured: noise realisations of each check, doses and speeds. whole: also the checks that only tell limits.

    The lag of a wire at one place was uncertain by 0.5 % of it with six realisations, as much as check B7 allows, and by 0.2 % with
    24; with 24 at each of four places by half of that.
    """

    name: str
    whole: bool
    doses: tuple[float, ...]
    moving: int
    lag: int
    lag_places: int
    speeds: tuple[int, ...]
    sharpness: int
    contrast: int
    flat: int
    flat_size: int
    conditions: int


WHOLE = Extent("whole", True, (10.0, 40.0, 160.0), 2, 24, 4, SPEEDS, 3, 3, 15, 192, 2)
QUICK_FRAMES = 380  # of 144 x 144 pixels, that the quick form denoises in all
QUICK = Extent("quick", False, (10.0, 40.0), 1, 2, 1, (0, 8), 1, 1, 6, 144, 1)


def measure(restore: Callable, card: dict | None, extent: Extent = WHOLE) -> Iterator[Section]:
    """Judge a restorer, section by section.

    restore(frames [T, H, W], noise, strength) -> [T, H, W], stored values. card: of its model, for the banner; None for none.
    """
    full: Restore = lambda frames, noise: np.asarray(restore(frames, noise, 1.0), np.float32)
    runs = moving_runs(extent.moving, extent.doses)
    yield strength_section(lambda frames, noise: restore(frames, noise, 0.0), runs[-1])
    yield noise_free_section(full, runs[-1])
    restored = [full(run.noisy, true_noise(run)) for run in runs]
    yield from bias_sections(runs, restored)
    yield residual_section(runs, restored)
    yield from lag_sections(full, range(extent.lag), extent.lag_places)
    yield motion_section(full, range(extent.sharpness), extent.speeds)
    if extent.whole:
        yield transfer_section(full, range(extent.sharpness))
    yield contrast_section(full, range(extent.contrast))
    empty = Trials(flat_stage(extent.flat_size, extent.flat_size), full, FRAMES, range(extent.flat))
    yield invention_section(empty)
    if extent.whole:
        yield observer_section(empty)
        yield texture_section(empty)
        yield ladder_section(full, range(extent.conditions))
        yield mismatch_section(full, range(extent.conditions))
        yield rare_section(full, range(extent.contrast))
    if card is not None:
        yield banner_section(card)


def measure_model(model: Model, compute: Compute, extent: Extent = WHOLE, check: Callable[[], None] = lambda: None) -> Iterator[Section]:
    """`measure` of a loaded model. check() is called before every run of frames and may raise."""
    if model.card["recipe"]["kind"].startswith("ct"):
        raise UnsupportedError(f"{model.name} denoises CT volumes, which this report does not judge; give a model for runs.")

    def restore(frames: np.ndarray, noise, strength: float) -> np.ndarray:
        check()
        return denoise(frames, model, noise, compute, strength=strength)

    yield from measure(restore, model.card, extent)


def safety_report(
    model: Model | str | Path, compute: Compute, folder: Path | None, extent: Extent = WHOLE, record: Path | None = None,
    check: Callable[[], None] = lambda: None, watch: Callable[[Section], None] = lambda section: None,
) -> SafetyReport:
    """Measure a model and write safety.html and safety.json into `folder` (None: nowhere); the report is returned.

    record: the model's folder, whose card then gets the verdict. watch(section) is called after each check. Raises
    UnsupportedError for a model of another kind and OutputError where nothing can be written.
    """
    model = model if isinstance(model, Model) else load_model(model, compute)
    sections = []
    for section in measure_model(model, compute, extent, check):
        sections.append(section)
        watch(section)
    report = SafetyReport(model.name, model.sha256, extent.name, tuple(sections))
    if folder is not None:
        write_report(report, folder, f"Computed on {compute.device} in {compute.precision}: {compute.reason}")
    if record is not None:
        write_card(record, {**model.card, "safety": report.verdict()})
    return report


def write_report(report: SafetyReport, folder: Path, remark: str) -> None:
    """safety.html and safety.json, each whole or not at all."""
    described = {"model": report.model, **report.verdict(), "computed": remark, "rows": [row.as_dict() for row in report.rows]}
    try:
        write_whole(folder / "safety.html", page(report, remark).encode())
        write_whole(folder / "safety.json", (json.dumps(described, indent=2) + "\n").encode())
    except OSError as error:
        raise OutputError(f"The report cannot be written to {folder} ({error.strerror}); choose another folder.") from error
