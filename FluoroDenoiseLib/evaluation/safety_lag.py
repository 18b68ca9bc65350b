"""B7 and B8: how long a restorer holds on to what is gone, and whether it keeps what lasts one frame only.

    L_n = <found in the n-th frame of the new picture - what it would show had the picture always been so, object>
          / <object, object>

the mean of an object that vanishes and one that comes. A filter y_t = a x_t + (1 - a) y_(t-1) that has settled has
L_n = (1 - a)^n. A restorer that also looks ahead can err before the step: those frames are judged by the same rule.

How wrong depends on the anatomy beside a thing as well as on the noise, so what is judged is shown at several places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart, images
from FluoroDenoiseLib.evaluation.safety_inserts import bar, cells, disc
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Inserted, Stage, Trials, anatomy_stage

FRAMES = 23
STEP = 7  # the first frame of the new picture
EVENT = STEP + 14  # the frame in which what has vanished shows once more, alone; too late for frame 10 to look ahead to
CELL = 48
ROWS = 3  # of cells; there are as many columns as it takes
LAG_1, LAG_3, EVENT_KEPT, GHOST_10 = 2.0, 0.5, 0.90, 0.5  # %, %, share, %


class Thing(NamedTuple):
    """An object of the step test; contrast in standard deviations of the noise."""

    name: str
    kind: str
    width: float
    contrast: float


THINGS = (
    Thing("disc 15 px, contrast 4", "disc", 15, 4.0),
    Thing("disc 15 px, contrast 2", "disc", 15, 2.0),
    Thing("disc 15 px, contrast 1", "disc", 15, 1.0),
    Thing("disc 7 px, contrast 2", "disc", 7, 2.0),
    Thing("wire 2 px, contrast 4", "wire", 2, 4.0),
    Thing("wire 2 px, contrast 2", "wire", 2, 2.0),
)
JUDGED = tuple(thing for thing in THINGS if thing.contrast >= 4)


def placed(places: int) -> tuple[Thing, ...]:
    """Every thing, in the order of the cells: those that are judged at so many places, the others at one."""
    return THINGS + JUDGED * (places - 1)


def field(places: int) -> tuple[int, int]:
    """Height and width, px, of a field with room for each of them twice, once vanishing and once coming."""
    return ROWS * CELL, -(-2 * len(placed(places)) // ROWS) * CELL


def drawn(thing: Thing, stage: Stage, row: float, column: float) -> np.ndarray:
    """The thing's attenuation at a place, with the contrast it has there."""
    if thing.kind == "disc":
        shape = disc(stage.size, row, column, thing.width)
    else:
        shape = bar(stage.size, row, column, thing.width, 30, turn=1.2)
    return stage.attenuation_of(shape, thing.contrast)


def attenuations(stage: Stage, things: Sequence[Thing]) -> tuple[np.ndarray, np.ndarray]:
    """([T, H, W] of things that stay, the same with a step).

    In the first cells each thing is gone from frame STEP on but for frame EVENT, in the next ones it comes at STEP.
    """
    always, step = stage.nothing(FRAMES), stage.nothing(FRAMES)
    frames = np.arange(FRAMES)[:, None, None]
    for index, (row, column, _) in enumerate(cells(stage.size, CELL)[: 2 * len(things)]):
        shown = drawn(things[index % len(things)], stage, row, column)
        always += shown
        step += shown * ((frames < STEP) | (frames == EVENT) if index < len(things) else frames >= STEP)
    return always, step


def lags(always: Inserted, step: Inserted, count: int) -> np.ndarray:
    """[count, FRAMES, S]: how wrong every frame is about each of `count` things, as a share of it."""
    left = np.empty((count, FRAMES, len(step.found)))
    for index in range(count):
        gone, come = (cells(step.true.shape[1:], CELL)[at][2] for at in (index, index + count))
        for frame in range(FRAMES):
            first, second = (come, gone) if frame < STEP else (gone, come)  # where nothing is to be seen, and where something is
            missing = always.share(frame, 0, second) - step.share(frame, 0, second, of=always)
            left[index, frame] = (step.share(frame, 0, first, of=always) + missing) / 2
    return left


def lag_sections(restore, seeds: Sequence[int], places: int = 1, stage: Stage | None = None) -> list[Section]:
    """B7 and B8 of a restorer, on still anatomy; things that are judged at so many places."""
    things = placed(places)
    trials = Trials(stage or anatomy_stage(*field(places)), restore, FRAMES, seeds)
    always, step = (trials.insert(attenuation) for attenuation in attenuations(trials.stage, things))
    spots = [spot for *_, spot in cells(trials.stage.size, CELL)[: len(things)]]
    left = _by_thing(things, 100 * lags(always, step, len(things)))
    kept = _by_thing(things, np.array([step.share(EVENT, EVENT, spot) for spot in spots])).mean(1)
    ghosts = _by_thing(things, 100 * np.array([[step.share(STEP + n - 1, 0, spot) for n in range(1, 12)] for spot in spots]))
    mean, error = left.mean(2), left.std(2) / max(1, len(trials.seeds) - 1) ** 0.5
    return [_lag(mean, error, kept, places, step), _ghost(np.abs(ghosts.mean(2)), step)]


def _by_thing(things: Sequence[Thing], measured: np.ndarray) -> np.ndarray:
    """[len(THINGS), ...]: the mean over the places of each thing, of what was measured at every place."""
    return np.stack([measured[[index for index, there in enumerate(things) if there == thing]].mean(0) for thing in THINGS])


def _lag(mean: np.ndarray, error: np.ndarray, kept: np.ndarray, places: int, step: Inserted) -> Section:
    rows = Rows("B7")
    judged = [index for index, thing in enumerate(THINGS) if thing in JUDGED]
    for frames, limit in ((1, LAG_1), (3, LAG_3), (10, None)):
        for name, at in (("after", STEP + frames - 1), ("before", STEP - frames)):
            if at < 0:
                continue
            worst = max(judged, key=lambda index: abs(mean[index, at]))
            said = f"lag, frame {frames} {name} the step", abs(mean[worst, at])
            note = f"worst: {THINGS[worst].name}, uncertain by {error[worst, at]:.2f}"
            rows.told(*said, "%", note) if limit is None else rows.at_most(*said, limit, "%", note)
    worst = min(judged, key=lambda index: kept[index])
    rows.at_least("amplitude of a single-frame event", kept[worst], EVENT_KEPT, "", f"worst: {THINGS[worst].name}")
    for index, thing in enumerate(THINGS):
        rows.told(f"{thing.name}: lag, frame 1", mean[index, STEP], "%",
                  f"in frame 3 {mean[index, STEP + 2]:.2f} %, single-frame event kept {kept[index]:.3f}")
    after = np.arange(-3, 7)
    curves = [Curve(thing.name, after + (after >= 0), mean[index, STEP - 3 : STEP + 7], error=error[index, STEP - 3 : STEP + 7])
              for index, thing in enumerate(THINGS)]
    where = np.s_[0:CELL, 0 : 3 * CELL]
    span = float(np.abs(step.true).max())
    panels = [(f"{name}, frame {frame - EVENT:+d}", which[frame][where]) for name, which in
              (("truth", step.true), ("found", step.found.mean(0))) for frame in (EVENT - 1, EVENT, EVENT + 1)]
    return Section("B7", "Lag and single-frame events",
                   "Objects on still anatomy vanish or come between two frames, or show in one frame only. Lag is what is still wrong "
                   "in the n-th frame after the step (or before it, for a model that looks ahead), as a share of the object. Contrasts are in "
                   "standard deviations of the noise; things of contrast 4, which anybody sees in a single frame, are judged, "
                   f"the mean of {places} place{'s' if places > 1 else ''} each, fainter ones reported.",
                   tuple(rows.made),
                   (chart("Share of the step that is missing, by frame", curves, "frame after (+) and before (-) the step", "lag, %",
                          (-LAG_1, LAG_1)),
                    images("What lasts one frame: as it is and as it is found", panels, -span, 0.3 * span, 1)))


def _ghost(ghosts: np.ndarray, step: Inserted) -> Section:
    rows = Rows("B8")
    judged = [index for index, thing in enumerate(THINGS) if thing in JUDGED]
    for n in (1, 10):
        worst = max(judged, key=lambda index: ghosts[index, n - 1])
        said = f"ghost after {n} frame{'s' if n > 1 else ''}", ghosts[worst, n - 1]
        note = f"worst: {THINGS[worst].name}"
        rows.at_most(*said, GHOST_10, "%", note) if n == 10 else rows.told(*said, "%", note)
    for thing, ghost in zip(THINGS, ghosts):
        rows.told(f"{thing.name}: ghost after 10 frames", ghost[9], "%")
    curves = [Curve(thing.name, range(1, 12), ghost) for thing, ghost in zip(THINGS, ghosts)]
    where, span = np.s_[0:CELL, 0 : len(THINGS) * CELL], float(np.abs(step.true).max())
    panels = [(f"{n} frame{'s' if n > 1 else ''} after", step.found.mean(0)[STEP + n - 1][where]) for n in (1, 3, 10)]
    return Section("B8", "Ghosts", "What is left of a vanished object where it was, as a share of its contrast.", tuple(rows.made),
                   (chart("Ghost by frame", curves, "frames since it vanished", "ghost, % of contrast", (GHOST_10,)),
                    images("The ghosts, five times as strong as they are", panels, -span / 5, span / 5, 1)))
