"""Whether a run lies in the range that a model has learned from, as its card tells it: the banner over what does not."""

from __future__ import annotations

import numpy as np

from FluoroDenoiseLib.detector import noise_gain
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.noise import NoiseEstimate

# How far outside a value must lie to be called so, since dose and correlation are estimates and rates are rounded.
DOSE_FACTOR, CORRELATION_SPARE, RATE_FACTOR = 2.0, 0.05, 1.1


def range_warnings(card: dict, run: FluoroRun, noise: NoiseEstimate) -> tuple[str, ...]:
    """Sentences about what of a run the model has never seen: bits, dose, frame rate, correlation of the noise, domain.

    What the card does not state, or the run does not tell, is not judged.
    """
    facts, warnings = card.get("facts") or {}, []

    def judge(name: str, value: float | None, low: float, high: float, words: str) -> None:
        if value is not None and name in facts and not low <= value <= high:
            least, most = facts[name]
            warnings.append(f"Outside the range that {card.get('name', 'the model')} has learned: {words.format(value=value)}, "
                            f"learned from {least:.3g} to {most:.3g}; compare the result with the original.")

    def ends(name: str) -> tuple[float, float]:
        return tuple(float(value) for value in facts.get(name, (0, 0)))

    low, high = ends("bits")
    judge("bits", None if run.stored_range is None else run.bits_stored, low, high, "{value:.0f} bits")
    low, high = ends("quanta")
    judge("quanta", dose(run, noise), low / DOSE_FACTOR, high * DOSE_FACTOR, "about {value:.2g} quanta a pixel")
    low, high = ends("frame_rate_hz")
    rate = 1 / run.frame_time_s if len(run) > 1 and run.frame_time_s > 0 else None
    judge("frame_rate_hz", rate, low / RATE_FACTOR, high * RATE_FACTOR, "{value:.3g} frames a second")
    low, high = ends("noise_correlation")
    judge("noise_correlation", noise.spatial_correlation, low - CORRELATION_SPARE, high + CORRELATION_SPARE,
          "neighbouring pixels share {value:.2f} of their noise")
    domain = run.intensity_relationship
    if domain != "UNKNOWN" and "domain" in facts and domain not in facts["domain"]:
        warnings.append(f"Outside the range that {card.get('name', 'the model')} has learned: values of kind {domain}, learned from "
                        f"{', '.join(facts['domain'])}; compare the result with the original.")
    return tuple(warnings)


def dose(run: FluoroRun, noise: NoiseEstimate) -> float | None:
    """Quanta a pixel of the middle frame, by the noise found; None where the noise does not tell."""
    law = noise.model
    if law.gain <= 0:
        return None
    mean = float(np.mean(run.frames[len(run) // 2], dtype=float))
    return max(mean - law.pedestal, 0.0) / law.gain * noise_gain(min(max(noise.spatial_correlation, 0.0), 0.45))
