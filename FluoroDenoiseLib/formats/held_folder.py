"""A folder that one process at a time fills."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import OutputError
from .whole_file import claim, release

LOCK = ".fluorodenoise.lock"


@contextmanager
def held_folder(folder: Path) -> Iterator[None]:
    """Inside the block `folder`, which exists, is ours: OutputError at once for whoever else asks, this process included.

    The hold ends with the block or with the process, however that ends. Some network drives know no locks; there it
    holds nobody off.
    """
    file = folder / LOCK
    try:
        lock = claim(file)
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be written ({error.strerror}); choose another.") from None
    if lock is None:
        raise OutputError(f"{folder} is being filled by another run at this moment; wait for its end, or choose another folder.")
    try:
        yield
    finally:
        if os.name == "posix":  # removed while it is held: whoever waits for it sees that it is gone, and takes a new one
            with suppress(OSError):
                file.unlink()
            release(lock)
        else:
            release(lock)
            with suppress(OSError):
                file.unlink()
