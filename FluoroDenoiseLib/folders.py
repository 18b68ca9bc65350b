"""An archive: a folder of runs into another, every run at the same place, and one bad file does not stop the rest.

What is done stands in a record beside the results (manifest.py), so a second start makes only what is missing and what
changed since.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from FluoroDenoiseLib.errors import FluoroDenoiseError, InputError, OutputError, UnsupportedError
from FluoroDenoiseLib.formats import find_runs
from FluoroDenoiseLib.formats.ct_series import find_series
from FluoroDenoiseLib.formats.held_folder import held_folder
from FluoroDenoiseLib.jobs import explain
from FluoroDenoiseLib.manifest import Manifest
from FluoroDenoiseLib.shares import Share
from FluoroDenoiseLib.targets import UsageError, make_folder

ALONE = Share()
READ_AHEAD = 2**28  # bytes of the next file that the system is asked for while this one is computed


class Report(Protocol):
    """What is kept of a denoised run."""

    frames: int
    seconds: float


@dataclass(frozen=True)
class Task:
    """One run or volume. source: what is denoised; files: in which it lies; place: of its result."""

    source: Any
    files: tuple[Path, ...]
    place: Path


@dataclass(frozen=True)
class Outcome:
    """What became of a task: "done", "there" or "failed", and then by which error. number: from 1, in the order of names.

    ours: of one that is there, whether this archive made it, of this source with these settings; anything else that has
    its place is kept.
    """

    number: int
    task: Task
    state: str
    frames: int = 0
    seconds: float = 0.0
    ours: bool = True
    error: Exception | None = None


def runs_below(source: Path, target: Path) -> list[Task]:
    """Every run below `source` that is not below `target`, which is made, with the same place below that.

    UsageError, InputError, UnsupportedError or OutputError.
    """
    if target.resolve() == source.resolve():
        raise UsageError("OUT must be another folder than IN, whose runs are never changed.")
    runs = [path for path in find_runs(source) if not path.resolve().is_relative_to(target.resolve())]
    if not runs:
        if find_series(path for path in source.rglob("*") if path.is_file())[0]:
            raise UnsupportedError(f"{source} holds CT, and the chosen model is for X-ray runs; use --preset ct.")
        raise InputError(f"{source} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy.")
    make_folder(target)
    return [Task(run, (run,), target / run.relative_to(source)) for run in runs]


class Archive:
    """Tasks on their way to their places below `target`; see open_archive."""

    def __init__(self, tasks: Sequence[Task], target: Path, manifest: Manifest, overwrite: bool, share: Share) -> None:
        self.tasks, self.target = tasks, target
        self._manifest, self._overwrite, self._share = manifest, overwrite, share

    def denoise_each(self, denoise: Callable[[Task, bool], Report]) -> Iterator[Outcome]:
        """Call denoise(task, whether it may replace what is at its place) for those of this process's share that are to be
        made; an Outcome after each task.

        What `denoise` raises becomes an Outcome, except KeyboardInterrupt, which ends the archive.
        """
        mine = self._share.of(list(enumerate(self.tasks, 1)))
        for (number, task), (_, following) in zip(mine, [*mine[1:], (0, None)]):
            name, standing = self.name_of(task), self._standing(task)
            if standing == "current" or standing == "foreign" and not self._overwrite:
                yield Outcome(number, task, "there", ours=standing == "current")
                continue
            if following is not None:
                _read_ahead(following.files[0])
            state = self._manifest.state_of(name, *task.files)
            try:
                _make_parents(task.place)
                self._manifest.begin(name, state, task.place)
                report = denoise(task, standing != "absent")
                self._manifest.finish(name, state, task.place, report.frames, report.seconds)
            except Exception as error:
                self._manifest.fail(name, state, explain(error)[0])
                yield Outcome(number, task, "failed", error=error)
            else:
                yield Outcome(number, task, "done", report.frames, report.seconds)

    def name_of(self, task: Task) -> str:
        """The place of its result below the archive, which is also where it comes from."""
        return task.place.relative_to(self.target).as_posix()

    def made_otherwise(self) -> int:
        """How many results this archive made with something else than it is to be made with now."""
        return sum(self._standing(task) == "other" for task in self.tasks)

    def _standing(self, task: Task) -> str:
        return self._manifest.standing(self.name_of(task), task.files, task.place)


@contextmanager
def open_archive(
    tasks: Sequence[Task], target: Path, made_with: dict, overwrite: bool = False, share: Share = ALONE
) -> Iterator[Archive]:
    """The archive of these tasks, which this process and those that share it alone fill inside the block.

    made_with: plain values that tell how results are made, none of them a name or a place. overwrite: also replace
    results that were made with something else, and files that this archive did not make.
    OutputError while another run fills `target`, and where results made with something else would have to be replaced.
    """
    with ExitStack() as stack:
        manifest = problem = None
        if share.rank == 0:
            try:
                stack.enter_context(held_folder(target))
                manifest = Manifest(target, made_with)
                _require_alike(Archive(tasks, target, manifest, overwrite, share), overwrite)
            except FluoroDenoiseError as error:
                problem = error
        told = share.gather([str(problem)] if problem else [])
        if told:
            raise problem or OutputError(told[0])
        yield Archive(tasks, target, manifest or Manifest(target, made_with, share.rank), overwrite, share)


def _require_alike(archive: Archive, overwrite: bool) -> None:
    others = 0 if overwrite else archive.made_otherwise()
    if others:
        raise OutputError(f"{archive.target} holds {others} results of another model or other settings; choose another folder, or "
                          "add --overwrite to make them again.")


def _make_parents(place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"The folder of {place.name} cannot be made ({error.strerror}); choose another OUT.") from None


def _read_ahead(path: Path) -> None:
    """Ask the system to read the beginning of a file in the meantime, where it can."""
    if not hasattr(os, "posix_fadvise"):
        return
    with suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, READ_AHEAD, os.POSIX_FADV_WILLNEED)
        finally:
            os.close(handle)
