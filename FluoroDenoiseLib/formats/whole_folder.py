"""A folder of files that is either complete at its place or not there: filled aside, then renamed as a whole."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FluoroDenoiseError, OutputError
from .whole_file import ASIDE, claim, release

ASIDE_FOLDER = ".fluorodenoise-{}.0.folder.tmp"
OLD_FOLDER = ".fluorodenoise-{}.0.old.tmp"


@contextmanager
def whole_folder(path: Path, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """An empty folder beside `path`, renamed to `path` when the block ends well and removed when it does not.

    A folder already at `path` is replaced where it is empty or may_replace(path) is true, and then by renaming it, so
    that a process killed at that moment loses neither: the next one puts it back. OutputError otherwise, and while
    another process fills the same folder. OSErrors of the block become OutputError.
    """
    name = hashlib.sha256((os.path.normcase(path.name) + "/").encode()).hexdigest()[:16]
    lock_file, aside, old = (path.parent / form.format(name) for form in (ASIDE, ASIDE_FOLDER, OLD_FOLDER))
    lock = None
    try:
        if not path.parent.is_dir():
            raise OutputError(f"{path.name} cannot be written: its folder {path.parent.name} does not exist; make it first.")
        lock = claim(lock_file)
        if lock is None:
            raise OutputError(f"{path.name} is being written by another run at this moment; choose another name or wait.")
        _sweep(path.parent)
        _recover(path, aside, old)
        _require_free(path, may_replace)
        aside.mkdir()
        yield aside
        _require_free(path, may_replace)
        _swap(aside, path, old)
    except BaseException as error:
        if lock is not None:
            shutil.rmtree(aside, ignore_errors=True)
        if not isinstance(error, OSError) or isinstance(error, FluoroDenoiseError):
            raise
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{path.name} could not be written ({reason}); nothing was changed there.") from None
    finally:
        if lock is not None:
            _end(lock, lock_file)


def _sweep(parent: Path) -> None:
    """Remove what killed processes left beside; what is being filled is held, and stays."""
    for left in parent.glob(ASIDE_FOLDER.format("*")):
        lock_file = parent / ASIDE.format(left.name.split("-")[1].split(".")[0])
        lock = claim(lock_file)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            _end(lock, lock_file)


def _end(lock: int, lock_file: Path) -> None:
    """Give a lock back and remove its file, in the order that the system allows."""
    if os.name != "posix":
        release(lock)
    with suppress(OSError):
        lock_file.unlink()
    if os.name == "posix":
        release(lock)


def _recover(path: Path, aside: Path, old: Path) -> None:
    """What a killed process left: half a folder goes; one that was to be replaced comes back if nothing took its place."""
    shutil.rmtree(aside, ignore_errors=True)
    if old.exists():
        if path.exists():
            shutil.rmtree(old)
        else:
            os.replace(old, path)


def _require_free(path: Path, may_replace: Callable[[Path], bool]) -> None:
    if path.is_file():
        raise OutputError(f"{path.name} is a file where a folder is needed; choose another name.")
    if path.is_dir() and any(path.iterdir()) and not may_replace(path):
        raise OutputError(f"{path.name} exists already and is not replaced; choose another name.")


def _swap(aside: Path, path: Path, old: Path) -> None:
    replaces = path.exists()
    if replaces:
        os.replace(path, old)
    try:
        os.replace(aside, path)
    except OSError:
        if replaces:
            os.replace(old, path)
        raise
    if os.name == "posix":
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    shutil.rmtree(old, ignore_errors=True)
