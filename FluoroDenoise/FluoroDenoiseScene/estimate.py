"""What a job needs of the disk and the memory, against what is free: said before it starts, not after an hour."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from .sequences import Frames

WORKER_BYTES = 0.6e9  # Python, PyTorch and a model
WORKER_BYTES_A_PIXEL = {"fast": 600, "quality": 1900, "ct": 600}  # measured on the CPU: peaks at 256x256 and 512x512
SPARE = 1.1


@dataclass(frozen=True)
class Estimate:
    """Bytes needed and free; None where the system does not say. problem: a sentence if the job should not be started."""

    disk_bytes: int
    disk_free: int
    slicer_bytes: int
    worker_bytes: int
    memory_free: int | None
    problem: str | None
    text: str

    @property
    def memory_bytes(self) -> int:
        """Of Slicer and the worker together."""
        return self.slicer_bytes + self.worker_bytes


def estimate(frames: Frames, preset: str = "quality", device: str = "auto") -> Estimate:
    """What denoising these frames takes: input and output on the disk, the output in Slicer, the network in the worker.

    With a graphics card the worker's part is mostly in the memory of the card, which is not looked at here: the worker
    divides frames that do not fit.
    """
    pixels = frames.shape[0] * frames.shape[1]
    worker = WORKER_BYTES + WORKER_BYTES_A_PIXEL.get(preset, max(WORKER_BYTES_A_PIXEL.values())) * pixels
    disk, free = int(SPARE * 2 * frames.nbytes), shutil.disk_usage(slicer.app.temporaryPath).free
    needed, memory = frames.nbytes + int(worker), free_memory()
    problem = None
    if free < disk:
        problem = _("{disk} of temporary files are needed but {folder} has {free} free; make room, or choose fewer frames.").format(
            disk=size(disk), folder=slicer.app.temporaryPath, free=size(free))
    elif memory is not None and memory < frames.nbytes * SPARE:
        problem = _("The result needs {needed} of memory but {free} are free; choose fewer frames, or close other data.").format(
            needed=size(frames.nbytes), free=size(memory))
    text = _("{count} frames of {width}x{height}: {disk} on disk while it runs, {slicer} of memory for the result and about "
             "{worker} for the computing process").format(
        count=frames.count, width=frames.shape[1], height=frames.shape[0], disk=size(disk), slicer=size(frames.nbytes),
        worker=size(int(worker)))
    if problem is None and device == "cpu" and memory is not None and memory < needed:
        text += _("; only {free} are free, so it may be slow").format(free=size(memory))
    return Estimate(disk, free, frames.nbytes, int(worker), memory, problem, text)


def size(count: int) -> str:
    """Bytes in words."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


def free_memory() -> int | None:
    """Bytes that programs can still have without swapping; None where the system does not say."""
    if sys.platform == "win32":
        return _free_memory_on_windows()
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):  # macOS has neither
        return None


def _free_memory_on_windows() -> int | None:
    class MemoryStatus(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong), ("total", ctypes.c_ulonglong),
                    ("available", ctypes.c_ulonglong), ("rest", ctypes.c_ulonglong * 5)]

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    return status.available if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
