"""Where pydicom is called: its many exceptions become one InputError, and its warnings, which echo patient values,
go nowhere."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, config

from ..errors import FluoroDenoiseError, InputError

OVERLAYS = range(0x6000, 0x6020, 2)  # the groups of drawings over the pixels


_quiet_lock = threading.Lock()
_quiet_blocks = 0
_quiet = ExitStack()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warning, log line or validation of pydicom reaches anyone inside the block.

    Warnings belong to the whole process, so of several threads the first in makes it quiet and the last out ends that.
    """
    global _quiet_blocks
    with _quiet_lock:
        if _quiet_blocks == 0:
            _quiet.enter_context(_without_pydicoms_words())
        _quiet_blocks += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_blocks -= 1
            if _quiet_blocks == 0:
                _quiet.close()


@contextmanager
def _without_pydicoms_words() -> Iterator[None]:
    log = logging.getLogger("pydicom")
    disabled = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module="FluoroDenoiseLib")  # our own, of another thread
            yield
    finally:
        log.disabled = disabled


@contextmanager
def refusing_damage(name: str, doing: str) -> Iterator[None]:
    """Whatever a decoder or parser throws inside the block becomes an InputError about `name`.

    The original text is not shown, nor in a traceback: it may hold values of the patient.
    """
    try:
        with quiet_pydicom():
            yield
    except (FluoroDenoiseError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration):
        raise
    except BaseException as error:  # a Rust decoder's panic is not an Exception
        raise InputError(
            f"{name} cannot be read: {doing} failed ({type(error).__name__}); the file is damaged or was cut short."
        ) from None


def whole_number(header: Dataset, keyword: str, path: Path, default: int | None = None) -> int:
    """The one integer an attribute holds; InputError naming it if it is absent (and no default), empty or not one."""
    value: Any = header.get(keyword)
    if value is None and keyword not in header and default is not None:
        return default
    try:
        return int(value)
    except (TypeError, ValueError):
        raise InputError(f"{path.name} has no usable {keyword} in its header, which a run needs.") from None


def functional_group(header: Dataset, keyword: str, frame: int = 0) -> Dataset:
    """The item of a functional group of an enhanced object that applies to a frame; empty where there is none."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    shared = header.get("SharedFunctionalGroupsSequence")
    for groups, index in ((per_frame, frame), (shared, 0)):
        if groups and index < len(groups) and groups[index].get(keyword):
            return groups[index].get(keyword)[0]
    return Dataset()
