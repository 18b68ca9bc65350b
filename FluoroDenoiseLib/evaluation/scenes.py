"""The scenes on which methods are compared: seeded, so that every number can be had again.

"q8", "q30", "q120": three slabs of anatomy that move apart, one faint wire of 2.4 pixels at 3.5 pixels a frame, spatially
correlated noise, at that many quanta. "reference": two rigid layers with white noise, for which the oracle is known.
A real still run with the mean of many other frames as its truth can be added.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.evaluation.metrics import data_range, near_tools, tool_mask
from FluoroDenoiseLib.evaluation.oracle import oracle, reference_scene
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian, estimate_noise
from FluoroDenoiseLib.simulate import SimulationSettings, ct_slabs, simulate

QUANTA = {"q8": 8.0, "q30": 30.0, "q120": 120.0}
SCENES = (*QUANTA, "reference")
WARM_UP = 2
"""Frames at either end that are denoised but not judged: methods with a memory have not yet filled it there."""
FIRST_SEED = 1000


@dataclass(frozen=True)
class EvaluationScene:
    """noisy, clean, without_tools: [T, H, W] stored values; near: [T, H, W], True near tools.

    true_noise: the law, None where none of that form holds. ceilings: what the oracle makes of the judged frames, by
    name, made one at a time; nothing where motion and noise are not known exactly.
    """

    name: str
    seed: int
    noisy: np.ndarray
    clean: np.ndarray
    without_tools: np.ndarray
    near: np.ndarray
    true_noise: NoiseEstimate | None
    ceilings: Callable[[], Iterator[tuple[str, np.ndarray]]] = lambda: iter(())

    @cached_property
    def span(self) -> float:
        """The grey range of the clean run, for PSNR."""
        return data_range(self.clean)

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


def evaluation_scenes(
    names: Sequence[str] = SCENES,
    seeds: int = 3,
    size: int = 512,
    frames: int = 12,
    ct: tuple[np.ndarray, tuple[float, float, float]] | None = None,
) -> Iterator[EvaluationScene]:
    """Make the named scenes one at a time, the simulated ones with `seeds` seeds each, the reference with one.

    ct: Hounsfield units [Z, Y, X] and spacing (z, y, x) in mm; its right half, seen from the front, is the anatomy
    (pre-training keeps to the left half). Without it the anatomy is procedural. size and frames do not touch the
    reference, whose published numbers are for 20 frames of 256 x 256.
    """
    unknown = sorted(set(names) - set(SCENES))
    if unknown:
        raise InputError(f'Scene "{unknown[0]}" is not known; choose from {", ".join(SCENES)}.')
    slabs = None if ct is None else _right_half(*ct)
    for name in names:
        if name == "reference":
            yield known_scene()
        else:
            for seed in range(seeds):
                yield simulated_scene(name, seed, size, frames, slabs)


def simulated_scene(name: str, seed: int, size: int, frames: int, slabs: np.ndarray | None = None) -> EvaluationScene:
    """One of the slab scenes; `seed` 0, 1, 2 ... gives other views, motions and noise of the same kind."""
    settings = SimulationSettings(
        size=(size, size), frames=frames, anatomy="procedural" if slabs is None else "slabs", quanta=QUANTA[name],
        correlation=0.25, read_noise_quanta=1.0, pan_px=0.5,
        tools=("guidewire",), tool_speed_px=3.5, tool_width_px=(2.4, 2.4), tool_attenuation=(0.4, 0.4),
    )  # fmt: skip
    run = simulate(settings, FIRST_SEED + seed, slabs)
    true = None if run.noise is None else NoiseEstimate(run.noise, settings.correlation, 0.0)
    near = near_tools(tool_mask(run.clean, run.without_tools))
    return EvaluationScene(name, seed, run.noisy, run.clean, run.without_tools, near, true)


def known_scene() -> EvaluationScene:
    """The reference scene, in counts, with its oracle; near the tool is where its attenuation exceeds 0.05."""
    scene = reference_scene()
    true = NoiseEstimate(PoissonGaussian(1.0, 0.0, scene.read_noise), 0.0, 0.0)
    frames = range(len(scene.noisy))
    judged = frames[WARM_UP:-WARM_UP]

    def ceilings() -> Iterator[tuple[str, np.ndarray]]:
        yield "oracle, one frame", np.concatenate([oracle(scene, [t], [t]) for t in judged])
        yield "oracle, five frames", np.concatenate([oracle(scene, frames[t - 2 : t + 3], [t]) for t in judged])
        yield "oracle, all frames", oracle(scene, frames, judged)

    return EvaluationScene(
        "reference", 0, scene.noisy, scene.clean, scene.without_tools, scene.tools > 0.05, true, ceilings
    )


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
