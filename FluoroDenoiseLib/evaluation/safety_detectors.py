"""Detectors of things that are not there: a blob as of a 5-px disc, and short lines as of a 2-px wire in eight directions.

They look at many places of an empty field. The threshold is the one by which they call a structure at one look in a
thousand at the noisy frames. Denoised frames are asked twice: by an observer who calls the same grey difference a
structure, and by one who has got used to the lower noise and calls whatever stands out of it just so, if it is at least
half as strong as the faintest thing of its kind that a model is asked to keep (B11).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from FluoroDenoiseLib.evaluation.safety_inserts import bar, disc
from FluoroDenoiseLib.evaluation.safety_stage import Stage

REACH = 12  # pixels that a detector sees on each side
PITCH = 12  # pixels between places
DIRECTIONS = 8
FALSE_ALARMS = 1e-3
THRESHOLD = 3.2905  # standard deviations that a normal variable exceeds, either way, at FALSE_ALARMS


class Detector(NamedTuple):
    """kernels: [D, 2 REACH + 1, 2 REACH + 1], one a direction, blind to an even grey; faint: the contrast, in standard
    deviations of the noise, of half the faintest thing of its kind that must be kept."""

    name: str
    kernels: np.ndarray
    faint: float

    def at(self, frames: np.ndarray) -> np.ndarray:
        """What it says of frames [T, H, W] at its places, [T, rows, columns, D]."""
        near = np.arange(-REACH, REACH + 1)
        rows, columns = (np.arange(REACH + 2, extent - REACH - 2, PITCH) for extent in frames.shape[1:])
        places = frames[:, rows[:, None] + near][..., columns[:, None] + near]  # [T, rows, reach, columns, reach]
        return np.einsum("trycx,dyx->trcd", places, self.kernels, optimize=True)

    def everywhere(self, frame: np.ndarray) -> float:
        """The strongest it says of any pixel of a frame [H, W] that it sees whole, by magnitude."""
        spectrum, strongest = np.fft.rfft2(frame - frame.mean()), 0.0
        for kernel in self.kernels:
            response = np.fft.irfft2(spectrum * np.fft.rfft2(kernel[::-1, ::-1], frame.shape), frame.shape)
            strongest = max(strongest, float(np.abs(response[2 * REACH :, 2 * REACH :]).max()))
        return strongest

    def of_contrast_1(self, stage: Stage) -> float:
        """What it says of its own kind of thing, one standard deviation of the noise strong, right in front of it."""
        middle = (stage.size[0] // 2, stage.size[1] // 2)
        shape = disc(stage.size, *middle, 5) if len(self.kernels) == 1 else bar(stage.size, *middle, 2, 26, 0.0)
        change = stage.clean(stage.attenuation_of(shape, 1.0)[None])[0] - stage.clean(stage.nothing(1))[0]
        seen = change[middle[0] - REACH : middle[0] + REACH + 1, middle[1] - REACH : middle[1] + REACH + 1]
        return float(np.abs(np.einsum("yx,dyx->d", seen, self.kernels)).max())


def blob_detector() -> Detector:
    near = np.arange(-REACH, REACH + 1)
    narrow, wide = (np.outer(one, one) / one.sum() ** 2 for one in (np.exp(-0.5 * (near / sigma) ** 2) for sigma in (2.0, 4.0)))
    return Detector("disc of 5 px", (narrow - wide)[None], 0.5)


def line_detector() -> Detector:
    y, x = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]
    kernels = []
    for turn in np.arange(DIRECTIONS) * math.pi / DIRECTIONS:
        along, across = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
        narrow, wide = (np.exp(-0.5 * (across / sigma) ** 2 - 0.5 * (along / 6) ** 2) for sigma in (1.0, 3.0))
        kernels.append(narrow / narrow.sum() - wide / wide.sum())
    return Detector("wire of 2 px", np.stack(kernels), 1.0)


class FalseStructures(NamedTuple):
    """Of how many looks: called in the noisy frames; in the restored ones by the same grey difference, by an observer used to
    the lower noise, by one used to it who calls even the faintest; ratio: how strong responses are, as a share of the input's."""

    looks: int
    input: int
    same: int
    used_to: int
    faintest: int
    ratio: float

    @property
    def allowed(self) -> float:
        """The rate that is not more than the input's, by chance at 95 % confidence."""
        return round(upper_bound(max(round(FALSE_ALARMS * self.looks), self.input), self.looks), 5)


def false_structures(detector: Detector, noisy: np.ndarray, restored: np.ndarray, stage: Stage) -> FalseStructures:
    """Count them in frames [N, H, W] of an empty field."""
    before, after = detector.at(noisy), detector.at(restored)
    before, after = np.abs(before - before.mean()), np.abs(after - after.mean())
    sigmas = [float(np.sqrt((responses**2).mean())) for responses in (before, after)]
    faint = detector.faint * detector.of_contrast_1(stage)
    count = lambda threshold: int((after > max(threshold, 1e-9)).sum())
    return FalseStructures(after.size, int((before > THRESHOLD * sigmas[0]).sum()), count(THRESHOLD * sigmas[0]), count(max(THRESHOLD * sigmas[1], faint)),
                           count(THRESHOLD * sigmas[1]), sigmas[1] / sigmas[0])


def upper_bound(count: int, looks: int) -> float:
    """The rate that is, with 95 % confidence, not exceeded where `count` of `looks` were found (Wilson's interval)."""
    share, z = count / looks, 1.645
    middle, spread = share + z * z / (2 * looks), z * math.sqrt(share * (1 - share) / looks + z * z / (4 * looks**2))
    return (middle + spread) / (1 + z * z / looks)
