"""Which device computes, at which precision, and why: chosen once, then handed down.

This is the only file that names CUDA. A person who asks for a GPU that cannot be used is refused; one who leaves the
choice to us is told what was chosen and why.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from FluoroDenoiseLib.errors import ResourceError, UnsupportedError

PRECISIONS = ("float32", "bfloat16", "float16")


def is_out_of_memory(error: BaseException) -> bool:
    """True if this error says that the device's memory, or the computer's, did not suffice."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # The CPU allocator and the CUDA libraries raise a bare RuntimeError; only the text tells.
    signs = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)


@dataclass(frozen=True)
class Compute:
    """A device ("cpu", "cuda:0"), the precision of the convolutions on it, and a sentence that says why this one."""

    device: str
    precision: str
    reason: str

    is_out_of_memory = staticmethod(is_out_of_memory)

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device)

    @property
    def is_gpu(self) -> bool:
        return self.torch_device.type == "cuda"

    @property
    def collectives(self) -> str:
        """What torch.distributed calls the means by which processes that compute so talk to each other."""
        return "cpu:gloo,cuda:nccl" if self.is_gpu else "gloo"

    def autocast(self) -> AbstractContextManager:
        """A context in which convolutions run at this precision; parameters and sums of results stay float32.

        float32 on a GPU means float32: the tensor cores' TF32, which keeps 10 bits of 23, is switched off inside.
        """
        if self.precision != "float32":
            return torch.autocast(self.torch_device.type, dtype=getattr(torch, self.precision))
        if self.is_gpu:
            cudnn = torch.backends.cudnn
            return cudnn.flags(
                enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, allow_tf32=False
            )
        return nullcontext()

    def memory_free_bytes(self) -> int:
        """The memory that new tensors can have, in bytes: free on the device, or cached by torch and unused."""
        if not self.is_gpu:
            return _system_memory_free_bytes()
        free, _ = torch.cuda.mem_get_info(self.torch_device)
        return free + torch.cuda.memory_reserved(self.torch_device) - torch.cuda.memory_allocated(self.torch_device)

    def renew_peak_memory(self) -> None:
        """Count the peak of a GPU's memory from here on."""
        if self.is_gpu:
            torch.cuda.reset_peak_memory_stats(self.torch_device)

    def peak_memory_bytes(self) -> int:
        """The most that tensors held on a GPU since then; 0 on the CPU, where torch does not count."""
        return torch.cuda.max_memory_allocated(self.torch_device) if self.is_gpu else 0

    def synchronize(self) -> None:
        """Return when everything queued on the device is done, so that a clock read next measures it."""
        if self.is_gpu:
            torch.cuda.synchronize(self.torch_device)


def choose(device: str = "auto", precision: str = "auto") -> Compute:
    """The device and precision to compute with.

    device: "auto" (the first usable GPU, else the CPU), "cpu", "cuda" or "cuda:N". Among processes of one training on one
    machine each takes the GPU of its own number, and is refused where there are fewer GPUs than processes.
    precision: "auto" (float32 on the CPU, float16 on a GPU, where bfloat16 would cost up to 8 of 4096 grey levels and
    float16 about 0.1), "float32", "bfloat16" or "float16".
    Raises ResourceError if a GPU is named that cannot be used, UnsupportedError for any other word.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UnsupportedError(f"Precision '{precision}' is not known; use auto, {', '.join(PRECISIONS)}.")
    if device == "auto":
        refusal = _why_unusable(0)
        if refusal is None:
            return _on_gpu(_own_gpu(), precision)
        return Compute("cpu", _settle(precision, "float32"), f"CPU, because {refusal}.")
    if device == "cpu":
        return Compute("cpu", _settle(precision, "float32"), "CPU, because it was asked for.")
    named = re.fullmatch(r"cuda(?::(\d+))?", device)
    if named is None:
        raise UnsupportedError(f"Device '{device}' is not known; use auto, cpu or cuda:0 (cuda:1 for the second GPU).")
    index = _own_gpu() if named[1] is None else int(named[1])
    refusal = _why_unusable(index)
    if refusal is not None:
        raise ResourceError(f"Device '{device}' cannot be used, because {refusal}; use auto or cpu instead.")
    return _on_gpu(index, precision)


def describe() -> list[dict[str, object]]:
    """Every device of this machine in plain values, the CPU first, for the `probe` command.

    Keys: device, name, memory_bytes, memory_free_bytes, usable, and note (a sentence). Where no GPU is seen, the CPU's
    note says why.
    """
    seen, _ = _count_gpus()
    refusal = None if seen else _why_unusable(0)
    note = f"{torch.get_num_threads()} threads" + (f"; no GPU, because {refusal}." if refusal else ".")
    cpu = {"device": "cpu", "name": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
           "memory_bytes": _system_memory_bytes(), "memory_free_bytes": _system_memory_free_bytes(),
           "usable": True, "note": note}
    return [cpu, *(_describe_gpu(index) for index in range(seen))]


def release_cached_memory() -> None:
    """Give the memory that torch holds but does not use back to the devices; after running out of memory."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def _settle(precision: str, default: str) -> str:
    return default if precision == "auto" else precision


def _on_gpu(index: int, precision: str) -> Compute:
    gpu = torch.cuda.get_device_properties(index)
    reason = f"{gpu.name} with {gpu.total_memory / 2**30:.0f} GiB of memory."
    return Compute(f"cuda:{index}", _settle(precision, "float16"), reason)


def _own_gpu() -> int:
    """The GPU of this process: the first one, or under torchrun that of its number on this machine."""
    index = int(os.environ.get("LOCAL_RANK", 0))
    refusal = _why_unusable(index) if index else None
    if refusal is not None:
        raise ResourceError(f"Process {index} has no GPU of its own, because {refusal}; start as many processes as there are GPUs.")
    return index


def _count_gpus() -> tuple[int, str]:
    """How many GPUs answer, and what torch warned of while counting (an old driver, for one)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, " ".join(str(warning.message) for warning in caught)


def _why_unusable(index: int) -> str | None:
    """The reason why this GPU cannot be used, to follow "because", or None if it can; proven by computing on it."""
    if not torch.backends.cuda.is_built():
        return "torch was built without CUDA"
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in ("", "-1"):
        return "CUDA_VISIBLE_DEVICES hides every GPU"
    count, warned = _count_gpus()
    if count == 0:
        return "the NVIDIA driver is too old for this torch" if "too old" in warned else "no NVIDIA driver answers"
    if index >= count:
        return f"there are only {count} GPUs, counted from 0" if count > 1 else "there is only one GPU, cuda:0"
    try:
        torch.ones(8, device=f"cuda:{index}").sum().item()
    except RuntimeError as error:  # a GPU this torch has no kernels for, or one whose memory is all taken
        return f"a first sum on it failed ({str(error).splitlines()[0]})"
    return None


def _describe_gpu(index: int) -> dict[str, object]:
    gpu = torch.cuda.get_device_properties(index)
    refusal = _why_unusable(index)
    return {"device": f"cuda:{index}", "name": gpu.name, "memory_bytes": gpu.total_memory,
            "memory_free_bytes": 0 if refusal else torch.cuda.mem_get_info(index)[0], "usable": refusal is None,
            "note": f"Not usable, because {refusal}." if refusal else f"Compute capability {gpu.major}.{gpu.minor}."}


class _WindowsMemory(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [("length", ctypes.c_ulong), ("load", ctypes.c_ulong)] + [
        (name, ctypes.c_ulonglong)
        for name in ("total", "free", "page_total", "page_free", "virtual_total", "virtual_free", "extended_free")
    ]


def _windows_memory() -> _WindowsMemory:
    memory = _WindowsMemory(length=ctypes.sizeof(_WindowsMemory))
    ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(memory))
    return memory


def _system_memory_bytes() -> int:
    if os.name == "nt":
        return _windows_memory().total
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _system_memory_free_bytes() -> int:
    """What the system can still give: Windows and Linux say; elsewhere all physical memory is named.

    In a container its own limit counts too (cgroup version 2).
    """
    if os.name == "nt":
        return _windows_memory().free
    free = _system_memory_bytes()
    meminfo, limit, used = (
        Path(path)
        for path in ("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current")
    )
    if meminfo.exists():
        free = int(re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text())[1]) * 1024
    if limit.exists() and used.exists() and limit.read_text().strip() != "max":
        free = min(free, max(0, int(limit.read_text()) - int(used.read_text())))
    return free
