"""Which files are the same run: the noisy one and, by the same name, those that others made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from FluoroDenoiseLib.errors import InputError
from FluoroDenoiseLib.fluoro_run import FluoroRun
from FluoroDenoiseLib.formats import find_runs, read_run
from FluoroDenoiseLib.targets import UsageError


@dataclass(frozen=True)
class Arm:
    """A way of denoising whose results are there already. place: their folder, or the one file of a study of one run."""

    name: str
    place: Path


@dataclass(frozen=True)
class CaseRuns:
    """A noisy run and what each arm made of it. name: of the run, for the key only, since it may be a patient's."""

    name: str
    noisy: FluoroRun
    others: dict[str, FluoroRun]


def parse_arm(text: str) -> Arm:
    """NAME=PATH as an Arm. UsageError for anything else."""
    name, equals, place = text.partition("=")
    if not (name.strip() and equals and place):
        raise UsageError(f"--arm {text} must be NAME=PATH, for example bm3d=results/bm3d.")
    if not Path(place).exists():
        raise InputError(f"{Path(place).name} does not exist; give the folder of what {name.strip()} made of the runs.")
    return Arm(name.strip(), Path(place))


def find_cases(sources: Sequence[Path], arms: Sequence[Arm]) -> list[CaseRuns]:
    """The runs of `sources`, files or folders of them, each with the file of the same name of every arm.

    In a folder the same name is the same path below it, as `fluorodenoise denoise IN OUT` leaves it. InputError where
    a file is missing or no picture of the run.
    """
    cases: dict[Path, CaseRuns] = {}
    for source in sources:
        if not source.exists():
            raise InputError(f"{source.name} does not exist; check the name.")
        for path in find_runs(source) if source.is_dir() else [source]:
            if any(path.resolve().is_relative_to(arm.place.resolve()) for arm in arms):
                continue
            within = path.relative_to(source) if source.is_dir() else Path(path.name)
            name, noisy = within.as_posix(), read_run(path)
            cases[path.resolve()] = CaseRuns(name, noisy, {arm.name: _result(arm, within, noisy) for arm in arms})
    if not cases:
        raise InputError(f"{sources[0].name} holds no runs that can be read; give a folder of DICOM, NRRD, TIFF or .npy runs.")
    if len(cases) > 1 and any(not arm.place.is_dir() for arm in arms):
        lone = next(arm for arm in arms if not arm.place.is_dir())
        raise UsageError(f"--arm {lone.name} is one file but there are {len(cases)} runs; give the folder of its results.")
    return list(cases.values())


def _result(arm: Arm, within: Path, noisy: FluoroRun) -> FluoroRun:
    """What an arm made of a run. InputError unless it has the frames, and the size, of the run."""
    path = arm.place / within if arm.place.is_dir() else arm.place
    if not path.is_file():
        raise InputError(f"{within.name} is not in {arm.place.name}; {arm.name} needs a result for each run, of the same name.")
    run = read_run(path)
    found, wanted = ((len(one), *one.frames[0].shape) for one in (run, noisy))
    if found != wanted:
        raise InputError("{} of {} has {} frames of {}x{} but the run {} has {} of {}x{}; an arm must hold the same frames.".format(
            path.name, arm.name, found[0], found[2], found[1], noisy.source.name, wanted[0], wanted[2], wanted[1]))
    return run
