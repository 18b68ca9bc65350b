"""Every method on every scene under the same conditions, one row each.

All methods are told the same noise. Judged are the frames of EvaluationScene.judged; of a rival that costs seconds a frame
a few of them. A rival with several settings is judged with the best, see best_setting.
"""

import math
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict

import numpy as np

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import denoise
from FluoroDenoiseLib.evaluation.metrics import psnr, score, score_without_truth
from FluoroDenoiseLib.evaluation.rivals import RIVALS, Rival, best_setting, timed
from FluoroDenoiseLib.evaluation.rows import NAN, Row
from FluoroDenoiseLib.evaluation.scenes import LATE, EvaluationScene
from FluoroDenoiseLib.evaluation.working_memory import WorkingMemory
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.noise import NoiseEstimate

Key = tuple[str, int, str, str]


def evaluate(
    models: Sequence[Model],
    scenes: Iterable[EvaluationScene],
    compute: Compute,
    noise: str = "estimated",
    rivals: Sequence[Rival] = RIVALS,
) -> Iterator[Row]:
    """Yield the rows of every scene as they are done; see rows_of_scene."""
    for scene in scenes:
        yield from rows_of_scene(scene, models, compute, noise, rivals)


def rows_of_scene(
    scene: EvaluationScene,
    models: Sequence[Model],
    compute: Compute,
    noise: str = "estimated",
    rivals: Sequence[Rival] = RIVALS,
    done: Collection[Key] = (),
    with_ceilings: bool = True,
) -> Iterator[Row]:
    """Yield the rows of a scene as they are done: rivals first, then our models, then what the oracle could do.

    noise: what every method is told, "estimated" from the noisy frames or "true". Rivals whose package is missing are
    left out; `left_out` says which. Models run on `compute`, rivals on the CPU. done: keys of rows that are known already.
    """
    told = scene.noise(noise)
    for rival in rivals:
        if rival.missing is None and (scene.name, scene.seed, rival.name, "") not in done:
            yield _judge_rival(rival, scene, told)
    for model in models:
        if key_of(scene.name, scene.seed, model) not in done:
            yield _judge_model(model, scene, told, compute)
    if with_ceilings:
        for name, estimate in scene.ceilings():
            frames = np.arange(len(scene.noisy))[scene.judged]
            yield _row(scene, told, name, estimate, frames[-len(estimate) :], cpu_s=NAN)


def key_of(scene: str, seed: int, model: Model) -> Key:
    """The key of the row of one of our models."""
    return scene, seed, model.name, model.sha256[:12]


def left_out(rivals: Sequence[Rival] = RIVALS) -> tuple[str, ...]:
    """A sentence for each rival that cannot run here."""
    return tuple(sentence for rival in rivals if (sentence := rival.missing))


def _judge_rival(rival: Rival, scene: EvaluationScene, noise: NoiseEstimate) -> Row:
    setting = best_setting(rival, scene, noise)
    frames = rival.judged(scene)
    with WorkingMemory() as memory:
        result = timed(rival, scene.noisy[frames] if rival.frame_by_frame else scene.noisy, noise, setting)
    estimate = result.estimate if rival.frame_by_frame else result.estimate[frames]
    shown = f"{setting:g} {rival.unit}" if rival.unit else ""
    return _row(scene, noise, rival.name, estimate, frames, setting=shown, cpu_s=result.cpu_s, wall_s=result.wall_s, memory_mb=memory.peak_mb)


def _judge_model(model: Model, scene: EvaluationScene, noise: NoiseEstimate, compute: Compute) -> Row:
    with WorkingMemory() as memory:
        begin, clock = time.process_time(), time.perf_counter()
        estimate = denoise(scene.noisy, model, noise, compute)
        seconds = time.process_time() - begin, time.perf_counter() - clock
    cpu_s, wall_s = (spent / len(scene.noisy) for spent in seconds)
    return _row(
        scene, noise, model.name, np.asarray(estimate)[scene.judged], np.arange(len(scene.noisy))[scene.judged], cpu_s=cpu_s, wall_s=wall_s,
        memory_mb=NAN if compute.is_gpu else memory.peak_mb, device=compute.device, weights=model.sha256[:12],
    )  # fmt: skip


def _row(
    scene: EvaluationScene, noise: NoiseEstimate, method: str, estimate: np.ndarray, frames: np.ndarray, setting: str = "", **measured: object
) -> Row:
    """frames: indices of those that were judged; estimate: what the method made of them."""
    if scene.clean is None:
        found, late, near_late, ratio = score_without_truth(estimate, scene.span), NAN, NAN, NAN
    else:
        clean, discs = scene.clean[frames], None if scene.discs is None else scene.discs[frames]
        found = score(estimate, clean, scene.without_tools[frames], scene.near[frames], scene.span, discs)
        is_late, near = frames >= LATE, scene.near[frames]
        late, near_late = (psnr(estimate[is_late], clean[is_late], scene.span, where) for where in (None, near[is_late]))
        ratio = _sigma_ratio(scene, noise)
    return Row(scene.name, scene.seed, method, setting, **asdict(found), psnr_late=late, psnr_near_late=near_late, sigma_ratio=ratio,
               frames=len(frames), **measured)


def _sigma_ratio(scene: EvaluationScene, noise: NoiseEstimate) -> float:
    if scene.true_noise is None:
        return NAN
    grey = float(np.median(scene.clean))
    return math.sqrt(noise.model.variance(grey) / scene.true_noise.model.variance(grey))
