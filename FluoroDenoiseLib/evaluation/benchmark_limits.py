"""How near the machine's limit: what a frame costs at least, by the machine's own rates of convolution and of copying.

The limit of a frame is the time of its convolutions at the rate of the best large convolution measured on this machine, plus
the time to read and write once what every other operation reads and writes, at the rate of a large copy. It is no strict
bound: small convolutions cannot reach that rate, and what stays in a cache moves faster than a copy of a large array.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from FluoroDenoiseLib.compute import Compute
from FluoroDenoiseLib.denoise import FrameDenoiser, denoise_frames
from FluoroDenoiseLib.evaluation.benchmark import NOISE, noisy_run
from FluoroDenoiseLib.model_folder import Model

CHANNELS = (32, 64, 128)
SIDE = {False: 256, True: 1024}  # of the convolutions measured, on the CPU and on a GPU
COPIED_BYTES = {False: 2**26, True: 2**29}
REPEATS = 4


@dataclass(frozen=True)
class Rates:
    """flops: floating-point operations a second of the best large 3x3 convolution; bytes: read and written a second by a
    large copy. A second is one of all processor cores together on the CPU, of the clock on a GPU."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Work:
    """Of one frame of a run: floating-point operations of convolutions and matrix products; bytes that all else reads and
    writes."""

    flops: float
    bytes: float

    def limit_s(self, rates: Rates) -> float:
        return self.flops / rates.flops + self.bytes / rates.bytes


@torch.no_grad()
def measure_rates(compute: Compute) -> Rates:
    """The rates of this machine on this device at this precision; the best of REPEATS, after one to warm up."""
    device, side = compute.torch_device, SIDE[compute.is_gpu]
    best = 0.0
    for channels in CHANNELS:
        image = torch.randn(1, channels, side, side, device=device).to(memory_format=torch.channels_last)
        kernel = torch.randn(channels, channels, 3, 3, device=device).to(memory_format=torch.channels_last)
        with compute.autocast():
            seconds = _fastest(lambda: functional.conv2d(image, kernel, padding=1), compute)
        best = max(best, 2 * 9 * channels**2 * side**2 / seconds)
    source = torch.ones(COPIED_BYTES[compute.is_gpu] // 4, device=device)
    target = torch.empty_like(source)
    return Rates(best, 2 * source.nbytes / _fastest(lambda: target.copy_(source), compute))


def _fastest(work, compute: Compute) -> float:
    clock = time.perf_counter if compute.is_gpu else time.process_time
    taken = []
    for _ in range(REPEATS + 1):
        compute.synchronize()
        begin = clock()
        work()
        compute.synchronize()
        taken.append(clock() - begin)
    return min(taken[1:])


def count_work(model: Model, compute: Compute, side: int, frames: int) -> Work:
    """What a run of so many frames of side x side costs, a frame."""
    denoiser = FrameDenoiser(model.restorer, NOISE, compute, batch=1)
    with FlopCounterMode(display=False) as products, _Traffic() as traffic:
        for _ in denoise_frames(noisy_run(side, frames), denoiser):
            pass
    return Work(products.get_total_flops() / frames, traffic.bytes / frames)


class _Traffic(TorchDispatchMode):
    """Counts the bytes that operations read and write; a view moves none, and products are counted by their FLOPs."""

    bytes = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        result = operation(*arguments, **(options or {}))
        if not (operation.is_view or any(word in operation.name() for word in ("convolution", "::mm", "::bmm"))):
            self.bytes += _bytes_of([*arguments, *(options or {}).values()]) + _bytes_of(result)
        return result


def _bytes_of(values) -> int:
    if isinstance(values, Tensor):
        return values.nbytes
    return sum(map(_bytes_of, values)) if isinstance(values, (list, tuple)) else 0
