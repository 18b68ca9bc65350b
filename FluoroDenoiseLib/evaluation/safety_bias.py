"""B1 to B4: whether grey values stay what they were, with noise, without it, and at strength 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from FluoroDenoiseLib.errors import UnsupportedError
from FluoroDenoiseLib.evaluation.metrics import data_range
from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart, images
from FluoroDenoiseLib.evaluation.safety_inserts import edge, wire
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Restore, flat_stage
from FluoroDenoiseLib.noise import NoiseEstimate, estimate_noise
from FluoroDenoiseLib.simulate import SimulatedRun, SimulationSettings, simulate

DOSES = (10.0, 40.0, 160.0)  # quanta
SIZE = (144, 144)
FRAMES = 12
FIRST_SEED = 5000
MEAN_BIAS, DECILE_BIAS, SLOPE = 0.1, 0.5, 0.005  # %, %, from 1
UNTOUCHED_MEAN, UNTOUCHED_WORST = 0.1, 0.5  # % of the range


def moving_runs(seeds: int, doses: Sequence[float] = DOSES) -> list[SimulatedRun]:
    """Anatomy that breathes and beats with a wire that moves, simulated quantum by quantum, `seeds` runs a dose."""
    return [simulate(SimulationSettings(
        size=SIZE, frames=FRAMES, quanta=dose, correlation=0.25, read_noise_quanta=1.0, tools=("guidewire",), tool_speed_px=2.0,
        tool_width_px=(2.0, 2.0), tool_attenuation=(0.4, 0.4)), FIRST_SEED + seed) for dose in doses for seed in range(seeds)]


def true_noise(run: SimulatedRun) -> NoiseEstimate:
    return NoiseEstimate(run.noise, run.settings.correlation, 0.0)


def strength_section(at_strength_0: Callable[[np.ndarray, NoiseEstimate], np.ndarray], run: SimulatedRun) -> Section:
    """B1. at_strength_0: the restorer with its strength at 0."""
    rows = Rows("B1")
    change = np.abs(np.asarray(at_strength_0(run.noisy, true_noise(run)), float) - run.noisy).max()
    rows.at_most("largest change at strength 0", change, 0.0, "grey levels")
    return Section("B1", "Strength 0", "At strength 0 every pixel comes back as it was.", tuple(rows.made))


def noise_free_section(restore: Restore, run: SimulatedRun) -> Section:
    """B2: phantoms without noise, in whole grey levels as a file holds them; the noise is estimated, as in use."""
    rows, shown = Rows("B2"), []
    for name, frames in noise_free(run).items():
        change = np.abs(restored_as_in_use(restore, frames) - frames)
        if name == "constant":
            rows.at_most("constant: largest change", change.max(), 0.0, "grey levels")
            continue
        span = data_range(frames)
        rows.at_most(f"{name}: mean change", 100 * change.mean() / span, UNTOUCHED_MEAN, "% of range")
        rows.at_most(f"{name}: 99.9th percentile", 100 * np.percentile(change, 99.9) / span, UNTOUCHED_WORST, "% of range")
        shown.append((name, change[len(change) // 2] / span))
    told = np.abs(restore(run.clean, true_noise(run)) - run.clean)
    rows.told("moving anatomy, told the noise of a noisy run: mean change", 100 * told.mean() / data_range(run.clean), "% of range")
    return Section("B2", "Pictures without noise", "Moving anatomy, an edge, a wire, a ramp and one grey, all without noise: nothing is to be taken "
                   "away. The noise is estimated from them, as in use.", tuple(rows.made),
                   (images("What was changed; white is half a percent of the range", shown, 0, 0.005),))


def noise_free(run: SimulatedRun) -> dict[str, np.ndarray]:
    """Name -> [T, H, W], whole numbers."""
    stage = flat_stage(*SIZE)
    still = lambda shape, contrast: stage.clean(np.repeat(stage.attenuation_of(shape, contrast)[None], 6, 0))
    ramp = np.broadcast_to(np.linspace(300, 3500, SIZE[1], dtype=np.float32), (6, *SIZE))
    phantoms = {"moving anatomy": run.clean, "edge": still(edge(SIZE, SIZE[1] / 2), 6.0), "wire": still(wire(SIZE, SIZE[1] / 2, 2.0), 4.0),
                "ramp": ramp, "constant": np.full((6, *SIZE), 1000.0)}
    return {name: np.rint(frames).astype(np.uint16) for name, frames in phantoms.items()}


def restored_as_in_use(restore: Restore, frames: np.ndarray) -> np.ndarray:
    """Denoised with the noise that the frames themselves show; unchanged where none can be estimated."""
    try:
        found = estimate_noise(frames)
    except (ValueError, UnsupportedError):
        return frames.astype(float)
    return np.asarray(restore(frames, found), float)


def bias_sections(runs: Sequence[SimulatedRun], restored: Sequence[np.ndarray]) -> list[Section]:
    """B3 and B4 of restored runs [T, H, W] against their truth."""
    return [_mean_bias(runs, restored), _decile_bias(runs, restored)]


def _mean_bias(runs: Sequence[SimulatedRun], restored: Sequence[np.ndarray]) -> Section:
    rows = Rows("B3")
    for dose in _doses(runs):
        chosen = [(run, clean) for run, clean in zip(runs, restored) if run.settings.quanta == dose]
        bias = np.mean([(clean - run.noisy.astype(float)).mean() / data_range(run.clean) for run, clean in chosen])
        rows.at_most(f"change of the mean at {dose:g} quanta", 100 * abs(bias), MEAN_BIAS, "% of range")
    return Section("B3", "Mean grey value", "The mean over all pixels and frames of moving anatomy, before and after.", tuple(rows.made))


def decile_bias(run: SimulatedRun, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(true mean, mean error) in each tenth of the pixels, darkest first, as shares of the grey range."""
    truth = run.clean.ravel().astype(float)
    ends = np.percentile(truth, np.linspace(0, 100, 11))
    index = np.searchsorted(ends[1:-1], truth, side="right")
    count, span = np.bincount(index, minlength=10), data_range(run.clean)
    error = np.asarray(clean, float).ravel() - truth
    level = np.bincount(index, truth, minlength=10) / count
    return (level - ends[0]) / span, np.bincount(index, error, minlength=10) / count / span


def _decile_bias(runs: Sequence[SimulatedRun], restored: Sequence[np.ndarray]) -> Section:
    rows, curves = Rows("B4"), []
    for dose in _doses(runs):
        both = [decile_bias(run, clean) for run, clean in zip(runs, restored) if run.settings.quanta == dose]
        level, error = (np.mean([one[part] for one in both], axis=0) for part in (0, 1))
        noisy = np.mean([decile_bias(run, run.noisy)[1] for run in runs if run.settings.quanta == dose], axis=0)
        worst = int(np.abs(error).argmax())
        rows.at_most(f"bias of a tenth of the greys at {dose:g} quanta", 100 * abs(error[worst]), DECILE_BIAS, "% of range",
                     f"worst: tenth {worst + 1} of 10, {100 * error[worst]:+.3f} %; the noisy frames' own {100 * noisy[worst]:+.3f} %")
        slope = float(np.polyfit(level, level + error, 1)[0])
        rows.within(f"slope of found on true grey at {dose:g} quanta", slope, 1 - SLOPE, 1 + SLOPE)
        curves.append(Curve(f"{dose:g} quanta", 100 * level, 100 * error))
    run, clean = runs[0], restored[0]
    middle, bound = len(clean) // 2, 0.03 * data_range(run.clean)
    low, high = np.percentile(run.clean, (0.5, 99.5))
    shown = images(f"{run.settings.quanta:g} quanta: one frame", [("noisy", run.noisy[middle]), ("denoised", clean[middle]),
                                                                  ("truth", run.clean[middle])], low, high)
    error = images("Error of the frame, and of the mean of all frames; black to white is 3 % of the range each way",
                   [("one frame", clean[middle] - run.clean[middle]), ("mean of frames", (clean - run.clean).mean(0))], -bound, bound)
    return Section("B4", "Bias by grey value", "The pixels of moving anatomy with a moving wire in ten groups by their true grey value: the mean "
                   "error of each group, over runs and frames.", tuple(rows.made),
                   (chart("Mean error by true grey value", curves, "true grey value, % of range", "error, % of range",
                          (-DECILE_BIAS, DECILE_BIAS)), shown, error))


def _doses(runs: Sequence[SimulatedRun]) -> list[float]:
    return sorted({run.settings.quanta for run in runs})
