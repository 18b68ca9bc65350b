"""The safety report after an adaptation: its quick form, within the time that the person gave."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Callable

import numpy as np

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.safety import QUICK, QUICK_FRAMES, safety_report
from FluoroDenoiseLib.model_folder import Model, load_model
from FluoroDenoiseLib.model_verdict import verdict_in_words, verdict_of
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

if TYPE_CHECKING:
    from FluoroDenoiseLib.training.adapt import Adaptation

MOST_OF_THE_TIME = 0.4  # share of the time that the report may take of an adaptation's


def quick_seconds(model: Model, compute: Compute) -> float:
    """About how long the quick form takes on this machine, by the time of a few frames."""
    frames = np.random.default_rng(0).normal(1000, 30, (4, 144, 144)).astype(np.float32)
    noise = NoiseEstimate(PoissonGaussian(0.0, 0.0, 30.0), 0.0, 0.0)
    denoise(frames[:2], model, noise, compute)
    begin = time.monotonic()
    denoise(frames, model, noise, compute)
    return (time.monotonic() - begin) / len(frames) * QUICK_FRAMES


def reserve_time(job: Adaptation) -> bool:
    """Take the report's time from what an adaptation may use, before it starts; False, and nothing, where that were too much."""
    seconds = quick_seconds(job.start, job.compute)
    if seconds > MOST_OF_THE_TIME * job.seconds:
        return False
    job.seconds -= seconds
    return True


def judge_adapted(folder: Path, compute: Compute, there_is_time: bool, check: Callable[[], None] = lambda: None) -> str:
    """Report on the model in `folder` beside it as safety.html and safety.json, note the verdict in its card, and give it as a
    sentence. A model whose weights are judged already is not judged again; one that is interrupted counts as not judged."""
    model = load_model(folder, compute)
    if verdict_of(model.card) is not None:
        return verdict_in_words(model.card)
    if not there_is_time:
        return f"{verdict_in_words(model.card)[:-1]}; for its short form here the minutes do not suffice."
    try:
        safety_report(model, compute, folder, QUICK, folder, check)
    except KeyboardInterrupt:
        return f"The safety report was interrupted, so the model in {folder.name} is kept but counts as not checked."
    return verdict_in_words(load_model(folder, compute).card)
