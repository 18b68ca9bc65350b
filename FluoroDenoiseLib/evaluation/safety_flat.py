"""B12 and B14: what a restorer makes of an empty field. Structures that are not there, and the texture of what is left.
"""

from __future__ import annotations

import math

import numpy as np

from FluoroDenoiseLib.evaluation.safety_detectors import blob_detector, false_structures, line_detector
from FluoroDenoiseLib.evaluation.safety_figures import Curve, chart, images
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.evaluation.safety_stage import Trials

FRAMES = 12
JUDGED = (5, 8, 11)  # frames, far enough apart to differ
BLOCK = 48
FREQUENCY_SHIFT, LINE_SIGMAS = 25.0, 5.0  # %, standard deviations


def frames_of(trials: Trials) -> tuple[np.ndarray, np.ndarray]:
    """The judged frames of every seed, noisy and restored, [N, H, W]."""
    judged = list(JUDGED)
    noisy = np.concatenate([trials.stage.noisy(trials.empty, seed)[judged] for seed in trials.seeds])
    return noisy, np.concatenate([trials.without(seed)[judged] for seed in trials.seeds])


def invention_section(trials: Trials) -> Section:
    """B12. trials: on a flat stage, FRAMES frames each."""
    rows = Rows("B12")
    noisy, restored = frames_of(trials)
    for detector in (blob_detector(), line_detector()):
        found = false_structures(detector, noisy, restored, trials.stage)
        said = (("the same grey difference", found.same), (f"contrast {detector.faint:g} or more, out of the noise that is left", found.used_to))
        for name, count in said:
            rows.at_most(f"rate of a false {detector.name}: {name}", count / found.looks, found.allowed, "",
                         f"{count} in {found.looks} looks, {found.input} in the noisy frames")
        rows.told(f"rate of a false {detector.name}, however faint", found.faintest / found.looks, "", f"{found.faintest} in {found.looks} looks")
        strongest = [detector.everywhere(frame) for frame in restored]
        rows.told(f"strongest false {detector.name}", max(strongest) / detector.of_contrast_1(trials.stage), "of the noise's standard deviation",
                  f"in the noisy frames {max(map(detector.everywhere, noisy)) / detector.of_contrast_1(trials.stage):.2f}")
    worst = int(np.argmax(strongest))
    level, sigma = float(trials.empty.mean()), math.sqrt(trials.stage.law.variance(float(trials.empty.mean())))
    before, after = ((frames[worst] - level) / sigma for frames in (noisy, restored))
    return Section("B12", "False structures", "An empty field with noise. Discs and pieces of wire that are not there are counted where a detector finds what, "
                   "in the noisy frames, it finds at one look in a thousand (limit: 95 % confidence).", tuple(rows.made),
                   (images("The frame with the strongest false line, before and after (three standard deviations of the input's noise each way), and "
                           "after alone with its contrast raised eightfold", [("noisy", before), ("denoised", after), ("denoised, raised", 8 * after)], -3, 3),))


def spectrum(frames: np.ndarray) -> np.ndarray:
    """Mean noise power spectrum [BLOCK, BLOCK] of the frames [N, H, W] in squares, windowed, zero frequency first."""
    window = np.outer(np.hanning(BLOCK), np.hanning(BLOCK))
    count, height, width = frames.shape
    squares = frames[:, : height // BLOCK * BLOCK, : width // BLOCK * BLOCK]
    squares = squares.reshape(count, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(0, 1, 3, 2, 4).reshape(-1, BLOCK, BLOCK)
    squares = squares - (squares * window).sum((1, 2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2(squares * window)) ** 2
    return power.mean(0) / (window**2).sum()


def radius() -> np.ndarray:
    frequency = np.fft.fftfreq(BLOCK)
    return np.hypot(frequency[:, None], frequency)


def mean_frequency(power: np.ndarray) -> float:
    """Mean of the frequency weighted by the power, cycles a pixel."""
    return float((radius() * power).sum() / power.sum())


def strongest_line(power: np.ndarray) -> float:
    """How far the most exceptional frequency stands above others of its distance from zero, in their standard deviations.

    A pattern of the network (a grid of its strides) is a line in the spectrum; noise has none.
    """
    ring, level = np.rint(radius() * BLOCK).astype(int), np.log(np.maximum(power, 1e-30))
    rings = range(2, BLOCK // 2 + 1)
    # The spectrum falls within a ring as well: what is expected is read off a curve through the rings' medians.
    expected = np.interp(radius(), [np.median(radius()[ring == which]) for which in rings],
                         [np.median(level[ring == which]) for which in rings])
    strongest = 0.0
    for which in range(3, BLOCK // 2):
        above = (level - expected)[ring == which]
        sigma = max(1.4826 * np.median(np.abs(above - np.median(above))), 1e-3)
        strongest = max(strongest, float(above.max() / sigma))
    return strongest


def texture_section(trials: Trials) -> Section:
    """B14."""
    rows = Rows("B14")
    before, after = (spectrum(frames) for frames in frames_of(trials))
    frequencies = [mean_frequency(power) for power in (before, after)]
    rows.at_most("shift of the mean frequency", 100 * abs(frequencies[1] / frequencies[0] - 1), FREQUENCY_SHIFT, "%",
                 f"{frequencies[0]:.3f} cycles a pixel before, {frequencies[1]:.3f} after")
    rows.at_most("strongest line", strongest_line(after), LINE_SIGMAS, "standard deviations", f"in the input {strongest_line(before):.1f}")
    rows.told("noise that is left", 100 * math.sqrt(after.sum() / before.sum()), "% of its standard deviation")
    ring = np.rint(radius() * BLOCK).astype(int)
    x = np.arange(1, BLOCK // 2)
    curves = [Curve(name, x / BLOCK, [power[ring == which].mean() for which in x], dashed) for name, power, dashed in
              (("noisy", before, True), ("denoised", after, False))]
    shown = [(name, np.fft.fftshift(np.log10(power))) for name, power in (("noisy", before), ("denoised", after))]
    low, high = np.percentile(np.concatenate([image for _, image in shown]), (1, 99.5))
    return Section("B14", "Texture of the noise", "The noise power spectrum of an empty field, before and after. What is left of the noise is coarser; lines "
                   "in the spectrum would be patterns that the network adds.", tuple(rows.made),
                   (chart("Noise power by frequency", curves, "cycles a pixel", "power, grey levels squared", logarithmic=True),
                    images("The spectra (logarithm), zero frequency in the middle", shown, low, high, 3)))
