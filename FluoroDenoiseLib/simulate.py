"""Moving X-ray scenes with exact truth: anatomy and tools that move, and a detector whose noise is the clinic's.

simulate(settings, seed) gives noisy frames, the frames a perfect denoiser would return, and the same without tools.
"""

import dataclasses
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .anatomy import VesselTree, procedural_layers, vessel_tree
from .detector import Detector, Response, noise_gain
from .errors import InputError
from .layer_motion import LayerMotion, layer_motions, look_through, pan_path
from .noise import PoissonGaussian
from .projection import ct_slabs
from .simulation_settings import SimulationSettings, random_settings
from .tools import draw_blinking, draw_tools, make_tool

__all__ = [
    "SimulatedRun", "SimulationSettings", "ct_slabs", "load_simulated", "random_settings", "save_simulated", "simulate",
]  # fmt: skip

MARGIN = 16  # pixels drawn round the field, so that blur and spots come from beyond the border as well


@dataclass(frozen=True)
class SimulatedRun:
    """Stored frames and their truth, all [T, H, W].

    noisy: uint8 up to 8 bits, uint16 above. clean: float32, expected stored value, blurred, scattered and lagging as
    noisy is, but never recursed. without_tools: float32, the same scene at the same dose with no tool in it. noise: the
    law of noisy round clean, None where none of that form holds.
    """

    noisy: np.ndarray
    clean: np.ndarray
    without_tools: np.ndarray
    noise: PoissonGaussian | None
    settings: SimulationSettings
    seed: int


@torch.no_grad()
def simulate(settings: SimulationSettings, seed: int, slabs: np.ndarray | None = None) -> SimulatedRun:
    """A run with its truth; the same settings, seed and slabs give the same values.

    slabs: [S, H, W] line integrals, back first (see ct_slabs), needed where settings.anatomy is "slabs"; a seeded part
    of them, zoomed and turned over at random, is what the scene shows.
    """
    height, width = settings.size
    rng = np.random.default_rng([seed, 1])
    full_height, full_width = height + 2 * MARGIN, width + 2 * MARGIN
    anatomy = _moving_anatomy(settings, rng, full_height, full_width, slabs)
    drawn = [
        make_tool(kind, rng, height, width, settings.frames, speed, attenuation, tool_width)
        for kind, speed, attenuation, tool_width in _tool_choices(settings, rng)
    ]
    tools = torch.from_numpy(draw_tools(drawn, settings.frames, height, width, MARGIN))
    if settings.blinking:
        blinks, noise = np.random.default_rng([seed, 3]), settings.quanta**-0.5
        tools += torch.from_numpy(draw_blinking(blinks, settings.blinking, settings.frames, height, width, MARGIN, noise))
    if settings.collimated:
        anatomy = anatomy + _collimator(rng, full_height, full_width)
    bare = _soften(torch.exp(-anatomy), settings.blur_px)
    seen = _soften(torch.exp(-anatomy - tools), settings.blur_px)
    scatter = settings.scatter_fraction * _scatter(bare)
    seen, bare = (1 - settings.scatter_fraction) * seen + scatter, (1 - settings.scatter_fraction) * bare + scatter
    edge = slice(MARGIN, -MARGIN)
    dose = settings.quanta / float(seen[:, edge, edge].mean())
    seen, bare = dose * seen, dose * bare
    detector = _detector(settings, seen[:, edge, edge])
    generator = torch.Generator().manual_seed(int(np.random.default_rng([seed, 2]).integers(2**62)))
    return SimulatedRun(
        noisy=detector.read_out(seen, generator),
        clean=detector.expect(seen).numpy(),
        without_tools=detector.expect(bare).numpy(),
        noise=detector.law(seen[:, edge, edge]),
        settings=settings,
        seed=seed,
    )


def _moving_anatomy(
    settings: SimulationSettings, rng: np.random.Generator, height: int, width: int, slabs: np.ndarray | None
) -> Tensor:
    """Attenuation [T, H, W] of the layers together, each moved in its own way, contrast arriving in the middle one."""
    if settings.anatomy not in ("procedural", "slabs"):
        raise InputError(f'Anatomy "{settings.anatomy}" is not known; choose "procedural" or "slabs".')
    if settings.anatomy == "slabs" and slabs is None:
        raise InputError('Anatomy "slabs" needs the slabs of a CT; give them, or choose "procedural".')
    layers = settings.layers if settings.anatomy == "procedural" else len(slabs)
    times = np.arange(settings.frames) * settings.frame_time_s
    motions = layer_motions(
        rng, layers, height, width, times,
        settings.breathing_px, settings.breath_period_s, settings.heart_px, settings.heart_rate_hz,
        pan_path(rng, settings.frames, settings.pan_px),
    )  # fmt: skip
    border = int(np.ceil(max(motion.reach() for motion in motions))) + 4
    canvas = (height + 2 * border, width + 2 * border)
    if settings.anatomy == "procedural":
        images = procedural_layers(rng, *canvas, layers, settings.pixel_mm)
    else:
        images = _part_of(slabs, rng, *canvas)
    images = _scaled_to_range(images, settings.dynamic_range)
    tree = None
    if settings.contrast_agent > 0:
        tree = vessel_tree(rng, *canvas, settings.contrast_agent, settings.pixel_mm)
    progress = rng.uniform(-0.2, 1.2) + times * rng.uniform(0.3, 1.2)
    return _move(images, motions, tree, progress, settings.frames)


def _move(
    images: list[np.ndarray], motions: list[LayerMotion], tree: VesselTree | None, progress: np.ndarray, frames: int
) -> Tensor:
    total = None
    for index, (image, motion) in enumerate(zip(images, motions, strict=True)):
        layer, filling = torch.from_numpy(image), tree is not None and index == len(images) // 2
        seen = []
        for frame in range(frames):
            filled = layer + torch.from_numpy(tree.filled(progress[frame])) if filling else layer
            seen.append(look_through(filled, motion.displacement(frame)))
        total = torch.stack(seen) if total is None else total.add_(torch.stack(seen))
    return total


def _scaled_to_range(images: list[np.ndarray], dynamic_range: float) -> list[np.ndarray]:
    """The layers scaled together so that their transmission spans dynamic_range between its 5th and 95th percentile."""
    low, high = np.percentile(sum(images)[::3, ::3], (5, 95))
    return [image * np.float32(np.log(dynamic_range) / max(high - low, 1e-3)) for image in images]


def _part_of(slabs: np.ndarray, rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """A random part of the slabs, zoomed to 0.8 to 1.3 (more where they are too small) and perhaps mirrored."""
    zoom = max(rng.uniform(0.8, 1.3), height / slabs.shape[1], width / slabs.shape[2])
    rows = min(slabs.shape[1], int(np.ceil(height / zoom)))
    columns = min(slabs.shape[2], int(np.ceil(width / zoom)))
    # Rays that miss the body show nothing; of a few places take the one with most of it.
    places = [(rng.integers(slabs.shape[1] - rows + 1), rng.integers(slabs.shape[2] - columns + 1)) for _ in range(6)]
    coarse = slabs[:, ::8, ::8].sum(0)
    body = [coarse[y // 8 : (y + rows) // 8, x // 8 : (x + columns) // 8].sum() for y, x in places]
    top, left = places[int(np.argmax(body))]
    part = torch.from_numpy(np.array(slabs[:, top : top + rows, left : left + columns], np.float32))
    part = functional.interpolate(part[None], size=(height, width), mode="bicubic", align_corners=False)[0]
    flips = [axis for axis in (1, 2) if rng.random() < 0.5]
    return list(part.flip(flips).numpy())


def _tool_choices(settings: SimulationSettings, rng: np.random.Generator) -> list[tuple[str, float, float, float]]:
    choices = []
    for index, kind in enumerate(settings.tools):
        speed = settings.tool_speed_px * (1.0 if index == 0 else rng.uniform(0.2, 1.0))
        attenuation = np.exp(rng.uniform(*np.log(settings.tool_attenuation)))
        choices.append((kind, speed, float(attenuation), float(rng.uniform(*settings.tool_width_px))))
    return choices


def _collimator(rng: np.random.Generator, height: int, width: int) -> Tensor:
    """Attenuation of shutters on up to four sides, edges two pixels soft, still in the field."""
    x, y = torch.arange(width), torch.arange(height)[:, None]
    share = rng.uniform(-0.05, 0.2, 4)
    gaps = (x - share[0] * width, (1 - share[1]) * width - x, y - share[2] * height, (1 - share[3]) * height - y)
    return 2.0 * sum(torch.sigmoid(-2 * gap.float()) for gap in gaps)


def _soften(frames: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of [T, H, W], border repeated."""
    if sigma <= 0:
        return frames
    reach = max(1, int(np.ceil(3 * sigma)))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).float()
    frames = functional.pad(frames[:, None], (reach,) * 4, mode="replicate")
    return functional.conv2d(functional.conv2d(frames, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def _scatter(frames: Tensor) -> Tensor:
    """Scattered quanta [T, H, W]: the primary image smeared over a quarter of the field, same mean."""
    height, width = frames.shape[-2:]
    coarse = _soften(functional.adaptive_avg_pool2d(frames[:, None], (24, 24))[:, 0], 4.0)
    spread = functional.interpolate(coarse[:, None], size=(height, width), mode="bilinear", align_corners=False)[:, 0]
    return spread * (frames.mean((1, 2), keepdim=True) / spread.mean((1, 2), keepdim=True))


def _detector(settings: SimulationSettings, quanta: Tensor) -> Detector:
    """The detector that shows these expected quanta without clipping more than a few noise peaks."""
    dark, bright = np.percentile(quanta[:, ::3, ::3].numpy(), (0.5, 99.9))
    spread = noise_gain(settings.correlation)
    peak = bright + 4 * np.sqrt(bright * spread + settings.read_noise_quanta**2)
    largest = 2**settings.bits - 1
    knee = 0.375 * spread + settings.read_noise_quanta**2 / max(spread, 1e-6)
    pedestal = 0.0
    if settings.domain == "LIN":
        # Enough below zero quanta for read noise not to be clipped, and never less than a hundredth of the range.
        below = 5 * settings.read_noise_quanta
        pedestal = largest * max(0.01, settings.range_used * below / (peak + below))
    response = Response(
        domain=settings.domain,
        top=largest * settings.range_used if settings.domain != "DISP" else float(largest),
        dark_quanta=0.5 * float(dark),
        bright_quanta=float(peak),
        knee_quanta=float(knee if settings.domain == "DISP" else knee + 0.05 * settings.quanta),
        pedestal=float(pedestal),
    )
    return Detector(
        response, settings.bits, settings.correlation, settings.read_noise_quanta,
        settings.lag, settings.vendor_recursion, settings.ramp_up, MARGIN,
    )  # fmt: skip


def save_simulated(run: SimulatedRun, folder: Path | str) -> None:
    """Write noisy.npy, clean.npy, without_tools.npy, settings.json into a folder that appears whole or not at all."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".fluorodenoise-", dir=folder.parent))
    try:
        for name in ("noisy", "clean", "without_tools"):
            np.save(aside / f"{name}.npy", getattr(run, name))
        noise = None if run.noise is None else dataclasses.asdict(run.noise)
        described = {"settings": dataclasses.asdict(run.settings), "seed": run.seed, "noise": noise}
        (aside / "settings.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        os.chmod(aside, 0o755)  # mkdtemp keeps others out
        os.replace(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def load_simulated(folder: Path | str) -> SimulatedRun:
    """The run that save_simulated wrote, its frames memory-mapped and read-only."""
    folder = Path(folder)
    if not (folder / "settings.json").is_file():
        raise InputError(f"{folder} holds no simulated run (settings.json is missing); name a folder saved whole.")
    described = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    listed, noise = described["settings"].items(), described["noise"]
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in listed}
    return SimulatedRun(
        *(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("noisy", "clean", "without_tools")),
        noise=None if noise is None else PoissonGaussian(**noise),
        settings=SimulationSettings(**settings),
        seed=described["seed"],
    )
