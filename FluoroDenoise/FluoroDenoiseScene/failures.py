"""One sentence for whatever ended a worker: what happened and what to do, in the words of the panel."""

from __future__ import annotations

import re
from typing import Iterable

from slicer.i18n import tr as _

# What a library or the library's own command line says -> what a person at the panel can do about it. The first that fits.
ADVICE = (
    (r"CUDA out of memory|OutOfMemoryError|Memory does not suffice|MemoryError|can't allocate memory",
     _("Memory does not suffice for frames of this size; choose the preset fast or the device CPU, or close other programs.")),
    (r"driver on your system is too old|CUDA driver version is insufficient|driver/library version mismatch",
     _("The graphics driver does not fit the installed PyTorch; update the driver, or choose the device CPU.")),
    (r"no kernel image is available",
     _("The installed PyTorch is not made for this graphics card; reinstall PyTorch in the PyTorch Utils module, or choose the device CPU.")),
    (r"CUDA error|CUDNN_STATUS|cuDNN error|CUBLAS_STATUS",
     _("The graphics card failed while computing; choose the device CPU, or restart the computer and try again.")),
    (r"compiled using NumPy 1|numpy\.core\.multiarray failed|_ARRAY_API not found|numpy\.dtype size changed|Numpy is not available",
     _("The installed PyTorch and NumPy do not fit each other; reinstall PyTorch in the PyTorch Utils module and restart Slicer.")),
    (r"No module named '?torch\b|package torch is missing",
     _("PyTorch is not installed; press Install in the Setup section.")),
    (r"No module named '?FluoroDenoiseLib",
     _("FluoroDenoise is installed incompletely (its library is missing); install the extension again.")),
    (r"DLL load failed|WinError (126|127|182|1114)|cannot open shared object file|undefined symbol|symbol not found",
     _("A library of PyTorch cannot be loaded, so its installation is damaged; reinstall it in the PyTorch Utils module and restart Slicer.")),
    (r"No space left on device|There is not enough space on the disk",
     _("The disk is full; make room, then try again.")),
)  # fmt: skip
MISSING = re.compile(r"No module named '?([\w.]+)|Python package (\S+) is missing")
SIGNALS = {4: _("an instruction that this processor does not know"), 6: _("an abort"), 7: _("a memory access error"),
           8: _("an arithmetic error"), 11: _("a memory access error")}
WINDOWS_CRASHES = {0xC0000005: 11, 0xC000001D: 4, 0xC0000409: 6}


def in_words_of_the_panel(message: str) -> str:
    """The sentence of a worker, or, where its advice is for a command line, the one with the button to press."""
    return advice_for([message]) or message


def advice_for(lines: Iterable[str]) -> str | None:
    """The sentence for the last of these lines that is known; None where none is."""
    for line in reversed(list(lines)):
        for pattern, sentence in ADVICE:
            if re.search(pattern, line):
                return sentence
        if found := MISSING.search(line):
            name = (found[1] or found[2]).partition(".")[0]
            return _("The Python package {name} is missing; press Install in the Setup section.").format(name=name)
    return None


def why_it_ended(exit_code: int | None, last_words: Iterable[str]) -> str:
    """The sentence for a worker that ended in the middle of a job.

    exit_code: as of subprocess, negative for a signal; None where it is not known. last_words: its last lines of
    standard error.
    """
    last_words = list(last_words)
    if advice := advice_for(last_words):
        return advice
    crash = WINDOWS_CRASHES.get((exit_code or 0) & 0xFFFFFFFF, -exit_code if exit_code and exit_code < 0 else None)
    if crash in (9, 15):
        return _("The computing process was ended from outside, most often because memory ran out; close other programs, "
                 "choose the preset fast or a shorter frame range, and try again.")
    if crash is not None:
        reason = SIGNALS.get(crash) or _("signal {number}").format(number=crash)
        return _("The computing process crashed ({reason}); try the device CPU, and report this if it happens again.").format(reason=reason)
    said = f": {last_words[-1][:200]}" if last_words else ""
    return _("The computing process ended unexpectedly with code {code}{said}; the Python console and the application log have the "
             "details.").format(code=exit_code, said=said)


def why_it_did_not_start(error: OSError, python: str) -> str:
    """The sentence for an interpreter that cannot be started."""
    reason = error.strerror or type(error).__name__
    return _("{python} cannot be started ({reason}); Slicer's own Python is missing or blocked, so repair the installation of "
             "Slicer.").format(python=python, reason=reason)
