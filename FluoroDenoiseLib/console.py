"""What the commands say to the person in front of them, and how they say that something went wrong."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from FluoroDenoiseLib.traces import trace

PACKAGE = Path(__file__).parent


def say(text: str, end: str = "\n") -> None:
    """Print for whoever listens; work goes on when nobody does any more (`fluorodenoise ... | head -1`)."""
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(error: BaseException, name: str = "fluorodenoise") -> int:
    """Print what went wrong as one sentence and return its exit code."""
    from FluoroDenoiseLib.jobs import explain

    exit_code, sentence = explain(error)
    show_trace(error)
    print(f"{name}: {sentence}", file=sys.stderr)
    return exit_code


def show_trace(error: BaseException) -> None:
    """Print where an error came from, if the person asked for it."""
    if os.environ.get("FLUORODENOISE_TRACEBACK") == "1":
        print(f"Traceback (texts are left out, since they can hold a patient's name):\n{trace(error)}", file=sys.stderr)


def show_own_warning(message: Warning | str, category: type, filename: str, *_: object) -> None:
    """Print our own warnings as a line; others stay silent, since pydicom's repeat names and dates of patients."""
    if Path(filename).is_relative_to(PACKAGE):
        print(f"note: {message}", file=sys.stderr)


@contextmanager
def values_kept_in() -> Iterator[None]:
    """Inside, warnings and errors that nobody caught, in threads and clean-ups too, are told without values."""
    log = logging.getLogger("pydicom")
    before = warnings.showwarning, threading.excepthook, sys.unraisablehook, log.disabled
    warnings.showwarning, log.disabled = show_own_warning, True
    threading.excepthook = sys.unraisablehook = lambda told: print(f"Unexpected:\n{trace(told.exc_value)}", file=sys.stderr)
    try:
        yield
    finally:
        warnings.showwarning, threading.excepthook, sys.unraisablehook, log.disabled = before


def watched_by_a_person() -> bool:
    """Whether what is printed goes to a terminal, and into no file."""
    return sys.stdout.isatty() and sys.stderr.isatty()
