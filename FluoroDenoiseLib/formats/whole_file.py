"""A file that is either complete at its place or not there: written aside, flushed, renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FluoroDenoiseError, OutputError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block ends well and removed when it does not.

    An older file at `path` stays as it is until the rename, which replaces it in one step. Any failure, an interrupt
    included, leaves no temporary. OSErrors of the block become OutputError.
    """
    if not path.parent.is_dir():
        raise OutputError(f"{path.name} cannot be written: the folder {path.parent} does not exist; make it first.")
    if path.is_dir():
        raise OutputError(f"{path.name} is a folder; give the name of a file.")
    # Long names keep room for the ending: most file systems stop at 255 bytes.
    temporary = path.parent / f".{path.name[:120]}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.touch(exist_ok=False)
        yield temporary
        _flush_to_disk(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if os.name == "posix":
            _flush_to_disk(path.parent, os.O_RDONLY)
    except OSError as error:
        if isinstance(error, FluoroDenoiseError):
            raise
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{path.name} could not be written ({reason}); nothing was changed there.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_to_disk(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def require_space(path: Path, size: int) -> None:
    """OutputError if the disk of `path` has less than 1.1 times `size` bytes free."""
    with suppress(FileNotFoundError):
        free = shutil.disk_usage(path.parent).free
        if free < 1.1 * size:
            raise OutputError(
                f"{path.name} needs {size / 1e6:.0f} MB but {path.parent} has {free / 1e6:.0f} MB free; "
                "free some space or choose another folder."
            )
