"""A file that is either complete at its place or not there: written aside, flushed, looked at, renamed."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FluoroDenoiseError, OutputError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed, which serves as the lock
    fcntl = None

# The place of the name is taken by its hash: names of runs are often those of patients, and files aside may stay after
# a power cut. The number before .tmp is that of every file this project writes aside.
ASIDE = ".fluorodenoise-{}.0.tmp"
_swept: set[Path] = set()


@contextmanager
def whole_file(path: Path, overwrite: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` when the block ends well and removed when it does not.

    An older file at `path` stays as it is until the rename, which replaces it in one step, or, without `overwrite`, for
    ever: then OutputError. So too while another process writes the same file. Any failure, an interrupt included, leaves
    no temporary; one that a killed process left is removed by the next. OSErrors of the block become OutputError.
    """
    temporary = path.parent / ASIDE.format(hashlib.sha256(os.path.normcase(path.name).encode()).hexdigest()[:16])
    lock = None
    try:
        if not path.parent.is_dir():
            raise OutputError(f"{path.name} cannot be written: its folder {path.parent.name} does not exist; make it first.")
        if path.is_dir():
            raise OutputError(f"{path.name} is a folder; give the name of a file.")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path.name} is a device or a pipe, which a file must not replace; choose another name.")
        _sweep(path.parent, temporary)
        lock = claim(temporary)
        if lock is None:
            raise OutputError(f"{path.name} is being written by another run at this moment; choose another name or wait.")
        _require_free(path, overwrite)
        os.truncate(temporary, 0)
        yield temporary
        settle(temporary)
        _require_free(path, overwrite)
        if fcntl is None:
            lock = release(lock)
        os.replace(temporary, path)
        if os.name == "posix":
            _flush(path.parent, os.O_RDONLY)
    except BaseException as error:
        if lock is not None:
            if fcntl is None:
                lock = release(lock)
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        elif isinstance(error, KeyboardInterrupt):  # it may have come between the making of the file and its noting
            _discard(temporary)
        if not isinstance(error, OSError) or isinstance(error, FluoroDenoiseError):
            raise
        reason = error.strerror or type(error).__name__
        # The original error names the folder, which may be a patient's: it is not shown.
        raise OutputError(f"{path.name} could not be written ({reason}); nothing was changed there.") from None
    finally:
        release(lock)


def settle(path: Path) -> None:
    """Have a file on the disk, and out of the memory where the system can, so that reading it back reads the disk."""
    _flush(path, os.O_RDWR)
    if hasattr(os, "posix_fadvise"):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


def _require_free(path: Path, overwrite: bool) -> None:
    if not overwrite and path.exists():
        raise OutputError(f"{path.name} exists already; choose another name, or allow to overwrite it.")


def claim(temporary: Path) -> int | None:
    """An open handle that holds the temporary until it is closed, by the end of the process at the latest; None if
    another process holds it."""
    if fcntl is None:
        try:
            temporary.unlink(missing_ok=True)
            return os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except (PermissionError, FileExistsError):
            return None
    while True:
        handle, held = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666), None
        try:
            held = _held(handle, temporary)
        finally:
            if not held:
                os.close(handle)
        if held is not None:
            return handle if held else None


def _held(handle: int, temporary: Path) -> bool | None:
    """Whether this handle now holds the file, or another process does; None if there is another file by now, or none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    with suppress(FileNotFoundError):
        if os.path.samestat(os.fstat(handle), os.stat(temporary)):
            return True
    return None  # its holder renamed or removed it between our opening and our locking


def release(lock: int | None) -> None:
    if lock is not None:
        os.close(lock)


def _sweep(folder: Path, ours: Path) -> None:
    """Remove, once a folder and process, what killed processes left there; what is being written is held, and stays."""
    if fcntl is None or folder in _swept:
        return
    _swept.add(folder)
    for left in folder.glob(ASIDE.format("*")):
        if left != ours:
            _discard(left)


def _discard(temporary: Path) -> None:
    """Remove a file aside unless another process holds it."""
    with suppress(OSError):
        handle = os.open(temporary, os.O_RDWR)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()
        finally:
            release(handle)


def _flush(path: Path, flags: int) -> None:
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
                f"{path.name} needs {size / 1e6:.0f} MB but its disk has {free / 1e6:.0f} MB free; free some space or "
                "choose another folder."
            )
