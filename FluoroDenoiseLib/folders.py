"""A folder of runs into another: every run at the same place, and one bad file does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.formats import find_runs
from FluoroDenoiseLib.targets import UsageError, make_folder


@dataclass(frozen=True)
class Outcome:
    """What became of a run: "done", "there" (its result existed and was kept) or "failed", and then by which error."""

    source: Path
    state: str
    error: Exception | None = None


def runs_below(source: Path, target: Path) -> list[Path]:
    """Every run below `source` that is not below `target`, which is made; UsageError, InputError or OutputError."""
    if target.resolve() == source.resolve():
        raise UsageError("OUT must be another folder than IN, whose runs are never changed.")
    runs = [path for path in find_runs(source) if not path.resolve().is_relative_to(target.resolve())]
    if not runs:
        raise InputError(f"{source} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy.")
    make_folder(target)
    return runs


def denoise_each(
    runs: Sequence[Path], source: Path, target: Path, denoise: Callable[[Path, Path], object], overwrite: bool
) -> Iterator[Outcome]:
    """Call denoise(run, its place below `target`) for every run below `source`; an Outcome after each.

    What `denoise` raises becomes an Outcome, except KeyboardInterrupt, which ends the folder.
    """
    for run in runs:
        place = target / run.relative_to(source)
        if place.exists() and not overwrite:
            yield Outcome(run, "there")
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            denoise(run, place)
        except Exception as error:
            yield Outcome(run, "failed", error)
        else:
            yield Outcome(run, "done")
