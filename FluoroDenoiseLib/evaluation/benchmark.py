"""How fast: every preset, batch and frame size on a device, beside the rivals, in turns so that a busy machine is fair to all.

Measured is what a person waits for: frames come as numpy arrays and go as numpy arrays, copies to and from a GPU included;
reading and writing files and estimating the noise are not. On the CPU seconds are those of all processor cores together,
which other programs disturb least; on a GPU they are those of the clock, read after all work queued is done.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import FrameDenoiser
from FluoroDenoiseLib.evaluation.rivals import RIVALS, Rival
from FluoroDenoiseLib.evaluation.working_memory import WorkingMemory
from FluoroDenoiseLib.model_folder import Model
from FluoroDenoiseLib.noise import NoiseEstimate, PoissonGaussian

NOISE = NoiseEstimate(PoissonGaussian(gain=4.0, pedestal=0.0, read_noise=3.0), 0.0, 0.0)
GREY, DEPTH = 800.0, 0.4
SPEED_PX = 2
RIVAL_NAMES = ("non-local means", "BM3D")
RIVAL_FRAMES = 1


@dataclass(frozen=True)
class Reading:
    """One contestant's turn. seconds: see above, of all its frames; wall_s: by the clock; waits_s: of each frame, from
    handing it over to having it back."""

    frames: int
    seconds: float
    wall_s: float
    waits_s: tuple[float, ...] = ()


@dataclass(frozen=True)
class Contestant:
    """Something that is timed. turn() gives a Reading; model, batch and late_frames are those of ours, else None."""

    name: str
    device: str
    precision: str
    side: int
    turn: Callable[[], Reading]
    batch: int | None = None


@dataclass(frozen=True)
class Timing:
    """A contestant and its turns, with the memory that its first one took, in million bytes (nan where it is not known)."""

    contestant: Contestant
    readings: tuple[Reading, ...]
    memory_mb: float

    @property
    def seconds_a_frame(self) -> float:
        return float(np.median([reading.seconds / reading.frames for reading in self.readings]))

    @property
    def frames_a_second(self) -> float:
        return float(np.median([reading.frames / reading.wall_s for reading in self.readings]))

    def wait_ms(self, percentile: float) -> float:
        """From handing a frame over to having it back, milliseconds; nan where frames are not handed over one by one."""
        waits = [wait for reading in self.readings for wait in reading.waits_s]
        return 1000 * float(np.percentile(waits, percentile)) if waits else float("nan")

    def times_faster_than(self, other: "Timing") -> float:
        """The ratio of seconds a frame, turn by turn, and of these the median: a machine that slows down disturbs it least."""
        pairs = zip(self.readings, other.readings)
        return float(np.median([(b.seconds / b.frames) / (a.seconds / a.frames) for a, b in pairs]))


def in_turns(contestants: Sequence[Contestant], rounds: int, compute: Compute) -> Iterator[Timing]:
    """Time each contestant `rounds` times, A B C A B C, after a turn each that warms up and in which its memory is measured."""
    memory = [_memory_mb(one, compute) for one in contestants]
    readings: list[list[Reading]] = [[] for _ in contestants]
    for _ in range(rounds):
        for contestant, kept in zip(contestants, readings):
            kept.append(contestant.turn())
    for contestant, kept, taken in zip(contestants, readings, memory):
        yield Timing(contestant, tuple(kept), taken)


def _memory_mb(contestant: Contestant, compute: Compute) -> float:
    if contestant.device == "cpu":
        with WorkingMemory() as memory:
            contestant.turn()
        return memory.peak_mb
    compute.renew_peak_memory()
    contestant.turn()
    return compute.peak_memory_bytes() / 1e6


def preset(model: Model, compute: Compute, side: int, frames: int, batch: int) -> Contestant:
    """A model on a run of so many frames of side x side, the flush at its end included."""
    run = noisy_run(side, frames)
    return Contestant(model.name, compute.device, compute.precision, side, lambda: _denoise(model, compute, run, batch), batch)


def rivals(side: int) -> list[Contestant]:
    """The rivals that are installed, on RIVAL_FRAMES frames of side x side, with the middle of their settings."""
    run = noisy_run(side, RIVAL_FRAMES)
    found = [rival for rival in RIVALS if rival.name in RIVAL_NAMES and rival.missing is None]
    return [Contestant(rival.name, "cpu", "float64", side, lambda rival=rival: _filter(rival, run)) for rival in found]


def noisy_run(side: int, frames: int) -> np.ndarray:
    """uint16 [frames, side, side]: a bright field with smooth dark shapes that moves SPEED_PX a frame, with quantum noise."""
    rng = np.random.default_rng(0)
    length = side + SPEED_PX * frames
    along = np.linspace(0, 12, length)[:, None] + rng.uniform(0, 6, 6)
    across = np.linspace(0, 12, side)[:, None] + rng.uniform(0, 6, 6)
    shapes = GREY * (1 - DEPTH * (1 + np.sin(along) @ np.sin(across).T / 6) / 2)
    clean = np.stack([shapes[SPEED_PX * t : SPEED_PX * t + side] for t in range(frames)])
    law = NOISE.model
    noisy = rng.poisson(clean / law.gain) * law.gain + rng.normal(0, law.read_noise, clean.shape)
    return noisy.clip(0, 65535).round().astype(np.uint16)


def _denoise(model: Model, compute: Compute, run: np.ndarray, batch: int) -> Reading:
    denoiser = FrameDenoiser(model.restorer, NOISE, compute, batch)
    handed_over, waits = [], []
    compute.synchronize()
    begin, cpu = time.perf_counter(), time.process_time()

    def take(ready: list) -> None:
        for clean in ready:
            clean.cpu().numpy()
            waits.append(time.perf_counter() - handed_over[len(waits)])

    for frame in run:
        handed_over.append(time.perf_counter())
        take(denoiser.push(frame))
    take(denoiser.flush())
    compute.synchronize()
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    return Reading(len(run), wall_s if compute.is_gpu else cpu_s, wall_s, tuple(waits) if batch == 1 else ())


def _filter(rival: Rival, run: np.ndarray) -> Reading:
    begin, cpu = time.perf_counter(), time.process_time()
    rival.run(run, NOISE, rival.settings[len(rival.settings) // 2])
    return Reading(len(run), time.process_time() - cpu, time.perf_counter() - begin)


def growth(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of seconds = c size^p, by least squares of the logarithms: 1 is linear, less is better than linear."""
    x, y = np.log(sizes), np.log(seconds)
    return float(np.polyfit(x, y, 1)[0])
