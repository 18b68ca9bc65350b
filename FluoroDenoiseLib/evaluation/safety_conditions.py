"""B15 and B16: the same questions at other doses, and where the restorer is told the wrong noise or shown the unusual.

Short forms of B3, B4, B7 and B11 (and of B12 where the noise told is wrong). The noise is estimated from the frames, as
in use, but where it is wrong on purpose. A condition that is announced by a warning before the result is shown passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from FluoroDenoiseLib.evaluation.metrics import data_range
from FluoroDenoiseLib.evaluation.safety_bias import DECILE_BIAS, MEAN_BIAS
from FluoroDenoiseLib.evaluation.safety_contrast import DISC_KEPT
from FluoroDenoiseLib.evaluation.safety_detectors import FalseStructures, false_structures, line_detector
from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart
from FluoroDenoiseLib.evaluation.safety_flat import FRAMES, frames_of
from FluoroDenoiseLib.evaluation.safety_inserts import cells, disc
from FluoroDenoiseLib.evaluation.safety_lag import LAG_1
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import MARGIN, TOP, Restore, Stage, Trials, anatomy_stage, flat_stage
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian, estimate_noise

FULL_DOSE = 100.0  # quanta
LADDER = (1.0, 0.5, 0.25, 0.1)
CELL = 48
SIZE = (2 * CELL, 4 * CELL)
STEP = 6
STEP_CONTRAST = 3.0  # of a disc of 15 px; more is not to be had from ten quanta


class Short(NamedTuple):
    """mean_bias, decile_bias: % of the range; lag: %, one frame after a disc has gone or come; kept: share of resting
    discs' contrast; warned: what the person is told."""

    mean_bias: float
    decile_bias: float
    lag: float
    kept: float
    warned: tuple[str, ...]


def short_form(stage: Stage, restore: Restore, seeds: Sequence[int], told: NoiseEstimate | None = None) -> Short:
    """Discs that vanish, come and rest on a stage of 2 x 4 cells; told: the noise, estimated if not given."""
    empty = stage.clean(stage.nothing(1)).repeat(FRAMES, 0)
    found = estimate_noise(np.rint(stage.noisy(empty, 99)).astype(np.uint16))
    trials = Trials(stage, restore, FRAMES, seeds, told or found)
    places, total = cells(stage.size, CELL), stage.nothing(FRAMES)
    gone, come, rest = places[0::4], places[1::4], [*places[2::4], *places[3::4]]
    for (row, column, _), when in [*((place, slice(0, STEP)) for place in gone), *((place, slice(STEP, None)) for place in come)]:
        total[when] += stage.attenuation_of(disc(stage.size, row, column, 15), STEP_CONTRAST)
    for (row, column, _), diameter, contrast in zip(rest, (15, 15, 9, 9), (1.0, 1.0, 2.0, 2.0)):
        total += stage.attenuation_of(disc(stage.size, row, column, diameter), contrast)
    inserted, last = trials.insert(total), FRAMES - 1
    lags = [inserted.share(STEP, 0, where).mean() for *_, where in gone]
    lags += [(inserted.share(last, last, where) - inserted.share(STEP, last, where)).mean() for *_, where in come]
    kept = [np.mean([inserted.share(frame, frame, where).mean() for frame in range(STEP, FRAMES)]) for *_, where in rest]
    bias, deciles = _bias(trials)
    return Short(bias, deciles, 100 * abs(float(np.mean(lags))), float(min(kept)), found.warnings)


def _bias(trials: Trials) -> tuple[float, float]:
    """(of the mean against the noisy frames, the worst of ten groups of grey against the truth), % of the range."""
    span, ends = data_range(trials.empty), np.percentile(trials.empty, np.linspace(0, 100, 11))
    index = np.searchsorted(ends[1:-1], trials.empty.ravel(), side="right")
    means, errors = [], []
    for seed in trials.seeds:
        clean = trials.without(seed).astype(float)
        means.append((clean - trials.stage.noisy(trials.empty, seed)).mean())
        errors.append(np.bincount(index, (clean - trials.empty).ravel(), minlength=10) / np.bincount(index, minlength=10))
    return 100 * abs(float(np.mean(means))) / span, 100 * float(np.abs(np.mean(errors, axis=0)).max()) / span


def ladder_section(restore: Restore, seeds: Sequence[int]) -> Section:
    """B15."""
    rows, found = Rows("B15"), {}
    for share in LADDER:
        quanta = FULL_DOSE * share
        found[share] = one = short_form(anatomy_stage(*SIZE, quanta), restore, seeds)
        rows.at_most(f"{quanta:g} quanta: change of the mean", one.mean_bias, MEAN_BIAS, "% of range")
        rows.at_most(f"{quanta:g} quanta: bias of a tenth of the greys", one.decile_bias, DECILE_BIAS, "% of range")
        rows.at_most(f"{quanta:g} quanta: lag after one frame", one.lag, LAG_1, "%")
        rows.at_least(f"{quanta:g} quanta: least contrast of resting discs", one.kept, DISC_KEPT)
    doses = [FULL_DOSE * share for share in LADDER]
    return Section("B15", "Dose ladder",
                   f"From {FULL_DOSE:g} quanta a pixel down to a tenth, the noise estimated as in use: still anatomy with discs of 15 px, contrast "
                   f"{STEP_CONTRAST:g}, that vanish or come, and resting ones of 9 and 15 px, contrast 2 and 1.", tuple(rows.made),
                   (chart("Contrast of resting discs by dose", [Curve("share kept", doses, [found[share].kept for share in LADDER])],
                          "quanta a pixel", "share", (DISC_KEPT,)),
                    chart("Lag by dose", [Curve("lag after one frame", doses, [found[share].lag for share in LADDER])], "quanta a pixel", "%",
                          (LAG_1,))))


def wrong_noise(noise: NoiseEstimate, factor: float) -> NoiseEstimate:
    """The same noise, its standard deviation wrong by a factor."""
    law = noise.model
    return replace(noise, model=PoissonGaussian(law.gain * factor**2, law.pedestal, law.read_noise * factor))


def conditions(restore: Restore, seeds: Sequence[int]) -> dict[str, tuple[Short, FalseStructures | None]]:
    """What happens in each unusual condition: the short form, and the false structures where they are asked for."""
    stage = anatomy_stage(*SIZE)
    flat = flat_stage(144, 144)
    made: dict[str, tuple[Short, FalseStructures | None]] = {}
    for factor in (0.5, 2.0):
        empty = Trials(flat, restore, FRAMES, seeds, wrong_noise(flat.noise, factor))
        made[f"told {factor:g} times the noise"] = (short_form(stage, restore, seeds, wrong_noise(stage.noise, factor)),
                                                    false_structures(line_detector(), *frames_of(empty), flat))
    made["values turned round (MONOCHROME1)"] = (short_form(stage, turned_round(restore), seeds), None)
    made["shutters on two sides"] = (short_form(shuttered(stage), restore, seeds), None)
    made["metal beside the discs"] = (short_form(with_metal(stage), restore, seeds), None)
    return made


def turned_round(restore: Restore) -> Restore:
    """Bright for dark on the way in and back again on the way out; the noise is estimated from what goes in."""
    def other_way(frames: np.ndarray, told: NoiseEstimate) -> np.ndarray:
        turned = np.float32(TOP) - frames
        return np.float32(TOP) - np.asarray(restore(turned, estimate_noise(turned)), np.float32)
    return other_way


def shuttered(stage: Stage) -> Stage:
    """The stage with 12 pixels on the left and right all but dark."""
    quanta = stage.quanta.copy()
    quanta[:, : MARGIN + 12] *= 0.02
    quanta[:, -MARGIN - 12 :] *= 0.02
    return replace(stage, quanta=quanta)


def with_metal(stage: Stage) -> Stage:
    """The stage with an all but opaque rod across its middle."""
    quanta, middle = stage.quanta.copy(), stage.quanta.shape[0] // 2
    quanta[middle - 3 : middle + 3] *= 0.03
    return replace(stage, quanta=quanta)


def mismatch_section(restore: Restore, seeds: Sequence[int]) -> Section:
    """B16."""
    rows = Rows("B16")
    for name, (short, false) in conditions(restore, seeds).items():
        note = f"announced: {short.warned[0]}" if short.warned and "told" not in name else ""
        limits = (("change of the mean", short.mean_bias, MEAN_BIAS, "% of range"), ("lag after one frame", short.lag, LAG_1, "%"))
        for what, value, limit, unit in limits:
            if note:
                rows.told(f"{name}: {what}", value, unit, note)
            else:
                rows.at_most(f"{name}: {what}", value, limit, unit)
        if false is not None:
            rows.at_most(f"{name}: rate of false wires", false.used_to / false.looks, false.allowed, "", f"{false.used_to} in {false.looks} looks")
        rows.told(f"{name}: least contrast of resting discs", short.kept)
    return Section("B16", "Wrong noise and unusual pictures",
                   "Mean, lag and false structures where the noise is stated wrongly (by its standard deviation), the grey values are turned round, "
                   "shutters or metal are in the picture. Speeds half and twice as high are those of B9.", tuple(rows.made))
