"""The banner over runs that a model has not learned from: shown where it must be, absent where it must not."""

from __future__ import annotations

import numpy as np

from FluoroDenoiseLib.detector import noise_gain
from FluoroDenoiseLib.evaluation.safety_rows import Rows, Section
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.model_range import range_warnings
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

GAIN, PEDESTAL = 4.0, 20.0


def banner_section(card: dict) -> Section:
    """Runs in the middle of the card's range and outside it in one respect each."""
    rows = Rows("banner")
    for name, (run, noise, outside) in _cases(card.get("facts") or {}).items():
        shown = range_warnings(card, run, noise)
        if outside:
            rows.at_least(f"{name}: banner shown", len(shown), 1, "", shown[0] if shown else "")
        else:
            rows.at_most(f"{name}: banner shown", len(shown), 0, "", shown[0] if shown else "")
    return Section("banner", "Banner outside the range", "Whether denoising warns of runs that the model has not learned from, by what its card "
                   "says of bits, dose, frame rate and noise.", tuple(rows.made))


def _cases(facts: dict) -> dict[str, tuple[FluoroRun, NoiseEstimate, bool]]:
    middle = {"quanta": 50.0, "frame_rate_hz": 15.0, "noise_correlation": 0.2, "bits": 12}
    for name, (low, high) in ((name, facts[name]) for name in middle if name in facts):
        middle[name] = min(max(middle[name], low), high)
    domain = facts.get("domain", ["LIN"])[-1]
    cases = {"in range": (*_run(middle, domain), False)}
    outside = {
        "quanta": ("a tenth of the least dose", lambda low, high: low / 10), "frame_rate_hz": ("twice the frame rate", lambda low, high: 2 * high),
        "noise_correlation": ("noise more correlated", lambda low, high: high + 0.1), "bits": ("fewer bits", lambda low, high: low - 2),
    }
    for name, (words, value) in outside.items():
        if name in facts:
            cases[words] = (*_run({**middle, name: value(*facts[name])}, domain), True)
    return cases


def _run(values: dict, domain: str) -> tuple[FluoroRun, NoiseEstimate]:
    """Two frames of one grey, as the noise told with them explains it."""
    noise = NoiseEstimate(PoissonGaussian(GAIN, PEDESTAL, 1.0), values["noise_correlation"], 0.0)
    grey = PEDESTAL + GAIN * values["quanta"] / noise_gain(min(values["noise_correlation"], 0.45))
    frames = np.full((2, 8, 8), grey, np.float32).astype(np.uint16)
    return FluoroRun.from_array(frames, 1 / values["frame_rate_hz"], bits_stored=int(values["bits"]), intensity_relationship=domain), noise
