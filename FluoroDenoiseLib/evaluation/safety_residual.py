"""B6: what was taken away must be noise: no local mean, nothing at edges, no more than there was, as white as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from FluoroDenoiseLib.detector import noise_gain, transfer_function
from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart, images
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.simulate import SimulatedRun

BLOCK = 16
STANDARD_ERRORS = 3.0
BLOCKS_WITHIN, EDGE_CORRELATION, VARIANCE_RATIO = 0.99, 0.05, 1.05
LAGS = 6  # pixels, of the correlation that is drawn


def block_sigma(correlation: float) -> float:
    """Standard deviation of the mean of BLOCK x BLOCK pixels of unit noise with this correlation of neighbours."""
    size = 256
    spectrum = transfer_function(size, size, correlation).square() / noise_gain(correlation)
    box = torch.zeros(size, size)
    box[:BLOCK, :BLOCK] = 1 / BLOCK**2
    window = torch.fft.rfft2(box).abs().square()
    weight = torch.full((size // 2 + 1,), 2.0)
    weight[0] = weight[-1] = 1.0
    return math.sqrt(float((spectrum * window * weight).sum()) / size**2)


def blocks(frames: np.ndarray) -> np.ndarray:
    """Means over whole BLOCK x BLOCK squares of [T, H, W]."""
    count, height, width = frames.shape
    whole = frames[:, : height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    return whole.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).mean((2, 4))


def removed(run: SimulatedRun, clean: np.ndarray) -> np.ndarray:
    """What was taken away, [T, H, W], in standard deviations of the noise there."""
    return (run.noisy - np.asarray(clean, float)) / np.sqrt(run.noise.variance(run.clean.astype(float)))


def edge_correlation(residual: np.ndarray, truth: np.ndarray) -> float:
    """Correlation of what was taken away with the truth's gradient, by magnitude, over all pixels; 0 if nothing was taken."""
    if residual.std() == 0:
        return 0.0
    rows, columns = np.gradient(truth.astype(float), axis=(1, 2))
    return float(np.corrcoef(residual.ravel(), np.hypot(rows, columns).ravel())[0, 1])


def autocorrelation(frames: np.ndarray) -> np.ndarray:
    """Correlation of [T, H, W] with itself 0 to LAGS pixels along x and y, their mean; nan where there is nothing."""
    centred = frames - frames.mean((1, 2), keepdims=True)
    power = (centred**2).mean()
    if power == 0:
        return np.full(LAGS + 1, np.nan)
    along = [((centred[:, lag:] * centred[:, :-lag]).mean() + (centred[..., lag:] * centred[..., :-lag]).mean()) / 2 for lag in range(1, LAGS + 1)]
    return np.array([1.0, *np.array(along) / power])


def residual_section(runs: Sequence[SimulatedRun], restored: Sequence[np.ndarray]) -> Section:
    """B6 of restored runs."""
    rows, curves, shown = Rows("B6"), [], None
    for dose in sorted({run.settings.quanta for run in runs}):
        chosen = [(run, clean) for run, clean in zip(runs, restored) if run.settings.quanta == dose]
        taken = [removed(run, clean) for run, clean in chosen]
        noise = [removed(run, run.clean) for run, _ in chosen]
        limit = STANDARD_ERRORS * block_sigma(chosen[0][0].settings.correlation)
        within = np.mean([np.abs(blocks(one)) <= limit for one in taken])
        itself = np.mean([np.abs(blocks(one)) <= limit for one in noise])
        rows.at_least(f"blocks without a mean at {dose:g} quanta", within, BLOCKS_WITHIN, "", f"the noise itself {itself:.4f}")
        edges = np.mean([edge_correlation(one, run.clean) for one, (run, _) in zip(taken, chosen)])
        rows.at_most(f"correlation with edges at {dose:g} quanta", abs(edges), EDGE_CORRELATION)
        ratio = np.mean([one.var() for one in taken]) / np.mean([one.var() for one in noise])
        rows.at_most(f"variance over the noise's at {dose:g} quanta", ratio, VARIANCE_RATIO)
        found, true = (np.mean([autocorrelation(one) for one in series], axis=0) for series in (taken, noise))
        rows.told(f"correlation of neighbours at {dose:g} quanta", found[1], "", f"the noise's {true[1]:.3f}")
        curves += [Curve(f"removed, {dose:g} quanta", range(LAGS + 1), found), Curve("", range(LAGS + 1), true, dashed=True)]
        shown = shown or (taken[0], noise[0])
    middle = len(shown[0]) // 2
    panels = [("removed", shown[0][middle]), ("the noise", shown[1][middle]), ("mean of all removed", shown[0].mean(0) * 2)]
    return Section("B6", "What was removed",
                   "The difference of noisy and denoised frames of moving anatomy, in standard deviations of the noise: its means over 16 x 16 "
                   "pixels stay within three standard errors, it does not follow edges, there is no more of it than of noise, and its "
                   "correlation over distance is that of the noise (dashed).", tuple(rows.made),
                   (chart("Correlation of what was removed", curves, "distance, px", "correlation"),
                    images("Four standard deviations each way; the mean of all frames twice as strong", panels, -4, 4)))
