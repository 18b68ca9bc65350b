"""The scenes on which methods are compared: seeded, so that every number can be had again.

Simulated ones by their names in scene_catalogue; "reference": two rigid layers with white noise, for which the oracle is
known. A real still run with the mean of many other frames as its truth can be added, and what real_scenes finds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.metrics import data_range, near_tools, tool_mask
from FluoroDenoiseLib.evaluation.oracle import ReferenceScene, oracle, reference_scene
from FluoroDenoiseLib.evaluation.scene_catalogue import DEFAULT, DISCS, REAL, REFERENCE, named, settings_of
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian, estimate_noise
from FluoroDenoiseLib.simulate import ct_slabs, simulate

WARM_UP = 2
"""Frames at either end that are denoised but not judged: methods with a memory have not yet filled it there."""
FIRST_SEED = 1000
LATE = 10
"""From this frame on a causal method has had ten frames to fill its memory: what `late` PSNR and efficiency refer to."""
ALL_FRAMES, PAST_FRAMES = "oracle, all frames", "oracle, past frames"
"""The ceilings that efficiency refers to; each also with the tool's picture given."""
TOOL_KNOWN = ", tool known"


@dataclass(frozen=True)
class EvaluationScene:
    """noisy, clean, without_tools: [T, H, W] stored values; near: [T, H, W], True near tools.

    clean and without_tools are None where the truth is not known. true_noise: the law, None where none of that form
    holds. ceilings: what the oracle makes of the last of the judged frames, or of all, by name, made one at a time; nothing
    where motion and noise are not known exactly. discs: [T, H, W], True where a tool is a disc, None where none is.
    """

    name: str
    seed: int
    noisy: np.ndarray
    clean: np.ndarray | None
    without_tools: np.ndarray | None
    near: np.ndarray
    true_noise: NoiseEstimate | None
    ceilings: Callable[[], Iterator[tuple[str, np.ndarray]]] = lambda: iter(())
    discs: np.ndarray | None = None

    @cached_property
    def span(self) -> float:
        """The grey range of the clean run, for PSNR; that of the noisy one where no other is known."""
        return data_range(self.noisy if self.clean is None else self.clean)

    @property
    def judged(self) -> slice:
        """The frames that are judged: all but WARM_UP at either end, or all of a run too short for that."""
        return slice(WARM_UP, -WARM_UP) if len(self.noisy) > 2 * WARM_UP else slice(None)

    def noise(self, kind: str) -> NoiseEstimate:
        """The noise that every method is told: "estimated" from the noisy frames, or "true"."""
        if kind == "estimated":
            return estimate_noise(self.noisy)
        if kind != "true":
            raise InputError(f'Noise "{kind}" is not known; choose "estimated" or "true".')
        if self.true_noise is None:
            raise InputError(f'The true noise of scene "{self.name}" is not known; evaluate with estimated noise.')
        return self.true_noise


@dataclass(frozen=True)
class PlannedScene:
    """A scene that is made when it is needed."""

    name: str
    seed: int
    make: Callable[[], EvaluationScene]


def planned_scenes(
    names: Sequence[str] = DEFAULT,
    seeds: int = 3,
    size: int = 512,
    frames: int = 12,
    ct: tuple[np.ndarray, tuple[float, float, float]] | None = None,
) -> list[PlannedScene]:
    """The named simulated scenes (or groups of them) with `seeds` seeds each, the reference with one.

    ct: Hounsfield units [Z, Y, X] and spacing (z, y, x) in mm; its right half, seen from the front, is the anatomy
    (pre-training keeps to the left half). Without it the anatomy is procedural. size and frames do not touch the
    reference, whose published numbers are for 20 frames of 256 x 256.
    """
    slabs = None if ct is None else _right_half(*ct)
    plan = []
    for name in named(names):
        if name in REAL:
            raise InputError(f'Scene "{name}" is real data; name its folder with --data, or leave it out.')
        if name == "projected" and ct is None:
            raise InputError('Scene "projected" needs a CT volume; name one with --ct, or leave it out.')
        if name == REFERENCE:
            plan.append(PlannedScene(name, 0, known_scene))
        else:
            plan += [PlannedScene(name, seed, partial(simulated_scene, name, seed, size, frames, slabs)) for seed in range(seeds)]
    return plan


def evaluation_scenes(*what, **how) -> Iterator[EvaluationScene]:
    """Make the scenes that planned_scenes plans, one at a time."""
    for planned in planned_scenes(*what, **how):
        yield planned.make()


def simulated_scene(name: str, seed: int, size: int, frames: int, slabs: np.ndarray | None = None) -> EvaluationScene:
    """One of the slab scenes; `seed` 0, 1, 2 ... gives other views, motions and noise of the same kind."""
    settings = settings_of(name, size, frames, slabs is not None)
    run = simulate(settings, FIRST_SEED + seed, slabs)
    true = None if run.noise is None else NoiseEstimate(run.noise, settings.correlation, 0.0)
    tools = tool_mask(run.clean, run.without_tools)
    discs = tools if settings.tools == DISCS["tools"] else None
    return EvaluationScene(name, seed, run.noisy, run.clean, run.without_tools, near_tools(tools), true, discs=discs)


def known_scene() -> EvaluationScene:
    """The reference scene, in counts, with its oracle; near the tool is where its attenuation exceeds 0.05."""
    scene = reference_scene()
    true = NoiseEstimate(PoissonGaussian(1.0, 0.0, scene.read_noise), 0.0, 0.0)
    near = scene.tools > 0.05
    return EvaluationScene(
        REFERENCE, 0, scene.noisy, scene.clean, scene.without_tools, near, true, partial(_ceilings, scene), scene.discs > 0.05
    )


def _ceilings(scene: ReferenceScene) -> Iterator[tuple[str, np.ndarray]]:
    """What the oracle makes of the judged frames, of the late ones alone from their past; its own frame is part of that."""
    frames = range(len(scene.noisy))
    judged = frames[WARM_UP:-WARM_UP]
    yield "oracle, one frame", np.concatenate([oracle(scene, [t], [t]) for t in judged])
    yield "oracle, five frames", np.concatenate([oracle(scene, frames[t - 2 : t + 3], [t]) for t in judged])
    for known in (False, True):
        given = TOOL_KNOWN if known else ""
        late = [oracle(scene, frames[: t + 1], [t], tool_known=known) for t in judged if t >= LATE]
        yield PAST_FRAMES + given, np.concatenate(late)
        yield ALL_FRAMES + given, oracle(scene, frames, judged, tool_known=known)


def still_scene(frames: np.ndarray, truth: np.ndarray, name: str = "still") -> EvaluationScene:
    """A real run [T, H, W] in which nothing moves, judged by a mean [H, W] of other frames.

    The truth has noise of its own and the beam drifts, so PSNR has a ceiling here; drift of the mean is taken out of
    the truth, frame by frame.
    """
    drift = frames.mean(axis=(1, 2), dtype=float) / truth.mean(dtype=float)
    clean = truth[None].astype(float) * drift[:, None, None]
    return EvaluationScene(name, 0, frames, clean, clean, np.zeros(clean.shape, bool), None)


def _right_half(ct_hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    return ct_slabs(ct_hu[:, :, ct_hu.shape[2] // 2 :], spacing_mm, angle_deg=0, pixel_mm=0.22, seed=99)
