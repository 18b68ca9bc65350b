"""How much memory a computation held at most, beyond what the process held before.

Linux counts the peak of a process and lets it be counted anew, so methods can be measured one after the other; elsewhere
the answer is nan. Memory of a GPU is not counted.
"""

import ctypes
import re
from pathlib import Path

_STATUS, _RENEW = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class WorkingMemory:
    """`with WorkingMemory() as memory: ...`, then memory.peak_mb: million bytes, results that are kept included."""

    peak_mb = float("nan")

    def __enter__(self) -> "WorkingMemory":
        self._before = _renew()
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            self.peak_mb = max(0, _kilobytes("VmHWM") - self._before) * 1024 / 1e6


def _renew() -> int | None:
    """Give back what is free, count the peak from here on, and return the kilobytes held now; None where that cannot be."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _RENEW.write_text("5")
        return _kilobytes("VmRSS")
    except (OSError, AttributeError, TypeError):
        return None


def _kilobytes(name: str) -> int:
    return int(re.search(rf"{name}:\s+(\d+) kB", _STATUS.read_text())[1])
