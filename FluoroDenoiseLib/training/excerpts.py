"""What there is time for: as many consecutive frames of each run, at the faster precision."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.recursion import Recursion

FEWEST = 12  # frames of a run: fewer give the recursion no memory and the noise no statistics
STEPS_PER_FRAME = 2 * 2.5  # of the recursion: as acquired and perturbed, forwards once and backwards with its look-ahead


class Excerpt(Sequence):
    """The frames first ... first + count - 1 of a run, read when asked for."""

    def __init__(self, frames: Sequence[np.ndarray], first: int, count: int):
        self._frames, self._first, self._count = frames, first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._frames[self._first + index]


def excerpts(runs: Sequence[FluoroRun], most: int) -> list[tuple[int, FluoroRun]]:
    """At most about `most` frames in all: the middles of the runs, or of some of the runs, spread evenly, each with its
    index in `runs`; at least FEWEST frames of one run."""
    if sum(len(run) for run in runs) <= most:
        return list(enumerate(runs))
    wanted = max(1, min(len(runs), most // FEWEST))
    chosen = sorted({round(place) for place in np.linspace(0, len(runs) - 1, wanted)})
    share = max(FEWEST, most // len(chosen))
    return [(index, _middle(runs[index], share)) for index in chosen]


def _middle(run: FluoroRun, count: int) -> FluoroRun:
    if len(run) <= count:
        return run
    first = (len(run) - count) // 2
    times = run.frame_times_s[first : first + count]
    return replace(run, frames=Excerpt(run.frames, first, count), frame_times_s=tuple(one - times[0] for one in times))


def seconds_a_frame(run: FluoroRun) -> float:
    """How long a frame of this run takes to be prepared on this machine, measured on two."""
    frames = [torch.from_numpy(np.array(run.frames[index], np.float32)) for index in (0, min(1, len(run) - 1))]
    scale = max(float(frames[0].std()), 1e-6) / 10
    recursion = Recursion()
    _, state = recursion.step(frames[0] / scale)
    began = time.monotonic()
    recursion.step(frames[1] / scale, state)
    return STEPS_PER_FRAME * (time.monotonic() - began)


def faster(network: nn.Module, radius: int, guides: str, compute: Compute) -> Compute:
    """The CPU in bfloat16 where that is faster, as it is with matrix units and hardly elsewhere; a GPU stays as it is."""
    if compute.is_gpu:
        return compute
    inputs = torch.zeros(2, 2 * radius + 1, 128, 128), torch.ones(2, 2 if guides == "causal" else 4, 128, 128)
    seconds = {}
    for precision in ("float32", "bfloat16", "float32", "bfloat16"):  # twice: the first time of each is no measure
        began = time.monotonic()
        with torch.no_grad(), replace(compute, precision=precision).autocast():
            network(*inputs)
        seconds[precision] = time.monotonic() - began
    return replace(compute, precision=min(seconds, key=seconds.get))
