"""B11 and B17: how much of the contrast of small and faint things is left, of common ones and of rare ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from FluoroDenoiseLib.evaluation.safety_figures import Curve, Figure, chart, images
from FluoroDenoiseLib.evaluation.safety_inserts import bar, bolus, cells, clip, disc, marker_pair
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Inserted, Stage, Trials, anatomy_stage

FRAMES = 10
SETTLED = 4
CELL = 48
SIZE = (3 * CELL, 4 * CELL)
DISC_KEPT, WIRE_KEPT = 0.90, 0.85
SPEED = 2.0  # px a frame, of what moves
TURNING = 6  # after so many frames it goes back


class Object(NamedTuple):
    """What is shown in one cell; contrast in standard deviations of the noise; least: share that must be left, or None."""

    name: str
    kind: str
    size: float
    contrast: float
    least: float | None


COMMON = (
    Object("disc 5 px, contrast 1", "disc", 5, 1.0, DISC_KEPT),
    Object("disc 5 px, contrast 2", "disc", 5, 2.0, DISC_KEPT),
    Object("disc 9 px, contrast 1", "disc", 9, 1.0, DISC_KEPT),
    Object("disc 9 px, contrast 2", "disc", 9, 2.0, DISC_KEPT),
    Object("disc 15 px, contrast 1", "disc", 15, 1.0, DISC_KEPT),
    Object("disc 15 px, contrast 0.5", "disc", 15, 0.5, None),
    Object("wire 2 px, contrast 1", "wire", 2, 1.0, None),
    Object("wire 2 px, contrast 2", "wire", 2, 2.0, WIRE_KEPT),
    Object("wire 2 px, contrast 4", "wire", 2, 4.0, WIRE_KEPT),
)
RARE = (
    Object("surgical clip, contrast 4", "clip", 0, 4.0, DISC_KEPT),
    Object("balloon markers, contrast 4", "markers", 0, 4.0, DISC_KEPT),
    Object("balloon markers, contrast 2", "markers", 0, 2.0, DISC_KEPT),
    Object("contrast bolus 4 px a frame, contrast 3", "bolus", 4, 3.0, DISC_KEPT),
    Object("contrast bolus 4 px a frame, contrast 1.5", "bolus", 4, 1.5, DISC_KEPT),
)


def _shape(thing: Object, size: tuple[int, int], row: float, column: float, frame: int) -> np.ndarray:
    match thing.kind:
        case "disc":
            return disc(size, row, column, thing.size)
        case "wire":
            return bar(size, row, column, thing.size, 26)
        case "clip":
            return clip(size, row, column)
        case "markers":
            return marker_pair(size, row, column)
        case "bolus":
            return bolus(size, row, column, thing.size * frame)
    raise ValueError(f"{thing.kind!r} is no kind of object.")


def kept(trials: Trials, things: Sequence[Object], speed: float) -> tuple[np.ndarray, Inserted]:
    """[things, S]: the share of each thing's contrast that is found, averaged over the settled frames, and all of it."""
    size, total = trials.stage.size, trials.stage.nothing(trials.frames)
    places = cells(size, CELL)
    for thing, (row, column, _) in zip(things, places):
        full = _shape(thing, size, row, column, 8)
        strength = trials.stage.attenuation_of(full, thing.contrast).max() / full.max()
        for frame in range(trials.frames):
            way = speed * (TURNING - abs(TURNING - frame)) - speed * TURNING / 2
            total[frame] += strength * _shape(thing, size, row, column + way, frame)
    inserted = trials.insert(total)
    shares = [np.mean([inserted.share(frame, frame, where) for frame in range(SETTLED, trials.frames)], axis=0)
              for _, (_, _, where) in zip(things, places)]
    return np.array(shares), inserted


def contrast_section(restore, seeds: Sequence[int], stage: Stage | None = None) -> Section:
    """B11, at rest and moving."""
    trials = Trials(stage or anatomy_stage(*SIZE), restore, FRAMES, seeds)
    rows, curves, figures = Rows("B11"), [], []
    for speed in (0.0, SPEED):
        shares, inserted = kept(trials, COMMON, speed)
        name = "at rest" if speed == 0 else f"{speed:g} px a frame"
        for thing, share in zip(COMMON, shares):
            _judge(rows, f"{thing.name}, {name}", share, thing.least)
        curves.append(Curve(name, range(1, len(COMMON) + 1), shares.mean(1), error=_error(shares)))
        figures.append(_shown(f"The objects {name}: as they are and as they are found", inserted))
    return Section("B11", "Contrast recovery",
                   "Discs and wires of known contrast (peak, in standard deviations of the noise) on still anatomy: the share of their true "
                   "difference that the denoised frames show.", tuple(rows.made),
                   (chart("Share of the contrast, objects in the order of the table", curves, "object", "share", (DISC_KEPT, WIRE_KEPT)), *figures))


def rare_section(restore, seeds: Sequence[int]) -> Section:
    """B17: shapes that no training scene draws so."""
    trials = Trials(anatomy_stage(*SIZE, seed=8), restore, FRAMES, seeds)
    rows = Rows("B17")
    shares, inserted = kept(trials, RARE, 0.0)
    for thing, share in zip(RARE, shares):
        _judge(rows, thing.name, share, thing.least)
    return Section("B17", "Rare content", "A surgical clip, balloon markers and the front of a contrast bolus, drawn otherwise than in any training "
                   "scene: the share of their contrast that is left.", tuple(rows.made),
                   (_shown("Rare objects in the last frame: as they are and as they are found", inserted),))


def _judge(rows: Rows, name: str, share: np.ndarray, least: float | None) -> None:
    note = f"uncertain by {share.std() / max(1, len(share) - 1) ** 0.5:.3f}"
    if least is None:
        rows.told(name, share.mean(), "", note)
    else:
        rows.at_least(name, share.mean(), least, "", note)


def _error(shares: np.ndarray) -> np.ndarray:
    return shares.std(1) / max(1, shares.shape[1] - 1) ** 0.5


def _shown(caption: str, inserted: Inserted) -> Figure:
    span = float(np.abs(inserted.true[-1]).max())
    return images(caption, [("truth", inserted.true[-1]), ("found, mean over noise", inserted.found.mean(0)[-1]),
                            ("found in one noise", inserted.found[0, -1])], -0.7 * span, 0.3 * span)
